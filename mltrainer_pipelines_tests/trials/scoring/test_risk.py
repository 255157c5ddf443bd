import math

import numpy as np
import pytest

from mltrainer_pipelines.trials.scoring import risk, selection


def random_returns(seed: int = 1, periods: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(5, periods) * 0.01 + 0.0005


def test_standard_error_is_that_of_the_probabilistic_sharpe_ratio_and_of_simulation() -> None:
    returns = random_returns()
    sharpe, (skew, kurtosis) = risk.daily_sharpe(returns), risk.moments(returns)
    implied = sharpe / selection.sharpe_z(sharpe, returns.size, skew, kurtosis)
    assert risk.sharpe_standard_error(returns) == pytest.approx(implied, rel=2e-3)
    many = np.random.default_rng(2).standard_t(8, (2000, 500)) * 0.01 + 0.001
    spread = (many.mean(axis=1) / many.std(axis=1, ddof=1)).std()
    assert np.mean([risk.sharpe_standard_error(row) for row in many[:200]]) == pytest.approx(spread, rel=0.06)


def test_autocorrelation_widens_the_standard_error() -> None:
    noise = np.random.default_rng(3).normal(0, 1, 4000)
    smoothed = np.convolve(noise, np.ones(10) / 10, "valid")
    assert risk.sharpe_standard_error(smoothed, lags=20) > 2 * risk.sharpe_standard_error(smoothed)


def test_moments_are_scipys() -> None:
    from scipy import stats

    returns = random_returns()
    assert risk.moments(returns) == pytest.approx((stats.skew(returns), stats.kurtosis(returns, fisher=False)))


def test_a_book_that_never_moves_has_no_sharpe_ratio() -> None:
    for returns in (np.zeros(10), np.full(10, 0.01), np.array([0.01]), np.empty(0)):
        assert math.isnan(risk.sharpe_ratio(returns))


def test_drawdown_counts_from_the_first_dollar() -> None:
    assert risk.maximum_drawdown([-0.1, 0.2, -0.5, 0.1]) == pytest.approx(0.5)
    assert risk.maximum_drawdown([-0.1, 0.05]) == pytest.approx(0.1)
    assert risk.maximum_drawdown([0.1, 0.1]) == 0.0
    assert risk.maximum_drawdown([]) == 0.0


def test_annual_return_of_one_year_is_its_total_return() -> None:
    assert risk.annual_return(np.full(252, 0.001)) == pytest.approx(1.001**252 - 1)
    assert risk.annual_return([0.1, -1.0]) == -1.0
