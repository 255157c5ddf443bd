"""Delayed quotes: the whole market as of 15 minutes ago, and the provisional bars they make."""

import time
from datetime import date, datetime, timedelta

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS, DELAYED_QUOTES
from mltrainer_pipelines.market.bars import validate_bars
from mltrainer_pipelines.market.errors import MarketDataError
from mltrainer_pipelines.market.sessions import NEW_YORK, last_closed_session, open_session, previous_session, session_hours
from mltrainer_pipelines.market.vendors.protocol import MarketData
from mltrainer_pipelines.store.lake import Lake

DELAY = timedelta(minutes=15)
"""Age below which a price is not used."""
STALE_AFTER = timedelta(minutes=30)
"""A price is stale when the symbol has not traded for so long, unless the caller says otherwise."""
_BAR = ("open", "high", "low", "close", "volume", "vwap")
_CLOCK_SKEW = timedelta(seconds=2)
"""How far the exchange's clock may be ahead of ours."""
_LONGEST_SNAPSHOT = timedelta(seconds=120)
"""How long a snapshot may be on its way, while prices go on ageing into it."""


def delayed_quotes(client: MarketData, moment: datetime, stale_after: timedelta = STALE_AFTER) -> pl.DataFrame:
    """What is known of every symbol's newest session at `moment`, from prices at least 15 minutes old; one call.

    The session is the one that was trading at `moment` − 15 minutes, and the last finished one where none was: after
    the close, at night and on weekends that is the finished day; before the open, the session before.

    A symbol that has not traded in a session under way keeps its last close, from the session before, as `close`:
    its open, high, low, volume and vwap are null, and it is stale. Rows whose price is younger than 15 minutes, and
    symbols without any price, are left out.

    `moment` (aware) is now, or pinned. Columns of `DELAYED_QUOTES`, sorted by symbol: `close` is the last delayed price;
    `previous_close` that of the session before `date`, null where the snapshot does not hold it (before the open);
    `updated_at` is when the price was made; `stale` is true where that is more than `stale_after` before `moment` − 15
    minutes or the close, whichever comes first. Raises `MarketDataError` as the client does, and where every price is too
    young or from a later session than `moment`'s, which means that the exchange's clock is not ours.
    """
    if moment.tzinfo is None:
        raise ValueError(f"moment {moment.isoformat()} has no UTC offset")
    moment = moment.astimezone(NEW_YORK)
    asked = time.monotonic()
    snapshot = client.snapshot()
    took = timedelta(seconds=time.monotonic() - asked)  # prices may have aged into the snapshot while it was on its way
    delayed = moment - DELAY
    under_way = open_session(delayed)
    session = under_way or last_closed_session(delayed)
    opens, closes = session_hours(session)
    seen_until = min(delayed, closes)

    price_time = pl.coalesce("traded_at", "updated_at")
    priced_on = price_time.dt.date()
    is_today = (priced_on == session).fill_null(value=False) & pl.col("day_close").is_not_null()
    # Before the open and on weekends the vendor has cleared the day: the session asked for is then the previous one.
    shows_session = under_way is not None or snapshot.select(is_today.any()).item()
    is_previous = ~is_today & pl.lit(not shows_session) & pl.col("previous_close").is_not_null()
    untraded = ~is_today & ~is_previous
    is_older = (priced_on < session).fill_null(value=False)
    last_known = pl.coalesce(pl.when(is_older).then(pl.col("day_close")), "previous_close")
    close_before = session_hours(last_closed_session(opens))[1]

    def of(name: str) -> pl.Expr:
        return pl.when(is_today).then(pl.col(f"day_{name}")).when(is_previous).then(pl.col(f"previous_{name}"))

    quotes = (
        snapshot.lazy()
        .with_columns(
            age_ok=untraded | is_previous | (price_time <= delayed + took + _CLOCK_SKEW),
            quoted_at=pl.when(is_today)
            .then(price_time)
            .when(is_previous)
            .then(pl.lit(closes))
            .when(is_older)
            .then(price_time)
            .otherwise(pl.lit(close_before))
            .dt.cast_time_unit("us"),
        )
        .select(
            as_of=pl.lit(moment),
            date=pl.lit(session),
            symbol="symbol",
            **{name: of(name) for name in ("open", "high", "low")},
            close=pl.when(untraded).then(last_known).otherwise(of("close")),
            volume=of("volume"),
            vwap=of("vwap"),
            previous_close=pl.when(is_today).then(pl.col("previous_close")).when(untraded).then(last_known),
            updated_at="quoted_at",
            stale=pl.col("quoted_at") < pl.lit(seen_until - stale_after),
            age_ok="age_ok",
        )
        .filter(pl.col("close").is_not_null())
        .collect()
    )
    usable = quotes.filter("age_ok")
    if usable.is_empty() and not quotes.is_empty():
        raise MarketDataError(
            f"all {len(quotes)} prices of the snapshot are younger than 15 minutes as of {moment.isoformat()}: the exchange's "
            "clock is ahead of it; check this machine's clock, MLTRAINER_AS_OF, and that POLYGON_BASE_URL is the exchange meant"
        )
    return DELAYED_QUOTES.cast(usable).sort("symbol")


