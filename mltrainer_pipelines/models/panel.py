"""Which session, symbol and sector a row belongs to, and where the rows of a symbol's past are.

A table has one row a session and symbol. A model that reads the past of a symbol finds it among the rows it is given:
nothing is copied, a window is a row of positions.
"""

from dataclasses import dataclass

import numpy as np

UNKNOWN = -1
"""Of a sector or an outcome in groups: nobody knows it."""
GROUPS = np.dtype(
    [("session", np.int64), ("symbol", np.int64), ("sector", np.int64), ("other", np.int64), ("outcome", np.float64)]
)


def panel_groups(
    sessions: np.ndarray, symbols: np.ndarray, sectors: np.ndarray | None = None, others: np.ndarray | None = None
) -> np.ndarray:
    """Groups that name session and symbol, (rows,) structured, from (rows,) arrays of int.

    Sessions and symbols are any numbers that are equal for equal ones, sessions' ascending with time. Sectors are equal for
    symbols of one sector in every table that a model is given; others are, of training rows, the outcome of the other timeframe,
    0 or 1. Both are `UNKNOWN` where they are not known, of an outcome: when the window began. The field `outcome`, NaN here,
    is for the session rank of a training row's own outcome, -0.5 to 0.5.
    """
    groups = np.empty(len(sessions), dtype=GROUPS)
    groups["session"], groups["symbol"] = sessions, symbols
    groups["sector"] = UNKNOWN if sectors is None else sectors
    groups["other"] = UNKNOWN if others is None else others
    groups["outcome"] = np.nan
    return groups


def group_field(groups: np.ndarray | None, name: str, rows: int) -> np.ndarray:
    """A field of the groups for each row, (rows,), `UNKNOWN` where they do not have it."""
    if groups is None or name not in (groups.dtype.names or ()):
        return np.full(rows, UNKNOWN, dtype=np.int64)
    return groups[name]


def sessions_of(groups: np.ndarray | None, rows: int) -> np.ndarray:
    """The session of each row, (rows,) int64; without groups each row is one of its own, in the order given."""
    if groups is None:
        return np.arange(rows)
    return np.asarray(groups["session"] if groups.dtype.names else groups).astype(np.int64)


def in_canonical_order(
    X: np.ndarray, y: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The rows in their `canonical_order`."""
    order = canonical_order(X, y, groups)
    return (X, y, groups) if groups is None or order is None else (X[order], y[order], groups[order])


def canonical_order(X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> np.ndarray | None:
    """An order of the rows that does not depend on how rows of one session are ordered, None where it is theirs already.

    By session, within it by symbol, or by content where groups do not tell symbols apart: two tables with the same rows a
    session give the same fit, to the last bit. `subsample` such rows: every k-th one could be of the same few symbols.
    """
    if groups is None:
        return None
    sessions = sessions_of(groups, len(X))
    if groups.dtype.names:
        symbols = np.asarray(groups["symbol"])
        if _ascends(sessions, symbols):
            return None
        order = np.lexsort((symbols, sessions))
        if _ascends(sessions[order], symbols[order]):
            return order
    words = np.ascontiguousarray(X, dtype=np.float32).view(np.uint32)
    odd = np.random.default_rng(0).integers(1, 2**63, size=(X.shape[1],), dtype=np.uint64) | np.uint64(1)
    content = np.zeros(len(X), dtype=np.uint64)
    for column, factor in enumerate(odd):  # column by column: no second matrix of 64-bit words
        content += (words[:, column].astype(np.uint64) + np.uint64(column + 1)) * factor
    return np.lexsort((y, content, sessions))


def _ascends(sessions: np.ndarray, symbols: np.ndarray) -> bool:
    """Whether rows are in order of session and symbol, no two of them the same."""
    later, same = sessions[1:] > sessions[:-1], sessions[1:] == sessions[:-1]
    return bool((later | (same & (symbols[1:] > symbols[:-1]))).all())


def subsample(count: int, rows: int) -> np.ndarray:
    """So many positions of a table's, ascending, the same ones for the same length; all of a shorter table's."""
    if count <= rows:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, rows, replace=False))


@dataclass(frozen=True)
class History:
    """Where each row's past is among the rows of a table.

    `grid` (sessions, symbols) holds the row of a symbol at a session, -1 where the table has none; `session` and `symbol` (rows,)
    are the place of each row in it.
    """

    grid: np.ndarray
    session: np.ndarray
    symbol: np.ndarray

    @classmethod
    def of(cls, groups: np.ndarray | None, rows: int) -> "History":
        """From groups; without symbols no row has a past."""
        if groups is None or not groups.dtype.names:
            return cls(np.arange(rows, dtype=np.int32).reshape(1, -1), np.zeros(rows, np.int32), np.arange(rows, dtype=np.int32))
        sessions, session = np.unique(groups["session"], return_inverse=True)
        symbols, symbol = np.unique(groups["symbol"], return_inverse=True)
        grid = np.full((len(sessions), len(symbols)), -1, dtype=np.int32)
        grid[session, symbol] = np.arange(rows, dtype=np.int32)
        if np.count_nonzero(grid >= 0) != rows:
            raise ValueError("groups name the same session and symbol twice; give one row for each")
        return cls(grid, session.astype(np.int32), symbol.astype(np.int32))

    def windows(self, rows: np.ndarray, length: int, step: int = 1) -> np.ndarray:
        """Positions of the last `length` rows of each row's symbol, `step` sessions apart, the row itself last.

        (rows, length) int32; -1 where the table has no such row.
        """
        lags = np.arange(length - 1, -1, -1, dtype=np.int32) * step
        at = self.session[rows][:, None] - lags
        positions = self.grid[np.maximum(at, 0), self.symbol[rows][:, None]]
        return np.where(at >= 0, positions, np.int32(-1))
