"""US stocks from Polygon, through its own client: what is asked for; `responses` checks what comes."""

import re
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
from mltrainer_pipelines.market.bars import MOST_REJECTED, ValidatedBars, require_valid_bars, validate_bars
from mltrainer_pipelines.market.errors import BadActionsError, EmptySessionError, NotFoundError, UnknownSymbolError
from mltrainer_pipelines.market.sessions import NEW_YORK, NotASessionError, is_session
from mltrainer_pipelines.market.vendors.call_budget import CallBudget
from mltrainer_pipelines.market.vendors.polygon.columns import (
    DIVIDEND_COLUMNS,
    HOLIDAY_COLUMNS,
    HOLIDAY_SCHEMA,
    SNAPSHOT_COLUMNS,
    SPLIT_COLUMNS,
    WIRE_BAR,
    WIRE_DIVIDEND,
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

_PAGE_ROWS = 1000
_AGGREGATE_ROWS = 50_000

_SYMBOL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.:\-]*$")


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

        self.base_url = usable_address(base_url, "POLYGON_BASE_URL", "https://api.polygon.io", timeout_s)
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
        return validate_bars(bars(self._answers.frame(rows, WIRE_BAR, answer, what)).drop("start"), session, most_rejected)

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
        frame = self._answers.all(answer, WIRE_SPLIT, what)
        bad = frame.filter(~((pl.col("split_from") > 0) & (pl.col("split_to") > 0)).fill_null(value=False))
        if not bad.is_empty():
            row = bad.row(0, named=True)
            shares = f"{row['split_from']} shares into {row['split_to']}"
            raise BadActionsError(
                f"{what}: {len(bad)} cannot be right, the first: {row['ticker']} on {row['execution_date']} turns {shares}"
            )
        return self._answers.typed(frame, SPLIT_COLUMNS, CORPORATE_ACTIONS.schema, what).sort("symbol", "ex_date")

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
        frame = self._answers.all(answer, WIRE_DIVIDEND, what)
        frame = frame.filter(pl.col("currency").str.to_uppercase().fill_null("USD") == "USD")
        bad = frame.filter(~(pl.col("cash_amount").is_finite() & (pl.col("cash_amount") >= 0)).fill_null(value=False))
        if not bad.is_empty():
            row = bad.row(0, named=True)
            paid = f"{row['ticker']} on {row['ex_dividend_date']} pays {row['cash_amount']}"
            raise BadActionsError(f"{what}: {len(bad)} cannot be right, the first: {paid}")
        return self._answers.typed(frame, DIVIDEND_COLUMNS, CORPORATE_ACTIONS.schema, what).sort("symbol", "ex_date", "cash")

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
        frame = self._answers.all(answer, WIRE_TICKER, what)
        return self._answers.typed(frame, reference_columns(active), REFERENCE_SCHEMA, what).sort("symbol")

    def few_tickers(self, fewer_than: int) -> list[str] | None:
        """Every ticker that is or was listed, sorted, or None once there turn out to be at least `fewer_than`.

        Costs one call for each thousand tickers read, and reads no further than it has to.
        """
        names: set[str] = set()
        for active in (True, False):
            what = f"{'active' if active else 'delisted'} tickers"
            answer = self._rest.list_tickers(
                market="stocks", active=active, sort="ticker", order="asc", limit=_PAGE_ROWS, raw=True
            )
            for page, rows in self._answers.pages(answer, what, count="count"):
                names.update(self._answers.frame(rows, WIRE_TICKER, page, what).get_column("ticker").drop_nulls())
                if len(names) >= fewer_than:
                    return None
        return sorted(names)

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
        frame = self._answers.frame([row], WIRE_TICKER, answer, what)
        return self._answers.typed(frame, reference_columns(active=True), REFERENCE_SCHEMA, what)

    def snapshot(self) -> pl.DataFrame:
        """All tickers as of now, in one call: columns of `SNAPSHOT_SCHEMA`, sorted by symbol. See `quotes.delayed_quotes`."""
        what = "snapshot of all tickers"
        answer = self._rest.get_snapshot_all("stocks", raw=True)
        rows = self._answers.rows(answer, what, key="tickers", count="count")
        frame = self._answers.frame(rows, WIRE_SNAPSHOT, answer, what)
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
