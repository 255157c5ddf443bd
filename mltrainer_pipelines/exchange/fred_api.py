"""FRED's wire format: `series/observations`, `series` and `series/vintagedates`, in XML or JSON.

Real-time periods mean what they mean at FRED: a value is current from the day it is published to the day
before it is revised; an answer shows the part of that period that lies in the one parameters for, and no vintage
published after today. Without `realtime_start` and `realtime_end` the answer is today's view.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any
from xml.sax.saxutils import quoteattr

from fastapi import APIRouter, Request, Response

from mltrainer_pipelines.exchange.market import EVER, MacroSeries, MacroValue, Market
from mltrainer_pipelines.market.sessions import NEW_YORK

MAX_VINTAGES = 2000
"""Publication dates that one answer may span: FRED refuses more, so do we."""
_EARLIEST = date(1776, 7, 4)
_KEY_PAGE = "https://fred.stlouisfed.org/docs/api/api_key.html"


class _BadRequestError(Exception):
    """What FRED would answer with status 400."""


_Answer = tuple[str, dict[str, Any]]
"""An answer as XML and as what becomes JSON."""


def fred_router(market: Market, now: Callable[[], datetime], api_key: str) -> APIRouter:
    """Routes of FRED over the macro series of `market`, as published by `now`; see `server.create_app`."""
    router = APIRouter()
    series = market.macro()

    def answered(request: Request, answer: Callable[[Mapping[str, str], MacroSeries, date], _Answer]) -> Response:
        parameters = request.query_params
        as_json = parameters.get("file_type", "xml") == "json"
        try:
            _check_key(parameters, api_key)
            xml, document = answer(parameters, _series(parameters, series), now().astimezone(NEW_YORK).date())
        except _BadRequestError as error:
            return _error(f"Bad Request.  {error}", as_json)
        if as_json:
            return Response(json.dumps(document), media_type="application/json")
        return Response(f'<?xml version="1.0" encoding="utf-8" ?>\n{xml}\n', media_type="text/xml")

    @router.get("/series/observations")
    async def observations(request: Request) -> Response:
        return answered(request, _observations)

    @router.get("/series")
    async def description(request: Request) -> Response:
        return answered(request, _description)

    @router.get("/series/vintagedates")
    async def vintage_dates(request: Request) -> Response:
        return answered(request, _vintage_dates)

    return router


def _observations(parameters: Mapping[str, str], series: MacroSeries, today: date) -> _Answer:
    start, end = _realtime(parameters, today)
    first, last = _day(parameters, "observation_start", _EARLIEST), _day(parameters, "observation_end", EVER)
    limit, offset = _number(parameters, "limit", 100_000, 1, 100_000), _number(parameters, "offset", 0, 0, 10**9)
    vintages = {value.published for value in series.values if start <= value.published <= min(end, today)}
    if len(vintages) > MAX_VINTAGES:
        raise _BadRequestError(
            f"There are {len(vintages)} vintage dates in the specified real-time period: {start} to {end}.  "
            f"This exceeds the maximum number of vintage dates allowed ({MAX_VINTAGES})."
        )
    values = [value for value in series.values if first <= value.observed <= last]
    rows = _real_time_rows(values, start, end, today)
    order = parameters.get("sort_order", "asc")
    if order not in ("asc", "desc"):
        raise _BadRequestError("Variable sort_order is not one of the values: 'asc', 'desc'.")
    if order == "desc":
        rows.reverse()
    head = {
        "realtime_start": str(start),
        "realtime_end": str(end),
        "observation_start": str(first),
        "observation_end": str(last),
        "units": "lin",
        "output_type": 1,
        "file_type": parameters.get("file_type", "xml"),
        "order_by": "observation_date",
        "sort_order": order,
        "count": len(rows),
        "offset": offset,
        "limit": limit,
    }
    page = rows[offset : offset + limit]
    lines = "\n".join(f"<observation {_attributes(row)}/>" for row in page)
    return f"<observations {_attributes(head)}>\n{lines}\n</observations>", {**head, "observations": page}


def _real_time_rows(values: Sequence[MacroValue], start: date, end: date, today: date) -> list[dict[str, str]]:
    """Each value with the part of its real-time period that lies in [start, end], as it looks today."""
    rows = []
    for observed, versions in groupby(values, key=lambda value: value.observed):
        published = [version for version in versions if version.published <= today]
        ends = [version.published - timedelta(days=1) for version in published[1:]] + [EVER]
        rows += [
            {
                "realtime_start": str(max(version.published, start)),
                "realtime_end": str(min(until, end)),
                "date": str(observed),
                "value": "." if version.value is None else repr(version.value),
            }
            for version, until in zip(published, ends, strict=False)
            if version.published <= end and until >= start
        ]
    return rows


def _description(parameters: Mapping[str, str], series: MacroSeries, today: date) -> _Answer:
    start, end = _realtime(parameters, today)
    published = [value for value in series.values if value.published <= today]
    if not published:
        raise _BadRequestError("The series does not exist in ALFRED but may exist in FRED.")
    row = {
        "id": series.series_id,
        "realtime_start": str(start),
        "realtime_end": str(end),
        "title": series.title,
        "observation_start": str(published[0].observed),
        "observation_end": str(published[-1].observed),
        "frequency": series.frequency,
        "frequency_short": series.frequency[:1],
        "units": series.units,
        "units_short": series.units,
        "seasonal_adjustment": series.seasonal_adjustment,
        "seasonal_adjustment_short": "SA" if series.seasonal_adjustment == "Seasonally Adjusted" else "NSA",
        "last_updated": f"{max(value.published for value in published)} 08:30:00-05",
        "popularity": 50,
    }
    head = {"realtime_start": str(start), "realtime_end": str(end)}
    return f"<seriess {_attributes(head)}>\n<series {_attributes(row)}/>\n</seriess>", {**head, "seriess": [row]}


def _vintage_dates(parameters: Mapping[str, str], series: MacroSeries, today: date) -> _Answer:
    start, end = _day(parameters, "realtime_start", _EARLIEST), _day(parameters, "realtime_end", EVER)
    limit, offset = _number(parameters, "limit", 10_000, 1, 10_000), _number(parameters, "offset", 0, 0, 10**9)
    dates = sorted({value.published for value in series.values if start <= value.published <= min(end, today)})
    page = [str(day) for day in dates[offset : offset + limit]]
    head = {
        "realtime_start": str(start),
        "realtime_end": str(end),
        "order_by": "vintage_date",
        "sort_order": "asc",
        "count": len(dates),
        "offset": offset,
        "limit": limit,
    }
    lines = "\n".join(f"<vintage_date>{day}</vintage_date>" for day in page)
    return f"<vintage_dates {_attributes(head)}>\n{lines}\n</vintage_dates>", {**head, "vintage_dates": page}


def _check_key(parameters: Mapping[str, str], api_key: str) -> None:
    given = parameters.get("api_key")
    if given is None:
        raise _BadRequestError(f"Variable api_key has not been set.  Read {_KEY_PAGE} for more information.")
    if given != api_key:
        raise _BadRequestError(f"The value for variable api_key is not registered.  Read {_KEY_PAGE} for more information.")


def _series(parameters: Mapping[str, str], series: Mapping[str, MacroSeries]) -> MacroSeries:
    name = parameters.get("series_id")
    if not name:
        raise _BadRequestError("Variable series_id has not been set.")
    if name not in series:
        raise _BadRequestError("The series does not exist.")
    return series[name]


def _realtime(parameters: Mapping[str, str], today: date) -> tuple[date, date]:
    start, end = _day(parameters, "realtime_start", today), _day(parameters, "realtime_end", today)
    if start > end:
        raise _BadRequestError(
            f"The date set by variable realtime_start ({start}) is after the date set by realtime_end ({end})."
        )
    if today < end != EVER:
        raise _BadRequestError(
            f"Variable realtime_end can not be after today's date ({today}) unless it is equal to the maximum value ({EVER})."
        )
    return start, end


def _day(parameters: Mapping[str, str], name: str, default: date) -> date:
    text = parameters.get(name)
    if text is None:
        return default
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
    except ValueError:
        raise _BadRequestError(f"Variable {name} is not a YYYY-MM-DD formatted date (e.g. 2000-02-24).") from None


def _number(parameters: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = parameters.get(name, str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        raise _BadRequestError(f"Variable {name} is not between {low} and {high}.")
    return int(text)


def _error(message: str, as_json: bool) -> Response:
    if as_json:
        return Response(json.dumps({"error_code": 400, "error_message": message}), 400, media_type="application/json")
    xml = f'<?xml version="1.0" encoding="utf-8" ?>\n<error code="400" message={quoteattr(message)} />\n'
    return Response(xml, 400, media_type="text/xml")


def _attributes(fields: Mapping[str, object]) -> str:
    return " ".join(f"{name}={quoteattr(str(value))}" for name, value in fields.items())
