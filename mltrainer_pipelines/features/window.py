"""What a feature's formula sees, and the vocabulary it is written in."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

MOST = 0.8
"""Share of a window's values that must be known for a result."""

MIN_CROSS_SECTION = 5
"""Members that must be known for a market average or a rank."""

MIN_SECTOR = 3
"""Members that must be known for a sector average."""

TINY = 1e-10
"""A deviation below this is rounding of a constant price, not volatility."""

FIELDS = {
    "open": "adjusted open",
    "high": "adjusted high",
    "low": "adjusted low",
    "close": "adjusted close, null where the symbol did not trade",
    "volume": "split-adjusted volume, shares",
    "dollar_volume": "unadjusted close times volume, $",
    "price": "last known adjusted close, at most 5 sessions old",
    "log_price": "natural log of price",
    "vwap": "adjusted volume-weighted mean price; the mean of open, high, low and close where the bars have none",
    "log_return": "log of close over the price of the session before",
    "overnight_return": "log of open over the price of the session before",
    "intraday_return": "log of close over open",
    "illiquidity": "|log_return| a million dollars traded",
    "market_return": "equal-weight mean log_return of the month's universe; one value a session",
    "sector_return": "equal-weight mean log_return of the members of the symbol's sector",
    "close_ratio": "close over the close of the session before; null after a session without trade, as the next six",
    "move": "absolute change of the close since the session before, $",
    "rise": "change of the close where it rose, else 0, $",
    "rose": "1 where the close rose, else 0",
    "fell": "1 where the close fell, else 0",
    "moved_volume": "|close_ratio − 1| times volume, shares",
    "volume_move": "absolute change of volume since the session before, shares",
    "volume_rise": "change of volume where it rose, else 0, shares",
    "log_volume": "log of volume + 1",
    "log_volume_ratio": "log of 1 + volume over the volume of the session before",
}
"""Fields a feature can read, besides ``macro:<series>``, ``regime:<part>`` and the features declared before it."""

SERIES = ("macro:", "regime:")
"""How the names of fields begin that have one value a session and come from outside the bars."""

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

    def field(self, name: str) -> np.ndarray:
        if name not in self._fields:
            self._fields[name] = self._derived(name)
        return self._fields[name]

    def _derived(self, name: str) -> np.ndarray:
        from mltrainer_pipelines.features import kernels

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
            return kernels.cross_mean(self.field("log_return"), MIN_CROSS_SECTION).reshape(-1, 1)
        if name == "sector_return":
            return kernels.group_mean(self.field("log_return"), self.sectors, MIN_SECTOR)
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


