"""Where rows are in time, and where a symbol's past is."""

import numpy as np
import pytest

from mltrainer_pipelines.models.panel import History, canonical_order, panel_groups, sessions_of


def test_windows_hold_the_last_sessions_of_the_same_symbol_and_mark_what_is_not_there():
    # symbol 2 is missing from session 11
    groups = panel_groups(np.array([10, 10, 11, 12, 12]), np.array([1, 2, 1, 1, 2]))
    windows = History.of(groups, 5).windows(np.arange(5), 3)
    assert windows.tolist() == [[-1, -1, 0], [-1, -1, 1], [-1, 0, 2], [0, 2, 3], [1, -1, 4]]
    assert History.of(groups, 5).windows(np.array([3, 4]), 2, step=2).tolist() == [[0, 3], [1, 4]]


def test_rows_without_symbols_have_no_past():
    assert History.of(None, 3).windows(np.arange(3), 2).tolist() == [[-1, 0], [-1, 1], [-1, 2]]
    assert sessions_of(None, 3).tolist() == [0, 1, 2]


def test_the_same_symbol_twice_in_a_session_is_refused():
    with pytest.raises(ValueError, match="the same session and symbol twice"):
        History.of(panel_groups(np.array([1, 1]), np.array([5, 5])), 2)


def test_the_canonical_order_keeps_sessions_and_forgets_the_order_within_them():
    rng = np.random.default_rng(0)
    X, y, sessions = rng.standard_normal((60, 3)).astype(np.float32), rng.integers(0, 2, 60), np.repeat(np.arange(6), 10)
    shuffled = np.lexsort((rng.random(60), sessions))
    one, two = canonical_order(X, y, sessions), canonical_order(X[shuffled], y[shuffled], sessions[shuffled])
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(X[one], X[shuffled][two])
    np.testing.assert_array_equal(sessions[one], sessions)
    assert canonical_order(X, y, None) is None
