"""Conversations have titles; actions can be stopped, and are bound to what was shown by a digest."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
_STATUSES = "'pending', 'rejected', 'expired', 'running', 'done', 'failed'"


def upgrade() -> None:
    op.add_column("chat_sessions", sa.Column("title", sa.String(), nullable=True))
    op.add_column("agent_actions", sa.Column("digest", sa.String(), nullable=True))
    op.drop_constraint(op.f("ck_agent_actions_status"), "agent_actions")
    op.create_check_constraint(op.f("ck_agent_actions_status"), "agent_actions", f"status IN ({_STATUSES}, 'stopped')")
    # What waited was shown without a digest: it has to be asked for again.
    op.execute("UPDATE agent_actions SET status = 'expired', finished_at = now() WHERE status = 'pending'")


def downgrade() -> None:
    op.execute("UPDATE agent_actions SET status = 'failed' WHERE status = 'stopped'")
    op.drop_constraint(op.f("ck_agent_actions_status"), "agent_actions")
    op.create_check_constraint(op.f("ck_agent_actions_status"), "agent_actions", f"status IN ({_STATUSES})")
    op.drop_column("agent_actions", "digest")
    op.drop_column("chat_sessions", "title")
