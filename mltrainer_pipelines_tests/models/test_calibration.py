"""Scores made probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltrainer_pipelines.models.calibration import Sigmoid


@settings(deadline=None)  # the first call imports scikit-learn
@given(st.integers(0, 2**31), st.integers(20, 300), st.floats(0.0, 3.0))
def test_platts_line_is_where_the_penalized_log_loss_of_his_targets_is_flat(seed, rows, strength):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal(rows)
    y = (strength * scores + rng.standard_normal(rows) > 0).astype(np.int8)
    fitted = Sigmoid(rising=False).fit(scores, y)
    z = np.clip((scores - fitted.center_) / fitted.scale_, -8.0, 8.0)
    winners = y.sum()
    target = np.where(y == 1, (winners + 1) / (winners + 2), 1 / (rows - winners + 2))
    residual = fitted.probability(scores) - target
    assert (residual * z).sum() + 1e-3 * fitted.slope_ == pytest.approx(0.0, abs=1e-6)
    assert residual.sum() == pytest.approx(0.0, abs=1e-6)


def test_a_score_that_the_outcomes_contradict_is_worth_the_base_rate():
    scores, y = np.arange(40.0), np.repeat([1, 0], 20)
    assert Sigmoid().fit(scores, y).probability(scores) == pytest.approx(np.full(40, 0.5))
    assert np.ptp(Sigmoid(rising=False).fit(scores, y).probability(scores)) > 0.9


def test_scores_that_are_all_the_same_are_worth_the_base_rate():
    probability = Sigmoid().fit(np.ones(30), np.repeat([1, 0, 0], 10)).probability(np.ones(2))
    assert probability == pytest.approx(np.full(2, 1 / 3), abs=0.01)
