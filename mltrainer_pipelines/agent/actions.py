"""Actions: whatever computes or changes a setting waits here for a yes, then runs exactly once.

Who approves is never the agent: `approve` is called for a user's own "yes" or click, and for nothing
else. An action that nobody decides on expires after an hour.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mltrainer_pipelines.agent import proposals as proposal_book
from mltrainer_pipelines.agent import queries
from mltrainer_pipelines.agent.action_kinds import (
    PARAMS,
    ActionError,
    ActionParams,
    ChangeSetting,
    DecideProposal,
    Ensemble,
    Kind,
    MomentumScreening,
    RefreshSignals,
    SubmitTrial,
    checked_params,
    summary,
    trial_configs,
)
from mltrainer_pipelines.agent.autonomy import stop_started
from mltrainer_pipelines.agent.jobs import Job, JobError
from mltrainer_pipelines.agent.ledger import record_event
from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.runtime_settings import InvalidSettingError, UnknownSettingError
from mltrainer_pipelines.store.tables import AgentAction
from mltrainer_pipelines.trials.config import TrialConfig

LIFETIME = timedelta(hours=1)
MOST_PENDING = 10
"""Actions of one conversation that may wait at once."""
_LOCK = 0x6D6C_6163  # "mlac", with the action's id: one at a time moves it on
_UNSTARTED = timedelta(minutes=5)
"""An approved action without a job after this long was interrupted before it began."""


class ActionStateError(ValueError):
    """A step that an action cannot take from where it stands: names both."""


@dataclass(frozen=True)
class Action:
    """An action as it stands; `result` and `error` are what came of it."""

    id: int
    session_id: str
    kind: Kind
    params: dict[str, Any]
    summary: str
    status: Literal["pending", "rejected", "expired", "running", "done", "failed"]
    proposed_by: str
    created_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    jobs: dict[str, Any]
    finished_at: datetime | None
    result: dict[str, Any] | None
    error: str | None
    told: bool


def propose_action(system: System, session_id: str, kind: Kind, params: Mapping[str, Any], by: str) -> Action:
    """Put an action before the user; the same one that waits already is returned instead.

    Parameters
    ----------
    by : str
        `claude` or `user`: whose idea it is. It decides nothing.

    Raises
    ------
    ActionError
        If its parameters cannot be, or too many actions of the conversation wait.
    """
    checked = checked_params(system, kind, params)
    values = plain(checked.model_dump(mode="json", exclude_none=True))
    now = system.clock()
    table = AgentAction.__table__
    waits = (table.c.session_id == session_id) & (table.c.status == "pending")
    with system.engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        _expire(connection, now)
        pending = [_action(row) for row in connection.execute(sa.select(table).where(waits))]
        for waiting in pending:
            if waiting.kind == kind and waiting.params == values:
                return waiting
        if len(pending) >= MOST_PENDING:
            raise ActionError(f"{len(pending)} actions wait for a yes already; decide on those first")
        row = connection.execute(
            sa.insert(AgentAction)
            .values(
                session_id=session_id,
                kind=kind,
                params=values,
                summary=summary(checked),
                proposed_by=by,
                created_at=now,
                expires_at=now + LIFETIME,
            )
            .returning(table)
        ).one()
        record_event(connection, "action_proposed", by, {"kind": kind, "params": values}, session_id, happened_at=now)
    return _action(row)


def actions(system: System, session_id: str | None = None, status: str | None = None, limit: int = 100) -> list[Action]:
    """Actions, newest first; those whose hour is over are expired first."""
    table = AgentAction.__table__
    chosen = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if session_id is not None:
        chosen = chosen.where(table.c.session_id == session_id)
    if status is not None:
        chosen = chosen.where(table.c.status == status)
    with system.engine.begin() as connection:
        _expire(connection, system.clock())
        return [_action(row) for row in connection.execute(chosen)]


def action(system: System, action_id: int) -> Action:
    """One action.

    Raises
    ------
    ActionStateError
        If there is none of that id.
    """
    table = AgentAction.__table__
    with system.engine.begin() as connection:
        _expire(connection, system.clock())
        row = connection.execute(sa.select(table).where(table.c.id == action_id)).first()
    if row is None:
        raise ActionStateError(f"there is no action {action_id}")
    return _action(row)


def approve(system: System, action_id: int, by: str) -> Action:
    """Run an action on the user's word: once, whoever else says yes at the same time.

    Returns
    -------
    Action
        `done` where it took no job, `running` where it did, `failed` where it could not start.

    Raises
    ------
    ActionStateError
        If it is decided, expired or unknown.
    """
    _decide(system, action_id, "running", by)
    found = action(system, action_id)
    checked = PARAMS[found.kind].model_validate(found.params)
    try:
        if isinstance(checked, ChangeSetting | DecideProposal):
            return _finish(system, found, _now_done(system, checked, by), None)
        if not runtime_settings.get(system.engine, "agent_enabled"):
            raise JobError("the agent is switched off; set agent_enabled to true first")
        with system.engine.connect() as connection, connection.begin():
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, found.id)))
            return _advance(system, found, _steps(system, checked))
    except (JobError, InvalidSettingError, UnknownSettingError, proposal_book.ProposalStateError) as error:
        return _finish(system, found, None, str(error))


def reject(system: System, action_id: int, by: str) -> Action:
    """Decide that an action is not run; raises as `approve` does."""
    _decide(system, action_id, "rejected", by)
    return action(system, action_id)


def advance(system: System, session_id: str | None = None) -> list[Action]:
    """Look after running actions: start what comes next, finish those whose jobs are over; returns the finished ones."""
    finished = []
    for running in actions(system, session_id, "running"):
        with system.engine.connect() as connection, connection.begin():
            # Two who look at once would both start what comes next.
            if not connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK, running.id))):
                continue
            current = action(system, running.id)
            if current.status != "running":
                continue
            if not current.jobs:
                if current.decided_at is not None and system.clock() - current.decided_at > _UNSTARTED:
                    finished.append(_finish(system, current, None, "it was interrupted before it began; nothing was started"))
                continue
            try:
                moved = _advance(system, current, current.jobs)
            except JobError:
                continue  # Dagster does not answer now; the jobs go on, and the next look tells more
            if moved.status != "running":
                finished.append(moved)
    return finished


def progress(running: Action) -> str:
    """How far a running action is, in words."""
    jobs = [job for step in running.jobs.get("steps", []) for job in step]
    doing = [f"{job['what']}: {job.get('message') or job['status']}" for job in jobs if job["status"] == "running"]
    done = sum(job["status"] == "succeeded" for job in jobs)
    return f"{done} of {len(jobs)} done" + (f"; {', '.join(doing)}" if doing else "")


def untold(system: System, session_id: str) -> list[Action]:
    """Actions of a conversation that ended and whose end the agent has not been told, oldest first."""
    table = AgentAction.__table__
    over = table.c.status.in_(("done", "failed", "rejected", "expired"))
    chosen = sa.select(table).where(table.c.session_id == session_id, over, ~table.c.told).order_by(table.c.id)
    with system.engine.begin() as connection:
        _expire(connection, system.clock())
        return [_action(row) for row in connection.execute(chosen)]


def mark_told(connection: Connection, ids: list[int]) -> None:
    """The agent knows now how these ended."""
    if ids:
        connection.execute(sa.update(AgentAction).where(AgentAction.id.in_(ids)).values(told=True))


def ended(of: Action) -> dict[str, Any]:
    """How an action ended, as the agent is told."""
    told: dict[str, Any] = {"action": of.id, "kind": of.kind, "what": of.summary, "status": of.status}
    if of.result is not None:
        told["result"] = of.result
    if of.error is not None:
        told["error"] = of.error
    return told


def _steps(system: System, checked: ActionParams) -> dict[str, Any]:
    """The jobs of an action, step after step; those of a step run beside each other."""
    if isinstance(checked, MomentumScreening | Ensemble | SubmitTrial):
        configs = trial_configs(system, checked)
        steps = [[_job(config.trial_id, config=config.model_dump(mode="json")) for config in configs]]
        if isinstance(checked, MomentumScreening):
            steps.append([_job("refresh_signals")])
        elif isinstance(checked, Ensemble):
            steps.append([_job("promote_champion", partition=checked.timeframe)])
        return {"steps": steps}
    return {"steps": [[_job("refresh_signals" if isinstance(checked, RefreshSignals) else "propose_trials")]]}


def _job(what: str, **more: Any) -> dict[str, Any]:
    return {"what": what, "status": "waiting", "job": None, **more}


def _advance(system: System, found: Action, jobs: dict[str, Any]) -> Action:
    """Start and follow the jobs as far as they go now; each change is kept before the next job starts."""
    launcher = system.launcher
    if launcher is None:
        raise JobError("no job can be started: Dagster is not up; start it with `mltrainer up`")
    if not runtime_settings.get(system.engine, "agent_enabled"):
        return _finish(
            system, found, _result(system, found, jobs), "the agent was switched off while it ran; nothing more of it starts"
        )
    for step in jobs["steps"]:
        for job in step:
            if job["status"] == "waiting":
                _start(system, found, job)
                _keep(system, found, jobs)
            if job["status"] == "running":
                _follow(system, found, job)
                _keep(system, found, jobs)
        if any(job["status"] == "running" for job in step):
            return action(system, found.id)
        failed = [f"{job['what']}: {job.get('message') or 'it failed'}" for job in step if job["status"] == "failed"]
        if failed:
            return _finish(system, found, _result(system, found, jobs), "; ".join(failed))
    return _finish(system, found, _result(system, found, jobs), None)


def _start(system: System, found: Action, job: dict[str, Any]) -> None:
    assert system.launcher is not None  # noqa: S101
    reason = f"action {found.id} of the chat: {found.summary}"
    try:
        if "config" in job:
            job["job"] = system.launcher.start_trial(TrialConfig.from_record(job["config"]), reason)
        else:
            name: Job = job["what"]
            job["job"] = system.launcher.start_job(name, reason, job.get("partition"))
        job["status"] = "running"
    except JobError as error:
        job |= {"status": "failed", "message": str(error)}


def _follow(system: System, found: Action, job: dict[str, Any]) -> None:
    assert system.launcher is not None  # noqa: S101
    now = system.launcher.progress(job["job"])
    job["message"] = plain(now.message, 300)
    if now.status == "succeeded" and "config" in job and "grade" not in queries.trial(system, job["what"]):
        # Predicted and not judged: a sensor may do it, but only where somebody switched it on.
        if "scoring" not in job:
            job["scoring"] = system.launcher.start_job("score_trials", f"action {found.id} of the chat", job["what"])
        scoring = system.launcher.progress(job["scoring"])
        if scoring.status == "failed":
            job |= {"status": "failed", "message": plain(scoring.message, 300)}
        elif scoring.status == "succeeded" and "grade" not in queries.trial(system, job["what"]):
            job |= {"status": "failed", "message": "it was scored, but left no scorecard"}
        elif scoring.status == "succeeded":
            job["status"] = "succeeded"
        return
    job["status"] = now.status


def _keep(system: System, found: Action, jobs: dict[str, Any]) -> None:
    with system.engine.begin() as connection:
        connection.execute(sa.update(AgentAction).where(AgentAction.id == found.id).values(jobs=plain(jobs)))


def _result(system: System, found: Action, jobs: dict[str, Any]) -> dict[str, Any]:
    """What an action's jobs brought about, read from where they wrote it."""
    over = [job for step in jobs["steps"] for job in step if job["status"] == "succeeded"]
    result: dict[str, Any] = {"market": system.market}
    trials = [queries.trial(system, job["what"]) for job in over if "config" in job]
    if trials:
        result["trials"] = trials
    done = {job["what"] for job in over}
    if "refresh_signals" in done:
        wanted = {} if found.kind == "refresh_signals" else {name: found.params.get(name) for name in _SCREENED}
        result["screening"] = queries.candidates(system, **wanted)
    if "promote_champion" in done:
        result["leaderboard"] = queries.leaderboard(system, found.params["timeframe"], 5)
    if "propose_trials" in done:
        result["proposals"] = queries.proposed(system, "proposed")
    return result


