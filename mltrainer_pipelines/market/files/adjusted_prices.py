"""What a file's prices are adjusted for, read from the prices themselves: splits that show, and those that do not."""

from math import log

import polars as pl

from mltrainer_pipelines.market.files.side_files import SPLITS

_SEEN = log(1.18)
"""Smallest split (log) that is told from the moves of a day."""
_BESIDE = 5
"""Sessions before and after a split's date within which a step is taken to be its own, dated wrongly."""
_MOST = 0.5
"""Share of the splits without a step above which prices are taken to be adjusted for all of them."""


def without_a_step(splits: pl.DataFrame, bars: pl.DataFrame) -> tuple[int, int]:
    """Of how many splits the price shows no step, and how many there are with prices on both sides."""
    step = (pl.col("open") / pl.col("close").shift(1).over("symbol")).log().abs()
    steps = bars.select("symbol", "date", step=step).with_columns(
        pl.col("step").rolling_max(2 * _BESIDE + 1, min_samples=1, center=True).over("symbol")
    )
    size = pl.col("ratio").log().abs()
    seen = splits.filter(pl.col("ratio") > 0, size > _SEEN).join(
        steps.drop_nulls(), left_on=["symbol", "ex_date"], right_on=["symbol", "date"]
    )
    return seen.filter(pl.col("step") < size / 2).height, seen.height


def prices_are_adjusted(splits: pl.DataFrame, bars: pl.DataFrame) -> bool:
    """Whether the prices have been adjusted for these splits already, as Yahoo's are."""
    missing, seen = without_a_step(splits, bars)
    return seen > 0 and missing > _MOST * seen


def splits_of_adjusted_closes(bars: pl.DataFrame) -> pl.DataFrame:
    """Splits that a column of adjusted closes knows of and the prices beside it show: both step, by the same ratio."""
    if "adj_close" not in bars.columns:
        return pl.DataFrame(schema=SPLITS)
    factor = pl.col("adj_close") / pl.col("close")
    steps = bars.select(
        "symbol",
        ex_date="date",
        exact=factor / factor.shift(1).over("symbol"),
        step=pl.col("open") / pl.col("close").shift(1).over("symbol"),
    ).filter(pl.col("exact").log().abs() > _SEEN, (pl.col("exact").log() + pl.col("step").log()).abs() < 0.25)
    whole = pl.when(pl.col("exact") >= 1).then(_rounded(pl.col("exact"))).otherwise(1 / _rounded(1 / pl.col("exact")))
    return steps.select("symbol", "ex_date", ratio=whole, declared=pl.lit(None, pl.Date)).cast(dict(SPLITS))  # type: ignore[arg-type]


def _rounded(ratio: pl.Expr) -> pl.Expr:
    """The ratio of small whole numbers that a ratio above 1 is meant to be, within its rounding; else itself."""
    meant = ratio
    for parts in (3, 2, 1):
        near = (ratio * parts).round() / parts
        meant = pl.when((near / ratio - 1).abs() < 0.01).then(near).otherwise(meant)
    return meant
