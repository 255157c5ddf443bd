"""Prints of a final bar that nobody traded at: held against the day's own body and the close before."""

from collections.abc import Collection
from math import log
from typing import Final

import polars as pl

from mltrainer_pipelines.market.bars import ValidatedBars

LARGEST_EXCURSION: Final = 1.6
"""Times the body of the day and the close before it, beyond which a low or a high is no price that was traded."""
LARGEST_MOVE: Final = 2.0
"""Times between open and close beyond which one of them is an error."""


def without_false_prints(bars: ValidatedBars, before: pl.DataFrame | None, right: Collection[str] = ()) -> ValidatedBars:
    """A session's bars without prints that cannot be: a low or high is clipped to open and close, or the bar set aside.

    A low below, or a high above, everything else that is known of the day by more than 1.6 times is clipped. Where open
    and close lie more than twice apart, the bar is set aside. A step of the whole bar is none of this: a split, a
    spin-off, or news. Both go to `rejected` as they came, with the reason.

    Parameters
    ----------
    bars : ValidatedBars
        Of one session.
    before : pl.DataFrame or None
        `symbol`, `close` of the session before, unadjusted, where there is one.
    right : collection of str
        Symbols whose bar a person has confirmed.
    """
    known = pl.DataFrame(schema={"symbol": pl.String, "close": pl.Float64}) if before is None else before
    closes = known.select("symbol", _before="close")
    opened, close = pl.col("open").log(), pl.col("close").log()
    least = pl.min_horizontal("open", "close", "_before")
    most = pl.max_horizontal("open", "close", "_before")
    apart = (opened - close).abs() > log(LARGEST_MOVE)
    low = (least / pl.col("low")).log() > log(LARGEST_EXCURSION)
    high = (pl.col("high") / most).log() > log(LARGEST_EXCURSION)
    if not bars.bars.join(closes, on="symbol", how="left").select((apart | low | high).any()).item():
        return bars
    judged = bars.bars.join(closes, on="symbol", how="left", maintain_order="left").with_columns(
        _apart=apart & ~pl.col("symbol").is_in(list(right)),
        _low=low & ~pl.col("symbol").is_in(list(right)),
        _high=high & ~pl.col("symbol").is_in(list(right)),
    )
    reason = (
        pl.when("_apart")
        .then(pl.format("open {} and close {} lie too far apart: the bar is set aside", "open", "close"))
        .when("_low")
        .then(pl.format("its low of {} lies too far from open, close and the close before: clipped", "low"))
        .when("_high")
        .then(pl.format("its high of {} lies too far from open, close and the close before: clipped", "high"))
    )
    names = bars.bars.columns
    doubted = judged.with_columns(reason=reason).filter(pl.col("reason").is_not_null()).select(*names, "reason")
    kept = judged.filter(~pl.col("_apart")).with_columns(
        low=pl.when("_low").then(pl.min_horizontal("open", "close")).otherwise("low"),
        high=pl.when("_high").then(pl.max_horizontal("open", "close")).otherwise("high"),
        # What a false print is part of is no average of what was traded.
        vwap=pl.when(~pl.col("_low") & ~pl.col("_high")).then("vwap"),
    )
    return ValidatedBars(kept.select(names), pl.concat([bars.rejected, doubted.cast(dict(bars.rejected.schema))]))  # type: ignore[arg-type]
