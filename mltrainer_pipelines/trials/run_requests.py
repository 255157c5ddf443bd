"""Requests for runs: whoever wants something computed writes a row, and one function turns rows into Dagster runs.

A request is `waiting`, then `launched` with the id of its run, then `succeeded`, `failed` or `cancelled` as that run
ended. `ops/run_launcher.py` moves it on, and nothing else does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.redaction import redact
from mltrainer_pipelines.store import tables
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.validation.stored_quarters import missing_quarters

Job = Literal[
    "walk_forward",
    "score_trials",
    "momentum_screening",
    "ensemble",
    "refresh_signals",
    "promote_champion",
    "propose_trials",
    "propose_factors",
    "screen_factors",
    "discover_factors",
]
Ended = Literal["succeeded", "failed", "cancelled"]
Status = Literal["waiting", "launched", "succeeded", "failed", "cancelled"]
UNFINISHED = ("waiting", "launched")
RESERVED_FOR = timedelta(minutes=1)
"""How long a request that the sensor gave to Dagster's daemon is left to it before another launcher takes it."""
_R, _T = tables.RunRequest, tables.Trial


class RequestWithdrawnError(RuntimeError):
    """A run whose request was withdrawn, or is carried out by another run: says which, and that nothing was computed."""


@dataclass(frozen=True)
class RunRequest:
    """A request as it is kept; see `store.tables.RunRequest`."""

    id: int
    created_at: datetime
    job: Job
    trial_id: str | None
    params: dict[str, Any]
    requested_by: str
    reason: str
    proposal_id: int | None
    status: Status
    reserved_until: datetime | None
    run_id: str | None
    launched_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    message: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of a request: of a trial's, only once it is scored. `message` says why it failed, or what it does now."""

    status: Literal["running", "succeeded", "failed"]
    message: str = ""


def request_run(
    connection: Connection,
    job: Job,
    by: str,
    reason: str = "",
    trial_id: str | None = None,
    params: dict[str, Any] | None = None,
    proposal_id: int | None = None,
) -> int:
    """Ask for a run of a job; returns the request's id: that of an unfinished one of the same job and trial, if there is one.

    It is asked for `by` `agent`, `api`, `cli`, `demo`, `launchpad` or `mltrainer`; what the agent asked for waits while it is
    switched off. `params` is what the job needs beside the trial: `partition`, or the trials of a joint request.
    """
    values = {
        "job": job,
        "trial_id": trial_id,
        "params": params or {},
        "requested_by": by,
        "reason": redact(reason)[:200],
        "proposal_id": proposal_id,
    }
    same = (_R.job == job) & (_R.trial_id == trial_id) & _R.status.in_(UNFINISHED)
    while True:
        added = insert(_R).values(values).on_conflict_do_nothing(
            index_elements=["job", "trial_id"], index_where=_R.status.in_(UNFINISHED)
        )  # fmt: skip
        if (made := connection.scalar(added.returning(_R.id))) is not None:
            return made
        # Read without a lock: who launches that request holds one while Dagster answers.
        if (existing := connection.scalar(sa.select(_R.id).where(same))) is not None:
            if proposal_id is not None:
                connection.execute(sa.update(_R).where(_R.id == existing).values(proposal_id=proposal_id))
            return existing
        # it ended between the two statements: now there is room for a new one


def request_trial(connection: Connection, config: TrialConfig, by: str, reason: str = "", proposal_id: int | None = None) -> int:
    """Ask for a trial over all its quarters that are not predicted; its scorecard follows by itself. As `request_run`."""
    params = {"config": config.model_dump(mode="json")}
    return request_run(connection, "walk_forward", by, reason, config.trial_id, params, proposal_id)


def get_request(connection: Connection, request_id: int) -> RunRequest:
    """One request; raises `LookupError` if there is none of that id."""
    row = connection.execute(sa.select(_R.__table__).where(_R.id == request_id)).first()
    if row is None:
        raise LookupError(f"there is no run request {request_id}")
    return RunRequest(**row._mapping)


