"""Bull, bear and crash: the hidden state of a simulated market, and the financial conditions that move it.

Conditions tighten and ease slowly. The tighter they are, the likelier a bull market ends, so that series
which show them (the yield curve, credit spreads) lead the regime without anyone looking ahead.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mltrainer_pipelines.exchange.randomness import stream


class Regime(IntEnum):
    """State of the simulated market in a session."""

    BULL = 0
    BEAR = 1
    CRASH = 2


@dataclass(frozen=True)
class Regimes:
    """The state and the conditions of every session, each of shape (sessions,)."""

    state: NDArray[np.int8]
    tightness: NDArray[np.float64]
    """Financial conditions: mean 0, variance 1, above 0 tighter than usual."""


_TIGHTNESS_MEMORY = 0.985


def simulated_regimes(seed: int, count: int) -> Regimes:
    """`count` sessions of a Markov chain; the start of a longer one is the shorter one."""
    shocks = stream(seed, "tightness").standard_normal(count + 1)
    draws = stream(seed, "regime").random(count)
    tightness, states = np.empty(count), np.empty(count, dtype=np.int8)
    level, state = float(shocks[0]), Regime.BULL
    fresh = np.sqrt(1 - _TIGHTNESS_MEMORY**2)
    for session in range(count):
        level = _TIGHTNESS_MEMORY * level + fresh * float(shocks[session + 1])
        tightness[session] = level
        state = _next_state(state, level, float(draws[session]))
        states[session] = state
    return Regimes(states, tightness)


def _next_state(state: Regime, tightness: float, draw: float) -> Regime:
    """State of the next session: the daily chances of leaving a state, by the conditions."""
    pressure = float(np.exp(np.clip(0.8 * tightness, -2.5, 2.5)))
    if state is Regime.BULL:
        to_crash, to_other, other = 0.0008 * pressure, 0.0038 * pressure, Regime.BEAR
    elif state is Regime.BEAR:
        to_crash, to_other, other = 0.004 * pressure, 0.017 / pressure**0.5, Regime.BULL
    else:
        to_crash, to_other, other = 0.0, 0.08, Regime.BEAR
        if draw > 1 - 0.03:
            return Regime.BULL
    if draw < to_crash:
        return Regime.CRASH
    return other if draw < to_crash + to_other else state
