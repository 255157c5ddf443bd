"""Factors: every expression that was ever screened, and what was found."""

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mltrainer_pipelines.store.tables.base import Base, JsonList, Moment, RecordedAt, one_of


class Factor(Base):
    """An expression for a timeframe, from its proposal to its verdict; nothing is ever removed, and nothing screened twice.

    `proposed` until it is screened; `tried` is what a search computed on the shown quarters and did not put forward.
    `parents` are the factors it was made of, `figures` a `Verdict` of `trials/factors/screening.py`.
    """

    __tablename__ = "factors"
    __table_args__ = (
        one_of("status", "proposed", "tried", "accepted", "rejected", "retired", "failed"),
        UniqueConstraint("timeframe", "expression"),
        Index("ix_factors_status", "status"),
    )

    factor_id: Mapped[str] = mapped_column(primary_key=True)
    timeframe: Mapped[str]
    expression: Mapped[str]
    proposed_by: Mapped[str]
    hypothesis: Mapped[str] = mapped_column(server_default="")
    parents: Mapped[JsonList] = mapped_column(server_default="[]")
    status: Mapped[str] = mapped_column(server_default="proposed")
    reason: Mapped[str] = mapped_column(server_default="")
    figures: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    proposed_at: Mapped[RecordedAt]
    screened_at: Mapped[Moment | None]
    retired_at: Mapped[Moment | None]
    run_id: Mapped[str | None]
    data_fingerprint: Mapped[str | None]
