"""Trials, and the champions among them."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.engine import RowMapping

from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Grade, MarketKind, Name, Page, Paged, TrialId
from mltrainer_pipelines.api.json_route import ReadingRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.api.trial_curves import NotInTheLakeError, calibration_curve, equity_curve
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.store import tables
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.records import UnknownTrialError
from mltrainer_pipelines.trials.scoring.breakdown import PartScore
from mltrainer_pipelines.trials.scoring.scorecard import PARTS

router = APIRouter(prefix="/api", tags=["trials"], route_class=ReadingRoute)


class Trial(BaseModel):
    """A trial and its place. Numbers are out of sample; one that does not exist (yet) is null."""

    trial_id: str
    model: str
    timeframe: TimeframeName
    feature_set: str
    status: str = Field(examples=["scored"])
    proposed_by: str
    rationale: str | None
    created_at: datetime
    rank: int | None = Field(description="On the leaderboard of its timeframe; 1 is the best.")
    probability_of_overfitting: float | None = Field(description="Of picking the best of its timeframe, given all trials run.")
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

    timeframe: TimeframeName
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
    timeframe: TimeframeName | None = None
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
    metrics: dict[str, Any] | None = Field(description="The whole scorecard, without its parts.")
    per_quarter: list[QuarterScore]
    per_regime: list[PartScore]
    per_sector: list[PartScore]
    equity: list[QuarterEquity]


class CalibrationBin(BaseModel):
    probability: float = Field(description="Mean forecast of a tenth of all forecasts.")
    observed: float = Field(description="Share of them that came true.")
    rows: int


class Calibration(BaseModel):
    trial_id: str
    bins: list[CalibrationBin] = Field(description="Empty while no probability is calibrated.")


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
    counts = sa.select(
        sa.select(sa.func.count()).select_from(base.subquery()).scalar_subquery(),
        sa.select(sa.func.count()).select_from(t).scalar_subquery(),
    )
    page = base.order_by(*orders[chosen.sort], t.trial_id).limit(chosen.limit).offset(chosen.offset)
    with installation.reader.connect() as connection:
        total, trials_run = connection.execute(counts).one()
        rows = connection.execute(page).mappings().all()
        champions = _champions(connection)
    ids = {champion.trial_id for champion in champions}
    return Trials(
        total=total,
        limit=chosen.limit,
        offset=chosen.offset,
        items=[Trial(**_trial(installation, row, ids)) for row in rows],
        market=installation.settings.market_kind,
        champions=champions,
        trials_run=trials_run,
    )


@router.get("/trials/{trial_id}")
def get_trial(installation: Installation, trial_id: TrialId) -> TrialDetail:
    """One trial: its configuration, scorecard, quarters and equity."""
    with installation.reader.connect() as connection:
        row = connection.execute(_trials().where(tables.Trial.trial_id == trial_id)).mappings().one_or_none()
        if row is None:
            raise Problem(404, str(UnknownTrialError(trial_id)))
        ids = {champion.trial_id for champion in _champions(connection)}
    metrics = dict(row["metrics"]) if row["metrics"] else None
    quarters, regimes, sectors = (metrics.pop(name, []) if metrics else [] for name in PARTS)
    names = QuarterScore.model_fields
    return TrialDetail(
        **_trial(installation, row, ids),
        config=row["config"],
        metrics=metrics,
        per_quarter=[QuarterScore(**{name: quarter[name] for name in names}) for quarter in quarters],
        per_regime=regimes,
        per_sector=sectors,
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


def _trials() -> sa.Select[Any]:
    t, c, b = tables.Trial, tables.TrialScorecard, tables.LeaderboardRow
    return (
        sa.select(
            t.__table__,
            *(c.metrics, c.sessions, c.mlflow_run_id, c.dagster_run_id, c.scored_at, c.grade.label("card_grade")),
            *(b.rank, b.grade, b.deflated_sharpe.label("board_deflated"), b.probability_of_overfitting),
        )
        .outerjoin(c, c.trial_id == t.trial_id)
        .outerjoin(b, b.trial_id == t.trial_id)
    )


_FROM_THE_CARD = (
    *("sharpe", "net_return", "net_return_low", "net_return_high", "universe_net_return", "momentum_net_return", "brier_skill"),
    *("calibration_error", "auc", "rank_ic", "rank_ic_t", "precision_top_decile", "maximum_drawdown", "turnover"),
)


def _trial(installation: Context, row: RowMapping, champions: set[str]) -> dict[str, Any]:
    card = row["metrics"] or {}
    settings = installation.settings
    names = ("trial_id", "model", "timeframe", "feature_set", "status", "proposed_by", "rationale", "probability_of_overfitting")
    own = {name: row[name] for name in names}
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


def newest_promotions() -> sa.Select[Any]:
    """The decision that made each timeframe's champion, with every column of it."""
    p = tables.Promotion
    made = sa.select(p.__table__).distinct(p.timeframe).where(p.decision.in_(["promoted", "rolled_back"]))
    return made.order_by(p.timeframe.desc(), p.id.desc())


def _champions(connection: sa.Connection) -> list[Champion]:
    rows = connection.execute(newest_promotions()).mappings().all()
    return [Champion(**{name: row[name] for name in Champion.model_fields}) for row in rows]
