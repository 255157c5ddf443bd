"""The leaderboard: how sure its returns are, and what picking its best is worth."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = ("net_return_low", "net_return_high", "probability_of_overfitting")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("leaderboard", sa.Column(name, sa.Float(), nullable=True))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("leaderboard", name)
