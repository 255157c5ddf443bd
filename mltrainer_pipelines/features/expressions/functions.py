"""What operators do to matrices (sessions, members) that are aligned already; NaN is unknown, a denominator of 0 gives NaN."""

from collections.abc import Callable, Mapping

import numpy as np

from mltrainer_pipelines.features.block import MIN_CROSS_SECTION, MIN_SECTOR


def expression_log(x: np.ndarray) -> np.ndarray:
    from mltrainer_pipelines.features.kernels.windows import logarithm

    return logarithm(np.ascontiguousarray(x))


def expression_power(x: np.ndarray, p: np.ndarray) -> np.ndarray:
    from mltrainer_pipelines.features.kernels.rolling import element_power

    base, exponent = np.broadcast_arrays(np.atleast_2d(x), np.atleast_2d(p))
    return element_power(np.ascontiguousarray(base), np.ascontiguousarray(exponent))


def divided(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.divide(x, y) if y.all() else np.where(y == 0.0, np.nan, x / y)


def _compared(holds: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A comparison as 1 and 0, NaN where either side is unknown."""
    return lambda x, y: np.where(np.isnan(x) | np.isnan(y), np.nan, holds(x, y) * 1.0)


def all_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x * y


def any_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(x, y)


def expression_where(c: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(c), np.nan, np.where(c > 0.0, x, y))


ELEMENTS: Mapping[str, Callable[..., np.ndarray]] = {
    "element_abs": np.abs,
    "element_sign": np.sign,
    "element_log": expression_log,
    "element_sqrt": np.sqrt,
    "element_raw": lambda x: x,
    "element_power": expression_power,
    "element_signed_power": lambda x, p: np.sign(x) * expression_power(np.abs(x), p),
    "element_greater": np.maximum,
    "element_less": np.minimum,
    "element_where": expression_where,
    "element_all_of": all_of,
    "element_any_of": any_of,
    "element_not_": lambda c: 1.0 - c,
    "element_add": np.add,
    "element_subtract": np.subtract,
    "element_multiply": np.multiply,
    "element_divide": divided,
    "element_gt": _compared(np.greater),
    "element_ge": _compared(np.greater_equal),
    "element_lt": _compared(np.less),
    "element_le": _compared(np.less_equal),
    "element_eq": _compared(np.equal),
    "element_ne": _compared(np.not_equal),
}
"""By kernel; the prefix keeps their names apart from those that formulas written in Python use."""


def across_members(
    kernel: str, x: np.ndarray, sectors: np.ndarray, against: np.ndarray | None, numbers: tuple[float, ...]
) -> np.ndarray:
    """An operator across the members of each session; `against` is what to neutralize, None for the sector."""
    from mltrainer_pipelines.features.kernels import cross_section, rolling

    if kernel == "row_rank":
        return rolling.row_ranks(x, MIN_CROSS_SECTION)
    if kernel == "row_winsorize":
        return rolling.row_clipped(x, min(numbers[0], 1.0 - numbers[0]), MIN_CROSS_SECTION)
    if kernel == "row_neutralize":
        if against is None:
            return x - cross_section.group_mean(x, sectors, MIN_SECTOR)
        return rolling.row_residual(x, against, MIN_CROSS_SECTION)
    mean, deviation, absolute = rolling.row_moments(x, MIN_CROSS_SECTION)[:, :, None]
    if kernel == "row_zscore":
        return (x - mean) / deviation
    if kernel == "row_demean":
        return x - mean
    return x / absolute * (numbers[0] if numbers else 1.0)
