"""Compiled ranking within groups of rows; numba is imported with this module, so import it late."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def centred_ranks(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mid-ranks of each column within each group of neighbouring rows, from -0.5 to 0.5 exclusive; 0 where unknown.

    Group g is the rows from ``starts[g]`` to before ``starts[g + 1]``. Ties share their mean rank, so that a column that
    is the same for the whole group is 0. NaN is unknown, and a value without another one to compare with is 0.
    """
    rows, columns = values.shape
    out = np.zeros((rows, columns), dtype=np.float32)
    longest = 0
    for g in range(len(starts) - 1):
        longest = max(longest, starts[g + 1] - starts[g])
    present = np.empty(longest, dtype=values.dtype)
    rows_of = np.empty(longest, dtype=np.int64)
    for g in range(len(starts) - 1):
        for j in range(columns):
            count = 0
            for i in range(starts[g], starts[g + 1]):
                if not np.isnan(values[i, j]):
                    present[count] = values[i, j]
                    rows_of[count] = i
                    count += 1
            order = np.argsort(present[:count])
            first = 0
            while first < count:
                end = first + 1
                while end < count and present[order[end]] == present[order[first]]:
                    end += 1
                rank = np.float32(0.5 * (first + end) / count - 0.5)
                for k in range(first, end):
                    out[rows_of[order[k]], j] = rank
                first = end
    return out
