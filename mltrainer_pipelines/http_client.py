"""HTTP requests of this package: one client (httpx), and one way to try again (tenacity).

Only libraries that bring a connection of their own (Polygon's client, anthropic, MLflow) go around it; they retry with `retry`.
httpx takes a tenth of a second to import: it is imported with the first request.
"""

import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")
Fault = TypeVar("Fault", bound=Exception)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LARGEST_ANSWER = 64_000_000
"""Bytes of an answer, unpacked."""
_GZIP = 31
"""zlib's number for a gzip stream."""


class NoAnswerError(ConnectionError):
    """A server did not answer, or not to the end: says why, without the address, which may hold a key.

    `begun` tells whether its answer had begun.
    """

    def __init__(self, reason: str, begun: bool = False):
        super().__init__(reason)
        self.begun = begun


@dataclass(frozen=True)
class Response:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Its body, decoded. Raises `ValueError` where it is not JSON, or no sane one."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


class Cutoff:
    """Shuts a connection when a call has lasted too long: a server that drips its header or its body is never silent."""

    def __init__(self, seconds: float):
        self.expired = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True

    def watch(self, connection: socket.socket) -> None:
        """Shut this connection too, at once where the time is over."""
        self._sockets.append(connection)
        if self.expired:
            self._shut()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _shut(self) -> None:
        self.expired = True
        for connection in self._sockets:
            with suppress(OSError):
                # of TLS too the plain connection: its own way to end would wait for the other side
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


def send(
    url: str,
    *,
    method: str = "GET",
    params: Mapping[str, str] | None = None,
    content: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
    total_s: float | None = None,
    follow_redirects: bool = False,
) -> Response:
    """Send one request and read the whole answer, or raise `NoAnswerError`; `content` becomes the JSON body.

    `timeout_s` is for the connection and for each silence of the server; after `total_s`, four times that unless it is given, a
    server that keeps dripping is cut off. An answer may have `LARGEST_ANSWER` bytes, however small it came.
    """
    import httpx

    total_s = 4 * timeout_s if total_s is None else total_s
    request = {"params": params, "json": content}
    begun = False
    with Cutoff(total_s) as cutoff:

        def connected(event: str, info: Mapping[str, Any]) -> None:
            if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
                cutoff.watch(info["return_value"].get_extra_info("socket"))

        try:
            with _client(urlsplit(url).hostname in _LOOPBACK).stream(
                method,
                url,
                **{name: value for name, value in request.items() if value is not None},
                headers={"Accept-Encoding": "gzip", **(headers or {})},
                timeout=timeout_s,
                follow_redirects=follow_redirects,
                extensions={"trace": connected},
            ) as response:
                begun = True
                body = _whole_body(response.iter_raw(65_536), response.headers.get("content-encoding", ""))
            if cutoff.expired:
                raise NoAnswerError(_too_long(total_s))
            return Response(response.status_code, response.headers, body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if cutoff.expired:
                raise NoAnswerError(_too_long(total_s)) from None
            if isinstance(error, NoAnswerError):
                raise
            if isinstance(error, httpx.TimeoutException):
                raise NoAnswerError(f"timed out after {timeout_s:g} s") from None
            cut_off = begun and isinstance(error, httpx.RemoteProtocolError)
            raise NoAnswerError(str(error) or type(error).__name__, cut_off) from None


def _too_long(total_s: float) -> str:
    return f"the answer was not complete after {total_s:g} s"


def _whole_body(chunks: Iterator[bytes], encoding: str) -> bytes:
    """The body as it was meant; `NoAnswerError` where it is larger than any answer that is waited for."""
    if encoding.lower() not in ("", "identity", "gzip"):
        raise NoAnswerError(f"the answer is encoded as {encoding[:20]!r}, which was not asked for")
    unpacker = zlib.decompressobj(_GZIP) if encoding.lower() == "gzip" else None
    body = bytearray()
    for chunk in chunks:
        try:
            body += unpacker.decompress(chunk, LARGEST_ANSWER + 1 - len(body)) if unpacker else chunk
        except zlib.error as error:
            raise NoAnswerError(f"its body is not what it was announced as ({error})", begun=True) from None
        if len(body) > LARGEST_ANSWER:
            raise NoAnswerError(f"the answer is larger than {LARGEST_ANSWER // 1_000_000} MB")
    if unpacker and not unpacker.eof and body:
        raise NoAnswerError("its compressed body was cut off", begun=True)
    return bytes(body)


@lru_cache(maxsize=2)
def _client(loopback: bool) -> "httpx.Client":
    """The client of this process, with the certificates of the system; no proxy stands before an address of this machine."""
    import ssl

    import httpx

    limits = httpx.Limits(max_keepalive_connections=0)  # a process that is forked shares no connection with its parent
    return httpx.Client(verify=ssl.create_default_context(), trust_env=not loopback, limits=limits)


def retry(
    call: Callable[[], Result],
    fault: type[Fault],
    *,
    attempts: int,
    wait_s: Callable[[int, Fault], float],
    longest_s: float,
    give_up: Callable[[int, Fault], NoReturn],
) -> Result:
    """Call until it raises no `fault`; other errors come through.

    `wait_s` gives the seconds to wait after an attempt, by its number (from 1) and its fault; a wait over `longest_s` is not
    waited for. `give_up` raises what the caller gets after the last attempt.
    """
    from tenacity import RetryCallState, Retrying, retry_if_exception_type

    def last(state: RetryCallState) -> tuple[int, Any]:
        return state.attempt_number, state.outcome and state.outcome.exception()

    return Retrying(
        retry=retry_if_exception_type(fault),
        stop=lambda state: state.attempt_number >= attempts or wait_s(*last(state)) > longest_s,
        wait=lambda state: wait_s(*last(state)),
        retry_error_callback=lambda state: give_up(*last(state)),
    )(call)
