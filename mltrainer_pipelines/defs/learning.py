"""Learning: what became of each recommendation, how much each model is worth, what drifts, and what there is to say about it."""

import base64
import io
from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from mltrainer_pipelines.defs.partitions import timeframes
from mltrainer_pipelines.defs.portfolio import virtual_positions
from mltrainer_pipelines.defs.reporting import OWNERS, frame_metadata, table
from mltrainer_pipelines.defs.signals import TRANSIENT_RETRY
from mltrainer_pipelines.defs.ticks import no_session
from mltrainer_pipelines.defs.trials import promote_champion
from mltrainer_pipelines.market.sessions import last_closed_session
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.registry.tracking import Tracking

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEARNT_FROM = timedelta(days=3 * 365)
"""How far back forecasts are weighed: with a fixed share, older ones no longer matter."""


@dg.asset(deps=[virtual_positions], group_name="learning", kinds={"postgres"}, owners=OWNERS, retry_policy=TRANSIENT_RETRY)
def outcomes(database: dg.ResourceParam[Database]) -> dg.MaterializeResult[None]:
    """Each closed position beside what was predicted for it."""
    from mltrainer_pipelines.learning.outcomes import record_outcomes

    return dg.MaterializeResult(metadata={"new": record_outcomes(database.engine), "market": get_settings().market_kind})


@dg.asset(
    deps=[outcomes, dg.AssetDep("labels", partition_mapping=dg.AllPartitionMapping())],
    group_name="learning",
    kinds={"postgres"},
    owners=OWNERS,
)
def model_weights(lake: dg.ResourceParam[Lake], database: dg.ResourceParam[Database]) -> dg.MaterializeResult[None]:
    """How much each trial's model counts, by the Brier score of its resolved forecasts; equal before the first.

    Also corrects the champions' probabilities by what became of the signals they made.
    """
    from mltrainer_pipelines.learning.recalibrate import update_recalibrations
    from mltrainer_pipelines.learning.resolved import resolved_forecasts
    from mltrainer_pipelines.learning.weights import leaderboard_trials, update_weights

    as_of = last_closed_session(now())
    experts, labels = leaderboard_trials(database.engine), _labels(lake, as_of)
    forecasts = resolved_forecasts(lake, experts, labels, as_of, as_of - _LEARNT_FROM)
    weights = pl.DataFrame(update_weights(database.engine, forecasts, experts, as_of))
    corrections = _frame(update_recalibrations(lake, database.engine, timeframes.get_partition_keys(), labels, as_of))
    return dg.MaterializeResult(
        metadata=frame_metadata(weights, weights=table(weights), corrections=table(corrections), forecasts=forecasts.height)
    )


@dg.asset(deps=[model_weights], group_name="learning", kinds={"postgres", "mlflow"}, owners=OWNERS)
def drift(
    lake: dg.ResourceParam[Lake], database: dg.ResourceParam[Database], tracking: dg.ResourceParam[Tracking]
) -> dg.MaterializeResult[None]:
    """Whether features, predictions and calibration of the champions are still what they were; false alarms 1 check in 20."""
    from mltrainer_pipelines.learning.monitoring import check_champions

    as_of, keys = last_closed_session(now()), timeframes.get_partition_keys()
    checks = _frame(check_champions(lake, database.engine, tracking, keys, _labels(lake, as_of), as_of, as_of - _LEARNT_FROM))
    crossed = int(checks["crossed"].sum()) if checks.height else 0
    return dg.MaterializeResult(metadata=frame_metadata(checks, crossed=crossed, checks=table(checks)))


