"""Trials, the models they are of, and the proposals that wait for a yes."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.engine import RowMapping

from mltrainer_pipelines.agent import proposals as agent_proposals
from mltrainer_pipelines.agent.proposals import ProposalStateError
from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Grade, Identifier, MarketKind, Name, Page, Paged, Parameters, Timeframe, TrialId
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.api.trial_curves import NotInTheLakeError, calibration_curve, equity_curve
from mltrainer_pipelines.models.catalogue import list_models
from mltrainer_pipelines.models.spec import Choices, Range
from mltrainer_pipelines.store import tables
from mltrainer_pipelines.trials import records
from mltrainer_pipelines.trials.records import UnknownTrialError

router = APIRouter(prefix="/api", tags=["trials"])


class Trial(BaseModel):
    """A trial and its place. Numbers are out of sample; one that does not exist (yet) is null."""

    trial_id: str
    model: str
    timeframe: Timeframe
    feature_set: str
    status: str = Field(examples=["scored"])
    proposed_by: str
    rationale: str | None
    created_at: datetime
    rank: int | None = Field(description="On the leaderboard of its timeframe; 1 is the best.")
    grade: Grade | None
    champion: bool
    sharpe: float | None = Field(description="Annualised, after costs.")
    deflated_sharpe: float | None = Field(description="Probability that the true Sharpe ratio is above 0 given all trials run.")
    net_return: float | None = Field(description="A year, after costs.")
    net_return_low: float | None = Field(description="Lower end of its 95 % interval.")
    net_return_high: float | None
    universe_net_return: float | None
    momentum_net_return: float | None
    brier_skill: float | None
    calibration_error: float | None
    auc: float | None
    rank_ic: float | None
    rank_ic_t: float | None
    precision_top_decile: float | None
    maximum_drawdown: float | None
    turnover: float | None
    sessions: int | None
    scored_at: datetime | None
    mlflow_url: str | None
    dagster_url: str | None


class Champion(BaseModel):
    """Who recommends now, and why it was chosen."""

    timeframe: Timeframe
    trial_id: str
    grade: Grade
    model_version: str | None
    decided_at: datetime
    reasons: list[str]


class Trials(Page[Trial]):
    market: MarketKind
    champions: list[Champion]
    trials_run: int = Field(description="How many were ever submitted: what luck had to choose from.")


class TrialFilter(Paged):
    timeframe: Timeframe | None = None
    grade: Grade | None = None
    model: Name | None = None
    status: Name | None = None
    sort: Literal["rank", "-sharpe", "-deflated_sharpe", "-net_return", "-brier_skill", "-created_at", "created_at"] = "rank"


class QuarterScore(BaseModel):
    quarter: date
    net_return: float
    universe_net_return: float
    momentum_net_return: float
    auc: float | None
    brier_skill: float | None
    rank_ic: float | None


class QuarterEquity(BaseModel):
    """A dollar at a quarter's end, compounded."""

    quarter: date
    equity: float
    universe: float
    momentum: float


class TrialDetail(Trial):
    """A trial with everything that determines it and everything that is known of it."""

    config: dict[str, Any]
    metrics: dict[str, Any] | None = Field(description="The whole scorecard, without its quarters.")
    per_quarter: list[QuarterScore]
    equity: list[QuarterEquity]


class CalibrationBin(BaseModel):
    probability: float = Field(description="Mean forecast of a tenth of all forecasts.")
    observed: float = Field(description="Share of them that came true.")
    rows: int


class Calibration(BaseModel):
    trial_id: str
    bins: list[CalibrationBin] = Field(description="Empty while no probability is calibrated.")


class Parameter(BaseModel):
    """A parameter a trial may set, and its default."""

    name: str
    default: float | int | str | bool
    allowed: str = Field(examples=["an integer from 20 to 400"])


class Model(BaseModel):
    """A model of the catalogue."""

    id: str
    family: str
    core: bool
    source: str
    summary: str
    cost: Literal["fast", "medium", "slow"]
    gpu: bool
    handles_missing: bool
    parameters: list[Parameter]
    trials: int = Field(description="How many trials of it were submitted.")
    champion_of: list[Timeframe]


class Models(BaseModel):
    total: int
    items: list[Model]


class Proposal(BaseModel):
    """A trial somebody wants run, the idea behind it, and what came of it."""

    id: int
    created_at: datetime
    proposer: str
    trial_id: str
    model: str
    timeframe: Timeframe
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
    """What became of a proposer's trials."""

    proposer: str
    timeframe: Timeframe
    trials: int
    best_deflated_sharpe: list[float] = Field(description="The best so far after each of its scored trials, in order.")


class ProposerComparison(BaseModel):
    items: list[ProposerRecord]


