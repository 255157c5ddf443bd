"""What the numbers of a trial are worth: risk-adjusted return, forecast skill, and their uncertainty.

Every function is pure NumPy over one-dimensional arrays, in time order where time matters. Sharpe
ratios are **per period** (daily in, daily out) unless a name says annual: the papers' formulas hold
per period only. A number that does not exist (a Sharpe ratio of constant returns, an AUC with one
class) is NaN, never zero.

Sources
-------
Bailey & López de Prado (2012), The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2): eqs 8, 11.
Bailey & López de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5): eqs 1, 2.
Bailey, Borwein, López de Prado & Zhu (2017), The Probability of Backtest Overfitting, Journal of Computational Finance 20(4).
Lo (2002), The Statistics of Sharpe Ratios, Financial Analysts Journal 58(4), appendix A (GMM).
Newey & West (1987), Econometrica 55(3): the Bartlett-weighted long-run variance.
Politis & Romano (1994), The Stationary Bootstrap, JASA 89(428).
Brier (1950), Monthly Weather Review 78(1); Naeini, Cooper & Hauskrecht (2015), AAAI: calibration error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

SESSIONS_PER_YEAR = 252
EULER_MASCHERONI = 0.5772156649015329
_NORMAL = NormalDist()
Floats = NDArray[np.float64]


def _clean(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions; give one number a period")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has {int((~np.isfinite(array)).sum())} values that are not finite; drop or explain them first")
    return array


def _pair(first: ArrayLike, second: ArrayLike, names: str) -> tuple[Floats, Floats]:
    one, two = _clean(first, names.split()[0]), _clean(second, names.split()[-1])
    if one.size != two.size:
        raise ValueError(f"{names}: {one.size} and {two.size} rows; they must be aligned")
    return one, two


# Return and risk


def daily_sharpe(returns: ArrayLike) -> float:
    """Mean of the returns over their standard deviation (n − 1), per period; NaN where nothing varies."""
    r = _clean(returns, "returns")
    if r.size < 2:
        return math.nan
    deviation = float(r.std(ddof=1))
    return float(r.mean()) / deviation if deviation > 1e-12 * max(1.0, abs(float(r.mean()))) else math.nan


def sharpe_ratio(returns: ArrayLike, periods_per_year: int = SESSIONS_PER_YEAR) -> float:
    """Annualised Sharpe ratio of periodic returns above cash, which earns nothing here."""
    return daily_sharpe(returns) * math.sqrt(periods_per_year)


def annual_return(returns: ArrayLike, periods_per_year: int = SESSIONS_PER_YEAR) -> float:
    """Compound return a year: what one dollar became, to the power of years."""
    r = _clean(returns, "returns")
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
    wealth = np.cumprod(1.0 + _clean(returns, "returns"))
    return wealth / np.maximum(np.maximum.accumulate(wealth), 1.0) - 1.0


def moments(returns: ArrayLike) -> tuple[float, float]:
    """Skewness and (not excess) kurtosis, population moments: 0 and 3 for a normal distribution."""
    r = _clean(returns, "returns")
    centred = r - r.mean()
    variance = float((centred**2).mean()) if r.size else 0.0
    if variance <= 0:
        return math.nan, math.nan
    return float((centred**3).mean()) / variance**1.5, float((centred**4).mean()) / variance**2


def sharpe_standard_error(returns: ArrayLike, lags: int = 0) -> float:
    """Standard error of `daily_sharpe`, right under skew, fat tails and, with `lags`, autocorrelation.

    The GMM estimate of Lo (2002): the long-run variance of the Sharpe ratio's influence function,
    Bartlett-weighted over `lags`. With `lags=0` it is Mertens' formula, the one inside the
    probabilistic Sharpe ratio: sqrt((1 − skew·SR + (kurtosis − 1)/4·SR²) / (n − 1)).
    """
    r = _clean(returns, "returns")
    sharpe = daily_sharpe(r)
    if math.isnan(sharpe):
        return math.nan
    z = (r - r.mean()) / r.std()
    influence = z - sharpe / 2 * (z**2 - 1.0)
    return math.sqrt(long_run_variance(influence, lags) / (r.size - 1))


def long_run_variance(values: ArrayLike, lags: int) -> float:
    """Variance of the mean times n, with autocovariances up to `lags` in Bartlett weights (Newey & West 1987)."""
    x = _clean(values, "values")
    if lags < 0:
        raise ValueError(f"lags={lags}: give 0 or the number of periods over which values overlap")
    x = x - x.mean()
    total = float(x @ x)
    for lag in range(1, min(lags, x.size - 1) + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0)) * float(x[lag:] @ x[:-lag])
    return max(total, 0.0) / x.size


def mean_t_statistic(values: ArrayLike, lags: int) -> float:
    """t of the mean being zero, with the Newey–West standard error over `lags` periods; NaN below 3 values."""
    x = _clean(values, "values")
    if x.size < 3:
        return math.nan
    variance = long_run_variance(x, lags) / (x.size - 1)
    return float(x.mean()) / math.sqrt(variance) if variance > 0 else math.nan


# Selection: what a Sharpe ratio is worth after it was picked


def probabilistic_sharpe(sharpe: float, periods: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark` (Bailey & López de Prado 2012, eq. 11).

    Parameters
    ----------
    sharpe, benchmark : float
        Per period, not annualised.
    periods : int
        Returns behind `sharpe`.
    skew, kurtosis : float
        Of those returns; kurtosis is 3 for a normal distribution.
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

    Parameters
    ----------
    trials : int
        Trials ever run, failed and discarded ones too.
    variance : float
        Variance of their per-period Sharpe ratios.
    """
    if trials < 1:
        raise ValueError(f"trials={trials}: the trial itself counts, so there is at least 1")
    if not variance >= 0:
        raise ValueError(f"variance={variance}: the variance of the trials' Sharpe ratios cannot be negative or unknown")
    if trials == 1:
        return 0.0
    quantile = _NORMAL.inv_cdf
    typical = (1 - EULER_MASCHERONI) * quantile(1 - 1 / trials) + EULER_MASCHERONI * quantile(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * typical


def deflated_sharpe(sharpe: float, periods: int, skew: float, kurtosis: float, trials: int, variance: float) -> float:
    """Probability that a trial picked as the best of `trials` has a true Sharpe ratio above zero.

    The probabilistic Sharpe ratio against `expected_maximum_sharpe` (Bailey & López de Prado 2014,
    eq. 2). `sharpe` and `variance` are per period.
    """
    return probabilistic_sharpe(sharpe, periods, skew, kurtosis, expected_maximum_sharpe(trials, variance))


def probability_of_overfitting(returns: ArrayLike, blocks: int = 10) -> float:
    """How often the best trial in one half of time is below the median of all in the other: picking it learnt nothing.

    Combinatorially symmetric cross-validation (Bailey, Borwein, López de Prado & Zhu 2017): time is cut into an even
    number of blocks, every choice of half of them is once the sample in which the trial of the highest Sharpe ratio is
    picked, and the rest is where its rank among all is looked at. About one half where all trials are worthless.

    Parameters
    ----------
    returns : array of shape (periods, trials)
        Returns of every trial ever run, over the same periods in time order.
    blocks : int
        Even; each should be longer than returns depend on each other.

    Returns
    -------
    float
        Share of the choices with a relative rank of one half or below; NaN with fewer than two trials that vary.
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
    """`probability_of_overfitting` from what each trial's returns add up to in each block of time.

    Parameters
    ----------
    count, sums, squares : array of shape (blocks, trials)
        Returns of each trial in each block, their sum and the sum of their squares. A trial that was not run over a block
        has none there, and is neither picked nor ranked in a half of which it has none.
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
        # ties share their average rank, as in `ranks`
        rank = float((there[ranked] < best).sum()) + (float((there[ranked] == best).sum()) + 1.0) / 2.0
        below, judged = below + (rank / (float(ranked.sum()) + 1.0) <= 0.5), judged + 1
    return below / judged if judged else math.nan


# Forecasts: ranking


def ranks(values: ArrayLike) -> Floats:
    """Ranks from 1, ties sharing their average rank."""
    x = _clean(values, "values")
    order = np.argsort(x, kind="stable")
    ordered = x[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], x.size]
    out = np.empty(x.size)
    out[order] = np.repeat((starts + 1 + ends) / 2.0, ends - starts)
    return out


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's correlation with average ranks for ties; NaN where one side is constant."""
    one, two = _pair(first, second, "first and second")
    if one.size < 2:
        return math.nan
    a, b = ranks(one), ranks(two)
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread > 0 else math.nan


