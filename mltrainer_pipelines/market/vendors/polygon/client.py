"""US stocks from Polygon, through its own client; `polygon_answers` fetches and checks what it asks for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

import polars as pl
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS
from mltrainer_pipelines.market.bars import MOST_REJECTED, ValidatedBars, require_valid_bars, validate_bars
from mltrainer_pipelines.market.errors import BadActionsError, EmptySessionError, NotFoundError, UnknownSymbolError
from mltrainer_pipelines.market.sessions import NEW_YORK, NotASessionError, is_session
from mltrainer_pipelines.market.vendors.call_budget import CallBudget
from mltrainer_pipelines.market.vendors.polygon.responses import KEY_VARIABLE, SERVICE, PolygonAnswers, ValidatingPool
from mltrainer_pipelines.market.vendors.transport import Backoff, usable_key

_PAGE_ROWS = 1000
_AGGREGATE_ROWS = 50_000

_SYMBOL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.:\-]*$")
_WIRE_BAR: Mapping[str, Any] = {
    "t": pl.Int64,
    "T": pl.String,
    "o": pl.Float64,
    "h": pl.Float64,
    "l": pl.Float64,
    "c": pl.Float64,
    "v": pl.Float64,
    "vw": pl.Float64,
    "n": pl.Int64,
}
_MOMENT: Any = pl.Datetime("us", "America/New_York")
_WIRE_TICKER: Mapping[str, Any] = {
    **dict.fromkeys(("ticker", "name", "type", "primary_exchange", "sic_description", "delisted_utc"), pl.String),
    "active": pl.Boolean,
}
_WIRE_SHARES: Mapping[str, Any] = {"split_from": pl.Float64, "split_to": pl.Float64}
_DAY_NAMES = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "vwap": "vw"}
_WIRE_DAY = pl.Struct(dict.fromkeys(_DAY_NAMES.values(), pl.Float64))

REFERENCE_SCHEMA = pl.Schema(
    {
        "symbol": pl.String,
        "name": pl.String,
        "type": pl.String,
        "active": pl.Boolean,
        "primary_exchange": pl.String,
        "sector": pl.String,
        "delisted": pl.Date,
    }
)
"""Listed and delisted tickers. `type` is Polygon's (CS, ADRC, ETF, …); what the vendor does not say is null."""

SNAPSHOT_SCHEMA = pl.Schema(
    {
        "symbol": pl.String,
        "updated_at": _MOMENT,
        "traded_at": _MOMENT,
        **{f"{part}_{name}": pl.Float64 for part in ("day", "previous") for name in _DAY_NAMES},
    }
)
"""The snapshot as it came: `day_*` of the session under way or finished last, `previous_*` of the one before;
null where there is none (the vendor writes 0). `traded_at` is the last trade, null where the plan does not show it."""


@dataclass(frozen=True)
class MarketStatus:
    """Whether the market trades ('open', 'closed', 'extended-hours'), by the vendor's own clock."""

    market: str
    server_time: datetime


