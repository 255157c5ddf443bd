"""The nightly proposals, and the sensor that turns requests into runs."""

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from mltrainer_pipelines.defs.agent.jobs import ensemble, momentum_screening, propose_trials
from mltrainer_pipelines.defs.factors.jobs import discover_factors, propose_factors, screen_factors
from mltrainer_pipelines.defs.instance_runs import InstanceRuns
from mltrainer_pipelines.defs.signals.jobs import refresh_signals
from mltrainer_pipelines.defs.switches import SCHEDULES
from mltrainer_pipelines.defs.ticks import clock_is_pinned
from mltrainer_pipelines.defs.trials.jobs import promote_champion, score_trials, walk_forward
from mltrainer_pipelines.settings import get_settings

if TYPE_CHECKING:
    from mltrainer_pipelines.store.database import Database

EVERY_S = 5
"""How often the sensor looks for what was requested and not started at once."""


@dg.schedule(job=propose_trials, cron_schedule="0 22 * * *", execution_timezone="America/New_York", default_status=SCHEDULES)
def propose_trials_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Every night."""
    return clock_is_pinned(context.scheduled_execution_time) or dg.RunRequest(
        run_key=str(context.scheduled_execution_time.date())
    )


@dg.sensor(
    jobs=[
        *(walk_forward, score_trials, momentum_screening, ensemble, refresh_signals, promote_champion, propose_trials),
        *(propose_factors, screen_factors, discover_factors),
    ],
    minimum_interval_seconds=EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,  # in a quiet installation too: somebody asked
)
def launch_requested_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Whatever was requested becomes a run, and what became of runs is noted; nothing of the agent while it is switched off.

    Who writes a request starts it at once where he can reach Dagster. Here is the net below: what was left waiting, what
    the day's budget approves, trials that a backfill predicted, runs that were cancelled or have vanished.
    """
    from mltrainer_pipelines.agent import actions, autonomy
    from mltrainer_pipelines.ops.agent import system_of
    from mltrainer_pipelines.ops.databases import database_url
    from mltrainer_pipelines.ops.run_launcher import RunLauncher
    from mltrainer_pipelines.store import runtime_settings
    from mltrainer_pipelines.store.lake import Lake

    settings, runs = get_settings(), InstanceRuns(context.instance)
    database = _database(database_url(settings, "mltrainer"))
    autonomy.approve_within_budget(database.engine, datetime.now(UTC))
    launcher = RunLauncher(runs, database.engine, Lake(settings.lake_url), settings)
    launcher.update()
    actions.finish_ended(system_of(settings, database.engine, None))
    if runs.requested:
        return dg.SensorResult(run_requests=runs.requested)
    if not runtime_settings.get(database.engine, "agent_enabled"):
        return dg.SkipReason("the agent is switched off (agent_enabled), and nobody else requested a run")
    return dg.SkipReason("no approved proposal and no other request waits")


@cache
def _database(url: str) -> "Database":
    """One pool of connections for all ticks."""
    from mltrainer_pipelines.store.database import Database

    return Database(url)
