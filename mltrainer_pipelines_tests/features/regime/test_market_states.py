import numpy as np
import pytest

from mltrainer_pipelines.features.regime.market_states import STATES, state_probabilities

CRASH, BULL = STATES.index("crash"), STATES.index("bull")


def calm_market(noise: float, sessions: int = 400, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Returns of 0.6 % a session, and mean ranges about 2.4 % that are as noisy as said."""
    random = np.random.default_rng(seed)
    return random.normal(0.0005, 0.006, sessions), 0.024 * np.exp(random.normal(0.0, noise, sessions))


def test_a_calm_market_is_a_bull_market_and_wide_ranges_are_a_crash():
    market, ranges = calm_market(0.05)
    silent = np.zeros(400)
    assert state_probabilities(market, ranges, silent)[-100:, BULL].mean() > 0.9
    ranges[-1] *= 1.8
    assert state_probabilities(market, ranges, silent)[-1, CRASH] > 0.9


def test_the_same_surprise_says_more_where_ranges_are_less_noisy():
    chances = []
    for noise in (0.03, 0.15, 0.4):
        market, ranges = calm_market(noise)
        market[-1], ranges[-1] = 0.0, np.median(ranges[-252:]) * 1.7
        chances.append(state_probabilities(market, ranges, np.zeros(400))[-1, CRASH])
    assert chances[0] > 0.9 > chances[1] > chances[2]


def test_where_members_move_together_a_crash_shows_in_wider_ranges():
    together, apart = 0.012, 0.030  # the same market, of members whose ranges are mostly the market's or mostly their own
    chances = []
    for usual in (together, apart):
        market, ranges = calm_market(0.05)
        ranges *= usual / 0.024
        market[-1], ranges[-1] = 0.0, np.median(ranges[-252:]) * 1.5
        chances.append(state_probabilities(market, ranges, np.zeros(400))[-1, CRASH])
    assert chances[0] < 0.1 < 0.9 < chances[1]


@pytest.mark.parametrize("factor", [0.01, 0.3, 0.9])
def test_a_calmer_day_never_speaks_for_a_crash(factor):
    market, ranges = calm_market(0.05)
    before = state_probabilities(market, ranges, np.zeros(400))[-1, CRASH]
    ranges[-1] *= factor
    assert state_probabilities(market, ranges, np.zeros(400))[-1, CRASH] <= before


def test_a_crash_does_not_blunt_the_eye_for_the_next_one():
    market, ranges = calm_market(0.05)
    wild = np.random.default_rng(8).normal(-0.004, 0.03, 15)
    for start in (250, 330):
        market[start : start + 15], ranges[start : start + 15] = wild, 0.05
    states = state_probabilities(market, ranges, np.zeros(400))
    assert states[[250, 330], CRASH].min() > 0.9
    assert states[[249, 329], CRASH].max() < 0.1


def test_states_do_not_depend_on_what_comes_later():
    market, ranges = calm_market(0.1)
    market[::17], ranges[::23] = np.nan, np.nan
    conditions = np.sin(np.arange(400))
    whole = state_probabilities(market, ranges, conditions)
    for end in (1, 15, 60, 399):
        np.testing.assert_array_equal(state_probabilities(market[:end], ranges[:end], conditions[:end]), whole[:end])
    np.testing.assert_allclose(whole.sum(axis=1), 1.0)


@pytest.mark.parametrize("ranges", [np.full(300, np.nan), np.zeros(300), np.full(300, 0.02)])
def test_constant_zero_and_unknown_ranges_and_returns_give_probabilities(ranges):
    for market in (np.full(300, np.nan), np.zeros(300)):
        states = state_probabilities(market, ranges, np.full(300, np.nan))
        np.testing.assert_allclose(states.sum(axis=1), 1.0)