class PolygonMarket:
    """Bars, corporate actions, reference data and snapshots of US stocks.

    One instance may be used by several threads. Each call is tried `backoff.attempts` times; what is returned is
    complete, or an error is raised.

    Parameters
    ----------
    base_url : str
        `https://api.polygon.io`, or the local exchange.
    api_key : SecretStr
        Sent in a header to `base_url` alone; in no message, log or repr.
    timeout_s : float
        Seconds an attempt waits to connect, and for each silence of the server; the whole answer has four times that.
    backoff : Backoff
        Attempts, and the waits between them.
    budget : CallBudget, optional
        Keeps every HTTP call, retries included, within the plan's calls a minute, together with all other processes.

    Raises
    ------
    KeyRefusedError
        By every method: the key was not accepted (401, 403). Also here, for a key no header can carry.
    RateLimitedError, UnreachableError, BrokenAnswerError
        By every method, when the last attempt failed or the answer cannot be believed.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        timeout_s: float = 30.0,
        backoff: Backoff | None = None,
        budget: CallBudget | None = None,
    ):
        from polygon import RESTClient

        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"POLYGON_BASE_URL={base_url}: give an http:// or https:// address, such as https://api.polygon.io")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s={timeout_s}: give a positive number of seconds")
        self.base_url = base_url.rstrip("/")
        self.budget = budget
        key = usable_key(api_key, KEY_VARIABLE, SERVICE)
        self._rest = RESTClient(api_key=key, base=self.base_url, retries=0, pagination=False)
        self._pool = ValidatingPool(key, timeout_s, backoff or Backoff(), budget)
        self._rest.client = self._pool
        self._answers = PolygonAnswers(self.base_url, key, self._pool, self._rest.headers)

    def __repr__(self) -> str:
        return f"PolygonMarket({self.base_url!r})"

    @property
    def calls_made(self) -> int:
        """HTTP calls so far, retries included."""
        return self._pool.calls

    @property
    def seconds_waited(self) -> float:
        """Seconds between the calls and their whole answers so far, summed over threads: the server's share of the time."""
        return self._pool.seconds

    def grouped_daily(self, session: date) -> pl.DataFrame:
        """Every symbol's unadjusted bar of one session, in one call.

        Returns
        -------
        pl.DataFrame
            Columns of `DAILY_BARS`, sorted by symbol, validated.

        Raises
        ------
        NotASessionError
            For a weekend or a holiday; nothing is asked then.
        EmptySessionError
            If the exchange has no bar for that session.
        BadBarsError
            If a bar breaks a rule, or is of another day.
        """
        return self.session_bars(session, most_rejected=0.0).bars

    def session_bars(self, session: date, most_rejected: float = MOST_REJECTED) -> ValidatedBars:
        """`grouped_daily` with the stray impossible bars set aside; see `bars.validate_bars`.

        Raises
        ------
        NotASessionError, EmptySessionError, BadBarsError
            As `grouped_daily`; BadBarsError only where more than `most_rejected` of the bars break a rule.
        """
        if not is_session(session):
            raise NotASessionError(session)
        what = f"grouped daily bars of {session}"
        answer = self._rest.get_grouped_daily_aggs(session.isoformat(), adjusted=False, raw=True)
        rows = self._answers.rows(answer, what)
        if not rows:
            raise EmptySessionError(session)
        return validate_bars(_bars(self._answers.frame(rows, _WIRE_BAR, answer, what)).drop("start"), session, most_rejected)

    def aggregates(
        self, symbol: str, first: date, last: date, multiplier: int = 1, timespan: str = "day", listed: bool = False
    ) -> pl.DataFrame:
        """Unadjusted bars of one symbol from `first` to `last`, both included.

        Parameters
        ----------
        multiplier, timespan
            Length of a bar: `1, 'day'`, `15, 'minute'`.
        listed : bool
            The symbol is known to be listed: no further call asks whether it is where it has no bar.

        Returns
        -------
        pl.DataFrame
            `start` (when the bar opens; America/New_York) and the columns of `DAILY_BARS`, sorted by start; empty
            where a known symbol did not trade.

        Raises
        ------
        UnknownSymbolError
            If no such symbol is listed, active or delisted.
        """
        if not _SYMBOL.match(symbol):
            raise UnknownSymbolError(symbol)
        what = f"{multiplier} {timespan} bars of {symbol}"
        answer = self._rest.get_aggs(
            symbol,
            multiplier,
            timespan,
            first.isoformat(),
            last.isoformat(),
            adjusted=False,
            sort="asc",
            limit=_AGGREGATE_ROWS,
            raw=True,
        )
        frames = [self._answers.frame(rows, _WIRE_BAR, page, what) for page, rows in self._answers.pages(answer, what)]
        frame = _bars(pl.concat(frames).with_columns(T=pl.lit(symbol))).sort("start")
        if frame.is_empty():
            if not listed and not any(self._lists(symbol, active) for active in (True, False)):
                raise UnknownSymbolError(symbol)
            return frame
        if timespan == "day":
            require_valid_bars(frame.drop("start"))
        return frame

    def splits(self, first: date, last: date) -> pl.DataFrame:
        """Splits that take effect from `first` to `last`, both included; columns of `CORPORATE_ACTIONS`, sorted by symbol, date.

        Raises
        ------
        BadActionsError
            If a split turns shares into none, or none into shares.
        """
        what = f"splits from {first} to {last}"
        answer = self._rest.list_splits(
            execution_date_gte=first.isoformat(),
            execution_date_lte=last.isoformat(),
            sort="execution_date",
            order="asc",
            limit=_PAGE_ROWS,
            raw=True,
        )
        frame = self._answers.all(answer, {**dict.fromkeys(("id", "ticker", "execution_date"), pl.String), **_WIRE_SHARES}, what)
        bad = frame.filter(~((pl.col("split_from") > 0) & (pl.col("split_to") > 0)).fill_null(value=False))
        if not bad.is_empty():
            row = bad.row(0, named=True)
            shares = f"{row['split_from']} shares into {row['split_to']}"
            raise BadActionsError(
                f"{what}: {len(bad)} cannot be right, the first: {row['ticker']} on {row['execution_date']} turns {shares}"
            )
        columns = {
            "symbol": pl.col("ticker"),
            "ex_date": pl.col("execution_date").str.to_date("%Y-%m-%d"),
            "kind": pl.lit("split"),
            "ratio": pl.col("split_to") / pl.col("split_from"),
            "cash": pl.lit(None),
            "declared": pl.lit(None),
        }
        return self._answers.typed(frame, columns, CORPORATE_ACTIONS.schema, what).sort("symbol", "ex_date")

    def dividends(self, first: date, last: date) -> pl.DataFrame:
        """Cash dividends with an ex-date from `first` to `last`, both included; columns of `CORPORATE_ACTIONS`.

        Regular, special and capital-gain distributions in US dollars; those in another currency are left out, because
        their dollar value is not in the answer.

        Raises
        ------
        BadActionsError
            If a dividend's cash is missing or negative.
        """
        what = f"dividends from {first} to {last}"
        answer = self._rest.list_dividends(
            ex_dividend_date_gte=first.isoformat(),
            ex_dividend_date_lte=last.isoformat(),
            sort="ex_dividend_date",
            order="asc",
            limit=_PAGE_ROWS,
            raw=True,
        )
        text = ("id", "ticker", "ex_dividend_date", "declaration_date", "currency")
        frame = self._answers.all(answer, {**dict.fromkeys(text, pl.String), "cash_amount": pl.Float64}, what)
        frame = frame.filter(pl.col("currency").str.to_uppercase().fill_null("USD") == "USD")
        bad = frame.filter(~(pl.col("cash_amount").is_finite() & (pl.col("cash_amount") >= 0)).fill_null(value=False))
        if not bad.is_empty():
            row = bad.row(0, named=True)
            paid = f"{row['ticker']} on {row['ex_dividend_date']} pays {row['cash_amount']}"
            raise BadActionsError(f"{what}: {len(bad)} cannot be right, the first: {paid}")
        columns = {
            "symbol": pl.col("ticker"),
            "ex_date": pl.col("ex_dividend_date").str.to_date("%Y-%m-%d"),
            "kind": pl.lit("dividend"),
            "ratio": pl.lit(None),
            "cash": pl.col("cash_amount"),
            "declared": pl.col("declaration_date").str.to_date("%Y-%m-%d"),
        }
        return self._answers.typed(frame, columns, CORPORATE_ACTIONS.schema, what).sort("symbol", "ex_date", "cash")

    def reference_tickers(self, as_of: date | None = None, active: bool = True) -> pl.DataFrame:
        """Tickers of US stocks that are listed (`active`), or were and no longer are.

        Parameters
        ----------
        as_of : date, optional
            As the list was on that day; today's without it.

        Returns
        -------
        pl.DataFrame
            Columns of `REFERENCE_SCHEMA`, sorted by symbol.
        """
        what = f"{'active' if active else 'delisted'} tickers{f' as of {as_of}' if as_of else ''}"
        answer = self._rest.list_tickers(
            market="stocks",
            date=as_of.isoformat() if as_of else None,
            active=active,
            sort="ticker",
            order="asc",
            limit=_PAGE_ROWS,
            raw=True,
        )
        frame = self._answers.all(answer, _WIRE_TICKER, what)
        return self._answers.typed(frame, _reference_columns(active), REFERENCE_SCHEMA, what).sort("symbol")

    def few_tickers(self, fewer_than: int) -> list[str] | None:
        """Every ticker that is or was listed, sorted, or None once there turn out to be at least `fewer_than`.

        Costs one call for each thousand tickers read, and reads no further than it has to.
        """
        found: set[str] = set()
        for active in (True, False):
            what = f"{'active' if active else 'delisted'} tickers"
            answer = self._rest.list_tickers(
                market="stocks", active=active, sort="ticker", order="asc", limit=_PAGE_ROWS, raw=True
            )
            for page, rows in self._answers.pages(answer, what, count="count"):
                found.update(self._answers.frame(rows, _WIRE_TICKER, page, what).get_column("ticker").drop_nulls())
                if len(found) >= fewer_than:
                    return None
        return sorted(found)

    def ticker_details(self, symbol: str, as_of: date | None = None) -> pl.DataFrame:
        """One ticker with its sector (Polygon's SIC description), which lists do not hold: one row of `REFERENCE_SCHEMA`.

        Raises
        ------
        UnknownSymbolError
            If there is no such ticker on `as_of` (today without it).
        """
        if not _SYMBOL.match(symbol):
            raise UnknownSymbolError(symbol)
        what = f"details of {symbol}"
        try:
            answer = self._rest.get_ticker_details(symbol, date=as_of.isoformat() if as_of else None, raw=True)
        except NotFoundError:
            raise UnknownSymbolError(symbol) from None
        row = answer.payload.get("results") if isinstance(answer.payload, dict) else None
        frame = self._answers.frame([row], _WIRE_TICKER, answer, what)
        return self._answers.typed(frame, _reference_columns(active=True), REFERENCE_SCHEMA, what)

    def snapshot(self) -> pl.DataFrame:
        """All tickers as of now, in one call: columns of `SNAPSHOT_SCHEMA`, sorted by symbol. See `quotes.delayed_quotes`."""
        what = "snapshot of all tickers"
        answer = self._rest.get_snapshot_all("stocks", raw=True)
        rows = self._answers.rows(answer, what, key="tickers", count="count")
        wire = {
            "ticker": pl.String,
            "updated": pl.Int64,
            "day": _WIRE_DAY,
            "prevDay": _WIRE_DAY,
            "lastTrade": pl.Struct({"t": pl.Int64}),
        }
        frame = self._answers.frame(rows, wire, answer, what)
        moments = {"updated_at": pl.col("updated"), "traded_at": pl.col("lastTrade").struct.field("t")}
        columns = {
            "symbol": pl.col("ticker"),
            **{
                name: pl.from_epoch(pl.when(nanoseconds > 0).then(nanoseconds) // 1000, "us").dt.replace_time_zone("UTC")
                for name, nanoseconds in moments.items()
            },
            **{
                f"{ours}_{name}": pl.when(pl.col(theirs).struct.field("c") != 0).then(pl.col(theirs).struct.field(short))
                for ours, theirs in (("day", "day"), ("previous", "prevDay"))
                for name, short in _DAY_NAMES.items()
            },
        }
        return self._answers.typed(frame, columns, SNAPSHOT_SCHEMA, what).sort("symbol")

    def market_status(self) -> MarketStatus:
        """Whether the market trades now."""
        answer = self._rest.get_market_status(raw=True)
        try:
            moment = datetime.fromisoformat(answer.payload["serverTime"])
            return MarketStatus(str(answer.payload["market"]), moment.astimezone(NEW_YORK))
        except (KeyError, TypeError, ValueError):
            raise self._answers.broken("market status", "market or serverTime is missing or unreadable", answer) from None

    def upcoming_holidays(self) -> pl.DataFrame:
        """Holidays and early closes to come: `date`, `exchange`, `name`, `status` ('closed', 'early-close'), `open`, `close`."""
        what = "upcoming holidays"
        answer = self._rest.get_market_holidays(raw=True)
        if not isinstance(answer.payload, list):
            raise self._answers.broken(what, "the answer is not a list", answer)
        wire = dict.fromkeys(("date", "exchange", "name", "status", "open", "close"), pl.String)
        frame = self._answers.frame(answer.payload, wire, answer, what)
        kinds = {**wire, "date": pl.Date, "open": _MOMENT, "close": _MOMENT}
        columns = {name: pl.col(name) for name in wire} | {
            "date": pl.col("date").str.to_date("%Y-%m-%d"),
            "open": pl.col("open").str.to_datetime(time_zone="UTC"),
            "close": pl.col("close").str.to_datetime(time_zone="UTC"),
        }
        return self._answers.typed(frame, columns, pl.Schema(kinds), what).sort("date", "exchange")

    def _lists(self, symbol: str, active: bool) -> bool:
        answer = self._rest.list_tickers(ticker=symbol, market="stocks", active=active, raw=True)
        rows = self._answers.rows(answer, f"ticker {symbol}", count="count")
        return any(isinstance(row, dict) and row.get("ticker") == symbol for row in rows)


def _reference_columns(active: bool) -> dict[str, pl.Expr]:
    return {
        "symbol": pl.col("ticker"),
        "name": pl.col("name"),
        "type": pl.col("type"),
        "active": pl.col("active").fill_null(active),
        "primary_exchange": pl.col("primary_exchange"),
        "sector": pl.col("sic_description"),
        "delisted": pl.col("delisted_utc").str.head(10).str.to_date("%Y-%m-%d"),
    }


def _bars(frame: pl.DataFrame) -> pl.DataFrame:
    """Wire rows as `start` and the columns of `DAILY_BARS`; the date is the New York day of the bar's time."""
    names = {"T": "symbol", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "vw": "vwap", "n": "trades"}
    start = pl.from_epoch("t", "ms").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    return (
        frame.with_columns(start=start)
        .with_columns(date=pl.col("start").dt.date())
        .rename(names)
        .select("start", *DAILY_BARS.schema)
    )
