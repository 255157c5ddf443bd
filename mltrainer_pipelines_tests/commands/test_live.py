"""Living through past days: what the calendar asks for, which days can be lived through, and one that is."""

import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from rich.console import Console

from mltrainer_pipelines.commands import live
from mltrainer_pipelines.commands.live_result import LiveResult, refreshes_due
from mltrainer_pipelines.definitions import defs
from mltrainer_pipelines.defs.signals.automation import refresh_signals_schedule
from mltrainer_pipelines.live_clock import read_clock, remove_clock, set_clock
from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between
from mltrainer_pipelines.ops.dagster_internals import moments_due, partitions_as_of, schedule_context
from mltrainer_pipelines.settings import Settings, get_settings, now, simulated_now
from mltrainer_pipelines_tests.market.test_backlog import with_bars


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home of its own, five years of history, the wall clock."""
    monkeypatch.setenv("MLTRAINER_HOME", str(tmp_path))
    for name in ("MLTRAINER_AS_OF", "MLTRAINER_HISTORY_START", "MLTRAINER_LAKE_URL", "MLTRAINER_AUTOMATION"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    get_settings.cache_clear()
    settings = get_settings()
    settings.state.mkdir(parents=True)
    yield settings
    os.environ.clear()
    os.environ.update(before)
    get_settings.cache_clear()


def lived(settings: Settings, first: date, sessions: int) -> LiveResult:
    return live.live(settings, first, sessions, None, Console(stderr=True), lambda _: None)


def test_the_schedule_and_the_calendar_agree_on_refreshes(settings: Settings, tmp_path: Path) -> None:
    """On days after the clocks changed, on Thanksgiving and on the early close after it."""
    due, asked, repository = [], [], defs.get_repository_def()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for day in (date(2018, 3, 12), date(2018, 11, 5), date(2018, 11, 22), date(2018, 11, 23)):
            due += [moment for session in sessions_between(day, day) for moment in refreshes_due(session)]
            begin = datetime.combine(day, datetime.min.time(), NEW_YORK)
            for tick in moments_due(refresh_signals_schedule, begin, begin + timedelta(hours=23)):
                context = schedule_context(instance, tick, repository)
                asked += [request.run_key for request in refresh_signals_schedule.evaluate_tick(context).run_requests or []]
    assert asked == [moment.isoformat() for moment in due]
    assert len(asked) == 27 + 27 + 0 + 15


def test_every_schedule_answers_on_a_saturday_after_a_quarters_last_session(settings: Settings, tmp_path: Path) -> None:
    begin, repository = datetime(2018, 6, 30, tzinfo=NEW_YORK), defs.get_repository_def()
    asked = {}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for schedule in repository.schedule_defs:
            for tick in moments_due(schedule, begin, begin + timedelta(hours=23)):
                with partitions_as_of(tick):
                    answer = schedule.evaluate_tick(schedule_context(instance, tick, repository))
                asked[schedule.name] = [request.run_key for request in answer.run_requests or []]
    assert asked["promote_champion_schedule"] == ["2018-06-30 short", "2018-06-30 long"]
    assert not {"refresh_signals_schedule", "ingest_session_schedule", "learn_schedule"} & asked.keys()


def test_every_process_of_a_home_reads_the_clock_that_is_set(settings: Settings) -> None:
    moment = datetime(2018, 6, 1, 9, 45, tzinfo=NEW_YORK)
    assert simulated_now() is None
    set_clock(settings.state, moment, date(2018, 6, 14))
    assert now() == simulated_now() == moment
    remove_clock(settings.state)
    assert simulated_now() is None


def test_a_clock_with_a_speed_arrives_no_sooner_and_passes_what_lies_between(settings: Settings) -> None:
    noon, last = datetime(2018, 6, 1, 12, 0, tzinfo=NEW_YORK), date(2018, 6, 14)
    set_clock(settings.state, noon, last)
    pace, begin, between = live._Pace(settings, last, 1800.0), time.monotonic(), []
    mover = threading.Thread(target=pace.move_to, args=(noon + timedelta(minutes=15),))
    mover.start()
    while mover.is_alive():
        between.append(now())
        time.sleep(0.01)
    assert time.monotonic() - begin >= 15 * 60 / 1800
    assert now() == noon + timedelta(minutes=15)
    assert noon <= min(between) < noon + timedelta(minutes=15)
    assert between == sorted(between)


def test_a_clock_whose_process_is_gone_is_removed_and_another_living_ones_is_kept(settings: Settings) -> None:
    set_clock(settings.state, datetime(2018, 6, 1, tzinfo=NEW_YORK), date(2018, 6, 14))
    file = settings.state / "clock.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": os.getppid()}))
    remove_clock(settings.state)
    assert read_clock(settings.state) is not None
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": 2**22 + 1}))
    remove_clock(settings.state)
    assert read_clock(settings.state) is None


def test_days_that_are_not_over_are_refused(settings: Settings) -> None:
    with pytest.raises(live.LiveError, match="is not over"):
        lived(settings, now().date(), 3)


def test_a_home_lives_forward_only(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTRAINER_HISTORY_START", "2013-01-01")
    get_settings.cache_clear()
    with_bars(Path(get_settings().lake_url), date(2018, 6, 11))
    with pytest.raises(live.LiveError, match=r"knows the market until 2018-06-11, .* give 2018-06-12 or later"):
        lived(get_settings(), date(2018, 6, 1), 3)


def test_the_history_begins_five_years_before_unless_it_is_set(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert live.environment_of(settings, date(2018, 6, 1)) == {"MLTRAINER_HISTORY_START": "2013-01-01"}
    monkeypatch.setenv("MLTRAINER_HISTORY_START", "2018-07-02")
    with pytest.raises(live.LiveError, match="MLTRAINER_HISTORY_START=2018-07-02 is not before 2018-06-01"):
        live.environment_of(Settings(), date(2018, 6, 1))


def test_a_recording_that_ends_before_is_refused(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bars.parquet"
    bar = {"symbol": "A", "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 1e6}
    days = sessions_between(date(2018, 5, 1), date(2018, 6, 5))
    pl.DataFrame([{"date": day} | bar for day in days]).write_parquet(path)
    monkeypatch.setenv("MLTRAINER_EXCHANGE", f"replay:{path}")
    with pytest.raises(live.LiveError, match="ends with 2018-06-05: from 2018-06-01 on it has 3 sessions, not 10"):
        lived(Settings(), date(2018, 6, 1), 10)
