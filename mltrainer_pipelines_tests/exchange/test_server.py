"""The server as the supervisor runs it: the market of the settings, on 127.0.0.1, with the clock of the settings."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import date
from pathlib import Path

from polygon import RESTClient

from mltrainer_pipelines.exchange.replay import RecordedMarket
from mltrainer_pipelines.exchange.server import load_market
from mltrainer_pipelines.exchange.simulated import SimulatedMarket
from mltrainer_pipelines.settings import LOCAL_EXCHANGE_KEY, Settings

BARS = "date,symbol,open,high,low,close,volume\n2015-06-01,AA,10,11,9,10.5,100\n2015-06-02,AA,10,11,9,10.4,100\n"


def test_the_settings_choose_the_market(tmp_path: Path):
    path = tmp_path / "two_days.csv"
    path.write_text(BARS)
    replay = load_market(Settings(mltrainer_exchange=f"replay:{path}", mltrainer_history_start=date(2015, 1, 1)))
    assert isinstance(replay, RecordedMarket)
    assert replay.sessions() == [date(2015, 6, 1), date(2015, 6, 2)]
    pinned = Settings(
        mltrainer_simulated_symbols=5, mltrainer_history_start=date(2020, 1, 1), mltrainer_as_of="2021-06-01T18:00:00-04:00"
    )
    simulated = load_market(pinned)
    assert isinstance(simulated, SimulatedMarket)
    assert simulated.sessions()[-1] > date(2022, 1, 1)
    assert len(simulated.tickers()) == 5


def test_serve_answers_on_loopback_at_the_pinned_time_until_it_is_told_to_stop(tmp_path: Path):
    path = tmp_path / "two_days.csv"
    path.write_text(BARS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = (
        "from mltrainer_pipelines.exchange.server import serve; "
        f"from mltrainer_pipelines.settings import get_settings; serve(get_settings(), {port})"
    )
    environment = {
        **os.environ,
        "MLTRAINER_EXCHANGE": f"replay:{path}",
        "MLTRAINER_HISTORY_START": "2015-01-01",
        "MLTRAINER_AS_OF": "2015-06-01T18:00:00-04:00",
    }
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        health = _first_answer(f"http://127.0.0.1:{port}/healthz")
        assert (health["status"], health["market"], health["now"]) == ("ok", "replay", "2015-06-01T18:00:00-04:00")
        client = RESTClient(LOCAL_EXCHANGE_KEY, base=f"http://127.0.0.1:{port}", retries=0)
        assert [bar.close for bar in client.get_grouped_daily_aggs(date(2015, 6, 1))] == [10.5]
        assert client.get_grouped_daily_aggs(date(2015, 6, 2)) == []
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)
    assert code in (0, -signal.SIGTERM)


def test_importing_the_exchange_brings_in_no_machine_learning():
    heavy = ("torch", "mlflow", "sklearn", "lightgbm", "xgboost", "anthropic", "dagster", "scipy")
    modules = ", ".join(
        f"mltrainer_pipelines.exchange.{name}" for name in ("server", "simulated", "replay", "polygon_api", "fred_api")
    )
    program = f"import sys, {modules}; print([name for name in {heavy!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"


def _first_answer(url: str) -> dict:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return json.loads(answer.read())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
