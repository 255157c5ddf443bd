"""Compiled loops over one value a session, as the regime is made of; numba is imported with this module, so import it late.

Every result looks at the window of its row by itself, which at the beginning is as long as the history; `least` is how
many of its values must be known.
"""

import math

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True, error_model="numpy")


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
