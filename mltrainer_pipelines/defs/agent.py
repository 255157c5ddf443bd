"""The agent: trials proposed, approved, launched, and what came of them."""

import dagster as dg
import polars as pl
from pydantic import Field

from mltrainer_pipelines.defs.partitions import quarters, trials
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.defs.trials import HEAVY, score_trials, walk_forward
from mltrainer_pipelines.services.databases import database_url
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.store.database import Database


class ProposeConfig(dg.Config):
    """What to propose."""

    proposer: str = Field(default="tpe", description="`tpe` (Optuna over the search spaces) or `random`.")
    count: int = Field(default=2, ge=1, le=50, description="New trials for each timeframe.")


@dg.asset(deps=["learning_report"], group_name="agent", kinds={"postgres"}, owners=OWNERS)
def trial_proposals(config: ProposeConfig, database: dg.ResourceParam[Database]) -> dg.MaterializeResult:
    """New trials with the hypothesis behind each; they wait for a yes before anything runs.

    Here the loop closes: a sensor turns approved proposals into partitions of `trial_predictions`. It is no edge of
    the graph, because a graph of assets has no cycles.
    """
    from mltrainer_pipelines.agent.proposals import store_proposals
    from mltrainer_pipelines.agent.search import propose, proposed_trials, tried_trials
    from mltrainer_pipelines.features.timeframes import TIMEFRAMES
    from mltrainer_pipelines.trials.config import TrialConfig

    tried, taken = tried_trials(database.engine), proposed_trials(database.engine)
    size = get_settings().mltrainer_universe_size
    made = []
    for timeframe in TIMEFRAMES:
        template = TrialConfig.parse({"model": "lightgbm", "timeframe": timeframe, "universe_size": size})
        made += propose(config.proposer, config.count, template, tried, taken, seed=len(tried) + len(taken))
    kept = store_proposals(database.engine, made)
    shown = pl.DataFrame(
        [{"trial": one.config.trial_id, "hypothesis": one.hypothesis, "refuted_if": one.refuted_if} for one in made]
    )
    return dg.MaterializeResult(metadata=frame_metadata(shown, new=len(kept), proposals=table(shown)))


propose_trials = dg.define_asset_job(
    "propose_trials",
    selection=dg.AssetSelection.assets("trial_proposals"),
    description="Ask the proposer for the next trials.",
)


@dg.schedule(job=propose_trials, cron_schedule="0 22 * * *", execution_timezone="America/New_York")
def propose_trials_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every night."""
    return dg.RunRequest(run_key=str(context.scheduled_execution_time.date()))


@dg.sensor(job=walk_forward, minimum_interval_seconds=30)
def launch_approved_proposals(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """An approved proposal becomes a trial: one run over all quarters."""
    from mltrainer_pipelines.agent.proposals import approved_unlaunched, mark_launched
    from mltrainer_pipelines.trials import records

    database = Database(database_url(get_settings(), "mltrainer"))
    approved = approved_unlaunched(database.engine)
    if not approved:
        return dg.SkipReason("no approved proposal waits")
    keys = quarters.get_partition_keys(current_time=now())
    requests = []
    for stored in approved:
        trial_id = stored.proposal.config.trial_id
        records.register(database.engine, stored.proposal.config)
        mark_launched(database.engine, stored.id, f"sensor tick {context.cursor or 'first'}")
        requests.append(trial_run_request(trial_id, keys[0], keys[-1]))
    added = trials.build_add_request([stored.proposal.config.trial_id for stored in approved])
    return dg.SensorResult(run_requests=requests, dynamic_partitions_requests=[added])


def trial_run_request(trial_id: str, first: str, last: str) -> dg.RunRequest:
    """One run of a trial over the quarters from `first` to `last`."""
    span = {"start": first, "end": last}
    tags = {f"dagster/asset_partition_range_{end}": f"{quarter}|{trial_id}" for end, quarter in span.items()}
    return dg.RunRequest(run_key=f"{trial_id}:{last}", tags={**tags, **HEAVY})


@dg.run_status_sensor(run_status=dg.DagsterRunStatus.SUCCESS, monitored_jobs=[score_trials])
def report_results_to_proposals(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
    """What came of a proposed trial goes back to its proposal."""
    from mltrainer_pipelines.agent.proposals import record_result
    from mltrainer_pipelines.trials import records

    trial_id = context.dagster_run.tags.get("dagster/partition")
    if not trial_id:
        return dg.SkipReason(f"the run {context.dagster_run.run_id} scored no single trial")
    database = Database(database_url(get_settings(), "mltrainer"))
    for card in records.scorecards(database.engine):
        if card.trial_id == trial_id:
            record_result(database.engine, trial_id, card.model_dump(mode="json", exclude={"per_quarter"}))
    return None


DEFS = dg.Definitions(
    assets=[trial_proposals],
    jobs=[propose_trials],
    schedules=[propose_trials_schedule],
    sensors=[launch_approved_proposals, report_results_to_proposals],
)
