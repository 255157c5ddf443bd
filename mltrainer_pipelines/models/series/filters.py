"""What dynamics say of many windows at once: the filters and forecasts of the series' libraries, over rows.

statsmodels, arch and hmmlearn filter one series at a time; a table asks for those of a hundred thousand windows. So libraries
estimate (`estimation`), and these few recursions apply their estimates to all windows side by side. The tests hold each
to what its library says of the same window with the same parameters.

A window is a row of Z, (rows, length), in its own standard deviations, NaN where unknown, the latest value last. A price is the
sum of its returns, 0 before the window.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def filled(Z: np.ndarray) -> np.ndarray:
    """Unknown returns as the usual one, 0: for methods that cannot do without a value."""
    return np.where(np.isnan(Z), 0.0, Z)


def price(Z: np.ndarray) -> np.ndarray:
    """The summed returns, along the last axis."""
    return np.cumsum(filled(Z), axis=-1)


def drift(Z: np.ndarray) -> np.ndarray:
    """The mean of the values, shrunk towards 0 by one further value."""
    return np.nansum(Z, axis=1) / ((~np.isnan(Z)).sum(axis=1) + 1.0)


@dataclass(frozen=True)
class StateSpace:
    """A linear Gaussian system that does not change with time, as statsmodels names its parts.

    `noise` is the covariance of the state's step, `start` and `start_cov` are of the state before the first value.
    """

    design: np.ndarray
    transition: np.ndarray
    intercept: np.ndarray
    noise: np.ndarray
    obs_cov: float
    start: np.ndarray
    start_cov: np.ndarray

    @classmethod
    def of(cls, model: Any, params: np.ndarray) -> "StateSpace":
        """The system that a model of statsmodels (`MLEModel`) makes of its parameters."""
        ready = model.filter(params).filter_results
        selection = ready.selection[:, :, 0]
        return cls(
            ready.design[0, :, 0], ready.transition[:, :, 0], ready.state_intercept[:, 0],
            selection @ ready.state_cov[:, :, 0] @ selection.T, float(ready.obs_cov[0, 0, 0]),
            ready.initial_state, ready.initial_state_cov,
        )  # fmt: skip

    def forecast(self, Y: np.ndarray, weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the weighted sum of the values that follow each row, by the Kalman filter."""
        state = np.tile(self.start, (len(Y), 1))
        P = np.tile(self.start_cov, (len(Y), 1, 1))
        for y in Y.T:
            observed = ~np.isnan(y)
            cross = P @ self.design
            gain = np.where(observed, 1.0 / (cross @ self.design + self.obs_cov), 0.0)[:, None] * cross
            error = np.where(observed, y - state @ self.design, 0.0)
            state = (state + gain * error[:, None]) @ self.transition.T + self.intercept
            P = self.transition @ (P - gain[:, :, None] * cross[:, None, :]) @ self.transition.T + self.noise
        loading, level, variance = np.zeros(len(self.start)), 0.0, 0.0
        for weight in reversed(weights):  # what the sum owes to the state of each step, from the farthest one back
            level += float(loading @ self.intercept)
            variance += float(loading @ self.noise @ loading) + weight**2 * self.obs_cov
            loading = weight * self.design + loading @ self.transition
        return state @ loading + level, (P @ loading) @ loading + variance


# Exponential smoothing


def smoothed(Y: np.ndarray, alpha: float, start: np.ndarray | float = 0.0) -> np.ndarray:
    """The level after each row, older values fading."""
    level = np.zeros(len(Y)) + start
    for y in Y.T:
        level = level + alpha * (y - level)
    return level


def damped_trend(P: np.ndarray, alpha: float, beta: float, phi: float, steps: int) -> np.ndarray:
    """Where Holt's damped method sees each price so many steps ahead; it begins at 0 without a slope."""
    level, slope = np.zeros(len(P)), np.zeros(len(P))
    for y in P.T:
        error = y - level - phi * slope
        level, slope = level + phi * slope + alpha * error, phi * slope + alpha * beta * error
    return level + slope * (phi ** np.arange(1, steps + 1)).sum()


