"""The tables in PostgreSQL. Money is NUMERIC(18,6) in dollars, time is timestamptz, a session is a date.

A probability or a share of something is between 0 and 1, a score between 0 and 100; a return is a
fraction (0.05 is five per cent) and `net` means after the costs of both sides.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Numeric,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Day = date
"""For classes that have a column called `date`."""

Id = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Money = Annotated[Decimal, mapped_column(Numeric(18, 6))]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
RecordedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=text("now()"))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]
JsonList = Annotated[list[Any], mapped_column(JSONB)]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _one_of(column: str, *values: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


class Trial(Base):
    """A trial that was run or is running: its whole configuration, so that it can be run again."""

    __tablename__ = "trials"

    trial_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    timeframe: Mapped[str]
    feature_set: Mapped[str]
    config: Mapped[Json]
    proposed_by: Mapped[str]
    rationale: Mapped[str | None]
    created_at: Mapped[RecordedAt]
    status: Mapped[str] = mapped_column(server_default="created")


class TrialScorecard(Base):
    """What a trial achieved out of sample; `deflated_sharpe` is a probability, `daily_sharpe` is not annualized."""

    __tablename__ = "trial_scorecards"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.trial_id"), primary_key=True)
    grade: Mapped[str]
    metrics: Mapped[Json]
    daily_sharpe: Mapped[float | None]
    deflated_sharpe: Mapped[float | None]
    sessions: Mapped[int]
    mlflow_run_id: Mapped[str | None]
    dagster_run_id: Mapped[str | None]
    scored_at: Mapped[RecordedAt]


class LeaderboardRow(Base):
    """A trial's place among the trials of its timeframe; 1 is the best.

    `net_return_low` and `net_return_high` are the 95 % interval of `net_return`; `probability_of_overfitting` is that of
    picking the best of the whole timeframe, the same in each of its rows.
    """

    __tablename__ = "leaderboard"

    timeframe: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.trial_id"), primary_key=True)
    rank: Mapped[int]
    model: Mapped[str]
    grade: Mapped[str]
    deflated_sharpe: Mapped[float | None]
    net_return: Mapped[float | None]
    sharpe: Mapped[float | None]
    rank_ic: Mapped[float | None]
    brier_skill: Mapped[float | None]
    net_return_low: Mapped[float | None]
    net_return_high: Mapped[float | None]
    probability_of_overfitting: Mapped[float | None]
    updated_at: Mapped[RecordedAt]


class Promotion(Base):
    """A decision about who is champion, and why; the newest `promoted` or `rolled_back` row holds."""

    __tablename__ = "promotions"
    __table_args__ = (
        _one_of("decision", "promoted", "refused", "rolled_back"),
        Index("ix_promotions_timeframe_id", "timeframe", "id"),
    )

    id: Mapped[Id]
    timeframe: Mapped[str]
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.trial_id"))
    decision: Mapped[str]
    grade: Mapped[str]
    model_version: Mapped[str | None]
    reasons: Mapped[JsonList]
    decided_at: Mapped[RecordedAt]


class Recommendation(Base):
    """A strong buy, as it was known at `timestamp`; `session` is the session whose bar it was decided on."""

    __tablename__ = "recommendations"
    __table_args__ = (
        UniqueConstraint("symbol", "timeframe", "session"),
        Index("ix_recommendations_session", "session"),
        CheckConstraint("entry_price > 0", name="entry_price"),
        CheckConstraint("profit_probability BETWEEN 0 AND 1", name="profit_probability"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
        CheckConstraint("signal_strength BETWEEN 0 AND 1", name="signal_strength"),
    )

    id: Mapped[Id]
    timestamp: Mapped[Moment]
    symbol: Mapped[str]
    signal_strength: Mapped[float]
    profit_probability: Mapped[float]
    confidence: Mapped[float]
    entry_price: Mapped[Money]
    target_price: Mapped[Money]
    stop_loss: Mapped[Money]
    timeframe: Mapped[str]
    model_used: Mapped[str]
    session: Mapped[Day]
    expected_net_return: Mapped[float | None]
    probability_low: Mapped[float | None]
    probability_high: Mapped[float | None]
    volatility: Mapped[float]
    regime_score: Mapped[float | None]
    grade: Mapped[str]
    model_version: Mapped[str | None]
    trial_id: Mapped[str | None]
    market: Mapped[str]
    thresholds: Mapped[Json]
    settings_version: Mapped[int | None] = mapped_column(BigInteger)
    sector: Mapped[str | None]
    why: Mapped[str | None]
    drivers: Mapped[list[Any] | None] = mapped_column(JSONB)


class _PaperTrade:
    """Columns of a paper trade; see `VirtualPosition`."""

    symbol: Mapped[str]
    timeframe: Mapped[str]
    status: Mapped[str]
    decided_session: Mapped[date]
    entry_session: Mapped[date]
    entry_time: Mapped[Moment | None]
    entry_price: Mapped[Money | None]
    shares: Mapped[Money]
    current_price: Mapped[Money]
    marked_session: Mapped[date | None]
    exit_session: Mapped[date | None]
    exit_time: Mapped[Moment | None]
    exit_price: Mapped[Money | None]
    exit_reason: Mapped[str | None]
    profit_loss: Mapped[Money]
    net_return: Mapped[float | None]
    fees: Mapped[Money]
    target_price: Mapped[Money]
    stop_loss: Mapped[Money]
    max_sessions: Mapped[int]
    volatility: Mapped[float]
    target_multiple: Mapped[float]
    stop_multiple: Mapped[float]
    cost_bps: Mapped[float]
    notional: Mapped[Money]
    intraday: Mapped[bool]
    fill_price: Mapped[Money | None]
    fill_shares: Mapped[Money | None]
    factor: Mapped[float] = mapped_column(server_default="1")
    opened_at: Mapped[RecordedAt]
    updated_at: Mapped[RecordedAt]


def _trade_rules() -> tuple[CheckConstraint, ...]:
    return (
        _one_of("status", "pending", "open", "closed"),
        CheckConstraint("status = 'pending' OR exit_reason = 'not_traded' OR fill_price > 0", name="entered"),
        CheckConstraint("(status = 'closed') = (exit_session IS NOT NULL AND exit_reason IS NOT NULL)", name="exited"),
    )


class VirtualPosition(_PaperTrade, Base):
    """The paper trade of a recommendation.

    `pending` until the open of `entry_session`, then `open`, then `closed` (at once, with exit reason `not_traded` and
    no entry, where the symbol did not trade at `entry_session`).

    What was bought is kept as it was filled: `fill_price` dollars a share, `fill_shares` shares, `notional` dollars.
    `entry_price`, `shares`, `target_price` and `stop_loss` are the same trade restated for the splits and the
    (reinvested) dividends from then to `marked_session`, so that they compare with `current_price` and `exit_price`,
    which are prices as traded: `shares` × `entry_price` stays `notional`. `factor` is that restatement.

    `fees` are both sides' costs so far. `profit_loss` is dollars to the cent, after fees: realized once closed, before
    that as if sold at `current_price`. `net_return` is set at the exit and is the label's. The levels lie
    `target_multiple` and `stop_multiple` × `volatility` × √`max_sessions` from the entry, in logarithms.
    """

    __tablename__ = "virtual_positions"
    __table_args__ = (*_trade_rules(), Index("ix_virtual_positions_status", "status"))

    id: Mapped[Id]
    recommendation_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("recommendations.id"), unique=True)


class SamplePosition(_PaperTrade, Base):
    """The paper trade of a signal just below the thresholds: nobody was told of it, it judges the thresholds.

    `reason` is the rule that kept it out, as the signal said; the rest is as in `recommendations` and
    `virtual_positions`.
    """

    __tablename__ = "sample_positions"
    __table_args__ = (
        *_trade_rules(),
        UniqueConstraint("symbol", "timeframe", "decided_session"),
        Index("ix_sample_positions_status", "status"),
    )

    id: Mapped[Id]
    timestamp: Mapped[Moment]
    signal_strength: Mapped[float]
    profit_probability: Mapped[float]
    confidence: Mapped[float]
    expected_net_return: Mapped[float | None]
    regime_score: Mapped[float | None]
    model_used: Mapped[str]
    model_version: Mapped[str | None]
    trial_id: Mapped[str | None]
    grade: Mapped[str]
    market: Mapped[str]
    sector: Mapped[str | None]
    reason: Mapped[str]
    settings_version: Mapped[int | None] = mapped_column(BigInteger)


class UserPosition(Base):
    """A recommendation the user says to have bought, and perhaps sold; what is theirs is recorded as they told it."""

    __tablename__ = "user_portfolio"
    __table_args__ = (
        Index("ix_user_portfolio_recommendation_id", "recommendation_id"),
        CheckConstraint("actual_buy_price > 0", name="actual_buy_price"),
        CheckConstraint("actual_shares > 0", name="actual_shares"),
        CheckConstraint("actual_sell_price > 0", name="actual_sell_price"),
        CheckConstraint("(actual_sell_price IS NULL) = (closed_time IS NULL)", name="closed"),
    )

    id: Mapped[Id]
    recommendation_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("recommendations.id"))
    selected_time: Mapped[RecordedAt]
    actual_buy_price: Mapped[Money | None]
    actual_shares: Mapped[Money | None]
    actual_sell_price: Mapped[Money | None]
    closed_time: Mapped[Moment | None]
    notes: Mapped[str | None]


class PortfolioPerformance(Base):
    """A book at a session's close.

    `exposure` is market value over equity, `drawdown` is 0 or negative, `turnover` what was bought and sold in the
    session over twice the equity, `benchmark_return` the equal-weight universe's return of the session, `alpha` (a year)
    and `beta` those of the book's daily returns so far to it.
    """

    __tablename__ = "portfolio_performance"
    __table_args__ = (_one_of("book", "recommendations", "user", "passed_over"),)

    date: Mapped[Day] = mapped_column(primary_key=True)
    book: Mapped[str] = mapped_column(primary_key=True)
    equity: Mapped[Money]
    cash: Mapped[Money]
    drawdown: Mapped[float]
    exposure: Mapped[float]
    open_positions: Mapped[int]
    closed_positions: Mapped[int]
    realized: Mapped[Money]
    unrealized: Mapped[Money]
    hit_rate: Mapped[float | None]
    average_win: Mapped[Money | None]
    average_loss: Mapped[Money | None]
    turnover: Mapped[float | None]
    benchmark_return: Mapped[float | None]
    alpha: Mapped[float | None]
    beta: Mapped[float | None]


class Outcome(Base):
    """A closed position beside what was predicted for it when it was recommended."""

    __tablename__ = "outcomes"

    position_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("virtual_positions.id"), primary_key=True)
    recommendation_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("recommendations.id"))
    symbol: Mapped[str]
    timeframe: Mapped[str]
    model_used: Mapped[str]
    trial_id: Mapped[str | None]
    predicted_probability: Mapped[float]
    expected_net_return: Mapped[float | None]
    confidence: Mapped[float]
    regime_score: Mapped[float | None]
    net_return: Mapped[float]
    profitable: Mapped[bool]
    exit_reason: Mapped[str]
    closed_session: Mapped[Day]
    recorded_at: Mapped[RecordedAt]


class ModelWeight(Base):
    """The weight of a trial's model in the ensemble of its timeframe; `brier` is null before any observation."""

    __tablename__ = "model_weights"
    __table_args__ = (CheckConstraint("weight BETWEEN 0 AND 1", name="weight"),)

    timeframe: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[float]
    observations: Mapped[int]
    brier: Mapped[float | None]
    updated_at: Mapped[RecordedAt]


