"""How the books stand at a session's close: every recommendation, what the user bought of them, and what the user passed over."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.market.history import adjusted_history
from mltrainer_pipelines.market.listings import Listings
from mltrainer_pipelines.market.sessions import next_session
from mltrainer_pipelines.portfolio.account import PaperAccount
from mltrainer_pipelines.portfolio.holdings import Trade, cents, paper_trade, users_trades
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import PortfolioPerformance, UserPosition, VirtualPosition

RECOMMENDATIONS, USER, PASSED_OVER = "recommendations", "user", "passed_over"
LEAST_RETURNS = 20
"""Sessions below which a book's alpha and beta are not given."""
SESSIONS_PER_YEAR = 252


@dataclass(frozen=True)
class BookPerformance:
    """A book at the close of `date`.

    Parameters
    ----------
    equity : Decimal
        The paper account's dollars plus `realized` plus `unrealized`.
    cash : Decimal
        Equity less the market value held; below 0 where more was recommended than the account can hold.
    drawdown : float
        Equity over its highest recorded value so far, minus 1: 0 or negative.
    exposure : float
        Market value held over equity.
    open_positions, closed_positions : int
        Entered ones; pending and never traded ones are not counted.
    realized, unrealized : Decimal
        Dollars after fees, of closed positions and of open ones as if sold at their mark.
    hit_rate : float or None
        Share of the closed positions with a profit after fees; None before the first.
    average_win, average_loss : Decimal or None
        Mean profit of the closed positions with one, and mean (negative) result of the others, dollars.
    turnover : float
        What was bought and sold in the session over twice the equity.
    benchmark_return : float or None
        The equal-weight universe's return of the session; None where it is not known (yet).
    alpha, beta : float or None
        Least squares of the book's daily returns so far on the benchmark's: intercept a year, and slope. None below 20
        sessions, or where the benchmark did not move.
    """

    date: date
    book: str
    equity: Decimal
    cash: Decimal
    drawdown: float
    exposure: float
    open_positions: int
    closed_positions: int
    realized: Decimal
    unrealized: Decimal
    hit_rate: float | None
    average_win: Decimal | None
    average_loss: Decimal | None
    turnover: float
    benchmark_return: float | None
    alpha: float | None
    beta: float | None


def performance(
    engine: Engine,
    as_of: date,
    account: PaperAccount | None = None,
    benchmark: Mapping[date, float] | None = None,
    prices: Mapping[str, Decimal] | None = None,
    actions: pl.DataFrame | None = None,
    listings: Listings | None = None,
) -> list[BookPerformance]:
    """Record the books at the close of `as_of` from the positions as they are settled now; again overwrites. Returns the three.

    Positions entered after `as_of` are left out; a position closed after it counts as closed. Call it after
    `settlement.settle` of the same session. The book `user` is what `user_portfolio` says, with the splits and dividends
    in between (`actions`: symbol, ex_date, kind, ratio, cash), and the paper trade where it says nothing; `passed_over` holds
    every recommendation that is not in it. `benchmark` are the universe's returns (`universe_returns`), recorded with their
    sessions; `prices` the last ones of what the user holds, dollars as traded: without one a symbol is valued as its paper
    trade was last. `prices` and `actions` are by company, `listings` says which one a position's symbol was.
    """
    account = account or PaperAccount()
    rows = []
    with engine.begin() as connection:
        for session, value in (benchmark or {}).items():
            chosen = sa.update(PortfolioPerformance).where(PortfolioPerformance.date == session)
            connection.execute(chosen.values(benchmark_return=value))
        selected = sa.select(UserPosition.recommendation_id)
        books = {
            RECOMMENDATIONS: _virtual(connection, as_of),
            USER: users_trades(connection, as_of, prices or {}, actions, listings),
            PASSED_OVER: _virtual(connection, as_of, VirtualPosition.recommendation_id.not_in(selected)),
        }
        for book, trades in books.items():
            row = _summed(connection, book, as_of, trades, account, benchmark or {})
            values = asdict(row)
            statement = insert(PortfolioPerformance).values(values)
            connection.execute(statement.on_conflict_do_update(index_elements=["date", "book"], set_=values))
            rows.append(row)
    return rows


def books_are_kept(engine: Engine) -> bool:
    """Whether any session is recorded."""
    with engine.connect() as connection:
        return connection.execute(sa.select(PortfolioPerformance.date).limit(1)).first() is not None


def sessions_without_benchmark(engine: Engine, until: date) -> list[date]:
    """Recorded sessions up to one whose benchmark return is not known yet, in order."""
    row = PortfolioPerformance
    statement = sa.select(row.date).where(row.benchmark_return.is_(None), row.date <= until).distinct().order_by(row.date)
    with engine.connect() as connection:
        return list(connection.scalars(statement))