def theta(P: np.ndarray, alpha: float, steps: int) -> np.ndarray:
    """Where the theta method sees each price so many steps ahead: the smoothed level and half of the window's own slope."""
    t = np.arange(P.shape[1]) - (P.shape[1] - 1) / 2
    slope = (P @ t) / (t @ t)
    return smoothed(P, alpha, P[:, 0]) + 0.5 * slope * (steps - 1 + (1 - (1 - alpha) ** P.shape[1]) / alpha)


# Variances of the step after each row; the one before the first is 1, a window's own


def garch(F: np.ndarray, omega: float, alpha: float, gamma: float, beta: float) -> np.ndarray:
    """With `gamma` for falls alone (GJR); RiskMetrics is omega 0 and alpha 1 - beta."""
    variance = np.full(len(F), omega + alpha + gamma / 2 + beta)
    for x in F.T:
        variance = omega + (alpha + gamma * (x < 0)) * x**2 + beta * variance
    return variance


def egarch(F: np.ndarray, omega: float, alpha: float, gamma: float, beta: float) -> np.ndarray:
    """Of the logarithm, with signed shocks."""
    log_variance = np.full(len(F), omega)
    for x in F.T:
        shock = x / np.exp(log_variance / 2)
        # an estimate that is out of hand may not overflow
        log_variance = np.clip(
            omega + alpha * (np.abs(shock) - np.sqrt(2 / np.pi)) + gamma * shock + beta * log_variance, -10, 10
        )
    return np.exp(log_variance)


HAR_LAGS = (1, 4, 13)
"""A week, a month and a quarter."""


def har(F: np.ndarray, constant: float, *weights: float) -> np.ndarray:
    """The expected size of the next step by the mean sizes of the last ones over three memories."""
    means = [np.abs(F[:, -lag:]).mean(axis=1) for lag in HAR_LAGS]
    return constant + np.stack(means, axis=1) @ np.array(weights)


# Hidden states


def hidden_state_filter(prior: np.ndarray, transitions: Iterable[np.ndarray], log_densities: np.ndarray) -> Iterator[np.ndarray]:
    """Probability of each hidden state at each step, given what was seen up to it and nothing after it.

    `prior` (..., states) is before the first step is seen; `transitions` are (states, states) chances of each state (columns)
    after each one (rows), from the first step to the second, and so on; `log_densities` (steps, ..., states) are of what is seen
    at each step, in each state, up to a constant a step.

    Source: Hamilton (1989), A New Approach to the Economic Analysis of Nonstationary Time Series.

    >>> stay = np.array([[0.9, 0.1], [0.1, 0.9]])
    >>> seen = np.log([[0.8, 0.2], [0.8, 0.2]])
    >>> [belief.round(3).tolist() for belief in hidden_state_filter(np.array([0.5, 0.5]), [stay], seen)]
    [[0.8, 0.2], [0.919, 0.081]]
    """
    densities = np.exp(log_densities - log_densities.max(axis=-1, keepdims=True))
    belief = prior * densities[0]
    yield (belief := belief / belief.sum(axis=-1, keepdims=True))
    for transition, density in zip(transitions, densities[1:], strict=True):
        belief = (belief @ transition) * density
        yield (belief := belief / belief.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class States:
    """A chain of hidden states: in each a return has a mean, a standard deviation, and a slope on the return before."""

    start: np.ndarray
    transition: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    slope: np.ndarray

    def belief(self, F: np.ndarray, previous: np.ndarray | None = None) -> np.ndarray:
        """The probability of each state at the last step of each row, (rows, states); `previous` holds the values a step back."""
        expected = self.mean if previous is None else self.mean + previous[:, :, None] * self.slope
        log_density = -0.5 * ((F[:, :, None] - expected) / self.deviation) ** 2 - np.log(self.deviation)
        transitions = itertools.repeat(self.transition, F.shape[1] - 1)
        *_, last = hidden_state_filter(
            np.broadcast_to(self.start, (len(F), len(self.start))), transitions, log_density.swapaxes(0, 1)
        )
        return last

    def forecast(self, belief: np.ndarray, last: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the sum of the next values; each step's mean stands for its value in the one after."""
        total, variance = np.zeros(len(last)), np.zeros(len(last))
        for _ in range(steps):
            belief = belief @ self.transition
            last = belief @ self.mean + (belief @ self.slope) * last
            total, variance = total + last, variance + belief @ self.deviation**2
        return total, variance
