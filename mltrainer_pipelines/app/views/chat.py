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
from mltrainer_pipelines.app.frame import attempt, understandable

_SESSION = "main"
_SUGGESTIONS = ("Start momentum analysis", "Show the leaderboard", "What is the regime?", "Refresh the signals", "Status", "Help")
_WATCH_SECONDS = 2
_BUSY = 409
_FIRST = ("trial_id", "symbol", "timeframe", "grade", "status", "sharpe", "net_return", "profit_probability", "confidence")


def show() -> None:
    st.title("mlTrainer chat")
    with understandable():
        _conversation()
        # What was asked for by a click or typed is said once, at the end of what was said before.
        if asked := st.session_state.pop("ask", None):
            _say(asked)
            st.rerun()
        if st.session_state.get("follow"):
            # still to be done where the API goes away in the middle
            st.session_state["follow"] = not _follow()
            st.rerun()
        _next_steps()
        _watch()
    typed = st.chat_input("Ask mlTrainer, or say yes to what waits", max_chars=4000)
    if typed:
        st.session_state["ask"] = typed
        st.rerun()


def _conversation() -> None:
    """Everything said, and the actions in their places."""
    said = api().get("/api/chat/history", session_id=_SESSION, limit=200)["items"]
    actions = api().get("/api/actions", session_id=_SESSION, limit=100)["items"]
    st.session_state["running"] = [action["id"] for action in actions if action["status"] == "running"]
    _note_what_ended(said, actions)
    entries = [(datetime.fromisoformat(one["written_at"]), 0, one) for one in said]
    # An action is kept just before the words that put it.
    entries += [(datetime.fromisoformat(one["created_at"]) + timedelta(seconds=1), 1, one) for one in actions]
    if not entries:
        with st.chat_message("assistant"):
            st.markdown(
                "I read what the system has learned, propose what to try next, and start it when you say yes. "
                "Ask me something, or begin with one of the suggestions below."
            )
    for _, kind, one in sorted(entries, key=lambda entry: entry[:2]):
        if kind == 0:
            _message(one)
        else:
            _card(one)


def _note_what_ended(said: list[dict[str, Any]], actions: list[dict[str, Any]]) -> None:
    """What ended since anything was said is commented on once, also where it ended while nobody looked."""
    last = max((datetime.fromisoformat(one["written_at"]) for one in said), default=None)
    over = {one["id"] for one in actions if one["finished_at"] and one["status"] in ("done", "failed")}
    over = {
        one["id"] for one in actions if one["id"] in over and (last is None or datetime.fromisoformat(one["finished_at"]) > last)
    }
    commented = st.session_state.setdefault("commented", set())
    if over - commented:
        commented |= over
        st.session_state["follow"] = True


def _message(one: dict[str, Any]) -> None:
    with st.chat_message(one["role"]):
        if one["tools"]:
            st.caption(f"looked up: {', '.join(one['tools'])}")
        if one["text"]:
            st.markdown(_quiet(one["text"]))


def _card(action: dict[str, Any]) -> None:
    """An action: what it would do, the two buttons while it waits, then how it is going and what came of it."""
    number, status = action["id"], action["status"]
    with st.chat_message("assistant", avatar=":material/bolt:"), st.container(border=True):
        colour = {"pending": "orange", "running": "blue", "done": "green", "failed": "red"}.get(status, "gray")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Action {number}:** {_quiet(action['summary'])}")
            st.badge("waits for your yes" if status == "pending" else status, color=colour)  # type: ignore[arg-type]
        if status == "pending":
            with st.container(horizontal=True):
                if st.button("Execute", key=f"execute-{number}", type="primary", icon=":material/play_arrow:"):
                    _decide(number, "approve")
                if st.button("Dismiss", key=f"dismiss-{number}", icon=":material/close:"):
                    _decide(number, "reject")
            st.caption(f"Expires {moment(action['expires_at'])}.")
        if status == "running":
            st.caption(action["progress"] or "It runs.")
        if action["error"]:
            st.error(_quiet(action["error"]))
        if action["result"]:
            _result(number, action["result"])


def _decide(number: int, decision: str) -> None:
    if attempt(
        lambda: api().send("POST", f"/api/actions/{number}/{decision}"), "Started" if decision == "approve" else "Dismissed"
    ):
        st.session_state["follow"] = decision == "approve"
        st.rerun()


