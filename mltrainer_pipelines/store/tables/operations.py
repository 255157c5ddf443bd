"""What a person changes or should know while the system runs."""

from typing import Any

from sqlalchemy import Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mltrainer_pipelines.store.tables.base import Base, Id, Json, JsonList, Moment, RecordedAt, one_of


class RuntimeSetting(Base):
    """A setting that is changed while the system runs: the newest row of a name holds, null is its default again."""

    __tablename__ = "runtime_settings"
    __table_args__ = (Index("ix_runtime_settings_name_id", "name", "id"),)

    id: Mapped[Id]
    name: Mapped[str]
    value: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    changed_by: Mapped[str]
    reason: Mapped[str]
    changed_at: Mapped[RecordedAt]


class Alert(Base):
    """Something a person should know; `key` says what it is about, so that the same thing is raised once."""

    __tablename__ = "alerts"
    __table_args__ = (one_of("severity", "info", "warning", "error"), Index("ix_alerts_created_at", "created_at"))

    id: Mapped[Id]
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    severity: Mapped[str]
    message: Mapped[str]
    details: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'"))
    run_id: Mapped[str | None]
    created_at: Mapped[RecordedAt]
    acknowledged_at: Mapped[Moment | None]
    acknowledged_by: Mapped[str | None]


class Notification(Base):
    """A message to those who are not looking; what `about` lists is told once.

    `deliveries` has for each address, by a hash of it, when it took the message (`at`) or why it did not (`error`).
    `off` were not to be sent: their kind was switched off, or there was no address.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        one_of("status", "waiting", "sent", "given_up", "off"),
        Index("ix_notifications_about", "about", postgresql_using="gin"),
    )

    id: Mapped[Id]
    created_at: Mapped[RecordedAt]
    kind: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    about: Mapped[JsonList]
    status: Mapped[str] = mapped_column(server_default="waiting")
    deliveries: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'"))
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_attempt: Mapped[RecordedAt]
