"""Polygon's answers: fetched whole, decoded, and checked before anybody believes them.

`polygon-api-client` turns a body it cannot read into an empty list and ends a broken pagination in silence: a lost
answer would look like a day without trading. So the client only builds the requests. They go through `ValidatingPool`,
which takes the place of its connection pool, and what comes back is read by `PolygonAnswers`.
"""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import urllib3

from mltrainer_pipelines.market.errors import BrokenAnswerError
from mltrainer_pipelines.market.vendors.call_budget import CallBudget
from mltrainer_pipelines.market.vendors.transport import (
    Backoff,
    TransientFault,
    check_status,
    describe_response,
    masked,
    with_retries,
)

SERVICE = "Polygon"
KEY_VARIABLE = "POLYGON_API_KEY"
_CONNECTIONS = 8
_SAME_VENDOR = frozenset({"api.polygon.io", "api.massive.com"})
"""One service under two names: a next_url of either is followed, always on the host that was configured."""


@dataclass(frozen=True)
class Answer:
    """A whole answer with status 200 and a JSON body; the client asks it for `status` and hands it on."""

    status: int
    content_type: str | None
    data: bytes
    payload: Any


class ValidatingPool:
    """Stands in for the client's urllib3 pool: time limits, our retries, no redirects, whole JSON answers only."""

    def __init__(self, key: str, timeout_s: float, backoff: Backoff, budget: CallBudget | None):
        import certifi

        self._key, self._timeout_s, self._backoff, self._budget = key, timeout_s, backoff, budget
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            ca_certs=certifi.where(),
            cert_reqs="CERT_REQUIRED",
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            retries=False,
        )
        self._lock = threading.Lock()
        self.calls = 0
        self.seconds = 0.0

    def __repr__(self) -> str:
        return "ValidatingPool()"

    def request(
        self, method: str, url: str, fields: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A usable answer, or an error; see `with_retries`."""
        return with_retries(partial(self._attempt, method, url, fields, headers), SERVICE, self._backoff)

    def _attempt(self, method: str, url: str, fields: Mapping[str, Any] | None, headers: Mapping[str, str] | None) -> Answer:
        with self._budget.call() if self._budget else nullcontext():
            with self._lock:
                self.calls += 1
            begin = time.perf_counter()
            try:
                response = self._pool.request(method, url, fields=fields, headers=headers, redirect=False, preload_content=False)
                body = self._whole_body(response)
            except urllib3.exceptions.HTTPError as error:
                raise TransientFault(masked(_reason(error), self._key), answered=False) from None
            finally:
                with self._lock:
                    self.seconds += time.perf_counter() - begin
        content_type = response.headers.get("Content-Type")
        came = describe_response(response.status, content_type, body, self._key)
        after = response.headers.get("Retry-After")
        try:
            check_status(response.status, after, came, masked(_said(body), self._key), service=SERVICE, variable=KEY_VARIABLE)
        except TransientFault as fault:
            if self._budget and fault.retry_after_s:
                self._budget.pause(min(fault.retry_after_s, self._backoff.longest_s))  # the other processes' calls as well
            raise
        try:
            payload = json.loads(body)
        except ValueError:
            raise TransientFault(f"not JSON, or cut off: {came}", answered=True) from None
        return Answer(response.status, content_type, body, payload)

    def _whole_body(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """Read to the end; a server that keeps dripping is cut off. A body shorter than announced is urllib3's error."""
        deadline = time.monotonic() + 4 * self._timeout_s
        chunks = []
        try:
            while chunk := response.read1(65_536):
                chunks.append(chunk)
                if time.monotonic() > deadline:
                    raise TransientFault(f"the answer was not complete after {4 * self._timeout_s:g} s", answered=False)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return b"".join(chunks)


class PolygonAnswers:
    """Reads answers into frames: all rows that were announced, of the right types, each once."""

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
        said = payload.get(count)
        rows = payload.get(key)
        if rows is None and said == 0:
            return []
        if not isinstance(rows, list):
            raise self.broken(what, f"{key} is {'missing' if key not in payload else 'not a list'}", answer)
        if said is not None and said != len(rows):
            raise self.broken(what, f"{count} says {said!r:.20} but {len(rows)} {key} came", answer)
        return rows

    def pages(self, answer: Answer, what: str, count: str = "resultsCount") -> Iterator[tuple[Answer, list[Any]]]:
        """All pages of an answer; a page that comes again, or lies on another host, is an error."""
        seen_pages: set[str] = set()
        seen_rows: set[int] = set()
        while True:
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
            shown = masked(f"{parts.scheme}://{parts.hostname}", self._key)
            raise self.broken(what, f"its next_url leads to another host, {shown}, to which nothing was sent", answer)
        return f"{base.scheme}://{base.netloc}{parts.path}{f'?{parts.query}' if parts.query else ''}"

    def all(self, answer: Answer, wire: Mapping[str, Any], what: str) -> pl.DataFrame:
        """Rows of all pages of a v3 list, no row twice."""
        frames = [self.frame(rows, wire, page, what) for page, rows in self.pages(answer, what, count="count")]
        frame = pl.concat(frames)
        if "id" in wire:
            twice = frame.filter(pl.col("id").is_not_null() & pl.col("id").is_duplicated())
            if not twice.is_empty():
                row = twice.row(0, named=True)
                raise self.broken(what, f"the row {row['id']} of {row['ticker']} came more than once", answer)
        return frame

    def frame(self, rows: list[Any], wire: Mapping[str, Any], answer: Answer, what: str) -> pl.DataFrame:
        if not all(isinstance(row, dict) for row in rows):
            raise self.broken(what, "a row is not an object", answer)
        try:
            return pl.DataFrame(rows, schema=pl.Schema(wire), strict=True) if rows else pl.DataFrame(schema=pl.Schema(wire))
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
            reason = " ".join(masked(str(error), self._key).split())[:120]
            raise self.broken(what, f"a value has the wrong type ({reason})", answer) from None

    def typed(self, frame: pl.DataFrame, columns: Mapping[str, pl.Expr], schema: pl.Schema, what: str) -> pl.DataFrame:
        try:
            typed = frame.select(columns[name].cast(kind).alias(name) for name, kind in schema.items())
        except pl.exceptions.PolarsError as error:
            reason = " ".join(masked(str(error), self._key).split())[:200]
            raise BrokenAnswerError(f"{SERVICE}'s {what} cannot be used: a value has the wrong form ({reason})") from None
        key = "symbol" if "symbol" in schema else "date"
        if typed.get_column(key).null_count():
            raise BrokenAnswerError(f"{SERVICE}'s {what} cannot be used: a row has no {key}")
        return typed

    def broken(self, what: str, problem: str, answer: Answer) -> BrokenAnswerError:
        came = describe_response(answer.status, answer.content_type, answer.data, self._key)
        return BrokenAnswerError(f"{SERVICE}'s {what} cannot be used: {problem}; {came}")


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """What went wrong on the connection, without the object addresses urllib3 puts in front."""
    return f"{type(error).__name__}: {re.sub(r'<[^>]*>[:,]?', '', str(error)).strip()}"


def _said(body: bytes) -> str:
    """The service's own words in an error's body, if it has any."""
    try:
        payload = json.loads(body)
    except ValueError:
        return ""
    words = (payload.get("error") or payload.get("message")) if isinstance(payload, dict) else None
    return " ".join(str(words).split())[:200] if words else ""
