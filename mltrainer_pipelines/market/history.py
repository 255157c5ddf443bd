"""Reading the lake's market data back: adjusted bars over a span of sessions."""

from datetime import date

import polars as pl

from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.backlog import closures
from mltrainer_pipelines.market.listings import company_actions, company_bars
from mltrainer_pipelines.market.sessions import is_session, next_session, previous_session
from mltrainer_pipelines.store.lake import Lake


def sessions_in_lake(lake: Lake, first: date, last: date) -> list[date]:
    """Sessions from `first` to `last`, both included, whose bars are in the lake, in order; days without trading left out."""
    closed = {str(day) for day in closures(lake)}
    return [
        date.fromisoformat(key) for key in lake.partitions("daily_bars") if str(first) <= key <= str(last) and key not in closed
    ]


def session_away(lake: Lake, day: date, count: int) -> date:
    """The `count`-th session before a day (after it, where `count` is positive) on which the market traded; 0: the day."""
    if not count:
        return day
    step, closed = previous_session if count < 0 else next_session, [one for one in closures(lake) if is_session(one)]
    found, left = day, abs(count)
    while left:
        reached = step(found, left)
        left = sum(min(found, reached) <= one <= max(found, reached) and one != found for one in closed)
        found = reached
    return found


def adjusted_history(
    lake: Lake,
    first: date,
    last: date,
    look_back: int = 0,
    look_ahead: int = 0,
    symbols: pl.Series | None = None,
    provisional: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Adjusted bars of the sessions from `first` to `last`, with `look_back` sessions before and `look_ahead` after.

    `symbol` is the company's id (`market.listings`): a renamed company keeps its history, a ticker that another company
    took has none of the old one's. So are `symbols` and those of `provisional`.

    The adjustment starts at the first session read. A row of date t uses bars up to t and actions with an ex-date
    up to t; sessions that the lake does not have (yet) are not in it. `provisional` bars of the running session are
    put behind them. Raises `MissingPartitionError` where the span has no bar at all, or without `corporate_actions`.
    """
    begin, end = session_away(lake, first, -look_back), session_away(lake, last, look_ahead)
    bars = company_bars(lake, sessions_in_lake(lake, begin, end) or [first], symbols)
    if provisional is not None:
        own = provisional if symbols is None else provisional.filter(pl.col("symbol").is_in(symbols.implode()))
        bars = pl.concat([bars, own])
    return adjusted(bars, company_actions(lake))
