"""What an answer of the Messages API has to be before anything of it counts, and what may be sent back to the API.

The rules for what is sent back are the API's own: no empty text, every tool call answered at once, ids that are unique.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mltrainer_pipelines.agent.failures import ClaudeMalformedError
from mltrainer_pipelines.agent.prices import Usage
from mltrainer_pipelines.agent.sanitize import plain

Block = dict[str, Any]
_THINKING = ("thinking", "redacted_thinking")
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_FIELDS = {
    "text": ("text",),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id", "content", "is_error"),
}
_MOST_TOKENS = 10**8


def usage_of(body: Mapping[str, object]) -> Usage | None:
    """What an answer says it used; None where that cannot be."""
    used = body.get("usage")
    if not isinstance(used, Mapping):
        return None
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    counts = [0 if used.get(name) is None else used[name] for name in names]
    sound = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= _MOST_TOKENS for n in counts)
    return Usage(*counts) if sound else None


def checked_content(body: Mapping[str, object], tool_json: Mapping[int, str]) -> list[Block]:
    """The blocks of an answer, as the API may have them back.

    `tool_json` is the input of tool calls as it came, by the position of their block. Raises `ClaudeMalformedError` where the
    answer is not a message, says nothing, or calls tools in a way that cannot count.
    """
    content, stop_reason = body.get("content"), body.get("stop_reason")
    if not isinstance(content, list) or not isinstance(stop_reason, str) or usage_of(body) is None:
        raise ClaudeMalformedError("the API's answer is not a message; ask again")
    calls = stop_reason == "tool_use"
    blocks: list[Block] = []
    for position, block in enumerate(content):
        if calls and isinstance(block, Mapping) and block.get("type") == "tool_use":
            block = {**block, "input": _input(block.get("input"), tool_json.get(position, ""))}
        if not _sound(block):
            if isinstance(block, Mapping) and block.get("type") == "tool_use" and calls:
                raise ClaudeMalformedError("Claude called a tool without a usable id, name or input; ask again")
            continue
        if block["type"] != "tool_use" or calls:
            blocks.append(_fields(block))
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    if len(set(ids)) < len(ids):
        raise ClaudeMalformedError("Claude gave two tool calls the same id; ask again")
    if not any(block["type"] in ("text", "tool_use") for block in blocks) and stop_reason in ("end_turn", "tool_use"):
        raise ClaudeMalformedError("Claude's answer is empty; ask again")
    return blocks


def replayable(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages without anything that the API refuses, whatever was stored: the newest one is the user's."""
    sent: list[dict[str, Any]] = []
    ids: dict[str, str] = {}
    taken: set[str] = set()
    following = [*messages[1:], {"role": "user", "content": []}]
    answered: set[str] = set()
    for message, after in zip(messages, following, strict=True):
        blocks = [_fields(block) for block in message["content"] if _sound(block)]
        if message["role"] == "assistant":
            given = after["content"] if after["role"] == "user" else []
            results = {one.get("tool_use_id") for one in given if _sound(one)}
            ids, kept = {}, []
            for block in (one for one in blocks if one["type"] != "tool_result"):
                if block["type"] == "tool_use":
                    if block["id"] not in results or block["id"] in ids:
                        continue
                    ids[block["id"]] = _new_id(block["id"], taken)
                    block = {**block, "id": ids[block["id"]]}
                kept.append(block)
            blocks, answered = kept, set()
        else:
            others = [one for one in blocks if one["type"] == "text"]
            kept = []
            for one in blocks:
                if one["type"] == "tool_result" and one["tool_use_id"] in ids and one["tool_use_id"] not in answered:
                    answered.add(one["tool_use_id"])
                    kept.append({**one, "tool_use_id": ids[one["tool_use_id"]]})
            blocks, ids = [*kept, *others], {}
        if all(block["type"] in _THINKING for block in blocks):
            continue
        if sent and sent[-1]["role"] == message["role"]:
            sent[-1]["content"] += blocks
        else:
            sent.append({"role": message["role"], "content": blocks})
    if sent and sent[0]["role"] == "assistant":
        sent.insert(0, {"role": "user", "content": [{"type": "text", "text": "(the conversation so far)"}]})
    return sent


def _input(given: object, raw: str) -> object:
    """The input of a tool call: what came must be whole, not what a lenient parser makes of its beginning."""
    if not raw:
        return given
    try:
        return json.loads(raw, parse_constant=lambda name: _refuse(name))
    except ValueError:
        raise ClaudeMalformedError("Claude called a tool with input that is not JSON; ask again") from None


def _refuse(name: str) -> object:
    raise ValueError(name)


def _sound(block: object) -> bool:
    """Whether the API takes a block as it is."""
    if not isinstance(block, Mapping):
        return False
    match block.get("type"):
        case "text":
            return isinstance(block.get("text"), str) and bool(block["text"].strip())
        case "tool_use":
            named = isinstance(block.get("name"), str) and bool(_ID.fullmatch(block["name"]))
            return named and _is_id(block.get("id")) and isinstance(block.get("input"), dict)
        case "tool_result":
            return _is_id(block.get("tool_use_id")) and isinstance(block.get("content"), str)
        case "thinking":
            return all(isinstance(block.get(name), str) for name in ("thinking", "signature"))
        case "redacted_thinking":
            return isinstance(block.get("data"), str)
    return False


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(_ID.fullmatch(value))


def _fields(block: Mapping[str, Any]) -> Block:
    """A block with the fields that the API takes back."""
    names = [name for name in _FIELDS[block["type"]] if name in block]
    cleaned = block if block["type"] in _THINKING else plain(block)
    return {"type": block["type"], **{name: cleaned[name] for name in names}}


def _new_id(wanted: str, taken: set[str]) -> str:
    """An id that no earlier call of the conversation has: its own, or that with a number."""
    unique, count = wanted, 1
    while unique in taken:
        count += 1
        unique = f"{wanted[:190]}_{count}"
    taken.add(unique)
    return unique
