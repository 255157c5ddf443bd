"""What was tried: trials, their scorecards and places, promotions and proposals."""

from datetime import date

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from mltrainer_pipelines.store.tables.base import Base, Day, Id, Json, JsonList, Moment, RecordedAt, one_of


class Trial(Base):
    """A trial that was run or is running: its whole configuration, so that it can be run again.

    `status` is `created`, `running`, `predicted`, `scored`, `failed` or `cancelled`; `run_id` the run that last set it.
    """

    __tablename__ = "trials"

    trial_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    timeframe: Mapped[str]
    feature_set: Mapped[str]
    config: Mapped[Json]
    proposed_by: Mapped[str]
    rationale: Mapped[str | None]
    created_at: Mapped[RecordedAt]
    status: Mapped[str] = mapped_column(server_default="created")
    run_id: Mapped[str | None]


class TrialScorecard(Base):
    """What a trial achieved out of sample; `deflated_sharpe` is a probability, `daily_sharpe` is not annualized."""

    __tablename__ = "trial_scorecards"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.trial_id"), primary_key=True)
    grade: Mapped[str]
    metrics: Mapped[Json]
    daily_sharpe: Mapped[float | None]
    deflated_sharpe: Mapped[float | None]
    sessions: Mapped[int]
    mlflow_run_id: Mapped[str | None]
    dagster_run_id: Mapped[str | None]
    scored_at: Mapped[RecordedAt]


class TrialLook(Base):
    """One scoring of a trial or a factor: rows are only ever added, and a trigger of the database refuses anything else.

    `subject` is the trial's id or the factor's name, also of one that is gone; `quarters` the mean daily return of each calendar
    quarter; `cost_bps` a side, null where it was not recorded.
    """

    __tablename__ = "trial_looks"

    id: Mapped[Id]
    looked_at: Mapped[RecordedAt]
    subject: Mapped[str]
    timeframe: Mapped[str]
    feature_set_version: Mapped[str | None]
    data_fingerprint: Mapped[str | None]
    first_session: Mapped[date]
    last_session: Mapped[date | None]
    cost_bps: Mapped[float | None]
    sessions: Mapped[int]
    daily_sharpe: Mapped[float | None]
    quarters: Mapped[Json]
    requested_by: Mapped[str]
    run_id: Mapped[str | None]


class MarketSkill(Base):
    """What the default models were worth on this market until a session; `audits.market_skill` says what is in it."""

    __tablename__ = "market_skill"

    last_session: Mapped[Day] = mapped_column(primary_key=True)
    measured_at: Mapped[RecordedAt]
    findings: Mapped[Json]
    curves: Mapped[Json]


class LeaderboardRow(Base):
    """A trial's place among the trials of its timeframe; 1 is the best.

    `net_return_low` and `net_return_high` are the 95 % interval of `net_return`; `probability_of_overfitting` is that of
    picking the best of the whole timeframe, the same in each of its rows.
    """

    __tablename__ = "leaderboard"

    timeframe: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.trial_id"), primary_key=True)
    rank: Mapped[int]
    model: Mapped[str]
    grade: Mapped[str]
    deflated_sharpe: Mapped[float | None]
    net_return: Mapped[float | None]
    sharpe: Mapped[float | None]
    rank_ic: Mapped[float | None]
    brier_skill: Mapped[float | None]
    net_return_low: Mapped[float | None]
    net_return_high: Mapped[float | None]
    probability_of_overfitting: Mapped[float | None]
    updated_at: Mapped[RecordedAt]


class Promotion(Base):
    """A decision about who is champion, and why; the newest `promoted` or `rolled_back` row holds."""

    __tablename__ = "promotions"
    __table_args__ = (
        one_of("decision", "promoted", "refused", "rolled_back"),
        Index("ix_promotions_timeframe_id", "timeframe", "id"),
    )

    id: Mapped[Id]
    timeframe: Mapped[str]
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.trial_id"))
    decision: Mapped[str]
    grade: Mapped[str]
    model_version: Mapped[str | None]
    reasons: Mapped[JsonList]
    decided_at: Mapped[RecordedAt]


class ChampionFile(Base):
    """The digest of a registered champion's file: no other file is loaded as that version.

    `sha256` is null for versions from before digests were kept, until such a one is loaded for the first time.
    """

    __tablename__ = "champion_files"

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str | None]
    recorded_at: Mapped[RecordedAt]


class TrialProposal(Base):
    """A trial somebody wants run, with the hypothesis behind it and what would refute it."""

    __tablename__ = "trial_proposals"
    __table_args__ = (
        UniqueConstraint("trial_id"),
        one_of("status", "proposed", "approved", "rejected", "launched", "done", "failed"),
    )

    id: Mapped[Id]
    created_at: Mapped[RecordedAt]
    proposer: Mapped[str]
    trial_id: Mapped[str]
    config: Mapped[Json]
    hypothesis: Mapped[str]
    refuted_if: Mapped[str]
    expected_gain: Mapped[float | None]
    status: Mapped[str] = mapped_column(server_default="proposed")
    decided_by: Mapped[str | None]
    decided_at: Mapped[Moment | None]
    run_id: Mapped[str | None]
    result: Mapped[Json | None]


class ProposalRun(Base):
    """The computing that a launched proposal has cost, from its launch to its end; `seconds` is null while it runs."""

    __tablename__ = "proposal_runs"

    proposal_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("trial_proposals.id"), primary_key=True)
    launched_at: Mapped[Moment]
    finished_at: Mapped[Moment | None]
    seconds: Mapped[float | None]
