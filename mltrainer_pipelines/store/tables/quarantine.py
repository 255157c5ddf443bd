"""What came from outside and is not used, and what a person says instead."""

from datetime import date
from typing import Any

from sqlalchemy import Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mltrainer_pipelines.store.tables.base import Base, Id, Json, Moment, RecordedAt, one_of


class QuarantinedRow(Base):
    """A row of a vendor that is not used, with the reason; `resolved_at` says since when it no longer comes or is believed."""

    __tablename__ = "quarantine"
    __table_args__ = (Index("ix_quarantine_source_day", "source", "day"),)

    id: Mapped[Id]
    key: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str]
    subject: Mapped[str]
    day: Mapped[date | None]
    row: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'"))
    reason: Mapped[str]
    first_seen: Mapped[RecordedAt]
    resolved_at: Mapped[Moment | None]


class Correction(Base):
    """What a person knows better than the vendor; it holds from `made_at` on, until it is revoked."""

    __tablename__ = "corrections"
    __table_args__ = (
        one_of("kind", "split", "dividend", "no_action", "closure", "bar", "rename"),
        Index("ix_corrections_kind", "kind"),
    )

    id: Mapped[Id]
    kind: Mapped[str]
    symbol: Mapped[str | None]
    day: Mapped[date]
    value: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    reason: Mapped[str]
    made_by: Mapped[str]
    made_at: Mapped[RecordedAt]
    revoked_at: Mapped[Moment | None]
