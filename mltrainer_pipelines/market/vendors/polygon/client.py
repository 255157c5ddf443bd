"""US stocks from Polygon, through its own client: what is asked for; `responses` checks what comes."""

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
from mltrainer_pipelines.market.bars import MOST_REJECTED, ValidatedBars, require_valid_bars, validate_bars
from mltrainer_pipelines.market.errors import EmptySessionError, NotFoundError, UnknownSymbolError
from mltrainer_pipelines.market.sessions import NEW_YORK, NotASessionError, is_session
from mltrainer_pipelines.market.vendors.call_budget import CallBudget
from mltrainer_pipelines.market.vendors.polygon.columns import (
    DIVIDEND_COLUMNS,
    EVENT_COLUMNS,
    HOLIDAY_COLUMNS,
    HOLIDAY_SCHEMA,
    SNAPSHOT_COLUMNS,
    SPLIT_COLUMNS,
    TICKER_CHANGES,
    WIRE_BAR,
    WIRE_DIVIDEND,
    WIRE_EVENT,
    WIRE_HOLIDAY,
    WIRE_SNAPSHOT,
    WIRE_SPLIT,
    WIRE_TICKER,
    bars,
    reference_columns,
)
from mltrainer_pipelines.market.vendors.polygon.pool import KEY_VARIABLE, SERVICE, ValidatingPool
from mltrainer_pipelines.market.vendors.polygon.responses import PolygonAnswers
from mltrainer_pipelines.market.vendors.protocol import REFERENCE_SCHEMA, SNAPSHOT_SCHEMA
from mltrainer_pipelines.market.vendors.transport import Backoff, usable_address, usable_key

_LIST: Any = {"order": "asc", "limit": 1000, "raw": True}
_AGGREGATE_ROWS = 50_000

_SYMBOL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.:\-]*$")


@dataclass(frozen=True)
class MarketStatus:
    """Whether the market trades ('open', 'closed', 'extended-hours'), by the vendor's own clock."""

    market: str
    server_time: datetime


