"""What is left of a Sharpe ratio once every trial ever run is counted, as the fields of a scorecard."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mltrainer_pipelines.trials.scoring import selection
from mltrainer_pipelines.trials.scoring.forecast import number

ALIKE = 0.1
"""How far the quarters of two looks may be apart, as a share of their size, to be the same trial seen twice."""
SAME_SHARPE = 0.002
"""Difference of daily Sharpe ratios (0.03 a year) up to which nearly identical trials count as one."""


def deflation(sessions: int, of: Mapping[str, Any], trials: int, variance: float) -> dict[str, Any]:
    """The fields of a scorecard that depend on how many trials were ever run, and on the variance of their daily Sharpe ratios.

    `of` holds daily_sharpe, skew, kurtosis, active_sharpe_z and ranking_z, as a scorecard has them.
    """
    benchmark, deflated, deflated_z, active = selection.expected_maximum_sharpe(trials, variance), math.nan, math.nan, math.nan
    if of["daily_sharpe"] is not None:
        deflated_z = selection.sharpe_z(of["daily_sharpe"], sessions, of["skew"], of["kurtosis"], benchmark)
        deflated = NormalDist().cdf(deflated_z)
    if of["active_sharpe_z"] is not None:
        # A worthless trial's active Sharpe ratio is noise of one standard error.
        active = NormalDist().cdf(of["active_sharpe_z"] - selection.expected_maximum_sharpe(trials, 1.0))
    return {
        "trials_counted": trials,
        "expected_maximum_sharpe": benchmark,
        "deflated_sharpe": number(deflated),
        "deflated_sharpe_z": number(deflated_z),
        "active_deflated_sharpe": number(active),
        "ranking_luck": None if of["ranking_z"] is None else luck_of_best(of["ranking_z"], trials),
    }


def luck_of_best(z: float, trials: int) -> float:
    """Probability that the best of so many independent worthless trials lies at least `z` standard errors above zero.

    >>> [round(luck_of_best(3.0, trials), 4) for trials in (1, 4, 100)]
    [0.0013, 0.0054, 0.1264]
    """
    return -math.expm1(trials * math.log1p(-NormalDist().cdf(-z)))


def trial_variance(daily_sharpes: Sequence[float | None], sessions: int) -> float:
    """Variance of the trials' daily Sharpe ratios, and at least that of a worthless trial's estimate over so many sessions."""
    sharpes = np.array([value for value in daily_sharpes if value is not None and math.isfinite(value)])
    return max(float(sharpes.var(ddof=1)) if sharpes.size > 1 else 0.0, 1.0 / max(sessions - 1, 1))


@dataclass(frozen=True)
class Look:
    """One scoring of something on a market: whose it was, over what, at which cost, and what its book earned.

    `quarters` has the mean daily return of each calendar quarter; `daily_sharpe` is None where no book was ever held.
    """

    subject: str
    timeframe: str
    first_session: date
    cost_bps: float | None
    sessions: int
    daily_sharpe: float | None
    quarters: Mapping[str, float]


@dataclass(frozen=True)
class Luck:
    """What chance had to choose from: how many different trials, and the variance of their daily Sharpe ratios."""

    trials: int
    variance: float


def luck_of(looks: Sequence[Look], never_scored: int = 0) -> Luck:
    """How many different trials the looks are, and those that were never scored beside them, each of which counts.

    Looks over another span of time or at another cost are other trials, whatever they looked at. Of one span and cost, looks
    whose quarters lie within a tenth of each other are one trial where they are of one subject (scored again as data came in) or
    their daily Sharpe ratios are within `SAME_SHARPE` (nearly identical trials). What was never scored has looks without
    sessions: each subject counts once, unless it was scored later.
    """
    groups: dict[tuple[str, date, float | None], list[Look]] = {}
    scored = [look for look in looks if look.sessions]
    never_scored += len({look.subject for look in looks} - {look.subject for look in scored})
    for look in scored:
        first = look.first_session.replace(month=(look.first_session.month - 1) // 3 * 3 + 1, day=1)
        groups.setdefault((look.timeframe, first, look.cost_bps), []).append(look)
    different = [look for group in groups.values() for look in _different(group)]
    variance = trial_variance([look.daily_sharpe for look in different], max((look.sessions for look in different), default=0))
    return Luck(max(len(different) + never_scored, 1), variance)


def _different(group: Sequence[Look]) -> list[Look]:
    """Of looks over one span at one cost, one for each trial that is different; the newest of a subject comes last."""
    names = {name: place for place, name in enumerate(sorted({name for look in group for name in look.quarters}))}
    means = np.full((len(group), len(names)), np.nan)
    for row, look in enumerate(group):
        means[row, [names[name] for name in look.quarters]] = list(look.quarters.values())

    def alike(row: int, others: list[int]) -> NDArray[np.bool_]:
        apart = np.nansum((means[others] - means[row]) ** 2, axis=1)
        common = np.isfinite(means[others] - means[row])
        return cast(NDArray[np.bool_], apart <= ALIKE**2 * (np.where(common, means[row], 0.0) ** 2).sum(axis=1))

    newest: dict[str, list[int]] = {}
    for row in range(len(group) - 1, -1, -1):
        kept = newest.setdefault(group[row].subject, [])
        if not kept or not alike(row, kept).any():
            kept.append(row)
    rows = [row for kept in newest.values() for row in kept]
    leaders = [row for row in rows if group[row].daily_sharpe is None]
    near: list[int] = []
    for row in sorted(set(rows) - set(leaders), key=lambda row: (group[row].daily_sharpe or 0.0, group[row].subject)):
        sharpe = group[row].daily_sharpe or 0.0
        near = [other for other in near if sharpe - (group[other].daily_sharpe or 0.0) <= SAME_SHARPE]
        if near and alike(row, near).any():
            continue
        near.append(row)
        leaders.append(row)
    return [group[row] for row in leaders]
