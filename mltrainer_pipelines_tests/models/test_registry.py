"""The catalogue, its specs, and the two models that every other one is measured against."""

import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mltrainer_pipelines.models import registry
from mltrainer_pipelines.models.costs import SECONDS, cost_of
from mltrainer_pipelines.models.estimator import UntrainableError
from mltrainer_pipelines.models.registry import UnknownModelError, get_model, list_models
from mltrainer_pipelines.models.spec import Choices, InvalidParamsError, MissingColumnsError, ModelSpec, Range

SPECS = [get_model("logistic_l2"), get_model("lightgbm")]
"""The two that everything else is measured against; `test_contract` holds the contract of all."""
COST_LIMITS = {"fast": 2.0, "medium": 20.0, "slow": 600.0}


def _table(rows: int = 3000, strength: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, 8)).astype(np.float32)
    y = (strength * X[:, 0] + rng.standard_normal(rows) > 0).astype(np.int8)
    X[rng.random(X.shape) < 0.05] = np.nan
    X[:, 6], X[:, 7] = 1.0, np.nan
    return X, y


@pytest.fixture(params=SPECS, ids=lambda spec: spec.id)
def spec(request) -> ModelSpec:
    return request.param


def test_probabilities_are_finite_and_a_planted_signal_is_learnt(spec):
    X, y = _table()
    probability = spec.build(seed=1).fit(X[:2000], y[:2000]).predict_proba(X[2000:])
    assert probability.shape == (1000, 2)
    assert ((probability >= 0) & (probability <= 1)).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    assert probability[y[2000:] == 1, 1].mean() > probability[y[2000:] == 0, 1].mean() + 0.05


def test_the_same_seed_gives_the_same_predictions_also_after_pickling(spec):
    X, y = _table()
    first, second = (spec.build(seed=3).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).predict_proba(X), first.predict_proba(X))


def test_the_order_of_rows_does_not_matter(spec):
    X, y = _table()
    order = np.random.default_rng(0).permutation(len(X))
    straight, shuffled = spec.build().fit(X, y), spec.build().fit(X[order], y[order])
    np.testing.assert_allclose(straight.predict_proba(X), shuffled.predict_proba(X), atol=1e-6)


def test_estimators_keep_the_contract_of_scikit_learn(spec):
    from sklearn.base import clone, is_classifier
    from sklearn.exceptions import NotFittedError
    from sklearn.model_selection import cross_val_score
    from sklearn.utils.validation import check_is_fitted

    X, y = _table(600)
    estimator = spec.build(seed=5)
    with pytest.raises(NotFittedError):
        estimator.predict_proba(X)
    copy = clone(estimator).set_params(**spec.resolved({}))
    assert copy.get_params() == estimator.get_params()
    assert is_classifier(estimator)
    assert cross_val_score(estimator, X, y, cv=3, scoring="roc_auc").mean() > 0.6
    check_is_fitted(estimator.fit(X, y))
    assert not hasattr(clone(estimator), "classes_")
    with pytest.raises(ValueError, match="has no parameter nonsense"):
        estimator.set_params(nonsense=1)


@pytest.mark.parametrize("rows", [50, 300])
def test_small_tables_are_survived(spec, rows):
    X, y = _table(rows)
    assert np.isfinite(spec.build().fit(X, y).predict_proba(X)).all()


def test_tables_without_two_classes_are_refused(spec):
    X, y = _table(200)
    with pytest.raises(UntrainableError, match="both classes"):
        spec.build().fit(X, np.ones_like(y))
    with pytest.raises(UntrainableError, match="0 and 1"):
        spec.build().fit(X, y * 2)
    with pytest.raises(UntrainableError, match="as many labels"):
        spec.build().fit(X, y[:100])
    with pytest.raises(ValueError, match="fitted on 8 features"):
        spec.build().fit(X, y).predict_proba(X[:, :3])


def test_parameters_at_both_ends_of_the_space_fit(spec):
    X, y = _table(300)
    for end in ("low", "high"):
        params = {name: getattr(space, end) for name, space in spec.search_space.items() if isinstance(space, Range)}
        assert np.isfinite(spec.build(params).fit(X, y).predict_proba(X)).all()


