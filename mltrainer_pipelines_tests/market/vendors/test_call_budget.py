"""The calls a minute that all processes of a home keep together."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from mltrainer_pipelines.market.vendors.call_budget import CallBudget
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.market.vendors.transport import Backoff
from mltrainer_pipelines_tests.servers.stocks import Stocks
from mltrainer_pipelines_tests.servers.vendor import Reply, vendor

WINDOW_S = 0.6
CALLER = """
import sys, time
from pathlib import Path
from mltrainer_pipelines.market.vendors.call_budget import CallBudget
file, seen, calls, window, takes = sys.argv[1:]
budget = CallBudget(Path(file), 5, float(window))
for _ in range(int(calls)):
    with budget.call():
        with open(seen, "a") as out:
            out.write(f"{time.monotonic()}\\n")
        time.sleep(float(takes))
"""


def caller(file: Path, seen: Path, calls: int, window_s: float = WINDOW_S, takes_s: float = 0.0) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", CALLER, str(file), str(seen), str(calls), str(window_s), str(takes_s)])


def most_in_any(times: list[float], window_s: float) -> int:
    return max(sum(start <= other < start + window_s for other in times) for start in times)


def test_processes_and_threads_together_never_exceed_the_budget(tmp_path):
    file, seen = tmp_path / "home" / "calls.json", tmp_path / "seen"
    processes = [caller(file, seen, 7) for _ in range(3)]
    budget = CallBudget(file, 5, WINDOW_S)

    def call(_: int) -> float:
        with budget.call():
            return time.monotonic()

    with ThreadPoolExecutor(3) as pool:
        own = list(pool.map(call, range(7)))
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    times = sorted([*own, *map(float, seen.read_text().split())])
    assert len(times) == 28
    assert most_in_any(times, WINDOW_S) <= 5
    # 28 calls are six bursts, five windows apart: the budget is used up, not only kept.
    assert times[-1] - times[0] < 5 * WINDOW_S + 3


def test_a_call_counts_until_a_minute_after_its_answer(tmp_path):
    budget = CallBudget(tmp_path / "calls.json", 1, 0.3)
    with budget.call():
        time.sleep(0.3)
        answered = time.monotonic()
    with budget.call():
        assert time.monotonic() - answered >= 0.3


def test_a_killed_process_gives_its_place_back(tmp_path):
    file, seen = tmp_path / "calls.json", tmp_path / "seen"
    process = caller(file, seen, 1, takes_s=60)
    while not seen.exists() or not seen.read_text():
        time.sleep(0.01)
    budget = CallBudget(file, 1, 0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begin = time.monotonic()
    with budget.call():
        assert 0.3 <= time.monotonic() - begin < 5


def test_a_pause_holds_for_everybody(tmp_path):
    CallBudget(tmp_path / "calls.json", 100).pause(0.4)
    begin = time.monotonic()
    with CallBudget(tmp_path / "calls.json", 100).call():
        assert time.monotonic() - begin >= 0.39


@pytest.mark.parametrize("damage", [b"{", b"[]", b"\x00\x00", b'{"calls": [{"id": 1}], "not_before": 0}'])
def test_a_damaged_log_costs_a_window_and_no_more(tmp_path, damage):
    file = tmp_path / "calls.json"
    file.write_bytes(damage)
    begin = time.monotonic()
    with CallBudget(file, 5, 0.2).call():
        assert 0.2 <= time.monotonic() - begin < 5


def test_a_clock_that_starts_anew_blocks_nobody_for_long(tmp_path):
    file = tmp_path / "calls.json"
    later = time.monotonic() + 1e6
    file.write_text(f'{{"calls": [{{"id": "a", "pid": {os.getpid()}, "began": {later}, "ended": {later}}}], "not_before": 0}}')
    begin = time.monotonic()
    with CallBudget(file, 1, 0.2).call():
        assert 0.2 <= time.monotonic() - begin < 5


def test_waiting_is_told_and_a_budget_of_nothing_is_refused(tmp_path):
    told: list[float] = []
    budget = CallBudget(tmp_path / "calls.json", 1, 1.2, told.append)
    for _ in range(2):
        with budget.call():
            pass
    assert len(told) == 1
    assert 1 < told[0] <= 1.2
    with pytest.raises(ValueError, match="POLYGON_CALLS_PER_MINUTE=0"):
        CallBudget(tmp_path / "calls.json", 0)


def test_the_client_keeps_the_budget_and_hands_retry_after_on_to_the_others(tmp_path):
    from datetime import date

    file = tmp_path / "calls.json"
    stocks = Stocks(faults={date(2024, 3, 4): [Reply(b"{}", status=429, headers={"Retry-After": "0.5"})]})
    with vendor(stocks) as server:
        clients = [
            PolygonMarket(server.url, SecretStr("key"), backoff=Backoff(2, 0.01), budget=CallBudget(file, 50)) for _ in range(2)
        ]
        with ThreadPoolExecutor(1) as pool:
            refused = pool.submit(clients[0].grouped_daily, date(2024, 3, 4))
            while len(server.calls) < 1 or '"not_before": 0.0' in file.read_text():
                time.sleep(0.01)
            begin = time.monotonic()
            clients[1].grouped_daily(date(2024, 3, 5))
            assert time.monotonic() - begin >= 0.3
            assert refused.result().height == 4
