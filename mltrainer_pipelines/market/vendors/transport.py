"""HTTP to data vendors: time limits, bounded retries, and keys that stay out of every message.

Both vendors' own clients need it. `polygon-api-client` 1.16 takes time limits and never applies them, sleeps as long
as a server's `Retry-After` says, and reports an error's body without its status; `fredapi` 0.5 waits for ever.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn, TypeVar
from urllib.parse import quote, quote_plus, urlsplit

from pydantic import SecretStr

from mltrainer_pipelines.http_client import retry
from mltrainer_pipelines.market.errors import (
    BrokenAnswerError,
    KeyRefusedError,
    MarketDataError,
    NotFoundError,
    RateLimitedError,
    UnreachableError,
)

Answer = TypeVar("Answer")
_SHOWN_CHARACTERS = 80
_TRANSIENT = frozenset({408, 425, 499, 500, 502, 503, 504, *range(520, 525)})
"""What a server or a proxy says when it is overloaded; 520 to 524 is Cloudflare without an answer from behind it."""


@dataclass(frozen=True)
class Backoff:
    """How often a call is tried, and how long to wait in between.

    The wait doubles from `first_s`. After a 429 it is the server's `Retry-After`, or at least `rate_limited_s` where
    the server does not say: with the defaults the last attempt comes a minute after the first, when a budget of calls
    a minute has been refilled. A server that asks for more than `longest_s` is not waited for.
    """

    attempts: int = 5
    first_s: float = 0.5
    rate_limited_s: float = 15.0
    longest_s: float = 65.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.first_s, self.rate_limited_s, self.longest_s) < 0:
            raise ValueError(f"{self}: at least one attempt, and no negative wait")

    def wait_s(self, attempt: int, fault: "TransientFault") -> float:
        """Seconds to wait after the `attempt`-th attempt (from 1) failed."""
        doubled = min(self.first_s * 2.0 ** (attempt - 1), self.longest_s)
        if fault.retry_after_s is not None:
            return max(fault.retry_after_s, doubled)
        return max(doubled, min(self.rate_limited_s, self.longest_s)) if fault.rate_limited else doubled


class TransientFault(Exception):  # noqa: N818 (never leaves this package: it becomes a MarketDataError)
    """A fault that may be gone at the next attempt."""

    def __init__(self, what: str, *, answered: bool, rate_limited: bool = False, retry_after_s: float | None = None):
        super().__init__(what)
        self.answered, self.rate_limited, self.retry_after_s = answered, rate_limited, retry_after_s

    def final(self, service: str, attempts: int) -> MarketDataError:
        """The error for the user, once no further attempt is made."""
        if self.rate_limited:
            return RateLimitedError(service, attempts, self.retry_after_s)
        tried = f"{attempts} attempt{'s' * (attempts > 1)}"
        if self.answered:
            return BrokenAnswerError(f"{service} gave no usable answer in {tried}: {self}")
        return UnreachableError(f"{service} did not answer in {tried}: {self}; check the address and the network, or try later")


def with_retries(attempt: Callable[[], Answer], service: str, backoff: Backoff) -> Answer:
    """Call until it succeeds; transient faults are tried again, all other errors come through.

    When the last attempt fails, or the server asks for a longer wait than `backoff` allows, the fault's final error is raised.
    """

    def give_up(attempts: int, fault: TransientFault) -> NoReturn:
        raise fault.final(service, attempts) from None

    return retry(
        attempt,
        TransientFault,
        attempts=backoff.attempts,
        wait_s=backoff.wait_s,
        longest_s=backoff.longest_s,
        give_up=give_up,
    )


def usable_address(base_url: str, variable: str, example: str, timeout_s: float) -> str:
    """The address without a slash at its end. Raises `ValueError` where it, or the time limit, cannot be used."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{variable}={base_url}: give an http:// or https:// address, such as {example}")
    if timeout_s <= 0:
        raise ValueError(f"timeout_s={timeout_s}: give a positive number of seconds")
    return base_url.rstrip("/")


def usable_key(key: SecretStr, variable: str, service: str) -> str:
    """The key as text, or `KeyRefusedError` before any call unless it is printable ASCII without blanks.

    A key with a blank or a line break in it would end up in messages of others.
    """
    text = key.get_secret_value().strip()
    if not re.fullmatch(r"[!-~]+", text):
        raise KeyRefusedError(
            variable, service, 0, "it is empty, or holds blanks, line breaks or non-ASCII characters (never sent)"
        )
    return text


def masked(text: str, key: str) -> str:
    """`text` without the key, in whatever way a URL may spell it."""
    for spelling in {key, quote(key), quote(key, safe=""), quote_plus(key)}:
        text = text.replace(spelling, "***")
    return text


def describe_response(status: int, content_type: str | None, body: bytes, key: str) -> str:
    """Status, content type, size and first characters of an answer, on one line, the key masked."""
    start = " ".join(masked(body[:4096].decode("utf-8", "replace"), key).split())[:_SHOWN_CHARACTERS]
    return f"status {status}, content type {content_type or 'not given'}, {len(body)} bytes: {start!r}"


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for, given as seconds or as a date; None where it is absent or unreadable.

    >>> retry_after_s("30"), retry_after_s("soon")
    (30.0, None)
    """
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def check_status(status: int, after: str | None, description: str, reason: str, *, service: str, variable: str) -> None:
    """Sort an HTTP status: nothing for 200, `TransientFault` for 429 and for overloaded servers or proxies.

    `KeyRefusedError` for 401 and 403, `NotFoundError` for 404, `BrokenAnswerError` for every other status, redirects
    included: following one could carry a key to another host.
    """
    if status == 200:
        return
    if status in (401, 403):
        raise KeyRefusedError(variable, service, status, reason)
    if status == 429:
        raise TransientFault(description, answered=True, rate_limited=True, retry_after_s=retry_after_s(after))
    if status in _TRANSIENT:
        raise TransientFault(description, answered=True, retry_after_s=retry_after_s(after))
    raise (NotFoundError if status == 404 else BrokenAnswerError)(f"{service} answered with {description}")
