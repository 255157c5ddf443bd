"""`mltrainer up`: everything starts, everything stops, and what cannot start says so in one line."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from mltrainer_pipelines.ops.supervisor import free_port
from mltrainer_pipelines.ops.wait_for import answers
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines_tests.ops.stack import alive, environment, mltrainer, processes_below

NAMES = ("DAGSTER", "MLFLOW", "EXCHANGE", "API", "APP")


def free_ports() -> dict[str, str]:
    return {f"MLTRAINER_{name}_PORT": str(free_port()) for name in NAMES}


@contextmanager
def up(home: Path, **more: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A `mltrainer up` on ports of its own; killed at the end with all its children, if it still runs.

    It is started in a folder that has files by the names of libraries.
    """
    ports, here = free_ports(), home / "here"
    here.mkdir(parents=True)
    for name in ("gql", "polygon", "mlflow", "dagster", "streamlit"):
        (here / f"{name}.py").write_text("raise SystemExit('imported from the folder that the user stands in')")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mltrainer_pipelines.cli", "up"],
        cwd=here,
        env=environment(home, **ports, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, ports
    finally:
        for pid in [*processes_below(process.pid), process.pid]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)


def wait_until_up(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C stops everything" in line:
            return said
    assert process.stderr is not None
    raise AssertionError(f"it did not come up: {process.stderr.read()}")


def error_lines(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("Error: ")]


def only_with_the_token(home: Path, ports: dict[str, str]) -> None:
    """Dagster and MLflow do nothing for a program without the token."""
    (file,) = home.glob("*/api-token")
    bearer = {"Authorization": f"Bearer {file.read_text()}"}
    orders: list[tuple[str, str, dict[str, object]]] = [
        ("POST", f"http://127.0.0.1:{ports['MLTRAINER_DAGSTER_PORT']}/graphql", {"json": {"query": "mutation { nope }"}}),
        ("POST", f"http://127.0.0.1:{ports['MLTRAINER_MLFLOW_PORT']}/api/2.0/mlflow/experiments/create", {"json": {"name": "x"}}),
        ("PUT", f"http://127.0.0.1:{ports['MLTRAINER_MLFLOW_PORT']}/api/2.0/mlflow-artifacts/artifacts/x", {"content": b"x"}),
    ]
    for method, url, content in orders:
        assert httpx.request(method, url, trust_env=False, timeout=60, **content).status_code == 401
        answer = httpx.request(method, url, trust_env=False, timeout=60, headers=bearer, **content)
        assert answer.status_code == (400 if "graphql" in url else 200)  # that mutation does not exist


def dies_and_comes_back(home: Path, process: subprocess.Popen[str], ports: dict[str, str]) -> None:
    """PostgreSQL and MLflow are killed; both are there again, and the terminal and the System page say so."""
    (state,) = home.glob("simulated-*")
    mlflow = f"http://127.0.0.1:{ports['MLTRAINER_MLFLOW_PORT']}/health"
    server = EmbeddedPostgres(state / "postgres")
    killed = [int((state / "postgres/data/postmaster.pid").read_text().split()[0])]
    killed += [pid for pid in processes_below(process.pid) if ports["MLTRAINER_MLFLOW_PORT"] in psutil.Process(pid).cmdline()]
    assert len(killed) >= 2
    for pid in killed[:2]:
        os.kill(pid, signal.SIGKILL)
    headers = {"Authorization": f"Bearer {(state / 'api-token').read_text()}"}
    said, deadline = "", time.monotonic() + 200
    while not (answers(mlflow) and server.running and all(name in said for name in ("postgresql ended", "mlflow ended"))):
        assert time.monotonic() < deadline, said
        time.sleep(0.5)
        api = f"http://127.0.0.1:{ports['MLTRAINER_API_PORT']}/api/alerts"
        with suppress(httpx.HTTPError):
            said = httpx.get(api, headers=headers, trust_env=False, timeout=20).text
    assert process.poll() is None


def shows_no_key(home: Path, pids: list[int], keys: list[str]) -> None:
    """No key, nor the token, is in a log, a table of the three databases, MLflow's files, or a command line."""
    (token,) = home.glob("*/api-token")
    hidden = [key.encode() for key in (*keys, token.read_text())]
    for file in home.rglob("*"):
        if file.is_file() and file != token:
            with suppress(FileNotFoundError):  # PostgreSQL's own come and go
                content = file.read_bytes()
                assert not [file for key in hidden if key in content], file
    for pid in pids:
        with suppress(psutil.Error):
            line = " ".join(psutil.Process(pid).cmdline()).encode()
            assert not any(key in line for key in hidden)


def test_everything_answers_and_sighup_leaves_no_process_behind(tmp_path: Path) -> None:
    keys = {"ANTHROPIC_API_KEY": "sk-ant-never-to-be-seen-4711", "FRED_API_KEY": "0123456789abcdef0123456789abcdef"}
    with up(tmp_path, **keys) as (process, ports):
        said = wait_until_up(process)
        for port in ports.values():
            assert f"http://127.0.0.1:{port}" in said
            assert answers(f"http://127.0.0.1:{port}")
        below = processes_below(process.pid)
        assert len(below) >= 5
        only_with_the_token(tmp_path, ports)

        second = mltrainer(tmp_path, "up", **free_ports())
        assert second.returncode == 1
        (line,) = error_lines(second.stderr)
        assert f"process {process.pid}" in line
        assert "already runs" in line

        dies_and_comes_back(tmp_path, process, ports)
        below = processes_below(process.pid)
        shows_no_key(tmp_path, [process.pid, *below], [*keys.values()])
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
        deadline = time.monotonic() + 60
        while any(map(alive, below)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [pid for pid in below if alive(pid)] == []
        assert not any(answers(f"http://127.0.0.1:{port}", 0.5) for port in ports.values())


def test_a_port_in_use_is_named_with_its_owner_and_nothing_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = mltrainer(tmp_path, "up", **free_ports() | {"MLTRAINER_DAGSTER_PORT": str(port)})
    assert done.returncode == 1
    (line,) = error_lines(done.stderr)
    assert f"port {port}" in line
    assert f"process {os.getpid()}" in line
    assert "MLTRAINER_DAGSTER_PORT" in line
    assert list(tmp_path.rglob("PG_VERSION")) == []


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    done = mltrainer(blocked / "home", "up", **free_ports())
    assert done.returncode == 1
    (line,) = error_lines(done.stderr)
    assert "MLTRAINER_HOME" in line


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://someone:hunter2@127.0.0.1:{free_port()}/mltrainer"
    done = mltrainer(tmp_path, "up", MLTRAINER_DATABASE_URL=url, **free_ports())
    assert done.returncode == 1
    (line,) = error_lines(done.stderr)
    assert "MLTRAINER_DATABASE_URL" in line
    assert "hunter2" not in done.stderr


def test_a_recording_that_cannot_be_used_stops_the_start_with_its_reason(tmp_path: Path) -> None:
    """One of the reasons; `exchange/test_replay.py` has all of them."""
    rows = "date,symbol,open,high,low,close,volume\n2020-01-02,A,1,1,1,1,5\n2020-01-02,A,1,1,1,1,5\n"
    recording = tmp_path / "recording.csv"
    recording.write_text(rows)
    ports = free_ports()
    done = mltrainer(tmp_path / "home", "up", MLTRAINER_EXCHANGE=f"replay:{recording}", **ports)
    assert done.returncode == 1
    (line,) = error_lines(done.stderr)
    assert "A on 2020-01-02" in line
    assert str(recording) in line
