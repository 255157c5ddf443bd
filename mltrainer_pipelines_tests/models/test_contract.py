"""The contract that every model of the catalogue keeps, each on one small table."""

import io
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.models import infer_signature
from sklearn.base import clone, is_classifier

from mltrainer_pipelines.models.estimator import UntrainableError
from mltrainer_pipelines.models.panel import UNKNOWN, panel_groups
from mltrainer_pipelines.models.registry import get_model, list_models
from mltrainer_pipelines.models.spec import ModelSpec
from mltrainer_pipelines.trials.ensemble_file import unpickled

LIBRARIES = (
    "numpy", "scipy", "scikit-learn", "lightgbm", "xgboost", "catboost", "torch", "statsmodels", "arch", "hmmlearn", "river"
)  # fmt: skip
ENVIRONMENT = [f"{name}=={version(name)}" for name in LIBRARIES]
SESSIONS, SYMBOLS, FEATURES, TRAIN = 100, 12, 12, 800
SECONDS_OF_A_SMALL_FIT = {"fast": 5.0, "medium": 15.0, "slow": 40.0}
"""Processor seconds of 800 × 12 rows, with room for any machine: the costs themselves are measured, not tested."""


def _params(spec: ModelSpec) -> dict:
    """The networks train for a few quick passes of small layers; all others as they are."""
    return {"epochs": 8, "learning_rate": 0.03, "units": 16} if "epochs" in spec.search_space else {}


def _area(y: np.ndarray, p: np.ndarray) -> float:
    from scipy.stats import rankdata

    positives = int(y.sum())
    ranks = rankdata(p)[y == 1].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * (len(y) - positives)))


