"""What runs by itself: on by default, quiet on request, and the ticks after pauses, late vendors and pinned clocks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mltrainer_pipelines.data_plan import DataPlan, write_plan
from mltrainer_pipelines.defs.features.assets import features, labels
from mltrainer_pipelines.defs.learning.automation import alert_on_stale_data
from mltrainer_pipelines.defs.market.automation import fetch_missing_sessions, ingest_session_schedule
from mltrainer_pipelines.defs.signals.automation import decide_after_the_close, refresh_signals_schedule
from mltrainer_pipelines.market.sessions import NEW_YORK
from mltrainer_pipelines.ops.automation import SAFETY_NETS
from mltrainer_pipelines.settings import get_settings
from mltrainer_pipelines.store.alerts import alerts
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines_tests.market.test_backlog import with_bars
from mltrainer_pipelines_tests.servers.plans import Plan
from mltrainer_pipelines_tests.servers.stocks import Stocks
from mltrainer_pipelines_tests.servers.vendor import vendor

STATES = """
import json
from mltrainer_pipelines.definitions import defs
repository = defs.get_repository_def()
print(json.dumps({one.name: one.default_status.value for one in [*repository.schedule_defs, *repository.sensor_defs]}))
"""


@pytest.mark.parametrize("automation", ["true", "false"])
def test_everything_is_on_unless_the_installation_is_to_be_quiet(automation: str) -> None:
    environment = os.environ | {"MLTRAINER_AUTOMATION": automation}
    states = json.loads(subprocess.run([sys.executable, "-c", STATES], env=environment, capture_output=True, check=True).stdout)
    assert {"refresh_signals_schedule", "follow_inputs", "fetch_missing_sessions", "predict_ended_quarters"} <= states.keys()
    assert {name for name, state in states.items() if state == "RUNNING"} == (
        set(states) if automation == "true" else SAFETY_NETS
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[datetime], None]]:
    """Sets the installation's clock; its lake is in the test's folder."""
    monkeypatch.setenv("MLTRAINER_LAKE_URL", str(tmp_path / "lake"))
    monkeypatch.setenv("MLTRAINER_HISTORY_START", "2020-01-02")

    def set_to(moment: datetime) -> None:
        monkeypatch.setenv("MLTRAINER_AS_OF", moment.isoformat())
        get_settings.cache_clear()

    yield set_to
    get_settings.cache_clear()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


def evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 18, 30, tzinfo=NEW_YORK)


def test_the_evening_fetches_what_is_missing_before_it_in_order(
    clock: Callable[[datetime], None], tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with_bars(tmp_path / "lake", date(2024, 6, 26))
    night = evening(date(2024, 7, 2))
    clock(night)
    request = ingest_session_schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=night))
    assert request.tags["dagster/asset_partition_range_start"] == "2024-06-27"
    assert request.tags["dagster/asset_partition_range_end"] == "2024-07-02"
    with_bars(tmp_path / "lake", *(date(2024, 6, day) for day in (27, 28)), date(2024, 7, 1))
    request = ingest_session_schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=night))
    assert request.partition_key == "2024-07-02"


def test_a_late_vendor_is_asked_again_later_and_later(
    clock: Callable[[datetime], None], tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with_bars(tmp_path / "lake", date(2024, 7, 1))
    moment, cursor, asked = evening(date(2024, 7, 2)), None, []
    while moment < evening(date(2024, 7, 2)) + timedelta(hours=12):
        clock(moment)
        result = fetch_missing_sessions(dg.build_sensor_context(instance=instance, cursor=cursor))
        if isinstance(result, dg.SensorResult):
            cursor = result.cursor
            asked.append(int((moment - evening(date(2024, 7, 2))).total_seconds() / 60))
        moment += timedelta(minutes=10)
    assert asked == [0, 20, 60, 140, 300, 540]
    with_bars(tmp_path / "lake", date(2024, 7, 2))
    skipped = fetch_missing_sessions(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert "no session is missing" in skipped.skip_message


def test_three_weeks_off_are_one_run_over_all_sessions(
    clock: Callable[[datetime], None], tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with_bars(tmp_path / "lake", date(2024, 6, 7))
    clock(datetime(2024, 7, 1, 11, 7, tzinfo=NEW_YORK))
    result = fetch_missing_sessions(dg.build_sensor_context(instance=instance))
    (request,) = result.run_requests
    assert request.tags["dagster/asset_partition_range_start"] == "2024-06-10"
    assert request.tags["dagster/asset_partition_range_end"] == "2024-06-28"


def test_nothing_happens_after_the_moment_at_which_the_clock_stands(
    clock: Callable[[datetime], None], tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with_bars(tmp_path / "lake", date(2024, 6, 28))
    clock(evening(date(2024, 6, 28)))
    tick = dg.build_schedule_context(instance=instance, scheduled_execution_time=evening(date(2024, 7, 2)))
    assert "MLTRAINER_AS_OF" in ingest_session_schedule(tick).skip_message
    assert Lake(str(tmp_path / "lake")).partitions("daily_bars") == ["2024-06-28"]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Callable[[datetime], None]) -> Iterator[Plan]:
    """A key whose plan has no prices during a session, at a vendor that has published the session of 1 July 2024."""
    plan = Plan(Stocks(), date(2024, 7, 2), 2, snapshots=False, published=date(2024, 7, 1))
    with vendor(plan) as server:
        for name, value in (("POLYGON_API_KEY", "a-key"), ("POLYGON_BASE_URL", server.url), ("MLTRAINER_HOME", str(tmp_path))):
            monkeypatch.setenv(name, value)
        clock(evening(date(2024, 7, 2)))
        settings = get_settings()
        write_plan(settings.state, DataPlan(settings.plan_key or "", 2, date(2022, 7, 5), False, None, 270))
        yield plan


def test_a_plan_without_prices_during_a_session_decides_once_after_its_close(
    free: Plan, clock: Callable[[datetime], None], tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    lake = with_bars(tmp_path / "lake", date(2024, 6, 28), date(2024, 7, 1))
    regime = pl.DataFrame({"date": [date(2024, 6, 28)]})
    lake.write("regime", regime)
    lake.write("delayed_quotes", regime, "2024-06-28")
    lake.write("universe", regime, "2024-07-01")
    noon = datetime(2024, 7, 2, 12, 0, tzinfo=NEW_YORK)
    tick = dg.build_schedule_context(instance=instance, scheduled_execution_time=noon)
    assert "one decision after its close" in refresh_signals_schedule(tick).skip_message

    def decision() -> dg.RunRequest | dg.SkipReason:
        return decide_after_the_close(dg.build_sensor_context(instance=instance))

    assert "what is made of them is not yet" in decision().skip_message
    lake.write("regime", pl.DataFrame({"date": [date(2024, 7, 1)]}))
    assert decision().run_key == "after the close of 2024-07-01"
    lake.write("delayed_quotes", regime, "2024-07-01")
    clock(noon)
    assert "the next decision comes after the next close" in decision().skip_message
    clock(evening(date(2024, 7, 2)))
    assert "2024-07-02 has no bars yet" in decision().skip_message


def test_a_plan_that_gets_a_session_late_is_asked_until_it_has_it(
    free: Plan, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with_bars(tmp_path / "lake", date(2024, 6, 28))
    tick = dg.build_schedule_context(instance=instance, scheduled_execution_time=evening(date(2024, 7, 2)))
    assert "fetch_missing_sessions asks" in ingest_session_schedule(tick).skip_message
    (request,) = fetch_missing_sessions(dg.build_sensor_context(instance=instance)).run_requests
    assert request.tags["dagster/asset_partition_range_end"] == "2024-07-01"
    with_bars(tmp_path / "lake", date(2024, 7, 1))
    waits = fetch_missing_sessions(dg.build_sensor_context(instance=instance))
    assert not waits.run_requests
    assert "does not have 2024-07-02 yet" in waits.skip_reason.skip_message
    free.published = date(2024, 7, 2)
    (request,) = fetch_missing_sessions(dg.build_sensor_context(instance=instance)).run_requests
    assert request.tags["dagster/asset_partition_range_start"] == "2024-07-02"


def test_what_is_behind_raises_one_alert_the_same_night_that_is_closed_when_it_has_come(
    clock: Callable[[datetime], None], tmp_path: Path, instance: dg.DagsterInstance, database: Database
) -> None:
    def look() -> str:
        return str(alert_on_stale_data(dg.build_sensor_context(instance=instance, resources={"database": database})).skip_message)

    with_bars(tmp_path / "lake", date(2024, 7, 1))
    clock(datetime(2024, 7, 2, 23, 0, tzinfo=NEW_YORK))
    assert "up to date" in look(), "the evening may take its time"
    for hour in (1, 3):
        clock(datetime(2024, 7, 3, hour, tzinfo=NEW_YORK))
        assert "daily_bars behind" in look()
    (alert,) = alerts(database.engine, open_only=True)
    assert alert["message"] == "daily_bars is 1 session behind: the newest is of 2024-07-01"
    with_bars(tmp_path / "lake", date(2024, 7, 2))
    assert "up to date" in look()
    assert alerts(database.engine, open_only=True) == []
    assert alerts(database.engine)[0]["acknowledged_by"] == "mltrainer"


def test_a_month_that_has_just_begun_has_features_and_labels_without_rows(tmp_path: Path) -> None:
    lake = with_bars(tmp_path / "lake", date(2024, 6, 28))
    done = dg.materialize([features, labels], partition_key="2024-07-01", resources={"lake": lake})
    assert done.success
    assert lake.read("features", "2024-07-01").is_empty()
    assert lake.read("labels", "2024-07-01").is_empty()
