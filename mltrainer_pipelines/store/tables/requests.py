"""Runs that somebody asked for."""

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mltrainer_pipelines.store.tables.base import Base, Id, Json, Moment, RecordedAt, one_of


class RunRequest(Base):
    """A run of a Dagster job that somebody asked for, and what became of it by Dagster's records.

    `waiting` until its run is there, `launched` until that ends. Of a job and a trial at most one is unfinished.
    `message` is what the run does now, or why it failed; `seconds` what it took. Until `reserved_until` the launching
    sensor has asked Dagster's daemon for the run.
    """

    __tablename__ = "run_requests"
    __table_args__ = (
        one_of("status", "waiting", "launched", "succeeded", "failed", "cancelled"),
        Index("ix_run_requests_status", "status"),
        Index("ix_run_requests_trial_id", "trial_id"),
        Index("ix_run_requests_proposal_id", "proposal_id"),
        Index(
            "uq_run_requests_unfinished",
            "job",
            "trial_id",
            unique=True,
            postgresql_where=text("status IN ('waiting', 'launched')"),
        ),
    )

    id: Mapped[Id]
    created_at: Mapped[RecordedAt]
    job: Mapped[str]
    trial_id: Mapped[str | None]
    params: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'"))
    requested_by: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    proposal_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("trial_proposals.id"))
    status: Mapped[str] = mapped_column(server_default="waiting")
    reserved_until: Mapped[Moment | None]
    run_id: Mapped[str | None]
    launched_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]
    seconds: Mapped[float | None]
    message: Mapped[str | None]
