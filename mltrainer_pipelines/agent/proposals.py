"""Proposals: trials somebody wants run, from the idea to its result.

A proposal is `proposed`, then `approved` or `rejected` by somebody, `launched` with the id of its run, and `done` or
`failed`. Each step is allowed from the step before it only, so that two approvers or two launchers cannot both win.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.store.tables import Trial, TrialProposal
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.run_requests import request_trial


class ProposalStateError(ValueError):
    """A step that a proposal cannot take from where it stands: names both, and what is possible."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run, and what is expected of it.

    The hypothesis is why it should do better than what was tried, `refuted_if` the result that would show it to be wrong;
    `expected_gain` is in the proposer's objective over the best trial so far, None where it cannot be said.
    """

    config: TrialConfig
    proposer: str
    hypothesis: str
    refuted_if: str
    expected_gain: float | None = None


@dataclass(frozen=True)
class StoredProposal:
    """A proposal as it is kept, with its `id` and `status`."""

    id: int
    status: str
    proposal: Proposal
    decided_by: str | None
    run_id: str | None
    result: dict[str, Any] | None


def store_proposals(engine: Engine, proposals: Sequence[Proposal]) -> list[int]:
    """Keep proposals, `proposed`, and return their ids; one whose trial was proposed or submitted before is left out."""
    if not proposals:
        return []
    with engine.begin() as connection:
        wanted = [proposal.config.trial_id for proposal in proposals]
        submitted = set(connection.scalars(sa.select(Trial.trial_id).where(Trial.trial_id.in_(wanted))))
        rows = [
            {
                "proposer": proposal.proposer,
                "trial_id": proposal.config.trial_id,
                "config": plain(proposal.config.model_dump(mode="json")),
                "hypothesis": plain(proposal.hypothesis),
                "refuted_if": plain(proposal.refuted_if),
                "expected_gain": proposal.expected_gain,
            }
            for proposal in proposals
            if proposal.config.trial_id not in submitted
        ]
        if not rows:
            return []
        statement = insert(TrialProposal).on_conflict_do_nothing(index_elements=["trial_id"]).returning(TrialProposal.id)
        return sorted(connection.scalars(statement, rows))


def proposals(engine: Engine, status: str | None = None) -> list[StoredProposal]:
    """Proposals in the order they were made; those of one `status` where it is given."""
    statement = sa.select(TrialProposal.__table__).order_by(TrialProposal.id)
    if status is not None:
        statement = statement.where(TrialProposal.status == status)
    with engine.connect() as connection:
        return [_stored(row) for row in connection.execute(statement)]


def approve(engine: Engine, proposal_id: int, by: str) -> None:
    """Let a proposal be run; raises `ProposalStateError` if there is none of that id, or it is decided already."""
    with engine.begin() as connection:
        _step(connection, proposal_id, "proposed", status="approved", decided_by=by, decided_at=sa.func.now())
        request_approved(connection, proposal_id)


def request_approved(connection: Connection, proposal_id: int) -> None:
    """Ask for the run of a proposal that was approved in this transaction."""
    config = connection.execute(sa.select(TrialProposal.config).where(TrialProposal.id == proposal_id)).scalar_one()
    request_trial(connection, TrialConfig.from_record(config), "agent", f"proposal {proposal_id}", proposal_id)


def reject(engine: Engine, proposal_id: int, by: str) -> None:
    """Decide that a proposal is not run; raises as `approve` does."""
    with engine.begin() as connection:
        _step(connection, proposal_id, "proposed", status="rejected", decided_by=by, decided_at=sa.func.now())


def mark_launched(engine: Engine, proposal_id: int, run_id: str) -> None:
    """Note the run of an approved proposal; raises `ProposalStateError` where another launcher was first."""
    with engine.begin() as connection:
        _step(connection, proposal_id, "approved", status="launched", run_id=run_id)


def require_not_rejected(engine: Engine, proposal_id: int) -> None:
    """Raise `ProposalStateError` if a proposal was withdrawn after its run was asked for: the switch may fall in between."""
    with engine.connect() as connection:
        status = connection.scalar(sa.select(TrialProposal.status).where(TrialProposal.id == proposal_id))
    if status == "rejected":
        raise ProposalStateError(f"proposal {proposal_id} was rejected before its run began: nothing of it is computed")


def record_result(engine: Engine, trial_id: str, result: dict[str, object], succeeded: bool = True) -> bool:
    """Note what came of an approved proposal, found by its trial; one that had failed may succeed later.

    False, and nothing is changed, where no such proposal asked for that trial (a user submitted it).
    """
    before = ("approved", "launched", "failed") if succeeded else ("approved", "launched")
    statement = (
        sa.update(TrialProposal)
        .where(TrialProposal.trial_id == trial_id, TrialProposal.status.in_(before))
        .values(status="done" if succeeded else "failed", result=plain(result))
    )
    with engine.begin() as connection:
        return connection.execute(statement.returning(TrialProposal.id)).first() is not None


def _step(connection: Connection, proposal_id: int, before: str, **values: object) -> None:
    change = sa.update(TrialProposal).where(TrialProposal.id == proposal_id, TrialProposal.status == before).values(**values)
    if connection.execute(change.returning(TrialProposal.id)).first() is None:
        status = connection.scalar(sa.select(TrialProposal.status).where(TrialProposal.id == proposal_id))
        if status is None:
            raise ProposalStateError(f"there is no proposal {proposal_id}; `proposals` lists them")
        raise ProposalStateError(
            f"proposal {proposal_id} is {status}, so it cannot become {values['status']}; that takes one that is {before}"
        )


def _stored(row: Any) -> StoredProposal:
    proposal = Proposal(TrialConfig.from_record(row.config), row.proposer, row.hypothesis, row.refuted_if, row.expected_gain)
    return StoredProposal(row.id, row.status, proposal, row.decided_by, row.run_id, row.result)