def rank_ics(session: ArrayLike, score: ArrayLike, outcome: ArrayLike, minimum: int = 5) -> tuple[NDArray[np.generic], Floats]:
    """Rank information coefficient of each session: Spearman's correlation of score and later return.

    Parameters
    ----------
    session : array of shape (rows,)
        Anything sortable, such as dates; rows need no order.
    score, outcome : array of shape (rows,)
        The forecast, and the return it was about.
    minimum : int
        Sessions with fewer rows, or with one side constant, give no coefficient.

    Returns
    -------
    sessions, coefficients
        In time order, only where a coefficient exists.
    """
    score, outcome = _pair(score, outcome, "score and outcome")
    days, code = np.unique(np.asarray(session), return_inverse=True)
    if code.size != score.size:
        raise ValueError(f"session and score: {code.size} and {score.size} rows; they must be aligned")
    count = np.bincount(code, minlength=days.size)
    a, b = _ranks_within(code, score, count), _ranks_within(code, outcome, count)
    middle = (count[code] + 1) / 2.0
    a, b = a - middle, b - middle
    products, left, right = (np.bincount(code, weights=w, minlength=days.size) for w in (a * b, a * a, b * b))
    usable = (count >= max(minimum, 2)) & (left > 0) & (right > 0)
    return days[usable], products[usable] / np.sqrt(left[usable] * right[usable])


