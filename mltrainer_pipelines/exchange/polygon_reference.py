"""Splits, dividends, tickers and opening hours as Polygon words them, as known at a moment."""

import hashlib
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mltrainer_pipelines.exchange.market import Market, Ticker
from mltrainer_pipelines.exchange.polygon_wire import Parameters, WireError, calendar_day, flag, in_ranges, one_of
from mltrainer_pipelines.market.sessions import NEW_YORK, early_closes_between, holidays_between, open_session, session_hours

_UTC = ZoneInfo("UTC")
_HOLIDAYS = (
    ((1, 15), (1, 21), "Martin Luther King, Jr. Day"),
    ((2, 15), (2, 21), "Washington's Birthday"),
    ((3, 20), (4, 23), "Good Friday"),
    ((5, 25), (5, 31), "Memorial Day"),
    ((6, 18), (6, 20), "Juneteenth"),
    ((7, 2), (7, 5), "Independence Day"),
    ((9, 1), (9, 7), "Labor Day"),
    ((11, 22), (11, 29), "Thanksgiving"),
    ((12, 23), (12, 27), "Christmas"),
)
"""First and last (month, day) on which each can fall, observed days and early closes beside it included."""
_EXTENDED_HOURS = (time(4), time(20))


def splits(market: Market, parameters: Parameters, today: date) -> list[dict[str, object]]:
    """Splits declared by today that satisfy the filters, in the order asked for."""
    rows = [
        {
            "id": _identifier("split", split.symbol, split.ex_date),
            "execution_date": str(split.ex_date),
            "split_from": _plain(split.old_shares),
            "split_to": _plain(split.new_shares),
            "ticker": split.symbol,
        }
        for split in market.splits()
        if split.public_from <= today
    ]
    rows = [row for row in rows if in_ranges(parameters, ("ticker", "execution_date"), row)]
    return _ordered(rows, parameters, "execution_date", ("execution_date", "ticker"))


def dividends(market: Market, parameters: Parameters, today: date) -> list[dict[str, object]]:
    """Cash dividends declared by today that satisfy the filters, in the order asked for."""
    rows = []
    for dividend in market.dividends():
        if dividend.public_from > today:
            continue
        row = {
            "id": _identifier(f"dividend {dividend.cash}", dividend.symbol, dividend.ex_date),
            "cash_amount": dividend.cash,
            "currency": "USD",
            "declaration_date": dividend.declared,
            "dividend_type": "CD",
            "ex_dividend_date": dividend.ex_date,
            "frequency": dividend.frequency,
            "pay_date": dividend.pay_date,
            "record_date": dividend.record_date,
            "ticker": dividend.symbol,
        }
        rows.append({name: str(value) if isinstance(value, date) else value for name, value in row.items() if value is not None})
    filters = ("ticker", "ex_dividend_date", "record_date", "declaration_date", "pay_date", "frequency", "dividend_type")
    rows = [row for row in rows if in_ranges(parameters, filters, row)]
    return _ordered(
        rows, parameters, "ex_dividend_date", ("ex_dividend_date", "pay_date", "declaration_date", "record_date", "ticker")
    )


def tickers(market: Market, parameters: Parameters, today: date) -> list[dict[str, Any]]:
    """Tickers that were active (or, with `active=false`, delisted) on `date`, today if none is given."""
    day = min(calendar_day(parameters["date"], "date"), today) if parameters.get("date") else today
    active = flag(parameters, "active", True)
    search = parameters.get("search", "").lower()
    rows = [
        _ticker(ticker, day)
        for ticker in market.tickers()
        if ticker.list_date <= day
        and ticker.active_on(day) == active
        and search in f"{ticker.symbol} {ticker.name or ''}".lower()
    ]
    rows = [row for row in rows if in_ranges(parameters, ("ticker", "type", "primary_exchange", "cik"), row)]
    if parameters.get("market", "stocks") not in ("", "stocks"):
        return []
    return _ordered(
        rows, parameters, "ticker", ("ticker", "name", "type", "primary_exchange", "delisted_utc"), default_order="asc"
    )


def ticker_details(market: Market, symbol: str, parameters: Parameters, today: date) -> dict[str, object]:
    """One company with its industry, as of `date`; a 404 where no such symbol was listed by then."""
    day = min(calendar_day(parameters["date"], "date"), today) if parameters.get("date") else today
    listed = [ticker for ticker in market.tickers() if ticker.symbol == symbol and ticker.list_date <= day]
    company = max(listed, key=lambda ticker: ticker.list_date, default=None)
    if company is None:
        raise WireError(404, status="NOT_FOUND", message="Ticker not found.")
    details = _ticker(company, day) | {
        "list_date": str(company.list_date),
        "sic_code": company.sic_code,
        "sic_description": company.sic_description,
        "share_class_shares_outstanding": company.shares_outstanding,
        "weighted_shares_outstanding": company.shares_outstanding,
        "ticker_root": company.symbol,
    }
    return {name: value for name, value in details.items() if value is not None}


