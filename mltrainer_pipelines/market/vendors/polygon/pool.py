"""The connection of Polygon's client: fetched whole, decoded, tried again. The one module that replaces a part of the library.

`polygon-api-client` turns a body it cannot read into an empty list and ends a broken pagination in silence: a lost
answer would look like a day without trading. So the client only builds the requests, and they go through `ValidatingPool`
in the place of its `client`, urllib3's pool.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import urllib3

from mltrainer_pipelines.http_client import LARGEST_ANSWER, Cutoff
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
KEY_VARIABLE = "POLYGON_API_KEY (or MASSIVE_API_KEY)"
CALLS = "polygon_calls.json"
"""File of the state folder in which all processes count their calls."""
_CONNECTIONS = 8


@dataclass(frozen=True)
class Answer:
    """A whole answer with status 200 and a JSON body; the client asks it for `status` and hands it on."""

    status: int
    content_type: str | None
    data: bytes
    payload: Any


class ValidatingPool:
    """Stands in for the client's urllib3 pool: time limits, our retries, no redirects, whole JSON answers only."""

    def __init__(self, key: str, timeout_s: float, total_s: float, backoff: Backoff, budget: CallBudget | None):
        import certifi

        self._key, self._total_s, self._backoff, self._budget = key, total_s, backoff, budget
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            ca_certs=certifi.where(),
            cert_reqs="CERT_REQUIRED",
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            retries=False,
        )
        self._pool.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
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
            cutoff = Cutoff(self._total_s)
            try:
                with cutoff, _cut_off_by(cutoff):
                    response = self._pool.request(
                        method, url, fields=fields, headers=headers, redirect=False, preload_content=False
                    )
                    body = self._whole_body(response)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if not cutoff.expired:
                    raise TransientFault(masked(_reason(error), self._key), answered=False) from None
            finally:
                with self._lock:
                    self.seconds += time.perf_counter() - begin
        if cutoff.expired:  # a header that was cut may look like a whole one
            raise TransientFault(f"the answer was not complete after {self._total_s:g} s", answered=False)
        content_type = response.headers.get("Content-Type")
        description = describe_response(response.status, content_type, body, self._key)
        after = response.headers.get("Retry-After")
        try:
            check_status(
                response.status, after, description, masked(_message(body), self._key), service=SERVICE, variable=KEY_VARIABLE
            )
        except TransientFault as fault:
            if self._budget and fault.retry_after_s:
                self._budget.pause(min(fault.retry_after_s, self._backoff.longest_s))  # the other processes' calls as well
            raise
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            raise TransientFault(f"not JSON, or cut off: {description}", answered=True) from None
        return Answer(response.status, content_type, body, payload)

    def _whole_body(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """Read to the end. A body shorter than announced is urllib3's error; what is unpacked is bounded piece by piece."""
        body = bytearray()
        try:
            while chunk := response.read1(65_536):
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise TransientFault(f"the answer is larger than {LARGEST_ANSWER // 1_000_000} MB", answered=True)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return bytes(body)


_calling = threading.local()
"""`cutoff` of the call that this thread makes."""


@contextmanager
def _cut_off_by(cutoff: Cutoff) -> Iterator[None]:
    _calling.cutoff = cutoff
    try:
        yield
    finally:
        _calling.cutoff = None


class _Connection(urllib3.connection.HTTPConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        _watch(self.sock)
        return super().getresponse()


class _TLSConnection(urllib3.connection.HTTPSConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        _watch(self.sock)
        return super().getresponse()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def _watch(connection: socket.socket | None) -> None:
    cutoff = getattr(_calling, "cutoff", None)
    if cutoff is not None and connection is not None:
        cutoff.watch(connection)


def _reason(error: Exception) -> str:
    """What went wrong on the connection, without the object addresses urllib3 puts in front."""
    return f"{type(error).__name__}: {re.sub(r'<[^>]*>[:,]?', '', str(error)).strip()}"


def _message(body: bytes) -> str:
    """The service's own words in an error's body, if it has any."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    message = (payload.get("error") or payload.get("message")) if isinstance(payload, dict) else None
    return " ".join(str(message).split())[:200] if message else ""
