"""Events of a turn of the chat, and the content blocks that messages are made of."""

from dataclasses import dataclass, field
from typing import Any, Literal

from mltrainer_pipelines.agent import commands
from mltrainer_pipelines.agent.actions import Action
from mltrainer_pipelines.agent.conversation import Block
from mltrainer_pipelines.agent.tools import ToolResult

EventKind = Literal["text", "tool", "action", "result", "notice", "done"]


@dataclass(frozen=True)
class ChatEvent:
    """Something of a turn, in the order it happens; by its `kind`, `data` holds what the parentheses name.

    `text`: a piece of the answer (`text`). `tool`: something was looked up (`name`, `input`, `failed`). `action`: an action is
    pending or runs (`id`, `kind`, `summary`, `status`, `expires_at`, `progress`). `result`: an action ended (the same with
    `result`, `error`, `text`). `notice`: something to know (`text`). `done`: the turn is over (`turn`, and
    what Claude cost in it: `input_tokens`, of them `cached_tokens`, `output_tokens`, `dollars`).
    """

    kind: EventKind
    data: dict[str, Any] = field(default_factory=dict)


def action_event(action: Action, **more: object) -> ChatEvent:
    """An action as it is now; as `result` once it has ended."""
    card = {name: getattr(action, name) for name in ("id", "kind", "summary", "params", "status", "proposed_by", "digest")}
    card["expires_at"] = action.expires_at.isoformat()
    if action.status in ("done", "failed", "stopped"):
        result = {"result": action.result, "error": action.error, "text": commands.outcome_text(action)}
        return ChatEvent("result", {**card, **result})
    return ChatEvent("action", {**card, **more})


def tool_event(name: str, arguments: dict[str, object], failed: bool = False) -> ChatEvent:
    """Something was looked up."""
    return ChatEvent("tool", {"name": name, "input": arguments, "failed": failed})


def notice(text: str) -> ChatEvent:
    """Something the user should know."""
    return ChatEvent("notice", {"text": text})


def text_block(text: str, by: str = "user") -> Block:
    """A text of the user or the agent, or data `by` the system, which no reader is shown."""
    return {"type": "text", "text": text, "by": by}


def tool_result_block(call_id: str, result: ToolResult) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": call_id, "content": result.content}
    return {**block, "is_error": True} if result.failed else block
