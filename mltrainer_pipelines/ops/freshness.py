"""How far each asset is behind the market, in sessions, and what an installation is catching up on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from mltrainer_pipelines.market.backlog import PUBLISHED_AFTER, closures, overdue_sessions
from mltrainer_pipelines.market.sessions import last_closed_session, sessions_between
from mltrainer_pipelines.ops.cadence import ALLOWED, ASSETS, BY_CONTENT, BY_SESSION
from mltrainer_pipelines.store.lake import Lake

_SECONDS_A_SESSION, _SECONDS_A_MONTH = 1.0, 20.0
"""What a session's bars and what follows them take where nothing limits the calls: measured, rounded up."""


@dataclass(frozen=True)
class Freshness:
    """An asset: what its newest part is of (None where there is nothing of it), and how many sessions that is behind.

    What was never made is as far behind as it should have been made; `sessions_behind` is None while there are no bars at all.
    """

    asset: str
    newest: str | None
    sessions_behind: int | None


@dataclass(frozen=True)
class Backlog:
    """Something that is being caught up on: how many sessions, from which to which, and about how long it will take."""

    asset: str
    sessions: int
    first: date
    last: date
    seconds: float


def freshness(
    lake: Lake, materialized: Mapping[str, datetime], moment: datetime, begun: datetime | None = None
) -> list[Freshness]:
    """Every asset's state.

    Parameters
    ----------
    materialized : mapping
        By asset, when it was last materialized: of what is kept in the database there is no other sign.
    moment : datetime
        Now, aware. A session counts from when its bars are published (`market.backlog.PUBLISHED_AFTER`).
    begun : datetime, optional
        Since when this installation makes anything (its first trial), aware; by default just now.
    """
    closed, any_bars = closures(lake), bool(lake.partitions("daily_bars"))
    published = last_closed_session(moment - PUBLISHED_AFTER)
    since = min(last_closed_session(begun), published) if begun else published

    def state(name: str, newest: date | None, allowed: timedelta = timedelta()) -> Freshness:
        first = (newest or since) + allowed + timedelta(days=1)
        behind = sum(day not in closed for day in sessions_between(first, published))
        return Freshness(name, str(newest) if newest else None, behind if newest or any_bars else None)

    states = [state(name, _newest_content(lake, name)) for name in ASSETS if name not in ALLOWED]
    for name, late in ALLOWED.items():
        at = materialized.get(name)
        states.append(state(name, last_closed_session(min(at, moment)) if at else None, late))
    return states


def backlog(lake: Lake, moment: datetime, calls_per_minute: int | None) -> list[Backlog]:
    """What is being caught up on: missing sessions of bars, and what follows them; empty where nothing is."""
    found = []
    if missing := overdue_sessions(lake, moment):
        seconds = len(missing) * (60.0 / calls_per_minute if calls_per_minute else _SECONDS_A_SESSION)
        found.append(Backlog("daily_bars", len(missing), missing[0], missing[-1], seconds))
    bars = lake.partitions("daily_bars")
    for name in BY_CONTENT:
        newest = _newest_content(lake, name)
        lacking = [day for day in bars if newest and day > str(newest)]
        if lacking:
            days = date.fromisoformat(lacking[0]), date.fromisoformat(lacking[-1])
            months = (days[1].year - days[0].year) * 12 + days[1].month - days[0].month + 1
            found.append(Backlog(name, len(lacking), *days, months * _SECONDS_A_MONTH))
    return found


def _newest_content(lake: Lake, name: str) -> date | None:
    """The newest session that an asset of the lake covers; a month's universe covers the month."""
    if name == "regime":
        return lake.read(name)["date"].max() if lake.exists(name) else None  # type: ignore[return-value]
    parts = lake.partitions(name)
    if not parts:
        return None
    newest = date.fromisoformat(parts[-1])
    if name in BY_SESSION:
        return newest
    if name == "universe":
        return (newest + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    for part in reversed(parts):  # a month that has just begun may be empty yet
        day = lake.scan(name, [part]).select(pl.col("date").max()).collect().item()
        if day is not None:
            return day  # type: ignore[no-any-return]
    return None
