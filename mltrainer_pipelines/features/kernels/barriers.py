"""Compiled search for the first barrier; numba is imported with this module, so import it late."""

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def first_exit(
    opens: np.ndarray, highs: np.ndarray, lows: np.ndarray, closes: np.ndarray, entry: int, target: float,
    stop: float, max_sessions: int, delisted_after: int, at_close: bool = False,
) -> tuple[int, int, float]:  # fmt: skip
    """Exit of a position entered at row `entry`: (row, barrier number, price); row -1 while it is open.

    It is entered at the row's open, or `at_close`: then the row itself meets no barrier. The barriers are numbered
    target 0, stop 1, time 2, delisted 3. Comparisons with NaN (unknown) are false.
    """
    last_close = closes[entry] if at_close else opens[entry]
    missing = 0
    for row in range(entry + 1 if at_close else entry, len(closes)):
        if closes[row] != closes[row]:
            missing += 1
            if missing == delisted_after:
                return row, 3, last_close
            continue
        missing = 0
        last_close = closes[row]
        if row > entry:
            if opens[row] <= stop:
                return row, 1, opens[row]
            if opens[row] >= target:
                return row, 0, opens[row]
        sessions = row - entry + 1
        if sessions > max_sessions:
            return row, 2, opens[row] if opens[row] == opens[row] else closes[row]
        if lows[row] <= stop:
            return row, 1, stop
        if highs[row] >= target:
            return row, 0, target
        if closes[row] <= stop:
            return row, 1, stop
        if closes[row] >= target:
            return row, 0, target
        if sessions == max_sessions:
            return row, 2, closes[row]
    return -1, -1, np.nan


@_compiled
def first_exits(
    opens: np.ndarray, highs: np.ndarray, lows: np.ndarray, closes: np.ndarray, symbols: np.ndarray,
    entries: np.ndarray, targets: np.ndarray, stops: np.ndarray, max_sessions: int, delisted_after: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """`first_exit` for many positions: column `symbols[i]` of (symbols × sessions) matrices, entered at row `entries[i]`.

    An entry below 0, or a level that is NaN, is no position.
    """
    count = len(entries)
    rows, codes, prices = np.full(count, -1, np.int64), np.full(count, -1, np.int8), np.full(count, np.nan)
    for i in range(count):
        if entries[i] >= 0 and targets[i] == targets[i] and stops[i] == stops[i]:
            s = symbols[i]
            row, code, price = first_exit(
                opens[s], highs[s], lows[s], closes[s], entries[i], targets[i], stops[i], max_sessions, delisted_after
            )
            rows[i], codes[i], prices[i] = row, code, price
    return rows, codes, prices


@_compiled
def trades(
    opens: np.ndarray, highs: np.ndarray, lows: np.ndarray, closes: np.ndarray, symbols: np.ndarray,
    entries: np.ndarray, target: float, stop: float, max_sessions: int, delisted_after: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Positions of one symbol after the other, entered at closes, with barriers at a fixed share of the entry price.

    `symbols` and `entries` are sorted by symbol, then by row; an entry while the symbol's position is open, or on the
    row it ends, is no position: its row is -2.
    """
    count = len(entries)
    rows, codes, prices = np.full(count, -2, np.int64), np.full(count, -1, np.int8), np.full(count, np.nan)
    free_from, symbol = -1, -1
    for i in range(count):
        s = symbols[i]
        if s != symbol:
            symbol, free_from = s, -1
        if entries[i] > free_from:
            entry = closes[s, entries[i]]
            row, code, price = first_exit(
                opens[s], highs[s], lows[s], closes[s], entries[i], entry * (1.0 + target), entry * (1.0 - stop),
                max_sessions, delisted_after, True,
            )  # fmt: skip
            rows[i], codes[i], prices[i] = row, code, price
            free_from = row if row >= 0 else len(closes[s])
    return rows, codes, prices
