"""Runs the benchmarks of the folder `benchmarks/`, one after another (`mltrainer bench`)."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mltrainer_pipelines.settings import PROJECT_ROOT


class UnknownBenchmarkError(LookupError):
    """A benchmark was asked for that is not there: names it and those there are."""


def benchmarks() -> list[str]:
    """Names of the benchmarks: the modules of `benchmarks/` that have a `run()`."""
    folder = PROJECT_ROOT / "benchmarks"
    return sorted(path.stem for path in folder.glob("*.py") if "\ndef run(" in path.read_text())


def run_benchmarks(names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with `name`, `seconds`, `peer`, `peer_seconds`, `ratio` (how many times as fast as the peer), `bar`, `met`.

    Raises
    ------
    UnknownBenchmarkError
        For a name that is not one of `benchmarks()`.
    """
    known = benchmarks()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownBenchmarkError(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    sys.path.insert(0, str(PROJECT_ROOT))
    rows, console = [], Console(stderr=True)
    for name in names or known:
        with console.status(f"Measuring {name} …"):
            rows += importlib.import_module(f"benchmarks.{name}").run()
    return rows


def as_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows of `run_benchmarks` for a reader."""
    table = Table("benchmark", "seconds", "peer", "its seconds", "ratio", "bar", "met")
    for row in rows:
        peer_seconds = "" if row["peer_seconds"] is None else f"{row['peer_seconds']:.2f}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        met = "yes" if row["met"] else "NO"
        table.add_row(row["name"], f"{row['seconds']:.3f}", row["peer"] or "", peer_seconds, ratio, row["bar"], met)
    return table
