"""The routes of Polygon's REST API that mlTrainer uses, over any market, with the service's own wire format.

Paths, parameters, fields, error bodies and status codes follow Polygon's documentation and its
`polygon-api-client`, which is what talks to these routes in every test.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from mltrainer_pipelines.exchange import polygon_prices, polygon_reference
from mltrainer_pipelines.exchange.market import Market, midnight
from mltrainer_pipelines.exchange.polygon_wire import (
    Parameters,
    Query,
    WireError,
    bad_parameter,
    calendar_day,
    cursor_fields,
    cursor_of,
    flag,
    json_response,
    one_of,
    page,
    request_id,
    whole_number,
)
from mltrainer_pipelines.market.sessions import NEW_YORK

_TOO_MANY = (
    "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue. "
    "https://polygon.io/pricing"
)
_SPANS = {(1, "day"): 1, (15, "minute"): 15}
"""Lengths of bars that there are, and how many of the service's base bars (days, minutes) each is made of."""


def polygon_router(market: Market, now: Callable[[], datetime], api_key: str, calls_per_minute: int | None) -> APIRouter:
    """Routes of Polygon over `market` at the time `now` tells; see `server.create_app`."""
    router = APIRouter()
    limit = CallLimit(calls_per_minute)

    def answered(request: Request, answer: Callable[[], Response]) -> Response:
        try:
            _check_key(request, api_key)
            limit.count_call()
            return answer()
        except WireError as error:
            return error.response()

    def listed(
        request: Request,
        rows: Callable[[Market, Parameters, date], list[dict[str, object]]],
        limit: int = 10,
        count: bool = False,
    ) -> Response:
        """One page of what `rows` gives for the query."""
        query = Query.of(request)
        most = whole_number(query.parameters, "limit", limit, 1000)
        return page(request, query, rows(market, query.parameters, today()), most, count)

    def today() -> date:
        return now().astimezone(NEW_YORK).date()

    @router.get("/v2/aggs/grouped/locale/us/market/stocks/{day}")
    async def grouped_daily(request: Request, day: str) -> Response:
        return answered(request, lambda: _grouped(market, now(), request, day))

    @router.get("/v2/aggs/ticker/{symbol}/range/{multiplier}/{timespan}/{start}/{end}")
    async def aggregates(request: Request, symbol: str, multiplier: str, timespan: str, start: str, end: str) -> Response:
        return answered(request, lambda: _aggregates(market, now(), request, symbol, (multiplier, timespan), (start, end)))

    @router.get("/v2/snapshot/locale/us/markets/stocks/tickers")
    async def snapshot(request: Request) -> Response:
        return answered(request, lambda: _snapshot(market, now(), request))

    @router.get("/v3/reference/splits")
    async def splits(request: Request) -> Response:
        return answered(request, lambda: listed(request, polygon_reference.splits))

    @router.get("/v3/reference/dividends")
    async def dividends(request: Request) -> Response:
        return answered(request, lambda: listed(request, polygon_reference.dividends))

    @router.get("/v3/reference/tickers")
    async def tickers(request: Request) -> Response:
        return answered(request, lambda: listed(request, polygon_reference.tickers, 100, count=True))

    @router.get("/v3/reference/tickers/{symbol}")
    async def ticker_details(request: Request, symbol: str) -> Response:
        return answered(
            request,
            lambda: json_response(
                {
                    "request_id": request_id(),
                    "results": polygon_reference.ticker_details(market, symbol, dict(request.query_params), today()),
                    "status": "OK",
                }
            ),
        )

    @router.get("/vX/reference/tickers/{name}/events")
    async def ticker_events(request: Request, name: str) -> Response:
        def document() -> Response:
            found = polygon_reference.ticker_events(market, name, today())
            return json_response({"request_id": request_id(), "results": found, "status": "OK"})

        return answered(request, document)

    @router.get("/v1/marketstatus/now")
    async def market_status(request: Request) -> Response:
        return answered(request, lambda: json_response(polygon_reference.market_status(now())))

    @router.get("/v1/marketstatus/upcoming")
    async def upcoming(request: Request) -> Response:
        return answered(request, lambda: json_response(polygon_reference.upcoming_holidays(now())))

    @router.get("/{path:path}")
    async def unknown(request: Request, path: str) -> Response:
        return Response("404 page not found", 404, media_type="text/plain")

    return router


