"""Reproducible random numbers whose past does not depend on how much future is drawn.

Two kinds: streams (one generator a purpose, arrays drawn session by session, so that a longer array
begins with the shorter one) and cells (a hash of symbol, session and position: any cell alone, in any order).
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each purpose: draw arrays from it with time as the first axis."""
    return np.random.default_rng([seed, *purpose.encode()])


def cell_uniforms(key: NDArray[np.uint64], purpose: int, count: int) -> NDArray[np.float64]:
    """`count` uniform numbers in (0, 1) for every key; shape (keys, count). Equal keys and purposes give equal numbers."""
    position = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    mixed = _mixed(_mixed(key ^ np.array([purpose], dtype=np.uint64) * _MIX_2)[:, None] + position)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def cell_keys(seed: int, symbol: NDArray[np.int64], session: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One key for each pair of a symbol's number and a session's ordinal."""
    base = _mixed(np.array([seed], dtype=np.uint64) * _GOLDEN + _MIX_1)
    return _mixed(_mixed(base + symbol.astype(np.uint64) * _GOLDEN) ^ (session.astype(np.uint64) * _MIX_1))


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators")."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))
