"""`mltrainer bench`: the benchmarks of the folder `benchmarks/`, one after another; what was measured is never lost."""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from mltrainer_pipelines.commands.benchmark import Benchmark, Row
from mltrainer_pipelines.settings import PROJECT_ROOT

FOLDER, RESULTS = PROJECT_ROOT / "benchmarks", PROJECT_ROOT / "build/bench.jsonl"
INTERRUPTED = "interrupted"


class UnknownBenchmarkError(LookupError):
    """A benchmark was asked for that is not there: names it and those there are."""


def benchmarks(folder: Path = FOLDER) -> dict[str, Benchmark]:
    """Every benchmark that a module of the folder declares, by name.

    Raises `UnknownBenchmarkError` if the folder is missing: benchmarks are part of a checkout, not of an installed package.
    """
    if not folder.is_dir():
        raise UnknownBenchmarkError(f"there is no folder {folder}; run the benchmarks from a checkout of mlTrainer")
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    declared: dict[str, Benchmark] = {}
    for path in sorted(folder.glob("*.py")):
        if "@benchmark(" in path.read_text():
            module = importlib.import_module(f"{folder.name}.{path.stem}")
            declared |= {value.name: value for value in vars(module).values() if isinstance(value, Benchmark)}
    return declared


def run_benchmarks(
    names: Sequence[str] = (),
    report: Callable[[str], None] = lambda _: None,
    folder: Path = FOLDER,
    results: Path = RESULTS,
) -> list[Row]:
    """Run the benchmarks named, or all but those that run by name only; each row is added to `results` as it ends.

    `report` gets lines for a reader: what will be measured and how long it takes, then each result. The rows are also of what
    failed, what lacks something it needs and what Ctrl-C left out. Raises `UnknownBenchmarkError`.
    """
    declared = benchmarks(folder)
    unknown = [name for name in names if name not in declared]
    if unknown:
        raise UnknownBenchmarkError(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(declared)}")
    chosen = [declared[name] for name in names] or [one for one in declared.values() if not one.by_name_only]
    missing = {one.name: reason for one in chosen if (reason := one.missing())}
    left_out = [one for one in declared.values() if one not in chosen] if not names else []
    report(_plan([one for one in chosen if one.name not in missing], left_out, results))
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        report(f"  {row}")
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("a") as file:
            file.write(json.dumps({**row.as_dict(), "measured_at": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n")

    interrupted = False
    for one in chosen:
        if one.name in missing or interrupted:
            add(Row(one.name, reason=missing.get(one.name, INTERRUPTED)))
            continue
        try:
            for row in one.run():
                add(row)
        except KeyboardInterrupt:
            interrupted = True
            add(Row(one.name, reason=INTERRUPTED))
        except Exception as error:
            add(Row(one.name, reason=f"failed: {str(error).strip() or type(error).__name__}"))
    return rows + [Row(one.name, reason=f"takes {_time(one.seconds)}: mltrainer bench {one.name}") for one in left_out]


def exit_code(rows: Sequence[Row]) -> int:
    """130 after Ctrl-C, 1 where a bar was not met or a benchmark failed, otherwise 0."""
    if any(row.reason == INTERRUPTED for row in rows):
        return 130
    return int(any(row.met is False or (row.reason or "").startswith("failed: ") for row in rows))


def as_table(rows: Sequence[Row]) -> Table:
    """Rows of `run_benchmarks` for a reader; below it the reasons of what was not measured."""
    absent = [str(row) for row in rows if row.seconds is None]
    table = Table("benchmark", "seconds", "peer", "its seconds", "ratio", "bar", "met", caption="\n".join(absent) or None)
    table.caption_justify = "left"
    for row in rows:
        if row.seconds is not None:
            numbers = ["" if value is None else f"{value:.2f}" for value in (row.peer_seconds, row.ratio)]
            table.add_row(row.name, f"{row.seconds:.3f}", row.peer or "", *numbers, row.bar, "yes" if row.met else "NO")
    return table


def _plan(chosen: Sequence[Benchmark], left_out: Sequence[Benchmark], results: Path) -> str:
    width = max((len(one.name) for one in [*chosen, *left_out]), default=0)
    total = _time(sum(one.seconds for one in chosen))
    lines = [f"To measure: {len(chosen)}, about {total} on two cores. Every result is added to {results}"]
    for group, title in ((chosen, []), (left_out, ["Run by name only:"])):
        lines += title if group else []
        lines += [f"  {one.name:<{width}}  {_time(one.seconds):>6}  {one.measures}" for one in group]
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
