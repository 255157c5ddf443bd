"""Labels: what a decision would have earned, at the first barrier its position met."""

from datetime import date

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.lake_tables import LABELS
from mltrainer_pipelines.contracts.timeframes import Timeframe
from mltrainer_pipelines.features.labels.barriers import (
    BARRIERS,
    DELISTED_AFTER,
    VOLATILITY_LOOK_BACK,
    BadBarriersError,
    Barriers,
    net_return,
    price_levels,
    volatility_of,
)
from mltrainer_pipelines.features.panel import (
    PRICES,
    Panel,
    check_columns,
    dense,
    membership,
    months_between,
    rows_between,
    sessions_of,
    symbols_of,
)


def look_back() -> int:
    """Sessions of bars needed before the first label."""
    return VOLATILITY_LOOK_BACK


def look_ahead(timeframe: Timeframe) -> int:
    """Sessions after a decision at which its label is known at the latest."""
    return timeframe.max_sessions + DELISTED_AFTER


def compute_labels(
    adjusted_bars: pl.DataFrame,
    universe: pl.DataFrame,
    timeframe: Timeframe,
    barriers: Barriers,
    cost_bps: float,
    first: date,
    last: date,
) -> pl.DataFrame:
    """Labels of the decisions made at the closes of the sessions from `first` to `last`, both included.

    A decision at the close of session t is entered at the open of t+1; if the symbol does not trade then, there is
    no entry and no label. Target and stop are set from the entry price and the volatility known at t; the exit
    follows `barriers.first_barrier`. What lies after the bars given is not known: ``entry_date`` is null until the
    entry session is there, everything else until the exit is.

    Parameters
    ----------
    adjusted_bars : DataFrame
        date, symbol, adj_open, adj_high, adj_low, adj_close; from `look_back()` sessions before `first` on, and as
        far as is known after `last`. A session is a date on which any symbol has a bar.
    universe : DataFrame
        month, symbol for each month of the range.
    timeframe : Timeframe
        Its `max_sessions` is the time barrier.
    cost_bps : float
        Fee and slippage a side, basis points.

    Returns
    -------
    DataFrame
        date, symbol, timeframe, entry_date, exit_date, barrier, gross_return, net_return, label: a row for each
        member of the month's universe with a bar on the session, sorted by date and symbol. ``exit_date`` is the
        session on which the return is known: a window that trains on rows with an earlier exit_date than its first
        session sees nothing of itself. A delisted symbol's exit is valued at its last close and dated the fifth
        session without it.

    Raises BadPanelError if the bars or the universe cannot be used, or no session lies in the range; BadBarriersError if
    `cost_bps` is negative or not below 10,000.
    """
    from mltrainer_pipelines.features.kernels import barriers as barrier_kernels

    if not 0.0 <= cost_bps < 10_000.0:
        raise BadBarriersError(f"cost_bps={cost_bps}: give the cost a side in basis points, from 0 to below 10000")
    check_columns(adjusted_bars, ["date", "symbol", *PRICES], "adjusted bars")
    sessions = sessions_of(adjusted_bars)
    start, stop_row = rows_between(sessions, first, last)
    months = months_between(sessions[start:stop_row])
    panel = dense(adjusted_bars, PRICES, symbols_of(universe, months))
    opens, closes = panel.fields["adj_open"], panel.fields["adj_close"]

    members = membership(universe, panel, slice(start, stop_row), months)
    rows, columns = np.nonzero(members & ~np.isnan(closes[start:stop_row]))

    first_volatility = max(0, start - VOLATILITY_LOOK_BACK)
    cut = Panel(panel.sessions[first_volatility:stop_row], panel.symbols, {"adj_close": closes[first_volatility:stop_row]})
    volatility = volatility_of(cut, start - first_volatility)[rows, columns]

    entries = rows + start + 1
    seen = entries < len(panel.sessions)
    entry_prices = np.where(seen, opens[np.minimum(entries, len(panel.sessions) - 1), columns], np.nan)
    entries = np.where(np.isnan(entry_prices), -1, entries)
    targets, stops = price_levels(entry_prices, volatility, timeframe, barriers)
    open_, high, low, close = (np.ascontiguousarray(panel.fields[name].T) for name in PRICES)
    exits, codes, prices = barrier_kernels.first_exits(
        open_, high, low, close, columns, entries, targets, stops, timeframe.max_sessions, DELISTED_AFTER
    )

    gross = prices / entry_prices - 1.0
    net = net_return(gross, cost_bps)
    ended = exits >= 0
    return pl.DataFrame(
        {
            "date": panel.sessions[rows + start],
            "symbol": pl.Series(panel.symbols, dtype=pl.String).gather(columns),
            "timeframe": pl.repeat(timeframe.name, len(rows), dtype=pl.String, eager=True),
            "entry_date": panel.days(entries),
            "exit_date": panel.days(exits),
            "barrier": pl.Series([*BARRIERS, None], dtype=pl.String).gather(np.where(ended, codes, len(BARRIERS))),
            "gross_return": pl.Series(gross).fill_nan(None),
            "net_return": pl.Series(net).fill_nan(None),
            "label": pl.Series([0, 1, None], dtype=pl.Int8).gather(np.where(ended, net > 0.0, 2)),
        },
        schema=LABELS.schema,
    )
