"""Processes that are looked after together: real ones, that wait, write and die."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mltrainer_pipelines.ops.leftovers import MARK, stop_leftovers
from mltrainer_pipelines.ops.process_group import MOST_DEATHS, Process, ProcessGroup, RotatingLog
from mltrainer_pipelines_tests.ops.stack import alive

WAITING = [sys.executable, "-c", "import time; time.sleep(600)"]


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def log(tmp_path: Path) -> RotatingLog:
    return RotatingLog(tmp_path / "up.log")


def test_while_starting_the_first_to_end_stops_the_others_and_its_last_line_is_kept(log: RotatingLog) -> None:
    group = ProcessGroup(20, lambda *_: None)
    group.add(Process("patient", WAITING, {}, log))
    group.add(Process("hasty", [sys.executable, "-c", "print('Error: no such table'); raise SystemExit(3)"], {}, log))
    group.loop()
    assert group.stopping
    assert group.received is None
    assert group.first_end == "hasty ended while starting: no such table"


def test_what_dies_is_started_again_and_given_up_in_the_end(log: RotatingLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mltrainer_pipelines.ops.process_group._LONGEST_WAIT_SECONDS", 0.01)
    told: list[tuple[str, str]] = []

    def tell(name: str, sentence: str, severity: str) -> None:
        told.append((severity, sentence))
        if severity == "error":
            group.terminate()

    group = ProcessGroup(20, tell)
    group.restarting = True
    group.add(Process("patient", WAITING, {}, log))
    group.add(Process("dying", [sys.executable, "-c", "print('no space left'); raise SystemExit(2)"], {}, log))
    group.loop()
    assert [severity for severity, _ in told] == ["warning"] * (MOST_DEATHS - 1) + ["error"]
    assert told[0][1] == "dying ended (exit code 2); it starts again in 0.01 s"
    assert "5 times within 10 minutes and is not started again (exit code 2: no space left)" in told[-1][1]


def test_a_killed_one_is_back_and_its_own_children_have_not_kept_its_port(log: RotatingLog, tmp_path: Path) -> None:
    forking = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(tmp_path / "pids")!r}, "a").write(f"{{os.getpid()}} {{child.pid}}\\n")
time.sleep(600)"""
    told: list[str] = []
    group = ProcessGroup(20, lambda name, sentence, severity: told.append(sentence))
    group.restarting = True
    group.add(Process("serving", [sys.executable, "-c", forking], dict(os.environ), log))

    def rows() -> list[list[int]]:
        file = tmp_path / "pids"
        return [[int(pid) for pid in line.split()] for line in file.read_text().splitlines()] if file.exists() else []

    def kill_and_see() -> None:
        try:
            eventually(lambda: len(rows()) == 1)
            os.kill(rows()[0][0], signal.SIGKILL)
            eventually(lambda: len(rows()) == 2)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)

    seeing = threading.Thread(target=kill_and_see)
    seeing.start()
    group.loop()
    seeing.join()
    assert group.received == signal.SIGHUP
    assert told == ["serving ended (killed by SIGKILL); it starts again in 1 s"]
    eventually(lambda: not any(alive(pid) for row in rows() for pid in row))
    assert "killed" not in (tmp_path / "up.log").read_text()
    assert "serving  | stopped (rc=-9)" in (tmp_path / "up.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children of their parent's death on Linux alone")
def test_processes_die_with_a_supervisor_that_is_killed_and_what_it_left_is_found(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    mark = f"{tmp_path}#1"
    program = f"""
import os
from pathlib import Path
from mltrainer_pipelines.ops.leftovers import MARK, swept_afterwards
from mltrainer_pipelines.ops.process_group import Process, ProcessGroup, RotatingLog
log = RotatingLog(Path({str(tmp_path / "up.log")!r}))
group = ProcessGroup(20, print)
environment = dict(os.environ) | {{MARK: {mark!r}}}
group.add(Process("obeying", {WAITING!r}, environment, log))
group.add(Process("stubborn", [{sys.executable!r}, "-c", {stubborn!r}], environment, log))
with swept_afterwards({mark!r}, None):
    group.loop()"""
    supervisor = subprocess.Popen([sys.executable, "-c", program])

    def log_text() -> str:
        file = tmp_path / "up.log"
        return file.read_text() if file.exists() else ""

    eventually(lambda: "stubborn | up" in log_text())
    pids = [int(part.split(")")[0]) for part in log_text().split("pid=")[1:]]
    assert len(pids) == 2
    supervisor.kill()
    supervisor.wait()
    eventually(lambda: not alive(pids[0]))
    eventually(lambda: not alive(pids[1]))  # the one that waits for the supervisor's death gives it 5 s

    left = subprocess.Popen(WAITING, env=dict(os.environ) | {MARK: f"{tmp_path}#2"}, start_new_session=True)
    assert stop_leftovers(f"{tmp_path}#") == [left.pid]
    assert not alive(left.pid)


def test_a_log_is_bounded_and_one_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "up.log")
    log.maxBytes = 1000
    for line in range(500):
        log.write(f"{line} " + "x" * 50)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 5 * 1000
    assert "499 " in (tmp_path / "up.log").read_text()
    full = RotatingLog(Path("/dev/full")) if Path("/dev/full").exists() else log
    full.write("one more")
