"""The refresh beside an empty Dagster run of the same instance, what of it is computing, and two years replayed.

A market of 500 symbols is made first (some minutes) and thrown away after,
or kept and used again in the folder that MLTRAINER_BENCH_HOME names. The services are those of `mltrainer up`; the
empty job is in a code location of its own, so that its runs import Dagster and nothing of ours.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers import ROOT
from mltrainer_pipelines.commands.benchmark import Row, benchmark

REPEATS = 7
LARGE, SMALL = 500, 200
MOST_TIMES, COMPUTE_SECONDS, REPLAY_SECONDS = 1.5, {LARGE: 5.0, SMALL: 1.5}, 60.0
MARKET = {
    "MLTRAINER_SIMULATED_SYMBOLS": "640",  # some list later, some are delisted: 500 are there at any time
    "MLTRAINER_UNIVERSE_SIZE": str(LARGE),
    "MLTRAINER_HISTORY_START": "2020-09-01",
    "MLTRAINER_AS_OF": "2024-12-18T12:00:00-05:00",
    "MLTRAINER_EXCHANGE": "simulated",
    "MLTRAINER_SERVE_APP": "false",
}
REPLAYED = ("2022-12-19", "2024-12-17")


@benchmark("a refresh beside an empty Dagster run, and two years replayed", 900, by_name_only=True)
def refresh() -> Iterator[Row]:
    """The refresh of 200 symbols beside the empty run, the computing of 200 and of 500, the replay."""
    kept = os.environ.get("MLTRAINER_BENCH_HOME")
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(Path(kept or folder))
        _done(["demo", "--json"], environment)
        command = [sys.executable, "-m", "benchmarks.refresh", "measure", str(REPEATS)]
        measured = json.loads(_output(command, environment).splitlines()[-1])
        if kept:  # the universe of 500 again
            _done(["demo", "--json"], environment)
    few, seconds, empty = measured["symbols"][str(SMALL)], measured["refresh"], measured["empty"]
    name = f"refresh run of {few} symbols, submitted to success: {seconds / empty:.2f} × an empty run"
    bar = f"at most {MOST_TIMES} × an empty run"
    yield Row(name, seconds, bar, seconds <= MOST_TIMES * empty, "an empty Dagster run", empty)
    for size in (SMALL, LARGE):
        seconds, most = measured["computing"][str(size)], COMPUTE_SECONDS[size]
        name = f"computing in a refresh of {measured['symbols'][str(size)]} symbols: its steps, with the ensemble, the best run"
        yield Row(name, seconds, f"at most {most:g} s", seconds <= most)
    name = f"{measured['replayed']} sessions of {few} symbols replayed"
    yield Row(name, measured["replay"], f"at most {REPLAY_SECONDS:g} s", measured["replay"] <= REPLAY_SECONDS)


def measure(repeats: int) -> dict[str, Any]:
    """Seconds of alternating runs; called in a process of its own with the environment of the market."""
    import polars as pl

    from mltrainer_pipelines.settings import get_settings
    from mltrainer_pipelines.store.lake import Lake

    settings = get_settings()
    lake = Lake(settings.lake_url)
    month = lake.partitions("universe")[-1]
    measured: dict[str, Any] = {"computing": {}, "symbols": {}}
    whole = {key: lake.read("universe", key) for key in lake.partitions("universe")}
    try:
        with _instance(settings) as client:
            for size in (LARGE, SMALL):
                for key, members in whole.items():
                    lake.write("universe", members.filter(pl.col("rank") <= size), key)
                measured["symbols"][size] = lake.read("universe", month).height
                _timed(client, "mltrainer", "refresh_signals")  # the first one finds cold files
                pairs = [
                    (_timed(client, "empty", "empty"), _timed(client, "mltrainer", "refresh_signals")) for _ in range(repeats)
                ]
                # The best one, as of `timeit`: what else the machine does only adds to it.
                measured["computing"][size] = min(refresh["computing"] for _, refresh in pairs)
            measured["empty"] = statistics.median(empty["whole"] for empty, _ in pairs)
            measured["refresh"] = statistics.median(refresh["whole"] for _, refresh in pairs)
        command = [sys.executable, "-m", "mltrainer_pipelines.cli", "portfolio", "replay", "--json"]
        replayed = json.loads(_output([*command, "--from", REPLAYED[0], "--to", REPLAYED[1]], dict(os.environ)))
        measured |= {"replay": replayed["seconds"], "replayed": replayed["sessions"]}
    finally:
        for key, members in whole.items():
            lake.write("universe", members, key)
    return measured


def _environment(home: Path) -> dict[str, str]:
    from mltrainer_pipelines.ops.supervisor import free_port

    ours = ("MLTRAINER_", "DAGSTER_", "MLFLOW_", "POLYGON_", "FRED_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    ports = {f"MLTRAINER_{name}_PORT": str(free_port()) for name in ("DAGSTER", "MLFLOW", "EXCHANGE")}
    return {**kept, **MARKET, **ports, "MLTRAINER_HOME": str(home), "PYTHONPATH": str(ROOT)}


@contextmanager
def _instance(settings: Any) -> Iterator[Any]:
    """The services of `mltrainer up`, with the empty job's code location beside ours; yields a client of the webserver."""
    from mltrainer_pipelines.ops import code_server, state_dir
    from mltrainer_pipelines.ops.dagster_client import DagsterClient
    from mltrainer_pipelines.ops.supervisor import services
    from mltrainer_pipelines.ops.wait_for import answers

    client = DagsterClient.of(settings)
    with state_dir.lock_state_dir(settings) as environment:
        served = state_dir.served_workspace(settings)
        code_server.write_workspace(settings, served)
        with open(served, "a") as workspace:
            workspace.write("  - python_module:\n      module_name: benchmarks.empty_run\n      location_name: empty\n")
        supervised = services(settings)
        log = subprocess.DEVNULL
        processes = [subprocess.Popen(service.command, env=environment, stdout=log, stderr=log) for service in supervised]
        try:
            deadline = time.monotonic() + 180
            while not all(answers(service.url) for service in supervised if service.url):
                if time.monotonic() > deadline:
                    raise RuntimeError("the services did not answer")
                time.sleep(0.5)
            client.require_loaded()
            yield client
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(60)


def _timed(client: Any, location: str, job: str) -> dict[str, float]:
    """Seconds of one run by Dagster's own record: from its submission to its end, and those of its steps together."""
    selector = {"repositoryLocationName": location, "repositoryName": "__repository__", "jobName": job}
    launched = client.query(
        """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
             ... on LaunchRunSuccess { run { runId } } ... on Error { message } ... on PythonError { message } } }""",
        params={"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": []}},
    )["launchRun"]
    if launched["__typename"] != "LaunchRunSuccess":
        raise RuntimeError(f"{job} was not launched: {launched}")
    number = launched["run"]["runId"]
    client.wait([number])
    found = client.query(
        """query Times($id: ID!) { runOrError(runId: $id) { ... on Run { creationTime endTime
             stepStats { startTime endTime } } } }""",
        id=number,
    )["runOrError"]
    steps = sum(step["endTime"] - step["startTime"] for step in found["stepStats"])
    return {"whole": found["endTime"] - found["creationTime"], "computing": steps}


def _done(arguments: list[str], environment: dict[str, str]) -> None:
    _output([sys.executable, "-m", "mltrainer_pipelines.cli", *arguments], environment)


def _output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[2]))))
