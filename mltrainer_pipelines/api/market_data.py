"""Names, prices, regime and freshness from the lake, cached for readers of the API."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache, wraps
from typing import TypeVar

import polars as pl

from mltrainer_pipelines.agent import market_queries
from mltrainer_pipelines.market.history import adjusted_history
from mltrainer_pipelines.market.listings import Listings, company_actions, listings_of
from mltrainer_pipelines.store.lake import Lake

_CACHE_SECONDS = 2.0
SESSIONS_BEFORE, SESSIONS_AFTER = 120, 80
"""Sessions of a price history before and after its decision: half a year, and past the longest holding."""

T = TypeVar("T")


def _cached_for_seconds(read: Callable[..., T]) -> Callable[..., T]:
    """Read the lake at most once in two seconds, in one thread, for which the others wait."""
    lock = threading.Lock()

    @lru_cache(maxsize=32)
    def cached(_: int, lake: Lake, *names: str) -> T:
        return read(lake, *names)

    @wraps(read)
    def read_or_cached(lake: Lake, *names: str) -> T:
        with lock:
            return cached(int(time.monotonic() / _CACHE_SECONDS), lake, *names)

    return read_or_cached


@dataclass(frozen=True)
class Company:
    company: str | None
    sector: str | None


@_cached_for_seconds
def partitions(lake: Lake, asset: str) -> list[str]:
    """Names of an asset's partitions; a folder of years is long."""
    return lake.partitions(asset)


def companies(lake: Lake) -> dict[str, Company]:
    """Names and sectors of the newest universe, by every symbol that each company had; empty before there is one."""
    months = partitions(lake, "universe")
    return _companies(lake, months[-1]) if months else {}


@lru_cache(maxsize=4)
def _companies(lake: Lake, month: str) -> dict[str, Company]:
    rows = lake.read("universe", month).select("symbol", "name", "sector")
    known = {symbol: Company(name, sector) for symbol, name, sector in rows.iter_rows()}
    table = listings(lake).table
    by_symbol = {company: names for company, names in known.items() if company not in set(table["symbol"])}
    # Where several companies had a symbol, the newest counts.
    renamed = table.sort("first").select("company", "symbol").iter_rows()
    return by_symbol | {symbol: known[company] for company, symbol in renamed if company in known}


@_cached_for_seconds
def listings(lake: Lake) -> Listings:
    """Which company a symbol was, and when."""
    return listings_of(lake)


def price_history(lake: Lake, symbol: str, decision: date) -> pl.DataFrame:
    """Daily prices around a decision, in dollars of the decision's session.

    Splits and dividends are taken out as they came, so that the levels of the decision and the prices before and
    after it compare: date, open, high, low, close; empty where the symbol has no bar.
    """
    sessions = partitions(lake, "daily_bars")
    before = [key for key in sessions if key <= str(decision)][-SESSIONS_BEFORE:]
    after = [key for key in sessions if key > str(decision)][:SESSIONS_AFTER]
    if not before and not after:
        return _no_prices()
    first, last = (before or after)[0], (after or before)[-1]
    return _prices(lake, symbol, decision, date.fromisoformat(first), date.fromisoformat(last))


@lru_cache(maxsize=256)
def _prices(lake: Lake, symbol: str, decision: date, first: date, last: date) -> pl.DataFrame:
    company = listings_of(lake).company(symbol, decision)
    bars = adjusted_history(lake, first, last, symbols=pl.Series([company])).sort("date")
    at_decision = bars.filter(pl.col("date") <= decision)["factor"]
    if bars.is_empty():
        return _no_prices()
    factor = at_decision[-1] if at_decision.len() else bars["factor"][0]
    names = ("open", "high", "low", "close")
    return bars.select("date", *((pl.col(f"adj_{name}") / factor).alias(name) for name in names))


def _no_prices() -> pl.DataFrame:
    return pl.DataFrame(schema={"date": pl.Date, **dict.fromkeys(("open", "high", "low", "close"), pl.Float64)})


@_cached_for_seconds
def regime_days(lake: Lake) -> pl.DataFrame:
    """date, score, trend, breadth, volatility, credit, curve of the sessions with a score, the oldest first."""
    numbers = ("score", "trend", "breadth", "volatility", "credit", "curve")
    if not lake.exists("regime"):
        return pl.DataFrame(schema={"date": pl.Date, **dict.fromkeys(numbers, pl.Float64)})
    scored = lake.read("regime").filter(pl.col("score").is_not_null()).sort("date")
    return scored.select("date", pl.col(numbers).fill_nan(None))


@_cached_for_seconds
def last_prices(lake: Lake) -> tuple[date | None, dict[str, float]]:
    """The newest price of each company, and its session: the last delayed quote, or the last close if that is newer."""
    known = listings(lake)
    quotes, bars = partitions(lake, "delayed_quotes")[-1:], partitions(lake, "daily_bars")[-1:]
    if bars and (not quotes or bars[0] >= quotes[0]):
        frame = known.companies(lake.read("daily_bars", bars[0]))
        return date.fromisoformat(bars[0]), dict(frame.select("symbol", "close").iter_rows())
    if quotes:
        frame = known.companies(lake.read("delayed_quotes", quotes[0])).sort("as_of").group_by("symbol").last()
        return date.fromisoformat(quotes[0]), dict(frame.filter(~pl.col("stale")).select("symbol", "close").iter_rows())
    return None, {}


@_cached_for_seconds
def corporate_actions(lake: Lake) -> pl.DataFrame | None:
    """Splits and dividends by company: symbol, ex_date, kind, ratio, cash; None before they were fetched."""
    return company_actions(lake) if lake.exists("corporate_actions") else None


newest_signals = _cached_for_seconds(market_queries.newest_signals)


def partition_count(lake: Lake, asset: str) -> int:
    """How many partitions of an asset the lake holds."""
    return len(partitions(lake, asset))
