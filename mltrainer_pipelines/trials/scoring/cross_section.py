"""Cross-sections: rows of one session beside each other, and nothing of the state that all of them share.

Most of what moves a stock in a few weeks moves all of them. A model that learns which trades end in profit spends its
effort on the handful of market states that it has seen, and takes each for a law. Ranked within their session, features
and outcomes say which symbol is ahead of which, of which every session gives a fresh example.
"""

import numpy as np

from mltrainer_pipelines.contracts.ranks import session_groups

MIN_PEERS = 5
"""Rows with a known outcome below which a session has no middle to compare with."""


def above_median(outcomes: np.ndarray, sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 for each known outcome above the median of its session's, else 0; and whether its session has `MIN_PEERS`.

    Sessions are sorted.
    """
    _, starts = session_groups(sessions)
    sizes = np.diff(starts)
    # ordered by session and then by outcome, the middle of each session is at hand
    ordered = outcomes[np.lexsort((outcomes, np.repeat(np.arange(len(sizes)), sizes)))]
    middle = 0.5 * (ordered[starts[:-1] + (sizes - 1) // 2] + ordered[starts[:-1] + sizes // 2]) if len(outcomes) else sizes
    return (outcomes > np.repeat(middle, sizes)).astype(np.int8), np.repeat(sizes >= MIN_PEERS, sizes)
