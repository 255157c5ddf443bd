"""The nearest misses: signals of the last refresh that almost were recommendations."""

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
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.signals.thresholds import thresholds_at

router = APIRouter(prefix="/api", tags=["recommendations"], route_class=JsonRoute)


class NearMiss(BaseModel):
    """A signal that is no strong buy, and what it lacked."""

    symbol: str
    company: str | None
    sector: str | None
    timeframe: TimeframeName
    grade: Grade
    profit_probability: float
    confidence: float
    signal_strength: float
    expected_net_return: float
    entry_price: float
    target_price: float
    stop_loss: float
    lacked: list[str] = Field(examples=[["probability 0.57 below 0.60"]])


class NearMisses(BaseModel):
    """The nearest misses of the last refresh. None of them is a recommendation."""

    market: MarketKind
    as_of: datetime
    refreshed_at: datetime | None = Field(description="When the market was scored last; null before the first time.")
    signals: int = Field(description="Signals of that refresh.")
    strong_buys: int
    items: list[NearMiss]


class NearMissParameters(Parameters):
    timeframe: TimeframeName | None = None
    limit: Annotated[int, Field(ge=1, le=50)] = 10


@router.get("/recommendations/near-misses")
def list_near_misses(installation: Installation, chosen: Annotated[NearMissParameters, Query()]) -> NearMisses:
    """The signals of the last refresh that lacked least of being a strong buy, with what each one lacked."""
    signals = newest_signals(installation.lake)
    answer: dict[str, Any] = {"market": installation.settings.market_kind, "as_of": installation.now()}
    if signals is None:
        return NearMisses(refreshed_at=None, signals=0, strong_buys=0, items=[], **answer)
    refreshed_at, buys = signals["timestamp"][0], int(signals["strong_buy"].sum())
    if chosen.timeframe:
        signals = signals.filter(pl.col("timeframe") == chosen.timeframe)
    thresholds = thresholds_at(installation.reader, installation.settings.threshold_defaults)
    by_symbol = companies(installation.lake)
    items = []
    for row in nearest_misses(signals, thresholds, chosen.limit).iter_rows(named=True):
        company = by_symbol.get(row["symbol"], Company(None, None))
        items.append(NearMiss(**{**row, **vars(company), "lacked": row["reason"].split("; ")}))
    return NearMisses(refreshed_at=refreshed_at, signals=signals.height, strong_buys=buys, items=items, **answer)


def nearest_misses(signals: pl.DataFrame, thresholds: Thresholds, most: int) -> pl.DataFrame:
    """The signals that lack least of being a strong buy, the nearest first, with `shortfall`.

    The shortfall adds up by how much probability and confidence are below their thresholds, a point of either counting
    the same, and how far the expected return is from being above its own. Signals without a price or a probability are
    left out: their distance is unknown.
    """
    below = [
        (thresholds.min_probability - pl.col("profit_probability")).clip(lower_bound=0.0),
        (thresholds.min_confidence - pl.col("confidence")).clip(lower_bound=0.0),
        (thresholds.min_expected_net_return - pl.col("expected_net_return")).clip(lower_bound=0.0),
    ]
    levels = ("profit_probability", "confidence", "expected_net_return", "entry_price", "target_price", "stop_loss")
    complete = signals.filter(~pl.col("strong_buy"), *(pl.col(name).is_finite() for name in levels))
    ranked = complete.with_columns(shortfall=pl.sum_horizontal(below))
    return ranked.sort("shortfall", "profit_probability", "symbol", descending=[False, True, False]).head(most)
