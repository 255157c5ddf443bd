"""How much evidence outcomes are that depend on each other: the one rule of every t, interval and weight in mlTrainer.

Outcomes of one holding period share its market and each other's days, so a record holds as many independent outcomes as it
holds holding periods, whatever its number of rows. Two tools follow from that: means over time are judged by a few slow waves
(`mean_over_time`), and rows by how far the totals of their holding periods vary (`effective_rows`).

Sources
-------
Lazarus, Lewis, Stock & Watson (2018), HAR Inference: Recommendations for Practice, JBES 36(4): the equal-weighted cosine
    estimator of a long-run variance, whose t has exactly the critical values of Student's t (fixed-b asymptotics).
Kiefer & Vogelsang (2005), A New Asymptotic Theory for HAC Tests, Econometric Theory 21: why Newey–West with normal critical
    values rejects too often.
Kish (1965), Survey Sampling: the design effect of clustered observations.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from mltrainer_pipelines.trials.scoring.series import finite

WAVES_PER_PERIOD = 0.6
"""Cosine waves, that is degrees of freedom, for each independent holding period of a record."""


@dataclass(frozen=True)
class TimeMean:
    """A mean over time: its standard error, and how many degrees of freedom that error is known with. NaN where neither is."""

    mean: float
    error: float
    degrees: int

    @property
    def t(self) -> float:
        return self.mean / self.error if self.error > 0 else math.nan

    @property
    def z(self) -> float:
        """The t in standard errors of a normal distribution: as improbable as the t is with its degrees of freedom."""
        from scipy import stats

        if not math.isfinite(self.t):
            return math.nan
        tail = float(stats.t.sf(abs(self.t), self.degrees))
        return math.copysign(min(NormalDist().inv_cdf(1 - tail) if tail > 1e-15 else 8.0, 8.0), self.t)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The mean, give or take Student's t times its error."""
        from scipy import stats

        if not 0 < level < 1:
            raise ValueError(f"level={level}: give a level between 0 and 1")
        if not math.isfinite(self.error):
            return math.nan, math.nan
        reach = float(stats.t.ppf((1 + level) / 2, self.degrees)) * self.error
        return self.mean - reach, self.mean + reach


def mean_over_time(values: ArrayLike, overlap: int) -> TimeMean:
    """The mean of one value a period, of which those less than `overlap` periods apart share some of what happened.

    Values are in time order; at most one period of overlap is the textbook's mean of independent values. Otherwise the
    long-run variance comes of the slowest cosine waves in the values, each corrected for what overlap alone takes from it.
    On overlapping noise of 12 and 70 sessions over 750 and 1,260 a nominal 5 % rejects 5 %, on independent noise 4 %.
    The error is unknown in fewer than two holding periods, or three values.

    Examples
    --------
    >>> overlapping = np.convolve(np.random.default_rng(1).normal(size=819), np.ones(70), "valid")
    >>> mean_over_time(overlapping, 70).degrees
    6
    """
    x = finite(values, "values")
    if overlap < 0:
        raise ValueError(f"overlap={overlap}: give 0 or the number of periods over which values overlap")
    if x.size < max(3, 2 * overlap):
        return TimeMean(float(x.mean()) if x.size else math.nan, math.nan, 0)
    centred = x - x.mean()
    if overlap <= 1:
        return TimeMean(float(x.mean()), float(x.std(ddof=1)) / math.sqrt(x.size), x.size - 1)
    degrees = max(1, int(WAVES_PER_PERIOD * x.size / overlap))
    wave = np.arange(1, degrees + 1)
    cosines = np.cos(np.pi * np.outer(wave, np.arange(x.size) + 0.5) / x.size)
    powers = 2.0 / x.size * (cosines @ centred) ** 2 / np.sinc(wave / (2 * x.size) * overlap) ** 2
    return TimeMean(float(x.mean()), math.sqrt(float(powers.mean()) / x.size), degrees)


def holding_blocks(labels: pl.DataFrame) -> NDArray[np.int64]:
    """Number of the span of time that each row was decided in; a span is as long as the longest usual holding period.

    Rows have a date and an exit_date, no null.
    """
    holding = np.busday_count(labels["date"].to_numpy(), labels["exit_date"].to_numpy())
    length = max(1, int(np.quantile(holding, 0.9)))
    return (labels["date"].rank("dense").to_numpy().astype(np.int64) - 1) // length


def effective_rows(rows: ArrayLike, surprises: ArrayLike, variance: float) -> float:
    """How many independent outcomes the rows of all blocks are worth: rows over the design effect of a shared block.

    `rows` and `surprises` are the number and the sum of (outcome less what was expected of it) of each block; `variance` is
    that of one row's outcome. Around their mean the blocks vary by what hangs together. With fewer than three blocks nobody can
    tell, and every block counts as one outcome. Nor where nearly all outcomes are alike: ten periods without a loss are ten
    outcomes, and each row of the rarer kind lets twice as many more count.
    """
    rows, surprises = finite(rows, "rows"), finite(surprises, "surprises")
    blocks, total = len(rows), float(rows.sum())
    if blocks < 3:
        return float(min(blocks, total))
    between = float(((surprises - rows * (surprises.sum() / total)) ** 2).sum()) * blocks / (blocks - 1)
    most = min(blocks * (1.0 + 2.0 * total * variance), total)
    return float(np.clip(total * total * variance / between if between > 0.0 else total, min(blocks, total), most))
