"""Sessions that should be in the lake and are not; those on which the exchange did not trade are no gaps."""

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS
from mltrainer_pipelines.market.backlog import closures, complete_until, missing_sessions, note_closures, overdue_sessions
from mltrainer_pipelines.market.history import adjusted_history, session_away, sessions_in_lake
from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between
from mltrainer_pipelines.store.lake import Lake


def with_bars(folder: Path, *days: date) -> Lake:
    lake = Lake(str(folder))
    for day in days:
        row = {"date": day, "symbol": "AAA", "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}
        lake.write("daily_bars", pl.DataFrame([row | {"vwap": 1.0, "trades": 1}], schema=DAILY_BARS.schema), str(day))
    return lake


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("moment", "last"),
    [
        (at(2024, 7, 2, 18, 29), date(2024, 7, 1)),
        (at(2024, 7, 2, 18, 30), date(2024, 7, 2)),
        (at(2024, 7, 3, 15, 29), date(2024, 7, 2)),  # the session before Independence Day closes at 13:00
        (at(2024, 7, 3, 15, 30), date(2024, 7, 3)),
        (at(2024, 7, 4, 23, 0), date(2024, 7, 3)),
        (at(2024, 7, 7, 12, 0), date(2024, 7, 5)),
        (at(2024, 3, 11, 18, 30), date(2024, 3, 11)),  # the first session of daylight saving
        (at(2024, 11, 4, 18, 30), date(2024, 11, 4)),  # the first one after it
        (at(2025, 1, 2, 18, 30), date(2025, 1, 2)),
    ],
)
def test_a_session_is_overdue_once_its_bars_are_published(tmp_path: Path, moment: datetime, last: date) -> None:
    lake = with_bars(tmp_path, date(2024, 2, 1))
    assert overdue_sessions(lake, moment) == sessions_between(date(2024, 2, 2), last)


def test_an_empty_lake_waits_for_its_first_backfill(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert overdue_sessions(lake, at(2024, 7, 2, 20, 0)) == []
    with pytest.raises(LookupError, match="mltrainer demo"):
        complete_until(lake)


def test_a_closure_is_no_gap(tmp_path: Path) -> None:
    days = sessions_between(date(2025, 1, 6), date(2025, 1, 14))
    closed = days[3]
    lake = with_bars(tmp_path, *(day for day in days if day != closed))
    assert missing_sessions(lake, days[0], days[-1]) == [closed]
    assert complete_until(lake) == days[2]
    for _ in range(2):
        note_closures(lake, [closed], date(2025, 1, 14))
    assert closures(lake) == {closed}
    assert lake.read("session_closures").height == 1
    assert overdue_sessions(lake, at(2025, 1, 14, 20, 0)) == []
    assert complete_until(lake) == days[-1]


def test_a_day_on_which_the_market_was_closed_counts_in_no_window(tmp_path):
    days = sessions_between(date(2018, 11, 26), date(2018, 12, 14))
    closed = date(2018, 12, 6)
    lake = with_bars(tmp_path, *(day for day in days if day != closed))
    lake.write("daily_bars", DAILY_BARS.empty(), str(closed))  # a recording without one session
    note_closures(lake, [closed, date(2018, 12, 5)], date(2018, 12, 7))  # the fifth is none by the calendar
    assert closed not in sessions_in_lake(lake, days[0], days[-1])
    traded = [day for day in days if day != closed]
    for place, day in enumerate(traded):
        for count in range(-place, len(traded) - place):
            assert session_away(lake, day, count) == traded[place + count]
    lake.write("corporate_actions", CORPORATE_ACTIONS.empty())
    bars = adjusted_history(lake, traded[-3], traded[-3], look_back=8, look_ahead=2)
    assert bars["date"].to_list() == traded[-11:]
