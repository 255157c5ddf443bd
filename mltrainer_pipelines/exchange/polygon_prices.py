"""Bars and snapshots as Polygon words them, with what was public at a moment and nothing later.

Prices are 15 minutes late: a 15-minute bar is public 15 minutes after its end, a daily bar 15 minutes
after the close. Volumes and prices are unadjusted unless `adjusted` is asked for; then splits that have
taken effect by today are applied, dividends never.
"""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltrainer_pipelines.exchange.market import BAR_MINUTES, Bars, Market, Split, midnight, milliseconds
from mltrainer_pipelines.market.sessions import NEW_YORK, is_session, previous_session, session_hours, sessions_between

DELAY = timedelta(minutes=15)
SNAPSHOT_CLEARED = time(3, 30)
"""New York time at which the snapshot forgets the day before."""
_BAR_MS = BAR_MINUTES * 60_000
_UNSET = {"o": 0, "h": 0, "l": 0, "c": 0, "v": 0, "vw": 0}


def grouped(market: Market, session: date, moment: datetime, adjusted: bool) -> list[dict[str, object]]:
    """The bar of every symbol in a session, none before it is public or where there is no session.

    `t` is 16:00 New York, as in the service's own answers to this call.
    """
    if not is_session(session) or not daily_is_public(session, moment):
        return []
    bars = market.day(session)
    end = milliseconds(datetime.combine(session, time(16), NEW_YORK))
    factor = _split_factors(market, bars.symbol, np.full(len(bars), session.toordinal()), moment) if adjusted else None
    rows = _wire_bars(bars, factor)
    for row, symbol in zip(rows, bars.symbol, strict=True):
        row["T"], row["t"] = symbol, end
    return rows


def daily_bars(market: Market, symbol: str, start: int, end: int, moment: datetime, adjusted: bool) -> list[dict[str, Any]]:
    """Daily bars whose day begins in [start, end] (milliseconds), oldest first, as far as public."""
    first, last = _day_of(start), min(_day_of(end), moment.astimezone(NEW_YORK).date())
    if midnight(first) < start:
        first += timedelta(days=1)
    if first > last:
        return []
    if is_session(last) and not daily_is_public(last, moment):
        last = previous_session(last)
    bars = market.history(symbol, first, last)
    days = np.array([_day_of(start).toordinal() for start in bars.start.tolist()], dtype=np.int64)
    return _wire_bars(bars, _split_factors(market, bars.symbol, days, moment) if adjusted else None)


def minute_bars(market: Market, symbol: str, start: int, end: int, moment: datetime, adjusted: bool) -> list[dict[str, object]]:
    """15-minute bars that begin in [start, end] (milliseconds), oldest first, as far as public; none where none are known."""
    first, last = _day_of(start), min(_day_of(end), moment.astimezone(NEW_YORK).date())
    rows: list[dict[str, Any]] = []
    for session in sessions_between(first, last) if first <= last else []:
        bars = public_minutes(market, session, moment, symbol)
        if bars is None or not len(bars):
            continue
        bars = bars.where((bars.start >= start) & (bars.start <= end))
        days = np.full(len(bars), session.toordinal())
        rows += _wire_bars(bars, _split_factors(market, bars.symbol, days, moment) if adjusted else None)
    return rows


def public_minutes(market: Market, session: date, moment: datetime, symbol: str | None = None) -> Bars | None:
    """The session's 15-minute bars that ended at least 15 minutes before `moment`."""
    bars = market.minutes(session, symbol)
    if bars is None:
        return None
    return bars.where(bars.start + _BAR_MS <= milliseconds(moment - DELAY))


def daily_is_public(session: date, moment: datetime) -> bool:
    """Whether the session closed at least 15 minutes before `moment`."""
    return _close(session) + DELAY <= moment


def snapshot(market: Market, moment: datetime) -> list[dict[str, Any]]:
    """Every listed symbol with its day so far and the session before, as known 15 minutes ago.

    The day is the session under way or, until 3:30 of the next morning, the one that ended; before its first bar is
    public, and where the market knows no 15-minute bars of it, all its numbers are 0, which is how the service writes
    "nothing yet". `min` is always 0: the market has no bars of one minute. `prevDay` is unadjusted.
    """
    local = moment.astimezone(NEW_YORK)
    today = local.date() if local.time() >= SNAPSHOT_CLEARED else local.date() - timedelta(days=1)
    before = _bars_by_symbol(market, previous_session(today))
    days, updated = _days_so_far(market, today, moment) if is_session(today) else ({}, {})
    rows = []
    listed = (one.symbol for one in market.tickers() if one.active_on(local.date()) or one.symbol in days)
    for symbol in dict.fromkeys(listed):
        day, previous = days.get(symbol, _UNSET), before.get(symbol, _UNSET)
        change = day["c"] - previous["c"] if day["c"] and previous["c"] else 0
        rows.append(
            {
                "ticker": symbol,
                "todaysChangePerc": round(100 * change / previous["c"], 6) if change else 0,
                "todaysChange": round(change, 6),
                "updated": updated.get(symbol, 0),
                "day": day,
                "min": {"av": 0, "t": 0, "n": 0, **_UNSET},
                "prevDay": previous,
            }
        )
    return rows


