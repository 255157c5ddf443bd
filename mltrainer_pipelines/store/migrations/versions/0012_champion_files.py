"""Digests of the champions' files; those registered before get theirs when they are loaded for the first time."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "champion_files",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_champion_files")),
    )
    op.execute(
        "INSERT INTO champion_files (name, version) SELECT DISTINCT 'mltrainer-' || timeframe, model_version FROM promotions "
        "WHERE model_version IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_table("champion_files")
