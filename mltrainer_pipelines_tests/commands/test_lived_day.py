"""The end of a day lived through by the whole stack, its daemon killed: the first session of a month and of a quarter."""

import json
import subprocess
import sys
import time
from datetime import date, datetime
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.live_clock import read_clock, set_clock
from mltrainer_pipelines.market.sessions import NEW_YORK
from mltrainer_pipelines.ops.supervisor import free_port
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import LearningReport, MarketSkill, ModelWeightHistory
from mltrainer_pipelines_tests.ops.stack import alive, environment, finished_demo, kill, processes_below

DAY = date(2024, 4, 1)
AFTERNOON = datetime(2024, 4, 1, 16, 0, tzinfo=NEW_YORK)
REFRESHES = 2  # at 16:00 and 16:15
COMMAND = [sys.executable, "-m", "mltrainer_pipelines.cli", "live", "--from", str(DAY), "--sessions", "1", "--json"]


def test_a_day_whose_daemon_is_killed_ends_with_everything_that_the_calendar_asks_for(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Each thing once: refreshes, bars and what follows them, learning, the quarter that ended; nothing is left behind."""
    home = finished_demo(tmp_path_factory)[0]
    (state,) = (path.parent for path in home.glob("*/lake"))
    with EmbeddedPostgres(state / "postgres") as server:
        _skill_measured(Database(server.url("mltrainer")))
    set_clock(state, AFTERNOON, DAY)  # as a command that was cut short leaves it
    ports = {f"MLTRAINER_{name}_PORT": str(free_port()) for name in ("DAGSTER", "MLFLOW", "EXCHANGE", "API", "APP")}
    process = subprocess.Popen(COMMAND, env=environment(home, **ports), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        _kill_daemon_once_refreshed(process, state)
        said, errors = process.communicate(timeout=1500)
    finally:
        for pid in [*processes_below(process.pid), process.pid]:
            if alive(pid):
                kill(pid)
    assert process.returncode == 0, errors[-3000:]
    result = json.loads(said)
    assert result["failures"] == []
    assert (result["refreshes_done"], result["months_begun"], result["quarters_predicted"]) == (REFRESHES, 1, 1)
    assert result["recommendations"] == result["positions"]
    assert result["closed"] == result["outcomes"]
    lake = Lake(str(state / "lake"))
    assert lake.partitions("daily_bars")[-1] == str(DAY)
    assert lake.read("features", str(DAY))["date"].max() == lake.read("regime")["date"].max() == DAY
    assert lake.read("signals", str(DAY))["timestamp"].n_unique() == REFRESHES
    with EmbeddedPostgres(state / "postgres") as server:
        database = Database(server.url("mltrainer"))
        with database.engine.connect() as connection:
            assert connection.scalar(sa.select(sa.func.max(LearningReport.as_of))) == DAY
            assert connection.scalar(sa.select(sa.func.max(ModelWeightHistory.as_of))) == DAY, "in use the next morning"
        database.dispose()


def _skill_measured(database: Database) -> None:
    """That takes a minute of its own, and is none of this test's."""
    with database.engine.begin() as connection:
        connection.execute(sa.insert(MarketSkill).values(last_session=DAY, findings={}, curves={}))
    database.dispose()


def _kill_daemon_once_refreshed(process: "subprocess.Popen[str]", state: Path) -> None:
    while process.poll() is None:
        clock = read_clock(state)
        daemons = [pid for pid in processes_below(process.pid) if _is_daemon(pid)]
        if clock and clock.moment > AFTERNOON and daemons:
            return kill(daemons[0])
        time.sleep(0.05)
    raise AssertionError(f"it ended before the daemon could be killed: {process.stderr.read() if process.stderr else ''}")


def _is_daemon(pid: int) -> bool:
    try:
        return any(part.endswith("dagster-daemon") for part in psutil.Process(pid).cmdline()[:2])
    except psutil.Error:
        return False
