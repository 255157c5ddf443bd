"""Trading sessions of the New York Stock Exchange (calendar XNYS), holidays and early closes included.

A session is a `date`: the New York day on which it trades. Times are aware and in New York.
"""

from bisect import bisect_left, bisect_right
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from mltrainer_pipelines.market import xnys

NEW_YORK = ZoneInfo("America/New_York")
FIRST_SUPPORTED = xnys.FIRST
_OPENS, _CLOSES, _CLOSES_EARLY = time(9, 30), time(16), time(13)


class NotASessionError(ValueError):
    """A day on which the exchange does not trade was asked for as a session."""

    def __init__(self, day: date):
        before, after = previous_session(day), next_session(day)
        super().__init__(
            f"{day} ({day:%A}) is not a trading session of XNYS: it is a weekend or a holiday; "
            f"the sessions around it are {before} and {after}"
        )


@lru_cache(maxsize=1)
def _days() -> list[date]:
    """Every session that is known, in order."""
    holidays = {*map(date.fromisoformat, xnys.HOLIDAYS.split())}
    every_day = (xnys.FIRST + timedelta(days=i) for i in range((xnys.LAST - xnys.FIRST).days + 1))
    return [day for day in every_day if day.weekday() < 5 and day not in holidays]


@lru_cache(maxsize=1)
def _early_closes() -> list[date]:
    return [date.fromisoformat(day) for day in xnys.EARLY_CLOSES.split()]


def _session(place: int) -> date:
    if not 0 <= place < len(_days()):
        raise IndexError(f"sessions are known from {_days()[0]} to {_days()[-1]}; ask for one of these")
    return _days()[place]


def sessions_between(first: date, last: date) -> list[date]:
    """Sessions from `first` to `last`, both included, in order; empty where there is none.

    >>> [day.day for day in sessions_between(date(2024, 7, 3), date(2024, 7, 8))]
    [3, 5, 8]
    """
    days = _days()
    return days[bisect_left(days, first) : bisect_right(days, last)]


def is_session(day: date) -> bool:
    return sessions_between(day, day) == [day]


def next_session(day: date, count: int = 1) -> date:
    """The `count`-th session strictly after `day`.

    >>> next_session(date(2024, 7, 3))
    datetime.date(2024, 7, 5)
    """
    return _session(bisect_right(_days(), day) + count - 1)


def previous_session(day: date, count: int = 1) -> date:
    """The `count`-th session strictly before `day`."""
    return _session(bisect_left(_days(), day) - count)


def session_hours(session: date) -> tuple[datetime, datetime]:
    """Open and close of a session, New York time, earlier on early-close days; `NotASessionError` where there is no trading."""
    if not is_session(session):
        raise NotASessionError(session)
    closes = _CLOSES_EARLY if session in _early_closes() else _CLOSES
    return datetime.combine(session, _OPENS, NEW_YORK), datetime.combine(session, closes, NEW_YORK)


def last_closed_session(moment: datetime) -> date:
    """The newest session whose close lies at or before `moment` (aware)."""
    today = moment.astimezone(NEW_YORK).date()
    if is_session(today) and session_hours(today)[1] <= moment:
        return today
    return previous_session(today)


def open_session(moment: datetime) -> date | None:
    """The session that trades at `moment` (open ≤ moment < close), or None outside of trading."""
    today = moment.astimezone(NEW_YORK).date()
    if not is_session(today):
        return None
    opens, closes = session_hours(today)
    return today if opens <= moment < closes else None


def holidays_between(first: date, last: date) -> list[date]:
    """Weekdays from `first` to `last` on which the exchange does not trade."""
    weekdays = (first + timedelta(days=i) for i in range((last - first).days + 1))
    sessions = set(sessions_between(first, last))
    return [day for day in weekdays if day.weekday() < 5 and day not in sessions]


def early_closes_between(first: date, last: date) -> list[date]:
    """Sessions from `first` to `last` that close before 16:00."""
    return [day for day in _early_closes() if first <= day <= last]
