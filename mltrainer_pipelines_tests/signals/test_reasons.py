from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from mltrainer_pipelines.models.catalogue import get_model
from mltrainer_pipelines.signals.reasons import _percentiles, _worded, contributions

ROWS, FEATURES = 600, 6


@dataclass
class Voter:
    estimator: Any


def fitted(model: str) -> tuple[Voter, np.ndarray]:
    """A model of the catalogue on data in which feature 2 says yes and feature 4 says no."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-2.0 * X[:, 2] + 1.2 * X[:, 4]))).astype(np.int8)
    spec = get_model(model)
    defaults = {name: dimension.default for name, dimension in spec.search_space.items()}
    return Voter(spec.build(defaults, seed=0, threads=1).fit(X, y)), X[:80]


@pytest.mark.parametrize("model", ["logistic_l2", "lightgbm"])
def test_the_features_that_matter_move_the_prediction_most_and_in_their_direction(model: str) -> None:
    voter, X = fitted(model)
    found = contributions(voter, X)
    size = np.abs(found).mean(axis=0)
    assert set(np.argsort(size)[-2:]) == {2, 4}
    assert np.corrcoef(found[:, 2], X[:, 2])[0, 1] > 0.7
    assert np.corrcoef(found[:, 4], X[:, 4])[0, 1] < -0.6


@pytest.mark.parametrize("model", ["logistic_l2", "lightgbm"])
def test_contributions_add_up_to_the_log_odds_but_for_a_constant(model: str) -> None:
    voter, X = fitted(model)
    probability = voter.estimator.predict_proba(X)[:, 1]
    rest = np.log(probability / (1 - probability)) - contributions(voter, X).sum(axis=1)
    assert rest.std() < 1e-6


class Opaque:
    """A classifier of which only the probability can be asked."""

    def __init__(self, network: bool):
        self.part = MLPLike() if network else None

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        known = np.nan_to_num(X)
        p = 1 / (1 + np.exp(-(1.5 * known[:, 0] - 0.5 * known[:, 1])))
        return np.column_stack([1 - p, p])


class MLPLike:
    pass


MLPLike.__name__ = "MLPClassifier"


@pytest.mark.parametrize("network", [True, False])
def test_a_model_that_can_only_be_asked_is_asked(network: bool) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(50, 3)).astype(np.float32)
    X[3, 1] = np.nan
    found = contributions(Voter(Opaque(network)), X)
    base = np.nanmedian(X, axis=0)
    expected = np.column_stack([1.5 * (X[:, 0] - base[0]), -0.5 * (np.nan_to_num(X[:, 1], nan=base[1]) - base[1]), np.zeros(50)])
    # A network's unknown value is taken for the market's median; another model's is what the model makes of it.
    rows = np.arange(50) != 3
    np.testing.assert_allclose(found[rows], expected[rows], atol=2e-2)


def test_what_is_told_is_in_words() -> None:
    driver = {"feature": "momentum_12_1", "value": 0.3412, "percentile": 0.92, "effect": 0.2, "share": 0.31}
    told = _worded(driver, {"momentum_12_1": "simple return from 252 to 21 sessions ago"})
    assert told == (
        "simple return from 252 to 21 sessions ago (momentum_12_1) is 0.341, above 92% of the universe: "
        "speaks for a profit, 31% of all that moved the score"
    )
    unknown = driver | {"value": None, "percentile": None, "effect": -0.1}
    assert "is unknown: speaks against" in _worded(unknown, {})
    ranks = _percentiles(np.array([[1.0], [np.nan], [3.0], [1.0]]))
    assert ranks[[0, 2, 3], 0].tolist() == pytest.approx([1 / 3, 5 / 6, 1 / 3])
    assert np.isnan(ranks[1, 0])
