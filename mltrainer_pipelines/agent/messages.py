"""Requests to Claude: the `anthropic` client with a budget, bounded retries, and every answer recorded.

Every failure has a name. Nothing in a broken answer is ever acted on: a tool call counts only in an answer that arrived
whole and ended with it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from sqlalchemy.engine import Engine

from mltrainer_pipelines.agent import ledger
from mltrainer_pipelines.agent.answers import checked_content, usage_of
from mltrainer_pipelines.agent.failures import (
    AgentOffError,
    BusyError,
    ClaudeError,
    ClaudeLostError,
    ClaudeMalformedError,
    ClaudeUnavailableError,
    first_line,
    named_failures,
    require_whole,
)
from mltrainer_pipelines.agent.ledger import Purpose
from mltrainer_pipelines.agent.prices import Usage, most_dollars
from mltrainer_pipelines.agent.prompts import Prompt
from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.agent.tracing import Traces
from mltrainer_pipelines.http_client import retry
from mltrainer_pipelines.redaction import StreamRedactor, protect
from mltrainer_pipelines.store import runtime_settings

if TYPE_CHECKING:
    import anthropic

Schema = TypeVar("Schema", bound=BaseModel)
Result = TypeVar("Result")

LONGEST_WAIT_S = 30.0
"""A server that asks to wait longer than this counts as unavailable."""
_EFFORT = ("claude-sonnet-5", "claude-opus-5", "claude-sonnet-4-6", "claude-opus-4-6", "claude-haiku-5")


@dataclass(frozen=True)
class Answer:
    """An answer that arrived whole, its `content` in the blocks of the Messages API; `call_id` is its row in `agent_calls`."""

    content: list[dict[str, Any]]
    stop_reason: str
    usage: Usage
    call_id: int

    @property
    def text(self) -> str:
        return "".join(block["text"] for block in self.content if block["type"] == "text")

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """Tool calls that may be acted on: none in an answer that was cut short."""
        return [block for block in self.content if block["type"] == "tool_use"] if self.stop_reason == "tool_use" else []


@dataclass(frozen=True)
class Claude:
    """A model behind the Messages API, Anthropic's own where `base_url` is None.

    Everything is recorded in the database, where the budget and the switch are read. `timeout_s` is between two pieces of an
    answer; `retries` are further tries where the server is busy or not reachable, while nothing was answered yet. `clock` gives
    an aware moment of real time: the day that a cost belongs to.
    """

    engine: Engine
    model: str
    api_key: SecretStr
    base_url: str | None = None
    timeout_s: float = 120.0
    retries: int = 2
    traces: Traces = field(default_factory=lambda: Traces(None))
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        protect(self.api_key.get_secret_value())

    def parse(
        self,
        purpose: Purpose,
        prompt: Prompt,
        messages: Sequence[Mapping[str, object]],
        schema: type[Schema],
        max_tokens: int,
    ) -> tuple[Schema, Answer]:
        """Ask for an answer in a schema (structured output); raises a kind of `ClaudeError`, or `ledger.DailyBudgetError`."""
        import anthropic

        request = self._request(prompt, messages, max_tokens)
        output = {"format": {"type": "json_schema", "schema": anthropic.transform_schema(schema)}}
        with self._recorded(purpose, prompt, request, None) as call:
            answer = self._answer(call, request | {"output_config": request.get("output_config", {}) | output})
            try:
                return schema.model_validate_json(answer.text), answer
            except ValidationError as error:
                raise ClaudeMalformedError(f"Claude's answer does not fit the schema: {first_line(error)}") from None

    def complete(self, purpose: Purpose, prompt: Prompt, messages: Sequence[Mapping[str, object]], max_tokens: int) -> Answer:
        """Ask for text; raises as `parse` does."""
        request = self._request(prompt, messages, max_tokens)
        with self._recorded(purpose, prompt, request, None) as call:
            return self._answer(call, request)

    def stream(
        self,
        purpose: Purpose,
        prompt: Prompt,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int,
        tools: Sequence[Mapping[str, Any]] = (),
        session_id: str | None = None,
    ) -> Iterator[str | Answer]:
        """Ask with tools; yields pieces of text as they come and the whole `Answer` last.

        An answer that reached `max_tokens` is given as it is: it has no `tool_calls`. Raises as `parse` does, also after pieces
        were given: for a stream that is cut, a refusal, tool input that is not JSON.
        """
        request = self._request(prompt, messages, max_tokens, tools)
        with self._recorded(purpose, prompt, request, session_id) as call:
            manager = self._client.messages.stream(**request)
            stream = self._retrying(manager.__enter__)
            text, tool_json = StreamRedactor(), dict[int, str]()
            try:
                with named_failures():
                    for event in stream:
                        if event.type == "text":
                            call.has_text = True
                            if piece := text.feed(event.text):
                                yield piece
                        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                            tool_json[event.index] = tool_json.get(event.index, "") + event.delta.partial_json
                if piece := text.rest():
                    yield piece
                message = stream.current_message_snapshot
                body = message.model_dump(mode="json", exclude_none=True, warnings=False)
            except AssertionError:
                raise ClaudeLostError("the connection to Claude ended before an answer began; ask again") from None
            except BusyError as busy:
                raise ClaudeLostError(str(busy)) from None
            except ValueError as error:
                of_tool = "tool parameter" in str(error)
                what = "Claude called a tool with input" if of_tool else "the API sent a piece of an answer"
                raise ClaudeMalformedError(f"{what} that is not JSON: {first_line(error)}") from None
            except (AttributeError, TypeError, LookupError, RuntimeError) as error:
                # The client takes what comes on trust: events that are not events end in errors of its own.
                if isinstance(error, ClaudeError):
                    raise
                raise ClaudeMalformedError(f"the API sent something that is not an answer: {first_line(error)}") from None
            finally:
                stream.close()
            if message.stop_reason is None:
                raise ClaudeLostError("the connection to Claude was lost in the middle of an answer; ask again")
            call.keep(body)
            if message.stop_reason == "refusal":
                require_whole(body)
            yield call.answer(tool_json)

    @cached_property
    def _client(self) -> "anthropic.Anthropic":
        import anthropic
        import httpx2

        timeout = httpx2.Timeout(self.timeout_s, connect=5.0)
        return anthropic.Anthropic(
            api_key=self.api_key.get_secret_value(),
            base_url=self.base_url,
            timeout=timeout,
            max_retries=0,  # the SDK would wait as long as a server asks it to; `_retrying` does not
            http_client=anthropic.DefaultHttpxClient(timeout=timeout),
        )

    def _answer(self, call: "_OpenCall", request: Mapping[str, Any]) -> Answer:
        """A whole answer that is not streamed; `call` records it before anything of it is refused."""
        message: Any = self._retrying(lambda: self._client.messages.create(**request))
        if not isinstance(message, BaseModel):
            raise ClaudeMalformedError(f"the API's answer is not a JSON object: {str(message)[:100]!r}")
        try:
            body = message.model_dump(mode="json", exclude_none=True, warnings=False)
        except (TypeError, ValueError) as error:
            raise ClaudeMalformedError(f"the API sent something that is not an answer: {first_line(error)}") from None
        call.keep(body)
        require_whole(body)
        return call.answer({})

    def _request(
        self,
        prompt: Prompt,
        messages: Sequence[Mapping[str, object]],
        max_tokens: int,
        tools: Sequence[Mapping[str, object]] = (),
    ) -> dict[str, Any]:
        # Tools and prompt come first in what is cached and never change; the end of the messages is cached as well,
        # so that the next round of a conversation reads what this one wrote.
        request: dict[str, Any] = {
            "model": self.model,
            "max_tokens": max_tokens,
            "system": [{"type": "text", "text": prompt.text, "cache_control": {"type": "ephemeral"}}],
            "messages": _with_cache_mark(messages),
        }
        if tools:
            request["tools"] = list(tools)
        if self.model.startswith(_EFFORT):
            request["output_config"] = {"effort": "medium"}
        return request

    @contextmanager
    def _recorded(
        self, purpose: Purpose, prompt: Prompt, request: dict[str, object], session_id: str | None
    ) -> Iterator["_OpenCall"]:
        if not runtime_settings.get(self.engine, "agent_enabled"):
            raise AgentOffError("the agent is switched off; set agent_enabled to true to switch it on again")
        limit = float(runtime_settings.get(self.engine, "daily_dollars"))
        reserved = most_dollars(self.model, request)
        now, version = self.clock(), prompt.version
        call_id = ledger.open_call(self.engine, now, purpose, self.model, version, request, reserved, limit, session_id)
        call = _OpenCall(call_id, self.traces.begin(f"claude.{purpose}", plain(request)))
        began = time.monotonic()
        error: BaseException | None = None
        try:
            yield call
        except BaseException as problem:
            error = problem
            raise
        finally:
            lost = error is not None and call.body is None and (call.has_text or isinstance(error, ClaudeLostError))
            # What was reserved stays charged where nobody knows what an answer cost.
            usage = None if lost else Usage() if call.body is None else usage_of(call.body)
            seconds = time.monotonic() - began
            stop_reason = (call.body or {}).get("stop_reason")
            stop_reason = stop_reason if isinstance(stop_reason, str) else None
            message = None if error is None else f"{type(error).__name__}: {error}"
            ledger.close_call(self.engine, call_id, seconds, usage, call.body, stop_reason, message)
            attributes = {"mltrainer.call_id": call_id, "mltrainer.prompt": version}
            self.traces.end(call.span, call.body, attributes, failed=error is not None)

    def _retrying(self, request: Callable[[], Result]) -> Result:
        def wait_s(attempt: int, busy: BusyError) -> float:
            return busy.wait_s if busy.wait_s is not None else 0.5 * 2.0 ** (attempt - 1)

        def give_up(_attempts: int, busy: BusyError) -> NoReturn:
            raise ClaudeUnavailableError(str(busy)) from None

        # A context manager of contextlib is a decorator, too.
        named = named_failures()(request)
        return retry(named, BusyError, attempts=self.retries + 1, wait_s=wait_s, longest_s=LONGEST_WAIT_S, give_up=give_up)


@dataclass
class _OpenCall:
    call_id: int
    span: Any
    body: dict[str, Any] | None = None
    has_text: bool = False

    def keep(self, body: dict[str, object]) -> None:
        """An answer arrived, whatever it is worth."""
        self.body = plain(body)

    def answer(self, tool_json: Mapping[int, str]) -> Answer:
        """What counts of it; raises `ClaudeMalformedError`."""
        body = self.body or {}
        content = checked_content(body, tool_json)
        return Answer(content, body["stop_reason"], usage_of(body) or Usage(), self.call_id)


def _with_cache_mark(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """The messages with a cache mark on their last block that can carry one."""
    marked = [dict(message) for message in messages]
    blocks = [dict(block) for block in marked[-1]["content"]]
    if blocks and blocks[-1]["type"] in ("text", "tool_result"):
        blocks[-1]["cache_control"] = {"type": "ephemeral"}
    marked[-1]["content"] = blocks
    return marked
