"""The symbols worth trading in a month, chosen from what was known when the month began."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import UNIVERSE
from mltrainer_pipelines.market.corporate_actions import suspected
from mltrainer_pipelines.market.errors import NoHistoryError
from mltrainer_pipelines.market.listings import Listings, company_bars, listings_of
from mltrainer_pipelines.market.sessions import previous_session, sessions_between
from mltrainer_pipelines.store.lake import Lake

WINDOW_SESSIONS = 60
"""Sessions before the month over which the dollar volume is taken; fewer where the history is shorter."""
MIN_SESSIONS = 15
"""Sessions of history without which no universe is chosen: less than any whole month has."""
MIN_TRADED = 0.9
"""Share of the window's sessions in which a symbol has to have traded."""
_WINDOW_DAYS = timedelta(days=130)
"""Calendar days that surely hold the sessions of the window: of a lake no more files are looked at."""
COMMON_STOCK_TYPES = ("CS", "ADRC")
"""Polygon's ticker types of common stocks and depositary receipts of common stocks."""


def universe_of(
    month: date, bars: pl.DataFrame | pl.LazyFrame, reference: pl.DataFrame | None, size: int, minimum_price: float = 5.0
) -> pl.DataFrame:
    """The `size` most liquid common stocks and ADRs (fewer where fewer qualify) as known at the start of the month of a day.

    Looks only at sessions before the first day of `month`. Counts a symbol that closed above `minimum_price` (dollars) in
    the last of them, traded in at least 90 % of the last 60 (of all there are, where the history is shorter), and ranks by
    the median of close × volume. Symbols that were delisted later are in it while they trade.

    `bars` are unadjusted (`date`, `symbol`, `close`, `volume`) and of all symbols that traded. `reference` has `symbol`,
    `name`, `type`, `sector` of listed and delisted tickers; where it is None, empty, or knows no type at all (a
    recording), every symbol counts; otherwise those of type CS and ADRC. Columns of `UNIVERSE`, by rank; 1 is the most
    liquid. Raises `NoHistoryError` where fewer than 15 sessions of bars lie before the month.

    >>> days = sessions_between(date(2024, 1, 2), date(2024, 1, 31))
    >>> bars = pl.DataFrame({"date": days, "symbol": "AAA", "close": 10.0, "volume": 1e6})
    >>> universe_of(date(2024, 2, 1), bars, None, size=5).select("symbol", "rank").rows()
    [('AAA', 1)]
    """
    return universes_of([month], bars, reference, size, minimum_price)


def universes_of(
    months: Iterable[date],
    bars: pl.DataFrame | pl.LazyFrame,
    reference: pl.DataFrame | None,
    size: int,
    minimum_price: float = 5.0,
) -> pl.DataFrame:
    """`universe_of` for many months, reading the bars once; the same rows, months stacked in the order given.

    Raises `NoHistoryError` for the first month that has too little history.
    """
    starts = [month.replace(day=1) for month in months]
    if not starts:
        return UNIVERSE.empty()
    eligible = _eligible(reference)
    span = (pl.col("date") >= _window_start(min(starts))) & (pl.col("date") < max(starts))
    rows = bars.lazy().filter(span).select("date", "symbol", "close", "volume").collect().sort("date")
    dates = rows.get_column("date")
    universes = []
    for month in starts:
        low, high = dates.search_sorted(_window_start(month), side="left"), dates.search_sorted(month, side="left")
        universes.append(_choose(month, rows.slice(low, high - low), eligible, size, minimum_price))
    return pl.concat(universes)


def universes_in_lake(lake: Lake, months: Sequence[date], reference: pl.DataFrame | None, size: int) -> pl.DataFrame:
    """`universes_of` for months in order, from the bars that the lake has of the sessions before them.

    A symbol that is set aside for a suspected split counts as not traded from that day on.
    """
    first, last = str(months[0] - _WINDOW_DAYS), str(months[-1])
    days = [date.fromisoformat(key) for key in lake.partitions("daily_bars") if first <= key < last]
    bars = company_bars(lake, days, columns=("date", "symbol", "close", "volume"))
    if reference is not None:
        reference = _of_companies(reference, listings_of(lake))
    aside = suspected(lake).group_by("symbol").agg(aside=pl.col("ex_date").min())
    trusted = bars.join(aside, on="symbol", how="left").filter((pl.col("date") < pl.col("aside")).fill_null(value=True))
    return universes_of(months, trusted.drop("aside"), reference, size)


def _of_companies(reference: pl.DataFrame, listings: Listings) -> pl.DataFrame:
    """Reference rows with companies in the place of symbols: those that had them before they were delisted, or have them."""
    day = (pl.col("delisted") - pl.duration(days=1)).fill_null(date.max)
    return listings.companies(reference.with_columns(_day=day), "_day").drop("_day")


def first_universe_month(first_session: date) -> date:
    """The first month that has enough history, where bars begin at `first_session`; as its first day."""
    month = first_session.replace(day=1)
    while True:
        month = (month + timedelta(days=32)).replace(day=1)
        if len(sessions_between(first_session, month - timedelta(days=1))) >= MIN_SESSIONS:
            return month


def _window_start(month: date) -> date:
    """The session 60 before the month: the calendar bounds what is read, so of a lazy lake only the window is loaded."""
    return previous_session(month, WINDOW_SESSIONS)


def _eligible(reference: pl.DataFrame | None) -> pl.DataFrame | None:
    """Name and sector of the symbols that may be chosen; None where nothing is known about any."""
    if reference is None or reference.is_empty() or reference.get_column("type").is_null().all():
        return None
    return (
        reference.filter(pl.col("type").is_in(COMMON_STOCK_TYPES))
        # A ticker that was used twice: the company that has it now describes it.
        .sort("symbol", "active", descending=[False, True])
        .unique("symbol", keep="first", maintain_order=True)
        .select("symbol", pl.col("name").cast(pl.String), pl.col("sector").cast(pl.String))
    )


def _choose(month: date, window: pl.DataFrame, eligible: pl.DataFrame | None, size: int, minimum_price: float) -> pl.DataFrame:
    sessions = window.get_column("date").unique().sort()
    if len(sessions) < MIN_SESSIONS:
        raise NoHistoryError(month, len(sessions), MIN_SESSIONS)
    candidates = window if eligible is None else window.join(eligible.select("symbol"), on="symbol", how="semi")
    ranked = (
        candidates.lazy()
        .group_by("symbol")
        .agg(
            median_dollar_volume=(pl.col("close") * pl.col("volume")).median(),
            traded=pl.len(),
            last=pl.col("date").max(),
            close=pl.col("close").sort_by("date").last(),
        )
        .filter(
            pl.col("last") == sessions[-1],
            pl.col("traded") >= MIN_TRADED * len(sessions),
            pl.col("close") > minimum_price,
            pl.col("median_dollar_volume") > 0,
        )
        .sort("median_dollar_volume", "symbol", descending=[True, False])
        .head(size)
        .with_columns(month=pl.lit(month, pl.Date), rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32))
        .collect()
    )
    if eligible is None:
        described = ranked.with_columns(name=pl.lit(None, pl.String), sector=pl.lit(None, pl.String))
    else:
        described = ranked.join(eligible, on="symbol", how="left", maintain_order="left")
    return UNIVERSE.cast(described)
