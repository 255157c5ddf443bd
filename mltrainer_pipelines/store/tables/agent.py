"""What the agent asked, what it was answered, and what it did."""

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from mltrainer_pipelines.store.tables.base import Base, Id, Json, JsonList, Moment, Money, one_of


class AgentCall(Base):
    """One request to Claude: what was asked, what came back or why nothing did, and what it cost."""

    __tablename__ = "agent_calls"
    __table_args__ = (
        one_of("purpose", "propose", "repair", "chat", "summary"),
        Index("ix_agent_calls_called_at", "called_at"),
    )

    id: Mapped[Id]
    called_at: Mapped[Moment]
    purpose: Mapped[str]
    session_id: Mapped[str | None]
    model: Mapped[str]
    prompt_version: Mapped[str]
    request: Mapped[Json]
    response: Mapped[Json | None]
    stop_reason: Mapped[str | None]
    error: Mapped[str | None]
    input_tokens: Mapped[int]
    cache_write_tokens: Mapped[int]
    cache_read_tokens: Mapped[int]
    output_tokens: Mapped[int]
    dollars: Mapped[Money]
    seconds: Mapped[float]


class AgentEvent(Base):
    """What the agent did or had done to it, besides talking to Claude: tool calls, validations, decisions, outcomes."""

    __tablename__ = "agent_events"
    __table_args__ = (Index("ix_agent_events_happened_at", "happened_at"),)

    id: Mapped[Id]
    happened_at: Mapped[Moment]
    kind: Mapped[str]
    by: Mapped[str]
    session_id: Mapped[str | None]
    call_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("agent_calls.id"))
    detail: Mapped[Json]


class AgentAction(Base):
    """Something that computes or changes a setting: waits for a yes, then runs once.

    `pending`, then `rejected`, `expired` or `running`, and from there `done`, `failed` or `stopped`. `request_id` is the run it
    asked for; `reported` is whether its result has been in the agent's context; `digest` is of what was shown, and is checked
    before anything runs.
    """

    __tablename__ = "agent_actions"
    __table_args__ = (
        one_of("status", "pending", "rejected", "expired", "running", "done", "failed", "stopped"),
        Index("ix_agent_actions_session_id", "session_id", "id"),
        Index("ix_agent_actions_status", "status"),
    )

    id: Mapped[Id]
    session_id: Mapped[str]
    kind: Mapped[str]
    params: Mapped[Json]
    summary: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    proposed_by: Mapped[str]
    created_at: Mapped[Moment]
    expires_at: Mapped[Moment]
    decided_by: Mapped[str | None]
    decided_at: Mapped[Moment | None]
    request_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("run_requests.id"))
    finished_at: Mapped[Moment | None]
    result: Mapped[Json | None]
    error: Mapped[str | None]
    reported: Mapped[bool] = mapped_column(server_default=text("false"))
    digest: Mapped[str | None]


class ChatSession(Base):
    """A conversation: its title, the summary of its turns up to message `summarised_until`, and until when a turn holds it."""

    __tablename__ = "chat_sessions"

    session_id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[Moment]
    title: Mapped[str | None]
    summary: Mapped[str | None]
    summarised_until: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    busy_until: Mapped[Moment | None]


class ChatMessage(Base):
    """A message as the Messages API has it: a role and blocks; `turn` counts what the user said, from 1."""

    __tablename__ = "chat_messages"
    __table_args__ = (
        one_of("role", "user", "assistant"),
        Index("ix_chat_messages_session_id_id", "session_id", "id"),
    )

    id: Mapped[Id]
    session_id: Mapped[str] = mapped_column(ForeignKey("chat_sessions.session_id"))
    turn: Mapped[int]
    role: Mapped[str]
    content: Mapped[JsonList]
    written_at: Mapped[Moment]
