"""Against a real MLflow server on the embedded PostgreSQL (the fixture `tracking`)."""

import dataclasses
import socket
import subprocess
import sys
import time
from datetime import UTC, date, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.ensemble_file import read_ensemble
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.champion_files import ChangedFileError, require_file
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble
from mltrainer_pipelines.trials.registry.ensemble_fit import fit_ensemble
from mltrainer_pipelines.trials.registry.model_registry import (
    NoChampionError,
    champion_version,
    fetch_file,
    register_champion,
    registered_versions,
    set_champion,
)
from mltrainer_pipelines.trials.registry.promotion import Decision
from mltrainer_pipelines.trials.registry.rollback import roll_back
from mltrainer_pipelines.trials.registry.tracking import Provenance, Tracking, TrackingUnavailableError
from mltrainer_pipelines.trials.registry.trial_runs import log_trial
from mltrainer_pipelines.trials.validation.walk_forward import WalkForward
from mltrainer_pipelines_tests.trials.planted import planted_market

AS_OF = date(2020, 8, 14)
PROVENANCE = Provenance("simulated", "run-1", "http://127.0.0.1:3000/runs/run-1", "abc123", "0123456789abcdef")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
    first = log_trial(tracking, config, {"sharpe": 1.0, "auc": float("nan")}, quarters, PROVENANCE, {"equity": figure})
    quarters[date(2020, 7, 1)] = {"auc": 0.57}
    again = log_trial(tracking, config, {"sharpe": 1.5}, quarters, PROVENANCE, tags={"grade": "candidate"})
    assert again == first

    client = MlflowClient(tracking.uri)
    experiment = client.get_experiment_by_name("mltrainer-short")
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [first]
    run = client.get_run(first)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"sharpe": 1.5, "quarter.auc": 0.57}
    assert [(m.step, m.value) for m in client.get_metric_history(first, "quarter.auc")] == [
        (81, 0.55),
        (82, 0.56),
        (83, 0.57),
    ]
    assert run.data.params["params.num_leaves"] == "8"
    assert run.data.params["label.target"] == "1.0"
    expected = {"market": "simulated", "dagster_run_id": "run-1", "grade": "candidate", "trial_id": config.trial_id}
    assert expected.items() <= run.data.tags.items()
    assert "to see" in run.data.tags["mlflow.note.content"]
    artifacts = [entry.path for folder in ("", "figures") for entry in client.list_artifacts(first, folder)]
    assert {"config.json", "figures/equity.png"} <= set(artifacts)


def test_a_champion_comes_back_bit_for_bit_and_can_be_rolled_back(tracking, ensemble, database, capfd):
    rows = planted_market().features.filter(pl.col("date") > AS_OF).head(500)
    with pytest.raises(NoChampionError, match="materialize champion_model for 'short'"):
        champion_version(tracking, "short")
    first = register_champion(database.engine, tracking, ensemble, rows, PROVENANCE, "candidate")
    second = register_champion(
        database.engine, tracking, ensemble.reweighted({ensemble.champion.trial_id: 0.1}), rows, PROVENANCE, "proven"
    )
    assert (first.version, second.version, second.grade) == ("1", "2", "proven")
    assert first.trial_id == ensemble.champion.trial_id
    assert [known.version for known in registered_versions(tracking, "short")] == ["2", "1"]

    assert champion_version(tracking, "short").version == "2"
    assert set_champion(tracking, "short", "1").grade == "candidate"
    version = champion_version(tracking, "short")
    content = fetch_file(tracking, version)
    require_file(database.engine, "mltrainer-short", "1", content)
    for changed, number in ((content + b" ", "1"), (content, "2"), (content, "7")):
        with pytest.raises(ChangedFileError, match=rf"version {number} of mltrainer-short .* materialize champion_model"):
            require_file(database.engine, "mltrainer-short", number, changed)
    loaded = read_ensemble(content)
    assert version.tags["market"] == "simulated"
    assert_frame_equal(loaded.predict(rows), ensemble.predict(rows), check_exact=True)
    with pytest.raises(NoChampionError, match="has no version '9'; it has 2, 1"):
        set_champion(tracking, "short", "9")
    assert not set("🏃🧪🔗") & set(capfd.readouterr().out)


def test_mlflow_itself_loads_the_champion_in_a_fresh_process(tracking, ensemble, database, tmp_path):
    later = planted_market().features.filter(pl.col("date") > AS_OF)
    rows = later.filter(pl.col("date") == later["date"][0])
    if not registered_versions(tracking, "short"):
        register_champion(database.engine, tracking, ensemble, rows, PROVENANCE, "candidate")
        set_champion(tracking, "short", "1")
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
        champion_version(dead, "short")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TrackingUnavailableError, match="timed out"):
            champion_version(Tracking(f"http://127.0.0.1:{silent.getsockname()[1]}", patience=0.5), "long")
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("uri", ["mlruns", "sqlite:///mlflow.db", "file:///tmp/mlruns"])
def test_an_address_that_is_no_server_is_refused(uri):
    with pytest.raises(ValueError, match="http:// address"):
        Tracking(uri)


def test_a_rollback_moves_the_alias_keeps_the_reason_and_is_done_once(tracking, ensemble, database):
    rows = planted_market().features.filter(pl.col("date") > AS_OF).head(50)
    shown = dataclasses.replace(ensemble, timeframe="long")  # a registry of its own, whatever ran before
    other = shown.members[-1].trial_id
    config = TrialConfig(model="logistic_l2", timeframe="short", train_sessions=378)
    assert config.trial_id == other
    moment = datetime(2026, 1, 5, tzinfo=UTC)
    for trial in (shown.champion, config):
        records.register(database.engine, trial)
    with pytest.raises(NoChampionError, match="no long champion is registered"):
        roll_back(database.engine, tracking, "long", moment)
    for champion, decision in ((config, "promoted"), (shown.champion, "promoted"), (shown.champion, "refused")):
        version = register_champion(
            database.engine, tracking, dataclasses.replace(shown, champion=champion), rows, PROVENANCE, "candidate"
        )
        decided = Decision(trial_id=champion.trial_id, decision=decision, grade="candidate", reasons=())
        records.record_decision(database.engine, "long", decided, version.version, moment)

    found = roll_back(database.engine, tracking, "long", moment, reason="one sector only")
    assert (found.changed, found.before.version, found.now.version) == (True, "3", "1")
    assert champion_version(tracking, "long").version == "1"
    newest = records.newest_change(database.engine, "long")
    assert (newest.decision, newest.model_version, newest.trial_id) == ("rolled_back", "1", other)
    assert newest.reasons[0].startswith("rolled back from version 3")
    assert newest.reasons[1] == "one sector only"
    assert records.champion_of(database.engine, "long") == other
    assert records.withdrawn(database.engine, "long") == {shown.champion.trial_id}

    assert not roll_back(database.engine, tracking, "long", moment).changed
    assert not roll_back(database.engine, tracking, "long", moment, to="1").changed
    assert records.newest_change(database.engine, "long").id == newest.id
    with pytest.raises(NoChampionError, match="has no version '9'; it has 3, 2, 1"):
        roll_back(database.engine, tracking, "long", moment, to="9")
    assert roll_back(database.engine, tracking, "long", moment, to="2").changed
    assert records.withdrawn(database.engine, "long") == {other}
