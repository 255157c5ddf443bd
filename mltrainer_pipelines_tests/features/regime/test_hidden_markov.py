import itertools

import numpy as np
import pytest
from scipy.stats import norm

from mltrainer_pipelines.features.regime.hidden_markov import HiddenMarkovModel, normal_log_likelihoods

MODEL = HiddenMarkovModel(np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([1.0, -1.0]))


@pytest.fixture
def seen():
    return np.random.default_rng(4).normal(0.0, 1.0, (8, 2))


def test_a_state_is_as_likely_as_all_the_paths_that_lead_to_it(seen):
    found = MODEL.filtered(seen, np.zeros(8))
    start = np.array([0.75, 0.25])
    for last in range(8):
        weights = np.zeros(2)
        for path in itertools.product((0, 1), repeat=last + 1):
            chance = (start @ MODEL.transition)[path[0]]
            chance *= np.prod([MODEL.transition[a, b] for a, b in itertools.pairwise(path)])
            weights[path[-1]] += chance * np.exp(sum(seen[t, state] for t, state in enumerate(path)))
        np.testing.assert_allclose(found[last], weights / weights.sum())


def test_what_comes_later_changes_nothing(seen):
    conditions = np.linspace(-1.0, 1.0, 8)
    whole = MODEL.filtered(seen, conditions)
    for end in (1, 3, 7):
        np.testing.assert_array_equal(MODEL.filtered(seen[:end], conditions[:end]), whole[:end])


def test_good_conditions_make_the_better_state_likelier():
    silence = np.zeros((60, 2))
    good, neutral, bad = (MODEL.filtered(silence, np.full(60, c))[-1, 0] for c in (1.0, 0.0, -1.0))
    assert neutral == pytest.approx(0.75)
    assert bad < neutral < good
    np.testing.assert_array_equal(MODEL.filtered(silence, np.full(60, np.nan)), MODEL.filtered(silence, np.zeros(60)))


def test_an_unknown_observation_says_nothing():
    observed, means, deviations = np.array([0.5, np.nan, -2.0]), np.array([0.0, 1.0]), np.array([[1.0, 2.0]] * 3)
    found = normal_log_likelihoods(observed, means, deviations)
    assert found[1].tolist() == [0.0, 0.0]
    expected = norm.logpdf(observed[[0, 2], None], means, deviations[0]) + 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(found[[0, 2]], expected)