@cache
def _table(spec_id: str, planted: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """100 sessions × 12 symbols: X, y, groups. The signal is in the first feature, or in what a rule or forecast itself reads.

    Forecasts get as many rows, of 3 symbols over 400 sessions: their dynamics are those of whole series. 3 % of the values are
    unknown; where a model reads all features one is constant and one has no value at all.
    """
    spec = get_model(spec_id)
    rng = np.random.default_rng(7 if planted else 11)
    sessions, symbols = (400, 3) if spec.family == "series" else (SESSIONS, SYMBOLS)
    X = rng.standard_normal((sessions, symbols, len(spec.columns) or FEATURES))
    if spec.family == "series":  # regimes and memory: noise alone has no dynamics to estimate
        calm = np.cumsum(rng.random((sessions, symbols, 1)) < 0.02, axis=0) % 2 == 0
        X = np.where(calm, 0.8 + 0.5 * X, -0.8 + 1.2 * X)
        for t in range(5, sessions):
            X[t] += 0.4 * X[t - 5]
    X = X.reshape(sessions * symbols, -1).astype(np.float32)
    session, symbol = np.divmod(np.arange(len(X)), symbols)
    groups = panel_groups(session, symbol, sectors=symbol % 3 - 1)
    signal = X[:, 0].astype(np.float64)
    if spec.columns:
        coin = (rng.random(len(X)) > 0.5).astype(np.int8)
        signal = spec.build(seed=1).fit(X[:TRAIN], coin[:TRAIN], groups[:TRAIN]).decision_function(X, groups)
    signal = (signal - signal.mean()) / signal.std()
    y = (signal * (2.0 if planted else 0.0) + rng.standard_normal(len(X)) > 0).astype(np.int8)
    if planted:
        groups["other"] = np.where(rng.random(len(X)) < 0.8, signal + rng.standard_normal(len(X)) > 0, UNKNOWN)
    X[rng.random(X.shape) < 0.03] = np.nan
    if not spec.columns:
        X[:, 6], X[:, 7] = 1.0, np.nan
    return X, y, groups


class Loader:
    """A process that has fitted nothing: it loads models from their MLflow folders and predicts the table beside them."""

    PROGRAM = """
import sys, pathlib, numpy, mlflow
for line in sys.stdin:
    place = pathlib.Path(line.strip())
    table = numpy.load(place.parent / "table.npz")
    said = mlflow.sklearn.load_model(str(place)).predict_proba(table["X"], table["groups"])
    numpy.save(place.parent / "said.npy", said)
    print("done", flush=True)
"""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM], cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def predictions(self, place: Path, X: np.ndarray, groups: np.ndarray) -> np.ndarray:
        assert isinstance(self.process.stdin, io.TextIOBase)
        assert isinstance(self.process.stdout, io.TextIOBase)
        np.savez(place.parent / "table.npz", X=X, groups=groups)
        print(place, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n", "the process that loads models has ended; its error is above"
        return np.load(place.parent / "said.npy")


@pytest.fixture(scope="session")
def loader() -> Iterator[Loader]:
    """One a worker, begun before the first model is fitted."""
    began = Loader()
    yield began
    began.process.communicate(timeout=30)


@pytest.fixture(params=list_models(), ids=lambda spec: spec.id)
def spec(request) -> ModelSpec:
    return request.param


def test_a_planted_signal_is_learnt_whatever_the_order_of_rows_within_a_session(spec, loader, tmp_path):
    X, y, groups = _table(spec.id, planted=True)
    shuffled = np.lexsort((np.random.default_rng(1).random(TRAIN), groups["session"][:TRAIN]))
    again = spec.build(_params(spec), seed=3).fit(X[shuffled], y[shuffled], groups[shuffled])
    begin = time.process_time()  # after a first fit: imports and compiling are not the model's cost
    fitted = spec.build(_params(spec), seed=3).fit(X[:TRAIN], y[:TRAIN], groups[:TRAIN])
    assert time.process_time() - begin < SECONDS_OF_A_SMALL_FIT[spec.cost]
    said = fitted.predict_proba(X, groups)
    assert said.shape == (len(X), 2)
    assert ((said >= 0) & (said <= 1)).all()
    np.testing.assert_allclose(said.sum(axis=1), 1.0)
    assert _area(y[TRAIN:], said[TRAIN:, 1]) > 0.55
    np.testing.assert_array_equal(again.predict_proba(X, groups), said)
    assert not hasattr(clone(fitted), "classes_")

    place = tmp_path / "model"
    mlflow.sklearn.save_model(
        fitted, place, signature=infer_signature(X[:5], said[:5]), input_example=X[:5], pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle", pip_requirements=ENVIRONMENT,
    )  # fmt: skip
    np.testing.assert_array_equal(loader.predictions(place, X, groups), said)
    described = mlflow.models.Model.load(place)
    assert described.signature.inputs.input_types() == [np.dtype(np.float32)]
    np.testing.assert_array_equal(described.load_input_example(place), X[:5])
    assert set(ENVIRONMENT) <= set((place / "requirements.txt").read_text().split())


def test_nothing_is_learnt_from_noise(spec):
    X, y, groups = _table(spec.id, planted=False)
    params = _params(spec)
    fitted = spec.build(params | {"epochs": 3} if params else {}, seed=3).fit(X[:TRAIN], y[:TRAIN], groups[:TRAIN])
    test = y[TRAIN:]
    error = np.sqrt((len(test) + 1) / (12 * test.sum() * (len(test) - test.sum())))
    assert abs(_area(test, fitted.predict_proba(X, groups)[TRAIN:, 1]) - 0.5) < 3 * error


def test_fifty_rows_of_one_symbol_are_enough_to_fit_and_one_class_is_refused(spec):
    X, y, _ = _table(spec.id, planted=True)
    groups = panel_groups(np.arange(50), np.zeros(50, dtype=int))
    estimator = spec.build({name: 2 for name in ("epochs",) if name in spec.search_space})
    said = estimator.fit(X[:50], y[:50], groups).predict_proba(X[:50], groups)[:, 1]
    assert ((said >= 0) & (said <= 1)).all()
    assert len(estimator.predict_proba(X[:0], groups[:0])) == 0
    read = unpickled(pickle.dumps(estimator))  # as a champion's file is read
    np.testing.assert_array_equal(read.predict_proba(X[:50], groups)[:, 1], said)
    with pytest.raises(UntrainableError, match="both classes"):
        estimator.fit(X[:50], np.zeros(50), groups)


def test_estimators_are_cloned_with_their_parameters(spec):
    estimator = spec.build(seed=5, threads=2)
    params = estimator.get_params()
    copy = clone(estimator)
    assert copy.get_params() == params
    assert {"seed": 5, "threads": 2}.items() <= params.items() or spec.id == "logistic_l2"
    assert set(spec.search_space) <= set(params)
    copy.set_params(**spec.resolved({}))
    assert is_classifier(copy)
    assert not hasattr(copy, "classes_")


@pytest.mark.parametrize("model", ["lstm", "dlinear", "arima", "transformer"])
def test_a_model_with_a_look_back_reads_the_past_of_its_own_symbol_and_no_future(model):
    spec = get_model(model)
    X, y, groups = _table(model, planted=True)
    X = np.nan_to_num(X)
    few = {"epochs": 1} if "epochs" in spec.search_space else {}
    fitted = spec.build(_params(spec) | few).fit(X[:TRAIN], y[:TRAIN], groups[:TRAIN])
    said = fitted.predict_proba(X, groups)[:, 1]
    at, symbol = 1000, groups["symbol"][1000]
    later, other, past = X.copy(), X.copy(), X.copy()
    later[groups["session"] > groups["session"][at]] += 1.0
    other[groups["symbol"] != symbol] += 1.0
    past[(groups["symbol"] == symbol) & (groups["session"] == groups["session"][at] - 5)] += 1.0
    assert fitted.predict_proba(later, groups)[at, 1] == pytest.approx(said[at], abs=1e-6)
    assert fitted.predict_proba(other, groups)[at, 1] == pytest.approx(said[at], abs=1e-6)
    assert fitted.predict_proba(past, groups)[at, 1] != pytest.approx(said[at], abs=1e-6)
    # what is shown of the past suffices: the sessions within the look-back
    kept = groups["session"] >= groups["session"][at] - spec.look_back
    assert fitted.predict_proba(X[kept], groups[kept])[at - (~kept).sum(), 1] == pytest.approx(said[at], abs=1e-6)


def test_a_model_that_reads_a_session_together_answers_for_a_row_by_the_rows_beside_it():
    spec = get_model("session_attention")
    assert spec.cross_sectional
    assert spec.needs_groups
    X, y, groups = _table(spec.id, planted=True)
    X = np.nan_to_num(X)
    fitted = spec.build(_params(spec)).fit(X[:TRAIN], y[:TRAIN], groups[:TRAIN])
    said = fitted.predict_proba(X, groups)[:, 1]
    elsewhere, beside = X.copy(), X.copy()
    elsewhere[groups["session"] != 50] += 1.0
    beside[(groups["session"] == 50) & (groups["symbol"] != 3)] += 1.0
    row = 50 * SYMBOLS + 3
    assert fitted.predict_proba(elsewhere, groups)[row, 1] == pytest.approx(said[row], abs=1e-6)
    assert fitted.predict_proba(beside, groups)[row, 1] != pytest.approx(said[row], abs=1e-6)


def test_a_rule_that_the_rows_contradict_gives_the_base_rate():
    spec = get_model("rule_momentum_12_1")
    x = np.linspace(-1, 1, 400, dtype=np.float32)[:, None]
    y = (x[:, 0] < 0).astype(np.int8)
    assert np.ptp(spec.build().fit(x, y).predict_proba(x)[:, 1]) == 0.0
    assert np.ptp(spec.build().fit(x, 1 - y).predict_proba(x)[:, 1]) > 0.8
