"""Barriers: labels a second on the shared bars, and the trades of vectorbt on the same entries."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers import BARS, bars_file, peer, peer_environment
from mltrainer_pipelines.commands.benchmark import Row, benchmark

LABELS_A_SECOND = 1_000_000
TARGET, STOP, RATE, SEED = 0.07, 0.05, 0.05, 0


@benchmark("labels of both timeframes, 293,509 bars", 10, bars_file)
def labels() -> Iterator[Row]:
    """Labels a second of each timeframe."""
    import polars as pl

    from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
    from mltrainer_pipelines.features.files import read_bars
    from mltrainer_pipelines.features.labels.barriers import Barriers
    from mltrainer_pipelines.features.labels.labels import compute_labels

    bars = read_bars(Path(BARS))
    members = bars.select(pl.col("date").dt.truncate("1mo").alias("month"), "symbol").unique()
    first, last = bars["date"].min(), bars["date"].max()
    for timeframe in TIMEFRAMES.values():
        seconds = _best(lambda timeframe=timeframe: compute_labels(bars, members, timeframe, Barriers(), 10.0, first, last))
        rate = bars.height / seconds
        name = f"labels {timeframe.name}, {bars.height:,} rows, {rate / 1e6:.1f} million a second"
        yield Row(name, seconds, "at least 1 million a second", rate >= LABELS_A_SECOND)


@benchmark("trades between fixed barriers beside vectorbt", 35, bars_file, peer_environment)
def barriers() -> Iterator[Row]:
    """The trades beside vectorbt's; both start from aligned prices and end with a frame of trades."""
    from mltrainer_pipelines.features.files import read_bars
    from mltrainer_pipelines.features.labels.fixed_barriers import panel_trades
    from mltrainer_pipelines.features.panel import PRICES, dense

    theirs = peer("vectorbt_barriers.py", BARS, "--target", TARGET, "--stop", STOP, "--entry-rate", RATE, "--seed", SEED)
    bars = read_bars(Path(BARS))
    entries, panel = vectorbt_entries(bars), dense(bars, PRICES)
    seconds = _best(lambda: panel_trades(panel, entries, TARGET, STOP))
    count = panel_trades(panel, entries, TARGET, STOP).height
    met = seconds <= theirs["seconds"] and count == theirs["trades"]
    name = f"fixed barriers, {count:,} trades"
    yield Row(name, seconds, "no slower than vectorbt", met, "vectorbt 1.2.0", theirs["seconds"])


def vectorbt_entries(bars: Any) -> Any:
    """The entries that the peer's script draws, as date and symbol."""
    import numpy as np
    import polars as pl

    days, symbols = (bars[name].unique().sort() for name in ("date", "symbol"))
    at, of = np.nonzero(np.random.default_rng(SEED).random((len(days), len(symbols))) < RATE)
    return pl.DataFrame({"date": days.gather(at), "symbol": symbols.gather(of)})


def _best(compute: Callable[[], object]) -> float:
    """Seconds of the best of three runs after one that compiles."""
    compute()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        compute()
        times.append(time.perf_counter() - start)
    return min(times)