@dg.asset(deps=[model_weights, drift], group_name="learning", kinds={"postgres", "mlflow"}, owners=OWNERS)
def learning_report(
    context: dg.AssetExecutionContext, database: dg.ResourceParam[Database], tracking: dg.ResourceParam[Tracking]
) -> dg.MaterializeResult[None]:
    """What worked, what did not, and where the models promised too much; for people and for the agent."""
    from mltrainer_pipelines.learning import report
    from mltrainer_pipelines.learning.figures import learning_figures
    from mltrainer_pipelines.learning.publishing import log_report

    as_of, market = last_closed_session(now()), get_settings().market_kind
    content = report.learning_report(database.engine, as_of)
    report_id = report.store_report(database.engine, content)
    figures = learning_figures(database.engine, as_of, market)
    run_id = log_report(tracking, content, figures, market, context.run.run_id)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.md(content.markdown),
            "report_id": report_id,
            "mlflow_run": dg.MetadataValue.url(f"{tracking.uri}/#/runs/{run_id}"),
            "market": market,
            **_pictures(figures),
        }
    )


def _labels(lake: Lake, as_of: date) -> pl.DataFrame:
    return lake.scan("labels").filter(pl.col("date") <= as_of).collect()


def _frame(rows: list[dict[str, object]]) -> pl.DataFrame:
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


learn = dg.define_asset_job(
    "learn",
    selection=dg.AssetSelection.assets(
        "virtual_positions", "portfolio_performance", "outcomes", "model_weights", "drift", "learning_report"
    ),
    description="Settle the paper trades on the session's final bars, and learn from those that closed.",
)


@dg.schedule(job=learn, cron_schedule="30 19 * * 1-5", execution_timezone="America/New_York")
def learn_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """After the bars of each session are in."""
    day = context.scheduled_execution_time.date()
    return no_session(day) or dg.RunRequest(run_key=str(day))


@dg.sensor(job=learn, minimum_interval_seconds=60)
def learn_from_closed_positions(
    context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
) -> dg.RunRequest | dg.SkipReason:
    """Positions that were closed and whose outcome is not recorded yet trigger learning."""
    from mltrainer_pipelines.learning.outcomes import closed_without_outcome

    waiting = closed_without_outcome(database.engine)
    if not waiting:
        return dg.SkipReason("the outcome of every closed position is recorded")
    # By the newest of them: the same positions ask once, whatever becomes of the run.
    return dg.RunRequest(run_key=f"closed:{waiting[-1]}", tags={"mltrainer/closed_positions": str(len(waiting))})


@dg.sensor(job=promote_champion, minimum_interval_seconds=300)
def retrain_on_drift(
    context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
) -> dg.SensorResult | dg.SkipReason:
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


@dg.run_failure_sensor(monitor_all_code_locations=False)
def alert_on_failure(context: dg.RunFailureSensorContext, database: dg.ResourceParam[Database]) -> None:
    """A failed run raises an alert: which job, why, and where its log is."""
    from mltrainer_pipelines.store.alerts import raise_alert

    run, failures = context.dagster_run, context.get_step_failure_events()
    reasons = [error for event in failures if (error := _innermost_error(event))]
    reason = (reasons[0] if reasons else context.failure_event.message or "").strip()[:2000]
    steps = [event.step_key for event in failures if event.step_key]
    where = f" in {', '.join(steps)}" if steps else ""
    message = f"{run.job_name} failed{where}: {reason.splitlines()[0] if reason else 'no reason recorded'}"
    url = f"http://127.0.0.1:{get_settings().dagster_port}/runs/{run.run_id}"
    details = {"job": run.job_name, "steps": steps, "reason": reason, "url": url}
    raise_alert(database.engine, f"run:{run.run_id}", "run_failure", "error", message, details, run.run_id)


def _innermost_error(event: dg.DagsterEvent) -> str | None:
    """What went wrong, in the words of the code that failed; Dagster wraps it in an error of its own."""
    error = event.step_failure_data.error
    while error and error.cause:
        error = error.cause
    return error.message.strip() if error else None


DEFS = dg.Definitions(
    assets=[outcomes, model_weights, drift, learning_report],
    jobs=[learn],
    schedules=[learn_schedule],
    sensors=[learn_from_closed_positions, retrain_on_drift, alert_on_failure],
)
