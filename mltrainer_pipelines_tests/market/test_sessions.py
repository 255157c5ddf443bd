"""Sessions beside exchange_calendars, which the table of sessions is made of."""

import exchange_calendars
import pytest

from docs.build.sessions import sessions_module
from mltrainer_pipelines.market import xnys
from mltrainer_pipelines.market.sessions import NEW_YORK, previous_session, session_hours, sessions_between


def test_the_table_of_sessions_is_up_to_date() -> None:
    with open(xnys.__file__, encoding="utf-8") as written:
        assert written.read() == sessions_module(), "write it anew with `make docs`"


def test_sessions_and_their_hours_are_those_of_exchange_calendars() -> None:
    # beyond 2037 its hours have no daylight saving
    schedule = exchange_calendars.get_calendar("XNYS", start=xnys.FIRST, end="2037-12-31").schedule.tz_localize(NEW_YORK)
    days = [day.date() for day in schedule.index]
    assert sessions_between(days[0], days[-1]) == days
    assert [session_hours(day) for day in days] == list(zip(schedule["open"], schedule["close"], strict=True))


def test_before_the_first_session_there_is_none() -> None:
    with pytest.raises(IndexError, match="from 1998-01-02 to 2040-12-31"):
        previous_session(xnys.FIRST)
