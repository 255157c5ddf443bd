"""Reading the lake's market data back: adjusted bars over a span of sessions."""

from datetime import date

import polars as pl

from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import next_session, previous_session
from mltrainer_pipelines.store.lake import Lake


def sessions_in_lake(lake: Lake, first: date, last: date) -> list[date]:
    """Sessions from `first` to `last`, both included, whose bars are in the lake, in order."""
    return [date.fromisoformat(key) for key in lake.partitions("daily_bars") if str(first) <= key <= str(last)]


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

    The adjustment starts at the first session read. A row of date t uses bars up to t and actions with an ex-date
    up to t; sessions that the lake does not have (yet) are not in it. `provisional` bars of the running session are
    put behind them. Raises `MissingPartitionError` where the span has no bar at all, or without `corporate_actions`.
    """
    begin = previous_session(first, look_back) if look_back else first
    end = next_session(last, look_ahead) if look_ahead else last
    keys = [str(day) for day in sessions_in_lake(lake, begin, end)] or [str(first)]
    bars = lake.scan("daily_bars", keys)
    if provisional is not None:
        bars = pl.concat([bars, provisional.lazy()])
    if symbols is not None:
        bars = bars.filter(pl.col("symbol").is_in(symbols.implode()))
    return adjusted(bars.collect(), lake.read("corporate_actions"))
