"""What was recommended, bought on paper and by the user, and how the books stand."""

from datetime import date
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mltrainer_pipelines.store.tables.base import Base, Day, Id, Json, Moment, Money, RecordedAt, one_of


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
        one_of("status", "pending", "open", "closed"),
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


class LeaningPosition(_PaperTrade, Base):
    """The paper trade of a leaning: what the models put first, bought whether or not it is good enough to be recommended.

    `place` is 1 for the first of its timeframe and session; `recommended` says whether it was a strong buy too. The rest is as in
    `recommendations` and `virtual_positions`.
    """

    __tablename__ = "leaning_positions"
    __table_args__ = (
        *_trade_rules(),
        UniqueConstraint("symbol", "timeframe", "decided_session"),
        Index("ix_leaning_positions_status", "status"),
    )

    id: Mapped[Id]
    timestamp: Mapped[Moment]
    place: Mapped[int]
    signal_strength: Mapped[float]
    profit_probability: Mapped[float]
    expected_net_return: Mapped[float | None]
    model_used: Mapped[str]
    model_version: Mapped[str | None]
    trial_id: Mapped[str | None]
    grade: Mapped[str]
    market: Mapped[str]
    recommended: Mapped[bool]


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
    """A book at a session's close; `portfolio.performance.BookPerformance` says what each number is."""

    __tablename__ = "portfolio_performance"
    __table_args__ = (one_of("book", "recommendations", "user", "passed_over"),)

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
