"""A stored conversation: messages by turn, one answer at a time, old turns summarised.

A turn begins with the user's message. Tool calls and their results are stored together, so that no
reader ever gets one without the other; only whole turns are summarised.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from mltrainer_pipelines.agent.actions import actions, mark_reported
from mltrainer_pipelines.agent.failures import ClaudeError
from mltrainer_pipelines.agent.ledger import DailyBudgetError
from mltrainer_pipelines.agent.messages import Claude
from mltrainer_pipelines.agent.prices import estimated_tokens
from mltrainer_pipelines.agent.prompts import prompt
from mltrainer_pipelines.agent.sanitize import as_data, plain
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.store.tables import ChatMessage, ChatSession

MAX_TURNS, RECENT_TURNS = 24, 8
"""A conversation of more turns, or of `MAX_TOKENS`, is summarised down to the last `RECENT_TURNS`."""
MAX_TOKENS, MOST_TOKENS = 12_000, 60_000
MIN_TURNS = 10
"""Between two summaries: each one costs, and breaks what is cached. Only `MOST_TOKENS` do not wait for them."""
_BUSY = timedelta(minutes=15)
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
_THINKING = ("thinking", "redacted_thinking")
Block = dict[str, Any]


class SessionNameError(ValueError):
    """A name that no conversation can have: says what one may be."""


class SessionBusyError(RuntimeError):
    """An answer is already being written in this conversation."""


@dataclass(frozen=True)
class Message:
    """A stored message."""

    id: int
    turn: int
    role: str
    content: list[Block]
    written_at: datetime


@contextmanager
def locked_turn(system: System, session_id: str) -> Iterator[int]:
    """Lock a conversation for one turn; gives the turn's number. The lock ends with it, or after a quarter of an hour.

    Raises `SessionNameError` or `SessionBusyError`.
    """
    if not _SESSION.fullmatch(session_id):
        raise SessionNameError("a conversation's name has up to 100 letters, digits and _.:-")
    now = system.clock()
    table = ChatSession
    begun = insert(table).values(session_id=session_id, started_at=now).on_conflict_do_nothing()
    free = sa.or_(table.busy_until.is_(None), table.busy_until < now)
    lock = sa.update(table).where(table.session_id == session_id, free).values(busy_until=now + _BUSY)
    last = sa.select(sa.func.coalesce(sa.func.max(ChatMessage.turn), 0)).where(ChatMessage.session_id == session_id)
    with system.engine.begin() as connection:
        connection.execute(begun)
        if connection.execute(lock.returning(table.session_id)).first() is None:
            raise SessionBusyError("an answer is still being written in this conversation; wait until it ends")
        turn = connection.execute(last).scalar_one() + 1
    try:
        yield turn
    finally:
        with system.engine.begin() as connection:
            connection.execute(sa.update(table).where(table.session_id == session_id).values(busy_until=None))


def append(
    system: System, session_id: str, turn: int, messages: Sequence[tuple[str, list[Block]]], reported: Sequence[int] = ()
) -> None:
    """Store messages (role and blocks) of a turn, all or none; `reported` are actions whose end they report."""
    now = system.clock()
    rows = [
        {"session_id": session_id, "turn": turn, "role": role, "content": plain(content), "written_at": now}
        for role, content in messages
        if content
    ]
    with system.engine.begin() as connection:
        if rows:
            connection.execute(sa.insert(ChatMessage), rows)
        mark_reported(connection, list(reported))


def messages(system: System, session_id: str, after: int = 0, newest: int | None = None) -> list[Message]:
    """Messages of a conversation in their order: those after an id, and of those the newest ones where a number is given."""
    table = ChatMessage.__table__.c
    chosen = sa.select(table.id, table.turn, table.role, table.content, table.written_at)
    chosen = chosen.where(table.session_id == session_id, table.id > after).order_by(table.id.desc())
    with system.engine.connect() as connection:
        return [Message(*row) for row in connection.execute(chosen.limit(newest)).tuples()][::-1]


def context(system: System, claude: Claude | None, session_id: str) -> list[Mapping[str, Any]]:
    """What Claude is sent of a conversation: the summary of old turns, and the later ones word for word.

    Thinking of earlier turns is left out: it has served, and belongs to the model that thought it.
    """
    summary, later = _summarised(system, claude, session_id)
    sent: list[Mapping[str, Any]] = [
        {"role": message.role, "content": [block for block in message.content if block["type"] not in _THINKING]}
        for message in later
    ]
    if summary is not None:
        block = {"type": "text", "text": f'<data name="earlier_conversation">{as_data(summary, 6000)}</data>'}
        sent.insert(0, {"role": "user", "content": [block]})
    return sent


def _summarised(system: System, claude: Claude | None, session_id: str) -> tuple[str | None, list[Message]]:
    table = ChatSession
    with system.engine.connect() as connection:
        row = connection.execute(sa.select(table.summary, table.summarised_until).where(table.session_id == session_id)).one()
    later = messages(system, session_id, row.summarised_until)
    turns = sorted({message.turn for message in later})
    fresh = len(turns) < MIN_TURNS + RECENT_TURNS and _tokens(later) <= MOST_TOKENS
    if len(turns) <= RECENT_TURNS or fresh or (len(turns) <= MAX_TURNS and _tokens(later) <= MAX_TOKENS):
        return row.summary, later
    recent = [message for message in later if message.turn > turns[-RECENT_TURNS - 1]]
    old = [message for message in later if message.turn <= turns[-RECENT_TURNS - 1]]
    while _tokens(recent) > MOST_TOKENS // 2 and len({message.turn for message in recent}) > 1:
        first = recent[0].turn
        old += [message for message in recent if message.turn == first]
        recent = [message for message in recent if message.turn > first]
    summary = _summary(system, claude, session_id, row.summary, old)
    with system.engine.begin() as connection:
        change = sa.update(table).where(table.session_id == session_id)
        connection.execute(change.values(summary=summary, summarised_until=old[-1].id))
    return summary, recent


def _tokens(of: Sequence[Message]) -> int:
    return estimated_tokens([message.content for message in of])


def _summary(system: System, claude: Claude | None, session_id: str, before: str | None, old: Sequence[Message]) -> str:
    """Claude's summary; the bare facts where it gives none."""
    lines = [line for message in old for line in _lines(message)]
    if claude is not None:
        data = as_data({"summary_of_what_was_before": before, "conversation": lines[-400:]}, 1500)[-40_000:]
        asked = [{"role": "user", "content": [{"type": "text", "text": f"<data>{data}</data>"}]}]
        try:
            text = claude.complete("summary", prompt("summarise"), asked, 4000).text.strip()
            if text:
                return str(plain(text, 4000))
        except (ClaudeError, DailyBudgetError):
            pass  # recorded in the ledger; the facts below will do
    messages_of_user = [f"The user wrote: {line[6:126]}" for line in lines if line.startswith("user: ")]
    done = [f"Action {one.id} ({one.summary}): {one.status}." for one in reversed(actions(system, session_id, limit=30))]
    facts = [*(before or "").splitlines()[-20:], *messages_of_user[-30:], *done]
    return str(plain("\n".join(facts)[-4000:], 4000))


def _lines(message: Message) -> list[str]:
    lines = []
    for block in message.content:
        if block["type"] == "text":
            lines.append(f"{message.role}: {block['text']}")
        elif block["type"] == "tool_use":
            lines.append(f"called {block['name']} with {as_data(block['input'])}")
        elif block["type"] == "tool_result":
            lines.append(f"result: {str(block['content'])[:600]}")
    return lines
