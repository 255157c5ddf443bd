"""What became of approved proposals, read from their requests for runs: launched, done or failed, and what they took."""

from contextlib import suppress
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.agent import autonomy
from mltrainer_pipelines.agent.ledger import record_event
from mltrainer_pipelines.agent.proposals import ProposalStateError, mark_launched, record_result
from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.store import tables
from mltrainer_pipelines.store.tables import Trial, TrialProposal, TrialScorecard
from mltrainer_pipelines.trials import run_requests
from mltrainer_pipelines.trials.run_requests import Outcome, RunRequest


def follow_requests(engine: Engine) -> None:
    """Bring approved proposals to where their requests are; any number of callers may do so at once."""
    p, r, t = TrialProposal, tables.RunRequest, Trial
    newest = sa.select(p.trial_id, p.status, sa.func.max(r.id).label("request_id")).join(r, r.proposal_id == p.id)
    newest = newest.outerjoin(t, t.trial_id == p.trial_id).group_by(p.id)
    newest = newest.where(p.status.in_(("approved", "launched")) | ((p.status == "failed") & (t.status == "scored")))
    with engine.connect() as connection:
        rows = connection.execute(newest).all()
        requests = [run_requests.get_request(connection, row.request_id) for row in rows]
        outcomes = [run_requests.outcome(connection, request) for request in requests]
    for row, request, outcome in zip(rows, requests, outcomes, strict=True):
        if request.run_id is not None and request.proposal_id is not None:
            if row.status == "approved":
                autonomy.note_launch(engine, request.proposal_id, request.launched_at or datetime.now(UTC))
                with suppress(ProposalStateError):
                    mark_launched(engine, request.proposal_id, request.run_id)
            if request.finished_at is not None:
                autonomy.note_finish(engine, row.trial_id, request.finished_at, request.seconds or 0.0)
        if outcome.status != "running":
            _record(engine, row.trial_id, request, outcome)


def _record(engine: Engine, trial_id: str, request: RunRequest, outcome: Outcome) -> None:
    from mltrainer_pipelines.trials.scoring.scorecard import PARTS

    if outcome.status == "failed":
        result = {"error": plain(outcome.message, 1000), "run_id": request.run_id}
    else:
        with engine.connect() as connection:
            card = sa.select(TrialScorecard.metrics).where(TrialScorecard.trial_id == request.trial_id)
            result = {name: value for name, value in connection.execute(card).scalar_one().items() if name not in PARTS}
    if record_result(engine, trial_id, result, succeeded=outcome.status == "succeeded"):
        summary = result if outcome.status == "failed" else {"sharpe": result["sharpe"]}
        record_event(engine, "outcome", "mltrainer", {"trial": trial_id, **summary})
