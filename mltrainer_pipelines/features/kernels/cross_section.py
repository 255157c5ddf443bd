"""Compiled loops over the members of a session; numba is imported with this module, so import it late.

Matrices have one row a session and one column a member; NaN is unknown. A row's results depend on that row alone.
`least` is how many values of a row (or group) must be known.
"""

import math

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def cross_mean(values: np.ndarray, least: int) -> np.ndarray:
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
def group_mean(values: np.ndarray, groups: np.ndarray, least: int) -> np.ndarray:
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
def ranks_and_zscores(values: np.ndarray, groups: np.ndarray, least: int, group_least: int) -> np.ndarray:
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
        present = np.flatnonzero(~np.isnan(values[t]))
        if len(present) == 0:
            continue
        # The last place stands for the whole row, and for the group of those that have none.
        total[:], square[:], count[:], seen[:] = 0.0, 0.0, 0.0, 0.0
        for m in present:
            total[size] += values[t, m]
            count[size] += 1.0
            if groups[m] >= 0:
                total[groups[m]] += values[t, m]
                count[groups[m]] += 1.0
        for m in present:
            square[size] += (values[t, m] - total[size] / count[size]) ** 2
            if groups[m] >= 0:
                square[groups[m]] += (values[t, m] - total[groups[m]] / count[groups[m]]) ** 2
        ordered = present[np.argsort(values[t][present])]
        begin = 0
        while begin < len(ordered):
            end = begin
            while end < len(ordered) and values[t, ordered[end]] == values[t, ordered[begin]]:
                equal[groups[ordered[end]]] = 0.0
                end += 1
            for i in range(begin, end):
                equal[groups[ordered[i]]] += 1.0
            for i in range(begin, end):
                m, g = ordered[i], groups[ordered[i]]
                if count[size] >= least:
                    out[0, t, m] = 0.5 * (begin + end) / count[size]
                    out[1, t, m] = _in_deviations(values[t, m], total[size], square[size], count[size])
                if g >= 0 and count[g] >= group_least:
                    out[2, t, m] = (seen[g] + 0.5 * equal[g]) / count[g]
                    out[3, t, m] = _in_deviations(values[t, m], total[g], square[g], count[g])
            for i in range(begin, end):
                if groups[ordered[i]] >= 0:
                    seen[groups[ordered[i]]] += 1.0
            begin = end
    return out


@_compiled
def _in_deviations(value: float, total: float, square: float, count: float) -> float:
    mean = total / count
    variance = square / (count - 1.0) if count > 1.0 else 0.0
    return (value - mean) / math.sqrt(variance) if variance > 1e-24 + 1e-24 * mean * mean else np.nan


@_compiled
def winsorised_mean(values: np.ndarray, cut: float, least: int) -> np.ndarray:
    """Mean of each row after its `cut` smallest and largest share are set to the values at those quantiles."""
    rows, columns = values.shape
    out = np.full(rows, np.nan)
    for t in range(rows):
        present = np.empty(columns)
        count = 0
        for s in range(columns):
            if values[t, s] == values[t, s]:
                present[count] = values[t, s]
                count += 1
        if count < least or count == 0:
            continue
        ordered = np.sort(present[:count])
        edge = int(cut * count)
        total = 0.0
        for i in range(count):
            total += ordered[min(max(i, edge), count - 1 - edge)]
        out[t] = total / count
    return out


@_compiled
def gather(values: np.ndarray, chosen: np.ndarray, out: np.ndarray) -> None:
    """Write the chosen values into `out` (float32, one a chosen value, row by row); what is not finite becomes NaN."""
    place = 0
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if chosen[t, s]:
                out[place] = values[t, s] if abs(values[t, s]) < np.inf else np.nan
                place += 1
