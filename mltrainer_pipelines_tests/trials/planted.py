"""A market with a planted signal: overlapping labels, missing values, a delisting, and a premium of known strength."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import polars as pl

from mltrainer_pipelines.market.sessions import sessions_between

HOLDING = 10


@dataclass(frozen=True)
class Planted:
    """Features, labels and the sessions they cover."""

    features: pl.DataFrame
    labels: pl.DataFrame
    sessions: list[date]


@lru_cache(maxsize=4)
def planted_market(
    strength: float = 1.0, symbols: int = 50, first: date = date(2018, 1, 2), last: date = date(2020, 12, 31), seed: int = 3
) -> Planted:
    """A panel in which feature `signal` predicts the returns of the next `HOLDING` sessions; strength 0: nothing does.

    A decision at t earns the sum of the daily returns of t+1 … t+HOLDING less a cost. The last `HOLDING` decisions have
    no outcome yet. Symbol S000 stops trading in the middle.
    """
    rng = np.random.default_rng(seed)
    sessions = sessions_between(first, last)
    shape = (len(sessions), symbols)
    signal = np.zeros(shape)
    for t in range(1, len(sessions)):
        signal[t] = 0.95 * signal[t - 1] + np.sqrt(1 - 0.95**2) * rng.standard_normal(symbols)
    daily = 0.0005 + 0.01 * rng.standard_t(4, shape) / np.sqrt(2) + 0.002 * rng.standard_normal((len(sessions), 1))
    daily[1:] += strength * 0.002 * signal[:-1]
    path = np.cumsum(daily, axis=0)
    net = np.full(shape, np.nan)
    net[:-HOLDING] = path[HOLDING:] - path[:-HOLDING] - 0.002

    index = np.repeat(np.arange(len(sessions)), symbols)
    days = np.array(sessions, dtype="datetime64[D]")
    net_return = net.ravel()
    known = ~np.isnan(net_return)
    noise = rng.standard_normal((5, index.size))
    features = pl.DataFrame(
        {
            "date": days[index],
            "symbol": np.tile([f"S{i:03}" for i in range(symbols)], len(sessions)),
            "signal": (signal.ravel() + 0.3 * noise[0]).astype(np.float32),
            **{f"noise_{i}": noise[i].astype(np.float32) for i in range(1, 5)},
            "empty": np.full(index.size, np.nan, dtype=np.float32),
            "constant": np.ones(index.size, dtype=np.float32),
        }
    ).with_columns(pl.col("empty").fill_nan(None), noise_1=pl.when(pl.col("noise_1") < 1.5).then("noise_1"))
    exits = days[np.minimum(index + HOLDING, len(sessions) - 1)]
    labels = features.select("date", "symbol").with_columns(
        timeframe=pl.lit("short"),
        entry_date=pl.Series(days[np.minimum(index + 1, len(sessions) - 1)]),
        exit_date=pl.when(pl.Series(known)).then(pl.Series(exits)),
        barrier=pl.when(pl.Series(known)).then(pl.lit("time")),
        gross_return=pl.when(pl.Series(known)).then(pl.Series(net_return + 0.002)),
        net_return=pl.when(pl.Series(known)).then(pl.Series(net_return)),
        label=pl.when(pl.Series(known)).then(pl.Series((net_return > 0).astype(np.int8))),
    )
    gone = sessions[len(sessions) // 2]
    trades = (pl.col("symbol") != "S000") | (pl.col("date") < gone)
    delisted = (pl.col("symbol") == "S000") & (pl.col("exit_date") >= gone)
    last_bar = sessions[len(sessions) // 2 - 1]
    labels = labels.filter(trades).with_columns(
        barrier=pl.when(delisted).then(pl.lit("delisted")).otherwise("barrier"),
        exit_date=pl.when(delisted).then(last_bar).otherwise("exit_date"),
    )
    return Planted(features.filter(trades), labels, sessions)


def area_under_curve(labels: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a random positive scores above a random negative (Mann–Whitney); few ties assumed."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(1, len(scores) + 1)
    positives = labels.sum()
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))
