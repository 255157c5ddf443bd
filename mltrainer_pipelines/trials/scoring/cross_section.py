"""Cross-sections: rows of one session beside each other, and nothing of the state that all of them share.

Most of what moves a stock in a few weeks moves all of them. A model that is asked which trades end in profit spends its
effort on the handful of market states that it has seen, and takes each for a law. Ranked within their session, features
and outcomes say which symbol is ahead of which, of which every session gives a fresh example.

Everything here is about one session at a time: what a session's rows become does not depend on other sessions.

References
----------
Gu, Kelly, Xiu (2020), Empirical Asset Pricing via Machine Learning, Review of Financial Studies 33(5), section 2.1: features
    ranked cross-sectionally, period by period.
"""

import numpy as np

MIN_PEERS = 5
"""Rows with a known outcome below which a session has no middle to compare with."""


def session_ranks(X: np.ndarray, sessions: np.ndarray) -> np.ndarray:
    """Each feature as its centred rank among the rows of the same session.

    Parameters
    ----------
    X : (rows, features) array of float32
        NaN where unknown.
    sessions : (rows,) array
        Equal for rows of one session; in any order. Give every row of a session: ranks are among the rows given.

    Returns
    -------
    (rows, features) array of float32
        From -0.5 to 0.5, ties at their mean; 0, the middle, where unknown or the same for all.
    """
    from mltrainer_pipelines.contracts import rank_kernels

    order, starts = _groups(sessions)
    if order is None:
        return rank_kernels.centred_ranks(np.ascontiguousarray(X), starts)
    out = np.empty(X.shape, dtype=np.float32)
    out[order] = rank_kernels.centred_ranks(np.ascontiguousarray(X[order]), starts)
    return out


def percentiles(scores: np.ndarray, sessions: np.ndarray) -> np.ndarray:
    """Where each score stands among those of its session: (rows,) float64, above 0 and below 1, ties at their mean.

    NaN, and the score of a row alone in its session, is 0.5.
    """
    scores = np.asarray(scores, dtype=np.float64).reshape(-1, 1)
    from mltrainer_pipelines.contracts import rank_kernels

    order, starts = _groups(sessions)
    ordered = scores if order is None else scores[order]
    ranks = rank_kernels.centred_ranks(np.ascontiguousarray(ordered), starts)[:, 0].astype(np.float64) + 0.5
    if order is None:
        return ranks
    out = np.empty(len(scores))
    out[order] = ranks
    return out


def above_median(outcomes: np.ndarray, sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each outcome is above the median of its session's.

    Parameters
    ----------
    outcomes : (rows,) array
        Known outcomes: no NaN.
    sessions : (rows,) array, sorted

    Returns
    -------
    above : (rows,) array of int8
        1 above the median, else 0.
    usable : (rows,) array of bool
        False for the rows of sessions with fewer than `MIN_PEERS` outcomes.
    """
    _, starts = _groups(sessions)
    sizes = np.diff(starts)
    # ordered by session and then by outcome, the middle of each session is at hand
    ordered = outcomes[np.lexsort((outcomes, np.repeat(np.arange(len(sizes)), sizes)))]
    middle = 0.5 * (ordered[starts[:-1] + (sizes - 1) // 2] + ordered[starts[:-1] + sizes // 2]) if len(outcomes) else sizes
    return (outcomes > np.repeat(middle, sizes)).astype(np.int8), np.repeat(sizes >= MIN_PEERS, sizes)


def _groups(sessions: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The order that puts rows of one session beside each other (None where they are), and where each session starts."""
    sessions = np.asarray(sessions)
    order = None
    if len(sessions) and (sessions[1:] < sessions[:-1]).any():
        order = np.argsort(sessions, kind="stable")
        sessions = sessions[order]
    changes = np.flatnonzero(sessions[1:] != sessions[:-1]) + 1
    return order, np.concatenate([[0], changes, [len(sessions)]]).astype(np.int64) if len(sessions) else np.zeros(1, np.int64)
