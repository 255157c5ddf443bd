"""Leanings: the symbols that the models lean to, best first, with what such leanings have been worth. No recommendation."""

from datetime import datetime
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.fields import Grade, MarketKind, Parameters
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.market_data import Company, companies, newest_signals
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.signals.leanings import PaperRecord, Worth, leanings, paper_records, worth_of_leanings

router = APIRouter(prefix="/api", tags=["recommendations"], route_class=JsonRoute)


class Leaning(BaseModel):
    """A symbol that the models lean to: its place among those of its timeframe, 1 the first."""

    place: int
    symbol: str
    company: str | None
    sector: str | None
    timeframe: TimeframeName
    grade: Grade
    profit_probability: float
    probability_low: float | None
    probability_high: float | None
    signal_strength: float
    expected_net_return: float | None
    strong_buy: bool = Field(description="Whether it passes the thresholds too: then it is recommended elsewhere.")


class Leanings(BaseModel):
    """Leanings of the last refresh, best first, a list a timeframe. A leaning is not a recommendation."""

    market: MarketKind
    as_of: datetime
    refreshed_at: datetime | None = Field(description="When the market was scored last; null before the first time.")
    worth: list[Worth]
    paper_trades: list[PaperRecord] = Field(description="What leanings have earned on paper, by timeframe.")
    items: list[Leaning]


class LeaningParameters(Parameters):
    timeframe: TimeframeName | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


@router.get("/recommendations/leanings")
def list_leanings(installation: Installation, chosen: Annotated[LeaningParameters, Query()]) -> Leanings:
    """What the models lean to at the last refresh, best first, and what such leanings have earned out of sample, after costs."""
    signals = newest_signals(installation.lake)
    trades = [one for one in paper_records(installation.reader) if chosen.timeframe in (None, one.timeframe)]
    answer: dict[str, Any] = {"market": installation.settings.market_kind, "as_of": installation.now(), "paper_trades": trades}
    if signals is None:
        return Leanings(refreshed_at=None, worth=[], items=[], **answer)
    refreshed_at = signals["timestamp"][0]
    if chosen.timeframe:
        signals = signals.filter(pl.col("timeframe") == chosen.timeframe)
    by_symbol = companies(installation.lake)
    items = [
        Leaning(**{**row, **vars(by_symbol.get(row["symbol"], Company(None, None)))})
        for row in leanings(signals, chosen.limit).iter_rows(named=True)
    ]
    worth = worth_of_leanings(installation.reader, signals["timeframe"].unique().sort().to_list())
    return Leanings(refreshed_at=refreshed_at, worth=worth, items=items, **answer)
