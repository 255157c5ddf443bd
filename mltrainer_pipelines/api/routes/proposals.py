"""Proposals: trials to approve or reject, and how each proposer's trials did."""

from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.engine import RowMapping

from mltrainer_pipelines.agent import proposals as agent_proposals
from mltrainer_pipelines.agent.proposals import ProposalStateError
from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Identifier, Page, Paged, Parameters
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.api.selection import page_of
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.store import tables

router = APIRouter(prefix="/api", tags=["trials"], route_class=JsonRoute)


class Proposal(BaseModel):
    """A proposed trial, the idea behind it, and its result."""

    id: int
    created_at: datetime
    proposer: str
    trial_id: str
    model: str
    timeframe: TimeframeName
    config: dict[str, Any]
    hypothesis: str
    refuted_if: str
    expected_gain: float | None
    status: Literal["proposed", "approved", "rejected", "launched", "done", "failed"]
    decided_by: str | None
    decided_at: datetime | None
    run_id: str | None
    result: dict[str, Any] | None


class Proposals(Page[Proposal]):
    waiting: int = Field(description="How many wait for a yes.")


class ProposalFilter(Paged):
    status: Literal["proposed", "approved", "rejected", "launched", "done", "failed"] | None = None


class ProposerRecord(BaseModel):
    """The results of a proposer's trials."""

    proposer: str
    timeframe: TimeframeName
    trials: int
    best_deflated_sharpe: list[float] = Field(description="The best so far after each of its scored trials, in order.")


class ProposerComparison(BaseModel):
    items: list[ProposerRecord]


@router.get("/proposals")
def list_proposals(installation: Installation, chosen: Annotated[ProposalFilter, Query()]) -> Proposals:
    """Proposals, the newest first."""
    p = tables.TrialProposal
    conditions = [p.status == chosen.status] if chosen.status else []
    matching = sa.select(p.__table__).where(*conditions).order_by(p.id.desc())
    with installation.reader.connect() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(p).where(*conditions)) or 0
        waiting = connection.scalar(sa.select(sa.func.count()).select_from(p).where(p.status == "proposed")) or 0
        rows = connection.execute(page_of(matching, chosen)).mappings().all()
    items = [_proposal(row) for row in rows]
    return Proposals(total=total, limit=chosen.limit, offset=chosen.offset, items=items, waiting=waiting)


@router.get("/proposals/comparison")
def compare_proposers(installation: Installation, _: Annotated[Parameters, Query()]) -> ProposerComparison:
    """The best deflated Sharpe probability against the number of trials, by proposer."""
    t, c = tables.Trial, tables.TrialScorecard
    scored = sa.select(t.proposed_by, t.timeframe, c.deflated_sharpe).join(c, c.trial_id == t.trial_id)
    scored = scored.where(c.deflated_sharpe.is_not(None)).order_by(t.created_at, t.trial_id)
    best: dict[tuple[str, Any], list[float]] = {}
    with installation.reader.connect() as connection:
        for proposer, timeframe, value in connection.execute(scored).tuples():
            so_far = best.setdefault((proposer, timeframe), [])
            so_far.append(max([float(value or 0.0), *so_far[-1:]]))
    items = [
        ProposerRecord(proposer=proposer, timeframe=timeframe, trials=len(values), best_deflated_sharpe=values)
        for (proposer, timeframe), values in sorted(best.items())
    ]
    return ProposerComparison(items=items)


@router.get("/proposals/{number}")
def get_proposal(installation: Installation, number: Identifier) -> Proposal:
    """One proposal."""
    p = tables.TrialProposal
    with installation.reader.connect() as connection:
        row = connection.execute(sa.select(p.__table__).where(p.id == number)).mappings().one_or_none()
    if row is None:
        raise Problem(404, f"there is no proposal {number}; /api/proposals lists them")
    return _proposal(row)


@router.post("/proposals/{number}/approve")
def approve_proposal(installation: Installation, request: Request, number: Identifier) -> Proposal:
    """Let a proposal be run: its run starts at once, or when Dagster answers and the agent is switched on."""
    return _decide(installation, request, number, "approve")


@router.post("/proposals/{number}/reject")
def reject_proposal(installation: Installation, request: Request, number: Identifier) -> Proposal:
    """Decide that a proposal is not run."""
    return _decide(installation, request, number, "reject")


def _decide(installation: Context, request: Request, number: int, how: Literal["approve", "reject"]) -> Proposal:
    before = get_proposal(installation, number)
    step = agent_proposals.approve if how == "approve" else agent_proposals.reject
    try:
        step(installation.engine, before.id, "user")
    except ProposalStateError as error:
        raise Problem(409, str(error)) from None
    request.app.state.agent.system.start_requested()
    return get_proposal(installation, number)


def _proposal(row: RowMapping) -> Proposal:
    own = {name: row[name] for name in Proposal.model_fields if name in row}
    return Proposal(**own, model=str(row["config"].get("model", "")), timeframe=row["config"].get("timeframe"))
