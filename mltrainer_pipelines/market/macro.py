"""Macro series as they were known: first releases only, each from the session after its publication."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import MACRO_SERIES
from mltrainer_pipelines.market.errors import KeyRefusedError, MarketDataError, UnknownSeriesError
from mltrainer_pipelines.market.vendors.protocol import MacroData
from mltrainer_pipelines.store.quarantine import Doubt, doubts_of

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

MOST_MISSING = 0.5
"""Share of the series that may fail: where more do, it is FRED that fails, and nothing is stored."""


def sifted_macro(
    fred: MacroData, series: Sequence[str], first: date, last: date, stored: pl.DataFrame | None
) -> tuple[pl.DataFrame, list[Doubt]]:
    """First releases of every series that can be had, and what is wrong with the rest.

    A series that fails keeps what is `stored` of it; one that is unknown is missing; an observation that cannot be right is
    left out.

    Raises
    ------
    MarketDataError
        If more than half of the series fail, or the key is refused.
    """
    frames, doubts, failures, unknown = [], [], [], []
    for series_id in series:
        try:
            frames.append(fetch_macro(fred, [series_id], first, last))
        except KeyRefusedError:
            raise
        except UnknownSeriesError as error:  # a recording without macro series knows none of them: they are missing, no more
            unknown.append(Doubt(series_id, None, str(error), {"series_id": series_id}))
        except MarketDataError as error:
            failures.append(error)
            doubts.append(Doubt(series_id, None, str(error), {"series_id": series_id}))
            if stored is not None:
                frames.append(stored.filter(pl.col("series_id") == series_id))
    if len(failures) > MOST_MISSING * len(series):
        raise failures[0]
    found = pl.concat([MACRO_SERIES.empty(), *frames])
    if len(unknown) < len(series):
        doubts += unknown
    judged = found.with_columns(
        reason=pl.when(~pl.col("value").is_finite().fill_null(value=False))
        .then(pl.lit("its value is no number"))
        .when((pl.col("published") < pl.col("date")).fill_null(value=True))
        .then(pl.lit("published before the first day that it is about"))
        .when(pl.struct("series_id", "date").is_duplicated())
        .then(pl.lit("several values for one day"))
    )
    wrong = judged.filter(pl.col("reason").is_not_null())
    doubts += doubts_of(wrong.iter_rows(named=True), subject="series_id")
    return judged.filter(pl.col("reason").is_null()).drop("reason"), doubts


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
