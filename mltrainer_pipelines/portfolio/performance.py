"""How the books stand at a session's close: every recommendation, and what the user bought of them."""

from dataclasses import asdict, dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.portfolio.account import CENT, PaperAccount
from mltrainer_pipelines.store.tables import PortfolioPerformance, UserPosition, VirtualPosition

RECOMMENDATIONS, USER = "recommendations", "user"


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


def performance(engine: Engine, as_of: date, account: PaperAccount | None = None) -> list[BookPerformance]:
    """Record both books at the close of `as_of`, from the positions as they are settled now; again overwrites.

    Positions entered after `as_of` are left out; a position closed after it counts as closed. Call it after
    `positions.settle` of the same session. The book `user` holds what `user_portfolio` says, at the user's own price
    and shares where given (else the virtual position's), and sells where the virtual position is closed.

    Returns
    -------
    list of BookPerformance
        `recommendations`, then `user`.
    """
    account = account or PaperAccount()
    rows = []
    with engine.begin() as connection:
        for book, trades in ((RECOMMENDATIONS, _virtual(connection, as_of)), (USER, _users(connection, as_of))):
            row = _summed(connection, book, as_of, trades, account)
            values = asdict(row)
            statement = insert(PortfolioPerformance).values(values)
            connection.execute(statement.on_conflict_do_update(index_elements=["date", "book"], set_=values))
            rows.append(row)
    return rows


@dataclass(frozen=True)
class _Trade:
    closed: bool
    value: Decimal
    profit_loss: Decimal


_ENTERED = (VirtualPosition.fill_price.is_not(None), VirtualPosition.status != "pending")


def _virtual(connection: Connection, as_of: date) -> list[_Trade]:
    statement = sa.select(
        VirtualPosition.status, VirtualPosition.shares, VirtualPosition.current_price, VirtualPosition.profit_loss
    ).where(*_ENTERED, VirtualPosition.entry_session <= as_of)
    return [_Trade(r.status == "closed", r.shares * r.current_price, r.profit_loss) for r in connection.execute(statement)]


def _users(connection: Connection, as_of: date) -> list[_Trade]:
    statement = (
        sa.select(UserPosition.actual_buy_price, UserPosition.actual_shares, VirtualPosition.__table__)
        .join(VirtualPosition, VirtualPosition.recommendation_id == UserPosition.recommendation_id)
        .where(*_ENTERED, VirtualPosition.entry_session <= as_of)
    )
    return [_own_trade(dict(row)) for row in connection.execute(statement).mappings()]


def _own_trade(row: dict[str, Any]) -> _Trade:
    bought = row["actual_shares"] or row["fill_shares"]
    paid = row["actual_buy_price"] or row["fill_price"]
    cost, value = bought * paid, bought * Decimal(repr(row["factor"])) * row["current_price"]
    rate = Decimal(repr(row["cost_bps"])) / 10_000
    return _Trade(row["status"] == "closed", value, _cents(value) - _cents(cost) - _cents(cost * rate) - _cents(value * rate))


def _summed(connection: Connection, book: str, as_of: date, trades: list[_Trade], account: PaperAccount) -> BookPerformance:
    closed = [trade for trade in trades if trade.closed]
    held = [trade for trade in trades if not trade.closed]
    realized, unrealized = (sum((trade.profit_loss for trade in group), Decimal(0)) for group in (closed, held))
    market_value = _cents(sum((trade.value for trade in held), Decimal(0)))
    equity = account.equity + realized + unrealized
    earlier = connection.scalar(
        sa.select(sa.func.max(PortfolioPerformance.equity)).where(
            PortfolioPerformance.book == book, PortfolioPerformance.date < as_of
        )
    )
    peak = max(equity, account.equity, earlier or equity)
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
        hit_rate=sum(trade.profit_loss > 0 for trade in closed) / len(closed) if closed else None,
    )


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_EVEN)
