"""Stopping one running action: its runs are cancelled, what they finished stays, and nothing more of it starts."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mltrainer_pipelines.agent.action_runs import result_of
from mltrainer_pipelines.agent.actions import Action, ActionStateError, action, finish_action, request_of
from mltrainer_pipelines.agent.jobs import JobError
from mltrainer_pipelines.agent.ledger import record_event
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.store.tables import AgentAction
from mltrainer_pipelines.store.tables import RunRequest as RequestRow
from mltrainer_pipelines.trials import run_requests
from mltrainer_pipelines.trials.joint_requests import parts
from mltrainer_pipelines.trials.run_requests import UNFINISHED, RunRequest

_REASON = "it was stopped"


def stop(system: System, action_id: int, by: str) -> Action:
    """Stop a running action; its result is what it finished. A run that another running action waits for goes on.

    Raises `ActionStateError` if it does not run.
    """
    running = action(system, action_id)
    if running.status != "running" or running.request_id is None:
        raise ActionStateError(f"action {action_id} is {running.status}; only one that runs can be stopped")
    with system.engine.begin() as connection:
        # The lock of `joint_requests.advance`: it asks for nothing more once this is committed.
        lock = sa.select(RequestRow.id).where(RequestRow.id == running.request_id).with_for_update()
        connection.execute(lock)
        request = run_requests.get_request(connection, running.request_id)
        joint = [*parts(connection, request)] if "configs" in request.params else []
        wanted = _wanted_elsewhere(connection, running)
        mine = [one for one in (request, *joint) if one.status in UNFINISHED and one.id not in wanted]
        for one in mine:
            if one.run_id is None or (one.id == request.id and joint):
                run_requests.finish(connection, one, "cancelled", _REASON)
        detail = {"action": action_id, "requests": [one.id for one in mine]}
        record_event(connection, "stop", by, detail, running.session_id, happened_at=system.clock())
    error = _cancelled(system, mine)
    result = result_of(system, running.kind, running.params, request_of(system, running))
    return finish_action(system, running, result, error, "stopped")


def _wanted_elsewhere(connection: Connection, running: Action) -> set[int]:
    """Requests that other running actions, proposals or people wait for."""
    others = sa.select(AgentAction.request_id).where(AgentAction.status == "running", AgentAction.id != running.id)
    wanted = {number for number in connection.scalars(others) if number is not None}
    for number in list(wanted):
        wanted |= set(run_requests.get_request(connection, number).params.get("parts", []))
    foreign = sa.select(RequestRow.id).where(
        RequestRow.status.in_(UNFINISHED), (RequestRow.requested_by != "agent") | RequestRow.proposal_id.is_not(None)
    )
    return wanted | set(connection.scalars(foreign))


def _cancelled(system: System, requests: list[RunRequest]) -> str | None:
    """Cancel the runs of requests; returns what could not be, in words."""
    runs = [one.run_id for one in requests if one.run_id is not None]
    if not runs:
        return None
    try:
        if system.launcher is None:
            raise JobError("Dagster is not up")
        system.launcher.cancel(runs)
    except JobError as error:
        return f"nothing more of it starts, but what runs already goes on: {error}"
    return None
