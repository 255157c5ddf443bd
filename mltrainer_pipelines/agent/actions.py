"""Actions: whatever computes or changes a setting waits here for a yes, then runs exactly once.

Who approves is never the agent: `approve` is called for a user's own "yes" or click, and for nothing
else. An action that nobody decides on expires after an hour.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mltrainer_pipelines.agent.action_kinds import (
    PARAMS,
    ActionError,
    ChangeSetting,
    DecideProposal,
    Kind,
    checked_params,
    summary,
)
from mltrainer_pipelines.agent.action_runs import do_now, request_for, result_of
from mltrainer_pipelines.agent.digests import digest_of
from mltrainer_pipelines.agent.jobs import JobError, JobLauncher
from mltrainer_pipelines.agent.ledger import record_event
from mltrainer_pipelines.agent.proposals import ProposalStateError
from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.runtime_settings import InvalidSettingError, UnknownSettingError
from mltrainer_pipelines.store.tables import AgentAction
from mltrainer_pipelines.trials import joint_requests, run_requests
from mltrainer_pipelines.trials.run_requests import RunRequest

LIFETIME = timedelta(hours=1)
MOST_PENDING = 10
"""Actions of one conversation that may wait at once."""
_LOCK = 0x6D6C_6163  # "mlac": actions are put to the user one after the other
_INTERRUPTED = timedelta(minutes=5)
"""What takes no run is done at once: an action that is not after this long was cut off."""


class ActionStateError(ValueError):
    """A step that an action cannot take from where it stands: names both."""


@dataclass(frozen=True)
class Action:
    """An action as it stands; `result` and `error` are what came of it, `digest` is of what was shown."""

    id: int
    session_id: str
    kind: Kind
    params: dict[str, Any]
    summary: str
    status: Literal["pending", "rejected", "expired", "running", "done", "failed", "stopped"]
    proposed_by: str
    created_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    request_id: int | None
    finished_at: datetime | None
    result: dict[str, Any] | None
    error: str | None
    reported: bool
    digest: str | None


def propose_action(system: System, session_id: str, kind: Kind, params: Mapping[str, object], by: str) -> Action:
    """Put an action before the user; the same one that waits already is returned instead.

    `by` is whose idea it is, `claude` or `user`; it decides nothing. Raises `ActionError` if its parameters cannot be, or
    too many actions of the conversation wait.
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
        if same := [waiting for waiting in pending if waiting.kind == kind and waiting.params == values]:
            return same[0]
        if len(pending) >= MOST_PENDING:
            raise ActionError(f"{len(pending)} actions wait for a yes already; decide on those first")
        new = {"session_id": session_id, "kind": kind, "params": values, "summary": summary(checked), "proposed_by": by}
        new |= {"created_at": now, "expires_at": now + LIFETIME, "digest": digest_of(kind, values, summary(checked))}
        row = connection.execute(sa.insert(AgentAction).values(new).returning(table)).one()
        record_event(
            connection,
            "action_proposed",
            by,
            {"action": row.id, "kind": kind, "params": values, "digest": row.digest},
            session_id,
            happened_at=now,
        )
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
    """One action; raises `ActionStateError` if there is none of that id."""
    table = AgentAction.__table__
    with system.engine.begin() as connection:
        _expire(connection, system.clock())
        row = connection.execute(sa.select(table).where(table.c.id == action_id)).first()
    if row is None:
        raise ActionStateError(f"there is no action {action_id}")
    return _action(row)


def approve(system: System, action_id: int, by: str, digest: str | None = None) -> Action:
    """Run an action on the user's word: once, whoever else says yes at the same time, and only as it was shown.

    Afterwards it is `done` where it took no run, `running` where it did, `failed` where it could not start or is not what
    was shown. `digest` is that of the action the user saw. Raises `ActionStateError` if it is decided, expired or unknown.
    """
    action(system, action_id)
    refused, checked = _cannot_run(system), None
    with system.engine.begin() as connection:
        # The decision and the request are one: nobody can end between them.
        waiting = _decide(system, connection, action_id, "running", by)
        if waiting.digest != digest_of(waiting.kind, waiting.params, waiting.summary) or digest not in (None, waiting.digest):
            refused = "it was changed after it was shown to you, so nothing ran; ask for it again"
        else:
            checked = PARAMS[waiting.kind].model_validate(waiting.params)
            refused = None if isinstance(checked, ChangeSetting | DecideProposal) else refused
        if checked is not None and not isinstance(checked, ChangeSetting | DecideProposal) and refused is None:
            request_id = request_for(connection, system, checked, f"action {action_id} of the chat: {waiting.summary}")
            connection.execute(sa.update(AgentAction).where(AgentAction.id == action_id).values(request_id=request_id))
    approved = action(system, action_id)
    if refused is not None:
        return finish_action(system, approved, None, refused)
    if isinstance(checked, ChangeSetting | DecideProposal):
        try:
            return finish_action(system, approved, do_now(system, checked, by), None)
        except (JobError, InvalidSettingError, UnknownSettingError, ProposalStateError) as error:
            return finish_action(system, approved, None, str(error))
    try:
        _launcher(system).update()
    except JobError as error:
        with system.engine.begin() as connection:
            withdrawn = run_requests.withdraw(connection, str(error), approved.request_id)
        if withdrawn:
            return finish_action(system, approved, None, f"{_name(request_of(system, approved))}: {error}")
    return _followed(system, approved)


def reject(system: System, action_id: int, by: str) -> Action:
    """Decide that an action is not run; raises as `approve` does."""
    with system.engine.begin() as connection:
        _decide(system, connection, action_id, "rejected", by)
    return action(system, action_id)