def ticker_events(market: Market, name: str, today: date) -> dict[str, object]:
    """The symbols that a company has had, by its FIGI or its newest symbol; a 404 where there is none."""
    listed = [ticker for ticker in market.tickers() if ticker.list_date <= today]
    newest = max((one for one in listed if name in (one.symbol, one.figi)), key=lambda one: one.list_date, default=None)
    if newest is None:
        raise WireError(404, status="NOT_FOUND", message="Ticker events not found.")
    own = [one for one in listed if one.figi == newest.figi] if newest.figi else [newest]
    events = [
        {"ticker_change": {"ticker": one.symbol}, "type": "ticker_change", "date": str(one.list_date)}
        for one in sorted(own, key=lambda one: one.list_date, reverse=True)
    ]
    details = {"name": newest.name, "composite_figi": newest.figi, "events": events}
    return {key: value for key, value in details.items() if value is not None}


def market_status(moment: datetime) -> dict[str, object]:
    """Whether New York trades at the moment: open, extended-hours or closed."""
    local = moment.astimezone(NEW_YORK)
    trades = open_session(moment) is not None
    early = late = False
    if not trades and not holidays_between(local.date(), local.date()) and local.weekday() < 5:
        opens, closes = session_hours(local.date())
        early = _EXTENDED_HOURS[0] <= local.time() and local < opens
        late = local >= closes and local.time() < _EXTENDED_HOURS[1]
    state = "open" if trades else "extended-hours" if early or late else "closed"
    return {
        "afterHours": late,
        "currencies": {"crypto": "open", "fx": "closed" if local.weekday() > 4 else "open"},
        "earlyHours": early,
        "exchanges": {"nasdaq": state, "nyse": state, "otc": "closed" if state == "closed" else "open"},
        "market": state,
        "serverTime": local.isoformat(timespec="seconds"),
    }


def upcoming_holidays(moment: datetime) -> list[dict[str, object]]:
    """Holidays and early closes of the coming year, a row each for NASDAQ and NYSE."""
    first = moment.astimezone(NEW_YORK).date()
    last = first + timedelta(days=364)
    rows = [(day, {"status": "closed"}) for day in holidays_between(first, last)]
    for day in early_closes_between(first, last):
        opens, closes = (hour.astimezone(_UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z") for hour in session_hours(day))
        rows.append((day, {"status": "early-close", "open": opens, "close": closes}))
    return [
        {"date": str(day), "exchange": exchange, "name": holiday_name(day), **status}
        for day, status in sorted(rows, key=lambda row: row[0])
        for exchange in ("NASDAQ", "NYSE")
    ]


def holiday_name(day: date) -> str:
    """The holiday on or beside which the exchange rests on that day."""
    if (day.month, day.day) >= (12, 30) or (day.month, day.day) <= (1, 2):
        return "New Years Day"
    holiday = next((name for first, last, name in _HOLIDAYS if first <= (day.month, day.day) <= last), None)
    return holiday or "Market holiday"


def _ticker(ticker: Ticker, day: date) -> dict[str, object]:
    active = ticker.active_on(day)
    delisted = None if active or ticker.delisted is None else f"{ticker.delisted}T05:00:00Z"
    row = {
        "ticker": ticker.symbol,
        "name": ticker.name,
        "market": "stocks",
        "locale": "us",
        "primary_exchange": ticker.primary_exchange,
        "type": ticker.type,
        "active": active,
        "currency_name": "usd",
        "composite_figi": ticker.figi,
        "delisted_utc": delisted,
        "last_updated_utc": f"{day}T00:00:00Z",
    }
    return {name: value for name, value in row.items() if value is not None}


def _ordered(
    rows: list[dict[str, Any]], parameters: Parameters, default_sort: str, sorts: tuple[str, ...], default_order: str = "desc"
) -> list[dict[str, object]]:
    """By `sort` and `order`, ties by ticker; a row without the field comes last."""
    field = one_of(parameters, "sort", default_sort, sorts)
    order = one_of(parameters, "order", default_order, ("asc", "desc"))
    rows.sort(key=lambda row: row["ticker"])
    with_field = sorted((row for row in rows if field in row), key=lambda row: row[field], reverse=order == "desc")
    return with_field + [row for row in rows if field not in row]


def _identifier(kind: str, symbol: str, day: date) -> str:
    return "E" + hashlib.sha256(f"{kind} {symbol} {day}".encode()).hexdigest()[:40]


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) else number
