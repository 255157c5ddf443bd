"""The whole of mlTrainer, really running, on a small simulated market that is pinned in time."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mltrainer_pipelines.ops.dagster_client import DagsterClient
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.ops.temporary_services import services_up
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake

SMALL_MARKET = {
    "MLTRAINER_SIMULATED_SYMBOLS": "30",
    "MLTRAINER_SIMULATED_PREMIUM": "1",
    "MLTRAINER_HISTORY_START": "2021-06-01",
    "MLTRAINER_AS_OF": "2024-03-28T18:00:00-04:00",
}
"""Thirty symbols over not quite three years: four quarters that can be predicted, and nothing that depends on today."""

_OURS = ("MLTRAINER_", "DAGSTER_", "MLFLOW_", "POLYGON_", "FRED_", "ANTHROPIC_")


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment, with nothing in it of any mlTrainer but the one in `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**kept, **SMALL_MARKET, "MLTRAINER_HOME": str(home), "COLUMNS": "80", **more}


def mltrainer(home: Path, *arguments: str, timeout_s: float = 1000, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "mltrainer_pipelines.cli", *arguments],
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def finished_demo(temporary: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A home of its own in which `mltrainer demo` has run, and what it said.

    It runs once for all processes of a test run; each that asks gets a copy of the home.
    """
    root = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    original, said = root / "demo", root / "demo.json"
    with open(root / "demo.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            done = mltrainer(original, "demo", "--json")
            assert done.returncode == 0, done.stderr[-3000:]
            said.write_text(done.stdout)
    home = temporary.mktemp("home")
    # PostgreSQL's folder keeps its owner and its mode
    subprocess.run(["cp", "--archive", f"{original}/.", str(home)], check=True)
    return home, json.loads(said.read_text())


@dataclass(frozen=True)
class Stack:
    """Running services and what they work on."""

    settings: Settings
    dagster: DagsterClient
    lake: Lake
    database: Database


@contextmanager
def running_stack(home: Path) -> Iterator[Stack]:
    """The services over a home, for as long as the context lasts."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment(home))
    try:
        settings = Settings()
        with services_up(settings, Console(stderr=True)) as services:
            database = Database(database_url(settings, "mltrainer"))
            yield Stack(settings, DagsterClient.of(settings, services.addresses["dagster"]), Lake(settings.lake_url), database)
            database.dispose()
    finally:
        os.environ.clear()
        os.environ.update(before)


def processes_below(pid: int) -> list[int]:
    """Process ids of all descendants."""
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def alive(pid: int) -> bool:
    """Whether a process is there and not only waiting to be buried."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