def _ranks_within(code: NDArray[np.intp], values: Floats, count: NDArray[np.intp]) -> Floats:
    order = np.lexsort((values, code))
    group, ordered = code[order], values[order]
    starts = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]) | (group[1:] != group[:-1])][: values.size])
    ends = np.r_[starts[1:], values.size]
    first = np.r_[0, np.cumsum(count)[:-1]]
    out = np.empty(values.size)
    out[order] = np.repeat((starts + 1 + ends) / 2.0, ends - starts) - first[group]
    return out


def auc(score: ArrayLike, outcome: ArrayLike) -> float:
    """Area under the ROC curve: chance that a row with outcome 1 outscores one with 0, ties counting half."""
    s, y = _pair(score, outcome, "score and outcome")
    positive = y > 0.5
    wins, losses = int(positive.sum()), int((~positive).sum())
    if wins == 0 or losses == 0:
        return math.nan
    return (float(ranks(s)[positive].sum()) - wins * (wins + 1) / 2.0) / (wins * losses)


# Forecasts: probabilities


def log_loss(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean negative log-likelihood of 0/1 outcomes, nats; probabilities are kept 2e-16 away from 0 and 1."""
    p, y = _pair(probability, outcome, "probability and outcome")
    if p.size == 0:
        return math.nan
    p = np.clip(p, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def brier_score(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean squared difference of probability and 0/1 outcome (Brier 1950, for two classes)."""
    p, y = _pair(probability, outcome, "probability and outcome")
    return float(((p - y) ** 2).mean()) if p.size else math.nan


def brier_skill(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Share of the reference's Brier score that the forecast saves; above 0 is skill.

    The reference forecasts, for every row, the base rate of **these same outcomes**: a number nobody
    knew beforehand. That is the harder of the two references in use (a trailing base rate is known, and
    worse or equal), so a skill above 0 is no gift of a drifting base rate.
    """
    p, y = _pair(probability, outcome, "probability and outcome")
    if p.size == 0:
        return math.nan
    reference = float(y.mean() * (1 - y.mean()))
    return 1.0 - brier_score(p, y) / reference if reference > 0 else math.nan


@dataclass(frozen=True)
class Reliability:
    """A reliability curve: per bin of equal mass, what was forecast, what came, and how many rows."""

    forecast: Floats
    observed: Floats
    rows: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the row-weighted mean distance of forecast and observed."""
        total = int(self.rows.sum())
        return float((np.abs(self.forecast - self.observed) * self.rows).sum() / total) if total else math.nan


def reliability(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> Reliability:
    """Reliability in `bins` bins of equal mass; equal probabilities always share a bin.

    Calibrators of the isotonic family give few distinct probabilities. A tie never straddles two bins
    (the result would hang on the order of the rows), so there may be fewer bins than asked for.
    """
    p, y = _pair(probability, outcome, "probability and outcome")
    if bins < 1:
        raise ValueError(f"bins={bins}: give at least 1")
    if p.size == 0:
        return Reliability(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    edges = np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1], method="lower")
    code = np.searchsorted(edges, p, side="left")
    count = np.bincount(code, minlength=bins)
    used = count > 0
    forecast, observed = (np.bincount(code, weights=w, minlength=bins)[used] / count[used] for w in (p, y))
    return Reliability(forecast, observed, count[used].astype(np.int64))


def expected_calibration_error(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> float:
    """Mean distance of forecast and observed frequency over `bins` bins of equal mass (Naeini et al. 2015)."""
    return reliability(probability, outcome, bins).error


# Uncertainty without a formula


def stationary_bootstrap(
    values: ArrayLike,
    statistic: Callable[[Floats], Floats],
    block: float,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic under the stationary bootstrap (Politis & Romano 1994).

    Parameters
    ----------
    values : array of shape (periods,)
        In time order.
    statistic : callable
        Maps an array of shape (draws, periods) to one of shape (draws,).
    block : float
        Expected block length in periods: at least as long as the dependence (overlapping labels: the horizon).
    draws, level, seed
        Resamples, coverage of the interval, and the seed that makes it reproducible.

    Returns
    -------
    low, high : float
        NaN where there are fewer than 2 values.
    """
    x = _clean(values, "values")
    if block < 1 or not 0 < level < 1:
        raise ValueError(f"block={block}, level={level}: give a block of at least 1 period and a level between 0 and 1")
    if x.size < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    found = []
    batch = max(1, int(4_000_000 // x.size))
    for start in range(0, draws, batch):
        index = _block_indices(rng, min(batch, draws - start), x.size, block)
        found.append(np.asarray(statistic(x[index]), dtype=np.float64))
    sample = np.concatenate(found)
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
