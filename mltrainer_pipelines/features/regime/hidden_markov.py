"""A hidden Markov model with given parameters, filtered: what it says of a session uses nothing later."""

from dataclasses import dataclass

import numpy as np

from mltrainer_pipelines.models.series.filters import hidden_state_filter


@dataclass(frozen=True)
class HiddenMarkovModel:
    """States that follow one another with chances that conditions can tilt.

    `transition` (n_states, n_states) holds the chance of each state (columns) the session after each state (rows), in neutral
    conditions; `levels` (n_states,) how good a state is, from -1 to 1. Conditions of c multiply the odds of a move from level a
    to level b by ``exp(c · (b − a))``.

    Source: Hamilton (1989), A New Approach to the Economic Analysis of Nonstationary Time Series; tilted transitions as in
    Diebold, Lee & Weinbach (1994), Regime Switching with Time-Varying Transition Probabilities.
    """

    transition: np.ndarray
    levels: np.ndarray

    def filtered(self, log_likelihoods: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """Probability of each state (n_sessions, n_states) given what was seen up to each session and nothing after it; rows
        sum to 1.

        `log_likelihoods` (n_sessions, n_states) are those of what was seen, a row of zeros where nothing was; `conditions`
        (n_sessions,) run from -1 (bad) to 1 (good), as known at each session's close; NaN is 0. Before the first session stand
        the chances that the transitions lead to in the long run.
        """
        apart = self.levels[None, :] - self.levels[:, None]
        tilts = np.exp(np.nan_to_num(conditions)[:, None, None] * apart) * self.transition
        tilts /= tilts.sum(axis=2, keepdims=True)
        if not len(tilts):
            return np.empty(log_likelihoods.shape)
        stationary = np.linalg.matrix_power(self.transition, 1000)[0]
        return np.stack(list(hidden_state_filter(stationary @ tilts[0], tilts[1:], log_likelihoods)))


def normal_log_likelihoods(observed: np.ndarray, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Log density of each session's observation in each state (n_sessions, n_states), less a constant; 0 where it is unknown.

    `means` and `deviations` are given by state, or by session and state.
    """
    present = ~np.isnan(observed)[:, None]
    scores = (np.where(present, observed[:, None], 0.0) - means) / deviations
    return np.where(present, -0.5 * scores**2 - np.log(deviations), 0.0)