class LearningReport(Base):
    """What was learned as of a session: for people (`markdown`) and for programs (`report`)."""

    __tablename__ = "learning_reports"

    id: Mapped[Id]
    created_at: Mapped[RecordedAt]
    as_of: Mapped[Day]
    report: Mapped[Json]
    markdown: Mapped[str]


class TrialProposal(Base):
    """A trial somebody wants run, with the hypothesis behind it and what would refute it."""

    __tablename__ = "trial_proposals"
    __table_args__ = (
        UniqueConstraint("trial_id"),
        _one_of("status", "proposed", "approved", "rejected", "launched", "done", "failed"),
    )

    id: Mapped[Id]
    created_at: Mapped[RecordedAt]
    proposer: Mapped[str]
    trial_id: Mapped[str]
    config: Mapped[Json]
    hypothesis: Mapped[str]
    refuted_if: Mapped[str]
    expected_gain: Mapped[float | None]
    status: Mapped[str] = mapped_column(server_default="proposed")
    decided_by: Mapped[str | None]
    decided_at: Mapped[Moment | None]
    run_id: Mapped[str | None]
    result: Mapped[Json | None]


class RuntimeSetting(Base):
    """A setting that is changed while the system runs: the newest row of a name holds, null is its default again."""

    __tablename__ = "runtime_settings"
    __table_args__ = (Index("ix_runtime_settings_name_id", "name", "id"),)

    id: Mapped[Id]
    name: Mapped[str]
    value: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    changed_by: Mapped[str]
    reason: Mapped[str]
    changed_at: Mapped[RecordedAt]


