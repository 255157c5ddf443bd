"""One-dimensional arrays of numbers, in time order where time matters: what every statistic here is computed from."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def finite(values: ArrayLike, name: str) -> Floats:
    """One number a period as an array; ValueError, with the input's name, for another shape or a number that is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions; give one number a period")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has {int((~np.isfinite(array)).sum())} values that are not finite; drop or explain them first")
    return array


def aligned(first: ArrayLike, second: ArrayLike, names: str) -> tuple[Floats, Floats]:
    """Two such arrays of one length; `names` names them, as in ``probability and outcome``."""
    one, two = finite(first, names.split()[0]), finite(second, names.split()[-1])
    if one.size != two.size:
        raise ValueError(f"{names}: {one.size} and {two.size} rows; they must be aligned")
    return one, two
