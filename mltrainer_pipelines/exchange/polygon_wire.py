"""What Polygon's routes share: parameters, errors as the service words them, request ids and pages."""

import base64
import json
import operator
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response

Parameters = Mapping[str, str]
_BAD_CURSOR = "Could not parse the parameter 'cursor'; follow next_url as it was given"


class WireError(Exception):
    """An answer other than 200: its status code and the fields of its body."""

    def __init__(self, status_code: int, **body: str):
        super().__init__(str(body))
        self.status_code, self.body = status_code, body

    def response(self) -> Response:
        document = {"status": self.body.get("status", "ERROR"), "request_id": request_id(), **self.body}
        return json_response(document, self.status_code)


def bad_parameter(message: str) -> WireError:
    return WireError(400, error=message)


def request_id() -> str:
    return secrets.token_hex(16)


def json_response(document: object, status_code: int = 200) -> Response:
    return Response(json.dumps(document, separators=(",", ":")), status_code, media_type="application/json")


def flag(parameters: Parameters, name: str, default: bool) -> bool:
    text = parameters.get(name, "").lower()
    if text not in ("", "true", "false"):
        raise bad_parameter(f"Could not parse the parameter '{name}': {text!r} is neither true nor false")
    return default if text == "" else text == "true"


def whole_number(parameters: Parameters, name: str, default: int, most: int) -> int:
    """A limit: at least 1, and cut to `most`, as the service does."""
    text = parameters.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise bad_parameter(f"Could not parse the parameter '{name}': {text!r} is not a positive whole number")
    return min(int(text), most)


def one_of(parameters: Parameters, name: str, default: str, allowed: Sequence[str]) -> str:
    text = parameters.get(name, default)
    if text not in allowed:
        raise bad_parameter(f"The parameter '{name}' must be one of {', '.join(allowed)}, not {text!r}")
    return text


def calendar_day(text: str, name: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
    except ValueError:
        raise bad_parameter(f"Could not parse the time parameter: '{name}'. Use YYYY-MM-DD") from None


def in_ranges(parameters: Parameters, names: Sequence[str], row: Mapping[str, object]) -> bool:
    """Whether a row's fields satisfy the filters `name`, `name.gte`, `.gt`, `.lte`, `.lt` that were asked for.

    A field that the row does not have satisfies none.
    """
    for name in names:
        value = row.get(name)
        for suffix, holds in _COMPARISONS.items():
            bound = parameters.get(name + suffix)
            if bound is not None and (value is None or not holds(str(value), bound)):
                return False
        any_of = parameters.get(f"{name}.any_of")
        if any_of is not None and str(value) not in any_of.split(","):
            return False
    return True


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "": operator.eq,
    ".gte": operator.ge,
    ".gt": operator.gt,
    ".lte": operator.le,
    ".lt": operator.lt,
}


def cursor_of(fields: Mapping[str, object]) -> str:
    """A cursor as the service makes them: a query in URL-safe base64."""
    return base64.urlsafe_b64encode(urlencode(fields).encode()).decode().rstrip("=")


def cursor_fields(cursor: str) -> dict[str, str]:
    """What a cursor carries; `WireError` 400 where it was not made by `cursor_of`."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        return dict(parse_qsl(text, strict_parsing=True))
    except ValueError:
        raise bad_parameter(_BAD_CURSOR) from None


@dataclass(frozen=True)
class Query:
    """The parameters of a request, those its cursor carries included, and how many rows earlier pages gave."""

    parameters: dict[str, str]
    offset: int

    @classmethod
    def of(cls, request: Request) -> "Query":
        """A `cursor` brings back the query it was made for; parameters beside it, other than the key, are ignored."""
        parameters = {name: value for name, value in request.query_params.items() if name != "apiKey"}
        cursor = parameters.pop("cursor", None)
        if cursor is None:
            return cls(parameters, 0)
        try:
            fields = cursor_fields(cursor)
            return cls(fields, int(fields.pop("ap")))
        except (ValueError, KeyError):
            raise bad_parameter(_BAD_CURSOR) from None

    def next_cursor(self, served: int) -> str:
        return cursor_of({**self.parameters, "ap": self.offset + served})


def page(request: Request, query: Query, rows: Sequence[Mapping[str, object]], limit: int, count: bool = False) -> Response:
    """One page of `rows` as the v3 routes give it, with `next_url` on the host that was called where more follow."""
    served = rows[query.offset : query.offset + limit]
    document: dict[str, Any] = {"results": served, "status": "OK", "request_id": request_id()}
    if count:
        document["count"] = len(served)
    if query.offset + limit < len(rows):
        document["next_url"] = f"{request.base_url}{request.url.path.lstrip('/')}?cursor={query.next_cursor(len(served))}"
    return json_response(document)
