"""Lookups of the market as it was scored last: its regime, candidates, and why a symbol is or is not recommended."""

from datetime import date
from typing import Any

import polars as pl
import sqlalchemy as sa

from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.market.listings import listings_of, of_symbol
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import Recommendation, VirtualPosition

MAX_ROWS = 20
"""Rows of any answer."""


def regime(lake: Lake) -> dict[str, Any]:
    """The newest regime score, 0 (crash) to 100 (strong bull), its parts, and its values before."""
    if not lake.exists("regime"):
        return {"known": False, "why": "the regime was never computed; run build_features"}
    scores = lake.read("regime").drop_nulls("score").sort("date")
    if scores.is_empty():
        return {"known": False, "why": "no session has a score yet"}
    last = scores.row(-1, named=True)
    before = {f"{n} sessions before": scores["score"][-1 - n] for n in (5, 20, 60) if scores.height > n}
    return {"known": True, **{name: value for name, value in last.items() if value is not None}, **before}


def candidates(
    system: System,
    timeframe: str | None = None,
    min_probability: float | None = None,
    min_confidence: float | None = None,
    min_expected_return: float | None = None,
    offset: int = 0,
) -> dict[str, Any]:
    """The signals of the last refresh that clear these bars, the most probable first.

    The bars not given are those of a strong buy.
    """
    newest = newest_signals(system.lake)
    if newest is None:
        return {"known": False, "why": "the market was never scored; refresh the signals first"}
    settings = runtime_settings.get_all(system.engine, system.defaults)
    bars = {
        "min_probability": float(settings["min_profit_probability"]) if min_probability is None else min_probability,
        "min_confidence": float(settings["min_confidence"]) if min_confidence is None else min_confidence,
        "min_expected_return": 0.0 if min_expected_return is None else min_expected_return,
    }
    rows = newest if timeframe is None else newest.filter(pl.col("timeframe") == timeframe)
    chosen = rows.filter(
        (pl.col("profit_probability") >= bars["min_probability"])
        & (pl.col("confidence") >= bars["min_confidence"])
        & (pl.col("expected_net_return") > bars["min_expected_return"])
    ).sort(["profit_probability", "symbol"], descending=[True, False])
    columns = ["symbol", "timeframe", "profit_probability", "confidence", "expected_net_return"]
    columns += ["entry_price", "target_price", "stop_loss", "model_used", "grade", "reason"]
    nearest = rows.drop_nulls("profit_probability").sort("profit_probability", descending=True)
    answer: dict[str, Any] = {
        "known": True,
        "market": system.market,
        "scored_at": newest["timestamp"][0],
        "regime_score": newest["regime_score"][0],
        "scored": rows.height,
        "passing": chosen.height,
        "bars": bars,
        "mean_confidence": chosen["confidence"].mean() if chosen.height else None,
        "picks_of": sorted({str(one) for one in rows["model_used"].drop_nulls()}),
        "offset": offset,
        "symbols": chosen.select(columns).slice(offset, MAX_ROWS).to_dicts(),
    }
    if chosen.is_empty():
        answer["nearest_misses"] = nearest.select(columns).head(5).to_dicts()
    return answer


def deeper(system: System, timeframe: str | None = None, top: int = 5) -> dict[str, Any]:
    """The best candidates of the last refresh, each with its prices and why it is recommended, or is not."""
    best = candidates(system, timeframe)
    if not best["known"]:
        return best
    rows = (best["symbols"] or best["nearest_misses"])[: min(top, MAX_ROWS)]
    with_reasons = [row | {"why": explain(system, symbol=row["symbol"]).get("why") or row["reason"]} for row in rows]
    return {**{name: best[name] for name in ("known", "market", "scored_at", "picks_of")}, "symbols": with_reasons}


def explain(system: System, recommendation_id: int | None = None, symbol: str | None = None) -> dict[str, Any]:
    """A recommendation, the newest of a symbol where none is named, with its reasons and its paper trade."""
    chosen = sa.select(Recommendation.__table__).order_by(Recommendation.id.desc()).limit(1)
    if recommendation_id is not None:
        chosen = chosen.where(Recommendation.id == recommendation_id)
    elif symbol is not None:
        chosen = chosen.where(*of_symbol(Recommendation, symbol, listings_of(system.lake)))
    with system.engine.connect() as connection:
        row = connection.execute(chosen).mappings().first()
        if row is None:
            return {"found": False, **_signal(system, symbol)}
        traded = sa.select(VirtualPosition.__table__).where(VirtualPosition.recommendation_id == row["id"])
        position = connection.execute(traded).mappings().first()
    answer = {"found": True, **_company(system.lake, row["symbol"]), **row}
    if position is not None:
        names = ("status", "entry_session", "entry_price", "current_price", "exit_session", "exit_price", "exit_reason")
        answer["paper_trade"] = {name: position[name] for name in (*names, "profit_loss", "net_return")}
    return answer


def newest_signals(lake: Lake) -> pl.DataFrame | None:
    """The signals of the last refresh; None before the first."""
    partitions = lake.partitions("signals")
    if not partitions:
        return None
    stored = lake.read("signals", partitions[-1])
    return stored.filter(pl.col("timestamp") == pl.col("timestamp").max())


def _company(lake: Lake, symbol: str) -> dict[str, object]:
    """Name and sector of a symbol in the newest universe that holds it, as far as there are any."""
    months = lake.partitions("universe")
    if not months:
        return {}
    company = listings_of(lake).company(symbol, date.fromisoformat(months[-1]))
    rows = lake.read("universe", months[-1]).filter(pl.col("symbol") == company)
    return {name: rows[name][0] for name in ("name", "sector") if rows.height and name in rows.columns}


def _signal(system: System, symbol: str | None) -> dict[str, object]:
    """Why a symbol was never recommended: the thresholds that its last signal missed."""
    newest = newest_signals(system.lake)
    if symbol is None or newest is None:
        return {"why": "there is no such recommendation"}
    rows = newest.filter(pl.col("symbol") == symbol)
    if rows.is_empty():
        return {"why": "it was never recommended, and the last refresh did not score it"}
    columns = ["timeframe", "profit_probability", "confidence", "expected_net_return", "regime_score", "reason"]
    return {"why": "it was never recommended", "last_signal": rows.select(columns).to_dicts()}
