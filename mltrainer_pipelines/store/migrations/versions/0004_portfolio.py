"""The user's portfolio: what was sold, when and at what price."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user_portfolio", sa.Column("actual_sell_price", sa.Numeric(precision=18, scale=6), nullable=True))
    op.add_column("user_portfolio", sa.Column("closed_time", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_user_portfolio_actual_sell_price"), "user_portfolio", "actual_sell_price > 0")
    op.create_check_constraint(
        op.f("ck_user_portfolio_closed"), "user_portfolio", "(actual_sell_price IS NULL) = (closed_time IS NULL)"
    )


def downgrade() -> None:
    op.drop_column("user_portfolio", "closed_time")
    op.drop_column("user_portfolio", "actual_sell_price")