class CallLimit:
    """At most `calls_per_minute` calls in any 60 seconds of real time (a pinned clock does not stop it)."""

    def __init__(self, calls_per_minute: int | None):
        if calls_per_minute is not None and calls_per_minute < 1:
            raise ValueError(f"calls_per_minute={calls_per_minute}: give 1 or more, or None for no limit")
        self._most, self._calls = calls_per_minute, deque[float]()

    def count_call(self) -> None:
        """Count one call; raises `WireError` 429 where it is one too many (which is then not counted)."""
        if self._most is None:
            return
        instant = time.monotonic()
        while self._calls and self._calls[0] <= instant - 60:
            self._calls.popleft()
        if len(self._calls) >= self._most:
            raise WireError(429, error=_TOO_MANY)
        self._calls.append(instant)


def _check_key(request: Request, api_key: str) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else request.query_params.get("apiKey", "")
    if not given:
        raise WireError(401, error="API Key was not provided")
    if not secrets.compare_digest(given.encode(), api_key.encode()):
        raise WireError(401, error="Unknown API Key")


def _grouped(market: Market, moment: datetime, request: Request, day: str) -> Response:
    parameters = dict(request.query_params)
    adjusted = flag(parameters, "adjusted", True)
    flag(parameters, "include_otc", False)
    rows = polygon_prices.grouped(market, calendar_day(day, "date"), moment, adjusted)
    head = {"queryCount": len(rows), "resultsCount": len(rows), "adjusted": adjusted}
    if not rows:
        return json_response({**head, "status": "OK", "request_id": request_id()})
    return json_response({**head, "results": rows, "status": "OK", "request_id": request_id(), "count": len(rows)})


def _aggregates(
    market: Market, moment: datetime, request: Request, symbol: str, span: tuple[str, str], window: tuple[str, str]
) -> Response:
    parameters = dict(request.query_params)
    if "cursor" in parameters:
        parameters |= cursor_fields(parameters["cursor"])
    adjusted = flag(parameters, "adjusted", True)
    order = one_of(parameters, "sort", "asc", ("asc", "desc"))
    limit = whole_number(parameters, "limit", 5000, 50_000)
    if not span[0].isdecimal() or (int(span[0]), span[1]) not in _SPANS:
        raise bad_parameter(f"This exchange has bars of 1 day and of 15 minutes, not of {span[0]} {span[1]}")
    start, end = _instant(window[0], "from", closing=False), _instant(window[1], "to", closing=True)
    if start > end:
        raise bad_parameter("The parameter 'to' cannot be a time that occurs before 'from'")
    bars = polygon_prices.daily_bars if span[1] == "day" else polygon_prices.minute_bars
    rows = bars(market, symbol, start, end, moment, adjusted)
    if order == "desc":
        rows.reverse()
    base_bars = _SPANS[int(span[0]), span[1]]
    served = rows[: max(limit // base_bars, 1)]
    document: dict[str, Any] = {
        "ticker": symbol,
        "queryCount": len(served) * base_bars,
        "resultsCount": len(served),
        "adjusted": adjusted,
    }
    if served:
        document["results"] = served
    document |= {"status": "DELAYED", "request_id": request_id(), "count": len(served)}
    if len(served) < len(rows):
        following = rows[len(served)]["t"]
        edges = f"{following}/{window[1]}" if order == "asc" else f"{window[0]}/{following}"
        cursor = cursor_of({"adjusted": str(adjusted).lower(), "limit": limit, "sort": order})
        document["next_url"] = f"{request.base_url}v2/aggs/ticker/{symbol}/range/{span[0]}/{span[1]}/{edges}?cursor={cursor}"
    return json_response(document)


def _snapshot(market: Market, moment: datetime, request: Request) -> Response:
    rows = polygon_prices.snapshot(market, moment)
    wanted = request.query_params.get("tickers")
    if wanted:
        names = set(wanted.split(","))
        rows = [row for row in rows if row["ticker"] in names]
    return json_response({"tickers": rows, "status": "DELAYED", "request_id": request_id(), "count": len(rows)})


def _instant(text: str, name: str, closing: bool) -> int:
    """Milliseconds of a path parameter: a day (its start, or its end where `closing`) or milliseconds already."""
    if text.isdecimal() and len(text) > 8:
        return int(text)
    try:
        day = calendar_day(text, name)
    except WireError:
        raise bad_parameter(f"Could not parse the time parameter: '{name}'. Use YYYY-MM-DD or Unix MS Timestamps") from None
    return midnight(day + timedelta(days=1)) - 1 if closing else midnight(day)
