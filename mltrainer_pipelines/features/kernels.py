"""Compiled loops over windows and over cross-sections; numba is imported with this module, so import it late.

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

NOTHING = 1e-20
"""A variance below this is rounding of a constant."""

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def filled(values):
    """Last known value at or before each row, at most `FILL_LIMIT` rows old."""
    rows, columns = values.shape
    out = values.copy()
    for t in range(rows):
        for s in range(columns):
            back = 1
            while out[t, s] != out[t, s] and back <= FILL_LIMIT and t - back >= 0:
                out[t, s] = values[t - back, s]
                back += 1
    return out


@_compiled
def logarithm(values):
    out = np.empty_like(values)
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            value = values[t, s]
            out[t, s] = math.log(value) if value > 0.0 else np.nan
    return out


@_compiled
def log_return(close, price):
    """Log of each close over the price (the filled close) of the row before."""
    rows, columns = close.shape
    out = np.full((rows, columns), np.nan)
    for t in range(1, rows):
        for s in range(columns):
            out[t, s] = math.log(close[t, s] / price[t - 1, s])
    return out


@_compiled
def mean(values, window, least, first):
    rows, columns = values.shape
    out = np.full((rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        total, count = np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            for s in range(columns):
                value = values[i, s]
                known = value == value
                total[s] += value if known else 0.0
                count[s] += 1.0 if known else 0.0
        for s in range(columns):
            out[t - first, s] = total[s] / count[s] if count[s] >= least else np.nan
    return out


@_compiled
def deviation(values, window, least, first):
    """Sample standard deviation (n - 1)."""
    rows, columns = values.shape
    centre = mean(values, window, least, first)
    out = np.full((rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        total, count = np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            for s in range(columns):
                apart = values[i, s] - centre[t - first, s]
                known = apart == apart
                total[s] += apart * apart if known else 0.0
                count[s] += 1.0 if known else 0.0
        for s in range(columns):
            enough = count[s] >= least and count[s] > 1.0
            out[t - first, s] = math.sqrt(total[s] / (count[s] - 1.0)) if enough else np.nan
    return out


@_compiled
def highest(values, window, least, first):
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
def sign_balance(values, window, least, first):
    """Share of the window's known values above 0 less the share below 0."""
    rows, columns = values.shape
    out = np.full((rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        balance, count = np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            for s in range(columns):
                value = values[i, s]
                balance[s] += (1.0 if value > 0.0 else 0.0) - (1.0 if value < 0.0 else 0.0)
                count[s] += 1.0 if value == value else 0.0
        for s in range(columns):
            out[t - first, s] = balance[s] / count[s] if count[s] >= least else np.nan
    return out


@_compiled
def deepest_fall(values, window, least, first):
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
def trend(values, window, least, first):
    """Least-squares line of the values over time: its slope a session, and R²; shape (2, rows, columns)."""
    rows, columns = values.shape
    out = np.full((2, rows - first, columns), np.nan)
    for t in range(max(first, window - 1), rows):
        n, sx, sy = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            x = float(i - t)
            for s in range(columns):
                known = values[i, s] == values[i, s]
                n[s] += 1.0 if known else 0.0
                sx[s] += x if known else 0.0
                sy[s] += values[i, s] if known else 0.0
        mx, my = sx / n, sy / n
        xx, xy, yy = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            x = float(i - t)
            for s in range(columns):
                known = values[i, s] == values[i, s]
                dx = x - mx[s] if known else 0.0
                dy = values[i, s] - my[s] if known else 0.0
                xx[s] += dx * dx
                xy[s] += dx * dy
                yy[s] += dy * dy
        for s in range(columns):
            if n[s] >= least:
                out[0, t - first, s] = xy[s] / xx[s]
                if yy[s] > NOTHING * n[s]:
                    out[1, t - first, s] = xy[s] * xy[s] / (xx[s] * yy[s])
    return out


@_compiled
def market_model(values, market, window, least, skip, first):
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
                known = values[i, s] + x == values[i, s] + x
                n[s] += 1.0 if known else 0.0
                sx[s] += x if known else 0.0
                sy[s] += values[i, s] if known else 0.0
        mx, my = sx / n, sy / n
        xx, xy, yy = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        older_x, older_y = np.zeros(columns), np.zeros(columns)
        for i in range(t - window + 1, t + 1):
            x = market[i]
            kept = 1.0 if i <= t - skip else 0.0
            for s in range(columns):
                known = values[i, s] + x == values[i, s] + x
                dx = x - mx[s] if known else 0.0
                dy = values[i, s] - my[s] if known else 0.0
                xx[s] += dx * dx
                xy[s] += dx * dy
                yy[s] += dy * dy
                older_x[s] += kept * x if known else 0.0
                older_y[s] += kept * values[i, s] if known else 0.0
        for s in range(columns):
            if n[s] >= least and n[s] > 2.0 and xx[s] > NOTHING * n[s]:
                beta = xy[s] / xx[s]
                unexplained = max(yy[s] - beta * xy[s], 0.0)
                out[0, t - first, s] = beta
                out[1, t - first, s] = xy[s] / math.sqrt(xx[s] * yy[s])
                out[2, t - first, s] = math.sqrt(unexplained / (n[s] - 2.0))
                out[3, t - first, s] = older_y[s] - beta * older_x[s]
    return out


@_compiled
def cross_mean(values, least):
    """Mean of each row; shape (rows,)."""
    rows, columns = values.shape
    out = np.full(rows, np.nan)
    for t in range(rows):
        total, count = 0.0, 0
        for s in range(columns):
            if values[t, s] == values[t, s]:
                total += values[t, s]
                count += 1
        if count >= least and count > 0:
            out[t] = total / count
    return out


@_compiled
def group_mean(values, groups, least):
    """Mean of each row within the group of each column (numbers from 0; below 0: no group, NaN)."""
    rows, columns = values.shape
    out = np.full((rows, columns), np.nan)
    size = 0
    for s in range(columns):
        size = max(size, groups[s] + 1)
    for t in range(rows):
        total, count = np.zeros(size), np.zeros(size)
        for s in range(columns):
            if groups[s] >= 0 and values[t, s] == values[t, s]:
                total[groups[s]] += values[t, s]
                count[groups[s]] += 1.0
        for s in range(columns):
            if groups[s] >= 0 and count[groups[s]] >= least:
                out[t, s] = total[groups[s]] / count[groups[s]]
    return out


@_compiled
def rank(values, least):
    """Percentile of each value within its row, in (0, 1): (average rank - 1/2) / known values."""
    rows, columns = values.shape
    out = np.full((rows, columns), np.nan)
    for t in range(rows):
        known = np.empty(columns)
        count = 0
        for s in range(columns):
            if values[t, s] == values[t, s]:
                known[count] = values[t, s]
                count += 1
        if count < least or count == 0:
            continue
        ordered = np.sort(known[:count])
        for s in range(columns):
            if values[t, s] == values[t, s]:
                below = np.searchsorted(ordered, values[t, s], side="left")
                up_to = np.searchsorted(ordered, values[t, s], side="right")
                out[t, s] = 0.5 * (below + up_to) / count
    return out


@_compiled
def standing(values, groups, least, group_least):
    """Percentile and z-score of each value within its row, then within its group (below 0: none); shape (4, …).

    The percentile is (average rank - 1/2) / known values, the z-score that of the sample standard deviation.
    """
    rows, columns = values.shape
    out = np.full((4, rows, columns), np.nan)
    size = 1
    for s in range(columns):
        size = max(size, groups[s] + 1)
    total, square = np.empty(size + 1), np.empty(size + 1)
    count, seen, equal = np.empty(size + 1), np.empty(size + 1), np.empty(size + 1)
    for t in range(rows):
        known = np.flatnonzero(~np.isnan(values[t]))
        if len(known) == 0:
            continue
        # The last place stands for the whole row, and for the group of those that have none.
        total[:], square[:], count[:], seen[:] = 0.0, 0.0, 0.0, 0.0
        for s in known:
            total[size] += values[t, s]
            count[size] += 1.0
            if groups[s] >= 0:
                total[groups[s]] += values[t, s]
                count[groups[s]] += 1.0
        for s in known:
            square[size] += (values[t, s] - total[size] / count[size]) ** 2
            if groups[s] >= 0:
                square[groups[s]] += (values[t, s] - total[groups[s]] / count[groups[s]]) ** 2
        ordered = known[np.argsort(values[t][known])]
        begin = 0
        while begin < len(ordered):
            end = begin
            while end < len(ordered) and values[t, ordered[end]] == values[t, ordered[begin]]:
                equal[groups[ordered[end]]] = 0.0
                end += 1
            for i in range(begin, end):
                equal[groups[ordered[i]]] += 1.0
            for i in range(begin, end):
                s, g = ordered[i], groups[ordered[i]]
                if count[size] >= least:
                    out[0, t, s] = 0.5 * (begin + end) / count[size]
                    out[1, t, s] = _in_deviations(values[t, s], total[size], square[size], count[size])
                if g >= 0 and count[g] >= group_least:
                    out[2, t, s] = (seen[g] + 0.5 * equal[g]) / count[g]
                    out[3, t, s] = _in_deviations(values[t, s], total[g], square[g], count[g])
            for i in range(begin, end):
                if groups[ordered[i]] >= 0:
                    seen[groups[ordered[i]]] += 1.0
            begin = end
    return out


@_compiled
def _in_deviations(value, total, square, count):
    mean = total / count
    variance = square / (count - 1.0) if count > 1.0 else 0.0
    return (value - mean) / math.sqrt(variance) if variance > 1e-24 + 1e-24 * mean * mean else np.nan


@_compiled
def gather(values, chosen, out):
    """Write the chosen values into `out` (float32, one a chosen value, row by row); what is not finite becomes NaN."""
    place = 0
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if chosen[t, s]:
                out[place] = values[t, s] if abs(values[t, s]) < np.inf else np.nan
                place += 1


@_compiled
def trailing_rank(values, window, least):
    """Share of the window's known values below the newest, ties counting half; shape (rows,)."""
    out = np.full(values.shape[0], np.nan)
    for t in range(values.shape[0]):
        below, count = 0.0, 0
        for i in range(max(0, t - window + 1), t + 1):
            if values[i] == values[i]:
                count += 1
                if values[i] < values[t]:
                    below += 1.0
                elif values[i] == values[t]:
                    below += 0.5
        if values[t] == values[t] and count >= least:
            out[t] = below / count
    return out


@_compiled
def trailing_median(values, window, least):
    """Median of the window's known values; shape (rows,)."""
    out = np.full(values.shape[0], np.nan)
    for t in range(values.shape[0]):
        known = values[max(0, t - window + 1) : t + 1]
        known = known[~np.isnan(known)]
        if len(known) >= least:
            out[t] = np.median(known)
    return out


@_compiled
def winsorised_mean(values, cut, least):
    """Mean of each row after its `cut` smallest and largest share are set to the values at those quantiles."""
    rows, columns = values.shape
    out = np.full(rows, np.nan)
    for t in range(rows):
        known = np.empty(columns)
        count = 0
        for s in range(columns):
            if values[t, s] == values[t, s]:
                known[count] = values[t, s]
                count += 1
        if count < least or count == 0:
            continue
        ordered = np.sort(known[:count])
        edge = int(cut * count)
        total = 0.0
        for i in range(count):
            total += ordered[min(max(i, edge), count - 1 - edge)]
        out[t] = total / count
    return out


@_compiled
def average_lead(returns, window, scale, scale_least):
    """How far a log price is above its mean of `window` rows, in standard errors of a driftless random walk.

    The lead is a weighted sum of the window's returns; its scale is their deviation over the last `scale` rows (at
    least `scale_least` known). Shape (rows,).
    """
    rows = returns.shape[0]
    out = np.full(rows, np.nan)
    for t in range(window - 1, rows):
        lead, squares, known = 0.0, 0.0, True
        for back in range(window - 1):
            weight = (window - 1 - back) / window
            lead += weight * returns[t - back]
            squares += weight * weight
            known = known and returns[t - back] == returns[t - back]
        total, count = 0.0, 0
        for i in range(max(0, t - scale + 1), t + 1):
            if returns[i] == returns[i]:
                total += returns[i]
                count += 1
        if not known or count < scale_least:
            continue
        square = 0.0
        for i in range(max(0, t - scale + 1), t + 1):
            if returns[i] == returns[i]:
                square += (returns[i] - total / count) ** 2
        spread = math.sqrt(square / (count - 1))
        if spread > 1e-10:
            out[t] = lead / (spread * math.sqrt(squares))
    return out


@_compiled
def normal_cdf(values):
    out = np.full(values.shape[0], np.nan)
    for t in range(values.shape[0]):
        out[t] = 0.5 * (1.0 + math.erf(values[t] / math.sqrt(2.0)))
    return out
