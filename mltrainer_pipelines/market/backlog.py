"""Which sessions should be in the lake and are not, those on which the exchange unexpectedly did not trade left out."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

import polars as pl

from mltrainer_pipelines.contracts.lake_tables import SESSION_CLOSURES
from mltrainer_pipelines.market.sessions import last_closed_session, sessions_between
from mltrainer_pipelines.store.lake import Lake

PUBLISHED_AFTER = timedelta(hours=2, minutes=30)
"""A session's bars are there so long after its close: 18:30 in New York, 15:30 after an early close."""


def closures(lake: Lake) -> set[date]:
    """Sessions of the calendar that turned out to be none."""
    return set(lake.read(SESSION_CLOSURES.name)["date"]) if lake.exists(SESSION_CLOSURES.name) else set()


def note_closures(lake: Lake, sessions: Iterable[date], noted_on: date) -> None:
    """Put sessions on record on which the exchange did not trade."""
    stored = lake.read(SESSION_CLOSURES.name) if lake.exists(SESSION_CLOSURES.name) else SESSION_CLOSURES.empty()
    days = sorted(set(sessions) - set(stored["date"]))
    if days:
        added = pl.DataFrame({"date": days, "noted_on": [noted_on] * len(days)}, schema=SESSION_CLOSURES.schema)
        lake.write(SESSION_CLOSURES.name, SESSION_CLOSURES.validate(pl.concat([stored, added]).sort("date")))


def missing_sessions(lake: Lake, first: date, last: date) -> list[date]:
    """Trading sessions from `first` to `last` that the lake has no bars of, in order."""
    present, closed = set(lake.partitions("daily_bars")), closures(lake)
    return [day for day in sessions_between(first, last) if str(day) not in present and day not in closed]


def overdue_sessions(lake: Lake, moment: datetime) -> list[date]:
    """Sessions between the first one in the lake and the newest published one that the lake has no bars of, in order.

    An empty lake has none: its first backfill is started by a person.
    """
    present = lake.partitions("daily_bars")
    if not present:
        return []
    return missing_sessions(lake, date.fromisoformat(present[0]), last_closed_session(moment - PUBLISHED_AFTER))


def complete_until(lake: Lake) -> date:
    """The newest session before which none is missing since the lake's first: what can be settled and learnt from.

    Raises `LookupError` if the lake has no bars.
    """
    present = lake.partitions("daily_bars")
    if not present:
        raise LookupError("the lake has no daily bars; run `mltrainer demo`, or materialize daily_bars")
    first, newest = date.fromisoformat(present[0]), date.fromisoformat(present[-1])
    gaps = missing_sessions(lake, first, newest)
    closed = closures(lake)
    return max(day for day in map(date.fromisoformat, present) if day not in closed and (not gaps or day < gaps[0]))
