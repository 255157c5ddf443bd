"""The job that learns from what became of the recommendations."""

import dagster as dg

from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource
from mltrainer_pipelines.market.sessions import last_closed_session
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.trials.registry.tracking import Tracking

learn = dg.define_asset_job(
    "learn",
    selection=dg.AssetSelection.assets(
        "virtual_positions", "portfolio_performance", "outcomes", "model_weights", "drift", "learning_report"
    ),
    description="Settle the paper trades on the session's final bars, and learn from those that closed.",
)


@dg.op(retry_policy=dg.RetryPolicy(max_retries=0))
def recent_sessions(
    context: dg.OpExecutionContext,
    lake: LakeResource,
    database: DatabaseResource,
    tracking: dg.ResourceParam[Tracking],
) -> None:
    """The last 60 sessions, lived through by the walk-forward models of their time; nothing where books were kept before."""
    from mltrainer_pipelines.learning.recent_sessions import live_through
    from mltrainer_pipelines.signals.champions import Champions

    settings = get_settings()
    lived = live_through(
        lake,
        database.engine,
        Champions(tracking, settings.state / "champions", database.engine),
        settings.threshold_defaults,
        last_closed_session(now()),
        settings.cost_bps,
        settings.market_kind,
    )
    context.log.info(f"{lived.sessions} sessions lived through, {lived.recommendations} recommendations")
    context.add_output_metadata(vars(lived))


@dg.job(
    executor_def=dg.in_process_executor,
    description="The last 60 sessions of a new installation, lived through by the walk-forward models of their time.",
)
def live_recent_sessions() -> None:
    """One op."""
    recent_sessions()
