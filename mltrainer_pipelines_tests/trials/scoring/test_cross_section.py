import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from mltrainer_pipelines.contracts.ranks import session_percentiles, session_ranks
from mltrainer_pipelines.trials.scoring.cross_section import MIN_PEERS, above_median

VALUES = st.one_of(st.sampled_from([0.0, 1.0, float("nan")]), st.floats(-100, 100, width=32))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), VALUES), min_size=1, max_size=40))
def test_ranks_are_those_of_scipy_within_the_session_whatever_the_order_of_rows(rows):
    sessions = np.array([session for session, _ in rows])
    values = np.array([[value] for _, value in rows], dtype=np.float32)
    ranked = session_ranks(values, sessions)[:, 0]
    for session in set(sessions.tolist()):
        inside = (sessions == session) & ~np.isnan(values[:, 0])
        expected = (rankdata(values[inside, 0]) - 0.5) / max(1, inside.sum()) - 0.5
        np.testing.assert_allclose(ranked[inside], expected, atol=1e-6)
    assert (ranked[np.isnan(values[:, 0])] == 0).all()


def test_what_all_symbols_of_a_session_share_is_neutral():
    sessions = np.repeat([3, 5], 10)
    market = np.repeat(np.array([[0.2], [-0.9]], dtype=np.float32), 10, axis=0)
    assert not session_ranks(market, sessions).any()


def test_a_session_is_ranked_alike_alone_and_among_others():
    rng = np.random.default_rng(0)
    X, sessions = rng.standard_normal((300, 4)).astype(np.float32), np.repeat(np.arange(10), 30)
    together = session_ranks(X, sessions)
    np.testing.assert_array_equal(together[60:90], session_ranks(X[60:90], sessions[60:90]))
    order = rng.permutation(300)
    np.testing.assert_array_equal(session_ranks(X[order], sessions[order]), together[order])


def test_percentiles_lie_inside_zero_and_one_and_a_row_alone_is_in_the_middle():
    scores, sessions = np.array([0.9, 0.1, 0.5, 0.7]), np.array([1, 1, 2, 1])
    np.testing.assert_allclose(session_percentiles(scores, sessions), [5 / 6, 1 / 6, 0.5, 0.5])
    assert session_percentiles(np.empty(0), np.empty(0)).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1, width=32)), min_size=1, max_size=40))
def test_the_relative_label_compares_with_the_median_of_the_session(rows):
    rows = sorted(rows, key=lambda row: row[0])
    sessions, outcomes = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    above, usable = above_median(outcomes, sessions)
    for session in set(sessions.tolist()):
        inside = sessions == session
        np.testing.assert_array_equal(above[inside], outcomes[inside] > np.median(outcomes[inside]))
        assert (usable[inside] == (inside.sum() >= MIN_PEERS)).all()


@pytest.mark.parametrize("features", [50])
def test_a_panel_of_six_years_is_ranked_in_moments(features):
    rng = np.random.default_rng(0)
    X, sessions = rng.standard_normal((120 * 1300, features)).astype(np.float32), np.repeat(np.arange(1300), 120)
    session_ranks(X[:120], sessions[:120])
    begin = time.process_time()
    session_ranks(X, sessions)
    assert time.process_time() - begin < 1.5  # 0.4 s on a quiet core
