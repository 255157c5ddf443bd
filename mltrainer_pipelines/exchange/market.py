"""What the exchange needs to know of a market: one small protocol, and the rows it deals in.

A market is the whole truth, future included. It is the two APIs (`polygon_api`, `fred_api`) that
look at the clock and never serve what was not public yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from itertools import compress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mltrainer_pipelines.market.sessions import NEW_YORK

BAR_MINUTES = 15
"""Length of an intraday bar, minutes."""
EVER = date(9999, 12, 31)
"""End of the real-time period of a macro value that nobody has revised yet, as FRED writes it."""


@dataclass(frozen=True)
class Bars:
    """Bars in columns, unadjusted, sorted by symbol and then by time; every column has one value a bar.

    `start` is the instant the bar opens, milliseconds since 1970 (midnight New York for a daily bar).
    `vwap` and `trades` are NaN where unknown, or None where the market knows none at all.
    """

    symbol: Sequence[str]
    start: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    vwap: NDArray[np.float64] | None = None
    trades: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.symbol)

    def where(self, keep: NDArray[np.bool_]) -> "Bars":
        """The bars at which `keep` (shape: one flag a bar) is true."""
        columns = {name: column[keep] for name, column in vars(self).items() if name != "symbol" and column is not None}
        return Bars(list(compress(self.symbol, keep.tolist())), **columns)


@dataclass(frozen=True)
class _Announced:
    """What happens to a symbol on `ex_date`, and when it was declared; None where that is unknown."""

    symbol: str
    ex_date: date
    declared: date | None = field(default=None, kw_only=True)

    @property
    def public_from(self) -> date:
        """The day from which it is known: its declaration, or the ex-date where that is unknown."""
        return self.declared or self.ex_date


@dataclass(frozen=True)
class Split(_Announced):
    """`ratio` new shares for one old share, from the open of `ex_date` on."""

    old_shares: float
    new_shares: float

    @property
    def ratio(self) -> float:
        return self.new_shares / self.old_shares


@dataclass(frozen=True)
class Dividend(_Announced):
    """`cash` dollars for a share held before the open of `ex_date`; the dates that are unknown are None."""

    cash: float
    record_date: date | None = None
    pay_date: date | None = None
    frequency: int | None = None


@dataclass(frozen=True)
class Ticker:
    """A company under one symbol. `list_date` is its first session, `delisted` the first without it (None: still listed).

    `type` is Polygon's: `CS` a common stock, `ADRC` a depositary receipt. `figi` is the same for every symbol of a company.
    What a recording does not say is None.
    """

    symbol: str
    list_date: date
    delisted: date | None = None
    name: str | None = None
    type: str | None = None
    primary_exchange: str | None = None
    sic_code: str | None = None
    sic_description: str | None = None
    shares_outstanding: int | None = None
    figi: str | None = None

    def active_on(self, day: date) -> bool:
        return self.list_date <= day and (self.delisted is None or day < self.delisted)


@dataclass(frozen=True)
class MacroValue:
    """The value for the day `observed` as published on `published`; a later row revises it. None: no value (a holiday)."""

    observed: date
    value: float | None
    published: date


@dataclass(frozen=True)
class MacroSeries:
    """A macro series with every vintage, sorted by observation date and then by publication date."""

    series_id: str
    values: Sequence[MacroValue]
    title: str
    units: str = ""
    frequency: str = ""
    seasonal_adjustment: str = ""


class Market(Protocol):
    """A market from its first to its last session. All methods answer without regard to the clock."""

    @property
    def name(self) -> str:
        """`simulated` or `replay`."""
        ...

    def sessions(self) -> list[date]:
        """Sessions on which the market has bars, in order."""
        ...

    def day(self, session: date) -> Bars:
        """The daily bar of every symbol that traded in `session`; empty where it is not among `sessions()`."""
        ...

    def history(self, symbol: str, first: date, last: date) -> Bars:
        """Daily bars of one symbol from `first` to `last`, both included; empty where it did not trade."""
        ...

    def minutes(self, session: date, symbol: str | None = None) -> Bars | None:
        """The 15-minute bars of a session, of one symbol or of all; None where the market knows only the day."""
        ...

    def splits(self) -> list[Split]:
        """Every split, sorted by ex-date and symbol."""
        ...

    def dividends(self) -> list[Dividend]:
        """Every cash dividend, sorted by ex-date and symbol."""
        ...

    def tickers(self) -> list[Ticker]:
        """Every company that is ever listed, sorted by symbol."""
        ...

    def macro(self) -> Mapping[str, MacroSeries]:
        """Macro series by their FRED id; empty where the market knows none."""
        ...


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware moment."""
    return int(moment.timestamp() * 1000)


def midnight(day: date) -> int:
    """Milliseconds since 1970 of 00:00 New York time: the start of a daily bar."""
    return milliseconds(datetime.combine(day, time(), NEW_YORK))