_SCREENED = ("timeframe", "min_probability", "min_confidence", "min_expected_return")


def _now_done(system: System, checked: ChangeSetting | DecideProposal, by: str) -> dict[str, Any]:
    """Do what takes no job."""
    if isinstance(checked, ChangeSetting):
        before = runtime_settings.get_all(system.engine, system.defaults)[checked.name]
        change = runtime_settings.put(system.engine, checked.name, checked.value, by, checked.reason or "asked for in the chat")
        done: dict[str, Any] = {"setting": checked.name, "before": before, "now": change.value, "version": change.id}
        if checked.name == "agent_enabled" and change.value is False:
            stopped = stop_started(system.engine, system.launcher, by, change.reason, system.clock())
            done["stopped"] = {name: list(ids) for name, ids in vars(stopped).items()}
        return done
    decide: Callable[..., None] = proposal_book.approve if checked.decision == "approve" else proposal_book.reject
    decide(system.engine, checked.proposal_id, by)
    return {"proposal": checked.proposal_id, "decision": checked.decision}


def _decide(system: System, action_id: int, status: str, by: str) -> None:
    now = system.clock()
    table = AgentAction
    with system.engine.begin() as connection:
        _expire(connection, now)
        change = sa.update(table).where(table.id == action_id, table.status == "pending", table.expires_at > now)
        row = connection.execute(
            change.values(status=status, decided_by=by, decided_at=now).returning(table.session_id, table.kind)
        ).first()
        if row is not None:
            kind = "approval" if status == "running" else "rejection"
            record_event(connection, kind, by, {"action": action_id, "kind": row.kind}, row.session_id, happened_at=now)
            return
        # Outside of this transaction's rollback: what has expired stays so.
        found = connection.scalar(sa.select(table.status).where(table.id == action_id))
    if found is None:
        raise ActionStateError(f"there is no action {action_id}")
    raise ActionStateError(f"action {action_id} is {found}; only one that is pending can be decided")


def _expire(connection: Connection, now: datetime) -> None:
    over = sa.update(AgentAction).where(AgentAction.status == "pending", AgentAction.expires_at <= now)
    connection.execute(over.values(status="expired", finished_at=now))


def _finish(system: System, found: Action, result: dict[str, Any] | None, error: str | None) -> Action:
    now = system.clock()
    values: dict[str, Any] = {"status": "failed" if error else "done", "finished_at": now}
    if result is not None:
        values["result"] = plain(result)
    if error is not None:
        values["error"] = plain(error, 1000)
    with system.engine.begin() as connection:
        change = sa.update(AgentAction).where(AgentAction.id == found.id, AgentAction.status == "running")
        change = change.values(values).returning(AgentAction.__table__)
        row = connection.execute(change).first()
        if row is not None:
            record_event(connection, "outcome", "mltrainer", {"action": found.id, **values}, found.session_id, happened_at=now)
            return _action(row)
    return action(system, found.id)


def _action(row: Any) -> Action:
    return Action(**dict(row._mapping))