class PolygonMarket:
    """`MarketData` from Polygon. Each call is tried `backoff.attempts` times; what is returned is complete.

    The key is sent in a header to `base_url` alone, and is in no message, log or repr. `timeout_s` bounds connecting and
    each silence of the server, `total_s` (four times that, unless given) the whole answer. `budget` keeps every HTTP call,
    retries included, within the plan's calls a minute, together with all other processes.

    Every method raises `KeyRefusedError` where the key was not accepted (and so does this for one no header can carry),
    and another `MarketDataError` when the last attempt failed or the answer cannot be believed.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        timeout_s: float = 30.0,
        backoff: Backoff | None = None,
        budget: CallBudget | None = None,
        total_s: float | None = None,
    ):
        try:
            from polygon import RESTClient
        except ModuleNotFoundError:  # the same client under the vendor's new name
            from massive import RESTClient

        self.base_url = usable_address(base_url, "POLYGON_BASE_URL", "https://api.polygon.io", timeout_s)
        self.budget = budget
        key = usable_key(api_key, KEY_VARIABLE, SERVICE)
        self._rest = RESTClient(api_key=key, base=self.base_url, retries=0, pagination=False)
        self._pool = ValidatingPool(key, timeout_s, total_s or 4 * timeout_s, backoff or Backoff(), budget)
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
        """`session_bars` where no bar may break a rule: columns of `DAILY_BARS`, sorted by symbol."""
        return self.session_bars(session, most_rejected=0.0).bars

    def session_bars(self, session: date, most_rejected: float = MOST_REJECTED) -> ValidatedBars:
        """One call; the stray impossible bars are set aside, see `bars.validate_bars`. Nothing is asked on a holiday."""
        if not is_session(session):
            raise NotASessionError(session)
        what = f"grouped daily bars of {session}"
        answer = self._rest.get_grouped_daily_aggs(session.isoformat(), adjusted=False, raw=True)
        rows = self._answers.rows(answer, what)
        if not rows:
            raise EmptySessionError(session)
        return validate_bars(bars(self._answers.frame(rows, WIRE_BAR, answer, what)).drop("start"), session, most_rejected)

    def aggregates(
        self, symbol: str, first: date, last: date, multiplier: int = 1, timespan: str = "day", listed: bool = False
    ) -> pl.DataFrame:
        """Pages of 50,000 base bars; where there is no bar, further calls ask whether the symbol is `listed`."""
        if not _SYMBOL.match(symbol):
            raise UnknownSymbolError(symbol)
        what = f"{multiplier} {timespan} bars of {symbol}"
        span = (multiplier, timespan, first.isoformat(), last.isoformat())
        answer = self._rest.get_aggs(symbol, *span, adjusted=False, sort="asc", limit=_AGGREGATE_ROWS, raw=True)
        frames = [self._answers.frame(rows, WIRE_BAR, page, what) for page, rows in self._answers.pages(answer, what)]
        frame = bars(pl.concat(frames).with_columns(T=pl.lit(symbol))).sort("start")
        if frame.is_empty():
            if not listed and not any(self._lists(symbol, active) for active in (True, False)):
                raise UnknownSymbolError(symbol)
            return frame
        if timespan == "day":
            require_valid_bars(frame.drop("start"))
        return frame

    def splits(self, first: date, last: date) -> pl.DataFrame:
        """Splits that take effect from `first` to `last`, sorted by symbol and date; impossible ones as they came."""
        what = f"splits from {first} to {last}"
        answer = self._rest.list_splits(
            execution_date_gte=first.isoformat(), execution_date_lte=last.isoformat(), sort="execution_date", **_LIST
        )
        frame = self._answers.all(answer, WIRE_SPLIT, what)
        return self._answers.typed(frame, SPLIT_COLUMNS, CORPORATE_ACTIONS.schema, what).sort("symbol", "ex_date")

    def dividends(self, first: date, last: date) -> pl.DataFrame:
        """Cash dividends with an ex-date from `first` to `last`, sorted by symbol and date.

        Regular, special and capital-gain distributions; those in another currency are left out, because their dollar
        value is not in the answer.
        """
        what = f"dividends from {first} to {last}"
        answer = self._rest.list_dividends(
            ex_dividend_date_gte=first.isoformat(), ex_dividend_date_lte=last.isoformat(), sort="ex_dividend_date", **_LIST
        )
        frame = self._answers.all(answer, WIRE_DIVIDEND, what)
        frame = frame.filter(pl.col("currency").str.to_uppercase().fill_null("USD") == "USD")
        return self._answers.typed(frame, DIVIDEND_COLUMNS, CORPORATE_ACTIONS.schema, what).sort("symbol", "ex_date", "cash")

    def reference_tickers(self, as_of: date | None = None, active: bool = True) -> pl.DataFrame:
        """US stocks, sorted by symbol."""
        what = f"{'active' if active else 'delisted'} tickers{f' as of {as_of}' if as_of else ''}"
        day = as_of.isoformat() if as_of else None
        answer = self._rest.list_tickers(market="stocks", date=day, active=active, sort="ticker", **_LIST)
        frame = self._answers.all(answer, WIRE_TICKER, what).filter(pl.col("ticker").is_not_null())
        return self._answers.typed(frame, reference_columns(active), REFERENCE_SCHEMA, what).sort("symbol")

    def few_tickers(self, fewer_than: int) -> list[str] | None:
        """Costs one call for each thousand tickers read, and reads no further than it has to."""
        names: set[str] = set()
        for active in (True, False):
            what = f"{'active' if active else 'delisted'} tickers"
            answer = self._rest.list_tickers(market="stocks", active=active, sort="ticker", **_LIST)
            for page, rows in self._answers.pages(answer, what, count="count"):
                names.update(self._answers.frame(rows, WIRE_TICKER, page, what).get_column("ticker").drop_nulls())
                if len(names) >= fewer_than:
                    return None
        return sorted(names)

    def ticker_details(self, symbol: str, as_of: date | None = None) -> pl.DataFrame:
        """The sector is Polygon's SIC description."""
        if not _SYMBOL.match(symbol):
            raise UnknownSymbolError(symbol)
        what = f"details of {symbol}"
        try:
            answer = self._rest.get_ticker_details(symbol, date=as_of.isoformat() if as_of else None, raw=True)
        except NotFoundError:
            raise UnknownSymbolError(symbol) from None
        row = answer.payload.get("results") if isinstance(answer.payload, dict) else None
        frame = self._answers.frame([row], WIRE_TICKER, answer, what)
        return self._answers.typed(frame, reference_columns(active=True), REFERENCE_SCHEMA, what)

    def composite_figi(self, symbol: str, as_of: date) -> str | None:
        """One call."""
        if not _SYMBOL.match(symbol):
            return None
        try:
            answer = self._rest.get_ticker_details(symbol, date=as_of.isoformat(), raw=True)
        except NotFoundError:
            return None
        row = answer.payload.get("results") if isinstance(answer.payload, dict) else None
        figi = self._answers.frame([row], WIRE_TICKER, answer, f"details of {symbol}")["composite_figi"][0]
        return str(figi) if figi and figi.isalnum() else None

    def ticker_events(self, figi: str) -> pl.DataFrame:
        """One call."""
        what = f"ticker events of {figi}"
        try:
            answer = self._rest.get_ticker_events(figi, types="ticker_change", raw=True)
        except NotFoundError:
            return TICKER_CHANGES.to_frame()
        found = answer.payload.get("results") if isinstance(answer.payload, dict) else None
        rows = found.get("events") if isinstance(found, dict) else None
        frame = self._answers.frame(rows if isinstance(rows, list) else [], WIRE_EVENT, answer, what)
        frame = frame.filter(pl.col("ticker_change").struct.field("ticker").is_not_null())
        return self._answers.typed(frame, EVENT_COLUMNS, TICKER_CHANGES, what).drop_nulls().sort("since")

    def snapshot(self) -> pl.DataFrame:
        """In one call, sorted by symbol."""
        what = "snapshot of all tickers"
        answer = self._rest.get_snapshot_all("stocks", raw=True)
        rows = self._answers.rows(answer, what, key="tickers", count="count")
        frame = self._answers.frame(rows, WIRE_SNAPSHOT, answer, what).filter(pl.col("ticker").is_not_null())
        return self._answers.typed(frame, SNAPSHOT_COLUMNS, SNAPSHOT_SCHEMA, what).sort("symbol")

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
        frame = self._answers.frame(answer.payload, WIRE_HOLIDAY, answer, what)
        return self._answers.typed(frame, HOLIDAY_COLUMNS, HOLIDAY_SCHEMA, what).sort("date", "exchange")

    def _lists(self, symbol: str, active: bool) -> bool:
        answer = self._rest.list_tickers(ticker=symbol, market="stocks", active=active, raw=True)
        rows = self._answers.rows(answer, f"ticker {symbol}", count="count")
        return any(isinstance(row, dict) and row.get("ticker") == symbol for row in rows)
