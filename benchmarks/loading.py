"""Loading the code location beside importing Dagster: what every process of Dagster's waits for."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.peers import ROOT
from mltrainer_pipelines.commands.benchmark import Row, benchmark

REPEATS, MOST_TIMES = 5, 1.5


@benchmark("loading the code location beside import dagster", 20)
def loading() -> Iterator[Row]:
    """Alternating runs of fresh processes, the median of each; one before them fills Python's caches."""
    _seconds("mltrainer_pipelines.definitions")
    pairs = [(_seconds("mltrainer_pipelines.definitions"), _seconds("dagster")) for _ in range(REPEATS)]
    ours, dagster = (statistics.median(times) for times in zip(*pairs, strict=True))
    bar = f"at most {MOST_TIMES} × import dagster"
    yield Row("loading the code location", ours, bar, ours <= MOST_TIMES * dagster, "import dagster", dagster)


def _seconds(module: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, check=True)
    return time.perf_counter() - begin
