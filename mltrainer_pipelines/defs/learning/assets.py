"""Learning: what became of each recommendation, how much each model is worth, what drifts, and what there is to say about it."""

import base64
import io
from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from mltrainer_pipelines.defs.partitions import timeframes
from mltrainer_pipelines.defs.portfolio.assets import virtual_positions
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.defs.resources import DatabaseResource, LakeResource
from mltrainer_pipelines.defs.signals.assets import TRANSIENT_RETRY
from mltrainer_pipelines.settings import get_settings
from mltrainer_pipelines.trials.registry.tracking import Tracking

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from mltrainer_pipelines.store.lake import Lake

_LEARNT_FROM = timedelta(days=3 * 365)
"""How far back forecasts are weighed: with a fixed share, older ones no longer matter."""


@dg.asset(deps=[virtual_positions], group_name="learning", kinds={"postgres"}, owners=OWNERS, retry_policy=TRANSIENT_RETRY)
def outcomes(database: DatabaseResource) -> dg.MaterializeResult[None]:
    """Each closed position beside what was predicted for it."""
    from mltrainer_pipelines.learning.outcomes import record_outcomes

    return dg.MaterializeResult(metadata={"new": record_outcomes(database.engine), "market": get_settings().market_kind})


@dg.asset(
    deps=[outcomes, dg.AssetDep("labels", partition_mapping=dg.AllPartitionMapping())],
    group_name="learning",
    kinds={"postgres"},
    owners=OWNERS,
)
def model_weights(lake: LakeResource, database: DatabaseResource) -> dg.MaterializeResult[None]:
    """How much each trial's model counts, by the Brier score of its resolved forecasts; equal before the first.

    Also corrects the champions' probabilities by what became of the signals they made.
    """
    import polars as pl

    from mltrainer_pipelines.learning.recalibrate import update_recalibrations
    from mltrainer_pipelines.learning.resolved import resolved_forecasts
    from mltrainer_pipelines.learning.weights import leaderboard_trials, update_weights
    from mltrainer_pipelines.market.backlog import complete_until

    as_of = complete_until(lake)
    experts, labels = leaderboard_trials(database.engine), _labels(lake, as_of)
    forecasts = resolved_forecasts(lake, experts, labels, as_of, as_of - _LEARNT_FROM)
    weights = pl.DataFrame(update_weights(database.engine, forecasts, experts, as_of))
    corrections = _frame(update_recalibrations(lake, database.engine, timeframes.get_partition_keys(), labels, as_of))
    return dg.MaterializeResult(
        metadata=frame_metadata(weights, weights=table(weights), corrections=table(corrections), forecasts=forecasts.height)
    )


@dg.asset(deps=[model_weights], group_name="learning", kinds={"postgres", "mlflow"}, owners=OWNERS)
def drift(lake: LakeResource, database: DatabaseResource, tracking: dg.ResourceParam[Tracking]) -> dg.MaterializeResult[None]:
    """Whether features, predictions and calibration of the champions are still what they were; false alarms 1 check in 20."""
    from mltrainer_pipelines.learning.monitoring import check_champions
    from mltrainer_pipelines.market.backlog import complete_until

    as_of, keys = complete_until(lake), timeframes.get_partition_keys()
    checks = _frame(check_champions(lake, database.engine, tracking, keys, _labels(lake, as_of), as_of, as_of - _LEARNT_FROM))
    crossed = int(checks["crossed"].sum()) if checks.height else 0
    return dg.MaterializeResult(metadata=frame_metadata(checks, crossed=crossed, checks=table(checks)))


@dg.asset(deps=[model_weights, drift], group_name="learning", kinds={"postgres", "mlflow"}, owners=OWNERS)
def learning_report(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    database: DatabaseResource,
    tracking: dg.ResourceParam[Tracking],
) -> dg.MaterializeResult[None]:
    """What worked, what did not, and where the models promised too much; for people and for the agent.

    Of the newest session up to which no bars are missing: what came late is learnt from when it is there.
    """
    from mltrainer_pipelines.learning import report
    from mltrainer_pipelines.learning.figures import learning_figures
    from mltrainer_pipelines.learning.publishing import log_report
    from mltrainer_pipelines.market.backlog import complete_until

    as_of, market = complete_until(lake), get_settings().market_kind
    content = report.learning_report(database.engine, as_of)
    report_id = report.store_report(database.engine, content)
    figures = learning_figures(database.engine, as_of, market)
    run_id = log_report(tracking, content, figures, market, context.run.run_id)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.md(content.markdown),
            "report_id": report_id,
            "mlflow_run": dg.MetadataValue.url(f"{get_settings().mlflow_link}/#/runs/{run_id}"),
            "market": market,
            **_pictures(figures),
        }
    )


def _labels(lake: "Lake", as_of: date) -> "pl.DataFrame":
    import polars as pl

    return lake.scan("labels").filter(pl.col("date") <= as_of).collect()


def _frame(rows: list[dict[str, object]]) -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame(rows) if rows else pl.DataFrame(schema={"timeframe": pl.String})


def _pictures(figures: Mapping[str, "Figure"]) -> dict[str, dg.MarkdownMetadataValue]:
    """Figures as Markdown that Dagster's UI shows."""
    plots = {}
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        plots[f"plot_{name}"] = dg.MetadataValue.md(
            f"![{name}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
        )
    return plots
