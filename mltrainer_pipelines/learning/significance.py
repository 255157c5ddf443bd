"""What of closed positions is more than chance, in sentences: without any effect one report in twenty has one.

Positions whose holding periods overlap share their market, so that what they earned is judged by blocks of two holding periods
(Cameron & Miller 2015, A Practitioner's Guide to Cluster-Robust Inference, Journal of Human Resources 50(2)), and every group
that is looked at counts (Bonferroni).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Protocol

import numpy as np

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES

LEVEL = 0.05
"""Chance of any sentence in a report on positions without any effect."""
FEW_BLOCKS = 8
"""Blocks below which nothing is said to stand out."""


class ClosedPosition(Protocol):
    """What is asked of a position: when it ended, what it earned, and what was promised."""

    timeframe: str
    closed_session: date
    net_return: float
    profitable: bool
    predicted_probability: float


Groups = Mapping[str, Callable[[Any], str]]


def differences(outcomes: Sequence[Any], samples: Sequence[Any], groups: Groups) -> dict[str, list[str]]:
    """`worked` and `did_not_work`: groups whose mean net return is not zero; `findings`: those that keep other than they
    promised, and whether what the thresholds hold back (`samples`) is worse.

    A group by how a position ended is left out: a target that was reached is a gain by definition.
    """
    told: dict[str, list[str]] = {"worked": [], "did_not_work": [], "findings": []}
    looked_at = [one for one in each_group(outcomes, groups) if one[0] != "exit"]
    tests = 2 * len(looked_at) + 1
    for name, group, rows in looked_at:
        mean, hits = sum(row.net_return for row in rows) / len(rows), sum(row.profitable for row in rows)
        if _mean_is_beyond_chance(rows, [row.net_return for row in rows], tests):
            sentence = f"{name} {group}: {mean:+.2%} a position, {hits} of {len(rows)} with a profit"
            told["worked" if mean > 0 else "did_not_work"].append(sentence)
        gaps = [row.predicted_probability - row.profitable for row in rows]
        if _mean_is_beyond_chance(rows, gaps, tests):
            side, promised = "over-confident" if sum(gaps) > 0 else "under-confident", (sum(gaps) + hits) / len(rows)
            kept = f"{hits / len(rows):.0%} of {len(rows)} came true"
            told["findings"].append(f"{name} {group}: {side}; {promised:.0%} was promised, {kept}")
    if samples and outcomes:
        ours, below = (float(np.mean([row.net_return for row in rows])) for rows in (outcomes, samples))
        pulls = [(row.net_return - ours) / len(outcomes) for row in outcomes]
        pulls += [(below - row.net_return) / len(samples) for row in samples]
        if _beyond_chance([*outcomes, *samples], ours - below, pulls, tests):
            better = "hold back what is worse" if ours > below else "hold back what is better: consider lowering them"
            told["findings"].append(f"the thresholds {better}: {ours:+.2%} a position above them, {below:+.2%} just below")
    return told


def _mean_is_beyond_chance(rows: Sequence[ClosedPosition], values: Sequence[float], tests: int) -> bool:
    mean = float(np.mean(values))
    return _beyond_chance(rows, mean, [(value - mean) / len(rows) for value in values], tests)


def _beyond_chance(rows: Sequence[ClosedPosition], figure: float, pulls: Sequence[float], tests: int) -> bool:
    """Whether a figure is not zero, at `LEVEL` for as many tests together; False where nobody can tell.

    `pulls` is by how much each row moves the figure from what it is: they sum to zero, and vary together within a block.
    """
    from scipy import stats

    length = 2 * max(TIMEFRAMES[row.timeframe].max_sessions for row in rows)
    ended = np.array([row.closed_session for row in rows], dtype="datetime64[D]")
    blocks = np.unique(np.busday_count(ended.min(), ended) // length, return_inverse=True)[1]
    count = int(blocks.max()) + 1
    if count < FEW_BLOCKS:
        return False
    error = math.sqrt(float((np.bincount(blocks, pulls) ** 2).sum()) * count / (count - 1))
    return abs(figure) > error * float(stats.t.ppf(1 - LEVEL / (2 * tests), count - 1)) + 1e-12


def each_group(outcomes: Sequence[object], groups: Groups) -> Iterator[tuple[str, str, list[Any]]]:
    """What outcomes are grouped by, the name of a group and its outcomes, group by group in order of their names."""
    for name, key in groups.items():
        for group in sorted({key(row) for row in outcomes}):
            yield name, group, [row for row in outcomes if key(row) == group]
