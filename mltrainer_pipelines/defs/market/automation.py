"""The evening's intake, what was missed, and the nightly look at bars that the vendor changed."""

from datetime import date, datetime, timedelta

import dagster as dg

from mltrainer_pipelines.defs.instance_runs import unfinished_run
from mltrainer_pipelines.defs.market.jobs import correct_bars, ingest_session
from mltrainer_pipelines.defs.partitions import months
from mltrainer_pipelines.defs.switches import SCHEDULES, SENSORS
from mltrainer_pipelines.defs.ticks import clock_is_pinned, no_session
from mltrainer_pipelines.market.sessions import last_closed_session, previous_session, sessions_between
from mltrainer_pipelines.ops.dagster_client import partition_range
from mltrainer_pipelines.settings import get_settings, now

_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=20), timedelta(hours=4)
"""How long a vendor without the bars is left alone: the first time, and at most."""


@dg.schedule(job=ingest_session, cron_schedule="30 18 * * 1-5", execution_timezone="America/New_York", default_status=SCHEDULES)
def ingest_session_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """After the close of every session, New York time; sessions that are missing before it come with it, in order."""
    from mltrainer_pipelines.market.backlog import overdue_sessions
    from mltrainer_pipelines.store.lake import Lake

    tick = context.scheduled_execution_time
    day = tick.date()
    if skipped := no_session(day) or clock_is_pinned(tick):
        return skipped
    if get_settings().has_no_snapshots:
        return dg.SkipReason(f"the plan has {day} some time after the close: fetch_missing_sessions asks until it is there")
    missing = overdue_sessions(Lake(get_settings().lake_url), tick)
    if len(missing) < 2:
        return dg.RunRequest(run_key=str(day), partition_key=str(day))
    return dg.RunRequest(run_key=str(day), tags=partition_range(str(missing[0]), str(day)))


@dg.sensor(job=ingest_session, minimum_interval_seconds=30, default_status=SENSORS)
def fetch_missing_sessions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Sessions that should be in the lake and are not, in one run and in order: after a pause, or when the vendor was late.

    Where they do not come, it asks again after 20 minutes, then 40, and so on up to four hours.
    """
    from mltrainer_pipelines.market.backlog import overdue_sessions
    from mltrainer_pipelines.store.lake import Lake

    missing = overdue_sessions(Lake(get_settings().lake_url), now())
    if not missing:
        return dg.SkipReason("no session is missing")
    if run := unfinished_run(context.instance, "ingest_session"):
        return dg.SkipReason(f"the run {run} fetches bars already")
    first, last = str(missing[0]), str(missing[-1])
    asked = context.cursor.split(" ") if context.cursor else []
    tries = int(asked[3]) if asked[:2] == [first, last] else 0
    if tries:
        again = datetime.fromisoformat(asked[2]) + min(_FIRST_WAIT * 2 ** (tries - 1), _LONGEST_WAIT)
        if now() < again:
            return dg.SkipReason(f"{first} to {last}: the vendor did not have them yet; asked again at {again:%Y-%m-%d %H:%M}")
    cursor = f"{first} {last} {now().isoformat()} {tries + 1}"
    if get_settings().has_no_snapshots and not _is_published(missing[-1]):
        if len(missing) == 1:
            return dg.SensorResult(skip_reason=f"the vendor does not have {last} yet: it is asked again", cursor=cursor)
        last = str(missing[-2])
    request = dg.RunRequest(run_key=f"{first} {last} {tries}", tags=partition_range(first, last))
    return dg.SensorResult(run_requests=[request], cursor=cursor)


def _is_published(session: date) -> bool:
    """Whether a plan with end-of-day data has a session's bars yet: it refuses today's for a while."""
    from mltrainer_pipelines.market.errors import NOT_IN_PLAN, EmptySessionError, KeyRefusedError
    from mltrainer_pipelines.market.vendors.protocol import Connection
    from mltrainer_pipelines.market.vendors.registry import open_market_data

    settings = get_settings()
    vendor = settings.mltrainer_market_vendor
    client = open_market_data(vendor, Connection(*settings.vendor_connection(vendor), settings.state, lambda _: None))
    try:
        client.session_bars(session)
    except EmptySessionError:
        return False
    except KeyRefusedError as error:
        if error.status != NOT_IN_PLAN:
            raise
        return False
    return True


@dg.schedule(job=correct_bars, cron_schedule="0 4 * * *", execution_timezone="America/New_York", default_status=SCHEDULES)
def correct_bars_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    """Each night: one run for each month that the last five sessions lie in."""
    from mltrainer_pipelines.market.corrections import CORRECTED_SESSIONS, months_of

    night = context.scheduled_execution_time
    if skipped := clock_is_pinned(night):
        return skipped
    newest = last_closed_session(night)
    recent = sessions_between(previous_session(newest, CORRECTED_SESSIONS - 1), newest)
    month_keys = set(months.get_partition_keys())
    keys = [str(month) for month in months_of(recent) if str(month) in month_keys]
    return [dg.RunRequest(run_key=f"{night:%Y-%m-%d} {key}", partition_key=key) for key in keys]
