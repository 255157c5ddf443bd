"""The evening's intake, and the nightly look at bars that the vendor changed."""

import dagster as dg

from mltrainer_pipelines.defs.market.jobs import correct_bars, ingest_session
from mltrainer_pipelines.defs.partitions import months
from mltrainer_pipelines.defs.ticks import no_session
from mltrainer_pipelines.market.corrections import CORRECTED_SESSIONS
from mltrainer_pipelines.market.sessions import last_closed_session, previous_session, sessions_between


@dg.schedule(job=ingest_session, cron_schedule="30 18 * * 1-5", execution_timezone="America/New_York")
def ingest_session_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """After the close of every session, New York time."""
    day = context.scheduled_execution_time.date()
    return no_session(day) or dg.RunRequest(run_key=str(day), partition_key=str(day))


@dg.schedule(job=correct_bars, cron_schedule="0 4 * * *", execution_timezone="America/New_York")
def correct_bars_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
    """Each night: one run for each month that the last five sessions lie in."""
    from mltrainer_pipelines.market.corrections import months_of

    night = context.scheduled_execution_time
    newest = last_closed_session(night)
    recent = sessions_between(previous_session(newest, CORRECTED_SESSIONS - 1), newest)
    month_keys = set(months.get_partition_keys())
    keys = [str(month) for month in months_of(recent) if str(month) in month_keys]
    return [dg.RunRequest(run_key=f"{night:%Y-%m-%d} {key}", partition_key=key) for key in keys]
