"""`mltrainer bench` on tiny benchmarks in a folder of their own: what was measured is kept, whatever happens to the rest."""

import ast
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mltrainer_pipelines.commands.bench import (
    UnknownBenchmarkError,
    as_table,
    benchmarks,
    exit_code,
    run_benchmarks,
)
from mltrainer_pipelines.settings import PROJECT_ROOT

TINY = """
from mltrainer_pipelines.commands.benchmark import Row, benchmark


@benchmark("a thing that works", 2)
def good():
    yield Row("good, 10 rows", 0.5, "twice a peer", True, "a peer", 1.0)


@benchmark("a thing that breaks half way", 3)
def half():
    yield Row("half, first", 0.1, "at most 1 s", True)
    raise RuntimeError("the server went away")


@benchmark("a thing that needs what is not there", 4, lambda: None, lambda: "the peers are not installed; run: pip install peer")
def lacking():
    raise AssertionError("it was run")


@benchmark("a thing of hours", 7200, by_name_only=True)
def slow():
    yield Row("slow", 2.0, "at most 1 s", False)


@benchmark("a thing that is interrupted", 1, by_name_only=True)
def endless():
    yield Row("endless, first", 0.1, "at most 1 s", True)
    print("waiting", flush=True)
    import time
    while True:
        time.sleep(0.1)
"""


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    # a package name of its own: modules of another test's folder stay imported
    place = tmp_path / f"tiny_{abs(hash(request.node.name))}"
    place.mkdir()
    (place / "__init__.py").touch()
    (place / "tiny.py").write_text(TINY)
    return place


def test_what_fails_or_lacks_something_is_a_row_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    rows = run_benchmarks((), lines.append, folder, tmp_path / "results.jsonl")
    assert [(row.name, row.met, row.reason) for row in rows] == [
        ("good, 10 rows", True, None),
        ("half, first", True, None),
        ("half", None, "failed: the server went away"),
        ("lacking", None, "the peers are not installed; run: pip install peer"),
        ("slow", None, "takes 120 min: mltrainer bench slow"),
        ("endless", None, "takes 1 s: mltrainer bench endless"),
    ]
    assert rows[0].as_dict() == {
        "name": "good, 10 rows", "seconds": 0.5, "peer": "a peer", "peer_seconds": 1.0, "ratio": 2.0, "bar": "twice a peer",
        "met": True,
    }  # fmt: skip
    assert list(rows[2].as_dict()) == [*rows[0].as_dict(), "reason"]
    assert exit_code(rows) == 1
    assert exit_code(rows[:2] + rows[3:]) == 0
    table = as_table(rows)
    assert table.row_count == 2
    assert "half: failed: the server went away" in str(table.caption)


def test_it_says_first_what_it_measures_and_how_long_that_takes(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run_benchmarks((), lines.append, folder, tmp_path / "results.jsonl")
    plan = lines[0]
    assert plan.startswith("To measure: 2, about 5 s on two cores")
    assert str(tmp_path / "results.jsonl") in plan
    assert "a thing that works" in plan
    assert "a thing of hours" in plan.split("Run by name only:")[1]
    assert "120 min" in plan
    assert "  good, 10 rows: 0.500 s, a peer 1.00 s, ratio 2.0; twice a peer: met" in lines


def test_every_result_is_written_as_it_ends(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "deep/results.jsonl"
    for _ in range(2):
        rows = run_benchmarks(["half"], folder=folder, results=results)
    written = [json.loads(line) for line in results.read_text().splitlines()]
    assert [row["name"] for row in written] == ["half, first", "half"] * 2
    assert all(row.pop("measured_at") for row in written)
    assert written[2:] == [row.as_dict() for row in rows]


def test_long_ones_run_by_name_and_a_bar_that_is_not_met_fails(folder: Path, tmp_path: Path) -> None:
    rows = run_benchmarks(["slow"], folder=folder, results=tmp_path / "results.jsonl")
    assert [row.name for row in rows] == ["slow"]
    assert exit_code(rows) == 1


def test_ctrl_c_gives_what_there_is(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, json; from pathlib import Path; from mltrainer_pipelines.commands import bench;"
        f"rows = bench.run_benchmarks(['good', 'endless', 'half'], folder=Path({str(folder)!r}),"
        f" results=Path({str(tmp_path / 'results.jsonl')!r})); "
        "print(json.dumps([[row.as_dict() for row in rows], bench.exit_code(rows)]))"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    rows, code_then = json.loads(process.communicate(timeout=60)[0])
    assert [(row["name"], row.get("reason")) for row in rows] == [
        ("good, 10 rows", None),
        ("endless, first", None),
        ("endless", "interrupted"),
        ("half", "interrupted"),
    ]
    assert code_then == 130
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 4


def test_a_name_that_is_not_there_is_refused_before_anything_runs(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownBenchmarkError, match="no benchmark best; there are good, half, lacking, slow, endless"):
        run_benchmarks(["good", "best"], folder=folder, results=tmp_path / "results.jsonl")
    assert not (tmp_path / "results.jsonl").exists()
    with pytest.raises(UnknownBenchmarkError, match="run the benchmarks from a checkout"):
        run_benchmarks(folder=tmp_path / "nowhere")


def test_our_own_benchmarks_end_within_fifteen_minutes_by_default() -> None:
    declared = benchmarks()
    assert {"alpha158", "barriers", "walk_forward", "leaderboard", "refresh", "models", "ingestion"} <= set(declared)
    assert sum(one.seconds for one in declared.values() if not one.by_name_only) <= 15 * 60
    assert all(one.measures and one.seconds > 0 for one in declared.values())


@pytest.mark.parametrize("path", sorted((PROJECT_ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_when_it_runs_is_there(path: Path) -> None:
    tree, modules = ast.parse(path.read_text()), {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] in ("mltrainer_pipelines", "benchmarks")
        ):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                if not hasattr(module, alias.name):
                    modules[alias.asname or alias.name] = importlib.import_module(f"{node.module}.{alias.name}")
                elif isinstance(value := getattr(module, alias.name), ModuleType):
                    modules[alias.asname or alias.name] = value
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{path.name}, line {node.lineno}"
