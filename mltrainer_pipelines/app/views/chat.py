"""The conversation with mlTrainer: streamed answers, actions as cards, progress and results where they belong."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from mltrainer_pipelines.app import charts
from mltrainer_pipelines.app.client import ApiDownError, ApiProblemError, ServerEvent, api
from mltrainer_pipelines.app.formats import moment, plain
from mltrainer_pipelines.app.frame import attempt, error_messages

_SUGGESTIONS = ("Start momentum analysis", "Show the leaderboard", "What is the regime?", "Refresh the signals", "Status", "Help")
_REFRESH_SECONDS = 2
_BUSY = 409
_HIDDEN = ("known", "found", "market")
_FIRST = ("trial_id", "symbol", "timeframe", "grade", "status", "sharpe", "net_return", "profit_probability", "confidence")


def show() -> None:
    st.title("mlTrainer chat")
    with error_messages():
        _choose_conversation()
        _conversation()
        # A message, clicked or typed, is sent once, after the conversation so far.
        if text := st.session_state.pop("outgoing", None):
            _send(text)
            st.rerun()
        if st.session_state.get("follow"):
            # It stays set where the API goes away in the middle.
            st.session_state["follow"] = not _follow()
            st.rerun()
        if cost := st.session_state.get("cost"):
            st.caption(_escaped(cost))
        _next_steps()
        _running_actions()
    typed = st.chat_input("Ask a question, or type yes to run an action", max_chars=4000)
    if typed:
        st.session_state["outgoing"] = typed
        st.rerun()


def _session() -> str:
    return str(st.session_state.get("conversation", "main"))


def _choose_conversation() -> None:
    """The conversations beside the page: open one, begin, search, rename and delete."""
    with st.sidebar:
        if st.button("New conversation", icon=":material/add:"):
            _open(api().send("POST", "/api/conversations", {})["session_id"])
        search = st.text_input("Search conversations", key="conversation-search")
        listed = api().get("/api/conversations", search=search or None, limit=30)["items"]
        for one in listed:
            here = one["session_id"] == _session()
            if st.button(_escaped(one["title"]), key=f"open-{one['session_id']}", type="primary" if here else "tertiary"):
                _open(one["session_id"])
        if not listed:
            st.caption("No conversation holds these words." if search else "No conversation yet.")
        this = next((one for one in listed if one["session_id"] == _session()), None)
        if this is not None:
            with st.expander("This conversation"):
                title = st.text_input("Title", this["title"], max_chars=80, key=f"title-{_session()}")
                path = f"/api/conversations/{_session()}"
                if st.button("Rename", disabled=not title.strip()) and attempt(
                    lambda: api().send("PATCH", path, {"title": title}), "Renamed"
                ):
                    st.rerun()
                if st.button("Delete", icon=":material/delete:") and attempt(lambda: api().send("DELETE", path), "Deleted"):
                    _open("main")


def _open(session_id: str) -> None:
    st.session_state["conversation"] = session_id
    st.session_state["follow"] = False
    st.rerun()


def _conversation() -> None:
    """All messages, and the actions in their places."""
    messages = api().get("/api/chat/history", session_id=_session(), limit=200)["items"]
    actions = api().get("/api/actions", session_id=_session(), limit=100)["items"]
    st.session_state["running"] = [action["id"] for action in actions if action["status"] == "running"]
    _follow_ended(messages, actions)
    entries = [(datetime.fromisoformat(one["written_at"]), 0, one) for one in messages]
    # An action is stored just before the sentence that proposes it.
    entries += [(datetime.fromisoformat(one["created_at"]) + timedelta(seconds=1), 1, one) for one in actions]
    if not entries:
        with st.chat_message("assistant"):
            st.markdown(
                "I look up results, propose what to try next, and run it once you approve. "
                "Ask me something, or begin with one of the suggestions below."
            )
    for _, kind, one in sorted(entries, key=lambda entry: entry[:2]):
        if kind == 0:
            _message(one)
        else:
            _card(one)


def _follow_ended(messages: list[dict[str, Any]], actions: list[dict[str, Any]]) -> None:
    """Have actions that ended after the last message commented on once, also those that ended while no page was open."""
    last = max((datetime.fromisoformat(one["written_at"]) for one in messages), default=None)
    ended = {
        one["id"]
        for one in actions
        if one["status"] in ("done", "failed", "stopped") and (last is None or datetime.fromisoformat(one["finished_at"]) > last)
    }
    commented = st.session_state.setdefault("commented", set())
    if ended - commented:
        commented |= ended
        st.session_state["follow"] = True


def _message(one: dict[str, Any]) -> None:
    with st.chat_message(one["role"]):
        if one["tools"]:
            st.caption(f"looked up: {', '.join(one['tools'])}")
        if one["text"]:
            st.markdown(_escaped(one["text"]))


def _card(action: dict[str, Any]) -> None:
    """An action: what it does, two buttons while it is pending, then its progress and its result."""
    number, status = action["id"], action["status"]
    with st.chat_message("assistant", avatar=":material/bolt:"), st.container(border=True):
        colour = {"pending": "orange", "running": "blue", "done": "green", "failed": "red"}.get(status, "gray")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Action {number}:** {_escaped(action['summary'])}")
            st.badge("needs your approval" if status == "pending" else status, color=colour)  # type: ignore[arg-type]
        if status == "pending":
            with st.container(horizontal=True):
                if st.button("Execute", key=f"execute-{number}", type="primary", icon=":material/play_arrow:"):
                    _decide(number, "approve", f"?digest={action['digest']}")
                if st.button("Dismiss", key=f"dismiss-{number}", icon=":material/close:"):
                    _decide(number, "reject")
            st.caption(f"Expires {moment(action['expires_at'])}.")
        if status == "running":
            st.caption(action["progress"] or "Running.")
            if st.button("Stop", key=f"stop-{number}", icon=":material/stop:"):
                _decide(number, "stop")
        if action["error"]:
            st.error(_escaped(action["error"]))
        if action["result"]:
            _result(number, action["result"])


def _decide(number: int, decision: str, shown: str = "") -> None:
    if attempt(
        lambda: api().send("POST", f"/api/actions/{number}/{decision}{shown}"),
        {"approve": "Started", "stop": "Stopped"}.get(decision, "Dismissed"),
    ):
        st.session_state["follow"] = decision != "reject"
        st.rerun()


def _result(number: int, result: dict[str, Any]) -> None:
    """Each part of a result: its plain values as a line, its records as a table, candidates as a chart too."""
    for name, value in result.items():
        values = value if isinstance(value, dict) else {} if isinstance(value, list) else {"": value}
        plain_values = {key: item for key, item in values.items() if not isinstance(item, dict | list) and key not in _HIDDEN}
        title, rows = _records(name, value)
        if plain_values or rows:
            line = ", ".join(f"{key.replace('_', ' ')} {plain(item)}".strip() for key, item in plain_values.items())
            st.markdown(f"**{title.replace('_', ' ').capitalize()}**{': ' if line else ''}{_escaped(line)}")
        if not rows:
            continue
        frame = pd.DataFrame([{key: item for key, item in row.items() if not isinstance(item, dict | list)} for row in rows])
        first = [column for column in _FIRST if column in frame.columns]
        frame = frame[[*first, *(column for column in frame.columns if column not in (*first, *_HIDDEN))]]
        st.dataframe(
            frame.dropna(axis=1, how="all"), hide_index=True, key=f"result-{number}-{name}", alt=f"{name} of action {number}"
        )
        if {"symbol", "profit_probability"} <= set(frame.columns):
            top = frame.sort_values("profit_probability", ascending=False).head(12)[["symbol", "profit_probability"]]
            chart = charts.bars(top.to_dict("records"), "symbol", "profit_probability", "probability of profit")
            st.altair_chart(chart, alt="probability of profit of the best candidates")


def _records(name: str, value: object) -> tuple[str, list[dict[str, object]]]:
    """The first list of records in a result, however deep, and its title."""
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return name, value
    for key, item in value.items() if isinstance(value, dict) else ():
        title, rows = _records(name if key == name else f"{name}: {key}", item)
        if rows:
            return title, rows
    return name, []


def _send(text: str) -> None:
    """Send a message and write the answer as it comes."""
    with st.chat_message("user"):
        st.markdown(_escaped(text))
    with st.chat_message("assistant"):
        st.write_stream(_pieces(api().stream("/api/chat", {"session_id": _session(), "message": text})))


def _follow() -> bool:
    """Show the first seconds of an approved action; False while another answer is being written."""
    with st.chat_message("assistant"), st.spinner("Starting …"):
        try:
            for event in api().stream("/api/chat/follow", {"session_id": _session(), "timeout_s": 3}):
                if event.name == "text":
                    st.markdown(_escaped(event.data["text"]))
        except ApiProblemError as error:
            st.caption(f"{error}.")
            if error.status == _BUSY:
                time.sleep(1)
                return False
    return True


def _pieces(events: Iterator[ServerEvent]) -> Iterator[str]:
    for event in events:
        if event.name == "text":
            text = event.data["text"]
            yield _escaped(text) + "\n" if text.endswith("\n") else _escaped(text)  # a whole answer; pieces come as they are
        elif event.name == "tool":
            yield f":gray[looked up {event.data['name']}{' (failed)' if event.data['failed'] else ''}]\n\n"
        elif event.name == "done" and "dollars" in event.data:
            tokens = f"{event.data['input_tokens']:,} + {event.data['output_tokens']:,} tokens"
            st.session_state["cost"] = f"The last answer took {tokens}, ${event.data['dollars']:.4f}."
        elif event.name in ("notice", "error"):
            yield f"\n\n*{_escaped(event.data.get('text') or event.data.get('detail', ''))}*\n\n"


def _next_steps() -> None:
    chosen = st.pills("Suggested next steps", _SUGGESTIONS, key=f"next-{st.session_state.get('clicks', 0)}")
    if chosen:
        st.session_state["clicks"] = st.session_state.get("clicks", 0) + 1
        st.session_state["outgoing"] = chosen
        st.rerun()


@st.fragment(run_every=_REFRESH_SECONDS)
def _running_actions() -> None:
    """Progress of what runs; when it ends, the page is drawn again and mlTrainer comments on it."""
    running = st.session_state.get("running") or []
    if not running:
        return
    try:
        now = {one["id"]: one for one in api().get("/api/actions", session_id=_session(), limit=100)["items"]}
    except (ApiDownError, ApiProblemError) as error:
        st.caption(f"Progress is unavailable: {error}.")
        return
    for number in running:
        action = now.get(number)
        if action is not None and action["status"] == "running":
            st.status(f"Action {number}: {action['progress'] or 'running'}", state="running")
    if any(now[number]["status"] != "running" for number in running if number in now):
        st.session_state["follow"] = True
        st.rerun()


def _escaped(text: str) -> str:
    """Text as it is, without markup: line breaks stay, dollars are no formulas, names from outside no links."""
    for letter in ("$", "<", "["):
        text = text.replace(letter, f"\\{letter}")
    text = text.replace(":", "\\:") if ":material" in text else text
    return text.replace("\n", "  \n")
