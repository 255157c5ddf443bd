"""Polygon's answers as frames: all rows that were announced, of the right types, or an error."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from mltrainer_pipelines.market.errors import BrokenAnswerError
from mltrainer_pipelines.market.vendors.polygon.pool import SERVICE, Answer, ValidatingPool
from mltrainer_pipelines.market.vendors.transport import describe_response, masked

_SAME_VENDOR = frozenset({"api.polygon.io", "api.massive.com"})
"""One service under two names: a next_url of either is followed, always on the host that was configured."""

MOST_PAGES = 2_000
"""Of one list: five years of a whole market's dividends are 200."""
MOST_BYTES = 1_000_000_000
_MOST_WRONG, _FEW_WRONG = 0.01, 2
"""Share of a page's rows that may hold a value of a wrong type, and how many of a short page."""


class PolygonAnswers:
    """Reads answers into frames: all rows that were announced, of the right types."""

    def __init__(self, base_url: str, key: str, pool: ValidatingPool, headers: Mapping[str, str]):
        self._base_url, self._key, self._pool, self._headers = base_url, key, pool, headers

    def __repr__(self) -> str:
        return f"PolygonAnswers({self._base_url!r})"

    def rows(self, answer: Answer, what: str, key: str = "results", count: str = "resultsCount") -> list[Any]:
        """The rows of one page, checked to be as many as the answer says."""
        payload = answer.payload
        if not isinstance(payload, dict):
            raise self.broken(what, "the answer is not an object", answer)
        if payload.get("status") not in ("OK", "DELAYED", None):
            raise self.broken(what, f"its status is {masked(str(payload['status']), self._key)[:40]!r}", answer)
        announced = payload.get(count)
        rows = payload.get(key)
        if rows is None and announced == 0:
            return []
        if not isinstance(rows, list):
            raise self.broken(what, f"{key} is {'missing' if key not in payload else 'not a list'}", answer)
        if announced is not None and announced != len(rows):
            raise self.broken(what, f"{count} says {announced!r:.20} but {len(rows)} {key} came", answer)
        return rows

    def pages(self, answer: Answer, what: str, count: str = "resultsCount") -> Iterator[tuple[Answer, list[Any]]]:
        """All pages of an answer; a page that comes again, or lies on another host, is an error."""
        seen_pages: set[str] = set()
        seen_rows: set[int] = set()
        size = 0
        while True:
            size += len(answer.data)
            if len(seen_pages) >= MOST_PAGES or size > MOST_BYTES:
                raise self.broken(what, f"there is no end of it after {len(seen_pages)} pages and {size:,} bytes", answer)
            rows = self.rows(answer, what, count=count)
            following = answer.payload.get("next_url")
            if rows and (following or seen_rows):
                digest = hash(json.dumps(rows, sort_keys=True))
                if digest in seen_rows:
                    raise self.broken(what, "a page came twice", answer)
                seen_rows.add(digest)
            yield answer, rows
            if not following:
                return
            if following in seen_pages:
                raise self.broken(what, "its next_url leads back to a page that was read", answer)
            seen_pages.add(following)
            answer = self._pool.request("GET", self._on_our_host(following, what, answer), headers=self._headers)

    def _on_our_host(self, following: Any, what: str, answer: Answer) -> str:
        """The next page's address, on the host that was configured; the key goes nowhere else."""
        base = urlsplit(self._base_url)
        try:
            parts = urlsplit(following)
            host = (parts.scheme, parts.hostname, parts.port)
        except (TypeError, ValueError, AttributeError):
            raise self.broken(what, "its next_url is no address", answer) from None
        same_vendor = {parts.hostname, base.hostname} <= _SAME_VENDOR
        if host != (base.scheme, base.hostname, base.port) and not same_vendor:
            host_name = masked(f"{parts.scheme}://{parts.hostname}", self._key)
            raise self.broken(what, f"its next_url leads to another host, {host_name}, to which nothing was sent", answer)
        return f"{base.scheme}://{base.netloc}{parts.path}{f'?{parts.query}' if parts.query else ''}"

    def all(self, answer: Answer, wire: Mapping[str, object], what: str) -> pl.DataFrame:
        """Rows of all pages of a v3 list."""
        frames = [self.frame(rows, wire, page, what) for page, rows in self.pages(answer, what, count="count")]
        return pl.concat(frames)

    def frame(self, rows: list[Any], wire: Mapping[str, Any], answer: Answer, what: str) -> pl.DataFrame:
        """Rows as they came. A value of a wrong type is null: it costs its row, which then breaks a rule, not the page.

        Where more than a stray few rows hold one, the answer is not believed.
        """
        schema = pl.Schema(wire)
        if not rows:
            return pl.DataFrame(schema=schema)
        reason = "not an object"
        if all(isinstance(row, dict) for row in rows):
            try:
                return pl.DataFrame(rows, schema=schema, strict=True)
            except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
                reason = " ".join(masked(str(error), self._key).split())[:120]
        came = [row if isinstance(row, dict) else {"": row} for row in rows]
        kept = [{name: _of_type(row.get(name), kind) for name, kind in wire.items()} for row in came]
        wrong = sum(
            "" in row or any(_differs(row.get(name), value) for name, value in typed.items())
            for row, typed in zip(came, kept, strict=True)
        )
        if wrong > max(_FEW_WRONG, _MOST_WRONG * len(rows)) or wrong == len(rows):
            raise self.broken(what, f"{wrong} of {len(rows)} rows hold a value of the wrong type ({reason})", answer)
        return pl.DataFrame(kept, schema=schema, strict=True)

    def typed(self, frame: pl.DataFrame, columns: Mapping[str, pl.Expr], schema: pl.Schema, what: str) -> pl.DataFrame:
        try:
            typed = frame.select(columns[name].cast(kind).alias(name) for name, kind in schema.items())
        except pl.exceptions.PolarsError as error:
            reason = " ".join(masked(str(error), self._key).split())[:200]
            raise BrokenAnswerError(f"{SERVICE}'s {what} cannot be used: a value has the wrong form ({reason})") from None
        key = "symbol" if "symbol" in schema else "date"
        if "ex_date" not in schema and typed.get_column(key).null_count():
            raise BrokenAnswerError(f"{SERVICE}'s {what} cannot be used: a row has no {key}")
        return typed

    def broken(self, what: str, problem: str, answer: Answer) -> BrokenAnswerError:
        description = describe_response(answer.status, answer.content_type, answer.data, self._key)
        return BrokenAnswerError(f"{SERVICE}'s {what} cannot be used: {problem}; {description}")


def _of_type(value: Any, kind: Any) -> Any:
    """A value as its column holds it; None where it is of another type."""
    if isinstance(kind, pl.Struct):
        fields = value if isinstance(value, dict) else {}
        return {field.name: _of_type(fields.get(field.name), field.dtype) for field in kind.fields} if fields else None
    if kind == pl.String or kind == pl.Boolean:
        return value if isinstance(value, str if kind == pl.String else bool) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if kind == pl.Int64:
        return int(value) if value == value and abs(value) < 2**63 and value == int(value) else None
    return float(value) if abs(value) < 1e300 else None


def _differs(came: Any, typed: Any) -> bool:
    """Whether something of a value was lost on the way to its column."""
    if isinstance(came, dict) and isinstance(typed, dict):
        return any(_differs(came.get(name), value) for name, value in typed.items())
    return came is not None and came != typed
