"""Small markets and recommendations for the tests of the portfolio and of learning."""

import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
from mltrainer_pipelines.market.sessions import NEW_YORK, session_hours
from mltrainer_pipelines.store.tables import Recommendation, VirtualPosition

NO_ACTIONS = pl.DataFrame(
    schema={
        "symbol": pl.String,
        "ex_date": pl.Date,
        "kind": pl.String,
        "ratio": pl.Float64,
        "cash": pl.Float64,
        "declared": pl.Date,
    }
)


def bars_of(symbol: str, days: list[date], prices: list[tuple[float, float, float, float] | None]) -> pl.DataFrame:
    """Bars of one symbol from (open, high, low, close) a session; None where it does not trade."""
    rows = [(day, symbol, *map(float, bar), 1e6) for day, bar in zip(days, prices, strict=False) if bar is not None]
    schema = {"date": pl.Date, "symbol": pl.String} | dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def random_bars(symbols: list[str], days: list[date], seed: int) -> pl.DataFrame:
    """A geometric random walk a symbol, with gaps overnight and prices kept to the cent."""
    rng = np.random.default_rng(seed)
    frames = []
    for symbol in symbols:
        close = 50.0
        prices = []
        for _ in days:
            opens = close * math.exp(rng.normal(0, 0.01))
            steps = opens * np.exp(np.cumsum(rng.normal(0.0005, 0.01, 6)))
            path = [opens, *steps]
            prices.append(tuple(round(float(x), 2) for x in (opens, max(path), min(path), path[-1])))
            close = path[-1]
        frames.append(bars_of(symbol, days, prices))
    return pl.concat(frames)


def recommend(engine: Engine, session: date, symbol: str = "AAA", price: float = 100.0, **changes: Any) -> int:
    """Store a recommendation decided after the close, with barriers at one volatility; returns its id."""
    timeframe = TIMEFRAMES[changes.get("timeframe", "short")]
    volatility = changes.get("volatility", 0.02)
    target_multiple, stop_multiple = changes.pop("multiples", (1.0, 1.0))
    width = volatility * math.sqrt(timeframe.max_sessions)
    values: dict[str, Any] = {
        "timestamp": session_hours(session)[1],
        "symbol": symbol,
        "signal_strength": 0.9,
        "profit_probability": 0.65,
        "confidence": 0.8,
        "entry_price": Decimal(repr(price)),
        "target_price": Decimal(f"{price * math.exp(target_multiple * width):.6f}"),
        "stop_loss": Decimal(f"{price * math.exp(-stop_multiple * width):.6f}"),
        "timeframe": "short",
        "model_used": "logistic_l2",
        "session": session,
        "expected_net_return": 0.01,
        "volatility": 0.02,
        "regime_score": 60.0,
        "grade": "candidate",
        "market": "simulated",
        "thresholds": {},
    }
    with engine.begin() as connection:
        return connection.scalar(insert(Recommendation).values(values | changes).returning(Recommendation.id))


def at(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK)


def positions(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = connection.execute(VirtualPosition.__table__.select().order_by(VirtualPosition.id))
        return [dict(row) for row in found.mappings()]
