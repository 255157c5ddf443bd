"""The default features: of the shared bars, of their newest session alone, and of markets up to 10,000 × 1,260 bars.

``python -m benchmarks.default_features SYMBOLS`` computes one simulated market and prints rows, seconds and peak memory.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date

from benchmarks.peers import BARS, bars_file, module
from mltrainer_pipelines.commands.benchmark import Row, benchmark

SESSIONS = 1260
SIZES = (1250, 2500, 5000, 10_000)
WORKERS = 2


@benchmark("the default features of 293,509 bars and of their newest session", 10, bars_file)
def default_features() -> Iterator[Row]:
    """The whole file, and the newest session."""
    whole, newest = shared_bars()
    yield Row("default, 293,509 rows", whole, "at most 2 s", whole <= 2.0)
    met = newest <= 0.05 and newest <= whole / 20.0
    yield Row("default, newest session of 200 symbols", newest, "at most 50 ms and 1/20 of the whole", met)


@benchmark("the default features of markets of 1,250 to 10,000 symbols", 180)
def market_features() -> Iterator[Row]:
    """Four sizes of a market of five years; the last one has the bar."""
    per_row: list[float] = []
    for symbols in SIZES:
        size = module("benchmarks.default_features", symbols)
        per_row.append(size["seconds"] / size["rows"])
        last, met = symbols == SIZES[-1], per_row[-1] <= 1.5 * per_row[0]
        if last:
            met = met and size["seconds"] <= 90.0 and size["peak_gib"] <= 16.0
        name = f"default, {symbols:,} × {SESSIONS:,} bars, peak {size['peak_gib']:.1f} GiB"
        yield Row(name, size["seconds"], "at most 90 s and 16 GiB, linear" if last else "linear in rows", met)


def shared_bars() -> tuple[float, float]:
    """Seconds of the whole file and of its newest session, compiled and in memory; the best of three each."""
    from pathlib import Path

    import polars as pl

    from mltrainer_pipelines.features.engine import compute_features
    from mltrainer_pipelines.features.files import read_bars

    bars = read_bars(Path(BARS))
    members = bars.select(pl.col("date").dt.truncate("1mo").alias("month"), "symbol").unique()
    first, last = bars["date"].min(), bars["date"].max()
    everything = bars["symbol"].unique().sort().head(200)
    members = members.filter(pl.col("symbol").is_in(everything.implode()))

    def best(day: date) -> float:
        return min(_seconds(lambda: compute_features(bars, members, None, day, last, "default", WORKERS)) for _ in range(3))

    compute_features(bars, members, None, last, last, "default", WORKERS)
    return best(first), best(last)


def market(symbols: int) -> dict[str, float]:
    """Seconds and peak memory of the whole process for a random market, its bars in memory."""
    import numpy as np
    import polars as pl

    from mltrainer_pipelines.features.engine import compute_features
    from mltrainer_pipelines.market.sessions import sessions_between

    days = np.array(sessions_between(date(2019, 1, 2), date(2025, 12, 31))[:SESSIONS], dtype="datetime64[D]")
    random = np.random.default_rng(0)
    close = 30.0 * np.exp(np.cumsum(0.02 * random.standard_normal((SESSIONS, symbols)), axis=0))
    opens = close * (1.0 + 0.005 * random.standard_normal(close.shape))
    names = pl.Series([f"S{i:05d}" for i in range(symbols)])
    bars = pl.DataFrame(
        {
            "date": np.repeat(days, symbols),
            "symbol": names.gather(np.tile(np.arange(symbols), SESSIONS)),
            "open": opens.ravel(),
            "high": (np.maximum(opens, close) * 1.004).ravel(),
            "low": (np.minimum(opens, close) * 0.996).ravel(),
            "close": close.ravel(),
            "volume": np.exp(12.0 + 0.5 * random.standard_normal(close.shape)).ravel(),
        }
    )
    del close, opens
    bars = bars.with_columns(pl.col(name).alias(f"adj_{name}") for name in ("open", "high", "low", "close", "volume"))
    months = pl.DataFrame({"month": bars["date"].dt.truncate("1mo").unique()})
    members = months.join(pl.DataFrame({"symbol": names}), how="cross").with_columns(sector=pl.col("symbol").str.slice(4))
    few = bars.filter(pl.col("symbol") < names[8]).head(400)
    compute_features(few, members, None, few["date"].min(), few["date"].max(), "default", 1)
    first, last = days[0].item(), days[-1].item()
    seconds = _seconds(lambda: compute_features(bars, members, None, first, last, "default", WORKERS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"rows": bars.height, "seconds": round(seconds, 3), "peak_gib": round(peak, 2)}


def _seconds(compute: Callable[[], object]) -> float:
    start = time.perf_counter()
    compute()
    return time.perf_counter() - start


if __name__ == "__main__":
    os.environ["POLARS_MAX_THREADS"] = str(WORKERS)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:WORKERS])
    print(json.dumps(market(int(sys.argv[1]))))
