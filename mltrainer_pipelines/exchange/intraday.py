"""15-minute paths that agree exactly with the day's bar, made when they are asked for.

A path depends on its key (seed, symbol, session) and on the day's bar alone, so it comes out the same
whenever and in whatever company it is asked for, and what was known of it at noon is still true at four.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mltrainer_pipelines.exchange.randomness import cell_uniforms

_BRIDGE, _WICKS, _VOLUME = 1, 2, 3


@dataclass(frozen=True)
class Paths:
    """Bars of several (symbol, session) pairs; every array has the shape (pairs, bars of the session)."""

    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    trades: NDArray[np.float64]
    vwap: NDArray[np.float64]

    def day_vwap(self) -> NDArray[np.float64]:
        """Volume-weighted average price of each pair's whole session; shape (pairs,)."""
        vwap: NDArray[np.float64] = np.round((self.vwap * self.volume).sum(axis=1) / self.volume.sum(axis=1), 4)
        return vwap


def intraday_paths(
    key: NDArray[np.uint64],
    day: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    volume: NDArray[np.float64],
    trades: NDArray[np.float64],
    count: int,
) -> Paths:
    """The `count` bars of each session, from its daily open, high, low, close (`day`), volume and trades, drawn from `key`.

    The first bar opens at the open, the last closes at the close, the highest high and the lowest low are the
    day's, and volumes and trades (whole numbers) add up to the day's: exactly. Prices are rounded to the cent,
    below a dollar to the hundredth of a cent, as the day's are. All arrays have one value a pair of symbol and session.
    """
    first, top, bottom, last = (column[:, None] for column in day)
    edges = _edges(key, first, top, bottom, last, count)
    open_, close = edges[:, :-1], edges[:, 1:]
    wicks = cell_uniforms(key, _WICKS, 2 * count)
    reach = 0.5 * (top - bottom) / np.sqrt(count)
    high = np.minimum(_cents(np.maximum(open_, close) + reach * wicks[:, :count]), top)
    low = np.maximum(_cents(np.minimum(open_, close) - reach * wicks[:, count:]), bottom)
    high, low = np.maximum(high, np.maximum(open_, close)), np.minimum(low, np.minimum(open_, close))
    pair = np.arange(len(key))
    high[pair, high.argmax(axis=1)] = top[:, 0]
    low[pair, low.argmin(axis=1)] = bottom[:, 0]

    weight = _activity(count) * np.exp(cell_uniforms(key, _VOLUME, count) - 0.5)
    share = np.cumsum(weight, axis=1)
    share /= share[:, -1:]
    return Paths(
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=_parts(volume, share),
        trades=_parts(trades, share),
        vwap=np.round((open_ + high + low + close) / 4, 4),
    )


def _edges(
    key: NDArray[np.uint64],
    first: NDArray[np.float64],
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
    last: NDArray[np.float64],
    count: int,
) -> NDArray[np.float64]:
    """Prices at the bars' edges, shape (pairs, count + 1): a bridge from open to close, kept within the day's range."""
    uniforms = cell_uniforms(key, _BRIDGE, 2 * count)
    steps = np.sqrt(-2 * np.log(uniforms[:, :count])) * np.cos(2 * np.pi * uniforms[:, count:])
    walk = np.concatenate([np.zeros((len(key), 1)), np.cumsum(steps, axis=1)], axis=1)
    elapsed = np.linspace(0, 1, count + 1)
    bridge = (walk - elapsed * walk[:, -1:]) / np.sqrt(count)
    line = first + elapsed * (last - first)
    above, below = bridge.max(axis=1, keepdims=True), -bridge.min(axis=1, keepdims=True)
    up = (top - np.maximum(first, last)) / np.maximum(above, 1e-9)
    down = (np.minimum(first, last) - bottom) / np.maximum(below, 1e-9)
    edges = _cents(line + np.where(bridge > 0, up, down) * bridge)
    edges = np.clip(edges, bottom, top)
    edges[:, :1], edges[:, -1:] = first, last
    return edges


def _activity(count: int) -> NDArray[np.float64]:
    """Share of the session's trading in each bar: busy at the open and at the close, quiet at noon."""
    middle = np.linspace(-1, 1, count)
    shares: NDArray[np.float64] = 0.6 + 1.4 * middle**2 + 0.6 * (np.arange(count) == 0)
    return shares


def _parts(total: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """`total` in whole numbers by cumulated `share` (last column 1): the parts add up to it exactly."""
    reached = np.floor(total[:, None] * share + 1e-9)
    reached[:, -1] = total
    return np.diff(reached, axis=1, prepend=0.0)


def _cents(price: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(price >= 1, np.round(price, 2), np.round(price, 4))
