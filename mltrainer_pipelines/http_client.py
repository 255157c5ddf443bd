"""HTTP requests of this package: one client (httpx), and one way to try again (tenacity).

Only libraries that bring a connection of their own (Polygon's client, anthropic, MLflow) go around it; they retry with `retry`.
httpx takes a tenth of a second to import: it is imported with the first request.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")
Fault = TypeVar("Fault", bound=Exception)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


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
        """Its body, decoded. Raises `ValueError` where it is not JSON."""
        return json.loads(self.body)


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

    `timeout_s` is for the connection and for each silence of the server; after `total_s`, where it is given, a server that
    keeps dripping is cut off.
    """
    import httpx

    deadline = None if total_s is None else time.monotonic() + total_s
    request = {"params": params, "json": content, "headers": headers}
    begun = False
    try:
        with _client(urlsplit(url).hostname in _LOOPBACK).stream(
            method,
            url,
            **{name: value for name, value in request.items() if value is not None},
            timeout=timeout_s,
            follow_redirects=follow_redirects,
        ) as response:
            begun, body = True, bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if deadline is not None and time.monotonic() > deadline:
                    raise NoAnswerError(f"the answer was not complete after {total_s:g} s")
            return Response(response.status_code, response.headers, bytes(body))
    except httpx.TimeoutException:
        raise NoAnswerError(f"timed out after {timeout_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoAnswerError(str(error) or type(error).__name__, begun and isinstance(error, httpx.RemoteProtocolError)) from None


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
