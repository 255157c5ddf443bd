"""The refresh every 15 minutes of the session."""

from datetime import datetime, timedelta

import dagster as dg

from mltrainer_pipelines.defs.signals.jobs import refresh_signals
from mltrainer_pipelines.defs.switches import SCHEDULES
from mltrainer_pipelines.defs.ticks import clock_is_pinned, no_session
from mltrainer_pipelines.ops.dagster_client import UNFINISHED

_GIVEN_UP_AFTER = timedelta(hours=1)
"""A refresh that has not ended for so long is not waited for: its process is gone."""


@dg.schedule(
    job=refresh_signals, cron_schedule="*/15 9-16 * * 1-5", execution_timezone="America/New_York", default_status=SCHEDULES
)
def refresh_signals_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Every 15 minutes of the session, from the first delayed price to the closing one; honours holidays and early closes.

    A tick that finds the refresh before still running is skipped.
    """
    from mltrainer_pipelines.market.quotes import DELAY
    from mltrainer_pipelines.market.sessions import session_hours

    tick = context.scheduled_execution_time
    day = tick.date()
    if skipped := no_session(day) or clock_is_pinned(tick):
        return skipped
    opens, closes = session_hours(day)
    if not opens + DELAY <= tick <= closes + DELAY:
        return dg.SkipReason(
            f"{tick:%H:%M} lies outside of the session of {day}, {opens:%H:%M} to {closes:%H:%M}, seen 15 minutes later"
        )
    running = _still_running(context.instance, tick)
    if running:
        return dg.SkipReason(f"the refresh before is still running (run {running}); the next tick is in 15 minutes")
    return dg.RunRequest(run_key=tick.isoformat())


def _still_running(instance: dg.DagsterInstance, tick: datetime) -> str | None:
    """Id of a refresh that has not ended yet."""
    unfinished = dg.RunsFilter(job_name="refresh_signals", statuses=[dg.DagsterRunStatus(status) for status in UNFINISHED])
    for record in instance.get_run_records(unfinished, limit=20):
        if record.create_timestamp > tick - _GIVEN_UP_AFTER or record.dagster_run.status == dg.DagsterRunStatus.QUEUED:
            return record.dagster_run.run_id
    return None