@router.get("/trials")
def list_trials(installation: Installation, chosen: Annotated[TrialFilter, Query()]) -> Trials:
    """Trials that match, best first, and the champions."""
    t, c, b = tables.Trial, tables.TrialScorecard, tables.LeaderboardRow
    given = {name: getattr(chosen, name) for name in ("timeframe", "model", "status")}
    conditions: list[sa.ColumnElement[bool]] = [getattr(t, name) == value for name, value in given.items() if value is not None]
    if chosen.grade is not None:
        conditions.append(sa.func.coalesce(b.grade, c.grade) == chosen.grade)
    orders: dict[str, list[Any]] = {
        "rank": [b.rank.asc().nulls_last(), t.timeframe],
        "-sharpe": [b.sharpe.desc().nulls_last()],
        "-deflated_sharpe": [b.deflated_sharpe.desc().nulls_last()],
        "-net_return": [b.net_return.desc().nulls_last()],
        "-brier_skill": [b.brier_skill.desc().nulls_last()],
        "-created_at": [t.created_at.desc()],
        "created_at": [t.created_at],
    }
    base = _trials().where(*conditions)
    with installation.engine.connect() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(base.subquery())) or 0
        page = base.order_by(*orders[chosen.sort], t.trial_id).limit(chosen.limit).offset(chosen.offset)
        rows = connection.execute(page).mappings().all()
    champions = _champions(installation)
    ids = {champion.trial_id for champion in champions}
    return Trials(
        total=total,
        limit=chosen.limit,
        offset=chosen.offset,
        items=[Trial(**_trial(installation, row, ids)) for row in rows],
        market=installation.settings.market_kind,
        champions=champions,
        trials_run=records.trials_run(installation.engine),
    )


@router.get("/trials/{trial_id}")
def get_trial(installation: Installation, trial_id: TrialId) -> TrialDetail:
    """One trial: its configuration, scorecard, quarters and equity."""
    row = _row(installation, trial_id)
    ids = {champion.trial_id for champion in _champions(installation)}
    metrics = dict(row["metrics"]) if row["metrics"] else None
    quarters = metrics.pop("per_quarter", []) if metrics else []
    names = QuarterScore.model_fields
    return TrialDetail(
        **_trial(installation, row, ids),
        config=row["config"],
        metrics=metrics,
        per_quarter=[QuarterScore(**{name: quarter[name] for name in names}) for quarter in quarters],
        equity=[QuarterEquity(**vars(point)) for point in equity_curve(quarters)],
    )


@router.get("/trials/{trial_id}/calibration")
def get_calibration(installation: Installation, trial_id: TrialId) -> Calibration:
    """What a trial forecast against what came, out of sample, over ten bins of equal mass."""
    try:
        config = records.config_of(installation.engine, trial_id)
        bins = calibration_curve(installation.lake, trial_id, config)
    except (UnknownTrialError, NotInTheLakeError) as error:
        raise Problem(404, str(error)) from None
    return Calibration(trial_id=trial_id, bins=[CalibrationBin(**vars(point)) for point in bins])


@router.get("/models")
def get_models(installation: Installation) -> Models:
    """The catalogue: every model that a trial may name, with its parameters."""
    counts = sa.select(tables.Trial.model, sa.func.count()).group_by(tables.Trial.model)
    with installation.engine.connect() as connection:
        trials = dict(connection.execute(counts).tuples().all())
    leaders: dict[str, list[Any]] = {}
    for champion in _champions(installation):
        row = _row(installation, champion.trial_id)
        leaders.setdefault(row["model"], []).append(champion.timeframe)
    items = [
        Model(
            id=spec.id,
            family=spec.family,
            core=spec.core,
            source=spec.source,
            summary=spec.summary,
            cost=spec.cost,
            gpu=spec.gpu,
            handles_missing=spec.handles_missing,
            parameters=[_parameter(name, space) for name, space in spec.search_space.items()],
            trials=trials.get(spec.id, 0),
            champion_of=leaders.get(spec.id, []),
        )
        for spec in list_models()
    ]
    return Models(total=len(items), items=items)


@router.get("/proposals")
def list_proposals(installation: Installation, chosen: Annotated[ProposalFilter, Query()]) -> Proposals:
    """Proposals, the newest first."""
    p = tables.TrialProposal
    conditions = [p.status == chosen.status] if chosen.status else []
    page = sa.select(p.__table__).where(*conditions).order_by(p.id.desc()).limit(chosen.limit).offset(chosen.offset)
    with installation.engine.connect() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(p).where(*conditions)) or 0
        waiting = connection.scalar(sa.select(sa.func.count()).select_from(p).where(p.status == "proposed")) or 0
        rows = connection.execute(page).mappings().all()
    items = [_proposal(row) for row in rows]
    return Proposals(total=total, limit=chosen.limit, offset=chosen.offset, items=items, waiting=waiting)


