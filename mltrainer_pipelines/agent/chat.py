"""The chat: the user's messages become lookups at once and actions after a yes, with Claude or by commands.

`ChatAgent.chat` gives the events of one turn as they come; `follow` goes on until what was started has
ended. An action runs on the user's own yes and on nothing else: what Claude writes, and what tools
return, is never read as a decision.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mltrainer_pipelines.agent import conversation, ledger
from mltrainer_pipelines.agent.actions import (
    Action,
    ActionStateError,
    actions,
    approve,
    ended,
    finish_ended,
    progress,
    reject,
    unreported,
)
from mltrainer_pipelines.agent.answers import replayable
from mltrainer_pipelines.agent.chat_events import ChatEvent, action_event, notice, text_block, tool_event, tool_result_block
from mltrainer_pipelines.agent.command_replies import CommandReplies
from mltrainer_pipelines.agent.conversation import Block, locked_turn
from mltrainer_pipelines.agent.decisions import Decision, decision
from mltrainer_pipelines.agent.failures import ClaudeDeclinedError, ClaudeError
from mltrainer_pipelines.agent.intents import lookup
from mltrainer_pipelines.agent.ledger import DailyBudgetError
from mltrainer_pipelines.agent.messages import Answer, Claude
from mltrainer_pipelines.agent.prompts import prompt
from mltrainer_pipelines.agent.sanitize import as_data
from mltrainer_pipelines.agent.stopping import stop
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.agent.tools import ToolResult, call, definitions
from mltrainer_pipelines.agent.wishes import is_own_setting, wishes

MAX_TOKENS = 6000
MAX_ROUNDS = 8
"""Requests to Claude in one turn."""
MAX_CALLS = 12
"""Tool calls of one answer that are made; further ones get an error as their result."""
MAX_CHARACTERS = 8000
"""Of a message."""
_FINISHED = '<data name="finished_actions">'
_TOO_MANY = ToolResult('{"error":"too many calls at once; repeat this one if it still matters"}', failed=True)


class MessageError(ValueError):
    """A message that cannot be answered: empty, or too long."""


@dataclass(frozen=True)
class ChatAgent:
    """The agent in conversation; without an API key `claude` is None, and it understands commands alone."""

    system: System
    claude: Claude | None = None

    def chat(self, session_id: str, text: str) -> Iterator[ChatEvent]:
        """Answer a message of the user; the events of the turn as they come.

        Raises `MessageError`, `conversation.SessionNameError` or `conversation.SessionBusyError` before the first event.
        """
        message = "".join(letter for letter in text if letter.isprintable() or letter in "\n\t").strip()
        if not message:
            raise MessageError("the message is empty; type `help` to see what can be asked")
        if len(message) > MAX_CHARACTERS:
            raise MessageError(f"the message has {len(message)} characters; shorten it to {MAX_CHARACTERS}")
        with locked_turn(self.system, session_id) as turn:
            began = datetime.now(UTC)
            last_message_at = self._last_message_at(session_id)
            yield from self._ended_actions(session_id)
            decided = decision(message)
            pending = actions(self.system, session_id, "pending") if decided is not None else []
            if decided is not None and (pending or (decided.stop and self._running(session_id))):
                conversation.append(self.system, session_id, turn, [("user", [text_block(message)])])
                yield from self._decide(session_id, turn, decided, pending, last_message_at)
            else:
                yield from self._answer(session_id, turn, message)
            yield self._done(session_id, turn, began)

    def follow(self, session_id: str, timeout_s: float = 600.0, poll_s: float = 1.0) -> Iterator[ChatEvent]:
        """Progress and results of what runs in a conversation until it has ended, then the agent's comment on it."""
        deadline = time.monotonic() + timeout_s
        sent: dict[int, str] = {}
        while running := self._running(session_id):
            for one in running:
                text = progress(self.system, one)
                if sent.get(one.id) != text:
                    sent[one.id] = text
                    yield action_event(one, progress=text)
            if time.monotonic() > deadline:
                yield notice("Still running; ask for the status later.")
                return
            time.sleep(poll_s)
        if unreported(self.system, session_id):
            with locked_turn(self.system, session_id) as turn:
                began = datetime.now(UTC)
                if unreported(self.system, session_id):  # nobody else reported it in the meantime
                    yield from self._ended_actions(session_id)
                    yield from self._answer(session_id, turn, None)
                yield self._done(session_id, turn, began)

    def history(self, session_id: str, limit: int = 200) -> list[dict[str, Any]]:
        """Messages of a conversation: `turn`, `role`, `text`, `tools` (names), `written_at`; the newest last."""
        listed = []
        for message in conversation.messages(self.system, session_id, newest=3 * limit):
            text = "".join(_written(message))
            tools = [block["name"] for block in message.content if block["type"] == "tool_use"]
            if text or tools:
                entry = {"turn": message.turn, "role": message.role, "text": text, "tools": tools}
                listed.append({**entry, "written_at": message.written_at})
        return listed[-limit:]

    def _done(self, session_id: str, turn: int, began: datetime) -> ChatEvent:
        """The end of a turn, with what Claude cost in it."""
        if self.claude is None:
            return ChatEvent("done", {"turn": turn})
        cost = ledger.spent_since(self.system.engine, session_id, began)
        read = cost.input_tokens + cost.cache_write_tokens + cost.cache_read_tokens
        tokens = {"input_tokens": read, "cached_tokens": cost.cache_read_tokens, "output_tokens": cost.output_tokens}
        return ChatEvent("done", {"turn": turn, **tokens, "dollars": float(cost.dollars)})

    @property
    def _replies(self) -> CommandReplies:
        return CommandReplies(self.system)

    def _running(self, session_id: str) -> list[Action]:
        finish_ended(self.system, session_id)
        return actions(self.system, session_id, "running")

    def _last_message_at(self, session_id: str) -> datetime | None:
        """When the user wrote last, before the message that is answered now."""
        newest = conversation.messages(self.system, session_id, newest=60)
        moments = [message.written_at for message in newest if message.role == "user" and _written(message)]
        return moments[-1] if moments else None

    def _ended_actions(self, session_id: str) -> Iterator[ChatEvent]:
        """Results since the last turn, for the user."""
        finish_ended(self.system, session_id)
        yield from (
            action_event(one) for one in unreported(self.system, session_id) if one.status in ("done", "failed", "stopped")
        )

    def _decide(
        self, session_id: str, turn: int, decided: Decision, pending: Sequence[Action], last_message_at: datetime | None
    ) -> Iterator[ChatEvent]:
        """Run or dismiss the actions that the user's yes or no is about."""
        running = self._running(session_id) if decided.stop else []
        chosen = _meant(decided, [*pending, *running], last_message_at if pending and not running else None)
        if not chosen:
            listed = "\n".join(f"{one.id}: {one.summary}" for one in reversed([*pending, *running]))
            word = "execute" if decided.yes else "stop" if running else "no"
            yield from self._replies.say(session_id, turn, f'Which one? Type "{word} NUMBER" or "{word} all".\n{listed}')
            return
        after = []
        for one in chosen:
            try:
                decide = approve if decided.yes else stop if one.status == "running" else reject
                after.append(decide(self.system, one.id, "user"))
            except ActionStateError as error:
                yield notice(f"{error}.")
        yield from (action_event(one) for one in after)
        running = [one for one in after if one.status == "running"]
        if running:
            started = ", ".join(f"action {one.id} ({progress(self.system, one)})" for one in running)
            yield from self._replies.say(session_id, turn, f"Started {started}. I report the results when they are there.")
        elif any(one.status in ("done", "failed", "stopped") for one in after):
            yield from self._answer(session_id, turn, None)
        elif after:
            yield from self._replies.say(session_id, turn, f"Dismissed: {', '.join(one.summary for one in after)}.")

    def _answer(self, session_id: str, turn: int, message: str | None) -> Iterator[ChatEvent]:
        """Answer the user, or comment on what has ended where there is no message."""
        unseen = unreported(self.system, session_id)
        blocks: list[Block] = []
        if unseen:
            blocks.append(text_block(f"{_FINISHED}{as_data([ended(one) for one in unseen], 400)}</data>", by="system"))
        if message is not None:
            blocks.append(text_block(message))
        conversation.append(self.system, session_id, turn, [("user", blocks)], reported=[one.id for one in unseen])
        if self.claude is None or is_own_setting(message or ""):
            yield from self._replies.answer(session_id, turn, message, unseen)
            return
        text, proposed = "", False
        try:
            for event in self._by_claude(self.claude, session_id, turn):
                text += event.data["text"] if event.kind == "text" else ""
                proposed |= event.kind == "action"
                yield event
        except (ClaudeError, DailyBudgetError) as error:
            yield notice(f"{error}.")
            partial = "" if isinstance(error, ClaudeDeclinedError) else text
            if partial.strip():
                conversation.append(self.system, session_id, turn, [("assistant", [text_block(partial)])])
            if not proposed and (not partial.strip() or _is_command(message or "")):
                yield from self._replies.answer(session_id, turn, message, unseen)

    def _by_claude(self, claude: Claude, session_id: str, turn: int) -> Iterator[ChatEvent]:
        sent = list(conversation.context(self.system, claude, session_id))
        for _ in range(MAX_ROUNDS):
            answer: Answer | None = None
            for piece in claude.stream("chat", prompt("chat"), replayable(sent), MAX_TOKENS, definitions(), session_id):
                if isinstance(piece, str):
                    yield ChatEvent("text", {"text": piece})
                else:
                    answer = piece
            assert answer is not None  # noqa: S101
            if not answer.tool_calls:
                yield from self._end(session_id, turn, answer)
                return
            results = []
            for count, wanted in enumerate(answer.tool_calls):
                name, arguments = wanted["name"], wanted["input"]
                result = call(self.system, session_id, name, arguments, answer.call_id) if count < MAX_CALLS else _TOO_MANY
                results.append(tool_result_block(wanted["id"], result))
                yield tool_event(name, arguments, result.failed)
                if result.action is not None:
                    yield action_event(result.action)
            # Thinking goes back as it came while the turn lasts; later turns leave it out.
            sent += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
            conversation.append(self.system, session_id, turn, [("assistant", answer.content), ("user", results)])
        yield notice(f"I stopped after {MAX_ROUNDS} rounds of lookups; ask again to go on.")

    def _end(self, session_id: str, turn: int, answer: Answer) -> Iterator[ChatEvent]:
        """Store a last answer; of one that was cut short its text alone, since nothing else of it counts."""
        content = answer.content
        if answer.stop_reason in ("max_tokens", "model_context_window_exceeded"):
            content = [text_block(answer.text or "(cut short)")]
            yield notice("The answer was cut short; ask again to go on.")
        blocks = [block for block in content if block["type"] != "tool_use"]
        conversation.append(self.system, session_id, turn, [("assistant", blocks)])


