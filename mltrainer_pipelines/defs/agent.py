"""The agent: trials proposed, approved, launched, and what came of them."""

import time
from datetime import UTC, datetime
from functools import cache

import dagster as dg
import polars as pl
from pydantic import Field

from mltrainer_pipelines.defs.instance_runs import InstanceRuns
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.defs.signals import refresh_signals
from mltrainer_pipelines.defs.trials import launch_at_once, promote_champion, require_current_run, score_trials, walk_forward
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.settings import get_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake

BY_AGENT = {"mltrainer/started_by": "agent"}
"""Tag of what the agent's switch stops."""
COORDINATING = {"mltrainer/coordinating": "trials"}
"""Tag of runs that wait for other runs; dagster.yaml lets so few of them run that those have room."""
EVERY_S = 5
"""How often the sensor looks for what was requested and not started at once."""
LOOK_S = 1.0
"""How often a coordinating run looks at the runs it waits for."""


class ProposeConfig(dg.Config):
    """What to propose."""

    proposer: str | None = Field(
        default=None, description="`claude`, `tpe` (Optuna over the search spaces) or `random`; the run-time setting by default."
    )
    count: int = Field(default=2, ge=1, le=50, description="New trials for each timeframe.")


@dg.asset(deps=["learning_report"], group_name="agent", kinds={"postgres"}, owners=OWNERS)
def trial_proposals(
    context: dg.AssetExecutionContext,
    config: ProposeConfig,
    database: dg.ResourceParam[Database],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """New trials with the hypothesis behind each; what the day's budget does not cover waits for a yes.

    Here the loop closes: an approved proposal requests a run of `trial_predictions`. It is no edge of the graph, because
    a graph of assets has no cycles.
    """
    from mltrainer_pipelines.agent import autonomy, ledger, queries
    from mltrainer_pipelines.agent.failures import AgentOffError
    from mltrainer_pipelines.agent.proposal_cycle import run_cycle
    from mltrainer_pipelines.ops.agent import claude_of, templates_of

    settings, moment = get_settings(), datetime.now(UTC)
    claude = claude_of(settings, database.engine)
    regime = queries.regime(lake)
    try:
        made = run_cycle(database.engine, claude, config.count, templates_of(settings), moment, config.proposer, regime)
    except AgentOffError as error:
        context.log.warning(str(error))
        return dg.MaterializeResult(metadata={"new": 0, "off": str(error), "market": settings.market_kind})
    launch_at_once(context, database)
    if made.fallback_reason is not None:
        context.log.warning(f"{made.proposer} proposes instead of {made.asked}: {made.fallback_reason}")
    shown = pl.DataFrame(
        [
            {"trial": one.config.trial_id, "hypothesis": one.hypothesis, "refuted_if": one.refuted_if, "gain": one.expected_gain}
            for one in made.proposals
        ],
        schema={"trial": pl.String, "hypothesis": pl.String, "refuted_if": pl.String, "gain": pl.Float64},
    )
    refused = pl.DataFrame(
        [{"model": one.trial.model[:80], "reason": one.reason[:300]} for one in made.refusals],
        schema={"model": pl.String, "reason": pl.String},
    )
    today = ledger.spent(database.engine, moment)
    return dg.MaterializeResult(
        metadata=frame_metadata(
            shown,
            new=len(made.stored),
            proposals=table(shown),
            proposer=made.proposer,
            in_place_of=f"{made.asked}: {made.fallback_reason}" if made.fallback_reason else "",
            approved_within_budget=len(made.approved),
            refused=table(refused),
            input_tokens=made.input_tokens,
            output_tokens=made.output_tokens,
            dollars=float(made.dollars),
            tokens_today=today.input_tokens + today.cache_write_tokens + today.cache_read_tokens + today.output_tokens,
            dollars_today=float(today.dollars),
            budget=autonomy.budget(database.engine, moment).left(),
        )
    )


propose_trials = dg.define_asset_job(
    "propose_trials",
    selection=dg.AssetSelection.assets("trial_proposals"),
    tags=BY_AGENT,
    description="Ask the proposer for the next trials.",
)


@dg.schedule(job=propose_trials, cron_schedule="0 22 * * *", execution_timezone="America/New_York")
def propose_trials_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every night."""
    return dg.RunRequest(run_key=str(context.scheduled_execution_time.date()))


@dg.op
def carry_out(context: dg.OpExecutionContext, database: dg.ResourceParam[Database]) -> None:
    """Asks for the trials of a joint request, waits until they are scored, and has done what follows them."""
    from mltrainer_pipelines.ops.run_launcher import REQUEST
    from mltrainer_pipelines.trials.joint_requests import JointRequestError, advance

    if REQUEST not in context.run.tags:
        raise dg.Failure("this job belongs to a request; ask for it in the chat or over the API", allow_retries=False)
    require_current_run(context, database)
    try:
        while not advance(database.engine, int(context.run.tags[REQUEST])):
            launch_at_once(context, database)
            time.sleep(LOOK_S)
    except JointRequestError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


@dg.job(executor_def=dg.in_process_executor, tags=COORDINATING, description="Trials, then the market scored with what they gave.")
def momentum_screening() -> None:
    """One op, which waits for runs of their own."""
    carry_out()


@dg.job(executor_def=dg.in_process_executor, tags=COORDINATING, description="Trials, then the champion refit with them voting.")
def ensemble() -> None:
    """One op, which waits for runs of their own."""
    carry_out()


@dg.sensor(
    jobs=[walk_forward, score_trials, momentum_screening, ensemble, refresh_signals, promote_champion, propose_trials],
    minimum_interval_seconds=EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def launch_requested_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Whatever was requested becomes a run, and what became of runs is noted; nothing of the agent while it is switched off.

    Who writes a request starts it at once where he can reach Dagster. Here is the net below: what was left waiting, what
    the day's budget approves, trials that a backfill predicted, runs that were cancelled or have vanished.
    """
    from mltrainer_pipelines.agent import actions, autonomy
    from mltrainer_pipelines.ops.agent import system_of
    from mltrainer_pipelines.ops.run_launcher import RunLauncher
    from mltrainer_pipelines.store import runtime_settings

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
def _database(url: str) -> Database:
    """One pool of connections for all ticks."""
    return Database(url)


DEFS = dg.Definitions(
    assets=[trial_proposals],
    jobs=[propose_trials, momentum_screening, ensemble],
    schedules=[propose_trials_schedule],
    sensors=[launch_requested_runs],
)
