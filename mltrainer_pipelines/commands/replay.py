"""`mltrainer portfolio replay`: a period decided again, session by session, with what was known then."""

import time
from datetime import date
from typing import Any

import polars as pl
from rich.console import Console

from mltrainer_pipelines.learning.point_in_time import PointInTime
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.ops.temporary_services import services_up
from mltrainer_pipelines.portfolio.replay import replay
from mltrainer_pipelines.settings import Settings, simulated_now
from mltrainer_pipelines.signals.champions import Champions
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.registry.tracking import Tracking


def replay_period(settings: Settings, first: date, last: date) -> dict[str, object]:
    """Recommendations and positions of a period as they would have been; its numbers, and `positions`, a list of mappings.

    Raises `NothingToReplayError` if nothing can be decided in the period.
    """
    lake, console = Lake(settings.lake_url), Console(stderr=True)
    with services_up(settings, console) as services:
        begin = time.monotonic()
        database = Database(database_url(settings, "mltrainer"))
        champions = Champions(Tracking(services.addresses["mlflow"]), settings.state / "champions", database.engine)
        with console.status(f"Replaying {first} to {last} …") as status:
            labels = lake.scan("labels").filter(pl.col("date") <= last).collect()
            pinned = simulated_now() is not None
            states = PointInTime(lake, database.engine, champions, settings.threshold_defaults, labels, first, last, pinned)
            result = replay(lake, first, last, states, settings.cost_bps, None, lambda day: status.update(f"Replaying {day} …"))
        seconds = round(time.monotonic() - begin, 1)
    closed = [position for position in result.positions if position["status"] == "closed" and position["fill_price"] is not None]
    return {
        "market": settings.market_kind,
        "from": str(first),
        "to": str(last),
        "sessions": result.sessions,
        "refreshes": result.refreshes,
        "undecided": [str(day) for day in result.undecided],
        "recommendations": len(result.recommendations),
        "open": sum(position["status"] == "open" for position in result.positions),
        "closed": len(closed),
        "hit_rate": sum(position["net_return"] > 0 for position in closed) / len(closed) if closed else None,
        "profit_loss": str(sum(position["profit_loss"] for position in result.positions)),
        "seconds": seconds,
        "positions": [
            {name: position[name] for name in _COLUMNS} | {"model_version": made["model_version"], "grade": made["grade"]}
            for made, position in zip(result.recommendations, result.positions, strict=True)
        ],
    }


_COLUMNS = (
    *("symbol", "timeframe", "status", "decided_session", "entry_session", "fill_price", "fill_shares", "exit_session"),
    *("exit_price", "exit_reason", "profit_loss", "net_return"),
)


def text(period: dict[str, Any]) -> str:
    """A replay as a few lines for a terminal."""
    hit_rate = "none closed" if period["hit_rate"] is None else f"{period['hit_rate']:.0%} with a profit"
    lines = [
        f"{period['from']} to {period['to']} on the {period['market']} market: {period['sessions']} sessions, "
        f"{period['refreshes']} decisions, {len(period['undecided'])} sessions without a champion",
        f"{period['recommendations']} recommendations; {period['closed']} positions closed ({hit_rate}), {period['open']} open; "
        f"profit and loss {period['profit_loss']} dollars; replayed in {period['seconds']} s",
    ]
    return "\n".join(lines)
