"""Answers that are not answers: nothing of them counts, the commands take over, and the conversation goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from mltrainer_pipelines.agent import conversation
from mltrainer_pipelines.agent.actions import actions
from mltrainer_pipelines.agent.answers import replayable
from mltrainer_pipelines.agent.chat import ChatAgent
from mltrainer_pipelines.agent.messages import Claude
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.tables import AgentCall
from mltrainer_pipelines_tests.agent.laboratory import installation
from mltrainer_pipelines_tests.servers.anthropic import Fault, Said, Turn, anthropic_server, stream_events

BODY = {"model": "claude-sonnet-5-5", "messages": [], "stream": True}
SET = {"name": "min_confidence", "value": 0.8}


def events(*given: Any) -> Fault:
    """A stream of these events, well-formed or not."""
    lines = (f"event: {one['type'] if isinstance(one, dict) else 'ping'}\ndata: {json.dumps(one)}\n\n" for one in given)
    return Fault(body="".join(lines).encode())


def changed(said: Said, change: Any) -> Fault:
    """What is said, with its events changed."""
    listed = stream_events(BODY, said)
    for event in listed:
        change(event)
    return events(*listed)


def usage(value: Any) -> Any:
    def change(event: dict[str, Any]) -> None:
        for holder in (event, event.get("message", {})):
            if "usage" in holder:
                holder["usage"] = {"input_tokens": value, "output_tokens": value}

    return change


def same_id(event: dict[str, Any]) -> None:
    if event.get("content_block", {}).get("type") == "tool_use":
        event["content_block"]["id"] = "toolu_1"


def odd_name(event: dict[str, Any]) -> None:
    if event.get("content_block", {}).get("type") == "tool_use":
        event["content_block"]["name"] = None


TEXT = {"type": "text_delta", "text": "x"}
NOT_ANSWERS: dict[str, Turn] = {
    "HTML": Fault(body=b"<html><body>502 from a proxy</body></html>"),
    "null": Fault(body=b"null"),
    "a list": Fault(body=b"[1, 2]"),
    "an error object": Fault(body=b'{"type": "error", "error": {"type": "api_error", "message": "no"}}'),
    "nothing": Fault(body=b""),
    "events that are null": events(None, None),
    "events that are lists": events([], [1]),
    "an error event of no shape": events({"type": "error", "error": "oops"}),
    "a delta before any message": events({"type": "content_block_delta", "index": 0, "delta": TEXT}),
    "a delta of a block that is not there": events(
        stream_events(BODY, Said("x"))[0],
        {"type": "content_block_delta", "index": 9, "delta": TEXT},
    ),
    "a message without content": events({"type": "message_start", "message": {"role": "assistant"}}, {"type": "message_stop"}),
    "usage in words": changed(Said("Fine.", [("change_threshold", SET)]), usage("many")),
    "usage below zero": changed(Said("Fine.", [("change_threshold", SET)]), usage(-5)),
    "an empty text": changed(Said(" "), lambda _: None),
    "no block": Said(""),
    "blank text": Said(" \n "),
    "a repeated id": changed(Said("", [("change_threshold", SET), ("refresh_signals", {})]), same_id),
    "a tool without a name": changed(Said("", [("change_threshold", SET)]), odd_name),
    "an array as input": Said("", [("change_threshold", [1, 2])]),
    "a number as input": Said("", [("change_threshold", 0.8)]),
    "JSON that is cut": Said("", [("change_threshold", '{"name": "min_confidence", "value": 0.8')]),
    "JSON that is cut in a number": Said("", [("change_threshold", '{"name": "min_confidence", "value": 0.')]),
    "JSON with NaN": Said("", [("change_threshold", '{"name": "min_confidence", "value": NaN}')]),
    "two values": Said("", [("change_threshold", '{"name": "min_confidence", "value": 0.8} {}')]),
}


def keeps_the_rules(messages: list[dict[str, Any]]) -> None:
    """What the API asks of a request's messages."""
    assert messages[0]["role"] == messages[-1]["role"] == "user"
    ids: set[str] = set()
    for n, message in enumerate(messages):
        assert message["content"]
        called = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        assert not ids & set(called)
        assert len(set(called)) == len(called)
        ids |= set(called)
        answered = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        before = [block["id"] for block in messages[n - 1]["content"] if block["type"] == "tool_use"] if n else []
        assert sorted(answered) == sorted(before)
        for block in message["content"]:
            if block["type"] == "text":
                assert block["text"].strip()
            if block["type"] == "tool_use":
                assert isinstance(block["input"], dict)


