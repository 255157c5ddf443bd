"""Trading sessions of the New York Stock Exchange (calendar XNYS), holidays and early closes included.

A session is a `date`: the New York day on which it trades. Times are aware and in New York.
"""

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np
import pandas as pd

NEW_YORK = ZoneInfo("America/New_York")
FIRST_SUPPORTED = date(1998, 1, 1)


class NotASessionError(ValueError):
    """A day on which the exchange does not trade was asked for as a session."""

    def __init__(self, day: date):
        before, after = previous_session(day), next_session(day)
        super().__init__(
            f"{day} ({day:%A}) is not a trading session of XNYS: it is a weekend or a holiday; "
            f"the sessions around it are {before} and {after}"
        )


@lru_cache(maxsize=1)
def _calendar() -> exchange_calendars.ExchangeCalendar:
    end = pd.Timestamp.now().normalize() + pd.DateOffset(years=1)
    return exchange_calendars.get_calendar("XNYS", start=str(FIRST_SUPPORTED), end=end)


@lru_cache(maxsize=1)
def _days() -> np.ndarray:
    return np.asarray(_calendar().sessions.to_numpy(), dtype="datetime64[D]")


def _day(place: np.intp) -> date:
    session: date = _days()[place].item()
    return session


def sessions_between(first: date, last: date) -> list[date]:
    """Sessions from `first` to `last`, both included, in order; empty where there is none.

    >>> [day.day for day in sessions_between(date(2024, 7, 3), date(2024, 7, 8))]
    [3, 5, 8]
    """
    days = _days()
    low, high = np.searchsorted(days, np.datetime64(first)), np.searchsorted(days, np.datetime64(last), side="right")
    return list(days[low:high].tolist())


def is_session(day: date) -> bool:
    return sessions_between(day, day) == [day]


def next_session(day: date, count: int = 1) -> date:
    """The `count`-th session strictly after `day`.

    >>> next_session(date(2024, 7, 3))
    datetime.date(2024, 7, 5)
    """
    return _day(np.searchsorted(_days(), np.datetime64(day), side="right") + count - 1)


def previous_session(day: date, count: int = 1) -> date:
    """The `count`-th session strictly before `day`."""
    return _day(np.searchsorted(_days(), np.datetime64(day)) - count)


def session_hours(session: date) -> tuple[datetime, datetime]:
    """Open and close of a session, New York time, earlier on early-close days; `NotASessionError` where there is no trading."""
    if not is_session(session):
        raise NotASessionError(session)
    row = _calendar().schedule.loc[pd.Timestamp(session)]
    return row["open"].tz_convert(NEW_YORK).to_pydatetime(), row["close"].tz_convert(NEW_YORK).to_pydatetime()


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
    return [day.date() for day in _calendar().early_closes if first <= day.date() <= last]
