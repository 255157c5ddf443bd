"""What a Sharpe ratio is worth after it was picked as the best of many.

Sources
-------
Bailey & López de Prado (2012), The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2): eqs 8, 11.
Bailey & López de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5): eqs 1, 2.
Bailey, Borwein, López de Prado & Zhu (2017), The Probability of Backtest Overfitting, Journal of Computational Finance 20(4).
"""

import math
from itertools import combinations
from statistics import NormalDist
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from mltrainer_pipelines.trials.scoring.series import Floats

_EULER_MASCHERONI = float(np.euler_gamma)
_NORMAL = NormalDist()


def probabilistic_sharpe(sharpe: float, periods: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark`, both per period (Bailey & López de Prado 2012, eq. 11).

    `periods` returns are behind it; their kurtosis is 3 for a normal distribution.
    """
    return _NORMAL.cdf(sharpe_z(sharpe, periods, skew, kurtosis, benchmark)) if math.isfinite(sharpe) else math.nan


def sharpe_z(sharpe: float, periods: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0) -> float:
    """Standard errors between a Sharpe ratio and a benchmark: what `probabilistic_sharpe` is the normal cdf of.

    Unlike the probability it does not saturate, so it ranks trials that are all near 1 (or near 0).
    """
    if periods < 3 or not math.isfinite(sharpe):
        return math.nan
    spread = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    return (sharpe - benchmark) * math.sqrt(periods - 1) / math.sqrt(max(spread, 1e-12))


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """Best per-period Sharpe ratio to expect from `trials` worthless trials (Bailey & López de Prado 2014, eq. 1).

    Failed and discarded trials count; `variance` is that of their per-period Sharpe ratios.
    """
    if trials < 1:
        raise ValueError(f"trials={trials}: the trial itself counts, so there is at least 1")
    if not variance >= 0:
        raise ValueError(f"variance={variance}: the variance of the trials' Sharpe ratios cannot be negative or unknown")
    if trials == 1:
        return 0.0
    quantile = _NORMAL.inv_cdf
    typical = (1 - _EULER_MASCHERONI) * quantile(1 - 1 / trials) + _EULER_MASCHERONI * quantile(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * typical


def deflated_sharpe(sharpe: float, periods: int, skew: float, kurtosis: float, trials: int, variance: float) -> float:
    """Probability that a trial picked as the best of `trials` has a true Sharpe ratio above zero.

    The probabilistic Sharpe ratio against `expected_maximum_sharpe` (Bailey & López de Prado 2014, eq. 2); `sharpe` and
    `variance` are per period. A daily Sharpe ratio of 0.1 over five years is hardly luck alone, and may be the best of a hundred
    trials:

    >>> [round(deflated_sharpe(0.1, 1260, 0.0, 3.0, trials, variance=1 / 1259), 3) for trials in (1, 10, 100)]
    [1.0, 0.976, 0.845]
    """
    return probabilistic_sharpe(sharpe, periods, skew, kurtosis, expected_maximum_sharpe(trials, variance))


def probability_of_overfitting(returns: ArrayLike, blocks: int = 10) -> float:
    """How often the best trial in one half of time is below the median of all in the other: picking it learnt nothing.

    Combinatorially symmetric cross-validation (Bailey, Borwein, López de Prado & Zhu 2017): time is cut into an even number of
    blocks, each longer than returns depend on each other; every choice of half of them is once the sample in which the trial of
    the highest Sharpe ratio is picked, and the rest is where its rank among all is looked at. About one half where all trials
    are worthless. Returns are (periods, trials), of every trial ever run, over the same periods in time order; NaN comes of
    fewer than two trials that vary.
    """
    matrix = np.asarray(returns, dtype=np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError("returns: give a table of finite numbers, a row a period and a column a trial")
    if blocks < 2 or blocks % 2 or matrix.shape[0] < 2 * blocks:
        raise ValueError(f"blocks={blocks} for {matrix.shape[0]} periods: give an even number, and at least two periods a block")
    parts = np.array_split(matrix[:, matrix.std(axis=0) > 0], blocks)
    count = np.array([np.full(part.shape[1], len(part)) for part in parts], dtype=np.float64)
    return overfitting_of_blocks(
        count, np.array([part.sum(axis=0) for part in parts]), np.array([(part**2).sum(axis=0) for part in parts])
    )


def overfitting_of_blocks(count: Floats, sums: Floats, squares: Floats) -> float:
    """`probability_of_overfitting` from what each trial's returns add up to in each block of time, (blocks, trials) each.

    A trial that was not run over a block has none there, and is neither picked nor ranked in a half of which it has none.
    """
    if count.shape[0] < 2 or count.shape[0] % 2:
        raise ValueError(f"{count.shape[0]} blocks of time: give an even number")
    if count.shape[1] < 2:
        return math.nan

    def sharpes(chosen: list[int]) -> Floats:
        periods = count[chosen].sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = sums[chosen].sum(axis=0) / periods
            variance = squares[chosen].sum(axis=0) / periods - mean**2
            return cast(Floats, np.where(variance > 1e-18, mean / np.sqrt(np.maximum(variance, 1e-18)), np.nan))

    below = judged = 0
    for chosen in combinations(range(count.shape[0]), count.shape[0] // 2):
        here = sharpes(list(chosen))
        there = sharpes([block for block in range(count.shape[0]) if block not in chosen])
        ranked = np.isfinite(there)
        if np.isnan(here).all() or ranked.sum() < 2:
            continue
        best = there[int(np.nanargmax(here))]
        if math.isnan(best):
            continue
        # ties share their average rank
        rank = float((there[ranked] < best).sum()) + (float((there[ranked] == best).sum()) + 1.0) / 2.0
        below, judged = below + (rank / (float(ranked.sum()) + 1.0) <= 0.5), judged + 1
    return below / judged if judged else math.nan
