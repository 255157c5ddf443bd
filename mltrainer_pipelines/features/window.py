"""What a feature's formula sees, and the vocabulary it is written in."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mltrainer_pipelines.contracts.ranks import column_percentiles
from mltrainer_pipelines.features.block import MIN_CROSS_SECTION, MIN_SECTOR, Block
from mltrainer_pipelines.features.spec import FIELDS, SERIES

MOST = 0.8
"""Share of a window's values that must be known for a result."""

TINY = 1e-10
"""A deviation below this is rounding of a constant price, not volatility."""


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

    @property
    def month_block(self) -> Block:
        """The whole block, for expressions, which keep shared results in it."""
        return self._block

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

    def trailing(self, name: str, sessions: int) -> np.ndarray:
        """The field over the last `sessions` sessions of each one wanted, the newest last: (rows, members, sessions)."""
        values = self.field(name)
        lacking = max(0, sessions - 1 - self.first)
        padded = np.vstack([np.full((lacking, values.shape[1]), np.nan), values])
        return np.lib.stride_tricks.sliding_window_view(padded, sessions, axis=0)[self.first + lacking - sessions + 1 :]

    def sector_average(self, values: np.ndarray) -> np.ndarray:
        """Mean of the session's members of the symbol's sector; of all members where it is unknown or has fewer than 3."""
        from mltrainer_pipelines.features.kernels import cross_section as cross_kernels

        present = np.where(self._block.traded, values, np.nan)
        own = cross_kernels.group_mean(present, self._block.sectors, MIN_SECTOR)
        return np.where(np.isnan(own), self.members_mean(values), own)

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
        from mltrainer_pipelines.features.kernels import windows as kernels

        self._declared("log_return")
        market = self.field("market_return")
        key = ("market_model", sessions, skip)
        if key not in self._block.results:
            least = math.ceil(MOST * sessions)
            self._block.results[key] = self._by_columns(
                kernels.market_model, ["log_return"], market[:, 0], sessions, least, skip, self.first
            )
        return self._block.results[key]

    def log(self, values: np.ndarray) -> np.ndarray:
        """Natural log; NaN where the value is not above 0."""
        from mltrainer_pipelines.features.kernels import windows as kernels

        return kernels.logarithm(values)

    def rank(self, values: np.ndarray) -> np.ndarray:
        """Percentile within the members of the session, in (0, 1)."""
        present = np.where(self._block.traded & ~np.isnan(values), values, np.nan)
        enough = (~np.isnan(present)).sum(axis=1, keepdims=True) >= MIN_CROSS_SECTION
        return np.where(enough, column_percentiles(present.T).T, np.nan)

    def ranks_and_zscores(self, name: str) -> np.ndarray:
        """Rank and z-score of an earlier feature within the session's members, then within the sector: (4, …)."""
        from mltrainer_pipelines.features.kernels import cross_section as cross_kernels

        key = ("ranks_and_zscores", name)
        values = self.feature(name)
        if key not in self._block.results:
            self._block.results[key] = cross_kernels.ranks_and_zscores(values, self._block.sectors, MIN_CROSS_SECTION, MIN_SECTOR)
        return self._block.results[key]

    def members_mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over the members that trade on the session; the same value for each."""
        from mltrainer_pipelines.features.kernels import cross_section as cross_kernels

        level = cross_kernels.cross_mean(np.where(self._block.traded, values, np.nan), MIN_CROSS_SECTION)
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

    def nested(self, kernel: str, fields: Sequence[str], windows: Sequence[int], sessions: int, *parameters: float) -> np.ndarray:
        """Outputs of a kernel of `nested_kernels` for the window `sessions`, one of `windows`: (outputs, rows, members).

        All the windows are computed at the first call, in one pass.
        """
        from mltrainer_pipelines.features.kernels import nested as nested_kernels

        for name in fields:
            self._declared(name)
        key = (kernel, *fields, *windows, *parameters)
        if key not in self._block.results:
            leasts = np.array([math.ceil(MOST * n) for n in windows], dtype=np.float64)
            self._block.results[key] = self._by_columns(
                getattr(nested_kernels, kernel), fields, np.array(windows, dtype=np.int64), leasts, self.first, *parameters
            )
        return self._block.results[key][:, windows.index(sessions)]

    def _once(self, kernel: str, name: str, sessions: int) -> np.ndarray:
        from mltrainer_pipelines.features.kernels import windows as kernels

        self._declared(name)
        key = (kernel, name, sessions)
        if key not in self._block.results:
            least = math.ceil(MOST * sessions)
            self._block.results[key] = self._by_columns(getattr(kernels, kernel), [name], sessions, least, self.first)
        return self._block.results[key]

    def _by_columns(self, kernel: Callable[..., np.ndarray], fields: Sequence[str], *parameters: object) -> np.ndarray:
        """A kernel that treats each column by itself, on as many columns at a time as stay in the processor's cache."""
        pieces = [self._block.pieces(name) if name in FIELDS else [self.field(name)] for name in fields]
        parts = [kernel(*piece, *parameters) for piece in zip(*pieces, strict=True)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def _declared(self, name: str) -> None:
        if name not in self._reads:
            raise LookupError(f"the formula reads {name!r}, which its feature does not declare; add it to reads")


def _talib(function: str, inputs: Sequence[np.ndarray], parameters: Mapping[str, float]) -> np.ndarray:
    """Outputs of a TA-Lib function for each column: (outputs, rows, columns)."""
    import talib

    # Unwrapped: the wrapper looks at every argument of every call for a frame of pandas or Polars.
    call: Callable[..., np.ndarray | tuple[np.ndarray, ...]] = inspect.unwrap(getattr(talib, function))
    columns = [np.ascontiguousarray(values.T) for values in inputs]
    present = ~np.isnan(columns[0])
    for values in columns[1:]:
        present &= ~np.isnan(values)
    whole = present.all(axis=1)
    out: np.ndarray | None = None
    for s in range(present.shape[0]):
        kept = slice(None) if whole[s] else present[s]
        if not whole[s] and not present[s].any():
            continue
        results = call(*(values[s, kept] for values in columns), **parameters)
        if out is None:
            out = np.full((len(results) if isinstance(results, tuple) else 1, *present.shape), np.nan)
        out[:, s, kept] = results
    if out is None:
        return np.full((3, *present.T.shape), np.nan)  # nobody has the fields: as many outputs as an indicator can have
    return np.ascontiguousarray(out.transpose(0, 2, 1))
