"""Compiled loops over windows; numba is imported with this module, so import it late.

Matrices have one row a session and one column a symbol; NaN is unknown. Every function here looks at the window of
each row by itself: nothing is carried over from row to row, so a value is the same, to the last bit, however long
the history before the window and whatever comes after it. The inner loop runs over the symbols, which the compiler
turns into vector instructions. `first` is the first row wanted; results start there. `least` is how many values of a
window must be known.
"""

import math

import numpy as np
from numba import njit

FILL_LIMIT = 5
"""Sessions for which the last close still counts as the price of a symbol that does not trade."""

ROUNDING_VARIANCE = 1e-20
"""A variance below this is rounding of a constant."""

_compiled = njit(cache=True, nogil=True, error_model="numpy")


def filled(values: np.ndarray) -> np.ndarray:
    """Last known value at or before each row, at most `FILL_LIMIT` rows old."""
    out = values.copy()
    for back in range(1, FILL_LIMIT + 1):
        np.copyto(out[back:], values[:-back], where=np.isnan(out[back:]))
    return out


@_compiled
def logarithm(values: np.ndarray) -> np.ndarray:
    out = np.empty_like(values)
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            value = values[t, s]
            out[t, s] = math.log(value) if value > 0.0 else np.nan
    return out


@_compiled
def log_return(close: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Log of each close over the price (the filled close) of the row before."""
    rows, columns = close.shape
    out = np.full((rows, columns), np.nan)
    for t in range(1, rows):
        for s in range(columns):
            out[t, s] = math.log(close[t, s] / price[t - 1, s])
    return out


@_compiled
def mean(values: np.ndarray, window: int, least: int, first: int) -> np.ndarray:
    rows, columns = values.shape
    out = np.full((rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        total, count = np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            for s in range(columns):
                value = values[i, s]
                present = value == value
                total[s] += value if present else 0.0
                count[s] += 1.0 if present else 0.0
        for s in range(columns):
            out[t - first, s] = total[s] / count[s] if count[s] >= least else np.nan
    return out


@_compiled
def deviation(values: np.ndarray, window: int, least: int, first: int) -> np.ndarray:
    """Sample standard deviation (n - 1)."""
    rows, columns = values.shape
    centre = mean(values, window, least, first)
    out = np.full((rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        total, count = np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            for s in range(columns):
                apart = values[i, s] - centre[t - first, s]
                present = apart == apart
                total[s] += apart * apart if present else 0.0
                count[s] += 1.0 if present else 0.0
        for s in range(columns):
            enough = count[s] >= least and count[s] > 1.0
            out[t - first, s] = math.sqrt(total[s] / (count[s] - 1.0)) if enough else np.nan
    return out


@_compiled
def highest(values: np.ndarray, window: int, least: int, first: int) -> np.ndarray:
    rows, columns = values.shape
    out = np.full((rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        best, count = np.full(columns, -np.inf), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            for s in range(columns):
                value = values[i, s]
                best[s] = value if value > best[s] else best[s]
                count[s] += 1.0 if value == value else 0.0
        for s in range(columns):
            out[t - first, s] = best[s] if count[s] >= least else np.nan
    return out


@_compiled
def deepest_fall(values: np.ndarray, window: int, least: int, first: int) -> np.ndarray:
    """Largest fall from a running maximum inside the window, as a fraction (0 or below)."""
    rows, columns = values.shape
    out = np.full((rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        peak, worst, count = np.full(columns, -np.inf), np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            for s in range(columns):
                value = values[i, s]
                peak[s] = value if value > peak[s] else peak[s]
                fall = value / peak[s] - 1.0
                worst[s] = fall if fall < worst[s] else worst[s]
                count[s] += 1.0 if value == value else 0.0
        for s in range(columns):
            out[t - first, s] = worst[s] if count[s] >= least else np.nan
    return out


@_compiled
def trend(values: np.ndarray, window: int, least: int, first: int) -> np.ndarray:
    """Least-squares line of the values over time: its slope a session, and R²; shape (2, rows, columns)."""
    rows, columns = values.shape
    out = np.full((2, rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        n, sx, sy = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            x = float(i - t)
            for s in range(columns):
                present = values[i, s] == values[i, s]
                n[s] += 1.0 if present else 0.0
                sx[s] += x if present else 0.0
                sy[s] += values[i, s] if present else 0.0
        mx, my = sx / n, sy / n
        xx, xy, yy = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            x = float(i - t)
            for s in range(columns):
                present = values[i, s] == values[i, s]
                dx = x - mx[s] if present else 0.0
                dy = values[i, s] - my[s] if present else 0.0
                xx[s] += dx * dx
                xy[s] += dx * dy
                yy[s] += dy * dy
        for s in range(columns):
            if n[s] >= least:
                out[0, t - first, s] = xy[s] / xx[s]
                if yy[s] > ROUNDING_VARIANCE * n[s]:
                    out[1, t - first, s] = xy[s] * xy[s] / (xx[s] * yy[s])
    return out


@_compiled
def market_model(values: np.ndarray, market: np.ndarray, window: int, least: int, skip: int, first: int) -> np.ndarray:
    """Regression of each column on the market over the window; shape (4, rows, columns).

    Beta, correlation, standard deviation of the residuals, and the sum of the residuals without the newest `skip`
    rows, the intercept left in (it is what residual momentum is about).
    """
    rows, columns = values.shape
    out = np.full((4, rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        n, sx, sy = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            x = market[i]
            for s in range(columns):
                present = values[i, s] + x == values[i, s] + x
                n[s] += 1.0 if present else 0.0
                sx[s] += x if present else 0.0
                sy[s] += values[i, s] if present else 0.0
        mx, my = sx / n, sy / n
        xx, xy, yy = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        older_x, older_y = np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            x = market[i]
            kept = 1.0 if i <= t - skip else 0.0
            for s in range(columns):
                present = values[i, s] + x == values[i, s] + x
                dx = x - mx[s] if present else 0.0
                dy = values[i, s] - my[s] if present else 0.0
                xx[s] += dx * dx
                xy[s] += dx * dy
                yy[s] += dy * dy
                older_x[s] += kept * x if present else 0.0
                older_y[s] += kept * values[i, s] if present else 0.0
        for s in range(columns):
            if n[s] >= least and n[s] > 2.0 and xx[s] > ROUNDING_VARIANCE * n[s]:
                beta = xy[s] / xx[s]
                unexplained = max(yy[s] - beta * xy[s], 0.0)
                out[0, t - first, s] = beta
                out[1, t - first, s] = xy[s] / math.sqrt(xx[s] * yy[s])
                out[2, t - first, s] = math.sqrt(unexplained / (n[s] - 2.0))
                out[3, t - first, s] = older_y[s] - beta * older_x[s]
    return out