def _days_so_far(market: Market, session: date, moment: datetime) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """The day of each symbol that has traded so far, and when its last public trade was (nanoseconds since 1970)."""
    if daily_is_public(session, moment):
        days = _bars_by_symbol(market, session)
        return days, dict.fromkeys(days, milliseconds(_close(session)) * 1_000_000)
    if session_hours(session)[0] > moment:
        return {}, {}
    bars = public_minutes(market, session, moment)
    if bars is None or not len(bars):
        return {}, {}
    names = np.asarray(bars.symbol)
    begins = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    ends = np.append(begins[1:], len(bars)) - 1
    volume = np.add.reduceat(bars.volume, begins)
    columns: dict[str, NDArray[Any]] = {
        "o": bars.open[begins],
        "h": np.maximum.reduceat(bars.high, begins),
        "l": np.minimum.reduceat(bars.low, begins),
        "c": bars.close[ends],
        "v": volume,
    }
    if bars.vwap is not None:
        columns["vw"] = np.round(np.add.reduceat(bars.vwap * bars.volume, begins) / np.maximum(volume, 1e-9), 4)
    symbols = names[begins].tolist()
    updated = ((bars.start[ends] + _BAR_MS) * 1_000_000).tolist()
    return dict(zip(symbols, _dicts(columns), strict=True)), dict(zip(symbols, updated, strict=True))


def _bars_by_symbol(market: Market, session: date) -> dict[str, dict[str, Any]]:
    bars = market.day(session)
    columns: dict[str, NDArray[Any]] = {"o": bars.open, "h": bars.high, "l": bars.low, "c": bars.close, "v": bars.volume}
    if bars.vwap is not None:
        columns["vw"] = bars.vwap
    return dict(zip(bars.symbol, _dicts(columns), strict=True))


def _wire_bars(bars: Bars, factor: NDArray[np.float64] | None) -> list[dict[str, object]]:
    prices = {"o": bars.open, "h": bars.high, "l": bars.low, "c": bars.close}
    volume, vwap = bars.volume, bars.vwap
    if factor is not None and (factor != 1).any():
        prices = {name: np.round(price / factor, 6) for name, price in prices.items()}
        volume, vwap = volume * factor, None if vwap is None else np.round(vwap / factor, 6)
    columns: dict[str, NDArray[Any]] = {"v": volume}
    if vwap is not None:
        columns["vw"] = vwap
    columns |= prices | {"t": bars.start}
    if bars.trades is not None:
        columns["n"] = bars.trades
    return _dicts(columns)


def _dicts(columns: dict[str, NDArray[Any]]) -> list[dict[str, object]]:
    """One dict a row; whole numbers of trades, and a field left out where its value is NaN."""
    names = list(columns)
    lists = [column.tolist() for column in columns.values()]
    holes = any(np.isnan(column).any() for column in columns.values())
    rows = [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]
    if holes:
        rows = [{name: value for name, value in row.items() if value == value} for row in rows]
    for row in rows:
        if "n" in row:
            row["n"] = int(row["n"])
    return rows


def _split_factors(market: Market, symbols: Iterable[str], days: NDArray[np.int64], moment: datetime) -> NDArray[np.float64]:
    """New shares for each share of the bar's day, by the splits in effect today; shape (bars,)."""
    today = moment.astimezone(NEW_YORK).date()
    effective: dict[str, list[Split]] = {}
    for split in market.splits():
        if split.ex_date <= today:
            effective.setdefault(split.symbol, []).append(split)
    factors = np.ones(len(days))
    for position, (symbol, day) in enumerate(zip(symbols, days.tolist(), strict=True)):
        for split in effective.get(symbol, ()):
            if split.ex_date.toordinal() > day:
                factors[position] *= split.ratio
    return factors


@lru_cache(maxsize=8192)
def _close(session: date) -> datetime:
    return session_hours(session)[1]


def _day_of(moment_ms: int) -> date:
    return datetime.fromtimestamp(moment_ms / 1000, NEW_YORK).date()