def _result(number: int, result: dict[str, Any]) -> None:
    """Lists of records as tables, screened candidates as a chart too, the rest as lines."""
    for name, value in result.items():
        rows = value.get("candidates") or value.get("best") if isinstance(value, dict) else value
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            st.markdown(f"**{name.replace('_', ' ').capitalize()}**")
            frame = pd.DataFrame([{key: item for key, item in row.items() if not isinstance(item, dict | list)} for row in rows])
            first = [column for column in _FIRST if column in frame.columns]
            frame = frame[[*first, *(column for column in frame.columns if column not in (*first, "found", "market"))]]
            st.dataframe(
                frame.dropna(axis=1, how="all"), hide_index=True, key=f"result-{number}-{name}", alt=f"{name} of action {number}"
            )
            if {"symbol", "profit_probability"} <= set(frame.columns):
                top = frame.sort_values("profit_probability", ascending=False).head(12)
                st.altair_chart(
                    charts.bars(
                        top[["symbol", "profit_probability"]].to_dict("records"),
                        "symbol",
                        "profit_probability",
                        "probability of profit",
                    ),
                    alt="probability of profit of the best candidates",
                )
        elif isinstance(value, dict):
            shown = ", ".join(
                f"{key.replace('_', ' ')} {plain(item)}" for key, item in value.items() if not isinstance(item, dict | list)
            )
            st.markdown(f"**{name.replace('_', ' ').capitalize()}**: {_quiet(shown) or 'none'}")
        elif not isinstance(value, list):
            st.markdown(f"**{name.replace('_', ' ').capitalize()}**: {_quiet(plain(value))}")


def _say(text: str) -> None:
    """Send a message and write the answer as it comes."""
    with st.chat_message("user"):
        st.markdown(_quiet(text))
    with st.chat_message("assistant"):
        st.write_stream(_pieces(api().stream("/api/chat", {"session_id": _SESSION, "message": text})))


def _follow() -> bool:
    """Watch what was just approved for a moment; what takes longer goes on by itself. False while another answer is given."""
    with st.chat_message("assistant"), st.spinner("It begins …"):
        try:
            for event in api().stream("/api/chat/follow", {"session_id": _SESSION, "timeout_s": 3}):
                if event.name == "text":
                    st.markdown(_quiet(event.data["text"]))
        except ApiProblemError as error:
            st.caption(f"{error}.")
            if error.status == _BUSY:
                time.sleep(1)
                return False
    return True


def _pieces(events: Iterator[ServerEvent]) -> Iterator[str]:
    for event in events:
        if event.name == "text":
            yield _quiet(event.data["text"]) + "\n\n" if event.data["text"].endswith(".") else _quiet(event.data["text"])
        elif event.name == "tool":
            yield f":gray[looked up {event.data['name']}{' (failed)' if event.data['failed'] else ''}]\n\n"
        elif event.name in ("notice", "error"):
            yield f"\n\n*{_quiet(event.data.get('text') or event.data.get('detail', ''))}*\n\n"


def _next_steps() -> None:
    chosen = st.pills("Suggested next steps", _SUGGESTIONS, key=f"next-{st.session_state.get('asked', 0)}")
    if chosen:
        st.session_state["asked"] = st.session_state.get("asked", 0) + 1
        st.session_state["ask"] = chosen
        st.rerun()


@st.fragment(run_every=_WATCH_SECONDS)
def _watch() -> None:
    """While something runs, say how far it is; when it ends, show the page anew and let mlTrainer comment on it."""
    running = st.session_state.get("running") or []
    if not running:
        return
    try:
        now = {one["id"]: one for one in api().get("/api/actions", session_id=_SESSION, limit=100)["items"]}
    except (ApiDownError, ApiProblemError) as error:
        st.caption(f"How it goes is not known right now: {error}.")
        return
    for number in running:
        action = now.get(number)
        if action is not None and action["status"] == "running":
            st.status(f"Action {number}: {action['progress'] or 'it runs'}", state="running")
    if any(now[number]["status"] != "running" for number in running if number in now):
        st.session_state["follow"] = True
        st.rerun()


def _quiet(text: str) -> str:
    """Text as it is: lines stay lines, dollars are no formulas, and names from outside are no markup."""
    for letter in ("$", "<", "["):
        text = text.replace(letter, f"\\{letter}")
    text = text.replace(":", "\\:") if ":material" in text else text
    return text.replace("\n", "  \n")
