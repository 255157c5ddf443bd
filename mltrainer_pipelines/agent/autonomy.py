"""How much the agent may do by itself: the day's budget, approvals within it, and the switch that stops everything."""

import statistics
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.agent.jobs import JobLauncher
from mltrainer_pipelines.agent.ledger import day_of, record_event, spent
from mltrainer_pipelines.agent.proposals import request_approved
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.tables import AgentAction, ProposalRun, TrialProposal
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.run_requests import withdraw

BY = "autonomy"
"""Who approves within the budget."""
ASSUMED_MINUTES = {"fast": 2.0, "medium": 10.0, "slow": 60.0}
"""What a trial is assumed to take while none of its model has run: by the model registry's cost, rather too long."""
_LOCK = 0x6D6C_6175  # "mlau": approvals and the switch come one after the other


@dataclass(frozen=True)
class Budget:
    """A New York day's limits, and what is used of them by trials that run without a yes and by Claude."""

    autonomy: Literal["manual", "budgeted", "off"]
    enabled: bool
    daily_trials: int
    daily_compute_minutes: float
    daily_dollars: float
    trials: int
    minutes: float
    dollars: Decimal

    def left(self) -> dict[str, Any]:
        """What is left of each limit, for a prompt and for people."""
        return {
            "autonomy": self.autonomy,
            "trials_left_today": max(0, self.daily_trials - self.trials),
            "compute_minutes_left_today": round(max(0.0, self.daily_compute_minutes - self.minutes), 1),
            "dollars_left_today": round(max(0.0, self.daily_dollars - float(self.dollars)), 4),
        }


@dataclass(frozen=True)
class Halted:
    """What the switch stopped."""

    proposals: tuple[int, ...]
    actions: tuple[int, ...]
    jobs: tuple[str, ...]


def budget(engine: Engine, moment: datetime) -> Budget:
    """The limits of the New York day of `moment`, and what is used of them."""
    with engine.connect() as connection:
        return _budget(engine, connection, moment)


def approve_within_budget(engine: Engine, moment: datetime) -> list[int]:
    """Approve waiting proposals, oldest first, as far as the day's budget goes; returns their ids.

    Nothing is approved unless autonomy is `budgeted` and the agent is switched on. A trial counts with the minutes
    that trials of its model took so far (`ASSUMED_MINUTES` before the first), then with what it took itself. One that
    does not fit into what is left of the day waits.
    """
    approved = []
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        today = _budget(engine, connection, moment)
        if not today.enabled or today.autonomy != "budgeted" or today.dollars > Decimal(str(today.daily_dollars)):
            return []
        minutes, trials = today.minutes, today.trials
        waiting = sa.select(TrialProposal.id, TrialProposal.config).where(TrialProposal.status == "proposed")
        waiting = waiting.where(TrialProposal.proposer.in_(runtime_settings.PROPOSERS)).order_by(TrialProposal.id)
        for proposal_id, config in connection.execute(waiting).tuples().all():
            expected = _expected_minutes(connection, TrialConfig.parse(config).model)
            if trials + 1 > today.daily_trials:
                break
            if minutes + expected > today.daily_compute_minutes:
                continue
            change = sa.update(TrialProposal).where(TrialProposal.id == proposal_id, TrialProposal.status == "proposed")
            change = change.values(status="approved", decided_by=BY, decided_at=moment)
            if connection.execute(change.returning(TrialProposal.id)).first() is None:
                continue
            request_approved(connection, proposal_id)
            trials, minutes = trials + 1, minutes + expected
            detail = {"proposal": proposal_id, "expected_minutes": expected, **today.left()}
            record_event(connection, "approval", BY, detail, happened_at=moment)
            approved.append(proposal_id)
    return approved


def note_launch(engine: Engine, proposal_id: int, launched_at: datetime) -> None:
    """A proposal's run has started; what it takes is noted by `note_finish`."""
    statement = insert(ProposalRun).values(proposal_id=proposal_id, launched_at=launched_at).on_conflict_do_nothing()
    with engine.begin() as connection:
        connection.execute(statement)