@pytest.mark.parametrize("fault", NOT_ANSWERS)
def test_an_answer_that_is_none_starts_nothing_and_the_conversation_goes_on(
    database: Database, tmp_path: Path, fault: str
) -> None:
    system, launcher, _ = installation(database, tmp_path)

    def answer(body: dict[str, Any]) -> Turn:
        keeps_the_rules(body["messages"])
        return NOT_ANSWERS[fault] if len(server.requests) == 1 else Said("Here I am again.")

    with anthropic_server(answer) as server:
        agent = ChatAgent(system, Claude(system.engine, "claude-sonnet-5-5", SecretStr("sk"), server.url, timeout_s=5))
        first = list(agent.chat("s", "help"))
        assert [event.data["text"] for event in first if event.kind == "notice"]
        assert "start momentum analysis" in "".join(event.data["text"] for event in first if event.kind == "text")
        assert actions(system) == []
        second = list(agent.chat("s", "and now?"))
    assert "Here I am again." in "".join(event.data["text"] for event in second if event.kind == "text")
    assert launcher.started == []


BLOCKS = st.one_of(
    st.none(),
    st.builds(lambda text: {"type": "text", "text": text}, st.sampled_from(["", " ", "hello", None, 3])),
    st.builds(
        lambda number, name, given: {"type": "tool_use", "id": number, "name": name, "input": given},
        st.sampled_from(["a", "b", "c d", None]),
        st.sampled_from(["settings", "", None]),
        st.sampled_from([{}, [], "x", {"v": "\ud800"}]),
    ),
    st.builds(lambda number: {"type": "tool_result", "tool_use_id": number, "content": "ok"}, st.sampled_from(["a", "b", "z"])),
    st.just({"type": "odd"}),
    st.just({"type": "thinking", "thinking": "hm", "signature": "s"}),
)
MESSAGES = st.lists(
    st.builds(lambda role, blocks: {"role": role, "content": blocks}, st.sampled_from(["user", "assistant"]), st.lists(BLOCKS)),
    max_size=8,
)


@given(MESSAGES)
def test_whatever_was_stored_what_is_sent_keeps_the_rules_of_the_api(stored: list[dict[str, Any]]) -> None:
    sent = replayable([*stored, {"role": "user", "content": [{"type": "text", "text": "now"}]}])
    keeps_the_rules(sent)
    json.dumps(sent, ensure_ascii=False).encode()


def test_a_conversation_that_was_poisoned_before_works_again(database: Database, tmp_path: Path) -> None:
    system, _, _ = installation(database, tmp_path)
    with anthropic_server([Said("Well.")]) as server:
        agent = ChatAgent(system, Claude(system.engine, "claude-sonnet-5-5", SecretStr("sk"), server.url))
        with conversation.locked_turn(system, "s") as turn:
            bad = [{"type": "text", "text": ""}, {"type": "tool_use", "id": "x", "name": "settings", "input": []}]
            conversation.append(system, "s", turn, [("user", [{"type": "text", "text": "a"}]), ("assistant", bad)])
        list(agent.chat("s", "go on"))
        keeps_the_rules(server.requests[0]["messages"])


def test_a_key_that_an_error_or_an_answer_echoes_is_in_no_event_and_no_table(database: Database, tmp_path: Path) -> None:
    key = "sk-ant-api03-q+Lm/0923481273aa"
    system, _, _ = installation(database, tmp_path)
    turns: list[Turn] = [
        Fault(401, f"invalid x-api-key: {key}"),
        Fault(body=f'{{"type":"error","error":{{"type":"invalid","message":"{key}"}}}}'.encode()),
        Said(f"Your key is {key} and the rest is fine.", [("trial", {"trial_id": key})]),
        Said(f"It ends with {key}"),
        Said("x", stop_reason="refusal", stop_details={"type": "refusal", "explanation": f"{key} is not welcome"}),
        Fault(400, key.replace("+", "\\u002b")),
    ]
    with anthropic_server(turns) as server:
        agent = ChatAgent(system, Claude(system.engine, "claude-sonnet-5-5", SecretStr(key), server.url))
        seen = [event for n in range(5) for event in agent.chat("s", f"message {n}")]
    with system.engine.connect() as connection:
        rows = connection.execute(sa.select(AgentCall.__table__)).all()
    kept = str(seen) + str(rows) + str(agent.history("s")) + repr(agent.claude)
    assert len(rows) == len(server.requests) == 6
    assert "0923481273" not in kept
    assert "***" in kept
