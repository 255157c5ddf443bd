"""Corrections: a rename is one too."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_BEFORE = "'split', 'dividend', 'no_action', 'closure', 'bar'"


def upgrade() -> None:
    _allow(f"{_BEFORE}, 'rename'")


def downgrade() -> None:
    op.execute("DELETE FROM corrections WHERE kind = 'rename'")
    _allow(_BEFORE)


def _allow(kinds: str) -> None:
    name = op.f("ck_corrections_kind")
    op.drop_constraint(name, "corrections", type_="check")
    op.create_check_constraint(name, "corrections", f"kind IN ({kinds})")