def note_finish(engine: Engine, trial_id: str, finished_at: datetime, seconds: float) -> bool:
    """A proposed trial's run has ended after so many seconds of computing; False where nobody proposed it."""
    proposal = sa.select(TrialProposal.id).where(TrialProposal.trial_id == trial_id).scalar_subquery()
    change = sa.update(ProposalRun).where(ProposalRun.proposal_id == proposal, ProposalRun.seconds.is_(None))
    with engine.begin() as connection:
        change = change.values(finished_at=finished_at, seconds=seconds)
        return connection.execute(change.returning(ProposalRun.proposal_id)).first() is not None


def halt(engine: Engine, launcher: JobLauncher | None, by: str, reason: str, moment: datetime) -> Halted:
    """Switch the agent off and stop everything it started.

    Nothing of it starts afterwards; its approved proposals and waiting actions are rejected; its jobs are cancelled
    (where a launcher is at hand). It stays off until `agent_enabled` is put back to true. Raises `JobError` if jobs could not be
    cancelled; everything else is done by then.
    """
    runtime_settings.put(engine, "agent_enabled", False, by, reason)
    return stop_started(engine, launcher, by, reason, moment)


def stop_started(engine: Engine, launcher: JobLauncher | None, by: str, reason: str, moment: datetime) -> Halted:
    """Stop what an agent that was switched off has started; as `halt`, for who has changed the setting already."""
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        rejected = {"status": "rejected", "decided_by": by, "decided_at": moment}
        approved = sa.update(TrialProposal).where(TrialProposal.status == "approved").values(rejected)
        proposals = connection.scalars(approved.returning(TrialProposal.id)).all()
        pending = sa.update(AgentAction).where(AgentAction.status == "pending").values(rejected)
        actions = connection.scalars(pending.returning(AgentAction.id)).all()
        withdraw(connection, "the agent was switched off")
        detail = {"reason": reason, "proposals": list(proposals), "actions": list(actions)}
        record_event(connection, "halt", by, detail, happened_at=moment)
    jobs = launcher.cancel_all() if launcher is not None else []
    if jobs:
        record_event(engine, "halt", by, {"reason": reason, "jobs": jobs}, happened_at=moment)
    return Halted(tuple(sorted(proposals)), tuple(sorted(actions)), tuple(jobs))


def _budget(engine: Engine, connection: Connection, moment: datetime) -> Budget:
    settings = runtime_settings.get_all(engine)
    first, last = day_of(moment)
    p, r = TrialProposal, ProposalRun
    mine = sa.select(p.config, r.seconds).outerjoin(r, r.proposal_id == p.id)
    mine = mine.where(p.decided_by == BY, p.decided_at >= first, p.decided_at < last, p.status != "rejected")
    rows = connection.execute(mine).tuples().all()
    minutes = sum(
        seconds / 60 if seconds is not None else _expected_minutes(connection, TrialConfig.parse(config).model)
        for config, seconds in rows
    )
    autonomy: Any = settings["autonomy"]
    return Budget(
        autonomy=autonomy,
        enabled=bool(settings["agent_enabled"]),
        daily_trials=int(settings["daily_trials"]),
        daily_compute_minutes=float(settings["daily_compute_minutes"]),
        daily_dollars=float(settings["daily_dollars"]),
        trials=len(rows),
        minutes=minutes,
        dollars=spent(engine, moment).dollars,
    )


def _expected_minutes(connection: Connection, model: str) -> float:
    p, r = TrialProposal, ProposalRun
    took = sa.select(r.seconds).join(p, p.id == r.proposal_id).where(p.config["model"].astext == model, r.seconds.is_not(None))
    newest = connection.scalars(took.order_by(r.finished_at.desc()).limit(20))
    seconds = [value for value in newest if value is not None]
    return statistics.mean(seconds) / 60 if seconds else ASSUMED_MINUTES[get_model(model).cost]
