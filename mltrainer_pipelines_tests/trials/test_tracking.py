"""Against a real MLflow server on the embedded PostgreSQL."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.ensemble import ChampionEnsemble, fit_ensemble
from mltrainer_pipelines.trials.tracking import NoChampionError, Provenance, Tracking, TrackingUnavailableError
from mltrainer_pipelines.trials.walk_forward import WalkForward
from mltrainer_pipelines_tests.trials.planted import planted_market

AS_OF = date(2020, 8, 14)
PROVENANCE = Provenance("simulated", "run-1", "http://127.0.0.1:3000/runs/run-1", "abc123", "0123456789abcdef")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def tracking(postgres, tmp_path_factory) -> Iterator[Tracking]:
    folder = tmp_path_factory.mktemp("mlflow")
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", postgres.url("mlflow"), "--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=2)
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the MLflow server did not start: {(folder / 'server.log').read_text()[-2000:]}")
                time.sleep(0.1)
        yield Tracking(uri)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@pytest.fixture(scope="module")
def ensemble() -> ChampionEnsemble:
    market = planted_market()
    configs = [TrialConfig(model=model, timeframe="short", train_sessions=378) for model in ("lightgbm", "logistic_l2")]
    history = {}
    for config in configs:
        table = WalkForward(config, market.features, market.labels)
        history[config.trial_id] = pl.concat(table.predict_quarter(*quarter).predictions for quarter in table.quarters()[-3:])
    weighted = [(configs[0], 0.7), (configs[1], 0.3)]
    return fit_ensemble(weighted, market.features, market.labels, history, AS_OF, refits=2)


def test_a_trial_is_one_run_however_often_it_is_logged(tracking):
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

    config = TrialConfig(model="lightgbm", timeframe="short", rationale="to see", proposed_by="tpe")
    figure = Figure()
    figure.subplots().plot([0, 1], [0, 1])
    quarters = {date(2020, 1, 1): {"auc": 0.55, "rank_ic": None}, date(2020, 4, 1): {"auc": 0.56}}
    first = tracking.log_trial(config, {"sharpe": 1.0, "auc": float("nan")}, quarters, PROVENANCE, {"equity": figure})
    quarters[date(2020, 7, 1)] = {"auc": 0.57}
    again = tracking.log_trial(config, {"sharpe": 1.5}, quarters, PROVENANCE, tags={"grade": "candidate"})
    assert again == first

    client = MlflowClient(tracking.uri)
    experiment = client.get_experiment_by_name("mltrainer-short")
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [first]
    run = client.get_run(first)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"sharpe": 1.5, "quarter.auc": 0.57}
    assert [(m.step, m.value) for m in client.get_metric_history(first, "quarter.auc")] == [
        (20201, 0.55),
        (20202, 0.56),
        (20203, 0.57),
    ]
    assert run.data.params["params.num_leaves"] == "8"
    assert run.data.params["label.target"] == "1.0"
    expected = {"market": "simulated", "dagster_run_id": "run-1", "grade": "candidate", "trial_id": config.trial_id}
    assert expected.items() <= run.data.tags.items()
    assert "to see" in run.data.tags["mlflow.note.content"]
    artifacts = [entry.path for folder in ("", "figures") for entry in client.list_artifacts(first, folder)]
    assert {"config.json", "figures/equity.png"} <= set(artifacts)


def test_a_champion_comes_back_bit_for_bit_and_can_be_rolled_back(tracking, ensemble, capfd):
    rows = planted_market().features.filter(pl.col("date") > AS_OF).head(500)
    with pytest.raises(NoChampionError, match="materialize champion_model for 'short'"):
        tracking.load_champion("short")
    first = tracking.register_champion(ensemble, rows, PROVENANCE, "candidate")
    second = tracking.register_champion(ensemble.reweighted({ensemble.champion.trial_id: 0.1}), rows, PROVENANCE, "proven")
    assert (first.version, second.version, second.grade) == ("1", "2", "proven")
    assert first.trial_id == ensemble.champion.trial_id
    assert [known.version for known in tracking.versions("short")] == ["2", "1"]

    assert tracking.champion("short").version == "2"
    assert tracking.set_champion("short", "1").grade == "candidate"
    loaded, version = tracking.load_champion("short")
    assert version == tracking.champion("short")
    assert version.tags["market"] == "simulated"
    assert_frame_equal(loaded.predict(rows), ensemble.predict(rows), check_exact=True)
    with pytest.raises(NoChampionError, match="has no version '9'; it has 2, 1"):
        tracking.set_champion("short", "9")
    assert not set("🏃🧪🔗") & set(capfd.readouterr().out)


def test_mlflow_itself_loads_the_champion_in_a_fresh_process(tracking, ensemble, tmp_path):
    later = planted_market().features.filter(pl.col("date") > AS_OF)
    rows = later.filter(pl.col("date") == later["date"][0])
    if not tracking.versions("short"):
        tracking.register_champion(ensemble, rows, PROVENANCE, "candidate")
        tracking.set_champion("short", "1")
    given, made = str(tmp_path / "rows.parquet"), str(tmp_path / "out.parquet")
    rows.select(ensemble.feature_names).write_parquet(given)
    program = f"""
import mlflow, pandas
mlflow.set_tracking_uri({tracking.uri!r})
model = mlflow.pyfunc.load_model("models:/mltrainer-short/1")
assert [c.name for c in model.metadata.signature.inputs] == {list(ensemble.feature_names)!r}
assert model.input_example is not None
model.predict(pandas.read_parquet({given!r})).to_parquet({made!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=120)
    expected = ensemble.predict(rows).drop("date", "symbol")
    assert_frame_equal(pl.read_parquet(made), expected, check_exact=True)


def test_a_server_that_does_not_answer_is_named_soon():
    dead = Tracking(f"http://127.0.0.1:{_free_port()}")
    begin = time.monotonic()
    with pytest.raises(TrackingUnavailableError, match=r"http://127\.0\.0\.1:\d+ does not answer .*mltrainer up"):
        dead.load_champion("short")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TrackingUnavailableError, match="timed out"):
            Tracking(f"http://127.0.0.1:{silent.getsockname()[1]}", patience=0.5).champion("long")
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("uri", ["mlruns", "sqlite:///mlflow.db", "file:///tmp/mlruns"])
def test_an_address_that_is_no_server_is_refused(uri):
    with pytest.raises(ValueError, match="http:// address"):
        Tracking(uri)
