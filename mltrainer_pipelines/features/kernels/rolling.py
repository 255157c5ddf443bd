"""Compiled loops of the expression language, over time and across members; numba is imported with this module.

Those over time follow the contract of `nested`: several ascending windows in one pass, `leasts` the values of each that must be
known, results of shape (outputs, windows, rows from `first` on, columns). Those across members treat each row by itself; `least`
is how many of a row must be known.
"""

import math

import numpy as np
from numba import njit

_kernel = njit(cache=True, nogil=True, error_model="numpy")

ROUNDING = 1e-16
"""A sum of squares below this share of the squared level is rounding of a constant."""


@_kernel
def rolling_sums(values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Sum of the known values."""
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
                    out[0, k, t - first, s] = total[s]
    return out


@_kernel
def rolling_product(values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Product of the known values."""
    rows, columns = values.shape
    out = np.full((1, len(windows), rows - first, columns), np.nan)
    for k in range(len(windows)):
        for t in range(max(first, windows[k] - 1), rows):
            for s in range(columns):
                total, count = 1.0, 0.0
                for i in range(t - windows[k] + 1, t + 1):
                    if values[i, s] == values[i, s]:
                        total *= values[i, s]
                        count += 1.0
                if count >= leasts[k]:
                    out[0, k, t - first, s] = total
    return out


@_kernel
def _weighted(values: np.ndarray, t: int, s: int, weights: np.ndarray, least: float) -> float:
    """Weighted mean of the newest values; `weights` begin with the newest. The known ones' weights count."""
    total, weight, count = 0.0, 0.0, 0.0
    for back in range(len(weights)):
        value = values[t - back, s]
        if value == value:
            total += weights[back] * value
            weight += weights[back]
            count += 1.0
    return total / weight if count >= least else np.nan


@_kernel
def rolling_line_weights(values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Mean with weights n, n - 1, … 1 from the newest value back."""
    rows, columns = values.shape
    out = np.full((1, len(windows), rows - first, columns), np.nan)
    for k in range(len(windows)):
        weights = np.arange(windows[k], 0, -1).astype(np.float64)
        for t in range(max(first, windows[k] - 1), rows):
            for s in range(columns):
                out[0, k, t - first, s] = _weighted(values, t, s, weights, leasts[k])
    return out


@_kernel
def rolling_decay(values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Exponentially weighted mean of span `windows`, cut off after four spans."""
    rows, columns = values.shape
    out = np.full((1, len(windows), rows - first, columns), np.nan)
    for k in range(len(windows)):
        length = 4 * windows[k]
        weights = np.empty(length)
        weights[0] = 1.0
        for back in range(1, length):
            weights[back] = weights[back - 1] * (1.0 - 2.0 / (windows[k] + 1.0))
        for t in range(max(first, length - 1), rows):
            for s in range(columns):
                out[0, k, t - first, s] = _weighted(values, t, s, weights, 4.0 * leasts[k])
    return out


@_kernel
def rolling_shape(values: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Sample skewness and sample excess kurtosis, adjusted for the size of the sample as pandas does."""
    rows, columns = values.shape
    out = np.full((2, len(windows), rows - first, columns), np.nan)
    for k in range(len(windows)):
        for t in range(max(first, windows[k] - 1), rows):
            for s in range(columns):
                total, n = 0.0, 0.0
                for i in range(t - windows[k] + 1, t + 1):
                    if values[i, s] == values[i, s]:
                        total += values[i, s]
                        n += 1.0
                if n < leasts[k] or n < 3.0:
                    continue
                mean = total / n
                m2, m3, m4 = 0.0, 0.0, 0.0
                for i in range(t - windows[k] + 1, t + 1):
                    if values[i, s] == values[i, s]:
                        apart = values[i, s] - mean
                        m2 += apart * apart
                        m3 += apart * apart * apart
                        m4 += apart * apart * apart * apart
                if m2 <= ROUNDING * n * mean * mean or m2 == 0.0:
                    continue
                out[0, k, t - first, s] = n * math.sqrt(n - 1.0) / (n - 2.0) * m3 / m2**1.5
                if n > 3.0:
                    scale = n * (n + 1.0) * (n - 1.0) / ((n - 2.0) * (n - 3.0))
                    out[1, k, t - first, s] = scale * m4 / (m2 * m2) - 3.0 * (n - 1.0) ** 2 / ((n - 2.0) * (n - 3.0))
    return out


@_kernel
def rolling_covariance(left: np.ndarray, right: np.ndarray, windows: np.ndarray, leasts: np.ndarray, first: int) -> np.ndarray:
    """Sample covariance over the sessions on which both are known."""
    rows, columns = left.shape
    out = np.full((1, len(windows), rows - first, columns), np.nan)
    for k in range(len(windows)):
        for t in range(max(first, windows[k] - 1), rows):
            for s in range(columns):
                x, y, n = 0.0, 0.0, 0.0
                for i in range(t - windows[k] + 1, t + 1):
                    if left[i, s] + right[i, s] == left[i, s] + right[i, s]:
                        x += left[i, s]
                        y += right[i, s]
                        n += 1.0
                if n < leasts[k] or n < 2.0:
                    continue
                total = 0.0
                for i in range(t - windows[k] + 1, t + 1):
                    if left[i, s] + right[i, s] == left[i, s] + right[i, s]:
                        total += (left[i, s] - x / n) * (right[i, s] - y / n)
                out[0, k, t - first, s] = total / (n - 1.0)
    return out


@_kernel
def element_power(base: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Each value to its power, NaN where that is no real number; element by element, so that places do not matter."""
    out = np.empty_like(base)
    for t in range(base.shape[0]):
        for s in range(base.shape[1]):
            x, p = base[t, s], exponent[t, s]
            known = x == x and p == p and not (x == 0.0 and p < 0.0) and not (x < 0.0 and p != math.floor(p))
            out[t, s] = x**p if known else np.nan
    return out


@_kernel
def row_ranks(values: np.ndarray, least: int) -> np.ndarray:
    """Rank of each value within its row as a share of the known ones, ties at their mean: above 0, 1 the largest."""
    rows, columns = values.shape
    out = np.full((rows, columns), np.nan)
    for t in range(rows):
        present = np.flatnonzero(~np.isnan(values[t]))
        count = len(present)
        if count < least:
            continue
        ordered = present[np.argsort(values[t][present])]
        begin = 0
        while begin < count:
            end = begin + 1
            while end < count and values[t, ordered[end]] == values[t, ordered[begin]]:
                end += 1
            for i in range(begin, end):
                out[t, ordered[i]] = 0.5 * (begin + end + 1) / count
            begin = end
    return out


@_kernel
def row_moments(values: np.ndarray, least: int) -> np.ndarray:
    """Mean, sample standard deviation (NaN of a constant) and sum of absolute values of each row: (3, rows)."""
    rows, columns = values.shape
    out = np.full((3, rows), np.nan)
    for t in range(rows):
        total, absolute, count = 0.0, 0.0, 0
        for s in range(columns):
            if values[t, s] == values[t, s]:
                total += values[t, s]
                absolute += abs(values[t, s])
                count += 1
        if count < least or count < 2:
            continue
        mean, square = total / count, 0.0
        for s in range(columns):
            if values[t, s] == values[t, s]:
                square += (values[t, s] - mean) ** 2
        out[0, t] = mean
        if square > ROUNDING * count * mean * mean and square > 0.0:
            out[1, t] = math.sqrt(square / (count - 1))
        if absolute > 0.0:
            out[2, t] = absolute
    return out


@_kernel
def row_clipped(values: np.ndarray, share: float, least: int) -> np.ndarray:
    """Each row with what lies beyond its quantiles `share` and 1 - `share` set to them."""
    rows, columns = values.shape
    out = np.full((rows, columns), np.nan)
    for t in range(rows):
        present = values[t][~np.isnan(values[t])]
        if len(present) < least:
            continue
        low, high = np.quantile(present, share), np.quantile(present, 1.0 - share)
        for s in range(columns):
            if values[t, s] == values[t, s]:
                out[t, s] = min(max(values[t, s], low), high)
    return out


@_kernel
def row_residual(values: np.ndarray, against: np.ndarray, least: int) -> np.ndarray:
    """Residual of each row's least-squares regression on the row of another matrix."""
    rows, columns = values.shape
    out = np.full((rows, columns), np.nan)
    for t in range(rows):
        x, y, n = 0.0, 0.0, 0
        for s in range(columns):
            if values[t, s] + against[t, s] == values[t, s] + against[t, s]:
                x += against[t, s]
                y += values[t, s]
                n += 1
        if n < least:
            continue
        xx, xy = 0.0, 0.0
        for s in range(columns):
            if values[t, s] + against[t, s] == values[t, s] + against[t, s]:
                xx += (against[t, s] - x / n) ** 2
                xy += (against[t, s] - x / n) * (values[t, s] - y / n)
        slope = xy / xx if xx > ROUNDING * x * x / n and xx > 0.0 else 0.0
        for s in range(columns):
            if values[t, s] + against[t, s] == values[t, s] + against[t, s]:
                out[t, s] = values[t, s] - y / n - slope * (against[t, s] - x / n)
    return out
