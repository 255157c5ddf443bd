"""`mltrainer portfolio replay`: a period lived through again, session by session."""

import time
from datetime import date
from typing import Any

import polars as pl
from rich.console import Console

from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.ops.temporary_services import services_up
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake


def replayed(settings: Settings, first: date, last: date, console: Console) -> dict[str, Any]:
    """Recommendations and positions of a period as they would have been.

    Returns
    -------
    dict
        `market`, `from`, `to`, `sessions`, `refreshes`, `undecided`, `recommendations`, `open`, `closed`, `hit_rate`,
        `profit_loss`, `seconds` and `positions`: a list of mappings.

    Raises
    ------
    NothingToReplayError
        If nothing can be decided in the period.
    """
    from mltrainer_pipelines.defs.signals import threshold_defaults
    from mltrainer_pipelines.learning.point_in_time import Hindsight
    from mltrainer_pipelines.portfolio.replay import replay
    from mltrainer_pipelines.signals.champions import Champions
    from mltrainer_pipelines.trials.registry.tracking import Tracking

    lake = Lake(settings.lake_url)
    with services_up(settings, console) as services:
        begin = time.monotonic()
        database = Database(database_url(settings, "mltrainer"))
        champions = Champions(Tracking(services.addresses["mlflow"]), settings.state / "champions")
        with console.status(f"Reliving {first} to {last} …") as status:
            labels = lake.scan("labels").filter(pl.col("date") <= last).collect()
            pinned = settings.mltrainer_as_of is not None
            known = Hindsight(lake, database.engine, champions, threshold_defaults(), labels, first, last, pinned)
            found = replay(lake, first, last, known, settings.cost_bps, on_session=lambda day: status.update(f"Reliving {day} …"))
        seconds = round(time.monotonic() - begin, 1)
    closed = [position for position in found.positions if position["status"] == "closed" and position["fill_price"] is not None]
    return {
        "market": settings.market_kind,
        "from": str(first),
        "to": str(last),
        "sessions": found.sessions,
        "refreshes": found.refreshes,
        "undecided": [str(day) for day in found.undecided],
        "recommendations": len(found.recommendations),
        "open": sum(position["status"] == "open" for position in found.positions),
        "closed": len(closed),
        "hit_rate": sum(position["net_return"] > 0 for position in closed) / len(closed) if closed else None,
        "profit_loss": str(sum(position["profit_loss"] for position in found.positions)),
        "seconds": seconds,
        "positions": [
            {name: position[name] for name in _SHOWN} | {"model_version": made["model_version"], "grade": made["grade"]}
            for made, position in zip(found.recommendations, found.positions, strict=True)
        ],
    }


_SHOWN = (
    *("symbol", "timeframe", "status", "decided_session", "entry_session", "fill_price", "fill_shares", "exit_session"),
    *("exit_price", "exit_reason", "profit_loss", "net_return"),
)


def shown(found: dict[str, Any]) -> str:
    """A replay as a few lines for a terminal."""
    hit_rate = "none closed" if found["hit_rate"] is None else f"{found['hit_rate']:.0%} with a profit"
    lines = [
        f"{found['from']} to {found['to']} on the {found['market']} market: {found['sessions']} sessions, "
        f"{found['refreshes']} decisions, {len(found['undecided'])} sessions without a champion",
        f"{found['recommendations']} recommendations; {found['closed']} positions closed ({hit_rate}), {found['open']} open; "
        f"profit and loss {found['profit_loss']} dollars; relived in {found['seconds']} s",
    ]
    return "\n".join(lines)
