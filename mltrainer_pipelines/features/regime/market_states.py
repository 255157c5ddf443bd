"""Crash, neutral and bull: what each state of the market looks like on a session, and how likely each one is.

What the states are is set here, from what is generally known of US equities, and never fitted to the data at hand: a fit
to the whole sample would know the future, and there are too few crashes in any past to fit them from it. What depends
on the market at hand (how wide its members' ranges usually are, how noisy, and how much of them the members have in
common) is measured over the year up to each session.
"""

from typing import Final

import numpy as np
import polars as pl

from mltrainer_pipelines.features.regime.hidden_markov import HiddenMarkovModel, normal_log_likelihoods

STATES: Final = ("crash", "neutral", "bull")
MARKET_MODEL: Final = HiddenMarkovModel(
    # A crash lasts about 17 sessions, a neutral spell 50, a bull market 100.
    transition=np.array([[0.940, 0.050, 0.010], [0.005, 0.980, 0.015], [0.0015, 0.0085, 0.990]]),
    levels=np.array([-1.0, 0.0, 1.0]),
)
MEAN_RETURNS: Final = np.array([-0.0040, -0.0003, 0.0008])
VOLATILITIES: Final = np.array([0.0220, 0.0115, 0.0065])
"""Mean and deviation of the market's log return of a session, by state."""

YEAR, LEAST = 252, 20
"""Sessions over which the market at hand is measured, and how many of them must be known."""
MEAN_RANGE = 1.596
"""Mean range of a session in units of its volatility, for a Brownian motion: √(8/π) (Parkinson 1980)."""
MEDIAN_OF_NORMAL = 0.6745
"""Median of the absolute value of a standard normal."""
NOISE_OF_CHANGE = 1.2
"""Noise of the day's range in median absolute changes: 1.05 if they were normal, and a seventh more for their fatter tails."""
LEAST_NOISE, LEAST_VOLATILITY = 0.03, 0.001
"""The states' ranges are not known better than that; and no market is calmer than 0.1 % a session."""
UNKNOWN_NOISE, UNKNOWN_VOLATILITY, UNKNOWN_SHARE = 0.15, 0.009, 0.25
"""Noise, the market's volatility and the common share of variance, before they can be measured."""


def state_probabilities(market: np.ndarray, ranges: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """Filtered probability of each of `STATES` at each session's close.

    Two things are seen a session. The market's return, as wide as the state is volatile. And the day's range, against
    its median of a year: with σ₀ the market's usual volatility and c the share of the members' variance that is the
    market's, a state of volatility σ multiplies it by √(1 + c · (σ²/σ₀² − 1)). The range is as noisy in every state, so
    that a calmer day never speaks for a worse one; how noisy is measured from its changes. Medians of a year are used
    throughout, since a crash must not blunt the eye for the next one.

    `market` is the market's log return of each session, `ranges` the mean over the members of its log true range, both NaN where
    unknown; `conditions`, from -1 (bad) to 1 (good), tilt the transitions, NaN being 0. The result has a row a session, a column
    a state, and rows that sum to 1.

    Source: Parkinson (1980), The Extreme Value Method for Estimating the Variance of the Rate of Return; Campbell, Lettau,
    Malkiel & Xu (2001), Have Individual Stocks Become More Volatile? (a share's variance as the market's and its own);
    Rousseeuw & Croux (1993), Alternatives to the Median Absolute Deviation; von Neumann, Kent, Bellinson & Hart (1941),
    The Mean Square Successive Difference.
    """

    def typical(values: np.ndarray) -> np.ndarray:
        present = pl.Series(np.where(np.isfinite(values), values, np.nan)).fill_nan(None)
        return present.rolling_median(YEAR, min_samples=LEAST).fill_null(float("nan")).to_numpy()

    with np.errstate(all="ignore"):
        logs = np.log(ranges)
        surprise = logs - typical(logs)
        noise = NOISE_OF_CHANGE * typical(np.abs(np.diff(logs, prepend=np.nan)))
        usual = np.maximum(typical(np.abs(market)) / MEDIAN_OF_NORMAL, LEAST_VOLATILITY)
        share = np.minimum((usual * MEAN_RANGE / np.exp(typical(logs))) ** 2, 1.0)
    noise = np.where(np.isnan(noise), UNKNOWN_NOISE, np.maximum(noise, LEAST_NOISE))[:, None]
    usual = np.where(np.isnan(usual), UNKNOWN_VOLATILITY, usual)[:, None]
    share = np.where(np.isnan(share), UNKNOWN_SHARE, share)[:, None]
    means = 0.5 * np.log1p(share * ((VOLATILITIES / usual) ** 2 - 1.0))
    seen = normal_log_likelihoods(market, MEAN_RETURNS, VOLATILITIES)
    seen = seen + normal_log_likelihoods(np.where(np.isfinite(surprise), surprise, np.nan), means, noise)
    return MARKET_MODEL.filtered(seen, conditions)
