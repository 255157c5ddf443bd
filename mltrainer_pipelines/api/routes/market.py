"""The market's regime."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.fields import MarketKind, Parameters
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.market_data import regime_days

router = APIRouter(prefix="/api", tags=["market"], route_class=JsonRoute)


class RegimeDay(BaseModel):
    """The regime at a session's close, from 0 (worst) to 100; parts whose input is missing are null."""

    date: date
    score: float | None = Field(examples=[66.5])
    trend: float | None
    breadth: float | None
    volatility: float | None
    credit: float | None
    curve: float | None


class Regime(BaseModel):
    market: MarketKind
    latest: RegimeDay | None = Field(description="The newest session with a score; null before the first.")
    history: list[RegimeDay] = Field(description="Sessions with a score, the oldest first.")


class RegimeParameters(Parameters):
    sessions: Annotated[int, Field(ge=1, le=5000, description="Length of the history.")] = 252


@router.get("/regime")
def get_regime(installation: Installation, chosen: Annotated[RegimeParameters, Query()]) -> Regime:
    """The regime score and its parts, with its history."""
    kind = installation.settings.market_kind
    days = [RegimeDay(**row) for row in regime_days(installation.lake).tail(chosen.sessions).iter_rows(named=True)]
    return Regime(market=kind, latest=days[-1] if days else None, history=days)
