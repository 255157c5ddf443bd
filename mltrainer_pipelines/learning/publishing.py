"""A learning report in MLflow: one run a session, in the experiment `mltrainer-learning`."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mltrainer_pipelines.learning.report import Report
from mltrainer_pipelines.trials.registry.tracking import Tracking, experiment_id, find_run, log_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "mltrainer-learning"


def log_report(tracking: Tracking, report: Report, figures: Mapping[str, "Figure"], market: str, dagster_run_id: str) -> str:
    """Log a report with its figures as one run and return the run's id; a session's report that was logged before is updated."""
    with tracking.client() as client:
        experiment = experiment_id(client, EXPERIMENT)
        run_id = find_run(client, experiment, "as_of", str(report.as_of))
        run_id = run_id or str(client.create_run(experiment, run_name=f"learning {report.as_of}").info.run_id)
        for name, value in {"as_of": str(report.as_of), "market": market, "dagster_run": dagster_run_id}.items():
            client.set_tag(run_id, name, value)
        client.set_tag(run_id, "mlflow.note.content", report.markdown)
        for name, value in {**(report.json["overall"] or {}), "closed_positions": report.json["closed_positions"]}.items():
            client.log_metric(run_id, name, float(value))
        for row in report.json["weights"]:
            client.log_metric(run_id, f"weight.{row['trial_id']}", float(row["weight"]))
        log_files(client, run_id, {"report.md": report.markdown, "report.json": json.dumps(report.json, indent=2)}, figures)
    return run_id
