"""Learning: what became of each recommendation, how much each model is worth, and what there is to say about it."""

import dagster as dg
import polars as pl

from mltrainer_pipelines.defs.portfolio import virtual_positions
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.market.sessions import last_closed_session
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.store.database import Database


@dg.asset(deps=[virtual_positions], group_name="learning", kinds={"postgres"}, owners=OWNERS)
def outcomes(database: dg.ResourceParam[Database]) -> dg.MaterializeResult:
    """Each closed position beside what was predicted for it."""
    from mltrainer_pipelines.learning.outcomes import record_outcomes

    return dg.MaterializeResult(metadata={"new": record_outcomes(database.engine), "market": get_settings().market_kind})


@dg.asset(deps=[outcomes], group_name="learning", kinds={"postgres"}, owners=OWNERS)
def model_weights(database: dg.ResourceParam[Database]) -> dg.MaterializeResult:
    """How much each trial's model counts, by how well its matured forecasts came true; equal before the first."""
    from mltrainer_pipelines.learning.weights import matured_outcomes, update_weights

    weights = pl.DataFrame(update_weights(database.engine, matured_outcomes(database.engine)))
    return dg.MaterializeResult(metadata=frame_metadata(weights, weights=table(weights)))


@dg.asset(deps=[model_weights], group_name="learning", kinds={"postgres"}, owners=OWNERS)
def learning_report(database: dg.ResourceParam[Database]) -> dg.MaterializeResult:
    """What worked, what did not, and where the models promised too much; for people and for the agent."""
    from mltrainer_pipelines.learning import report

    made = report.learning_report(database.engine, last_closed_session(now()))
    report_id = report.store_report(database.engine, made)
    return dg.MaterializeResult(metadata={"report": dg.MetadataValue.md(made.markdown), "report_id": report_id})


learn = dg.define_asset_job(
    "learn",
    selection=dg.AssetSelection.assets(
        "virtual_positions", "portfolio_performance", "outcomes", "model_weights", "learning_report"
    ),
    description="Settle the paper trades on the session's final bars, and learn from those that closed.",
)


@dg.schedule(job=learn, cron_schedule="30 19 * * 1-5", execution_timezone="America/New_York")
def learn_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """After the bars of each session are in."""
    from mltrainer_pipelines.market.sessions import is_session

    day = context.scheduled_execution_time.date()
    if not is_session(day):
        return dg.SkipReason(f"{day} is a holiday: the exchange does not trade")
    return dg.RunRequest(run_key=str(day))


DEFS = dg.Definitions(assets=[outcomes, model_weights, learning_report], jobs=[learn], schedules=[learn_schedule])