def unfinished_requests(engine: Engine, status: Status = "launched") -> list[RunRequest]:
    """Requests that are `launched` (or `waiting`), oldest first."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(_R.__table__).where(_R.status == status).order_by(_R.id))
        return [RunRequest(**row._mapping) for row in rows]


def next_waiting(engine: Engine, after: int, with_agent: bool, with_reserved: bool) -> RunRequest | None:
    """The next waiting request after an id, not locked; None where there is none.

    `with_agent`: also what the agent asked for; `with_reserved`: also what was given to Dagster's daemon a moment ago.
    """
    waiting = sa.select(_R.__table__).where(_R.id > after, _is_free(with_reserved)).order_by(_R.id).limit(1)
    if not with_agent:
        waiting = waiting.where(_R.requested_by != "agent")
    with engine.connect() as connection:
        row = connection.execute(waiting).first()
    return RunRequest(**row._mapping) if row else None


def take(connection: Connection, request_id: int, with_reserved: bool) -> bool:
    """Lock a request that still waits for the length of the transaction; False where somebody else has it."""
    free = sa.select(_R.id).where(_R.id == request_id, _is_free(with_reserved))
    return connection.scalar(free.with_for_update(skip_locked=True)) is not None


def _is_free(with_reserved: bool) -> sa.ColumnElement[bool]:
    unreserved = _R.reserved_until.is_(None) | (_R.reserved_until < sa.func.now())
    return (_R.status == "waiting") & (sa.true() if with_reserved else unreserved)


def reserve(connection: Connection, request_id: int) -> None:
    """Leave a request to Dagster's daemon for a moment: it starts the run that the sensor asked for."""
    until = sa.func.now() + RESERVED_FOR
    connection.execute(sa.update(_R).where(_R.id == request_id).values(reserved_until=until))


def mark_launched(connection: Connection, request_id: int, run_id: str) -> None:
    """Note the run of a waiting request."""
    change = sa.update(_R).where(_R.id == request_id, _R.status == "waiting")
    connection.execute(change.values(status="launched", run_id=run_id, launched_at=sa.func.now(), message=None))


def finish(connection: Connection, request: RunRequest, status: Ended, message: str | None = None, seconds: float = 0.0) -> None:
    """Note how a request ended, and with it its trial where that stood on the run. Another run's end changes nothing."""
    message = None if message is None else redact(message)
    change = sa.update(_R).where(_R.id == request.id, _R.status == request.status, _R.run_id.is_not_distinct_from(request.run_id))
    ended = change.values(status=status, message=message, seconds=seconds, finished_at=sa.func.now()).returning(_R.id)
    if connection.scalar(ended) is not None and request.job == "walk_forward" and status != "succeeded":
        mine = _T.run_id.is_(None) | (_T.run_id == request.run_id)
        stopped = sa.update(_T).where(_T.trial_id == request.trial_id, _T.status.in_(("created", "running")), mine)
        connection.execute(stopped.values(status=status))


def note_progress(connection: Connection, request: RunRequest, message: str) -> None:
    """Keep what a launched request's run does now."""
    if message != request.message:
        connection.execute(sa.update(_R).where(_R.id == request.id, _R.status == "launched").values(message=message))


def withdraw(connection: Connection, reason: str, request_id: int | None = None) -> list[int]:
    """Cancel a request that still waits, or all of the agent's; returns the ids of those that were cancelled."""
    which = _R.id == request_id if request_id is not None else _R.requested_by == "agent"
    change = sa.update(_R).where(_R.status == "waiting", which)
    change = change.values(status="cancelled", message=reason, finished_at=sa.func.now())
    return sorted(connection.scalars(change.returning(_R.id)))


def require_current(engine: Engine, request_id: int, run_id: str, parent_run_id: str | None = None) -> None:
    """Pass if a run is the one of its request, and make it that where the request has none that is unfinished.

    So two launchers at once compute once, and a run that a person executes again takes the place of the one that failed.
    RequestWithdrawnError if the request was withdrawn, or another run carries it out.
    """
    free = _R.run_id.is_(None) | (_R.run_id == run_id) | (_R.run_id == parent_run_id) | _R.status.not_in(UNFINISHED)
    withdrawn = (_R.status == "cancelled") & _R.run_id.is_(None)
    change = sa.update(_R).where(_R.id == request_id, free, ~withdrawn)
    with engine.begin() as connection:
        taken = change.values(status="launched", run_id=run_id, launched_at=sa.func.coalesce(_R.launched_at, sa.func.now()))
        if connection.scalar(taken.returning(_R.id)) is None:
            other = get_request(connection, request_id).run_id
            how = f"is carried out by run {other}" if other else "was withdrawn before its run began"
            raise RequestWithdrawnError(f"request {request_id} {how}: nothing of it is computed here")


