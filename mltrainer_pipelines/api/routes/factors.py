"""Factors: an expression tried on the market's data."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.fields import MarketKind, Parameters, Text
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.features.expressions.quality import BadFactorError
from mltrainer_pipelines.features.expressions.tree import ExpressionError
from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines.store.lake import MissingPartitionError

router = APIRouter(prefix="/api/factors", tags=["factors"], route_class=JsonRoute)


class HorizonIc(BaseModel):
    horizon: int = Field(description="Sessions from the next open.")
    rank_ic: float | None = Field(description="Mean rank correlation with the return over them.")
    t: float | None = Field(description="Its t, overlaps allowed for.")
    sessions: int


class Likeness(BaseModel):
    feature: str
    correlation: float = Field(description="Mean rank correlation over the sessions.")


class FactorValue(BaseModel):
    symbol: str
    value: float


class FactorTrial(BaseModel):
    """What an expression gives on the newest sessions."""

    market: MarketKind
    expression: str = Field(description="As the language understood it.", examples=["(Mean(close, 5) / close)"])
    look_back: int = Field(description="Sessions before a decision that it reaches back.")
    rows: int
    coverage: float = Field(description="Share of the universe's members and sessions with a value.")
    quantiles: dict[str, float] = Field(description="Distribution: quantile by share, 0 the smallest, 1 the largest.")
    decay: list[HorizonIc]
    like: list[Likeness] = Field(description="The default features that it ranks most like.")
    newest: list[FactorValue] = Field(description="Its values at the newest session, the largest first.")


class FactorParameters(Parameters):
    expression: Annotated[
        Text, Field(min_length=1, description="As docs/factors.md describes it.", examples=["Mean(close, 5)/close"])
    ]
    sessions: Annotated[int, Field(ge=1, le=756, description="Newest sessions to compute it for.")] = 252


@router.get("/try")
def try_factor(installation: Installation, chosen: Annotated[FactorParameters, Query()]) -> FactorTrial:
    """An expression's values, coverage, distribution, decay of its rank IC, and what it is like."""
    from mltrainer_pipelines.trials.factors.stored_market import try_on_lake
    from mltrainer_pipelines.trials.registry.ledger import record_factor

    try:
        tried = try_on_lake(installation.lake, chosen.expression, chosen.sessions)
    except (ExpressionError, BadFactorError, BadPanelError, MissingPartitionError) as error:
        raise Problem(422, str(error)) from None
    record_factor(installation.engine, tried.expression, tried.first_session, "api")
    figures: dict[str, Any] = asdict(tried.assessment)
    figures["like"] = [{"feature": name, "correlation": value} for name, value in tried.assessment.like]
    newest = [{"symbol": symbol, "value": value} for symbol, value in tried.newest]
    return FactorTrial(
        market=installation.settings.market_kind, expression=tried.expression, look_back=tried.look_back, newest=newest, **figures
    )
