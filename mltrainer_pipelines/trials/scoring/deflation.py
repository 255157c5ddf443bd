"""What is left of a Sharpe ratio once every trial ever run is counted, as the fields of a scorecard."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from mltrainer_pipelines.trials.scoring import selection
from mltrainer_pipelines.trials.scoring.forecast import number


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
    """Variance of the trials' daily Sharpe ratios; of a worthless trial's estimate where fewer than two are known."""
    sharpes = np.array([value for value in daily_sharpes if value is not None and math.isfinite(value)])
    return float(sharpes.var(ddof=1)) if sharpes.size > 1 else 1.0 / max(sessions - 1, 1)
