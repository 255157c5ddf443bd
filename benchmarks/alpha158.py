"""Alpha158 of 293,509 bars: ours beside Qlib's, 2 workers each, in turns, the better of two runs each."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers import BARS, bars_file, ours, peer, peer_environment
from mltrainer_pipelines.commands.benchmark import Row, benchmark

AT_LEAST = 10.0


@benchmark("Alpha158 of 293,509 bars beside Qlib", 60, bars_file, peer_environment)
def alpha158() -> Iterator[Row]:
    """One row: seconds of the computation alone, storage and compilation left out on both sides."""
    times, peer_times = [], []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "alpha158.parquet"
        for _ in range(2):
            times.append(ours("features", "--bars", BARS, "--set", "alpha158", "--out", out, "--workers", 2)["seconds"])
            peer_times.append(peer("qlib_alpha158.py", BARS, "--workers", 2)["seconds"])
    seconds, peer_seconds = min(times), min(peer_times)
    met = peer_seconds >= AT_LEAST * seconds
    yield Row("alpha158, 293,509 rows", seconds, f"{AT_LEAST:g} times Qlib", met, "Qlib 0.9.7", peer_seconds)
