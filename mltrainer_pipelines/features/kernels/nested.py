"""Compiled loops that give several windows in one pass; numba is imported with this module, so import it late.

The windows of a row end at the row and lie inside one another, so the loop walks back from the row once and writes a
result wherever a window ends. As in `kernels` nothing is carried over from row to row: each value is a function of
its own window alone, to the last bit. (`order_statistics` keeps a sorted window, but only ever compares values.)

`windows` ascends; `leasts` says how many values of each must be known; `first` is the first row wanted. Results have
the shape (outputs, windows, rows wanted, columns), NaN where unknown. Values are taken relative to the row's own, so
that sums of squares stay exact for prices far from 0.
"""

import math

import numpy as np
from numba import njit

ROUNDING_SHARE = 1e-16
"""A variance below this share of the squared level is rounding of a constant."""

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def _origin(values: np.ndarray, row: int) -> np.ndarray:
    """The row's own values, 0 where unknown: what sums are taken relative to."""
    out = np.empty(values.shape[1])
    for s in range(values.shape[1]):
        out[s] = values[row, s] if values[row, s] == values[row, s] else 0.0
    return out


@_compiled
def moments(values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Mean and sample standard deviation (n - 1)."""
    rows, columns = values.shape
    out = np.full((2, len(windows), rows - first, columns), np.nan)
    total, square, count = np.empty(columns), np.empty(columns), np.empty(columns)
    for t in range(first, rows):
        origin = _origin(values, t)
        total[:], square[:], count[:] = 0.0, 0.0, 0.0
        back = 0
        for k in range(len(windows)):
            if t - windows[k] + 1 < 0:
                break
            while back < windows[k]:
                for s in range(columns):
                    apart = values[t - back, s] - origin[s]
                    present = apart == apart
                    apart = apart if present else 0.0
                    total[s] += apart
                    square[s] += apart * apart
                    count[s] += 1.0 if present else 0.0
                back += 1
            for s in range(columns):
                n = count[s]
                if n >= leasts[k] and n > 1.0:
                    mean = total[s] / n
                    level = origin[s] + mean
                    variance = (square[s] - total[s] * mean) / (n - 1.0)
                    out[0, k, t - first, s] = level
                    out[1, k, t - first, s] = math.sqrt(variance) if variance > ROUNDING_SHARE * level * level else 0.0
    return out


@_compiled
def means(values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Mean alone, of values near 0."""
    rows, columns = values.shape
    out = np.full((1, len(windows), rows - first, columns), np.nan)
    total, count = np.empty(columns), np.empty(columns)
    for t in range(first, rows):
        total[:], count[:] = 0.0, 0.0
        back = 0
        for k in range(len(windows)):
            if t - windows[k] + 1 < 0:
                break
            while back < windows[k]:
                for s in range(columns):
                    value = values[t - back, s]
                    present = value == value
                    total[s] += value if present else 0.0
                    count[s] += 1.0 if present else 0.0
                back += 1
            for s in range(columns):
                if count[s] >= leasts[k]:
                    out[0, k, t - first, s] = total[s] / count[s]
    return out


@_compiled
def line(values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Least-squares line over time: slope a session, R², and the newest value less the line there."""
    rows, columns = values.shape
    out = np.full((3, len(windows), rows - first, columns), np.nan)
    n, sx, sxx = np.empty(columns), np.empty(columns), np.empty(columns)
    sy, sxy, syy = np.empty(columns), np.empty(columns), np.empty(columns)
    for t in range(first, rows):
        origin = _origin(values, t)
        n[:], sx[:], sxx[:], sy[:], sxy[:], syy[:] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        back = 0
        for k in range(len(windows)):
            if t - windows[k] + 1 < 0:
                break
            while back < windows[k]:
                x = -float(back)
                for s in range(columns):
                    y = values[t - back, s] - origin[s]
                    one = 1.0 if y == y else 0.0
                    y = y if y == y else 0.0
                    n[s] += one
                    sx[s] += one * x
                    sxx[s] += one * x * x
                    sy[s] += y
                    sxy[s] += x * y
                    syy[s] += y * y
                back += 1
            for s in range(columns):
                if n[s] >= leasts[k] and n[s] > 2.0:
                    xx, xy, yy = sxx[s] - sx[s] * sx[s] / n[s], sxy[s] - sx[s] * sy[s] / n[s], syy[s] - sy[s] * sy[s] / n[s]
                    slope = xy / xx
                    out[0, k, t - first, s] = slope
                    if yy > ROUNDING_SHARE * n[s] * origin[s] * origin[s]:
                        out[1, k, t - first, s] = xy * xy / (xx * yy)
                    if values[t, s] == values[t, s]:
                        out[2, k, t - first, s] = slope * sx[s] / n[s] - sy[s] / n[s]
    return out


@_compiled
def correlation(left: np.ndarray, right: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Correlation of two fields over the sessions on which both are known."""
    rows, columns = left.shape
    out = np.full((1, len(windows), rows - first, columns), np.nan)
    n, sx, sxx = np.empty(columns), np.empty(columns), np.empty(columns)
    sy, sxy, syy = np.empty(columns), np.empty(columns), np.empty(columns)
    for t in range(first, rows):
        first_left, first_right = _origin(left, t), _origin(right, t)
        n[:], sx[:], sxx[:], sy[:], sxy[:], syy[:] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        back = 0
        for k in range(len(windows)):
            if t - windows[k] + 1 < 0:
                break
            while back < windows[k]:
                for s in range(columns):
                    x, y = left[t - back, s] - first_left[s], right[t - back, s] - first_right[s]
                    present = x + y == x + y
                    x, y = x if present else 0.0, y if present else 0.0
                    n[s] += 1.0 if present else 0.0
                    sx[s] += x
                    sy[s] += y
                    sxx[s] += x * x
                    sxy[s] += x * y
                    syy[s] += y * y
                back += 1
            for s in range(columns):
                if n[s] >= leasts[k] and n[s] > 2.0:
                    xx, yy = sxx[s] - sx[s] * sx[s] / n[s], syy[s] - sy[s] * sy[s] / n[s]
                    least_x, least_y = ROUNDING_SHARE * n[s] * first_left[s] ** 2, ROUNDING_SHARE * n[s] * first_right[s] ** 2
                    if xx > least_x and yy > least_y:
                        out[0, k, t - first, s] = (sxy[s] - sx[s] * sy[s] / n[s]) / math.sqrt(xx * yy)
    return out


@_compiled
def extremes(values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int, sign: float) -> np.ndarray:
    """Highest value (`sign` 1) or lowest (-1), and its place in the window: 1 the oldest session; the oldest of equals."""
    rows, columns = values.shape
    out = np.full((2, len(windows), rows - first, columns), np.nan)
    best, place, count = np.empty(columns), np.empty(columns), np.empty(columns)
    for t in range(first, rows):
        best[:], place[:], count[:] = -np.inf, 0.0, 0.0
        back = 0
        for k in range(len(windows)):
            if t - windows[k] + 1 < 0:
                break
            while back < windows[k]:
                for s in range(columns):
                    value = sign * values[t - back, s]
                    better = value >= best[s]
                    best[s] = value if better else best[s]
                    place[s] = float(back) if better else place[s]
                    count[s] += 1.0 if value == value else 0.0
                back += 1
            for s in range(columns):
                if count[s] >= leasts[k]:
                    out[0, k, t - first, s] = sign * best[s]
                    out[1, k, t - first, s] = windows[k] - place[s]
    return out


@_compiled
def order_statistics(
    values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int, low: float, high: float
) -> np.ndarray:
    """The quantiles `low` and `high` (linear between neighbours), and the newest value's percentile, ties averaged."""
    rows, columns = values.shape
    out = np.full((3, len(windows), rows - first, columns), np.nan)
    kept = np.empty(windows[-1] + 1)
    for k in range(len(windows)):
        window = windows[k]
        begin = max(0, first - window + 1)
        for s in range(columns):
            size = 0
            for t in range(begin, rows):
                gone = values[t - window, s] if t - window >= begin else np.nan
                if gone == gone:
                    at = np.searchsorted(kept[:size], gone)
                    for i in range(at, size - 1):
                        kept[i] = kept[i + 1]
                    size -= 1
                value = values[t, s]
                if value == value:
                    at = np.searchsorted(kept[:size], value)
                    for i in range(size, at, -1):
                        kept[i] = kept[i - 1]
                    kept[at] = value
                    size += 1
                    if t >= first and t - window + 1 >= 0 and size >= leasts[k]:
                        above = at
                        while above < size and kept[above] == value:
                            above += 1
                        out[0, k, t - first, s] = _quantile(kept, size, low)
                        out[1, k, t - first, s] = _quantile(kept, size, high)
                        out[2, k, t - first, s] = 0.5 * (at + above + 1) / size
    return out


@_compiled
def _quantile(ordered: np.ndarray, size: int, share: float) -> float:
    place = share * (size - 1)
    below = int(place)
    above = min(below + 1, size - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
