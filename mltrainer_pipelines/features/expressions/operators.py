"""The operators of the expression language: names, arguments, what they compute and in which unit.

Arguments are written as letters: x a series of values, c a condition, n a window in sessions (a whole number, 1 or more), q a
share above 0 and below 1, a any number, g what to neutralize against (``sector`` or a series).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mltrainer_pipelines.features.expressions.tree import PURE, Unit

DECAY = 4
"""Spans after which an exponentially weighted mean is cut off; what is left out weighs e^-8 of the whole."""


@dataclass(frozen=True)
class Operator:
    """An operator: its `arguments`, the `kernel` that computes it and which of the kernel's outputs it is.

    `unit` is how its unit follows from its inputs': same, pure, square, product, window (the power of the window), agree (all
    the same), condition. `reach` gives the sessions before t from the window.
    """

    name: str
    arguments: str
    kernel: str
    summary: str
    output: int = 0
    unit: str = "same"
    reach: Callable[[int], int] = lambda n: n - 1
    least: int = 1
    aliases: tuple[str, ...] = ()


def _at(name: str, arguments: str, kernel: str, unit: str, summary: str, *aliases: str) -> Operator:
    return Operator(name, arguments, kernel, summary, unit=unit, aliases=aliases)


# fmt: off
OVER_TIME = (
    Operator("Ref", "xn", "lag", "x, n sessions ago", reach=lambda n: n, aliases=("lag", "delay")),
    Operator("Delta", "xn", "lag", "x less x of n sessions ago", reach=lambda n: n),
    Operator("Mean", "xn", "means", "mean", aliases=("sma", "ts_mean")),
    Operator("Sum", "xn", "rolling_sums", "sum of the known values", aliases=("ts_sum",)),
    Operator("Std", "xn", "moments", "sample standard deviation", 1, least=2, aliases=("stddev", "ts_std")),
    Operator("Var", "xn", "moments", "sample variance", 1, "square", least=2),
    Operator("Min", "xn", "extremes", "lowest value", -1, aliases=("ts_min",)),
    Operator("Max", "xn", "extremes", "highest value", 1, aliases=("ts_max",)),
    Operator("IdxMin", "xn", "extremes", "place of the lowest value: 1 the oldest session, n now", -2, "pure",
             aliases=("argmin", "ts_argmin")),
    Operator("IdxMax", "xn", "extremes", "place of the highest value: 1 the oldest session, n now", 2, "pure",
             aliases=("argmax", "ts_argmax")),
    Operator("Rank", "xn", "order_statistics", "the newest value's rank among the n, as a share of them", 0, "pure",
             aliases=("ts_rank",)),
    Operator("Quantile", "xnq", "order_statistics", "the quantile q", 1),
    Operator("Med", "xn", "order_statistics", "median", 1, aliases=("median",)),
    Operator("Skew", "xn", "rolling_shape", "sample skewness", 0, "pure", least=3),
    Operator("Kurt", "xn", "rolling_shape", "sample excess kurtosis", 1, "pure", least=4, aliases=("kurtosis",)),
    Operator("Slope", "xn", "line", "slope a session of the least-squares line", 0, least=3),
    Operator("Rsquare", "xn", "line", "R² of the least-squares line", 1, "pure", least=3, aliases=("r_squared",)),
    Operator("Resi", "xn", "line", "the newest value less the least-squares line there", 2, least=3, aliases=("residual",)),
    Operator("Corr", "xxn", "correlation", "correlation of two series", 0, "pure", least=3, aliases=("correlation",)),
    Operator("Cov", "xxn", "rolling_covariance", "sample covariance of two series", 0, "product", least=2,
             aliases=("covariance",)),
    Operator("Product", "xn", "rolling_product", "product of the known values", 0, "window", aliases=("ts_product",)),
    Operator("EMA", "xn", "rolling_decay", f"exponentially weighted mean of span n, over {DECAY} n sessions", 0,
             reach=lambda n: DECAY * n - 1, aliases=("ewm_mean",)),
    Operator("WMA", "xn", "rolling_line_weights", "linearly weighted mean, the newest value n times the oldest", 0,
             aliases=("decay_linear",)),
    Operator("Count", "cn", "rolling_sums", "sessions of the n on which the condition holds", 0, "pure", aliases=("count_if",)),
)
ACROSS = (
    _at("Rank", "x", "row_rank", "pure", "rank among the session's members, as a share of them", "cs_rank"),
    _at("ZScore", "x", "row_zscore", "pure", "distance from the members' mean, in their standard deviations"),
    _at("Demean", "x", "row_demean", "same", "x less the members' mean"),
    _at("Scale", "x", "row_scale", "pure", "x over the sum of the members' absolute values"),
    _at("Scale", "xa", "row_scale", "pure", "the same, times a"),
    _at("Winsorize", "xq", "row_winsorize", "same", "x with the members' lowest and highest share q set to those quantiles"),
    _at("Neutralize", "xg", "row_neutralize", "same",
        "x less its sector's mean; with a series, the residual of the members' regression on it", "indneutralize"),
)
ELEMENTWISE = (
    _at("Abs", "x", "abs", "same", "absolute value"),
    _at("Sign", "x", "sign", "pure", "1, 0 or -1"),
    _at("Log", "x", "log", "pure", "natural logarithm; null where x is not above 0"),
    _at("Sqrt", "x", "sqrt", "root", "square root; null where x is below 0"),
    _at("Raw", "x", "raw", "pure", "x without its unit, for formulas that mix units on purpose"),
    _at("Power", "xx", "power", "power", "x to a power", "pow"),
    _at("SignedPower", "xx", "signed_power", "power", "sign of x times its absolute value to a power"),
    _at("Greater", "xx", "greater", "agree", "the larger of two"),
    _at("Less", "xx", "less", "agree", "the smaller of two"),
    _at("If", "cxx", "where", "choice", "the second where the condition holds, else the third", "where"),
    _at("And", "cc", "all_of", "condition", "both conditions hold"),
    _at("Or", "cc", "any_of", "condition", "one of two conditions holds"),
    _at("Not", "c", "not_", "condition", "the condition does not hold"),
    *(_at(name, "xx", kernel, unit, f"the same as {sign}") for name, kernel, unit, sign in (
        ("Add", "add", "agree", "+"), ("Sub", "subtract", "agree", "-"), ("Mul", "multiply", "times", "*"),
        ("Div", "divide", "over", "/"), ("Gt", "gt", "compared", ">"), ("Ge", "ge", "compared", ">="),
        ("Lt", "lt", "compared", "<"), ("Le", "le", "compared", "<="), ("Eq", "eq", "compared", "=="),
        ("Ne", "ne", "compared", "!="))),
)
# fmt: on
OPERATORS = (*OVER_TIME, *ACROSS, *ELEMENTWISE)
KERNELS: Mapping[str, Operator] = {f"{operator.name}{len(operator.arguments)}": operator for operator in OPERATORS}
"""Operators by name and number of arguments: `Rank(x)` is across the members, `Rank(x, n)` over time."""

CROSS_SECTIONAL = frozenset(operator.kernel for operator in ACROSS)
ROLLING = frozenset(operator.kernel for operator in OVER_TIME) - {"lag"}

BY_NAME: Mapping[str, tuple[Operator, ...]] = {
    name.lower(): tuple(o for o in OPERATORS if name.lower() in (o.name.lower(), *(alias.lower() for alias in o.aliases)))
    for operator in OPERATORS
    for name in (operator.name, *operator.aliases)
}

PRICE: Unit = (("price", 1.0),)
SHARES: Unit = (("shares", 1.0),)
DOLLARS: Unit = (("price", 1.0), ("shares", 1.0))

UNITS: Mapping[str, Unit] = {
    **dict.fromkeys(("open", "high", "low", "close", "price", "vwap", "move", "rise"), PRICE),
    **dict.fromkeys(("volume", "moved_volume", "volume_move", "volume_rise"), SHARES),
    "dollar_volume": DOLLARS,
    "illiquidity": (("price", -1.0), ("shares", -1.0)),
}
"""Units of fields; the others are pure numbers, and each macro series has a unit of its own."""

ABBREVIATIONS: Mapping[str, str] = {
    "returns": "close / Ref(close, 1) - 1",
    "beta": "Cov(log_return, market_return, 60) / Var(market_return, 60)",
}
"""Names that stand for an expression; adv20 is the mean volume of 20 sessions, of any number of sessions likewise."""


def unit_of(field: str) -> Unit:
    return ((field, 1.0),) if field.startswith("macro:") else UNITS.get(field, PURE)
