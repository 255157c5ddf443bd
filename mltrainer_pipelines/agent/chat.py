"""The chat: what the user says becomes lookups at once and actions after a yes, with Claude or by commands.

`ChatAgent.chat` gives the events of one turn as they come; `follow` goes on until what was started has
ended. An action runs on the user's own yes and on nothing else: what Claude writes, and what tools
find, is never read as a decision.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mltrainer_pipelines.agent import commands, conversation
from mltrainer_pipelines.agent.action_kinds import ActionError
from mltrainer_pipelines.agent.actions import (
    Action,
    ActionStateError,
    actions,
    approve,
    ended,
    finish_ended,
    progress,
    propose_action,
    reject,
    unreported,
)
from mltrainer_pipelines.agent.conversation import Block, held
from mltrainer_pipelines.agent.failures import ClaudeDeclinedError, ClaudeError
from mltrainer_pipelines.agent.intents import Decided, Requested, decision, lookup, requested_actions, timeframe_of
from mltrainer_pipelines.agent.ledger import DailyBudgetError
from mltrainer_pipelines.agent.messages import Answer, Claude
from mltrainer_pipelines.agent.prompts import prompt
from mltrainer_pipelines.agent.sanitize import as_data
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.agent.tools import ToolResult, call, definitions
from mltrainer_pipelines.store.lake import MissingPartitionError

MAX_TOKENS = 6000
MOST_ROUNDS = 8
"""Requests to Claude in one turn."""
MOST_CALLS = 12
"""Tool calls of one answer that are done; the others are told that they were too many."""
LONGEST = 8000
"""Characters of a message."""
_FINISHED = '<data name="finished_actions">'

EventKind = Literal["text", "tool", "action", "result", "notice", "done"]


class MessageError(ValueError):
    """A message that cannot be answered: empty, or too long."""


@dataclass(frozen=True)
class ChatEvent:
    """Something of a turn, in the order it happens.

    Parameters
    ----------
    kind : str
        `text`: a piece of the answer (`text`). `tool`: something was looked up (`name`, `input`, `failed`).
        `action`: an action waits or runs (`id`, `kind`, `summary`, `status`, `expires_at`, `progress`). `result`: an action
        ended (the same with `result`, `error`, `text`). `notice`: something to know (`text`). `done`: the turn is over (`turn`).
    data : dict
    """

    kind: EventKind
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChatAgent:
    """The agent in conversation.

    Parameters
    ----------
    system : System
    claude : Claude or None
        None without an API key: then the agent understands commands and patterns.
    """

    system: System
    claude: Claude | None = None

    def chat(self, session_id: str, text: str) -> Iterator[ChatEvent]:
        """Answer a message of the user; the events of the turn as they come.

        Raises
        ------
        MessageError, conversation.SessionNameError, conversation.SessionBusyError
            Before the first event.
        """
        said = "".join(letter for letter in text if letter.isprintable() or letter in "\n\t").strip()
        if not said:
            raise MessageError("the message is empty; type `help` to see what can be asked")
        if len(said) > LONGEST:
            raise MessageError(f"the message has {len(said)} characters; {LONGEST} are the most")
        with held(self.system, session_id) as turn:
            before = self._last_said(session_id)
            yield from self._finished(session_id)
            decided = decision(said)
            if decided is not None and (waiting := actions(self.system, session_id, "pending")):
                conversation.write(self.system, session_id, turn, [("user", [_text(said)])])
                yield from self._decided(session_id, turn, decided, waiting, before)
            else:
                yield from self._answered(session_id, turn, said)
            yield ChatEvent("done", {"turn": turn})

    def follow(self, session_id: str, timeout_s: float = 600.0, poll_s: float = 1.0) -> Iterator[ChatEvent]:
        """Progress and results of what runs in a conversation until it has ended, then what the agent says to it."""
        deadline = time.monotonic() + timeout_s
        shown: dict[int, str] = {}
        while running := self._moved(session_id):
            for one in running:
                words = progress(self.system, one)
                if shown.get(one.id) != words:
                    shown[one.id] = words
                    yield ChatEvent("action", {**_card(one), "progress": words})
            if time.monotonic() > deadline:
                yield ChatEvent("notice", {"text": "It still runs; ask for its status later."})
                return
            time.sleep(poll_s)
        if unreported(self.system, session_id):
            with held(self.system, session_id) as turn:
                if unreported(self.system, session_id):  # nobody else reported it in the meantime
                    yield from self._finished(session_id)
                    yield from self._answered(session_id, turn, None)
                yield ChatEvent("done", {"turn": turn})

    def approve(self, action_id: int, by: str) -> Action:
        """Run an action on the user's click; raises `ActionStateError`."""
        return approve(self.system, action_id, by)

    def reject(self, action_id: int, by: str) -> Action:
        """Dismiss an action on the user's click; raises `ActionStateError`."""
        return reject(self.system, action_id, by)

    def history(self, session_id: str, limit: int = 200) -> list[dict[str, Any]]:
        """What was said in a conversation: `turn`, `role`, `text`, `tools` (names), `written_at`; the newest last."""
        spoken = []
        for message in conversation.messages(self.system, session_id, newest=3 * limit):
            text = "".join(_spoken(message))
            used = [block["name"] for block in message.content if block["type"] == "tool_use"]
            if text or used:
                spoken.append(
                    {"turn": message.turn, "role": message.role, "text": text, "tools": used, "written_at": message.written_at}
                )
        return spoken[-limit:]

    def _moved(self, session_id: str) -> list[Action]:
        finish_ended(self.system, session_id)
        return actions(self.system, session_id, "running")

    def _last_said(self, session_id: str) -> Any:
        """When the user spoke last, before the message that is answered now."""
        said = conversation.messages(self.system, session_id, newest=60)
        moments = [message.written_at for message in said if message.role == "user" and _spoken(message)]
        return moments[-1] if moments else None

    def _finished(self, session_id: str) -> Iterator[ChatEvent]:
        """What has ended since the last turn, for the user."""
        finish_ended(self.system, session_id)
        for over in unreported(self.system, session_id):
            if over.status in ("done", "failed"):
                yield _result(over)

    def _decided(
        self, session_id: str, turn: int, decided: Decided, waiting: Sequence[Action], before: Any
    ) -> Iterator[ChatEvent]:
        """Do what the user's yes or no says, to the actions it is about."""
        chosen = _meant(decided, waiting, before)
        if not chosen:
            listed = "\n".join(f"{one.id}: {one.summary}" for one in reversed(waiting))
            word = "execute" if decided.yes else "no"
            yield from self._say(session_id, turn, f'Which one? Say "{word} NUMBER" or "{word} all".\n{listed}')
            return
        after = []
        for one in chosen:
            try:
                after.append(approve(self.system, one.id, "user") if decided.yes else reject(self.system, one.id, "user"))
            except ActionStateError as error:
                yield ChatEvent("notice", {"text": f"{error}."})
        for one in after:
            yield _result(one) if one.status in ("done", "failed") else ChatEvent("action", _card(one))
        running = [one for one in after if one.status == "running"]
        if running:
            words = "; ".join(f"action {one.id} runs ({progress(self.system, one)})" for one in running)
            yield from self._say(session_id, turn, f"Started: {words}. I come back to it when there are results.")
        elif any(one.status in ("done", "failed") for one in after):
            yield from self._answered(session_id, turn, None)
        elif after:
            yield from self._say(session_id, turn, f"Dismissed: {', '.join(one.summary for one in after)}.")

    def _answered(self, session_id: str, turn: int, said: str | None) -> Iterator[ChatEvent]:
        """Answer the user, or say something to what has ended where the user said nothing."""
        over = unreported(self.system, session_id)
        blocks: list[Block] = []
        if over:
            blocks.append(_text(f"{_FINISHED}{as_data([ended(one) for one in over], 400)}</data>"))
        if said is not None:
            blocks.append(_text(said))
        conversation.write(self.system, session_id, turn, [("user", blocks)], reported=[one.id for one in over])
        if self.claude is None:
            yield from self._by_command(session_id, turn, said, over)
            return
        written: list[str] = []
        proposed: list[int] = []
        try:
            for event in self._by_claude(session_id, turn):
                if event.kind == "text":
                    written.append(event.data["text"])
                elif event.kind == "action":
                    proposed.append(event.data["id"])
                yield event
        except (ClaudeError, DailyBudgetError) as error:
            yield ChatEvent("notice", {"text": f"{error}."})
            left = "".join(written)
            if isinstance(error, ClaudeDeclinedError):
                left = ""
            conversation.write(self.system, session_id, turn, [("assistant", [_text(left or "(no answer came)")])])
            if not written:
                yield from self._by_command(session_id, turn, said, over)
            return
        if not proposed:
            requests = requested_actions("".join(written), by_user=False) or requested_actions(said or "", by_user=True)
            yield from self._put(session_id, requests, "claude" if not said else "user", quiet=True)

    def _by_claude(self, session_id: str, turn: int) -> Iterator[ChatEvent]:
        assert self.claude is not None  # noqa: S101
        sent = list(conversation.context(self.system, self.claude, session_id))
        for _ in range(MOST_ROUNDS):
            answer: Answer | None = None
            for piece in self.claude.stream("chat", prompt("chat"), sent, MAX_TOKENS, definitions(), session_id):
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
                if count < MOST_CALLS:
                    result = call(self.system, session_id, wanted["name"], wanted["input"], answer.call_id)
                else:
                    result = ToolResult('{"error":"too many calls at once; ask for it again if it still matters"}', failed=True)
                results.append(_tool_result(wanted["id"], result))
                yield ChatEvent("tool", {"name": wanted["name"], "input": wanted["input"], "failed": result.failed})
                if result.action is not None:
                    yield ChatEvent("action", _card(result.action))
            # Thinking goes back as it came while the turn lasts; what is kept of it is left out of later turns.
            sent += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
            conversation.write(self.system, session_id, turn, [("assistant", answer.content), ("user", results)])
        yield ChatEvent("notice", {"text": f"I stopped after {MOST_ROUNDS} rounds of looking things up; ask again to go on."})

    def _end(self, session_id: str, turn: int, answer: Answer) -> Iterator[ChatEvent]:
        """Keep a last answer; of one that was cut short its text alone, since nothing else of it counts."""
        content = answer.content
        if answer.stop_reason in ("max_tokens", "model_context_window_exceeded"):
            content = [_text(answer.text or "(cut short)")]
            yield ChatEvent("notice", {"text": "The answer was cut short; no tool that it was about to use has run."})
        kept = [block for block in content if block["type"] != "tool_use"]
        conversation.write(self.system, session_id, turn, [("assistant", kept)])

    def _by_command(self, session_id: str, turn: int, said: str | None, over: Sequence[Action]) -> Iterator[ChatEvent]:
        if said is None:
            yield from self._next_step(session_id, turn, over)
            return
        requests = requested_actions(said, by_user=True)
        if requests:
            yield from self._put(session_id, requests, "user", turn=turn)
            return
        if decision(said) is not None:
            yield from self._say(session_id, turn, "Nothing waits for your decision.")
            return
        wanted = lookup(said)
        if wanted is None:
            yield from self._say(session_id, turn, f"I did not understand that.\n{commands.HELP}")
            return
        try:
            words, value = commands.answer(self.system, wanted)
        except MissingPartitionError as error:
            words, value = f"{error}.", None
        if value is not None:
            yield ChatEvent("tool", {"name": wanted.what, "input": wanted.arguments, "failed": False})
        yield from self._say(session_id, turn, words)

    def _next_step(self, session_id: str, turn: int, over: Sequence[Action]) -> Iterator[ChatEvent]:
        """Results in words, and what the search would try next."""
        yield from self._say(session_id, turn, "\n".join(commands.outcome_text(one) for one in over))
        computed = [one for one in over if one.status == "done" and (one.result or {}).get("trials")]
        if not computed:
            return
        timeframe = computed[-1].params.get("timeframe", "short")
        params = commands.next_trial(self.system, timeframe)
        if params is not None:
            yield from self._say(session_id, turn, f"Next I would try this: {params['rationale']}")
            yield from self._put(session_id, [Requested("submit_trial", params)], "mltrainer", turn=turn)

    def _put(
        self, session_id: str, requests: Sequence[Requested], by: str, turn: int | None = None, quiet: bool = False
    ) -> Iterator[ChatEvent]:
        """Put actions before the user; `quiet` where the agent's own words say enough."""
        for request in requests:
            params, words = dict(request.params), list(request.problems)
            if request.kind in ("momentum_screening", "ensemble") and not params.get("models") and not request.problems:
                timeframe = params.get("timeframe") or timeframe_of("")
                params["models"] = commands.suggested_models(self.system, timeframe)
                names = " and ".join(params["models"])
                words.append(f"I suggest we initiate momentum screening ({timeframe}) using {names}")
            try:
                waiting = propose_action(self.system, session_id, request.kind, params, by)
            except ActionError as error:
                words = list(dict.fromkeys([*words, str(error)] if not request.problems else words))
                if turn is not None and not quiet:
                    yield from self._say(session_id, turn, "; ".join(words) + ".")
                else:
                    yield ChatEvent("notice", {"text": "; ".join(words) + "."})
                continue
            if turn is not None and not quiet:
                begin = "; ".join(words) + ". " if words else ""
                yield from self._say(session_id, turn, f"{begin}Action {waiting.id}: {waiting.summary}. Type 'yes' to execute.")
            yield ChatEvent("action", _card(waiting))

    def _say(self, session_id: str, turn: int, words: str) -> Iterator[ChatEvent]:
        conversation.write(self.system, session_id, turn, [("assistant", [_text(words)])])
        yield ChatEvent("text", {"text": words + "\n"})


