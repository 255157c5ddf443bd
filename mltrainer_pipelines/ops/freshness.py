"""How far each asset is behind the market, in sessions, and what an installation is catching up on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from mltrainer_pipelines.market.backlog import PUBLISHED_AFTER, closures, overdue_sessions
from mltrainer_pipelines.market.sessions import last_closed_session, sessions_between
from mltrainer_pipelines.store.lake import Lake

_BY_SESSION = ("daily_bars", "delayed_quotes", "signals")
_BY_CONTENT = ("features", "labels", "regime")
_EACH_SESSION = (
    *("corporate_actions", "macro_series", "recommendations", "virtual_positions", "portfolio_performance"),
    *("outcomes", "model_weights", "drift", "learning_report", "trial_proposals"),
)
_EACH_WEEK, _EACH_MONTH = ("champion_model",), ("bar_corrections",)
_EACH_QUARTER = ("trial_predictions", "trial_scorecard", "leaderboard")
ASSETS = (*_BY_SESSION, "universe", *_BY_CONTENT, *_EACH_SESSION, *_EACH_WEEK, *_EACH_MONTH, *_EACH_QUARTER)
_SECONDS_A_SESSION, _SECONDS_A_MONTH = 1.0, 20.0
"""What a session's bars and what follows them take where nothing limits the calls: measured, rounded up."""


@dataclass(frozen=True)
class Freshness:
    """An asset: what its newest part is of, and how many sessions that is behind; None where there is nothing of it."""

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


def freshness(lake: Lake, materialized: Mapping[str, datetime], moment: datetime) -> list[Freshness]:
    """Every asset's state.

    Parameters
    ----------
    materialized : mapping
        By asset, when it was last materialized: of what is kept in the database there is no other sign.
    moment : datetime
        Now, aware. A session counts from when its bars are published (`market.backlog.PUBLISHED_AFTER`).
    """
    closed = closures(lake)
    published = last_closed_session(moment - PUBLISHED_AFTER)

    def behind(newest: date) -> int:
        return sum(day not in closed for day in sessions_between(newest + timedelta(days=1), published))

    states = [_state(name, _newest_content(lake, name), behind) for name in (*_BY_SESSION, "universe", *_BY_CONTENT)]
    allowed = {name: timedelta() for name in _EACH_SESSION}
    allowed |= dict.fromkeys(_EACH_WEEK, timedelta(days=7)) | dict.fromkeys(_EACH_MONTH, timedelta(days=5))
    allowed |= dict.fromkeys(_EACH_QUARTER, timedelta(days=92))
    for name, late in allowed.items():
        at = materialized.get(name)
        covered = last_closed_session(at) if at else None
        states.append(Freshness(name, str(covered) if covered else None, behind(covered + late) if covered else None))
    return states


def backlog(lake: Lake, moment: datetime, calls_per_minute: int | None) -> list[Backlog]:
    """What is being caught up on: missing sessions of bars, and what follows them; empty where nothing is."""
    found = []
    if missing := overdue_sessions(lake, moment):
        seconds = len(missing) * (60.0 / calls_per_minute if calls_per_minute else _SECONDS_A_SESSION)
        found.append(Backlog("daily_bars", len(missing), missing[0], missing[-1], seconds))
    bars = lake.partitions("daily_bars")
    for name in ("features", "labels", "regime"):
        newest = _newest_content(lake, name)
        lacking = [day for day in bars if newest and day > str(newest)]
        if lacking:
            days = date.fromisoformat(lacking[0]), date.fromisoformat(lacking[-1])
            months = (days[1].year - days[0].year) * 12 + days[1].month - days[0].month + 1
            found.append(Backlog(name, len(lacking), *days, months * _SECONDS_A_MONTH))
    return found


def _state(name: str, newest: date | None, behind: Callable[[date], int]) -> Freshness:
    return Freshness(name, str(newest) if newest else None, behind(newest) if newest else None)


def _newest_content(lake: Lake, name: str) -> date | None:
    """The newest session that an asset of the lake covers; a month's universe covers the month."""
    if name == "regime":
        return lake.read(name)["date"].max() if lake.exists(name) else None  # type: ignore[return-value]
    parts = lake.partitions(name)
    if not parts:
        return None
    newest = date.fromisoformat(parts[-1])
    if name in _BY_SESSION:
        return newest
    if name == "universe":
        return (newest + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    for part in reversed(parts):  # a month that has just begun may be empty yet
        day = lake.scan(name, [part]).select(pl.col("date").max()).collect().item()
        if day is not None:
            return day  # type: ignore[no-any-return]
    return None
