"""A learning report in MLflow: one run a session, in the experiment `mltrainer-learning`."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mltrainer_pipelines.learning.report import Report
from mltrainer_pipelines.trials.registry.tracking import Tracking, experiment_id

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "mltrainer-learning"


def log_report(tracking: Tracking, report: Report, figures: Mapping[str, "Figure"], market: str, dagster_run_id: str) -> str:
    """Log a report as one run; the report of a session that was logged before is updated.

    Parameters
    ----------
    figures : mapping of name to Figure
    market : str
        `real`, `simulated` or `replay`.
    dagster_run_id : str

    Returns
    -------
    str
        The run's id.
    """
    with tracking.client() as client:
        experiment = experiment_id(client, EXPERIMENT)
        runs = client.search_runs([experiment], f"tags.as_of = '{report.as_of}'", max_results=1)
        run_id = runs[0].info.run_id if runs else client.create_run(experiment, run_name=f"learning {report.as_of}").info.run_id
        for name, value in {"as_of": str(report.as_of), "market": market, "dagster_run": dagster_run_id}.items():
            client.set_tag(run_id, name, value)
        client.set_tag(run_id, "mlflow.note.content", report.markdown)
        for name, value in {**(report.json["overall"] or {}), "closed_positions": report.json["closed_positions"]}.items():
            client.log_metric(run_id, name, float(value))
        for row in report.json["weights"]:
            client.log_metric(run_id, f"weight.{row['trial_id']}", float(row["weight"]))
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "report.md").write_text(report.markdown)
            (root / "report.json").write_text(json.dumps(report.json, indent=2))
            for name, figure in figures.items():
                figure.savefig(root / f"{name}.png", dpi=110)
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id)
    return str(run_id)
