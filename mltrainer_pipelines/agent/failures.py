"""What can go wrong with Claude: an error for each, which says what to do; none of them contains the key."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mltrainer_pipelines.redaction import redact

if TYPE_CHECKING:
    import anthropic


class ClaudeError(RuntimeError):
    """Claude gave no usable answer: says why and what to do."""


class ClaudeRejectsUsError(ClaudeError):
    """The key, the model's name or the request is refused; trying again will not help."""


class ClaudeUnavailableError(ClaudeError):
    """Overloaded, rate-limited, too slow, cut off or not reachable: later it may work."""


class ClaudeLostError(ClaudeUnavailableError):
    """The answer was lost on its way, and may have cost something."""


class ClaudeDeclinedError(ClaudeError):
    """Claude refused to answer this."""


class ClaudeCutShortError(ClaudeError):
    """The answer reached its length limit before it was whole."""


class ClaudeMalformedError(ClaudeError):
    """The answer does not have the requested form."""


class AgentOffError(ClaudeError):
    """The agent is switched off."""


class BusyError(Exception):
    """The server is busy or not reachable, and nothing was answered yet."""

    def __init__(self, message: str, wait_s: float | None):
        super().__init__(message)
        self.wait_s = wait_s


@contextmanager
def named_failures() -> Iterator[None]:
    """Give every failure of the client its name: `BusyError` where another try may help, else a kind of `ClaudeError`."""
    import anthropic
    import httpx2

    try:
        yield
    except anthropic.APITimeoutError:
        raise ClaudeLostError("Claude did not answer in time; ask again later") from None
    except anthropic.APIConnectionError as error:
        reason = f"Claude cannot be reached ({first_line(error)}); check the network and ANTHROPIC_BASE_URL"
        raise BusyError(reason, None) from None
    except anthropic.APIStatusError as error:
        reason = redact(str(error.api_message))[:300] if error.api_message else first_line(error)
        if error.status_code in (401, 403):
            raise ClaudeRejectsUsError(f"the key in ANTHROPIC_API_KEY is refused ({reason}); set a valid key") from None
        if error.status_code == 404:
            raise ClaudeRejectsUsError(f"the API does not know the model ({reason}); correct MLTRAINER_AGENT_MODEL") from None
        # An error event inside a stream carries the status of the stream, 200.
        passing = error.type in ("overloaded_error", "api_error", "rate_limit_error")
        if passing or error.status_code == 429 or error.status_code >= 500:
            raise BusyError(f"Claude is busy ({error.status_code}: {reason}); ask again later", _wait(error)) from None
        raise ClaudeRejectsUsError(f"the API refuses the request ({error.status_code}: {reason})") from None
    except httpx2.TimeoutException:
        raise ClaudeLostError("Claude stopped in the middle of an answer; ask again later") from None
    except httpx2.TransportError:
        raise ClaudeLostError("the connection to Claude was lost in the middle of an answer; ask again") from None
    except (anthropic.APIError, json.JSONDecodeError) as error:
        raise ClaudeMalformedError(f"the API's answer is not the JSON it should be: {first_line(error)}") from None


def _wait(error: "anthropic.APIStatusError") -> float | None:
    """Seconds that a busy server asks to wait, None where it does not say."""
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if seconds >= 0 else None


def require_whole(body: Mapping[str, Any]) -> None:
    """Raise for a message that Claude declined, or that was cut short."""
    if body.get("stop_reason") == "refusal":
        details = body["stop_details"] if isinstance(body.get("stop_details"), dict) else {}
        reason = details.get("explanation") or details.get("category") or "no reason given"
        raise ClaudeDeclinedError(f"Claude declined to answer ({redact(str(reason))[:300]})")
    if body.get("stop_reason") in ("max_tokens", "model_context_window_exceeded"):
        raise ClaudeCutShortError(f"Claude's answer was cut short ({body['stop_reason']}); nothing of it is used")


def first_line(error: BaseException) -> str:
    """What an error says, in its first line that says something."""
    return redact(next((line for line in str(error).splitlines() if line.strip()), type(error).__name__))[:300]
