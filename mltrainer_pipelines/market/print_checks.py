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
_NEAR_A_POWER: Final = 1.35
"""How far, times, a bar may lie beside ten, a hundred or a thousand times the close before, or that part of it."""


def without_false_prints(bars: ValidatedBars, before: pl.DataFrame | None, right: Collection[str] = ()) -> ValidatedBars:
    """A session's bars without prints that cannot be: a low or high is clipped to open and close, or the bar set aside.

    A low below, or a high above, everything else that is known of the day by more than 1.6 times is clipped. Where open
    and close lie more than twice apart, the bar is set aside, and so is one whose point slipped: ten, a hundred or a
    thousand times the close before, or that part of it, with as many shares traded as before. Any other step of the whole
    bar is none of this: a split (of which the shares traded tell as well), a spin-off, or news. What is clipped or set
    aside goes to `rejected` as it came, with the reason.

    Parameters
    ----------
    bars : ValidatedBars
        Of one session.
    before : pl.DataFrame or None
        `symbol`, `close`, `volume` of the session before, unadjusted, where there is one.
    right : collection of str
        Symbols whose bar a person has confirmed.
    """
    kinds = {"symbol": pl.String, "close": pl.Float64, "volume": pl.Float64}
    known = pl.DataFrame(schema=kinds) if before is None else before
    closes = known.select("symbol", _before="close", _shares="volume")
    opened, close = pl.col("open").log(), pl.col("close").log()
    least = pl.min_horizontal("open", "close", "_before")
    most = pl.max_horizontal("open", "close", "_before")
    apart = (opened - close).abs() > log(LARGEST_MOVE)
    low = (least / pl.col("low")).log() > log(LARGEST_EXCURSION)
    high = (pl.col("high") / most).log() > log(LARGEST_EXCURSION)
    slipped = _slipped()
    if not bars.bars.join(closes, on="symbol", how="left").select((apart | low | high | slipped).any()).item():
        return bars
    judged = bars.bars.join(closes, on="symbol", how="left", maintain_order="left").with_columns(
        _apart=apart & ~pl.col("symbol").is_in(list(right)),
        _slipped=slipped.fill_null(value=False) & ~pl.col("symbol").is_in(list(right)),
        _low=low & ~pl.col("symbol").is_in(list(right)),
        _high=high & ~pl.col("symbol").is_in(list(right)),
    )
    reason = (
        pl.when("_apart")
        .then(pl.format("open {} and close {} lie too far apart: the bar is set aside", "open", "close"))
        .when("_slipped")
        .then(pl.format("{} after a close of {}, with as many shares traded: its point slipped", "close", "_before"))
        .when("_low")
        .then(pl.format("its low of {} lies too far from open, close and the close before: clipped", "low"))
        .when("_high")
        .then(pl.format("its high of {} lies too far from open, close and the close before: clipped", "high"))
    )
    names = bars.bars.columns
    doubted = judged.with_columns(reason=reason).filter(pl.col("reason").is_not_null()).select(*names, "reason")
    kept = judged.filter(~pl.col("_apart") & ~pl.col("_slipped")).with_columns(
        low=pl.when("_low").then(pl.min_horizontal("open", "close")).otherwise("low"),
        high=pl.when("_high").then(pl.max_horizontal("open", "close")).otherwise("high"),
        # What a false print is part of is no average of what was traded.
        vwap=pl.when(~pl.col("_low") & ~pl.col("_high")).then("vwap"),
    )
    return ValidatedBars(kept.select(names), pl.concat([bars.rejected, doubted.cast(dict(bars.rejected.schema))]))  # type: ignore[arg-type]


def _slipped() -> pl.Expr:
    """Whether a whole bar is a power of ten beside the close before, and its shares are not: a split moves both."""
    steps = [(pl.col(name) / pl.col("_before")).log() for name in ("open", "close")]
    power = (steps[1] / log(10)).round()
    beside = [(step - power * log(10)).abs() < log(_NEAR_A_POWER) for step in steps]
    shares = (pl.col("volume") / pl.col("_shares")).log()
    as_many = shares.is_finite() & (shares.abs() < (shares + steps[1]).abs())
    return (power != 0) & beside[0] & beside[1] & as_many
