"""Several conversations beside each other: begun, listed, searched, renamed and deleted."""

from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mltrainer_pipelines.agent.conversation import SessionBusyError
from mltrainer_pipelines.agent.ledger import record_event
from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.store.tables import AgentAction, ChatMessage, ChatSession

TITLE_AT_MOST = 80


class UnknownConversationError(LookupError):
    """A conversation was named that there is not."""

    def __init__(self, session_id: str):
        super().__init__(f"there is no conversation {session_id}")


@dataclass(frozen=True)
class Conversation:
    """A conversation; its title is the user's, or how it began. `turns` counts what the user said."""

    session_id: str
    title: str
    started_at: datetime
    last_message_at: datetime | None
    turns: int


def conversations(system: System, search: str = "", limit: int = 100) -> list[Conversation]:
    """Conversations, the one that was last written in first; those whose title or text holds `search`, where it is given."""
    c, m = ChatSession, ChatMessage
    of = sa.orm.aliased(ChatMessage)
    first = sa.select(of.content[0]["text"].astext).where(of.session_id == c.session_id, of.role == "user").order_by(of.id)
    title = sa.func.coalesce(c.title, first.limit(1).correlate(c).scalar_subquery(), "New conversation")
    written, turns = sa.func.max(m.written_at), sa.func.coalesce(sa.func.max(m.turn), 0)
    chosen = sa.select(c.session_id, title, c.started_at, written, turns).outerjoin(m, m.session_id == c.session_id)
    if search:
        texts = sa.cast(sa.func.jsonb_path_query_array(of.content, sa.text("'$[*].text'")), sa.String)
        mentioned = sa.exists().where(of.session_id == c.session_id, texts.icontains(search, autoescape=True)).correlate(c)
        chosen = chosen.where(title.icontains(search, autoescape=True) | mentioned)
    chosen = chosen.group_by(c.session_id).order_by(sa.func.coalesce(written, c.started_at).desc()).limit(limit)
    with system.engine.connect() as connection:
        rows = connection.execute(chosen).tuples().all()
    return [
        Conversation(name, " ".join(shown.split())[:TITLE_AT_MOST], started, last, count)
        for name, shown, started, last, count in rows
    ]


def begin(system: System, title: str | None = None) -> Conversation:
    """A new conversation, under a name of its own."""
    name, now = f"chat-{token_hex(6)}", system.clock()
    with system.engine.begin() as connection:
        connection.execute(sa.insert(ChatSession).values(session_id=name, started_at=now, title=_title(title)))
    return Conversation(name, _title(title) or "New conversation", now, None, 0)


def rename(system: System, session_id: str, title: str) -> None:
    """Give a conversation a title. Raises `UnknownConversationError`."""
    with system.engine.begin() as connection:
        change = sa.update(ChatSession).where(ChatSession.session_id == session_id).values(title=_title(title))
        _require(connection.execute(change.returning(ChatSession.session_id)).first(), session_id)


def delete(system: System, session_id: str, by: str) -> None:
    """Delete a conversation with its messages; what waits in it is rejected, what runs goes on, and its actions stay on record.

    Raises `UnknownConversationError`, or `SessionBusyError` while an answer is being written in it.
    """
    now = system.clock()
    with system.engine.begin() as connection:
        locked = sa.select(ChatSession.busy_until).where(ChatSession.session_id == session_id).with_for_update()
        row = connection.execute(locked).first()
        _require(row, session_id)
        if row is not None and row.busy_until is not None and row.busy_until > now:
            raise SessionBusyError("an answer is still being written in this conversation; wait until it ends")
        _leave_actions(connection, session_id, by, now)
        connection.execute(sa.delete(ChatMessage).where(ChatMessage.session_id == session_id))
        connection.execute(sa.delete(ChatSession).where(ChatSession.session_id == session_id))
        record_event(connection, "conversation_deleted", by, {}, session_id, happened_at=now)


def _leave_actions(connection: Connection, session_id: str, by: str, now: datetime) -> None:
    mine = AgentAction.session_id == session_id
    rejected = {"status": "rejected", "decided_by": by, "decided_at": now}
    connection.execute(sa.update(AgentAction).where(mine, AgentAction.status == "pending").values(rejected))
    # A conversation of the same name that begins later has nothing to do with them.
    connection.execute(sa.update(AgentAction).where(mine).values(session_id=f"{session_id} (deleted {now:%Y-%m-%d %H:%M:%S})"))


def _title(text: str | None) -> str | None:
    return str(plain(" ".join(text.split()), TITLE_AT_MOST)) if text and text.strip() else None


def _require(row: object, session_id: str) -> None:
    if row is None:
        raise UnknownConversationError(session_id)
