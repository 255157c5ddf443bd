import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mltrainer_pipelines.trials.scoring import statistics


def random_returns(seed: int = 1, periods: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(5, periods) * 0.01 + 0.0005


# Sharpe ratio


def test_deflated_sharpe_gives_the_numbers_of_the_paper() -> None:
    # Bailey & López de Prado (2014), "A numerical example": annual SR 2.5 of the best of 100 trials, variance 1/2,
    # 1250 days (250 a year), skewness -3, kurtosis 10.
    daily, variance = 2.5 / math.sqrt(250), 0.5 / 250
    assert statistics.expected_maximum_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    assert statistics.deflated_sharpe(daily, 1250, -3, 10, 100, variance) == pytest.approx(0.9004, abs=5e-5)
    assert statistics.deflated_sharpe(daily, 1250, -3, 10, 46, variance) == pytest.approx(0.9505, abs=5e-5)
    assert statistics.deflated_sharpe(daily, 1250, 0, 3, 88, variance) == pytest.approx(0.9505, abs=5e-5)


def test_probabilistic_sharpe_gives_the_numbers_of_the_paper() -> None:
    # Bailey & López de Prado (2012), section 5: 24 months, monthly SR 0.458, skewness -2.448, kurtosis 10.164.
    assert statistics.probabilistic_sharpe(0.458, 24) == pytest.approx(0.982, abs=5e-4)
    assert statistics.probabilistic_sharpe(0.458, 24, -2.448, 10.164) == pytest.approx(0.913, abs=5e-4)


def test_one_trial_is_not_deflated_and_more_trials_are_deflated_more() -> None:
    bars = [statistics.expected_maximum_sharpe(trials, 0.002) for trials in (1, 2, 3, 10, 100, 10_000)]
    assert bars[0] == 0.0
    assert bars == sorted(bars)


def test_the_expected_maximum_is_that_of_simulated_worthless_trials() -> None:
    best = np.random.default_rng(0).normal(0, 0.05, (4000, 50)).max(axis=1).mean()
    assert statistics.expected_maximum_sharpe(50, 0.05**2) == pytest.approx(best, rel=0.02)


def test_standard_error_is_that_of_the_probabilistic_sharpe_ratio_and_of_simulation() -> None:
    returns = random_returns()
    sharpe, (skew, kurtosis) = statistics.daily_sharpe(returns), statistics.moments(returns)
    implied = sharpe / statistics.sharpe_z(sharpe, returns.size, skew, kurtosis)
    assert statistics.sharpe_standard_error(returns) == pytest.approx(implied, rel=2e-3)
    many = np.random.default_rng(2).standard_t(8, (2000, 500)) * 0.01 + 0.001
    spread = (many.mean(axis=1) / many.std(axis=1, ddof=1)).std()
    assert np.mean([statistics.sharpe_standard_error(row) for row in many[:200]]) == pytest.approx(spread, rel=0.06)


def test_autocorrelation_widens_the_standard_error() -> None:
    noise = np.random.default_rng(3).normal(0, 1, 4000)
    smoothed = np.convolve(noise, np.ones(10) / 10, "valid")
    assert statistics.sharpe_standard_error(smoothed, lags=20) > 2 * statistics.sharpe_standard_error(smoothed)


def test_moments_are_scipys() -> None:
    from scipy import stats

    returns = random_returns()
    assert statistics.moments(returns) == pytest.approx((stats.skew(returns), stats.kurtosis(returns, fisher=False)))


def test_a_book_that_never_moves_has_no_sharpe_ratio() -> None:
    for returns in (np.zeros(10), np.full(10, 0.01), np.array([0.01]), np.empty(0)):
        assert math.isnan(statistics.sharpe_ratio(returns))


def test_drawdown_counts_from_the_first_dollar() -> None:
    assert statistics.maximum_drawdown([-0.1, 0.2, -0.5, 0.1]) == pytest.approx(0.5)
    assert statistics.maximum_drawdown([-0.1, 0.05]) == pytest.approx(0.1)
    assert statistics.maximum_drawdown([0.1, 0.1]) == 0.0
    assert statistics.maximum_drawdown([]) == 0.0


def test_annual_return_of_one_year_is_its_total_return() -> None:
    assert statistics.annual_return(np.full(252, 0.001)) == pytest.approx(1.001**252 - 1)
    assert statistics.annual_return([0.1, -1.0]) == -1.0


# dependence


def test_without_lags_the_t_statistic_is_the_textbook_one() -> None:
    from scipy import stats

    values = random_returns()
    assert statistics.mean_t_statistic(values, 0) == pytest.approx(stats.ttest_1samp(values, 0.0).statistic)


def test_overlap_that_is_ignored_finds_skill_in_noise_and_newey_west_does_not() -> None:
    rng = np.random.default_rng(4)
    naive, robust = [], []
    for _ in range(300):
        overlapping = np.convolve(rng.normal(size=1011), np.ones(12), "valid")
        naive.append(abs(statistics.mean_t_statistic(overlapping, 0)) > 3)
        robust.append(abs(statistics.mean_t_statistic(overlapping, 12)) > 3)
    assert np.mean(naive) > 0.25
    assert np.mean(robust) < 0.03


def test_bootstrap_interval_of_independent_returns_is_the_textbook_one() -> None:
    values = np.random.default_rng(5).normal(0.001, 0.01, 2000)
    low, high = statistics.stationary_bootstrap(values, lambda sample: sample.mean(axis=1), block=1, draws=2000)
    error = 1.96 * values.std(ddof=1) / math.sqrt(values.size)
    assert low == pytest.approx(values.mean() - error, abs=error * 0.1)
    assert high == pytest.approx(values.mean() + error, abs=error * 0.1)


def test_bootstrap_keeps_blocks_together() -> None:
    values = np.repeat(np.random.default_rng(6).normal(size=100), 10)

    def width(block: float) -> float:
        low, high = statistics.stationary_bootstrap(values, lambda sample: sample.mean(axis=1), block)
        return high - low

    assert width(20) > 1.8 * width(1)
    assert width(20) == width(20)


def test_bootstrap_indices_restart_as_often_as_the_block_length_says() -> None:
    index = statistics._block_indices(np.random.default_rng(7), 500, 400, 8.0)
    assert index.min() >= 0
    assert index.max() < 400
    follows = (np.diff(index, axis=1) % 400 == 1).mean()
    assert follows == pytest.approx(1 - 1 / 8, abs=0.01)


# forecasts

SCORES = npst.arrays(np.float64, 40, elements=st.sampled_from([0.05, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 0.99]))
OUTCOMES = npst.arrays(np.float64, 40, elements=st.sampled_from([0.0, 1.0])).filter(lambda y: 0 < y.sum() < y.size)


@settings(max_examples=60, deadline=None)
@given(SCORES, OUTCOMES)
def test_auc_log_loss_and_brier_score_are_scikit_learns(p: np.ndarray, y: np.ndarray) -> None:
    from sklearn import metrics

    assert statistics.auc(p, y) == pytest.approx(metrics.roc_auc_score(y, p))
    assert statistics.log_loss(p, y) == pytest.approx(metrics.log_loss(y, p))
    assert statistics.brier_score(p, y) == pytest.approx(metrics.brier_score_loss(y, p))


@settings(max_examples=60, deadline=None)
@given(SCORES, npst.arrays(np.float64, 40, elements=st.floats(-1, 1)))
def test_rank_correlation_is_scipys(score: np.ndarray, outcome: np.ndarray) -> None:
    from scipy import stats

    expected = stats.spearmanr(score, outcome).statistic if np.ptp(score) and np.ptp(outcome) else math.nan
    assert statistics.rank_correlation(score, outcome) == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_rank_ic_of_each_session_is_its_own_rank_correlation() -> None:
    rng = np.random.default_rng(8)
    session = rng.integers(0, 30, 600)
    score, outcome = rng.integers(0, 9, 600).astype(float), rng.normal(size=600).round(1)
    days, found = statistics.rank_ics(session, score, outcome)
    assert days.tolist() == sorted(set(session))
    expected = [statistics.rank_correlation(score[session == day], outcome[session == day]) for day in days]
    assert found == pytest.approx(expected)


def test_sessions_too_small_or_constant_have_no_rank_ic() -> None:
    session = [1] * 6 + [2] * 3 + [3] * 6
    score = [1, 2, 3, 4, 5, 6, 1, 2, 3, 1, 1, 1, 1, 1, 1]
    days, found = statistics.rank_ics(session, score, np.arange(15.0))
    assert days.tolist() == [1]
    assert found == pytest.approx([1.0])


def test_forecasting_the_base_rate_has_no_skill_and_one_class_has_no_number() -> None:
    y = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    assert statistics.brier_skill(np.full(5, 0.6), y) == pytest.approx(0.0)
    assert statistics.brier_skill(np.full(5, 0.5), y) < 0
    assert statistics.brier_skill(y, y) == 1.0
    assert math.isnan(statistics.brier_skill(y, np.ones(5)))
    assert math.isnan(statistics.auc(y, np.ones(5)))


def test_calibration_error_is_zero_for_true_probabilities_and_the_shift_for_shifted_ones() -> None:
    rng = np.random.default_rng(9)
    p = rng.uniform(0.2, 0.8, 200_000)
    y = (rng.random(p.size) < p).astype(float)
    assert statistics.expected_calibration_error(p, y) < 0.005
    assert statistics.expected_calibration_error(p + 0.1, y) == pytest.approx(0.1, abs=0.005)


def test_bins_have_equal_mass_and_never_split_a_tie() -> None:
    p = np.random.default_rng(10).random(1000)
    assert statistics.reliability(p, p > 0.5).rows.tolist() == pytest.approx([100] * 10, abs=1)
    tied = np.repeat([0.2, 0.4, 0.9], [700, 200, 100])
    curve = statistics.reliability(tied, tied > 0.5)
    assert curve.forecast == pytest.approx([0.2, 0.4, 0.9])
    assert curve.rows.tolist() == [700, 200, 100]


@settings(max_examples=30, deadline=None)
@given(SCORES, OUTCOMES, st.permutations(range(40)))
def test_calibration_error_does_not_hang_on_the_order_of_rows(p: np.ndarray, y: np.ndarray, order: list[int]) -> None:
    shuffled = statistics.expected_calibration_error(p[order], y[order])
    assert shuffled == pytest.approx(statistics.expected_calibration_error(p, y))


def test_input_that_is_not_numbers_in_a_row_is_named() -> None:
    with pytest.raises(ValueError, match="returns has 1 values that are not finite"):
        statistics.sharpe_ratio([0.1, math.nan])
    with pytest.raises(ValueError, match="probability and outcome: 2 and 3 rows"):
        statistics.brier_score([0.1, 0.2], [1, 0, 1])
    with pytest.raises(ValueError, match="trials=0"):
        statistics.expected_maximum_sharpe(0, 0.1)


def test_the_best_of_worthless_trials_is_overfitted_every_other_time_and_a_good_one_is_not():
    rng = np.random.default_rng(4)
    found = [statistics.probability_of_overfitting(rng.normal(0, 0.01, (500, 20))) for _ in range(30)]
    assert 0.35 < np.mean(found) < 0.65
    good = rng.normal(0, 0.01, (500, 20))
    good[:, 7] += 0.004
    assert statistics.probability_of_overfitting(good) == 0.0
    assert np.isnan(statistics.probability_of_overfitting(np.zeros((500, 3))))
    with pytest.raises(ValueError, match="even number"):
        statistics.probability_of_overfitting(good, blocks=7)
