"""What the user bought of the recommendations, and sold, by the user's own account: `user_portfolio`.

A holding is the user's own from the purchase to the sale. The paper trade of the same recommendation may be filled at
another price and closed on another day: it is looked at only where the user gave no price or number of shares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.market.history import sessions_in_lake
from mltrainer_pipelines.market.listings import Listings, company_bars
from mltrainer_pipelines.market.sessions import NEW_YORK, next_session
from mltrainer_pipelines.portfolio.account import CENT
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import UserPosition, VirtualPosition

_RECENT_SESSIONS = 5


@dataclass(frozen=True)
class Trade:
    """A position as a book sums it: dollars held or got at the sale, the profit to the cent after the costs of both sides,
    and the dollars bought and sold in the book's session.
    """

    closed: bool
    value: Decimal
    profit_loss: Decimal
    traded: Decimal


@dataclass(frozen=True)
class Holding:
    """Shares of a company (its id; see `market.listings`) from a purchase to a sale.

    Days are New York's; `sold_on` is None while the shares are held. `paid` and `sold_at` are dollars a share as traded
    on these days, `shares` are as bought. `cost_bps` is assumed for each side, as for the paper trade.
    """

    symbol: str
    bought_on: date
    paid: Decimal
    shares: Decimal
    sold_on: date | None
    sold_at: Decimal | None
    cost_bps: float

    def held(self, actions: pl.DataFrame | None, until: date) -> tuple[Decimal, Decimal]:
        """Shares after the splits up to a day, and the dollars of dividends until then; not beyond the sale.

        Actions with an ex-date after the purchase and up to the sale count; on one date the dividend is paid on the
        shares before the split.
        """
        shares, dividends = self.shares, Decimal(0)
        if actions is None:
            return shares, dividends
        last = until if self.sold_on is None else min(until, self.sold_on)
        own = actions.filter(
            (pl.col("symbol") == self.symbol) & (pl.col("ex_date") > self.bought_on) & (pl.col("ex_date") <= last)
        )
        for kind, ratio, cash in own.sort("ex_date", "kind").select("kind", "ratio", "cash").iter_rows():
            if kind == "split":
                shares *= Decimal(repr(ratio))
            else:
                dividends += shares * Decimal(repr(cash))
        return shares, dividends

    def as_trade(self, price: Decimal | None, actions: pl.DataFrame | None, as_of: date) -> Trade:
        """How it stands at the close of a session, at `price` while it is held; without one, at what was paid."""
        sold = self.sold_on is not None and _counted_on(self.sold_on) <= as_of
        shares, dividends = self.held(actions, as_of)
        cost, last = self.shares * self.paid, self.sold_at if sold else price
        value = cost if last is None else shares * last
        rate = Decimal(repr(self.cost_bps)) / 10_000
        gained = cents(value) + cents(dividends) - cents(cost)
        bought = cost if _counted_on(self.bought_on) == as_of else Decimal(0)
        given = value if sold and self.sold_on and _counted_on(self.sold_on) == as_of else Decimal(0)
        return Trade(sold, value, gained - cents(cost * rate) - cents(value * rate), bought + given)


def users_trades(
    connection: Connection,
    as_of: date,
    prices: Mapping[str, Decimal],
    actions: pl.DataFrame | None,
    listings: Listings | None = None,
) -> list[Trade]:
    """The user's book at the close of `as_of`; what was bought later is not in it, and what was sold later is held."""
    trades = []
    for row in connection.execute(_SELECTIONS):
        holding = _holding(row, listings or Listings())
        if holding is None or _counted_on(holding.bought_on) > as_of:
            continue
        if _follows_paper(row):
            trades.append(paper_trade(row, as_of))
        else:
            trades.append(holding.as_trade(prices.get(holding.symbol, row.current_price), actions, as_of))
    return trades


def paper_trade(row: Any, as_of: date) -> Trade:
    """A row of `virtual_positions` that was entered."""
    value = row.shares * row.current_price
    bought = row.notional if row.entry_session == as_of else Decimal(0)
    return Trade(row.status == "closed", value, row.profit_loss, bought + (value if row.exit_session == as_of else Decimal(0)))


def held_symbols(engine: Engine, as_of: date, listings: Listings | None = None) -> list[str]:
    """Companies that the user holds at the close of a session, by the user's own account: whose prices its book needs."""
    with engine.connect() as connection:
        rows = connection.execute(_SELECTIONS).all()
    holdings = [holding for row in rows if not _follows_paper(row) and (holding := _holding(row, listings or Listings()))]
    open_then = [one for one in holdings if one.bought_on <= as_of and (one.sold_on is None or one.sold_on > as_of)]
    return sorted({one.symbol for one in open_then})


def last_prices(lake: Lake, symbols: Sequence[str], newest: date, quotes: pl.DataFrame | None = None) -> dict[str, Decimal]:
    """The last known price of each company, dollars as traded: a trusted quote, else the newest final close within a week.

    Parameters
    ----------
    newest : date
        The newest session whose bars may be looked at.
    quotes : DataFrame, optional
        symbol, close, stale: delayed quotes that are trusted, of the session under way.
    """
    if not symbols:
        return {}
    wanted = pl.col("symbol").is_in(list(symbols))
    recent = sessions_in_lake(lake, date.min, newest)[-_RECENT_SESSIONS:]
    bars = company_bars(lake, recent, pl.Series(symbols))
    prices = dict(bars.sort("date").group_by("symbol", maintain_order=True).last().select("symbol", "close").iter_rows())
    if quotes is not None:
        fresh = quotes.filter(wanted & ~pl.col("stale") & (pl.col("close") > 0))
        prices |= dict(fresh.select("symbol", "close").iter_rows())
    return {symbol: Decimal(repr(round(price, 6))) for symbol, price in prices.items()}


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_EVEN)


_SELECTIONS = (
    sa.select(
        *(UserPosition.actual_buy_price, UserPosition.actual_shares, UserPosition.actual_sell_price),
        *(UserPosition.selected_time, UserPosition.closed_time, VirtualPosition.__table__),
    )
    .join(VirtualPosition, VirtualPosition.recommendation_id == UserPosition.recommendation_id)
    .order_by(UserPosition.id)
)


def _follows_paper(row: Any) -> bool:
    """Whether the user said of the trade only that it was taken."""
    return row.actual_buy_price is None and row.actual_shares is None and row.closed_time is None


def _holding(row: Any, listings: Listings) -> Holding | None:
    """None where price or shares are to be the paper trade's, and that is not filled (yet)."""
    paid, shares = row.actual_buy_price or row.fill_price, row.actual_shares or row.fill_shares
    if paid is None or shares is None:
        return None
    bought_on = _day(row.selected_time) if row.actual_buy_price is not None else row.entry_session
    sold_on = None if row.closed_time is None else _day(row.closed_time)
    company = listings.company(row.symbol, row.decided_session)
    return Holding(company, bought_on, paid, shares, sold_on, row.actual_sell_price, row.cost_bps)


def _day(moment: datetime) -> date:
    return moment.astimezone(NEW_YORK).date()


def _counted_on(day: date) -> date:
    """The session whose book shows what was done on a day: that day, or the next session after a weekend or holiday."""
    return next_session(day - timedelta(days=1))
