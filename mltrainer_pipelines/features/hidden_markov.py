"""A hidden Markov model of the market with fixed parameters, filtered: what it says of a session uses nothing later.

The parameters are set here, from what is generally known of US equities, and never fitted to the data at hand: a fit
to the whole sample would know the future, and there are too few crashes in any past to fit them from it.
"""

from dataclasses import dataclass

import numpy as np

STATES = ("crash", "neutral", "bull")


@dataclass(frozen=True)
class HiddenMarkovModel:
    """States with normal observations, independent given the state, and transitions that conditions can tilt.

    Parameters
    ----------
    transition : ndarray, shape (n_states, n_states)
        Chance of each state (columns) the session after each state (rows), in neutral conditions.
    means, deviations : ndarray, shape (n_states, n_observations)
    levels : ndarray, shape (n_states,)
        How good a state is, from -1 to 1. Conditions of c multiply the odds of a move from level a to level b by
        ``exp(c · (b − a))``.

    Source: Hamilton (1989), A New Approach to the Economic Analysis of Nonstationary Time Series; tilted transitions as
    in Diebold, Lee & Weinbach (1994), Regime Switching with Time-Varying Transition Probabilities.
    """

    transition: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    levels: np.ndarray

    def filtered(self, observations: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """Probability of each state at each session, given the observations up to it and none after it.

        Parameters
        ----------
        observations : ndarray, shape (n_sessions, n_observations)
            NaN where unknown: it then says nothing.
        conditions : ndarray, shape (n_sessions,)
            From -1 (bad) to 1 (good), as known at each session's close; NaN is 0.

        Returns
        -------
        ndarray, shape (n_sessions, n_states)
            Rows sum to 1. Before the first session: the chances the transitions lead to in the long run.
        """
        apart = self.levels[None, :] - self.levels[:, None]
        known = ~np.isnan(observations)
        scores = (np.where(known, observations, 0.0)[:, None, :] - self.means) / self.deviations
        logs = -0.5 * scores**2 - np.log(self.deviations)
        likelihoods = np.where(known[:, None, :], logs, 0.0).sum(axis=2)
        likelihoods = np.exp(likelihoods - likelihoods.max(axis=1, keepdims=True))
        tilts = np.exp(np.nan_to_num(conditions)[:, None, None] * apart) * self.transition
        tilts /= tilts.sum(axis=2, keepdims=True)
        belief = np.linalg.matrix_power(self.transition, 1000)[0]
        out = np.empty(likelihoods.shape)
        for session in range(len(out)):
            belief = (belief @ tilts[session]) * likelihoods[session]
            belief = belief / belief.sum()
            out[session] = belief
        return out


MARKET_MODEL = HiddenMarkovModel(
    # A crash lasts about 17 sessions, a neutral spell 50, a bull market 100.
    transition=np.array([[0.940, 0.050, 0.010], [0.005, 0.980, 0.015], [0.0015, 0.0085, 0.990]]),
    # The market's log return of the session; the log of the day's mean range over its median of a year.
    means=np.array([[-0.0040, 0.40], [-0.0003, 0.10], [0.0008, -0.05]]),
    deviations=np.array([[0.0220, 0.22], [0.0115, 0.15], [0.0065, 0.12]]),
    levels=np.array([-1.0, 0.0, 1.0]),
)
