"""A report with its plots, in a real MLflow server."""

import json
from datetime import date
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from mltrainer_pipelines.learning.figures import learning_figures
from mltrainer_pipelines.learning.outcomes import record_outcomes
from mltrainer_pipelines.learning.publishing import EXPERIMENT, log_report
from mltrainer_pipelines.learning.report import learning_report
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.portfolio.settlement import settle
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.trials.registry.tracking import Tracking
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, bars_of, recommend

DAYS = sessions_between(date(2015, 3, 2), date(2015, 3, 31))


def test_a_report_is_one_run_with_its_words_its_numbers_and_its_plots(
    tracking: Tracking, database: Database, tmp_path: Path
) -> None:
    recommend(database.engine, DAYS[0], "UP")
    open_positions(database.engine, 10.0)
    prices = [(100.0,) * 4, (100.0,) * 4, (120.0,) * 4]
    settle(database.engine, adjusted(bars_of("UP", DAYS, prices), NO_ACTIONS), DAYS[2])
    record_outcomes(database.engine)
    report = learning_report(database.engine, DAYS[2])
    figures = learning_figures(database.engine, DAYS[2], "simulated")
    run_id = log_report(tracking, report, figures, "simulated", "run-1")
    assert log_report(tracking, report, figures, "simulated", "run-2") == run_id

    client = MlflowClient(tracking.uri)
    run = client.get_run(run_id)
    assert client.get_experiment(run.info.experiment_id).name == EXPERIMENT
    assert run.info.status == "FINISHED"
    assert {"as_of": str(DAYS[2]), "market": "simulated", "dagster_run": "run-2"}.items() <= run.data.tags.items()
    assert run.data.metrics["closed_positions"] == 1
    assert run.data.metrics["hit_rate"] == 1

    place = Path(download_artifacts(run_id=run_id, dst_path=str(tmp_path), tracking_uri=tracking.uri))
    logged = {file.name: file.read_bytes() for file in place.iterdir()}
    assert set(logged) == {"report.md", "report.json", "promised_and_true.png", "net_return.png"}
    assert logged["report.md"].decode() == report.markdown
    assert json.loads(logged["report.json"]) == report.json
    assert all(logged[f"{name}.png"].startswith(b"\x89PNG") for name in figures)
