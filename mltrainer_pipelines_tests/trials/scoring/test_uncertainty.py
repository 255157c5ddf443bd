import math

import numpy as np
import pytest

from mltrainer_pipelines.trials.scoring import uncertainty


def random_returns(seed: int = 1, periods: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(5, periods) * 0.01 + 0.0005


def test_without_lags_the_t_statistic_is_the_textbook_one() -> None:
    from scipy import stats

    values = random_returns()
    assert uncertainty.mean_t_statistic(values, 0) == pytest.approx(stats.ttest_1samp(values, 0.0).statistic)


def test_overlap_that_is_ignored_finds_skill_in_noise_and_newey_west_does_not() -> None:
    rng = np.random.default_rng(4)
    naive, robust = [], []
    for _ in range(300):
        overlapping = np.convolve(rng.normal(size=1011), np.ones(12), "valid")
        naive.append(abs(uncertainty.mean_t_statistic(overlapping, 0)) > 3)
        robust.append(abs(uncertainty.mean_t_statistic(overlapping, 12)) > 3)
    assert np.mean(naive) > 0.25
    assert np.mean(robust) < 0.03


def test_bootstrap_interval_of_independent_returns_is_the_textbook_one() -> None:
    values = np.random.default_rng(5).normal(0.001, 0.01, 2000)
    low, high = uncertainty.stationary_bootstrap(values, lambda sample: sample.mean(axis=1), block=1, draws=2000)
    error = 1.96 * values.std(ddof=1) / math.sqrt(values.size)
    assert low == pytest.approx(values.mean() - error, abs=error * 0.1)
    assert high == pytest.approx(values.mean() + error, abs=error * 0.1)


def test_bootstrap_keeps_blocks_together() -> None:
    values = np.repeat(np.random.default_rng(6).normal(size=100), 10)

    def width(block: float) -> float:
        low, high = uncertainty.stationary_bootstrap(values, lambda sample: sample.mean(axis=1), block)
        return high - low

    assert width(20) > 1.8 * width(1)
    assert width(20) == width(20)


def test_bootstrap_indices_restart_as_often_as_the_block_length_says() -> None:
    index = uncertainty._block_indices(np.random.default_rng(7), 500, 400, 8.0)
    assert index.min() >= 0
    assert index.max() < 400
    follows = (np.diff(index, axis=1) % 400 == 1).mean()
    assert follows == pytest.approx(1 - 1 / 8, abs=0.01)
