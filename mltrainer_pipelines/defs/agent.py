"""The agent: trials proposed, approved, launched, and what came of them."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import dagster as dg
import polars as pl
from pydantic import Field

from mltrainer_pipelines.defs.partitions import quarters, trials
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.defs.trials import HEAVY, PROPOSAL, score_trials, walk_forward
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake

BY_AGENT = {"mltrainer/started_by": "agent"}
"""Tag of what the agent's switch stops."""
EVERY_S = 15
"""How often the sensors look: somebody who said yes waits for the run."""


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

    Here the loop closes: a sensor turns approved proposals into partitions of `trial_predictions`. It is no edge of
    the graph, because a graph of assets has no cycles.
    """
    from mltrainer_pipelines.agent import autonomy, ledger, queries
    from mltrainer_pipelines.agent.failures import AgentOffError
    from mltrainer_pipelines.agent.proposal_cycle import run_round
    from mltrainer_pipelines.ops.agent import claude_of, templates_of

    settings, moment = get_settings(), datetime.now(UTC)
    claude = claude_of(settings, database.engine)
    regime = queries.regime(lake)
    try:
        made = run_round(database.engine, claude, config.count, templates_of(settings), moment, config.proposer, regime)
    except AgentOffError as error:
        context.log.warning(str(error))
        return dg.MaterializeResult(metadata={"new": 0, "off": str(error), "market": settings.market_kind})
    if made.instead is not None:
        context.log.warning(f"{made.proposer} proposes in the place of {made.asked}: {made.instead}")
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
            in_place_of=f"{made.asked}: {made.instead}" if made.instead else "",
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


@dg.sensor(job=walk_forward, minimum_interval_seconds=EVERY_S)
def launch_approved_proposals(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """An approved proposal becomes a trial: one run over all quarters. Nothing starts while the agent is switched off.

    A proposal counts as launched once Dagster has its run; until then the same run is asked for again, and its key
    keeps it from starting twice.
    """
    from mltrainer_pipelines.agent import autonomy
    from mltrainer_pipelines.agent.proposals import approved_unlaunched, refuse
    from mltrainer_pipelines.ops.trial_launch import validate_trial_here
    from mltrainer_pipelines.store import runtime_settings
    from mltrainer_pipelines.trials.config import InvalidTrialError
    from mltrainer_pipelines.trials.registry import records

    database = _database()
    if not runtime_settings.get(database.engine, "agent_enabled"):
        return dg.SkipReason("the agent is switched off (agent_enabled)")
    autonomy.approve_within_budget(database.engine, datetime.now(UTC))
    _note_launched(context.instance, database)
    approved = approved_unlaunched(database.engine)
    if not approved:
        return dg.SkipReason("no approved proposal waits")
    keys = quarters.get_partition_keys(current_time=now())
    requests, added = [], []
    for stored in approved:
        try:
            validate_trial_here(stored.proposal.config)
        except InvalidTrialError as error:
            refuse(database.engine, stored.id, str(error))
            continue
        records.register(database.engine, stored.proposal.config)
        tags = {PROPOSAL: str(stored.id), **BY_AGENT}
        requests.append(trial_run_request(stored.proposal.config.trial_id, keys[0], keys[-1], tags))
        added.append(stored.proposal.config.trial_id)
    return dg.SensorResult(run_requests=requests, dynamic_partitions_requests=[trials.build_add_request(added)])


def trial_run_request(trial_id: str, first: str, last: str, tags: Mapping[str, str] | None = None) -> dg.RunRequest:
    """One run of a trial over the quarters from `first` to `last`."""
    span = {"start": first, "end": last}
    partitions = {f"dagster/asset_partition_range_{end}": f"{quarter}|{trial_id}" for end, quarter in span.items()}
    return dg.RunRequest(run_key=f"{trial_id}:{last}", tags={**partitions, **HEAVY, **(tags or {})})


def _database() -> Database:
    return Database(database_url(get_settings(), "mltrainer"))


def _note_launched(instance: dg.DagsterInstance, database: Database) -> None:
    """Approved proposals whose run Dagster has are launched, by the id of that run.

    Several sensors note it, at the same moment too; who is second has nothing left to do.
    """
    from mltrainer_pipelines.agent import autonomy
    from mltrainer_pipelines.agent.proposals import ProposalStateError, approved_unlaunched, mark_launched

    for stored in approved_unlaunched(database.engine):
        found = instance.get_run_records(dg.RunsFilter(tags={PROPOSAL: str(stored.id)}), limit=1)
        if found:
            autonomy.note_launch(database.engine, stored.id, found[0].create_timestamp)
            with suppress(ProposalStateError):
                mark_launched(database.engine, stored.id, found[0].dagster_run.run_id)


def _trial_of(context: dg.RunStatusSensorContext) -> str | None:
    """The proposed trial that a finished run was about, its computing noted; None for a run of nobody's proposal."""
    from mltrainer_pipelines.agent import autonomy

    span = context.dagster_run.tags.get("dagster/asset_partition_range_start", "")
    if PROPOSAL not in context.dagster_run.tags or "|" not in span:
        return None
    database, trial_id = _database(), span.split("|", 1)[1]
    _note_launched(context.instance, database)
    record = context.instance.get_run_record_by_id(context.dagster_run.run_id)
    if record is not None and record.end_time is not None:
        seconds = record.end_time - (record.start_time or record.end_time)
        autonomy.note_finish(database.engine, trial_id, datetime.fromtimestamp(record.end_time, UTC), seconds)
    return trial_id


