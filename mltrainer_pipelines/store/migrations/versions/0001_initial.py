"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "learning_reports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("markdown", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_learning_reports")),
    )
    op.create_table(
        "model_weights",
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("observations", sa.Integer(), nullable=False),
        sa.Column("brier", sa.Float(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("weight BETWEEN 0 AND 1", name=op.f("ck_model_weights_weight")),
        sa.PrimaryKeyConstraint("timeframe", "trial_id", name=op.f("pk_model_weights")),
    )
    op.create_table(
        "portfolio_performance",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("book", sa.String(), nullable=False),
        sa.Column("equity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("cash", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("drawdown", sa.Float(), nullable=False),
        sa.Column("exposure", sa.Float(), nullable=False),
        sa.Column("open_positions", sa.Integer(), nullable=False),
        sa.Column("closed_positions", sa.Integer(), nullable=False),
        sa.Column("realized", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("unrealized", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("hit_rate", sa.Float(), nullable=True),
        sa.CheckConstraint("book IN ('recommendations', 'user')", name=op.f("ck_portfolio_performance_book")),
        sa.PrimaryKeyConstraint("date", "book", name=op.f("pk_portfolio_performance")),
    )
    op.create_table(
        "recommendations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("signal_strength", sa.Float(), nullable=False),
        sa.Column("profit_probability", sa.Float(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("entry_price", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("target_price", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("stop_loss", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("model_used", sa.String(), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("expected_net_return", sa.Float(), nullable=True),
        sa.Column("probability_low", sa.Float(), nullable=True),
        sa.Column("probability_high", sa.Float(), nullable=True),
        sa.Column("volatility", sa.Float(), nullable=False),
        sa.Column("regime_score", sa.Float(), nullable=True),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=True),
        sa.Column("trial_id", sa.String(), nullable=True),
        sa.Column("market", sa.String(), nullable=False),
        sa.Column("thresholds", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("confidence BETWEEN 0 AND 1", name=op.f("ck_recommendations_confidence")),
        sa.CheckConstraint("entry_price > 0", name=op.f("ck_recommendations_entry_price")),
        sa.CheckConstraint("profit_probability BETWEEN 0 AND 1", name=op.f("ck_recommendations_profit_probability")),
        sa.CheckConstraint("signal_strength BETWEEN 0 AND 1", name=op.f("ck_recommendations_signal_strength")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recommendations")),
        sa.UniqueConstraint("symbol", "timeframe", "session", name=op.f("uq_recommendations_symbol_timeframe_session")),
    )
    op.create_index("ix_recommendations_session", "recommendations", ["session"], unique=False)
    op.create_table(
        "trial_proposals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("proposer", sa.String(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("hypothesis", sa.String(), nullable=False),
        sa.Column("refuted_if", sa.String(), nullable=False),
        sa.Column("expected_gain", sa.Float(), nullable=True),
        sa.Column("status", sa.String(), server_default="proposed", nullable=False),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "status IN ('proposed', 'approved', 'rejected', 'launched', 'done', 'failed')", name=op.f("ck_trial_proposals_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial_proposals")),
        sa.UniqueConstraint("trial_id", name=op.f("uq_trial_proposals_trial_id")),
    )
    op.create_table(
        "trials",
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("feature_set", sa.String(), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("proposed_by", sa.String(), nullable=False),
        sa.Column("rationale", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.String(), server_default="created", nullable=False),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_trials")),
    )
    op.create_table(
        "leaderboard",
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("deflated_sharpe", sa.Float(), nullable=True),
        sa.Column("net_return", sa.Float(), nullable=True),
        sa.Column("sharpe", sa.Float(), nullable=True),
        sa.Column("rank_ic", sa.Float(), nullable=True),
        sa.Column("brier_skill", sa.Float(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.trial_id"], name=op.f("fk_leaderboard_trial_id_trials")),
        sa.PrimaryKeyConstraint("timeframe", "trial_id", name=op.f("pk_leaderboard")),
    )
    op.create_table(
        "promotions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=True),
        sa.Column("reasons", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("decision IN ('promoted', 'refused', 'rolled_back')", name=op.f("ck_promotions_decision")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.trial_id"], name=op.f("fk_promotions_trial_id_trials")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    op.create_index("ix_promotions_timeframe_id", "promotions", ["timeframe", "id"], unique=False)
    op.create_table(
        "trial_scorecards",
        sa.Column("trial_id", sa.String(), nullable=False),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("daily_sharpe", sa.Float(), nullable=True),
        sa.Column("deflated_sharpe", sa.Float(), nullable=True),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.Column("mlflow_run_id", sa.String(), nullable=True),
        sa.Column("dagster_run_id", sa.String(), nullable=True),
        sa.Column("scored_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.trial_id"], name=op.f("fk_trial_scorecards_trial_id_trials")),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_trial_scorecards")),
    )
    op.create_table(
        "user_portfolio",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("recommendation_id", sa.BigInteger(), nullable=False),
        sa.Column("selected_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actual_buy_price", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("actual_shares", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("notes", sa.String(), nullable=True),
        sa.CheckConstraint("actual_buy_price > 0", name=op.f("ck_user_portfolio_actual_buy_price")),
        sa.CheckConstraint("actual_shares > 0", name=op.f("ck_user_portfolio_actual_shares")),
        sa.ForeignKeyConstraint(
            ["recommendation_id"], ["recommendations.id"], name=op.f("fk_user_portfolio_recommendation_id_recommendations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_portfolio")),
    )
    op.create_index("ix_user_portfolio_recommendation_id", "user_portfolio", ["recommendation_id"], unique=False)
    op.create_table(
        "virtual_positions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("recommendation_id", sa.BigInteger(), nullable=False),
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
            name=op.f("ck_virtual_positions_exited"),
        ),
        sa.CheckConstraint(
            "status = 'pending' OR exit_reason = 'not_traded' OR fill_price > 0", name=op.f("ck_virtual_positions_entered")
        ),
        sa.CheckConstraint("status IN ('pending', 'open', 'closed')", name=op.f("ck_virtual_positions_status")),
        sa.ForeignKeyConstraint(
            ["recommendation_id"], ["recommendations.id"], name=op.f("fk_virtual_positions_recommendation_id_recommendations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_virtual_positions")),
        sa.UniqueConstraint("recommendation_id", name=op.f("uq_virtual_positions_recommendation_id")),
    )
    op.create_index("ix_virtual_positions_status", "virtual_positions", ["status"], unique=False)
    op.create_table(
        "outcomes",
        sa.Column("position_id", sa.BigInteger(), nullable=False),
        sa.Column("recommendation_id", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("timeframe", sa.String(), nullable=False),
        sa.Column("model_used", sa.String(), nullable=False),
        sa.Column("trial_id", sa.String(), nullable=True),
        sa.Column("predicted_probability", sa.Float(), nullable=False),
        sa.Column("expected_net_return", sa.Float(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("regime_score", sa.Float(), nullable=True),
        sa.Column("net_return", sa.Float(), nullable=False),
        sa.Column("profitable", sa.Boolean(), nullable=False),
        sa.Column("exit_reason", sa.String(), nullable=False),
        sa.Column("closed_session", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["position_id"], ["virtual_positions.id"], name=op.f("fk_outcomes_position_id_virtual_positions")
        ),
        sa.ForeignKeyConstraint(
            ["recommendation_id"], ["recommendations.id"], name=op.f("fk_outcomes_recommendation_id_recommendations")
        ),
        sa.PrimaryKeyConstraint("position_id", name=op.f("pk_outcomes")),
    )


def downgrade() -> None:
    op.drop_table("outcomes")
    op.drop_index("ix_virtual_positions_status", table_name="virtual_positions")
    op.drop_table("virtual_positions")
    op.drop_index("ix_user_portfolio_recommendation_id", table_name="user_portfolio")
    op.drop_table("user_portfolio")
    op.drop_table("trial_scorecards")
    op.drop_index("ix_promotions_timeframe_id", table_name="promotions")
    op.drop_table("promotions")
    op.drop_table("leaderboard")
    op.drop_table("trials")
    op.drop_table("trial_proposals")
    op.drop_index("ix_recommendations_session", table_name="recommendations")
    op.drop_table("recommendations")
    op.drop_table("portfolio_performance")
    op.drop_table("model_weights")
    op.drop_table("learning_reports")
