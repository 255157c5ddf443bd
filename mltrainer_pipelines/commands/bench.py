"""Runs the benchmarks of the folder `benchmarks/`, one after another (`mltrainer bench`)."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from mltrainer_pipelines.settings import PROJECT_ROOT


class UnknownBenchmarkError(LookupError):
    """A benchmark was asked for that is not there: names it and those there are."""


def benchmarks() -> list[str]:
    """Names of the benchmarks: the modules of `benchmarks/` that have a `run()`."""
    folder = PROJECT_ROOT / "benchmarks"
    return sorted(path.stem for path in folder.glob("*.py") if "\ndef run(" in path.read_text())


def run_benchmarks(names: Sequence[str], console: Console) -> list[dict[str, Any]]:
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
    rows = []
    for name in names or known:
        with console.status(f"Measuring {name} …"):
            rows += importlib.import_module(f"benchmarks.{name}").run()
    return rows