def _meant(decided: Decided, waiting: Sequence[Action], before: Any) -> list[Action]:
    """The actions a yes or no is about, oldest first.

    Named ones, all where all are meant; a bare yes is about the one action that was put since the user spoke last. Where
    that is not exactly one, nothing is meant, and the user is asked.
    """
    ordered = sorted(waiting, key=lambda one: one.id)
    if decided.ids:
        return [one for one in ordered if one.id in decided.ids]
    if decided.everything:
        return ordered
    fresh = [one for one in ordered if before is None or one.created_at >= before]
    return fresh if (len(fresh) == 1 and len(ordered) == 1) or len(fresh) == 1 else []


def _spoken(message: conversation.Message) -> list[str]:
    """What somebody said in a message: its text, without what the system told the agent in it."""
    return [block["text"] for block in message.content if block["type"] == "text" and not block["text"].startswith(_FINISHED)]


def _card(of: Action) -> dict[str, Any]:
    return {
        "id": of.id,
        "kind": of.kind,
        "summary": of.summary,
        "params": of.params,
        "status": of.status,
        "proposed_by": of.proposed_by,
        "expires_at": of.expires_at.isoformat(),
    }


def _result(of: Action) -> ChatEvent:
    return ChatEvent("result", {**_card(of), "result": of.result, "error": of.error, "text": commands.outcome_text(of)})


def _text(words: str) -> Block:
    return {"type": "text", "text": words}


def _tool_result(call_id: str, result: ToolResult) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": call_id, "content": result.content}
    return {**block, "is_error": True} if result.failed else block
