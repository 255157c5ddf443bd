"""Fields of bars that formulas read: those of one month's members, and what is derived from them."""

from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np

MIN_CROSS_SECTION = 5
"""Members that must be known for a market average or a rank."""

MIN_SECTOR = 3
"""Members that must be known for a sector average."""

CACHED_COLUMNS = 256
"""Columns of which a block of a year, 0.6 MB, stays in the processor's cache."""


def _vwap(raw: Mapping[str, np.ndarray]) -> np.ndarray:
    """Adjusted mean price, weighted by volume where the bars say it."""
    typical = (raw["adj_open"] + raw["adj_high"] + raw["adj_low"] + raw["adj_close"]) / 4.0
    if "vwap" not in raw:
        return typical
    return np.where(np.isnan(raw["vwap"]), typical, raw["vwap"] * (raw["adj_close"] / raw["close"]))


BAR_FIELDS: Mapping[str, Callable[[Mapping[str, np.ndarray]], np.ndarray]] = {
    "open": lambda raw: raw["adj_open"],
    "high": lambda raw: raw["adj_high"],
    "low": lambda raw: raw["adj_low"],
    "close": lambda raw: raw["adj_close"],
    "volume": lambda raw: raw["adj_volume"],
    "dollar_volume": lambda raw: raw["close"] * raw["volume"],
    "vwap": _vwap,
}
"""How the fields of a block are made of the columns of adjusted bars."""


class Block:
    """Bars of one month's members, from the look-back before the month's first session to the last session wanted.

    `bars` are the fields of `BAR_FIELDS`, float64 of shape (n_rows, n_members); `sectors` the members' sector numbers, -1 where
    unknown; `series` (n_rows,) each ``macro:<series>`` and ``regime:<part>`` as known at each session; `first` is the first row
    wanted. Everything in a block is a function of this slice alone, so a value does not depend on the range asked for. Fields
    that are derived from others are computed once, when first read.
    """

    def __init__(self, bars: Mapping[str, np.ndarray], sectors: np.ndarray, series: Mapping[str, np.ndarray], first: int):
        self.first = first
        self.sectors = sectors
        self.series = series
        self.traded = ~np.isnan(bars["close"][first:])
        self.features: dict[str, np.ndarray] = {}
        self.results: dict[tuple[object, ...], np.ndarray] = {}
        self._fields = dict(bars)
        self._pieces: dict[str, list[np.ndarray]] = {}

    def field(self, name: str) -> np.ndarray:
        if name not in self._fields:
            self._fields[name] = DERIVED[name](self)
        return self._fields[name]

    def pieces(self, name: str) -> list[np.ndarray]:
        """A field in pieces of so few columns that a kernel's passes over one stay in the processor's cache."""
        if name not in self._pieces:
            values = self.field(name)
            columns = values.shape[1]
            step = CACHED_COLUMNS if columns > 2 * CACHED_COLUMNS else max(1, columns)
            self._pieces[name] = [np.ascontiguousarray(values[:, i : i + step]) for i in range(0, columns, step)]
        return self._pieces[name]


def _before(values: np.ndarray) -> np.ndarray:
    """The values of the session before."""
    return np.vstack([np.full((1, values.shape[1]), np.nan), values[:-1]])


def _change(values: np.ndarray) -> np.ndarray:
    return values - _before(values)


def _flag(condition: np.ndarray, change: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(change), np.nan, condition * 1.0)


def _illiquidity(block: Block) -> np.ndarray:
    dollars = np.where(block.field("dollar_volume") > 0.0, block.field("dollar_volume"), np.nan)
    return np.abs(block.field("log_return")) / (dollars / 1e6)


def _windows() -> ModuleType:
    from mltrainer_pipelines.features.kernels import windows

    return windows


def _cross_section() -> ModuleType:
    from mltrainer_pipelines.features.kernels import cross_section

    return cross_section


DERIVED: Mapping[str, Callable[[Block], np.ndarray]] = {
    "price": lambda b: _windows().filled(b.field("close")),
    "log_price": lambda b: _windows().logarithm(b.field("price")),
    "log_return": lambda b: _windows().log_return(b.field("close"), b.field("price")),
    "direction": lambda b: np.sign(b.field("log_return")),
    "overnight_return": lambda b: _windows().log_return(b.field("open"), b.field("price")),
    "intraday_return": lambda b: _windows().logarithm(b.field("close") / b.field("open")),
    "illiquidity": _illiquidity,
    "market_return": lambda b: _cross_section().cross_mean(b.field("log_return"), MIN_CROSS_SECTION).reshape(-1, 1),
    "sector_return": lambda b: _cross_section().group_mean(b.field("log_return"), b.sectors, MIN_SECTOR),
    "close_ratio": lambda b: b.field("close") / _before(b.field("close")),
    "move": lambda b: np.abs(_change(b.field("close"))),
    "rise": lambda b: np.maximum(_change(b.field("close")), 0.0),
    "rose": lambda b: _flag(b.field("close") > _before(b.field("close")), _change(b.field("close"))),
    "fell": lambda b: _flag(b.field("close") < _before(b.field("close")), _change(b.field("close"))),
    "moved_volume": lambda b: np.abs(b.field("close_ratio") - 1.0) * b.field("volume"),
    "volume_move": lambda b: np.abs(_change(b.field("volume"))),
    "volume_rise": lambda b: np.maximum(_change(b.field("volume")), 0.0),
    "log_volume": lambda b: np.log(b.field("volume") + 1.0),
    "log_volume_ratio": lambda b: np.log(b.field("volume") / _before(b.field("volume")) + 1.0),
}
"""How each field is made of others."""
