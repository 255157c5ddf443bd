"""What a vendor changed in bars it had already given: every field that is not what it was."""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import BAR_CORRECTIONS, DAILY_BARS
from mltrainer_pipelines.market.listings import listings_of
from mltrainer_pipelines.market.sessions import previous_session, sessions_between
from mltrainer_pipelines.store.lake import Lake

CORRECTED_SESSIONS = 5
"""Sessions that are fetched again each night."""

_HALF_A_YEAR, _A_WEEK = timedelta(days=183), timedelta(days=7)
_FIELDS = [name for name in DAILY_BARS.schema if name not in ("date", "symbol")]


def sessions_to_check(months: Sequence[date], newest: date) -> list[date]:
    """The sessions to fetch again: the five up to `newest` where they lie in these months, of a month without any all it has."""
    recent = sessions_between(previous_session(newest, CORRECTED_SESSIONS - 1), newest)
    chosen: list[date] = []
    for first in months:
        last = (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        whole = [day for day in sessions_between(first, last) if day <= newest]
        chosen += [day for day in whole if day in recent] or whole
    return chosen


def corrections_between(stored: pl.DataFrame, fetched: pl.DataFrame, seen_on: date) -> pl.DataFrame:
    """The fields in which two versions of the same sessions' bars (columns of `DAILY_BARS`) differ, as seen on a day.

    Columns of `BAR_CORRECTIONS`, sorted by date, symbol and field; empty where nothing changed.
    """
    sides = [
        frame.select("date", "symbol", *(pl.col(name).cast(pl.Float64) for name in _FIELDS)).unpivot(
            index=["date", "symbol"], variable_name="field", value_name=value
        )
        for frame, value in ((stored, "before"), (fetched, "after"))
    ]
    both = sides[0].join(sides[1], on=["date", "symbol", "field"], how="full", coalesce=True)
    changed = both.filter(pl.col("before").ne_missing(pl.col("after"))).with_columns(found=pl.lit(seen_on))
    return BAR_CORRECTIONS.cast(changed).sort("date", "symbol", "field")


def recently_corrected(lake: Lake, today: date) -> pl.DataFrame:
    """date, symbol (company) of the bars of the last half year that the vendor was seen to change in the last week."""
    since = str((today - _HALF_A_YEAR).replace(day=1))
    keys = [key for key in lake.partitions("bar_corrections") if key >= since]
    if not keys:
        return pl.DataFrame(schema={"date": pl.Date, "symbol": pl.String})
    fresh = lake.scan("bar_corrections", keys).filter(pl.col("found") >= today - _A_WEEK)
    return listings_of(lake).companies(fresh.select("date", "symbol").unique().collect())


def recorded(record: pl.DataFrame | None, new: pl.DataFrame) -> pl.DataFrame:
    """The record of corrections with new ones added, each once, in the order in which they were found."""
    whole = new if record is None else pl.concat([record, new])
    return whole.unique(maintain_order=True).sort("found", "date", "symbol", "field", maintain_order=True)


def corrected_bars(corrections: pl.DataFrame) -> int:
    """How many bars a record of corrections is about."""
    return corrections.select(pl.struct("date", "symbol").n_unique()).item() if corrections.height else 0


def months_of(sessions: Sequence[date]) -> list[date]:
    """First days of the months that sessions lie in, in order."""
    return sorted({day.replace(day=1) for day in sessions})
