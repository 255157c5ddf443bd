"""Trials, and the champions among them."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, TypeVar

import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.engine import RowMapping

from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Grade, MarketKind, Name, Page, Paged, TrialId
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.api.selection import equal_to, order_of, page_of
from mltrainer_pipelines.api.trial_curves import CalibrationBin, NotInTheLakeError, QuarterEquity, calibration_curve, equity_curve
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.store import tables
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.records import UnknownTrialError
from mltrainer_pipelines.trials.scoring.breakdown import PartScore
from mltrainer_pipelines.trials.scoring.scorecard import PARTS

router = APIRouter(prefix="/api", tags=["trials"], route_class=JsonRoute)


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
    trials_run: int = Field(description="How many were ever submitted.")


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


class TrialDetail(Trial):
    """A trial with its configuration, its scorecard and its curves."""

    config: dict[str, Any]
    metrics: dict[str, Any] | None = Field(description="The whole scorecard, without its parts.")
    per_quarter: list[QuarterScore]
    per_regime: list[PartScore]
    per_sector: list[PartScore]
    equity: list[QuarterEquity]


class Calibration(BaseModel):
    trial_id: str
    bins: list[CalibrationBin] = Field(description="Empty while no probability is calibrated.")


@router.get("/trials")
def list_trials(installation: Installation, chosen: Annotated[TrialFilter, Query()]) -> Trials:
    """Trials that match, best first, and the champions."""
    t, c, b = tables.Trial, tables.TrialScorecard, tables.LeaderboardRow
    conditions = equal_to(t, chosen, "timeframe", "model", "status")
    if chosen.grade is not None:
        conditions.append(sa.func.coalesce(b.grade, c.grade) == chosen.grade)
    order = [order_of(t if "created_at" in chosen.sort else b, chosen.sort), *([t.timeframe] if chosen.sort == "rank" else [])]
    base = _trials().where(*conditions)
    counts = sa.select(
        sa.select(sa.func.count()).select_from(base.subquery()).scalar_subquery(),
        sa.select(sa.func.count()).select_from(t).scalar_subquery(),
    )
    page = page_of(base.order_by(*order, t.trial_id), chosen)
    with installation.reader.connect() as connection:
        total, trials_run = connection.execute(counts).one()
        rows = connection.execute(page).mappings().all()
        champions = _champions(connection)
    ids = {champion.trial_id for champion in champions}
    return Trials(
        total=total,
        limit=chosen.limit,
        offset=chosen.offset,
        items=[_trial(Trial, installation, row, ids) for row in rows],
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
    parts = {"per_quarter": quarters, "per_regime": regimes, "per_sector": sectors, "equity": equity_curve(quarters)}
    return _trial(TrialDetail, installation, row, ids, metrics=metrics, **parts)


@router.get("/trials/{trial_id}/calibration")
def get_calibration(installation: Installation, trial_id: TrialId) -> Calibration:
    """Forecast probabilities against the share that was profitable, out of sample, over ten bins of equal mass."""
    try:
        config = records.config_of(installation.engine, trial_id)
        return Calibration(trial_id=trial_id, bins=calibration_curve(installation.lake, trial_id, config))
    except (UnknownTrialError, NotInTheLakeError) as error:
        raise Problem(404, str(error)) from None


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


AnyTrial = TypeVar("AnyTrial", bound=Trial)
_SCORECARD_FIELDS = (
    *("sharpe", "net_return", "net_return_low", "net_return_high", "universe_net_return", "momentum_net_return", "brier_skill"),
    *("calibration_error", "auc", "rank_ic", "rank_ic_t", "precision_top_decile", "maximum_drawdown", "turnover"),
)


def _trial(kind: type[AnyTrial], installation: Context, row: RowMapping, champions: set[str], **more: Any) -> AnyTrial:
    card = row["metrics"] or {}
    mlflow, dagster = installation.settings.tracking_uri, installation.dagster.url
    values = {
        **row,
        **{name: card.get(name) for name in _SCORECARD_FIELDS},
        "grade": row["grade"] or row["card_grade"],
        "champion": row["trial_id"] in champions,
        "deflated_sharpe": card.get("deflated_sharpe") if row["board_deflated"] is None else row["board_deflated"],
        "mlflow_url": f"{mlflow}/#/runs/{row['mlflow_run_id']}" if row["mlflow_run_id"] else None,
        "dagster_url": f"{dagster}/runs/{row['dagster_run_id']}" if row["dagster_run_id"] else None,
    }
    return kind(**values | more)


def newest_promotions() -> sa.Select[Any]:
    """The decision that made each timeframe's champion, with every column of it."""
    p = tables.Promotion
    made = sa.select(p.__table__).distinct(p.timeframe).where(p.decision.in_(["promoted", "rolled_back"]))
    return made.order_by(p.timeframe.desc(), p.id.desc())


def _champions(connection: sa.Connection) -> list[Champion]:
    rows = connection.execute(newest_promotions()).mappings().all()
    return [Champion(**row) for row in rows]