def test_a_fit_stays_inside_its_cost_class(spec):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90_000, 30)).astype(np.float32)
    y = (X[:, 0] + 3 * rng.standard_normal(len(X)) > 0).astype(np.int8)
    spec.build().fit(X[:1000], y[:1000])  # the library's import is not the model's cost
    begin = time.process_time()
    spec.build(threads=1).fit(X, y)
    assert time.process_time() - begin < COST_LIMITS[spec.cost]


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.id)
def test_a_declaration_is_complete(spec):
    assert get_model(spec.id) is spec
    assert spec.id == spec.id.lower().replace("-", "_")
    assert spec.family
    assert len(spec.source) > 10
    assert 15 < len(spec.summary) < 110
    assert spec.cost == cost_of(spec.id)
    assert spec.resolved({}) == dict(sorted((name, space.default) for name, space in spec.search_space.items()))


def test_costs_are_measured_for_models_that_exist():
    assert set(SECONDS) <= {spec.id for spec in list_models()}
    assert cost_of("never_measured") == "slow"


def test_what_a_saved_estimator_says_it_has_to_be_given_is_what_its_model_declares():
    for spec in list_models():
        estimator = spec.build()
        given = (estimator.look_back, estimator.sectors, estimator.needs_groups)
        assert given == (spec.look_back, spec.sectors, spec.needs_groups), spec.id


def test_there_are_32_core_models_and_more_than_140_in_all():
    specs = list_models()
    assert sum(spec.core for spec in specs) == 32
    assert len(specs) > 140
    assert sum(spec.family == "rules" for spec in specs) >= 40
    assert len({spec.summary for spec in specs}) == len(specs)


def test_no_model_reads_the_registry_that_finds_it():
    room = Path(registry.__file__).parent
    readers = {path.name for path in room.rglob("*.py") if re.search(r"import .*\bregistry\b|models\.registry", path.read_text())}
    assert not readers


def test_reading_the_catalogue_imports_no_library():
    program = "import sys\nfrom mltrainer_pipelines.models.registry import list_models\n[s.build() for s in list_models()]\n"
    program += "heavy = {'torch', 'sklearn', 'lightgbm', 'xgboost', 'catboost', 'scipy', 'pandas', 'mlflow', "
    program += "'statsmodels', 'arch', 'hmmlearn', 'river'}\n"
    program += "print(sorted(heavy & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_that_reads_named_features_finds_them_by_name_and_says_which_are_missing():
    spec = get_model("rule_golden_cross")
    names = ("rsi_14", "distance_to_mean_50", "distance_to_mean_200")
    assert spec.build(feature_names=names).get_params()["positions"] == (2, 1)
    with pytest.raises(MissingColumnsError, match="there is no distance_to_mean_200; choose a feature set"):
        spec.build(feature_names=names[:2])
    with pytest.raises(ValueError, match="reads 2 columns and the matrix has 1"):
        spec.build().fit(np.zeros((4, 1)), np.array([0, 1, 0, 1]))


def test_an_unknown_model_is_refused_with_the_closest_ones():
    with pytest.raises(UnknownModelError, match="'logistic-l1'; did you mean logistic_l1 or logistic_l2"):
        get_model("logistic-l1")
    with pytest.raises(UnknownModelError, match=r"; `mltrainer models` lists all \d+$"):
        get_model("zzz")


def test_parameters_outside_of_the_space_are_all_named():
    with pytest.raises(InvalidParamsError, match=r"C=1000000.0.*tail='much'.*no parameter 'penalty'"):
        get_model("logistic_l2").resolved({"C": 1e6, "tail": "much", "penalty": "l1"})


def test_choices_and_ranges_hold_values_in_their_own_type():
    assert Range(1, 9, default=3, integer=True).checked(4.0) == 4
    assert Range(1, 9, default=3, integer=True).checked(4.5) is None
    assert Range(0, 1, default=0).checked(float("nan")) is None
    assert Choices(("gini", "entropy")).checked("entropy") == "entropy"
    assert Choices((1, 2)).checked(True) is None
    with pytest.raises(ValueError, match="not a range"):
        Range(0, 1, default=0.5, log=True)
