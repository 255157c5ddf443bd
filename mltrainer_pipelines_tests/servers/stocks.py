"""A small stock market behind the loopback vendor: Polygon's grouped days, aggregates, tickers and details, right by default."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between
from mltrainer_pipelines_tests.servers.vendor import Call, Reply

GROUPED = "/v2/aggs/grouped/locale/us/market/stocks/"


@dataclass
class Stocks:
    """Symbols with made-up bars that follow from symbol and day alone.

    Parameters
    ----------
    symbols : tuple of str
        Listed all the time.
    faults : dict
        By session: answers to give instead, one a call, until they are used up.
    edit : callable
        Changes the rows of a session before they are sent.
    """

    symbols: tuple[str, ...] = ("AAA", "BBB", "CCC", "DDD")
    faults: dict[date, list[Reply]] = field(default_factory=dict)
    edit: Callable[[date, list[dict[str, Any]]], list[dict[str, Any]]] = lambda _day, rows: rows
    sectors: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, call: Call) -> Reply:
        if call.path.startswith(GROUPED):
            day = date.fromisoformat(call.path.removeprefix(GROUPED))
            if self.faults.get(day):
                return self.faults[day].pop(0)
            return grouped_reply(self.rows(day))
        if call.path.startswith("/v2/aggs/ticker/"):
            symbol, first, last = (call.path.split("/")[place] for place in (4, 8, 9))
            days = sessions_between(date.fromisoformat(first), date.fromisoformat(last))
            rows = [{**row, "t": _ms(day, time(0))} for day in days for row in self.rows(day) if row["T"] == symbol]
            return grouped_reply([{name: value for name, value in row.items() if name != "T"} for row in rows])
        if call.path == "/v3/reference/tickers":
            listed = self.symbols if call.query.get("active", "true") == "true" else ()
            rows = [{"ticker": symbol, "name": f"{symbol} Inc.", "type": "CS", "active": True} for symbol in listed]
            return Reply(json.dumps({"status": "OK", "count": len(rows), "results": rows}).encode())
        if call.path.startswith("/v3/reference/tickers/"):
            symbol = call.path.rsplit("/", 1)[1]
            row = {"ticker": symbol, "type": "CS", "active": True, "sic_description": self.sectors.get(symbol)}
            return Reply(json.dumps({"status": "OK", "results": row}).encode())
        return Reply(b'{"status":"OK","count":0,"results":[]}')

    def rows(self, day: date) -> list[dict[str, Any]]:
        return self.edit(day, [wire_bar(symbol, day) for symbol in self.symbols])


def wire_bar(symbol: str, day: date, **changes: Any) -> dict[str, Any]:
    """A bar as Polygon words it; its prices follow from symbol and day."""
    close = round(20 + sum(map(ord, symbol)) % 50 + day.toordinal() % 7 * 0.25, 2)
    volume = 1_000_000.0 + 1000 * (day.toordinal() % 11)
    bar = {"T": symbol, "v": volume, "vw": close, "o": close, "c": close, "h": close + 1, "l": close - 1, "n": 100}
    return {**bar, "t": _ms(day, time(16)), **changes}


def grouped_reply(rows: list[dict[str, Any]]) -> Reply:
    return Reply(json.dumps({"queryCount": len(rows), "resultsCount": len(rows), "status": "OK", "results": rows}).encode())


def _ms(day: date, hour: time) -> int:
    return int(datetime.combine(day, hour, NEW_YORK).timestamp() * 1000)
