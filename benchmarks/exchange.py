"""The local exchange: its default market built in a new process."""

import subprocess
import sys
import time
from collections.abc import Iterator

from mltrainer_pipelines.commands.benchmark import Row, benchmark

BUILD_SECONDS = 3.0
PROGRAM = (
    "from datetime import date; from mltrainer_pipelines.exchange.simulated import SimulatedMarket; "
    "SimulatedMarket(7, 120, 1.0, date(2021, 1, 1), date(2026, 12, 31))"
)


@benchmark("the default simulated market built, imports included", 5)
def exchange() -> Iterator[Row]:
    """Once: what a demo waits for before its first bar."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    seconds = time.perf_counter() - begin
    yield Row("default simulated market", seconds, f"at most {BUILD_SECONDS:g} s", seconds <= BUILD_SECONDS)
