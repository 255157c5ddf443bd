"""Run requests: whoever wants a run writes a row; actions and trials point to what was asked for and what ran."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_requests",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=True),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("proposal_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.String(), server_default="waiting", nullable=False),
        sa.Column("reserved_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("launched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.CheckConstraint(
            "status IN ('waiting', 'launched', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_run_requests_status")
        ),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["trial_proposals.id"], name=op.f("fk_run_requests_proposal_id_trial_proposals")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_requests")),
    )
    op.create_index("ix_run_requests_status", "run_requests", ["status"])
    op.create_index("ix_run_requests_trial_id", "run_requests", ["trial_id"])
    op.create_index("ix_run_requests_proposal_id", "run_requests", ["proposal_id"])
    op.create_index(
        "uq_run_requests_unfinished",
        "run_requests",
        ["job", "trial_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('waiting', 'launched')"),
    )
    # What the version before had approved or launched is looked after like any other request.
    op.execute(
        """INSERT INTO run_requests (job, trial_id, params, requested_by, proposal_id, status, run_id, launched_at)
           SELECT 'walk_forward', p.trial_id, jsonb_build_object('config', p.config), 'agent', p.id,
                  CASE p.status WHEN 'approved' THEN 'waiting' ELSE 'launched' END, p.run_id, r.launched_at
           FROM trial_proposals p LEFT JOIN proposal_runs r ON r.proposal_id = p.id
           WHERE p.status = 'approved' OR (p.status = 'launched' AND p.run_id IS NOT NULL) ORDER BY p.id"""
    )
    op.add_column("trials", sa.Column("run_id", sa.String(), nullable=True))
    op.alter_column("agent_actions", "told", new_column_name="reported")
    op.add_column("agent_actions", sa.Column("request_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_agent_actions_request_id_run_requests"), "agent_actions", "run_requests", ["request_id"], ["id"]
    )
    op.execute(
        """UPDATE agent_actions SET status = 'failed', finished_at = now(), reported = false,
               error = 'mlTrainer was updated while it ran; ask for it again to go on from what is there'
           WHERE status = 'running'"""
    )
    op.drop_column("agent_actions", "jobs")


def downgrade() -> None:
    op.add_column(
        "agent_actions",
        sa.Column("jobs", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.drop_column("agent_actions", "request_id")
    op.alter_column("agent_actions", "reported", new_column_name="told")
    op.drop_column("trials", "run_id")
    op.drop_table("run_requests")
