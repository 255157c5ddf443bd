"""Ranks within a session: what a session's rows become does not depend on other sessions.

Source: Gu, Kelly, Xiu (2020), Empirical Asset Pricing via Machine Learning, Review of Financial Studies 33(5), section 2.1.
"""

import numpy as np
import polars as pl


def session_ranks(X: np.ndarray, sessions: np.ndarray) -> np.ndarray:
    """Each feature as its centred rank among the rows of the same session.

    X is (rows, features) of float32, NaN where unknown; `sessions` (rows,), equal for rows of one session, in any order. Give
    every row of a session: ranks are among the rows given. The result has X's shape in float32, from -0.5 to 0.5, ties at their
    mean; 0, the middle, where unknown or the same for all.
    """
    from mltrainer_pipelines.contracts.rank_kernels import centred_ranks

    order, starts = session_groups(sessions)
    if order is None:
        return centred_ranks(np.ascontiguousarray(X), starts)
    out = np.empty(X.shape, dtype=np.float32)
    out[order] = centred_ranks(np.ascontiguousarray(X[order]), starts)
    return out


def session_percentiles(scores: np.ndarray, sessions: np.ndarray) -> np.ndarray:
    """Where each score stands among those of its session: (rows,) float64, above 0 and below 1, ties at their mean.

    NaN, and the score of a row alone in its session, is 0.5.
    """
    column = np.asarray(scores, dtype=np.float64).reshape(-1, 1)
    return session_ranks(column, sessions)[:, 0].astype(np.float64) + 0.5


def column_percentiles(values: np.ndarray) -> np.ndarray:
    """Share of a column's known values below each one, ties counting half: (rows, columns) float64, NaN where unknown.

    >>> column_percentiles(np.array([[3.0], [1.0], [np.nan], [1.0]])).ravel().round(2).tolist()
    [0.83, 0.33, nan, 0.33]
    """
    ranks = pl.from_numpy(values).select(pl.all().fill_nan(None).rank("average").cast(pl.Float64)).to_numpy()
    return np.asarray((ranks - 0.5) / (~np.isnan(values)).sum(axis=0))


def session_groups(sessions: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The order that puts rows of one session beside each other (None where they are), and where each session starts."""
    sessions = np.asarray(sessions)
    order = None
    if len(sessions) and (sessions[1:] < sessions[:-1]).any():
        order = np.argsort(sessions, kind="stable")
        sessions = sessions[order]
    changes = np.flatnonzero(sessions[1:] != sessions[:-1]) + 1
    return order, np.concatenate([[0], changes, [len(sessions)]]).astype(np.int64) if len(sessions) else np.zeros(1, np.int64)
