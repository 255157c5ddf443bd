"""The jobs of trials: predicting, scoring, promoting, and a trial from the launchpad."""

from typing import Any

import dagster as dg
from pydantic import Field

from mltrainer_pipelines.defs.resources import DatabaseResource
from mltrainer_pipelines.defs.trials.launching import launch_at_once
from mltrainer_pipelines.settings import get_settings

HEAVY = {"mltrainer/heavy": "trial"}
"""Tag of runs that take a whole core for long; the instance runs two of them at a time."""


walk_forward = dg.define_asset_job(
    "walk_forward",
    selection=dg.AssetSelection.assets("trial_predictions"),
    tags=HEAVY,
    description="A trial over its quarters: one run a trial, one partition a quarter.",
)


class TrialToSubmit(dg.Config):
    """A trial, as `mltrainer trial submit` reads it from a file."""

    trial: dict[str, Any] = Field(
        default={"model": "lightgbm", "timeframe": "short"},
        description="The configuration: model and timeframe, and what differs from the defaults (params, train_sessions, …).",
    )


@dg.op
def submitted(context: dg.OpExecutionContext, config: TrialToSubmit, database: DatabaseResource) -> None:
    """Refuses what cannot run, and says what would be valid; else requests the trial over its missing quarters."""
    from mltrainer_pipelines.ops.run_launcher import quarters_of
    from mltrainer_pipelines.trials.config import TrialConfig
    from mltrainer_pipelines.trials.run_requests import get_request, request_trial
    from mltrainer_pipelines.trials.validate_trial import validate_trial

    settings, trial = get_settings(), TrialConfig.parse(config.trial)
    validate_trial(trial, quarters_of(settings), settings.mltrainer_history_start)
    with database.engine.begin() as connection:
        number = request_trial(connection, trial, "launchpad")
    launch_at_once(context, database)
    with database.engine.connect() as connection:
        request = get_request(connection, number)
    url = f"{settings.dagster_link}/runs/{request.run_id}"
    context.add_output_metadata(
        {"trial_id": trial.trial_id, "request": number} | ({"run": dg.MetadataValue.url(url)} if request.run_id else {})
    )
    context.log.info(f"{trial.trial_id}: {request.message or f'request {number} is {request.status}'}")


@dg.job(executor_def=dg.in_process_executor, description="A trial from the launchpad: put its configuration there.")
def submit_trial() -> None:
    """One op: validate, request, launch."""
    submitted()


score_trials = dg.define_asset_job(
    "score_trials",
    selection=dg.AssetSelection.assets("trial_scorecard", "leaderboard"),
    description="Scorecards of trials whose quarters are there, and the leaderboard.",
)


measure_skill = dg.define_asset_job(
    "measure_skill",
    selection=dg.AssetSelection.assets("market_skill"),
    tags=HEAVY,
    description="What the default models are worth on this market, beside anything simpler.",
)


promote_champion = dg.define_asset_job(
    "promote_champion",
    selection=dg.AssetSelection.assets("champion_model"),
    tags=HEAVY,
    description="Refit the best trials on all that is known; the best becomes champion if it beats the present one.",
)