def missing_benchmark(engine: Engine, lake: Lake, newest: date, as_of: date) -> dict[date, float]:
    """Returns of the universe in recorded sessions that have none yet, and in that of the books, as far as bars are final.

    `newest` is the newest session with final bars, `as_of` that of the books.
    """
    lacking = {*sessions_without_benchmark(engine, newest), *([newest] if as_of == newest else [])}
    months = sorted({str(day.replace(day=1)) for day in lacking} & set(lake.partitions("universe")))
    if not months:
        return {}
    members = lake.scan("universe", months).collect()
    bars = adjusted_history(lake, min(lacking), max(lacking), look_back=1, symbols=members["symbol"].unique())
    return {day: value for day, value in universe_returns(bars, members).items() if day in lacking}


def universe_returns(adjusted_bars: pl.DataFrame, universe: pl.DataFrame) -> dict[date, float]:
    """Mean return of the universe's members a session, close to close, dividends included.

    From adjusted bars (date, symbol, adj_close; the first session gives no return) and the universe (month, symbol).
    """
    returns = (
        adjusted_bars.sort("symbol", "date")
        .with_columns(gain=pl.col("adj_close") / pl.col("adj_close").shift(1).over("symbol") - 1)
        .with_columns(month=pl.col("date").dt.truncate("1mo"))
        .join(universe.select("month", "symbol"), on=["month", "symbol"], how="semi")
        .group_by("date")
        .agg(pl.col("gain").mean())
        .drop_nulls()
    )
    return dict(returns.sort("date").iter_rows())


_ENTERED = (VirtualPosition.fill_price.is_not(None), VirtualPosition.status != "pending")


def _virtual(connection: Connection, as_of: date, *chosen: sa.ColumnElement[bool]) -> list[Trade]:
    p = VirtualPosition
    columns = (p.status, p.shares, p.current_price, p.profit_loss, p.notional, p.entry_session, p.exit_session)
    statement = sa.select(*columns).where(*_ENTERED, p.entry_session <= as_of, *chosen)
    return [paper_trade(row, as_of) for row in connection.execute(statement)]


def _summed(
    connection: Connection,
    book: str,
    as_of: date,
    trades: list[Trade],
    account: PaperAccount,
    benchmark: Mapping[date, float],
) -> BookPerformance:
    closed = [trade for trade in trades if trade.closed]
    held = [trade for trade in trades if not trade.closed]
    wins = [trade.profit_loss for trade in closed if trade.profit_loss > 0]
    losses = [trade.profit_loss for trade in closed if trade.profit_loss <= 0]
    realized, unrealized = (sum((trade.profit_loss for trade in group), Decimal(0)) for group in (closed, held))
    market_value = cents(sum((trade.value for trade in held), Decimal(0)))
    traded = sum((trade.traded for trade in trades), Decimal(0))
    equity = account.equity + realized + unrealized
    row = PortfolioPerformance
    earlier = connection.execute(
        sa.select(row.date, row.equity, row.benchmark_return).where(row.book == book, row.date < as_of).order_by(row.date)
    ).all()
    recorded = connection.scalar(sa.select(row.benchmark_return).where(row.book == book, row.date == as_of))
    benchmark_return = benchmark.get(as_of, recorded)
    alpha, beta = _alpha_beta([*((r.date, r.equity, r.benchmark_return) for r in earlier), (as_of, equity, benchmark_return)])
    peak = max([equity, account.equity, *(r.equity for r in earlier)])
    return BookPerformance(
        date=as_of,
        book=book,
        equity=equity,
        cash=equity - market_value,
        drawdown=float(equity / peak - 1),
        exposure=float(market_value / equity) if equity > 0 else 0.0,
        open_positions=len(held),
        closed_positions=len(closed),
        realized=realized,
        unrealized=unrealized,
        hit_rate=len(wins) / len(closed) if closed else None,
        average_win=_mean(wins),
        average_loss=_mean(losses),
        turnover=float(traded / (2 * equity)) if equity > 0 else 0.0,
        benchmark_return=benchmark_return,
        alpha=alpha,
        beta=beta,
    )


def _alpha_beta(record: list[tuple[date, Decimal, float | None]]) -> tuple[float | None, float | None]:
    """Of a record of sessions, equity and the benchmark's return; a return is taken from one session to the next only."""
    pairs = [
        (float(equity / before - 1), market_return)
        for (earlier, before, _), (session, equity, market_return) in pairwise(record)
        if market_return is not None and before > 0 and next_session(earlier) == session
    ]
    if len(pairs) < LEAST_RETURNS:
        return None, None
    book_returns, market_returns = np.array(pairs).T
    variance = float(market_returns.var())
    if variance <= 0:
        return None, None
    beta = float(((market_returns - market_returns.mean()) * (book_returns - book_returns.mean())).mean() / variance)
    alpha = float(book_returns.mean() - beta * market_returns.mean()) * SESSIONS_PER_YEAR
    return (alpha, beta) if math.isfinite(alpha) else (None, None)


def _mean(amounts: list[Decimal]) -> Decimal | None:
    return cents(sum(amounts, Decimal(0)) / len(amounts)) if amounts else None
