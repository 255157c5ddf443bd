import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mltrainer_pipelines.trials.scoring import skill

SCORES = npst.arrays(np.float64, 40, elements=st.sampled_from([0.05, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 0.99]))
OUTCOMES = npst.arrays(np.float64, 40, elements=st.sampled_from([0.0, 1.0])).filter(lambda y: 0 < y.sum() < y.size)


@settings(max_examples=60, deadline=None)
@given(SCORES, OUTCOMES)
def test_auc_log_loss_and_brier_score_are_scikit_learns(p: np.ndarray, y: np.ndarray) -> None:
    from sklearn import metrics

    assert skill.auc(p, y) == pytest.approx(metrics.roc_auc_score(y, p))
    assert skill.log_loss(p, y) == pytest.approx(metrics.log_loss(y, p))
    assert skill.brier_score(p, y) == pytest.approx(metrics.brier_score_loss(y, p))


@settings(max_examples=60, deadline=None)
@given(SCORES, npst.arrays(np.float64, 40, elements=st.floats(-1, 1)))
def test_rank_ic_of_one_session_is_scipys_rank_correlation(score: np.ndarray, outcome: np.ndarray) -> None:
    from scipy import stats

    expected = [stats.spearmanr(score, outcome).statistic] if np.ptp(score) and np.ptp(outcome) else []
    assert skill.rank_ics(np.zeros(40), score, outcome)[1] == pytest.approx(expected, abs=1e-12)


def test_rank_ic_of_each_session_is_its_own_rank_correlation() -> None:
    from scipy import stats

    rng = np.random.default_rng(8)
    session = rng.integers(0, 30, 600)
    score, outcome = rng.integers(0, 9, 600).astype(float), rng.normal(size=600).round(1)
    days, found = skill.rank_ics(session, score, outcome)
    assert days.tolist() == sorted(set(session))
    expected = [stats.spearmanr(score[session == day], outcome[session == day]).statistic for day in days]
    assert found == pytest.approx(expected)


def test_sessions_too_small_or_constant_have_no_rank_ic() -> None:
    session = [1] * 6 + [2] * 3 + [3] * 6
    score = [1, 2, 3, 4, 5, 6, 1, 2, 3, 1, 1, 1, 1, 1, 1]
    days, found = skill.rank_ics(session, score, np.arange(15.0))
    assert days.tolist() == [1]
    assert found == pytest.approx([1.0])


def test_forecasting_the_base_rate_has_no_skill_and_one_class_has_no_number() -> None:
    y = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    assert skill.brier_skill(np.full(5, 0.6), y) == pytest.approx(0.0)
    assert skill.brier_skill(np.full(5, 0.5), y) < 0
    assert skill.brier_skill(y, y) == 1.0
    assert math.isnan(skill.brier_skill(y, np.ones(5)))
    assert math.isnan(skill.auc(y, np.ones(5)))


def test_calibration_error_is_zero_for_true_probabilities_and_the_shift_for_shifted_ones() -> None:
    rng = np.random.default_rng(9)
    p = rng.uniform(0.2, 0.8, 200_000)
    y = (rng.random(p.size) < p).astype(float)
    assert skill.reliability(p, y).error < 0.005
    assert skill.reliability(p + 0.1, y).error == pytest.approx(0.1, abs=0.005)


def test_bins_have_equal_mass_and_never_split_a_tie() -> None:
    p = np.random.default_rng(10).random(1000)
    assert skill.reliability(p, p > 0.5).rows.tolist() == pytest.approx([100] * 10, abs=1)
    tied = np.repeat([0.2, 0.4, 0.9], [700, 200, 100])
    curve = skill.reliability(tied, tied > 0.5)
    assert curve.forecast == pytest.approx([0.2, 0.4, 0.9])
    assert curve.rows.tolist() == [700, 200, 100]


@settings(max_examples=30, deadline=None)
@given(SCORES, OUTCOMES, st.permutations(range(40)))
def test_calibration_error_does_not_hang_on_the_order_of_rows(p: np.ndarray, y: np.ndarray, order: list[int]) -> None:
    shuffled = skill.reliability(p[order], y[order]).error
    assert shuffled == pytest.approx(skill.reliability(p, y).error)
