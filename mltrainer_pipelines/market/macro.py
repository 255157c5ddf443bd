"""Macro series as they were known: first releases only, each from the session after its publication."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import MACRO_SERIES
from mltrainer_pipelines.market.vendors.protocol import MacroData

FRED_SERIES: Mapping[str, str] = {
    "DGS2": "Treasury yield, 2 years, constant maturity, % a year, daily",
    "DGS10": "Treasury yield, 10 years, constant maturity, % a year, daily",
    "T10Y2Y": "Yield curve: 10 years less 2 years, percentage points, daily",
    "FEDFUNDS": "Effective federal funds rate, % a year, monthly average",
    "BAMLH0A0HYM2": "Credit spread: ICE BofA US high yield, option adjusted, percentage points, daily",
    "VIXCLS": "Volatility: CBOE VIX at the close, % a year, daily",
    "UNRATE": "Unemployment rate, %, monthly",
    "CPIAUCSL": "Consumer prices, all urban consumers, index, monthly",
    "DTWEXBGS": "Dollar: nominal broad index, daily",
    "M2SL": "Money: M2, billions of dollars, monthly",
}
"""FRED ids of rates, curve, credit spread, volatility, labour, inflation, dollar and money, and what they are."""


def fetch_macro(fred: MacroData, series: Iterable[str], first: date, last: date) -> pl.DataFrame:
    """First releases of several series, observations dated `first` to `last`, in the columns of `MACRO_SERIES`.

    `date` is what the value is about, `published` the day it became known; sorted by and unique in series and date.
    An error of the client (`MarketDataError`) comes through: a partial answer is never returned.
    """
    frames = [fred.first_releases(series_id, first, last) for series_id in series]
    if not frames:
        return MACRO_SERIES.empty()
    return MACRO_SERIES.cast(pl.concat(frames)).sort("series_id", "date")


def known_macro(macro: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """What was known of each series at the close of each session: `date` (one row per session, sorted), a column per series.

    A value counts from the session after its publication: at session t those with `published` < t. Of these the one
    with the latest observation date; a revision never replaces it (`macro` holds first releases). The Float64 columns
    are all of `FRED_SERIES`, and what else `macro` holds; null where nothing was known yet or the series is missing.
    """
    table = pl.DataFrame({"date": pl.Series(list(sessions), dtype=pl.Date)})
    parts = macro.drop_nulls(["date", "value", "published"]).partition_by("series_id", as_dict=True)
    by_id = {str(key[0]): part for key, part in parts.items()}
    for series_id in [*FRED_SERIES, *sorted(set(by_id) - set(FRED_SERIES))]:
        if series_id not in by_id:
            table = table.with_columns(pl.lit(None, pl.Float64).alias(series_id))
            continue
        newest = (
            by_id[series_id]
            .sort("published", "date")
            .filter(pl.col("date") == pl.col("date").cum_max())  # an old observation published late does not come back
            .select("published", pl.col("value").cast(pl.Float64).alias(series_id))
            .unique("published", keep="last", maintain_order=True)
        )
        table = table.join_asof(
            newest, left_on="date", right_on="published", strategy="backward", allow_exact_matches=False, check_sortedness=False
        ).drop("published", strict=False)
    return table
