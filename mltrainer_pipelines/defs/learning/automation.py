"""When learning happens: each evening, when positions close, on drift; and the alert for a failed run."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from mltrainer_pipelines.defs.instance_runs import innermost_message
from mltrainer_pipelines.defs.learning.jobs import learn
from mltrainer_pipelines.defs.resources import DatabaseResource
from mltrainer_pipelines.defs.switches import SCHEDULES, SENSORS
from mltrainer_pipelines.defs.ticks import clock_is_pinned, no_session
from mltrainer_pipelines.defs.trials.jobs import promote_champion
from mltrainer_pipelines.settings import get_settings, now

_STALE_AFTER = timedelta(hours=6)
"""How long after a session's bars are published everything that follows them may take before an alert is raised."""
_LEARNT_BY = timedelta(hours=5)
"""After a close: the evening's own learning has ended by then."""


@dg.schedule(job=learn, cron_schedule="30 19 * * 1-5", execution_timezone="America/New_York", default_status=SCHEDULES)
def learn_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """After the bars of each session are in."""
    day = context.scheduled_execution_time.date()
    return no_session(day) or clock_is_pinned(context.scheduled_execution_time) or dg.RunRequest(run_key=str(day))


@dg.sensor(job=learn, minimum_interval_seconds=60, default_status=SENSORS)
def learn_from_closed_positions(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.RunRequest | dg.SkipReason:
    """Positions that were closed and whose outcome is not recorded yet trigger learning."""
    from mltrainer_pipelines.learning.outcomes import closed_without_outcome

    waiting = closed_without_outcome(database.engine)
    if not waiting:
        return dg.SkipReason("the outcome of every closed position is recorded")
    # By the newest of them: the same positions ask once, whatever becomes of the run.
    return dg.RunRequest(run_key=f"closed:{waiting[-1]}", tags={"mltrainer/closed_positions": str(len(waiting))})


@dg.sensor(job=learn, minimum_interval_seconds=60, default_status=SENSORS)
def learn_from_late_bars(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.RunRequest | dg.SkipReason:
    """Bars that came after the evening's learning (late, or fetched after a pause) are settled and learnt from too."""
    from mltrainer_pipelines.learning.report import newest_report
    from mltrainer_pipelines.market.backlog import overdue_sessions
    from mltrainer_pipelines.market.sessions import last_closed_session
    from mltrainer_pipelines.store.lake import Lake

    lake = Lake(get_settings().lake_url)
    present, due = lake.partitions("daily_bars"), last_closed_session(now() - _LEARNT_BY)
    if not present or present[-1] < str(due) or overdue_sessions(lake, now()):
        return dg.SkipReason("bars are still missing")
    if (reported := newest_report(database.engine)) is None or reported >= due:
        return dg.SkipReason(f"{due} is learnt from" if reported else "nothing was learnt yet: the evening begins it")
    return dg.RunRequest(run_key=f"bars:{due}")


@dg.sensor(job=promote_champion, minimum_interval_seconds=300, default_status=SENSORS)
def retrain_on_drift(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SensorResult | dg.SkipReason:
    """Drift that crossed its threshold asks for the champions to be trained anew, at most every two weeks a timeframe."""
    from mltrainer_pipelines.learning.monitoring import retraining_due

    requested = dict(part.split("=") for part in context.cursor.split(";")) if context.cursor else {}
    requests = []
    for check in retraining_due(
        database.engine, now().date(), {name: date.fromisoformat(day) for name, day in requested.items()}
    ):
        requested[check.timeframe] = str(check.as_of)
        tags = {"mltrainer/asked_by": "drift", "mltrainer/drift": f"{check.kind} of {check.as_of}"}
        requests.append(dg.RunRequest(f"drift:{check.timeframe}:{check.as_of}", partition_key=check.timeframe, tags=tags))
    if not requests:
        return dg.SkipReason("nothing drifts, or it was asked for already")
    return dg.SensorResult(run_requests=requests, cursor=";".join(f"{name}={day}" for name, day in sorted(requested.items())))


@dg.run_failure_sensor(monitor_all_code_locations=False, default_status=dg.DefaultSensorStatus.RUNNING)
def alert_on_failure(context: dg.RunFailureSensorContext, database: DatabaseResource) -> None:
    """A failed run raises an alert: what failed, why, and where its log is. What fails again on the same day raises none."""
    from mltrainer_pipelines.ops.dagster_client import ANY_ASSETS
    from mltrainer_pipelines.ops.run_launcher import REQUEST
    from mltrainer_pipelines.store.alerts import raise_alert

    run, failures = context.dagster_run, context.get_step_failure_events()
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    what = ", ".join(assets) if assets and run.job_name == ANY_ASSETS else run.job_name
    reasons = [error for event in failures if (error := innermost_message(event))]
    reason = (reasons[0] if reasons else context.failure_event.message or "").strip()[:2000]
    steps = [event.step_key for event in failures if event.step_key]
    where = f" in {', '.join(steps)}" if steps else ""
    message = f"{what} failed{where}: {reason.splitlines()[0] if reason else 'no reason recorded'}"
    url = f"{get_settings().dagster_link}/runs/{run.run_id}"
    details = {"job": what, "steps": steps, "reason": reason, "url": url}
    about = run.run_id if REQUEST in run.tags else f"{what}:{now().date()}"
    raise_alert(database.engine, f"run:{about}", "run_failure", "error", message, details, run.run_id)


@dg.sensor(minimum_interval_seconds=600, default_status=SENSORS)
def alert_on_stale_data(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SkipReason:
    """Whatever should have come and is hours late raises an alert, once an asset and session; it is closed when that has come."""
    from mltrainer_pipelines.ops.cadence import ASSETS
    from mltrainer_pipelines.ops.freshness import freshness
    from mltrainer_pipelines.store.alerts import close_alerts, raise_alert
    from mltrainer_pipelines.store.lake import Lake
    from mltrainer_pipelines.trials.registry.records import first_registered

    events = {name: context.instance.get_latest_materialization_event(dg.AssetKey(name)) for name in ASSETS}
    materialized = {name: datetime.fromtimestamp(event.timestamp, UTC) for name, event in events.items() if event}
    states = freshness(Lake(get_settings().lake_url), materialized, now() - _STALE_AFTER, first_registered(database.engine))
    late = {f"stale:{one.asset}:{one.newest}": one for one in states if one.sessions_behind}
    for key, one in late.items():
        newest = f"the newest is of {one.newest}" if one.newest else "there is nothing of it yet"
        sessions = f"{one.sessions_behind} session{'s' * (one.sessions_behind != 1)}"
        message = f"{one.asset} is {sessions} behind: {newest}"
        details = {"asset": one.asset, "sessions_behind": one.sessions_behind}
        raise_alert(database.engine, key, "stale_data", "warning", message, details)
    close_alerts(database.engine, "stale_data", except_keys=late, moment=now())
    return dg.SkipReason(", ".join(one.asset for one in late.values()) + " behind" if late else "everything is up to date")