@router.get("/proposals/comparison")
def compare_proposers(installation: Installation, _: Annotated[Parameters, Query()]) -> ProposerComparison:
    """The best deflated Sharpe probability against the number of trials, for whoever proposed them."""
    t, c = tables.Trial, tables.TrialScorecard
    scored = sa.select(t.proposed_by, t.timeframe, c.deflated_sharpe).join(c, c.trial_id == t.trial_id)
    scored = scored.where(c.deflated_sharpe.is_not(None)).order_by(t.created_at, t.trial_id)
    best: dict[tuple[str, Any], list[float]] = {}
    with installation.engine.connect() as connection:
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
    with installation.engine.connect() as connection:
        row = connection.execute(sa.select(p.__table__).where(p.id == number)).mappings().one_or_none()
    if row is None:
        raise Problem(404, f"there is no proposal {number}; /api/proposals lists those there are")
    return _proposal(row)


@router.post("/proposals/{number}/approve")
def approve_proposal(installation: Installation, number: Identifier) -> Proposal:
    """Let a proposal be run; a sensor launches it."""
    return _decide(installation, number, "approve")


@router.post("/proposals/{number}/reject")
def reject_proposal(installation: Installation, number: Identifier) -> Proposal:
    """Decide that a proposal is not run."""
    return _decide(installation, number, "reject")


def _decide(installation: Context, number: int, how: Literal["approve", "reject"]) -> Proposal:
    before = get_proposal(installation, number)
    step = agent_proposals.approve if how == "approve" else agent_proposals.reject
    try:
        step(installation.engine, before.id, "user")
    except ProposalStateError as error:
        raise Problem(409, str(error)) from None
    return get_proposal(installation, number)


def _trials() -> sa.Select[Any]:
    t, c, b = tables.Trial, tables.TrialScorecard, tables.LeaderboardRow
    return (
        sa.select(
            t.__table__,
            *(c.metrics, c.sessions, c.mlflow_run_id, c.dagster_run_id, c.scored_at, c.grade.label("card_grade")),
            *(b.rank, b.grade, b.deflated_sharpe.label("board_deflated")),
        )
        .outerjoin(c, c.trial_id == t.trial_id)
        .outerjoin(b, b.trial_id == t.trial_id)
    )


def _row(installation: Context, trial_id: str) -> RowMapping:
    with installation.engine.connect() as connection:
        row = connection.execute(_trials().where(tables.Trial.trial_id == trial_id)).mappings().one_or_none()
    if row is None:
        raise Problem(404, str(UnknownTrialError(trial_id)))
    return row


_FROM_THE_CARD = (
    *("sharpe", "net_return", "net_return_low", "net_return_high", "universe_net_return", "momentum_net_return", "brier_skill"),
    *("calibration_error", "auc", "rank_ic", "rank_ic_t", "precision_top_decile", "maximum_drawdown", "turnover"),
)


def _trial(installation: Context, row: RowMapping, champions: set[str]) -> dict[str, Any]:
    card = row["metrics"] or {}
    settings = installation.settings
    own = {name: row[name] for name in ("trial_id", "model", "timeframe", "feature_set", "status", "proposed_by", "rationale")}
    deflated = row["board_deflated"] if row["board_deflated"] is not None else card.get("deflated_sharpe")
    return {
        **own,
        **{name: card.get(name) for name in _FROM_THE_CARD},
        "created_at": row["created_at"],
        "rank": row["rank"],
        "grade": row["grade"] or row["card_grade"],
        "champion": row["trial_id"] in champions,
        "deflated_sharpe": deflated,
        "sessions": row["sessions"],
        "scored_at": row["scored_at"],
        "mlflow_url": f"{settings.tracking_uri}/#/runs/{row['mlflow_run_id']}" if row["mlflow_run_id"] else None,
        "dagster_url": f"{installation.dagster.url}/runs/{row['dagster_run_id']}" if row["dagster_run_id"] else None,
    }


def _champions(installation: Context) -> list[Champion]:
    p = tables.Promotion
    newest = sa.select(p.__table__).distinct(p.timeframe).where(p.decision.in_(["promoted", "rolled_back"]))
    with installation.engine.connect() as connection:
        rows = connection.execute(newest.order_by(p.timeframe.desc(), p.id.desc())).mappings().all()
    names = Champion.model_fields
    return [Champion(**{name: row[name] for name in names}) for row in rows]


def _parameter(name: str, space: Range | Choices) -> Parameter:
    return Parameter(name=name, default=space.default, allowed=space.describe())


def _proposal(row: RowMapping) -> Proposal:
    own = {name: row[name] for name in Proposal.model_fields if name in row}
    return Proposal(**own, model=str(row["config"].get("model", "")), timeframe=row["config"].get("timeframe"))