def finish_ended(system: System, session_id: str | None = None) -> list[Action]:
    """Finish the running actions whose runs are over, by Dagster's records; returns those that are finished."""
    running = actions(system, session_id, "running")
    if running and system.launcher is not None:
        with suppress(JobError):  # Dagster does not answer now; its runs go on, and the next look tells more
            system.launcher.update()
    followed = [_followed(system, one) for one in running]
    return [one for one in followed if one.status != "running"]


def progress(system: System, running: Action) -> str:
    """How far a running action is, in words."""
    if running.request_id is None:
        return "it is being done"
    request = request_of(system, running)
    with system.engine.connect() as connection:
        made = joint_requests.parts(connection, request) if "configs" in request.params else [request]
        outcomes = [(part, run_requests.outcome(connection, part)) for part in made]
    doing = [f"{_name(part)}: {result.message}" for part, result in outcomes if result.status == "running"]
    done = sum(result.status == "succeeded" for _, result in outcomes)
    return f"{done} of {joint_requests.planned(request)} done" + (f"; {', '.join(doing)}" if doing else "")


def unreported(system: System, session_id: str) -> list[Action]:
    """Actions of a conversation that ended and whose end the agent does not know, oldest first."""
    table = AgentAction.__table__
    over = table.c.status.in_(("done", "failed", "stopped", "rejected", "expired"))
    chosen = sa.select(table).where(table.c.session_id == session_id, over, ~table.c.reported).order_by(table.c.id)
    with system.engine.begin() as connection:
        _expire(connection, system.clock())
        return [_action(row) for row in connection.execute(chosen)]


def mark_reported(connection: Connection, ids: list[int]) -> None:
    """The agent knows now how these ended."""
    if ids:
        connection.execute(sa.update(AgentAction).where(AgentAction.id.in_(ids)).values(reported=True))


def ended(of: Action) -> dict[str, Any]:
    """How an action ended, for the agent's context."""
    report: dict[str, Any] = {"action": of.id, "kind": of.kind, "what": of.summary, "status": of.status}
    left = {"result": of.result, "error": of.error}
    return report | {name: value for name, value in left.items() if value is not None}


def _cannot_run(system: System) -> str | None:
    """Why no run can be started now; None where one can."""
    if not runtime_settings.get(system.engine, "agent_enabled"):
        return "the agent is switched off; set agent_enabled to true first"
    return None if system.launcher is not None else "no run can be started: Dagster is not up; start it with `mltrainer up`"


def _launcher(system: System) -> JobLauncher:
    if system.launcher is None:
        raise JobError("Dagster is not up; start it with `mltrainer up`")
    return system.launcher


def request_of(system: System, of: Action) -> RunRequest:
    """What an action asked to be run."""
    assert of.request_id is not None  # noqa: S101
    with system.engine.connect() as connection:
        return run_requests.get_request(connection, of.request_id)


def _name(request: RunRequest) -> str:
    return request.trial_id or request.job


def _followed(system: System, running: Action) -> Action:
    """An action where its request is: finished, if that has ended."""
    if running.request_id is None:
        if running.decided_at is None or system.clock() - running.decided_at < _INTERRUPTED:
            return running
        return finish_action(system, running, None, "it was interrupted and may not be done; look, then ask for it again")
    request = request_of(system, running)
    with system.engine.connect() as connection:
        outcome = run_requests.outcome(connection, request)
    if outcome.status == "succeeded":
        return finish_action(system, running, result_of(system, running.kind, running.params, request), None)
    off = not runtime_settings.get(system.engine, "agent_enabled")
    if outcome.status == "running" and not off:
        return running
    error = outcome.message if not off else "the agent was switched off while it ran; nothing more of it starts"
    named = error if off or "configs" in request.params else f"{_name(request)}: {error}"
    return finish_action(system, running, result_of(system, running.kind, running.params, request), named)


def _decide(system: System, connection: Connection, action_id: int, status: str, by: str) -> Action:
    now = system.clock()
    table = AgentAction
    change = sa.update(table).where(table.id == action_id, table.status == "pending", table.expires_at > now)
    row = connection.execute(change.values(status=status, decided_by=by, decided_at=now).returning(table.__table__)).first()
    if row is not None:
        kind = "approval" if status == "running" else "rejection"
        record_event(connection, kind, by, {"action": action_id, "kind": row.kind}, row.session_id, happened_at=now)
        return _action(row)
    current = action(system, action_id).status
    raise ActionStateError(f"action {action_id} is {current}; only one that is pending can be decided")


def _expire(connection: Connection, now: datetime) -> None:
    over = sa.update(AgentAction).where(AgentAction.status == "pending", AgentAction.expires_at <= now)
    connection.execute(over.values(status="expired", finished_at=now))


def finish_action(
    system: System, running: Action, result: dict[str, object] | None, error: str | None, status: str | None = None
) -> Action:
    """Note how a running action ended; who is first says how."""
    now = system.clock()
    values: dict[str, Any] = {"status": status or ("failed" if error else "done"), "finished_at": now}
    if result is not None:
        values["result"] = plain(result)
    if error is not None:
        values["error"] = plain(error, 1000)
    with system.engine.begin() as connection:
        change = sa.update(AgentAction).where(AgentAction.id == running.id, AgentAction.status == "running")
        change = change.values(values).returning(AgentAction.__table__)
        row = connection.execute(change).first()
        if row is not None:
            record_event(
                connection, "outcome", "mltrainer", {"action": running.id, **values}, running.session_id, happened_at=now
            )
            return _action(row)
    return action(system, running.id)


def _action(row: Any) -> Action:
    return Action(**dict(row._mapping))
