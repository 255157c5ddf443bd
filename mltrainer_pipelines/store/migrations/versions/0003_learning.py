"""Learning: why a signal is what it is, sample positions, weights and corrections as they stood, drift, alerts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.String(), nullable=True),
        sa.CheckConstraint("severity IN ('info', 'warning', 'error')", name=op.f("ck_alerts_severity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.UniqueConstraint("key", name=op.f("uq_alerts_key")),
    )
    op.create_index("ix_alerts_created_at", "alerts", ["created_at"], unique=False)
    op.create_table(
        "drift_checks",
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("statistic", sa.Float(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("p_value", sa.Float(), nullable=False),
        sa.Column("false_alarm_rate", sa.Float(), nullable=False),
        sa.Column("crossed", sa.Boolean(), nullable=False),
        sa.Column("advice", sa.String(), nullable=False),
        sa.CheckConstraint("kind IN ('features', 'predictions', 'calibration')", name=op.f("ck_drift_checks_kind")),
        sa.PrimaryKeyConstraint("as_of", "timeframe", "kind", name=op.f("pk_drift_checks")),
    )
    op.create_table(
        "model_weight_history",
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("observations", sa.Integer(), nullable=False),
        sa.Column("brier", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("as_of", "timeframe", "trial_id", name=op.f("pk_model_weight_history")),
    )
    op.create_table(
        "recalibrations",
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("intercept", sa.Float(), nullable=False),
        sa.Column("slope", sa.Float(), nullable=False),
        sa.Column("observations", sa.Integer(), nullable=False),
        sa.Column("effective_observations", sa.Float(), nullable=False),
        sa.Column("brier_before", sa.Float(), nullable=True),
        sa.Column("brier_after", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("as_of", "timeframe", "trial_id", name=op.f("pk_recalibrations")),
    )
    op.create_table(
        "sample_positions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signal_strength", sa.Float(), nullable=False),
        sa.Column("profit_probability", sa.Float(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("expected_net_return", sa.Float(), nullable=True),
        sa.Column("regime_score", sa.Float(), nullable=True),
        sa.Column("model_used", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=True),
        sa.Column("trial_id", sa.String(), nullable=True),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("market", sa.String(), nullable=False),
        sa.Column("sector", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("settings_version", sa.BigInteger(), nullable=True),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("decided_session", sa.Date(), nullable=False),
        sa.Column("entry_session", sa.Date(), nullable=False),
        sa.Column("entry_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("entry_price", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("shares", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("current_price", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("marked_session", sa.Date(), nullable=True),
        sa.Column("exit_session", sa.Date(), nullable=True),
        sa.Column("exit_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exit_price", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("exit_reason", sa.String(), nullable=True),
        sa.Column("profit_loss", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("net_return", sa.Float(), nullable=True),
        sa.Column("fees", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("target_price", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("stop_loss", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("max_sessions", sa.Integer(), nullable=False),
        sa.Column("volatility", sa.Float(), nullable=False),
        sa.Column("target_multiple", sa.Float(), nullable=False),
        sa.Column("stop_multiple", sa.Float(), nullable=False),
        sa.Column("cost_bps", sa.Float(), nullable=False),
        sa.Column("notional", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("intraday", sa.Boolean(), nullable=False),
        sa.Column("fill_price", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("fill_shares", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("factor", sa.Float(), server_default="1", nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(status = 'closed') = (exit_session IS NOT NULL AND exit_reason IS NOT NULL)",
            name=op.f("ck_sample_positions_exited"),
        ),
        sa.CheckConstraint(
            "status = 'pending' OR exit_reason = 'not_traded' OR fill_price > 0", name=op.f("ck_sample_positions_entered")
        ),
        sa.CheckConstraint("status IN ('pending', 'open', 'closed')", name=op.f("ck_sample_positions_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sample_positions")),
        sa.UniqueConstraint(
            "symbol", "timeframe", "decided_session", name=op.f("uq_sample_positions_symbol_timeframe_decided_session")
        ),
    )
    op.create_index("ix_sample_positions_status", "sample_positions", ["status"], unique=False)
    op.add_column("portfolio_performance", sa.Column("average_win", sa.Numeric(precision=18, scale=6), nullable=True))
    op.add_column("portfolio_performance", sa.Column("average_loss", sa.Numeric(precision=18, scale=6), nullable=True))
    op.add_column("portfolio_performance", sa.Column("turnover", sa.Float(), nullable=True))
    op.add_column("portfolio_performance", sa.Column("benchmark_return", sa.Float(), nullable=True))
    op.add_column("portfolio_performance", sa.Column("alpha", sa.Float(), nullable=True))
    op.add_column("portfolio_performance", sa.Column("beta", sa.Float(), nullable=True))
    op.add_column("recommendations", sa.Column("settings_version", sa.BigInteger(), nullable=True))
    op.add_column("recommendations", sa.Column("sector", sa.String(), nullable=True))
    op.add_column("recommendations", sa.Column("why", sa.String(), nullable=True))
    op.add_column("recommendations", sa.Column("drivers", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.drop_constraint(op.f("ck_portfolio_performance_book"), "portfolio_performance", type_="check")
    op.create_check_constraint(
        op.f("ck_portfolio_performance_book"), "portfolio_performance", "book IN ('recommendations', 'user', 'passed_over')"
    )


def downgrade() -> None:
    op.execute("DELETE FROM portfolio_performance WHERE book = 'passed_over'")
    op.drop_constraint(op.f("ck_portfolio_performance_book"), "portfolio_performance", type_="check")
    op.create_check_constraint(
        op.f("ck_portfolio_performance_book"), "portfolio_performance", "book IN ('recommendations', 'user')"
    )
    op.drop_column("recommendations", "drivers")
    op.drop_column("recommendations", "why")
    op.drop_column("recommendations", "sector")
    op.drop_column("recommendations", "settings_version")
    op.drop_column("portfolio_performance", "beta")
    op.drop_column("portfolio_performance", "alpha")
    op.drop_column("portfolio_performance", "benchmark_return")
    op.drop_column("portfolio_performance", "turnover")
    op.drop_column("portfolio_performance", "average_loss")
    op.drop_column("portfolio_performance", "average_win")
    op.drop_index("ix_sample_positions_status", table_name="sample_positions")
    op.drop_table("sample_positions")
    op.drop_table("recalibrations")
    op.drop_table("model_weight_history")
    op.drop_table("drift_checks")
    op.drop_index("ix_alerts_created_at", table_name="alerts")
    op.drop_table("alerts")