@dg.run_status_sensor(run_status=dg.DagsterRunStatus.SUCCESS, monitored_jobs=[walk_forward], minimum_interval_seconds=EVERY_S)
def count_computing_of_proposals(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
    """What a proposed trial took counts towards the day's minutes, and tells what the next one will take."""
    return None if _trial_of(context) else dg.SkipReason("nobody proposed this run's trial")


@dg.run_failure_sensor(monitored_jobs=[walk_forward, score_trials], minimum_interval_seconds=EVERY_S)
def report_failures_to_proposals(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """A proposed trial that failed: its proposal says so and why, and the next prompt does."""
    from mltrainer_pipelines.agent.ledger import record_event
    from mltrainer_pipelines.agent.proposals import record_result
    from mltrainer_pipelines.agent.sanitize import plain

    trial_id = _trial_of(context) or context.dagster_run.tags.get("dagster/partition")
    if not trial_id:
        return dg.SkipReason(f"the run {context.dagster_run.run_id} is of no single trial")
    database = _database()
    result = {"error": plain(context.failure_event.message or "it failed", 1000), "run_id": context.dagster_run.run_id}
    if record_result(database.engine, trial_id, result, succeeded=False):
        record_event(database.engine, "outcome", "mltrainer", {"trial": trial_id, **result})
    return None


@dg.run_status_sensor(run_status=dg.DagsterRunStatus.CANCELED, monitored_jobs=[walk_forward], minimum_interval_seconds=EVERY_S)
def report_cancellations_to_proposals(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
    """A proposed trial that somebody stopped: its proposal says so."""
    from mltrainer_pipelines.agent.ledger import record_event
    from mltrainer_pipelines.agent.proposals import record_result

    trial_id = _trial_of(context)
    if trial_id is None:
        return dg.SkipReason("nobody proposed this run's trial")
    result = {"error": "it was cancelled", "run_id": context.dagster_run.run_id}
    if record_result(_database().engine, trial_id, result, succeeded=False):
        record_event(_database().engine, "outcome", "mltrainer", {"trial": trial_id, **result})
    return None


@dg.run_status_sensor(run_status=dg.DagsterRunStatus.SUCCESS, monitored_jobs=[score_trials], minimum_interval_seconds=EVERY_S)
def report_results_to_proposals(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
    """What came of a proposed trial goes back to its proposal."""
    from mltrainer_pipelines.agent.ledger import record_event
    from mltrainer_pipelines.agent.proposals import record_result
    from mltrainer_pipelines.trials.registry import records
    from mltrainer_pipelines.trials.scoring.scorecard import PARTS

    trial_id = context.dagster_run.tags.get("dagster/partition")
    if not trial_id:
        return dg.SkipReason(f"the run {context.dagster_run.run_id} scored no single trial")
    database = _database()
    _note_launched(context.instance, database)
    for card in records.scorecards(database.engine):
        if card.trial_id == trial_id:
            result = card.model_dump(mode="json", exclude=set(PARTS))
            if record_result(database.engine, trial_id, result):
                record_event(database.engine, "outcome", "mltrainer", {"trial": trial_id, "sharpe": card.sharpe})
    return None


DEFS = dg.Definitions(
    assets=[trial_proposals],
    jobs=[propose_trials],
    schedules=[propose_trials_schedule],
    sensors=[
        launch_approved_proposals,
        count_computing_of_proposals,
        report_results_to_proposals,
        report_failures_to_proposals,
        report_cancellations_to_proposals,
    ],
)
