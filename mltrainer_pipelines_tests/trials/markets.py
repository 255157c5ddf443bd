"""A small random market with its labels, for the tests of trials."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.timeframes import Timeframe
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.market.sessions import sessions_between


@dataclass(frozen=True)
class SmallMarket:
    bars: pl.DataFrame
    sessions: list[date]
    universe: pl.DataFrame

    def labels(
        self, timeframe: Timeframe, first: int, last: int, known: int | None = None, cost_bps: float = 10.0
    ) -> pl.DataFrame:
        """Labels of the decisions of sessions `first` to `last`, as known at session `known` (counted, included)."""
        seen = self.bars if known is None else self.bars.filter(pl.col("date") <= self.sessions[known])
        return compute_labels(seen, self.universe, timeframe, Barriers(), cost_bps, self.sessions[first], self.sessions[last])


def small_market(sessions: int, symbols: int, seed: int = 0, drift: float = 0.0003, holes: float = 0.0) -> SmallMarket:
    """Independent geometric random walks with overnight gaps; `holes` is the share of bars that are missing."""
    days = sessions_between(date(2012, 1, 3), date(2022, 1, 1))[:sessions]
    rng = np.random.default_rng(seed)
    names = [f"S{i:03}" for i in range(symbols)]
    close = 50 * np.exp(np.cumsum(rng.normal(drift, 0.02, (sessions, symbols)), axis=0))
    opened = np.vstack([close[:1], close[:-1]]) * np.exp(rng.normal(0, 0.007, close.shape))
    high = np.maximum(opened, close) * (1 + rng.exponential(0.004, close.shape))
    low = np.minimum(opened, close) * (1 - rng.exponential(0.004, close.shape))
    bars = pl.DataFrame(
        {
            "date": pl.Series(np.repeat(np.array(days, dtype="datetime64[D]"), symbols)).cast(pl.Date),
            "symbol": names * sessions,
            "adj_open": opened.ravel(),
            "adj_high": high.ravel(),
            "adj_low": low.ravel(),
            "adj_close": close.ravel(),
        }
    ).filter(pl.Series(rng.random(close.size) >= holes))
    months = sorted({day.replace(day=1) for day in days})
    return SmallMarket(bars, days, pl.DataFrame({"month": months}).join(pl.DataFrame({"symbol": names}), how="cross"))
