"""How sure a number is, where values depend on those before them.

Sources
-------
Lo (2002), The Statistics of Sharpe Ratios, Financial Analysts Journal 58(4), appendix A (GMM).
Newey & West (1987), Econometrica 55(3): the Bartlett-weighted long-run variance.
Politis & Romano (1994), The Stationary Bootstrap, JASA 89(428).
"""

import math
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltrainer_pipelines.trials.scoring.series import Floats, finite


def long_run_variance(values: ArrayLike, lags: int) -> float:
    """Variance of the mean times n, with autocovariances up to `lags` in Bartlett weights (Newey & West 1987)."""
    from statsmodels.stats.sandwich_covariance import S_hac_simple

    x = finite(values, "values")
    if lags < 0:
        raise ValueError(f"lags={lags}: give 0 or the number of periods over which values overlap")
    return max(float(S_hac_simple(x - x.mean(), nlags=lags)[0, 0]), 0.0) / x.size


def mean_t_statistic(values: ArrayLike, lags: int) -> float:
    """t of the mean being zero, with the Newey–West standard error over `lags` periods; NaN below 3 values."""
    x = finite(values, "values")
    if x.size < 3:
        return math.nan
    variance = long_run_variance(x, lags) / (x.size - 1)
    return float(x.mean()) / math.sqrt(variance) if variance > 0 else math.nan


def stationary_bootstrap(
    values: ArrayLike,
    statistic: Callable[[Floats], Floats],
    block: float,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic under the stationary bootstrap (Politis & Romano 1994); NaN below 2 values.

    All resamples are made at once, where arch's `StationaryBootstrap` asks for one after the other: a tenth of the time.
    Values are in time order; the statistic maps (draws, periods) to (draws,). `block` is the expected length in periods: at
    least as long as the dependence (overlapping labels: the horizon).
    """
    x = finite(values, "values")
    if block < 1 or not 0 < level < 1:
        raise ValueError(f"block={block}, level={level}: give a block of at least 1 period and a level between 0 and 1")
    if x.size < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    samples = []
    batch = max(1, int(4_000_000 // x.size))
    for start in range(0, draws, batch):
        index = _block_indices(rng, min(batch, draws - start), x.size, block)
        samples.append(np.asarray(statistic(x[index]), dtype=np.float64))
    sample = np.concatenate(samples)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return math.nan, math.nan
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _block_indices(rng: np.random.Generator, draws: int, periods: int, block: float) -> NDArray[np.int64]:
    restarts = rng.random((draws, periods)) < 1.0 / block
    restarts[:, 0] = True
    place = np.arange(periods)
    last = np.maximum.accumulate(np.where(restarts, place, 0), axis=1)
    starts = rng.integers(0, periods, (draws, periods))
    return cast(NDArray[np.int64], (np.take_along_axis(starts, last, axis=1) + place - last) % periods)
