"""Fields of bars that formulas read: those of one month's members, and what is derived from them."""

from collections.abc import Callable, Mapping

import numpy as np

MIN_CROSS_SECTION = 5
"""Members that must be known for a market average or a rank."""

MIN_SECTOR = 3
"""Members that must be known for a sector average."""

CACHED_COLUMNS = 256
"""Columns of which a block of a year, 0.6 MB, stays in the processor's cache."""

BAR_FIELDS = ("open", "high", "low", "close", "volume", "dollar_volume", "vwap")


class Block:
    """Bars of one month's members, from the look-back before the month's first session to the last session wanted.

    Everything in it is a function of this slice alone, so a value does not depend on the range asked for. Fields that
    are derived from others are computed once, when first read.

    Parameters
    ----------
    bars : mapping of str to ndarray, shape (n_rows, n_members)
        The fields of `BAR_FIELDS`.
    sectors : ndarray of int64, shape (n_members,)
        Sector numbers, -1 where unknown.
    series : mapping of str to ndarray, shape (n_rows,)
        ``macro:<series>`` and ``regime:<part>`` as known at each session; what is missing is unknown.
    first : int
        First row wanted.
    """

    def __init__(self, bars: Mapping[str, np.ndarray], sectors: np.ndarray, series: Mapping[str, np.ndarray], first: int):
        self.first = first
        self.sectors = sectors
        self.series = series
        self.traded = ~np.isnan(bars["close"][first:])
        self.features: dict[str, np.ndarray] = {}
        self.results: dict[tuple, np.ndarray] = {}
        self._fields = dict(bars)
        self._pieces: dict[str, list[np.ndarray]] = {}

    def field(self, name: str) -> np.ndarray:
        if name not in self._fields:
            self._fields[name] = self._derived(name)
        return self._fields[name]

    def pieces(self, name: str) -> list[np.ndarray]:
        """A field in pieces of so few columns that a kernel's passes over one stay in the processor's cache."""
        if name not in self._pieces:
            values = self.field(name)
            columns = values.shape[1]
            step = CACHED_COLUMNS if columns > 2 * CACHED_COLUMNS else max(1, columns)
            self._pieces[name] = [np.ascontiguousarray(values[:, i : i + step]) for i in range(0, columns, step)]
        return self._pieces[name]

    def _derived(self, name: str) -> np.ndarray:
        from mltrainer_pipelines.features.kernels import cross_section as cross_kernels
        from mltrainer_pipelines.features.kernels import windows as kernels

        if name == "price":
            return kernels.filled(self.field("close"))
        if name == "log_price":
            return kernels.logarithm(self.field("price"))
        if name == "log_return":
            return kernels.log_return(self.field("close"), self.field("price"))
        if name == "overnight_return":
            return kernels.log_return(self.field("open"), self.field("price"))
        if name == "intraday_return":
            return kernels.logarithm(self.field("close") / self.field("open"))
        if name == "illiquidity":
            dollars = np.where(self.field("dollar_volume") > 0.0, self.field("dollar_volume"), np.nan)
            return np.abs(self.field("log_return")) / (dollars / 1e6)
        if name == "market_return":
            return cross_kernels.cross_mean(self.field("log_return"), MIN_CROSS_SECTION).reshape(-1, 1)
        if name == "sector_return":
            return cross_kernels.group_mean(self.field("log_return"), self.sectors, MIN_SECTOR)
        if name in _OF_CHANGES:
            return _OF_CHANGES[name](*(self.field(field) for field in ("close", "volume")))
        raise KeyError(name)


def _before(values: np.ndarray) -> np.ndarray:
    """The values of the session before."""
    return np.vstack([np.full((1, values.shape[1]), np.nan), values[:-1]])


def _flag(condition: np.ndarray, change: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(change), np.nan, condition * 1.0)


_OF_CHANGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "close_ratio": lambda close, _: close / _before(close),
    "move": lambda close, _: np.abs(close - _before(close)),
    "rise": lambda close, _: np.maximum(close - _before(close), 0.0),
    "rose": lambda close, _: _flag(close > _before(close), close - _before(close)),
    "fell": lambda close, _: _flag(close < _before(close), close - _before(close)),
    "moved_volume": lambda close, volume: np.abs(close / _before(close) - 1.0) * volume,
    "volume_move": lambda _, volume: np.abs(volume - _before(volume)),
    "volume_rise": lambda _, volume: np.maximum(volume - _before(volume), 0.0),
    "log_volume": lambda _, volume: np.log(volume + 1.0),
    "log_volume_ratio": lambda _, volume: np.log(volume / _before(volume) + 1.0),
}
"""Fields of two neighbouring sessions, from close and volume."""
