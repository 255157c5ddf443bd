"""What the default models are worth on this market, beside what anybody could rank by."""

from datetime import date, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.fields import MarketKind
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.contracts.timeframes import TimeframeName

router = APIRouter(prefix="/api", tags=["trials"], route_class=JsonRoute)


class SkillOfModel(BaseModel):
    """How well one model ranks, out of sample, on the same rows as the others."""

    name: str
    kind: str = Field(examples=["default", "feature", "composite", "learner", "peer"])
    default: bool
    rank_ic: float | None
    t: float | None
    neutral_rank_ic: float | None = Field(description="The same after the score was made free of size and illiquidity.")
    top_decile_excess: float | None = Field(description="Mean net return of the top decile above that of all symbols.")
    top_decile_excess_low: float | None = Field(description="Lower end of its 95 % interval.")
    top_decile_excess_high: float | None
    turnover: float | None
    default_is_ahead_by: float | None = Field(default=None, description="Rank IC of the default model less this one's.")
    default_is_ahead_t: float | None = None


class SkillCurve(BaseModel):
    model: str
    months: list[tuple[date, float]] = Field(description="The sum of rank ICs until the end of each month.")


class SkillOfTimeframe(BaseModel):
    timeframe: TimeframeName
    verdict: str
    passed: bool
    sessions: int
    models: list[SkillOfModel] = Field(description="Best first, by rank IC.")
    curves: list[SkillCurve]


class Skill(BaseModel):
    """The newest measurement of skill on this market; `measured_at` is null before the first."""

    market: MarketKind
    measured_at: datetime | None
    first_session: date | None = None
    last_session: date | None = None
    verdict: str | None = None
    passed: bool | None = None
    timeframes: list[SkillOfTimeframe] = []


@router.get("/skill")
def get_skill(installation: Installation) -> Skill:
    """What the default models are worth on this market: their rank IC beside every baseline's and the peer's."""
    from mltrainer_pipelines.audits.market_skill import newest_skill

    stored = newest_skill(installation.reader)
    answer: dict[str, Any] = {"market": installation.settings.market_kind}
    if stored is None:
        return Skill(measured_at=None, **answer)
    findings = stored.findings
    timeframes = []
    for name, one in findings["timeframes"].items():
        models = sorted(one["models"], key=lambda model: -(model["rank_ic"] or 0.0))
        curves = [SkillCurve(model=model, months=months) for model, months in stored.curves.get(name, {}).items()]
        timeframes.append(SkillOfTimeframe(**one | {"timeframe": name, "models": models, "curves": curves}))
    return Skill(
        measured_at=stored.measured_at,
        first_session=findings["first"],
        last_session=stored.last_session,
        verdict=findings["verdict"],
        passed=findings["passed"],
        timeframes=timeframes,
        **answer,
    )