class AgentCall(Base):
    """One request to Claude: what was asked, what came back or why nothing did, and what it cost."""

    __tablename__ = "agent_calls"
    __table_args__ = (
        _one_of("purpose", "propose", "repair", "chat", "summary"),
        Index("ix_agent_calls_called_at", "called_at"),
    )

    id: Mapped[Id]
    called_at: Mapped[Moment]
    purpose: Mapped[str]
    session_id: Mapped[str | None]
    model: Mapped[str]
    prompt_version: Mapped[str]
    request: Mapped[Json]
    response: Mapped[Json | None]
    stop_reason: Mapped[str | None]
    error: Mapped[str | None]
    input_tokens: Mapped[int]
    cache_write_tokens: Mapped[int]
    cache_read_tokens: Mapped[int]
    output_tokens: Mapped[int]
    dollars: Mapped[Money]
    seconds: Mapped[float]


class AgentEvent(Base):
    """What the agent did or had done to it, besides talking to Claude: tool calls, validations, decisions, outcomes."""

    __tablename__ = "agent_events"
    __table_args__ = (Index("ix_agent_events_happened_at", "happened_at"),)

    id: Mapped[Id]
    happened_at: Mapped[Moment]
    kind: Mapped[str]
    by: Mapped[str]
    session_id: Mapped[str | None]
    call_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("agent_calls.id"))
    detail: Mapped[Json]