def _meant(decided: Decision, pending: Sequence[Action], last_message_at: datetime | None) -> list[Action]:
    """The actions a yes or no is about, oldest first.

    Named ones, or all where all are meant; a bare yes is about the one action proposed since the user wrote last. Where that
    is not exactly one, none is meant, and the user is asked.
    """
    ordered = sorted(pending, key=lambda one: one.id)
    if decided.ids:
        return [one for one in ordered if one.id in decided.ids]
    if decided.everything:
        return ordered
    if decided.places:
        places = {place - 1 if place > 0 else len(ordered) + place for place in decided.places}
        return [one for place, one in enumerate(ordered) if place in places] if places <= set(range(len(ordered))) else []
    fresh = [one for one in ordered if last_message_at is None or one.created_at >= last_message_at]
    return fresh if len(fresh) == 1 else []


def _is_command(message: str) -> bool:
    """Whether a message can be answered without Claude."""
    return bool(wishes(message).actions) or lookup(message) is not None


def _written(message: conversation.Message) -> list[str]:
    """Texts of a message, without the data that the system put into it."""
    shown = []
    for block in message.content:
        of_system = block.get("by") == "system" or ("by" not in block and str(block.get("text")).startswith(_FINISHED))
        if block["type"] == "text" and not of_system:
            shown.append(block["text"])
    return shown