def trials_under_way(engine: Engine) -> dict[str, str | None]:
    """Trials that stand as `running`, with the run that computes them (None where an earlier version did not note it)."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(_T.trial_id, _T.run_id).where(_T.status == "running"))
        return {row.trial_id: row.run_id for row in rows}


def stop_trial(connection: Connection, trial_id: str, run_id: str | None, status: Literal["failed", "cancelled"]) -> None:
    """A running trial whose run has ended without a word of its own."""
    mine = sa.update(_T).where(_T.trial_id == trial_id, _T.status == "running", _T.run_id.is_not_distinct_from(run_id))
    connection.execute(mine.values(status=status))


def request_scoring(connection: Connection, trial_id: str, after: str) -> int:
    """Ask for a trial's scorecard; `after` is what it was predicted by, for `request_missing_scores` to see."""
    return request_run(connection, "score_trials", "mltrainer", "it is predicted", trial_id, {"after": after})


def request_missing_scores(engine: Engine, lake: Lake, quarters: Sequence[date], trial_id: str | None = None) -> list[str]:
    """Ask for the scorecards of trials whose quarters are all predicted and that are not scored; returns these trials.

    However they were predicted: by a request, a backfill of the UI, the launchpad. Once for each run that predicted: what
    cannot be scored is not tried again and again.
    """
    cards, asked = tables.TrialScorecard.__table__, sa.orm.aliased(_R)
    after = sa.func.coalesce(_T.run_id, "")
    before = sa.exists().where(
        asked.job == "score_trials", asked.trial_id == _T.trial_id, asked.params["after"].astext == after
    )  # fmt: skip
    unscored = sa.select(_T.trial_id, _T.config, after.label("after")).outerjoin(cards, cards.c.trial_id == _T.trial_id)
    unscored = unscored.where(
        _T.status != "running", (_T.status == "predicted") | cards.c.trial_id.is_(None), ~before
    )  # fmt: skip
    if trial_id is not None:
        unscored = unscored.where(_T.trial_id == trial_id)
    keys, requested = [str(quarter) for quarter in quarters], []
    with engine.begin() as connection:
        for row in connection.execute(unscored.order_by(_T.created_at)).all():
            if keys and not missing_quarters(lake, TrialConfig.from_record(row.config), keys):
                request_scoring(connection, row.trial_id, row.after)
                requested.append(row.trial_id)
    return requested


def is_scored(connection: Connection, trial_id: str | None) -> bool:
    """Whether a trial's predictions are scored, the newest of them too."""
    return connection.scalar(sa.select(_T.status).where(_T.trial_id == trial_id)) == "scored"


def outcome(connection: Connection, request: RunRequest) -> Outcome:
    """What became of a request; a trial's is over when it is scored, or cannot be."""
    if request.status in UNFINISHED:
        return Outcome("running", request.message or ("waits for its turn" if request.status == "waiting" else "runs"))
    if request.status != "succeeded":
        return Outcome("failed", request.message or f"it was {request.status}")
    if request.job != "walk_forward" or is_scored(connection, request.trial_id):
        return Outcome("succeeded")
    scorings = sa.select(_R.__table__).where(_R.job == "score_trials", _R.trial_id == request.trial_id)
    scorings = scorings.where(_R.status.in_(UNFINISHED) | (_R.finished_at > request.created_at))
    scoring = connection.execute(scorings.order_by(_R.id.desc()).limit(1)).first()
    if scoring is None or scoring.status in UNFINISHED:
        return Outcome("running", "predicted, to be scored")
    left = scoring.message or f"its scoring was {scoring.status}"
    return Outcome("failed", "it was scored, but left no scorecard" if scoring.status == "succeeded" else left)