class AgentAction(Base):
    """Something that computes or changes a setting: waits for a yes, then runs once.

    `pending`, then `rejected`, `expired` or `running`, and from there `done` or `failed`. `jobs` are the jobs it
    started; `told` is whether its result has been in the agent's context.
    """

    __tablename__ = "agent_actions"
    __table_args__ = (
        _one_of("status", "pending", "rejected", "expired", "running", "done", "failed"),
        Index("ix_agent_actions_session_id", "session_id", "id"),
        Index("ix_agent_actions_status", "status"),
    )

    id: Mapped[Id]
    session_id: Mapped[str]
    kind: Mapped[str]
    params: Mapped[Json]
    summary: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    proposed_by: Mapped[str]
    created_at: Mapped[Moment]
    expires_at: Mapped[Moment]
    decided_by: Mapped[str | None]
    decided_at: Mapped[Moment | None]
    jobs: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'"))
    finished_at: Mapped[Moment | None]
    result: Mapped[Json | None]
    error: Mapped[str | None]
    told: Mapped[bool] = mapped_column(server_default=text("false"))


class ChatSession(Base):
    """A conversation: the summary of its turns up to message `summarised_until`, and until when a turn holds it."""

    __tablename__ = "chat_sessions"

    session_id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[Moment]
    summary: Mapped[str | None]
    summarised_until: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    busy_until: Mapped[Moment | None]


class ChatMessage(Base):
    """A message as the Messages API has it: a role and blocks; `turn` counts what the user said, from 1."""

    __tablename__ = "chat_messages"
    __table_args__ = (
        _one_of("role", "user", "assistant"),
        Index("ix_chat_messages_session_id_id", "session_id", "id"),
    )

    id: Mapped[Id]
    session_id: Mapped[str] = mapped_column(ForeignKey("chat_sessions.session_id"))
    turn: Mapped[int]
    role: Mapped[str]
    content: Mapped[JsonList]
    written_at: Mapped[Moment]


class ProposalRun(Base):
    """The computing that a launched proposal has cost, from its launch to its end; `seconds` is null while it runs."""

    __tablename__ = "proposal_runs"

    proposal_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("trial_proposals.id"), primary_key=True)
    launched_at: Mapped[Moment]
    finished_at: Mapped[Moment | None]
    seconds: Mapped[float | None]


class ModelWeightHistory(Base):
    """The weights as they stood once the outcomes of session `as_of` were known; a refresh uses those before its session."""

    __tablename__ = "model_weight_history"

    as_of: Mapped[Day] = mapped_column(primary_key=True)
    timeframe: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[float]
    observations: Mapped[int]
    brier: Mapped[float | None]


class Recalibration(Base):
    """How a champion's probabilities are corrected after session `as_of`: log-odds become intercept + slope × log-odds."""

    __tablename__ = "recalibrations"

    as_of: Mapped[Day] = mapped_column(primary_key=True)
    timeframe: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    intercept: Mapped[float]
    slope: Mapped[float]
    observations: Mapped[int]
    effective_observations: Mapped[float]
    brier_before: Mapped[float | None]
    brier_after: Mapped[float | None]


class DriftCheck(Base):
    """One look for drift; without any, `p_value` falls to `false_alarm_rate` or below that often."""

    __tablename__ = "drift_checks"
    __table_args__ = (_one_of("kind", "features", "predictions", "calibration"),)

    as_of: Mapped[Day] = mapped_column(primary_key=True)
    timeframe: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str]
    subject: Mapped[str]
    statistic: Mapped[float]
    threshold: Mapped[float]
    p_value: Mapped[float]
    false_alarm_rate: Mapped[float]
    crossed: Mapped[bool]
    advice: Mapped[str]


class Alert(Base):
    """Something a person should know; `key` says what it is about, so that the same thing is raised once."""

    __tablename__ = "alerts"
    __table_args__ = (_one_of("severity", "info", "warning", "error"), Index("ix_alerts_created_at", "created_at"))

    id: Mapped[Id]
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    severity: Mapped[str]
    message: Mapped[str]
    details: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'"))
    run_id: Mapped[str | None]
    created_at: Mapped[RecordedAt]
    acknowledged_at: Mapped[Moment | None]
    acknowledged_by: Mapped[str | None]
