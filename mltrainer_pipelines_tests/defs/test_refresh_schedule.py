"""The ticks of the refresh: which run, and why the others are skipped."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from mltrainer_pipelines.defs.signals.automation import refresh_signals_schedule
from mltrainer_pipelines.market.sessions import NEW_YORK


def tick(instance: dg.DagsterInstance, *moment: int) -> dg.RunRequest | dg.SkipReason:
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime(*moment, tzinfo=NEW_YORK))
    return refresh_signals_schedule(context)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def test_the_session_is_ticked_from_the_first_delayed_price_to_the_closing_one(instance: dg.DagsterInstance) -> None:
    assert isinstance(tick(instance, 2015, 10, 30, 9, 45), dg.RunRequest)
    assert isinstance(tick(instance, 2015, 10, 30, 16, 15), dg.RunRequest)
    assert "outside of the session" in tick(instance, 2015, 10, 30, 9, 30).skip_message
    assert "outside of the session" in tick(instance, 2015, 10, 30, 16, 30).skip_message


def test_holidays_and_early_closes_are_honoured(instance: dg.DagsterInstance) -> None:
    assert "holiday" in tick(instance, 2015, 11, 26, 12, 0).skip_message
    assert isinstance(tick(instance, 2015, 11, 27, 13, 15), dg.RunRequest)
    assert "outside of the session of 2015-11-27, 09:30 to 13:00" in tick(instance, 2015, 11, 27, 13, 30).skip_message


def test_two_schedulers_ask_for_the_same_run(instance: dg.DagsterInstance) -> None:
    assert tick(instance, 2015, 10, 30, 12, 0).run_key == tick(instance, 2015, 10, 30, 12, 0).run_key


@pytest.mark.parametrize(
    ("status", "skipped"),
    [
        (dg.DagsterRunStatus.STARTED, True),
        (dg.DagsterRunStatus.NOT_STARTED, True),
        (dg.DagsterRunStatus.SUCCESS, False),
        (dg.DagsterRunStatus.FAILURE, False),
    ],
)
def test_a_tick_that_finds_the_refresh_before_still_running_is_skipped(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, skipped: bool
) -> None:
    instance.add_run(dg.DagsterRun(job_name="refresh_signals", run_id="before", status=status))
    instance.add_run(dg.DagsterRun(job_name="walk_forward", run_id="other", status=dg.DagsterRunStatus.STARTED))
    found = tick(instance, 2015, 10, 30, 12, 0)
    if skipped:
        assert "still running (run before)" in found.skip_message
    else:
        assert isinstance(found, dg.RunRequest)


def test_the_week_in_which_the_clock_goes_back_has_the_same_ticks_in_new_york_and_each_its_own_run(
    instance: dg.DagsterInstance,
) -> None:
    schedule = refresh_signals_schedule
    iterator = schedule_execution_time_iterator(
        datetime(2015, 10, 30, tzinfo=NEW_YORK).timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )
    ticks = list(itertools.takewhile(lambda moment: moment < datetime(2015, 11, 3, tzinfo=NEW_YORK), iterator))
    asked = {moment: tick(instance, *moment.timetuple()[:5]) for moment in ticks}
    runs = {moment: found.run_key for moment, found in asked.items() if isinstance(found, dg.RunRequest)}
    assert len(set(runs.values())) == len(runs) == 2 * 27
    for day, opens in ((30, "13:45"), (2, "14:45")):  # an hour later by UTC
        times = [moment for moment in runs if moment.day == day]
        assert [f"{moment:%H:%M}" for moment in (times[0], times[-1])] == ["09:45", "16:15"]
        assert f"{times[0].astimezone(UTC):%H:%M}" == opens
