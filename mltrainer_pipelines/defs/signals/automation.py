"""The refresh every 15 minutes of the session; or one after the close, where the plan has no prices during it."""

from datetime import date, datetime, timedelta

import dagster as dg

from mltrainer_pipelines.defs.signals.jobs import refresh_signals
from mltrainer_pipelines.defs.switches import SCHEDULES, SENSORS
from mltrainer_pipelines.defs.ticks import clock_is_pinned, no_session
from mltrainer_pipelines.ops.dagster_client import UNFINISHED
from mltrainer_pipelines.settings import get_settings, now

_GIVEN_UP_AFTER = timedelta(hours=1)
"""A refresh that has not ended for so long is not waited for: its process is gone."""


@dg.schedule(
    job=refresh_signals, cron_schedule="*/15 9-16 * * 1-5", execution_timezone="America/New_York", default_status=SCHEDULES
)
def refresh_signals_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Every 15 minutes of the session, from the first delayed price to the closing one; honours holidays and early closes.

    A tick that finds the refresh before still running is skipped, and so is every tick where the plan of the key has no prices
    during a session: `decide_after_the_close` then decides once a session.
    """
    from mltrainer_pipelines.market.quotes import DELAY
    from mltrainer_pipelines.market.sessions import session_hours

    tick = context.scheduled_execution_time
    day = tick.date()
    if skipped := no_session(day) or clock_is_pinned(tick):
        return skipped
    if get_settings().has_no_snapshots:
        return dg.SkipReason("the plan has no prices during a session: one decision after its close (decide_after_the_close)")
    opens, closes = session_hours(day)
    if not opens + DELAY <= tick <= closes + DELAY:
        return dg.SkipReason(
            f"{tick:%H:%M} lies outside of the session of {day}, {opens:%H:%M} to {closes:%H:%M}, seen 15 minutes later"
        )
    running = _still_running(context.instance, tick)
    if running:
        return dg.SkipReason(f"the refresh before is still running (run {running}); the next tick is in 15 minutes")
    return dg.RunRequest(run_key=tick.isoformat())


@dg.sensor(job=refresh_signals, minimum_interval_seconds=60, default_status=SENSORS)
def decide_after_the_close(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One decision a session, once its bars and its regime are there: for plans that have no prices during a session."""
    from mltrainer_pipelines.market.sessions import last_closed_session
    from mltrainer_pipelines.store.lake import Lake

    if not get_settings().has_no_snapshots:
        return dg.SkipReason("there are prices during a session: refresh_signals_schedule decides every 15 minutes of it")
    lake = Lake(get_settings().lake_url)
    bars, decided, newest = lake.partitions("daily_bars"), lake.partitions("delayed_quotes"), last_closed_session(now())
    if not bars or not lake.exists("regime"):
        return dg.SkipReason("there is no market to decide on yet: `mltrainer demo` fetches it the first time")
    if decided and bars[-1] <= decided[-1]:
        waits = "the next decision comes after the next close" if bars[-1] >= str(newest) else f"{newest} has no bars yet"
        return dg.SkipReason(f"{decided[-1]} was decided on; {waits}")
    session = date.fromisoformat(bars[-1])
    scored: date = lake.read("regime")["date"].max()  # type: ignore[assignment]
    if scored < session or not lake.exists("universe", str(session.replace(day=1))):
        return dg.SkipReason(f"the bars of {bars[-1]} are there; what is made of them is not yet")
    return dg.RunRequest(run_key=f"after the close of {bars[-1]}")


def _still_running(instance: dg.DagsterInstance, tick: datetime) -> str | None:
    """Id of a refresh that has not ended yet."""
    unfinished = dg.RunsFilter(job_name="refresh_signals", statuses=[dg.DagsterRunStatus(status) for status in UNFINISHED])
    for record in instance.get_run_records(unfinished, limit=20):
        if record.create_timestamp > tick - _GIVEN_UP_AFTER or record.dagster_run.status == dg.DagsterRunStatus.QUEUED:
            return record.dagster_run.run_id
    return None
