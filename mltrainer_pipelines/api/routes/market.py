"""The market's regime."""

from datetime import date
from typing import Annotated

import polars as pl
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.fields import MarketKind, Parameters

router = APIRouter(prefix="/api", tags=["market"])
_PARTS = ("trend", "breadth", "volatility", "credit", "curve")


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
    if not installation.lake.exists("regime"):
        return Regime(market=kind, latest=None, history=[])
    stored = installation.lake.read("regime")
    known = stored.filter(pl.col("score").is_not_null()).sort("date").tail(chosen.sessions)
    known = known.with_columns(pl.col("score", *_PARTS).fill_nan(None))
    days = [RegimeDay(**row) for row in known.select("date", "score", *_PARTS).iter_rows(named=True)]
    return Regime(market=kind, latest=days[-1] if days else None, history=days)