class Window:
    """A block as one feature sees it: the fields and features it declares to read, and nothing else.

    Each method gives a matrix with a row for each session wanted and a column for each member, NaN where unknown. A
    window of n sessions at t is t and the n − 1 sessions before it; 80 % of its values must be known.
    """

    def __init__(self, block: Block, reads: Sequence[str]):
        self._block = block
        self._reads = frozenset(reads)

    @property
    def first(self) -> int:
        """First wanted row of what `field` gives."""
        return self._block.first

    def field(self, name: str) -> np.ndarray:
        """A field with its look-back: (rows, members); ``market_return``, ``macro:…``, ``regime:…`` have one column."""
        self._declared(name)
        if name.startswith(SERIES):
            series = self._block.series.get(name)
            return (np.full(self._block.field("close").shape[0], np.nan) if series is None else series).reshape(-1, 1)
        return self._block.field(name)

    def feature(self, name: str) -> np.ndarray:
        """An earlier feature's values for the sessions wanted, NaN for members without a bar."""
        self._declared(name)
        return self._block.features[name]

    def now(self, name: str) -> np.ndarray:
        """The field at each session wanted."""
        return self.field(name)[self.first :]

    def lagged(self, name: str, sessions: int) -> np.ndarray:
        """The field `sessions` sessions before."""
        values = self.field(name)
        out = np.full((values.shape[0] - self.first, values.shape[1]), np.nan)
        start = self.first - sessions
        stop = max(0, values.shape[0] - sessions)
        out[len(out) - (stop - max(0, start)) :] = values[max(0, start) : stop]
        return out

    def change(self, sessions: int, skip: int = 0) -> np.ndarray:
        """Simple return of the price from `sessions` to `skip` sessions ago."""
        return self.lagged("price", skip) / self.lagged("price", sessions) - 1.0

    def mean(self, name: str, sessions: int) -> np.ndarray:
        return self._once("mean", name, sessions)

    def deviation(self, name: str, sessions: int) -> np.ndarray:
        """Sample standard deviation; NaN where the values are constant."""
        values = self._once("deviation", name, sessions)
        return np.where(values > TINY, values, np.nan)

    def highest(self, name: str, sessions: int) -> np.ndarray:
        return self._once("highest", name, sessions)

    def sign_balance(self, name: str, sessions: int) -> np.ndarray:
        """Share of values above 0 less share below 0."""
        return self._once("sign_balance", name, sessions)

    def deepest_fall(self, name: str, sessions: int) -> np.ndarray:
        """Largest fall from a running maximum, as a fraction."""
        return self._once("deepest_fall", name, sessions)

    def slope(self, name: str, sessions: int) -> np.ndarray:
        """Slope a session of the least-squares line."""
        return self._once("trend", name, sessions)[0]

    def r_squared(self, name: str, sessions: int) -> np.ndarray:
        """R² of the least-squares line."""
        return self._once("trend", name, sessions)[1]

    def market_model(self, sessions: int, skip: int = 0) -> np.ndarray:
        """Beta, correlation, residual deviation and sum of residuals up to `skip` sessions ago; shape (4, …)."""
        from mltrainer_pipelines.features import kernels

        returns, market = self.field("log_return"), self.field("market_return")
        key = ("market_model", sessions, skip)
        if key not in self._block.results:
            least = math.ceil(MOST * sessions)
            self._block.results[key] = kernels.market_model(returns, market[:, 0], sessions, least, skip, self.first)
        return self._block.results[key]

    def log(self, values: np.ndarray) -> np.ndarray:
        """Natural log; NaN where the value is not above 0."""
        from mltrainer_pipelines.features import kernels

        return kernels.logarithm(values)

    def rank(self, values: np.ndarray) -> np.ndarray:
        """Percentile within the members of the session, in (0, 1)."""
        from mltrainer_pipelines.features import kernels

        return kernels.rank(np.where(self._block.traded, values, np.nan), MIN_CROSS_SECTION)

    def standing(self, name: str) -> np.ndarray:
        """Rank and z-score of an earlier feature within the session's members, then within the sector: (4, …)."""
        from mltrainer_pipelines.features import kernels

        key = ("standing", name)
        values = self.feature(name)
        if key not in self._block.results:
            self._block.results[key] = kernels.standing(values, self._block.sectors, MIN_CROSS_SECTION, MIN_SECTOR)
        return self._block.results[key]

    def members_mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over the members that trade on the session; the same value for each."""
        from mltrainer_pipelines.features import kernels

        level = kernels.cross_mean(np.where(self._block.traded, values, np.nan), MIN_CROSS_SECTION)
        return np.repeat(level.reshape(-1, 1), values.shape[1], axis=1)

    def everywhere(self, values: np.ndarray) -> np.ndarray:
        """One value a session (rows, 1), repeated for each member."""
        return np.repeat(values, self._block.traded.shape[1], axis=1)

    def indicator(self, function: str, fields: Sequence[str], output: int = 0, **parameters: float) -> np.ndarray:
        """One output of a TA-Lib indicator, symbol by symbol over the sessions on which it has all the fields.

        Indicators with unbounded memory (Wilder's smoothing) start where the block starts, which is fixed by the
        month and the look-back: declare a look-back long enough for the start to fade.
        """
        return self.indicator_path(function, fields, output, **parameters)[self.first :]

    def indicator_path(self, function: str, fields: Sequence[str], output: int = 0, **parameters: float) -> np.ndarray:
        """The indicator with its look-back, for those whose level has no meaning: (rows, members)."""
        inputs = [self.field(name) for name in fields]
        key = (function, *fields, *parameters.items())
        if key not in self._block.results:
            self._block.results[key] = _talib(function, inputs, parameters)
        return self._block.results[key][output]

    def indicator_on(self, function: str, path: np.ndarray, **parameters: float) -> np.ndarray:
        """A TA-Lib indicator of one output over what `indicator_path` gives."""
        return _talib(function, [path], parameters)[0][self.first :]

    def nested(
        self, kernel: str, fields: Sequence[str], windows: Sequence[int], sessions: int, *parameters: float
    ) -> np.ndarray:
        """Outputs of a kernel of `nested_kernels` for the window `sessions`, one of `windows`: (outputs, rows, members).

        All the windows are computed at the first call, in one pass.
        """
        from mltrainer_pipelines.features import nested_kernels

        values = [self.field(name) for name in fields]
        key = (kernel, *fields, *windows, *parameters)
        if key not in self._block.results:
            leasts = np.array([math.ceil(MOST * n) for n in windows], dtype=np.float64)
            self._block.results[key] = getattr(nested_kernels, kernel)(
                *values, np.array(windows, dtype=np.int64), leasts, self.first, *parameters
            )
        return self._block.results[key][:, windows.index(sessions)]

    def _once(self, kernel: str, name: str, sessions: int) -> np.ndarray:
        from mltrainer_pipelines.features import kernels

        values = self.field(name)
        key = (kernel, name, sessions)
        if key not in self._block.results:
            self._block.results[key] = getattr(kernels, kernel)(values, sessions, math.ceil(MOST * sessions), self.first)
        return self._block.results[key]

    def _declared(self, name: str) -> None:
        if name not in self._reads:
            raise LookupError(f"the formula reads {name!r}, which its feature does not declare; add it to reads")


def _talib(function: str, inputs: Sequence[np.ndarray], parameters: Mapping[str, float]) -> np.ndarray:
    """Outputs of a TA-Lib function for each column: (outputs, rows, columns)."""
    import talib

    call: Callable[..., np.ndarray | tuple[np.ndarray, ...]] = getattr(talib, function)
    columns = [np.ascontiguousarray(values.T) for values in inputs]
    known = ~np.isnan(columns[0])
    for values in columns[1:]:
        known &= ~np.isnan(values)
    whole = known.all(axis=1)
    out: np.ndarray | None = None
    for s in range(known.shape[0]):
        kept = slice(None) if whole[s] else known[s]
        if not whole[s] and not known[s].any():
            continue
        results = call(*(values[s, kept] for values in columns), **parameters)
        if out is None:
            out = np.full((len(results) if isinstance(results, tuple) else 1, *known.shape), np.nan)
        out[:, s, kept] = results
    if out is None:
        return np.full((3, *known.T.shape), np.nan)  # nobody has the fields: as many outputs as an indicator can have
    return np.ascontiguousarray(out.transpose(0, 2, 1))
