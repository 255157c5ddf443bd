"""Return and risk of periodic returns.

Sharpe ratios are **per period** (daily in, daily out) unless a name says annual: the papers' formulas hold per period
only. A number that does not exist, such as the Sharpe ratio of constant returns, is NaN, never zero.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from mltrainer_pipelines.trials.scoring.effective_sample import mean_over_time
from mltrainer_pipelines.trials.scoring.series import Floats, finite

SESSIONS_PER_YEAR = 252


def daily_sharpe(returns: ArrayLike) -> float:
    """Mean of the returns over their standard deviation (n − 1), per period; NaN where nothing varies."""
    r = finite(returns, "returns")
    if r.size < 2:
        return math.nan
    deviation = float(r.std(ddof=1))
    return float(r.mean()) / deviation if deviation > 1e-12 * max(1.0, abs(float(r.mean()))) else math.nan


def sharpe_ratio(returns: ArrayLike, periods_per_year: int = SESSIONS_PER_YEAR) -> float:
    """Annualised Sharpe ratio of periodic returns above cash, which earns nothing here."""
    return daily_sharpe(returns) * math.sqrt(periods_per_year)


def annual_return(returns: ArrayLike, periods_per_year: int = SESSIONS_PER_YEAR) -> float:
    """Compound return a year: what one dollar became, to the power of years."""
    r = finite(returns, "returns")
    if r.size == 0:
        return math.nan
    wealth = float(np.prod(1.0 + r))
    return wealth ** (periods_per_year / r.size) - 1.0 if wealth > 0 else -1.0


def maximum_drawdown(returns: ArrayLike) -> float:
    """Deepest fall of compounded wealth below its running peak, as a positive fraction (0.2 = 20 % lost)."""
    series = drawdowns(returns)
    return float(-series.min()) if series.size else 0.0


def drawdowns(returns: ArrayLike) -> Floats:
    """Wealth over its running peak, less one, after each period; the first dollar counts as a peak."""
    wealth = np.cumprod(1.0 + finite(returns, "returns"))
    return wealth / np.maximum(np.maximum.accumulate(wealth), 1.0) - 1.0


def moments(returns: ArrayLike) -> tuple[float, float]:
    """Skewness and (not excess) kurtosis, population moments: 0 and 3 for a normal distribution."""
    r = finite(returns, "returns")
    centred = r - r.mean()
    variance = float((centred**2).mean()) if r.size else 0.0
    if variance <= 0:
        return math.nan, math.nan
    return float((centred**3).mean()) / variance**1.5, float((centred**4).mean()) / variance**2


def sharpe_standard_error(returns: ArrayLike, lags: int = 0) -> float:
    """Standard error of `daily_sharpe`, right under skew, fat tails and, with `lags`, autocorrelation.

    The GMM estimate of Lo (2002): the long-run variance of the Sharpe ratio's influence function,
    over `lags` by `mean_over_time`. With `lags=0` it is Mertens' formula, the one inside the
    probabilistic Sharpe ratio: sqrt((1 − skew·SR + (kurtosis − 1)/4·SR²) / (n − 1)).
    """
    r = finite(returns, "returns")
    sharpe = daily_sharpe(r)
    if math.isnan(sharpe):
        return math.nan
    z = (r - r.mean()) / r.std()
    influence = z - sharpe / 2 * (z**2 - 1.0)
    return mean_over_time(influence, lags).error
