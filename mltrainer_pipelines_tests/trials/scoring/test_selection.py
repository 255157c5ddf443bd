import math

import numpy as np
import pytest

from mltrainer_pipelines.trials.scoring import risk, selection, skill


def test_deflated_sharpe_gives_the_numbers_of_the_paper() -> None:
    # Bailey & López de Prado (2014), "A numerical example": annual SR 2.5 of the best of 100 trials, variance 1/2,
    # 1250 days (250 a year), skewness -3, kurtosis 10.
    daily, variance = 2.5 / math.sqrt(250), 0.5 / 250
    assert selection.expected_maximum_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    assert selection.deflated_sharpe(daily, 1250, -3, 10, 100, variance) == pytest.approx(0.9004, abs=5e-5)
    assert selection.deflated_sharpe(daily, 1250, -3, 10, 46, variance) == pytest.approx(0.9505, abs=5e-5)
    assert selection.deflated_sharpe(daily, 1250, 0, 3, 88, variance) == pytest.approx(0.9505, abs=5e-5)


def test_probabilistic_sharpe_gives_the_numbers_of_the_paper() -> None:
    # Bailey & López de Prado (2012), section 5: 24 months, monthly SR 0.458, skewness -2.448, kurtosis 10.164.
    assert selection.probabilistic_sharpe(0.458, 24) == pytest.approx(0.982, abs=5e-4)
    assert selection.probabilistic_sharpe(0.458, 24, -2.448, 10.164) == pytest.approx(0.913, abs=5e-4)


def test_one_trial_is_not_deflated_and_more_trials_are_deflated_more() -> None:
    bars = [selection.expected_maximum_sharpe(trials, 0.002) for trials in (1, 2, 3, 10, 100, 10_000)]
    assert bars[0] == 0.0
    assert bars == sorted(bars)


def test_the_expected_maximum_is_that_of_simulated_worthless_trials() -> None:
    best = np.random.default_rng(0).normal(0, 0.05, (4000, 50)).max(axis=1).mean()
    assert selection.expected_maximum_sharpe(50, 0.05**2) == pytest.approx(best, rel=0.02)


def test_input_that_is_not_numbers_in_a_row_is_named() -> None:
    with pytest.raises(ValueError, match="returns has 1 values that are not finite"):
        risk.sharpe_ratio([0.1, math.nan])
    with pytest.raises(ValueError, match="probability and outcome: 2 and 3 rows"):
        skill.brier_score([0.1, 0.2], [1, 0, 1])
    with pytest.raises(ValueError, match="trials=0"):
        selection.expected_maximum_sharpe(0, 0.1)


def test_the_best_of_worthless_trials_is_overfitted_every_other_time_and_a_good_one_is_not():
    rng = np.random.default_rng(4)
    found = [selection.probability_of_overfitting(rng.normal(0, 0.01, (500, 20))) for _ in range(30)]
    assert 0.35 < np.mean(found) < 0.65
    good = rng.normal(0, 0.01, (500, 20))
    good[:, 7] += 0.004
    assert selection.probability_of_overfitting(good) == 0.0
    assert np.isnan(selection.probability_of_overfitting(np.zeros((500, 3))))
    with pytest.raises(ValueError, match="even number"):
        selection.probability_of_overfitting(good, blocks=7)
