"""What a data vendor offers, whichever it is: US stocks, or macro series. A vendor is a folder beside this module."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl
from pydantic import SecretStr

from mltrainer_pipelines.market.bars import ValidatedBars
from mltrainer_pipelines.market.vendors.call_budget import CallBudget

_MOMENT: Any = pl.Datetime("us", "America/New_York")
_DAY_NAMES = ("open", "high", "low", "close", "volume", "vwap")

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
"""Listed and delisted tickers; what the vendor does not say is null.

`type` is CS for a common stock, ADRC for a depositary receipt, ETF, …"""

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


class MarketData(Protocol):
    """Bars, corporate actions, reference data and prices of US stocks; every answer is complete, or an error of `market.errors`.

    One instance may be used by several threads.
    """

    @property
    def budget(self) -> CallBudget | None:
        """The plan's calls a minute; None without a limit."""
        ...

    def session_bars(self, session: date, most_rejected: float = ...) -> ValidatedBars:
        """Every symbol's unadjusted bar of one session, sorted by symbol, impossible ones set aside.

        Raises `NotASessionError` for a weekend or a holiday, `EmptySessionError` where the vendor has no bar of the session,
        `BadBarsError` where more than `most_rejected` of the bars break a rule, or are of another day.
        """
        ...

    def aggregates(
        self, symbol: str, first: date, last: date, multiplier: int = ..., timespan: str = ..., listed: bool = ...
    ) -> pl.DataFrame:
        """Unadjusted bars of one symbol from `first` to `last`, both included; their length is `1, 'day'` or `15, 'minute'`.

        `start` (when the bar opens; America/New_York) and the columns of `DAILY_BARS`, sorted by start; empty where a known
        symbol did not trade. Raises `UnknownSymbolError` where no such symbol is listed, active or delisted; with `listed` it
        is known to be, and nothing further is asked where it has no bar.
        """
        ...

    def splits(self, first: date, last: date) -> pl.DataFrame:
        """Columns of `CORPORATE_ACTIONS`, by the day they take effect, impossible ones among them; see `sifted_actions`."""
        ...

    def dividends(self, first: date, last: date) -> pl.DataFrame:
        """Cash dividends in US dollars, columns of `CORPORATE_ACTIONS`, by ex-date, as `splits`."""
        ...

    def reference_tickers(self, as_of: date | None = None, active: bool = True) -> pl.DataFrame:
        """Tickers that are listed on `as_of` (`active`; today without it), or were; columns of `REFERENCE_SCHEMA`."""
        ...

    def few_tickers(self, fewer_than: int) -> list[str] | None:
        """Every ticker that is or was listed, sorted, or None where there are at least `fewer_than`."""
        ...

    def ticker_details(self, symbol: str, as_of: date | None = None) -> pl.DataFrame:
        """One row of `REFERENCE_SCHEMA`, with the sector; `UnknownSymbolError` where there is no such ticker on `as_of`."""
        ...

    def composite_figi(self, symbol: str, as_of: date) -> str | None:
        """The composite FIGI of the company that had the symbol on a day; None where the vendor knows no such."""
        ...

    def ticker_events(self, figi: str) -> pl.DataFrame:
        """The symbols of a company, each with the day `since` which it had it, the oldest first; empty where none is known."""
        ...

    def snapshot(self) -> pl.DataFrame:
        """All tickers as of now, columns of `SNAPSHOT_SCHEMA`."""
        ...


@runtime_checkable
class MacroData(Protocol):
    """Macro series, each observation with the day it was first published."""

    def first_releases(self, series_id: str, first: date, last: date) -> pl.DataFrame:
        """Columns of `MACRO_SERIES` for observations dated `first` to `last`, as known on `last`."""
        ...


@dataclass(frozen=True)
class Connection:
    """What the settings know of a vendor: `<NAME>_BASE_URL`, `<NAME>_API_KEY`, `<NAME>_CALLS_PER_MINUTE`, None where not set.

    `state` is the folder of the market's state, for a budget of calls that its processes share; `log` takes a line on a wait.
    """

    base_url: str | None
    api_key: SecretStr | None
    calls_per_minute: int | None
    state: Path
    log: Callable[[str], object]


@dataclass(frozen=True)
class Allowance:
    """What a key may ask for, as a few calls showed.

    `first` and `last` are the oldest and the newest session that were to be had, `years` how far back the plan goes (None: as
    far as was asked for), `snapshots` whether there are prices during a session, `calls_per_minute` None without a limit.
    """

    first: date
    last: date
    years: int | None
    snapshots: bool
    calls_per_minute: int | None


@dataclass(frozen=True)
class Vendor:
    """What the `__init__.py` of a vendor's folder declares as `VENDOR`: how to open what it offers.

    `macro` gives None where the vendor cannot be asked, for want of a key: macro is then missing. `allowance` finds out what
    the key may ask for, of the sessions from a first to a last one, on a day; None where a vendor has no plans.
    """

    market: Callable[[Connection], MarketData] | None = None
    macro: Callable[[Connection], MacroData | None] | None = None
    allowance: Callable[[Connection, date, date, date], Allowance] | None = None
