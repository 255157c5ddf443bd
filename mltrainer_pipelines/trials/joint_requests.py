"""Joint requests: several trials, then one job that uses them all (a screening refreshes the signals, an ensemble is refit)."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.store import runtime_settings, tables
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.run_requests import UNFINISHED, Job, RunRequest, get_request, outcome, request_run, request_trial


class JointRequestError(RuntimeError):
    """Trials of a joint request, or what was to follow them, failed: names each with its reason."""


def request_jointly(
    connection: Connection, job: Job, configs: Sequence[TrialConfig], then: Job, partition: str | None, by: str, reason: str
) -> int:
    """Ask for trials and for a job after them (of a `partition`); returns the id of the one request for all of it."""
    listed = [config.model_dump(mode="json") for config in configs]
    return request_run(connection, job, by, reason, params={"configs": listed, "then": then, "partition": partition})


def parts(connection: Connection, request: RunRequest) -> list[RunRequest]:
    """The requests that a joint request has made so far: its trials, then what follows them."""
    return [get_request(connection, part) for part in request.params.get("parts", [])]


def planned(request: RunRequest) -> int:
    """How many requests a request comes to: its trials and what follows them, or itself alone."""
    return len(request.params["configs"]) + 1 if "configs" in request.params else 1


def advance(engine: Engine, request_id: int) -> bool:
    """Ask for what comes next of a joint request; returns whether all of it is done.

    Each part is asked for once, however often and from wherever this is called. JointRequestError if a part failed: the other
    trials go on; nothing that follows them is asked for.
    """
    table, enabled = tables.RunRequest, runtime_settings.get(engine, "agent_enabled")
    with engine.begin() as connection:
        connection.execute(sa.select(table.id).where(table.id == request_id).with_for_update())
        request = get_request(connection, request_id)
        if request.status not in UNFINISHED:
            raise JointRequestError("it was stopped; nothing more of it starts")
        if request.requested_by == "agent" and not enabled:
            raise JointRequestError("the agent was switched off; nothing more of it starts")
        made = parts(connection, request)
        if not made:
            configs = [TrialConfig.from_record(config) for config in request.params["configs"]]
            ids = [request_trial(connection, config, request.requested_by, request.reason) for config in configs]
            _keep(connection, request, ids)
            return False
        outcomes = [outcome(connection, part) for part in made]
        if any(of_part.status == "running" for of_part in outcomes):
            return False
        ended = zip(made, outcomes, strict=True)
        failed = [f"{part.trial_id or part.job}: {of_part.message}" for part, of_part in ended if of_part.status == "failed"]
        if failed:
            raise JointRequestError("; ".join(failed))
        if len(made) == planned(request):
            return True
        then, partition = request.params["then"], request.params["partition"]
        params = {"partition": partition} if partition else {}
        following = request_run(connection, then, request.requested_by, request.reason, params=params)
        _keep(connection, request, [*(part.id for part in made), following])
        return False


def _keep(connection: Connection, request: RunRequest, ids: list[int]) -> None:
    table = tables.RunRequest
    connection.execute(sa.update(table).where(table.id == request.id).values(params={**request.params, "parts": ids}))