def closing_quotes(lake: Lake, moment: datetime) -> pl.DataFrame:
    """The same without a snapshot: the market as of its last close, from the day's bars in the lake.

    For plans that have no prices during a session. Columns of `DELAYED_QUOTES`; nothing in them is younger than the close of
    the newest session whose bars are there. Raises `MarketDataError` where those are missing that should have come by `moment`.
    """
    due = last_closed_session(moment - DELAY)
    there = [key for key in lake.partitions("daily_bars") if key <= str(due)]
    if not there or there[-1] < str(previous_session(due)):
        raise MarketDataError(
            f"the plan has no prices during a session, and the lake's bars end {f'with {there[-1]}' if there else 'before any'}: "
            f"materialize daily_bars up to {due} first"
        )
    bars = lake.read("daily_bars", there[-1])
    before = lake.read("daily_bars", there[-2]) if len(there) > 1 else bars.clear()
    quotes = bars.join(before.select("symbol", previous_close="close"), on="symbol", how="left").with_columns(
        as_of=pl.lit(moment.astimezone(NEW_YORK)),
        updated_at=pl.lit(session_hours(date.fromisoformat(there[-1]))[1]),
        stale=pl.lit(value=False),
    )
    return DELAYED_QUOTES.cast(quotes.select(*DELAYED_QUOTES.schema)).sort("symbol")


def too_young(quotes: pl.DataFrame) -> pl.DataFrame:
    """Quotes whose price is younger than 15 minutes; empty where all are as `delayed_quotes` gives them."""
    allowed = DELAY - _CLOCK_SKEW - _LONGEST_SNAPSHOT
    return quotes.filter(pl.col("as_of") - pl.col("updated_at") < allowed)


def provisional_bars(quotes: pl.DataFrame) -> pl.DataFrame:
    """The newest session's bars as far as they are known: one for each symbol that has traded in it; empty where none has.

    From `DELAYED_QUOTES` of one session to `DAILY_BARS`: `trades` is null, open is final, high, low, close and volume are
    as of `as_of` − 15 minutes. A quote that breaks a rule of bars makes none.
    """
    traded = quotes.filter(pl.col("open").is_not_null())
    if traded.is_empty():
        return DAILY_BARS.empty()
    sessions = traded.get_column("date").unique().to_list()
    if len(sessions) != 1:
        raise ValueError(f"quotes of {len(sessions)} sessions were given; give those of one")
    return validate_bars(traded.select("date", "symbol", *_BAR), sessions[0], most_rejected=1.0).bars


def sifted_quotes(quotes: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Quotes that can be right, and those that cannot with their `reason`: each costs its own symbol alone.

    A symbol that comes twice is not used: nobody can tell which row is right.

    Raises
    ------
    MarketDataError
        If more than half of the quotes cannot be right: the snapshot as a whole is then not believed.
    """
    traded = quotes.filter(pl.col("open").is_not_null())
    rejected = [
        validate_bars(day.select("date", "symbol", *_BAR), most_rejected=1.0).rejected for day in traded.partition_by("date")
    ]
    no_price = ~(pl.col("close").is_finite() & (pl.col("close") > 0))
    reasons = pl.concat(
        [
            quotes.filter(no_price).select("symbol", reason=pl.lit("close is not a positive number")),
            quotes.filter(pl.col("symbol").is_duplicated()).select("symbol", reason=pl.lit("the symbol comes twice")),
            *(frame.select("symbol", "reason") for frame in rejected),
        ]
    ).unique("symbol", keep="first", maintain_order=True)
    wrong = quotes.join(reasons, on="symbol", how="inner", maintain_order="left")
    if wrong.height > 0.5 * quotes.height:
        symbol, reason = wrong.select("symbol", "reason").row(0)
        raise MarketDataError(
            f"{wrong.height} of the snapshot's {quotes.height} quotes cannot be right, the first: {symbol}: {reason}; "
            "nothing is made of it: ask again later"
        )
    return quotes.filter(~pl.col("symbol").is_in(wrong["symbol"].implode())), wrong
