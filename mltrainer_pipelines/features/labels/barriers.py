"""The barriers of a position, and which of them it meets first.

Labels, signals and virtual positions all go through this module, so that what was predicted and what is settled are
the same thing. Prices are in adjusted units throughout (``adj_open`` and so on), dividends and splits included.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.timeframes import Timeframe
from mltrainer_pipelines.features.panel import Panel, dense

TARGET, STOP, TIME, DELISTED = "target", "stop", "time", "delisted"
BARRIERS = (TARGET, STOP, TIME, DELISTED)
"""Names of the exits; the kernel numbers them in this order."""

DELISTED_AFTER = 5
"""A symbol without a bar for this many sessions in a row has stopped trading; only then is that known."""

VOLATILITY_WINDOW = 60
VOLATILITY_LEAST = 40
VOLATILITY_LOOK_BACK = VOLATILITY_WINDOW + 6
"""Sessions before t that the daily volatility at t can reach: the window, the return into it, and a filled gap."""


class BadBarriersError(ValueError):
    """Barriers or costs that no position can have: names the one, and what to give."""


@dataclass(frozen=True)
class Barriers:
    """Target and stop of a position, in multiples of the symbol's volatility over the time barrier.

    A position entered at price ``p`` with daily volatility ``σ`` and ``n = timeframe.max_sessions`` has its target at ``p ·
    exp(target · σ · √n)`` and its stop at ``p · exp(−stop · σ · √n)``. Both are above 0; ``math.inf`` switches a barrier off.
    """

    target: float = 1.0
    stop: float = 1.0

    def __post_init__(self) -> None:
        for name in ("target", "stop"):
            value = getattr(self, name)
            if math.isnan(value) or value <= 0:
                raise BadBarriersError(f"barriers: {name} must be above 0 (a multiple of σ·√max_sessions), not {value}")


@dataclass(frozen=True)
class Exit:
    """How a position ends: its `barrier` (``target``, ``stop``, ``time`` or ``delisted``), and its `price` before costs, in the
    units of the bars given. `index` is the session on which the exit is known, counted from the entry session as 0.
    """

    index: int
    price: float
    barrier: str


def price_levels(
    entry_price: np.ndarray, volatility: np.ndarray, timeframe: Timeframe, barriers: Barriers
) -> tuple[np.ndarray, np.ndarray]:
    """Target and stop price of positions entered at `entry_price`, dollars a share; the levels come back in its units and
    shape.

    `volatility` is the daily volatility known at the decision, as `daily_volatility` gives it. A level is NaN where the price
    or the volatility is not a positive number. One position's numbers give two numbers.

    Source: López de Prado (2018), Advances in Financial Machine Learning, ch. 3.4 (triple barrier), with the width scaled to
    the horizon by the square root of time.
    """
    price, daily = np.asarray(entry_price, dtype=np.float64), np.asarray(volatility, dtype=np.float64)
    usable = np.isfinite(price) & np.isfinite(daily) & (price > 0.0) & (daily > 0.0)
    width = np.where(usable, daily, np.nan) * math.sqrt(timeframe.max_sessions)
    return price * np.exp(barriers.target * width), price * np.exp(-barriers.stop * width)


def net_return(gross_return: np.ndarray, cost_bps: float) -> np.ndarray:
    """Return of a position after costs of `cost_bps` (basis points) a side: ``(1 + g)·(1 − c)/(1 + c) − 1``."""
    cost = cost_bps / 10_000.0
    return (1.0 + gross_return) * (1.0 - cost) / (1.0 + cost) - 1.0


def first_barrier(
    opens: Sequence[float | None],
    highs: Sequence[float | None],
    lows: Sequence[float | None],
    closes: Sequence[float | None],
    target: float,
    stop: float,
    max_sessions: int,
) -> Exit | None:
    """The first barrier a position meets, or None while it is open.

    Give one value a session from the entry session (index 0) to the newest known session, None or NaN where the
    symbol did not trade, in the units of `target` and `stop`. On the entry session the position is taken at the open;
    if it was taken later that day, give the high, low and close from then on.

    - A session that opens at or beyond a barrier exits at the open (the entry session excepted).
    - Otherwise, touching the stop exits at the stop, touching the target at the target; if both, the stop wins.
    - At the close of session `max_sessions` (the entry session is 1) it exits at the close. If the symbol does not
      trade then, at the open of the next session on which it does.
    - A symbol without a bar for 5 sessions in a row exits at its last close: ``delisted``, known on the fifth.

    Raises ValueError if the sequences differ in length, the levels are not ``stop < target``, or `max_sessions` is below 1.
    """
    from mltrainer_pipelines.features.kernels import barriers as barrier_kernels

    if not len(opens) == len(highs) == len(lows) == len(closes):
        raise ValueError("first_barrier: opens, highs, lows and closes must have one value a session each")
    if not stop < target:
        raise ValueError(f"first_barrier: the stop ({stop}) must lie below the target ({target})")
    if max_sessions < 1:
        raise ValueError(f"first_barrier: max_sessions must be 1 or more, not {max_sessions}")
    open_, high, low, close = (
        np.array([np.nan if v is None else v for v in values], dtype=np.float64) for values in (opens, highs, lows, closes)
    )
    index, code, price = barrier_kernels.first_exit(
        open_, high, low, close, 0, float(target), float(stop), max_sessions, DELISTED_AFTER
    )
    return None if index < 0 else Exit(int(index), float(price), BARRIERS[code])


def daily_volatility(adjusted_bars: pl.DataFrame) -> pl.DataFrame:
    """Daily volatility of every symbol, as barriers, position sizes and signals use it: date, symbol, volatility.

    The sample standard deviation of the last 60 sessions' log returns of adjusted closes (at least 40 of them known), the
    session's own included: what is known at its close. Give date, symbol and adj_close; 66 sessions before a date give it in
    full. The result is Float64, null where unknown or 0, a row for each bar, sorted by date and symbol. Raises BadPanelError if
    the bars cannot be used (`panel.dense`).
    """
    panel = dense(adjusted_bars, ["adj_close"])
    daily = volatility_of(panel, 0)
    columns = np.tile(np.arange(len(panel.symbols)), len(panel.sessions))
    frame = pl.DataFrame(
        {
            "date": np.repeat(panel.sessions, len(panel.symbols)),
            "symbol": pl.Series(panel.symbols, dtype=pl.String).gather(columns),
            "volatility": pl.Series(daily.ravel(), dtype=pl.Float64).fill_nan(None),
        }
    )
    return frame.join(adjusted_bars.select("date", "symbol"), on=["date", "symbol"], how="semi").sort("date", "symbol")


def volatility_of(panel: Panel, first: int) -> np.ndarray:
    """Daily volatility from row `first` of a panel on: float64, shape (n_sessions - first, n_symbols), NaN unknown."""
    from mltrainer_pipelines.features.kernels import windows as kernels

    close = panel.fields["adj_close"]
    returns = kernels.log_return(close, kernels.filled(close))
    daily = kernels.deviation(returns, VOLATILITY_WINDOW, VOLATILITY_LEAST, first)
    return np.where(daily > 0.0, daily, np.nan)
