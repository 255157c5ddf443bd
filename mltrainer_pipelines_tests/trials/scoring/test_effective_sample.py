import numpy as np
import pytest
from scipy import stats

from mltrainer_pipelines.trials.scoring.effective_sample import effective_rows, mean_over_time


def overlapping_noise(horizon: int, sessions: int, markets: int = 1000) -> np.ndarray:
    """Sums of `horizon` independent daily surprises, as outcomes that were decided a session apart have them in common."""
    daily = np.random.default_rng(horizon + sessions).standard_t(5, (markets, sessions + horizon - 1))
    sums = np.cumsum(np.pad(daily, ((0, 0), (1, 0))), axis=1)
    return sums[:, horizon:] - sums[:, :-horizon]


def test_without_overlap_it_is_the_textbook_mean() -> None:
    values = np.random.default_rng(1).standard_t(5, 1000) * 0.01 + 0.0005
    mean = mean_over_time(values, 0)
    textbook = stats.ttest_1samp(values, 0.0)
    assert mean.t == pytest.approx(textbook.statistic)
    assert mean.interval() == pytest.approx(tuple(textbook.confidence_interval(0.95)))


@pytest.mark.parametrize("horizon", [12, 70])
@pytest.mark.parametrize("sessions", [750, 1260])
def test_outcomes_that_overlap_reject_and_cover_as_often_as_they_say(horizon: int, sessions: int) -> None:
    means = [mean_over_time(values, horizon) for values in overlapping_noise(horizon, sessions)]
    rejected = np.mean([abs(mean.z) > 1.96 for mean in means])
    covered = np.mean([low <= 0.0 <= high for low, high in (mean.interval() for mean in means)])
    assert 0.03 <= rejected <= 0.07
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("horizon", [12, 70])
def test_independent_values_are_not_judged_more_strictly_than_by_a_third(horizon: int) -> None:
    values = np.random.default_rng(horizon).standard_normal((1000, 750))
    assert 0.03 <= np.mean([abs(mean_over_time(row, horizon).z) > 1.96 for row in values]) <= 0.06


def test_what_two_holding_periods_cannot_tell_is_unknown() -> None:
    mean = mean_over_time(np.arange(100.0), 70)
    assert np.isnan([mean.t, mean.z, *mean.interval()]).all()
    assert np.isnan(mean_over_time([], 12).mean)


def test_what_cannot_be_a_series_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap=-1"):
        mean_over_time([1.0, 2.0, 3.0], -1)
    with pytest.raises(ValueError, match="level=95"):
        mean_over_time([1.0, 2.0, 3.0], 1).interval(95)


def test_rows_that_share_their_surprise_are_worth_one_outcome_a_block() -> None:
    rng = np.random.default_rng(2)
    rows = np.full(200, 50.0)
    apart = rng.binomial(50, 0.5, 200) - 25.0
    shared = 50.0 * rng.binomial(1, 0.5, 200) - 25.0
    assert effective_rows(rows, apart, 0.25) > 8_000
    assert effective_rows(rows, shared, 0.25) == pytest.approx(200, rel=0.2)
    assert effective_rows([40.0, 60.0], [3.0, -2.0], 0.25) == 2
