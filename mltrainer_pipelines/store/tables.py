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
    """A trial's place among the trials of its timeframe; 1 is the best."""

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


class VirtualPosition(Base):
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
    __table_args__ = (
        _one_of("status", "pending", "open", "closed"),
        CheckConstraint("status = 'pending' OR exit_reason = 'not_traded' OR fill_price > 0", name="entered"),
        CheckConstraint("(status = 'closed') = (exit_session IS NOT NULL AND exit_reason IS NOT NULL)", name="exited"),
        Index("ix_virtual_positions_status", "status"),
    )

    id: Mapped[Id]
    recommendation_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("recommendations.id"), unique=True)
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


class UserPosition(Base):
    """A recommendation the user says to have bought; what is theirs is recorded as they told it."""

    __tablename__ = "user_portfolio"
    __table_args__ = (
        Index("ix_user_portfolio_recommendation_id", "recommendation_id"),
        CheckConstraint("actual_buy_price > 0", name="actual_buy_price"),
        CheckConstraint("actual_shares > 0", name="actual_shares"),
    )

    id: Mapped[Id]
    recommendation_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("recommendations.id"))
    selected_time: Mapped[RecordedAt]
    actual_buy_price: Mapped[Money | None]
    actual_shares: Mapped[Money | None]
    notes: Mapped[str | None]


class PortfolioPerformance(Base):
    """A book at a session's close. `exposure` is market value over equity, `drawdown` is 0 or negative."""

    __tablename__ = "portfolio_performance"
    __table_args__ = (_one_of("book", "recommendations", "user"),)

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
