"""The tables of a new home; those of the versions before 0005 are not brought forward."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text())
