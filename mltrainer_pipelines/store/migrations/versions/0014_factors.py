"""Factors: every expression that was ever screened, and what was found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "factors",
        sa.Column("factor_id", sa.String(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("expression", sa.String(), nullable=False),
        sa.Column("proposed_by", sa.String(), nullable=False),
        sa.Column("hypothesis", sa.String(), server_default="", nullable=False),
        sa.Column("parents", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("status", sa.String(), server_default="proposed", nullable=False),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("proposed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("screened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("data_fingerprint", sa.String(), nullable=True),
        sa.CheckConstraint(
            "status IN ('proposed', 'tried', 'accepted', 'rejected', 'retired', 'failed')", name=op.f("ck_factors_status")
        ),
        sa.PrimaryKeyConstraint("factor_id", name=op.f("pk_factors")),
        sa.UniqueConstraint("timeframe", "expression", name=op.f("uq_factors_timeframe_expression")),
    )
    op.create_index("ix_factors_status", "factors", ["status"])


def downgrade() -> None:
    op.drop_table("factors")
