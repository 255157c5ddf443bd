"""Trades with barriers at a fixed percentage of the entry price: entries given, exits found. For research and parity."""

import numpy as np
import polars as pl

from mltrainer_pipelines.features.labels.barriers import BARRIERS, DELISTED_AFTER, BadBarriersError
from mltrainer_pipelines.features.panel import PRICES, BadPanelError, Panel, check_columns, dense

TRADE_SCHEMA = {
    "symbol": pl.String,
    "entry_date": pl.Date,
    "entry_price": pl.Float64,
    "exit_date": pl.Date,
    "exit_price": pl.Float64,
    "barrier": pl.String,
    "gross_return": pl.Float64,
}
NEVER = 2**40
"""A time barrier no position reaches."""


def fixed_barrier_trades(
    adjusted_bars: pl.DataFrame, entries: pl.DataFrame, target: float, stop: float, max_sessions: int | None = None
) -> pl.DataFrame:
    """Trades entered at closes and ended by a target, a stop, or after a number of sessions; one at a time a symbol.

    The rules of `barriers.first_barrier`, from the session after the entry on: a session that opens at or beyond a
    barrier exits at the open; otherwise touching the stop exits at the stop, touching the target at the target; if
    both, the stop wins. An entry while the symbol's trade is open, or on the session it ends, is left out.

    Parameters
    ----------
    adjusted_bars : DataFrame
        date, symbol, adj_open, adj_high, adj_low, adj_close.
    entries : DataFrame
        date, symbol: enter at this session's close; where the symbol has no close then, there is no trade.
    target, stop : float
        Shares of the entry price, above 0 (0.07 is 7 %); ``math.inf`` switches the target off, 1 or more the stop.
    max_sessions : int, optional
        Exit at the close of this session at the latest, the entry session counted as 1; 2 or more. None: never.

    Returns
    -------
    DataFrame
        symbol, entry_date, entry_price, exit_date, exit_price, barrier, gross_return, sorted by symbol and entry_date;
        the exit is null while the trade is open.

    Raises BadPanelError if the bars or the entries cannot be used, BadBarriersError if a barrier or `max_sessions` is out of
    range.
    """
    return panel_trades(dense(adjusted_bars, PRICES), entries, target, stop, max_sessions)


def panel_trades(
    panel: Panel, entries: pl.DataFrame, target: float, stop: float, max_sessions: int | None = None
) -> pl.DataFrame:
    """`fixed_barrier_trades` on bars that are aligned already: a panel of adj_open, adj_high, adj_low, adj_close."""
    from mltrainer_pipelines.features.kernels import barriers as barrier_kernels

    if not (target > 0.0 and stop > 0.0):
        raise BadBarriersError(f"fixed barriers: target {target} and stop {stop} must be above 0 (0.07 is 7 % of the entry)")
    if max_sessions is not None and max_sessions < 2:
        raise BadBarriersError(f"fixed barriers: max_sessions is {max_sessions}; a trade from a close lasts 2 sessions or more")
    check_columns(entries, ["date", "symbol"], "entries")
    open_, high, low, close = (np.ascontiguousarray(panel.fields[name].T) for name in PRICES)
    symbols, rows = _places(entries, panel.symbols, panel.sessions)
    traded = ~np.isnan(close[symbols, rows])
    symbols, rows = symbols[traded], rows[traded]
    exits, codes, prices = barrier_kernels.trades(
        open_, high, low, close, symbols, rows, float(target), float(stop), max_sessions or NEVER, DELISTED_AFTER
    )
    taken = exits > -2
    symbols, rows, exits, codes, prices = symbols[taken], rows[taken], exits[taken], codes[taken], prices[taken]
    entry_prices = close[symbols, rows]
    return pl.DataFrame(
        {
            "symbol": pl.Series(panel.symbols, dtype=pl.String).gather(symbols),
            "entry_date": panel.sessions[rows],
            "entry_price": entry_prices,
            "exit_date": panel.days(exits),
            "exit_price": pl.Series(prices).fill_nan(None),
            "barrier": pl.Series([*BARRIERS, None], dtype=pl.String).gather(np.where(exits >= 0, codes, len(BARRIERS))),
            "gross_return": pl.Series(prices / entry_prices - 1.0).fill_nan(None),
        },
        schema=TRADE_SCHEMA,
    )


def _places(entries: pl.DataFrame, symbols: list[str], sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the entries in the panel, sorted by symbol and session."""
    wanted = entries.select("symbol", "date").unique().sort("symbol", "date")
    rows = np.searchsorted(sessions, wanted["date"].to_numpy().astype("datetime64[D]"))
    names = pl.DataFrame({"symbol": symbols, "column": np.arange(len(symbols))}, schema={"symbol": pl.String, "column": pl.Int64})
    columns = wanted.join(names, on="symbol", how="left", maintain_order="left")["column"]
    outside = columns.is_null().to_numpy() | (rows >= len(sessions))
    outside[~outside] = sessions[rows[~outside]] != wanted["date"].to_numpy().astype("datetime64[D]")[~outside]
    if outside.any():
        first = wanted.row(int(np.argmax(outside)), named=True)
        raise BadPanelError(
            f"entries: the bars know no {first['symbol']} or no session {first['date']}; give entries inside them"
        )
    return columns.to_numpy(), rows
