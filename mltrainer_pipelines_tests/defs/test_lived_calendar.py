"""Days of the calendar that are like no other, lived through: what is requested of the vendor, and what becomes of trades."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from pydantic import SecretStr

from mltrainer_pipelines.defs.learning.assets import outcomes
from mltrainer_pipelines.defs.learning.automation import learn_from_late_bars
from mltrainer_pipelines.defs.market.automation import fetch_missing_sessions, ingest_session_schedule
from mltrainer_pipelines.defs.market.daily_bars import daily_bars
from mltrainer_pipelines.defs.portfolio.assets import virtual_positions
from mltrainer_pipelines.learning.outcomes import closed_without_outcome
from mltrainer_pipelines.learning.report import Report, store_report
from mltrainer_pipelines.market.backlog import closures, complete_until, overdue_sessions
from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.market.vendors.transport import Backoff
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.settings import get_settings, now
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, positions, recommend
from mltrainer_pipelines_tests.servers.stocks import Stocks, wire_bar
from mltrainer_pipelines_tests.servers.vendor import Reply, vendor

NOTHING = Reply(b'{"status":"OK","resultsCount":0,"queryCount":0}')
ALWAYS = 99


@dataclass
class Home:
    """Its clock, its lake, and the vendor that it asks."""

    instance: dg.DagsterInstance
    lake: Lake
    stocks: Stocks
    resources: dict[str, Any]
    set_clock: Callable[[datetime], None]
    cursor: str | None = None

    def evening(self, day: date) -> bool | None:
        """What the evening's schedule requests is run; whether it succeeded, None where the day is no session."""
        self.set_clock(datetime(day.year, day.month, day.day, 18, 30, tzinfo=NEW_YORK))
        asked = ingest_session_schedule(dg.build_schedule_context(self.instance, now()))
        return None if isinstance(asked, dg.SkipReason) else self._run(asked)

    def missing_fetched(self, *moment: int) -> bool | None:
        """What the sensor requests at a moment is run; whether it succeeded, None where it waits or nothing is missing."""
        self.set_clock(datetime(*moment, tzinfo=NEW_YORK))
        asked = fetch_missing_sessions(dg.build_sensor_context(self.instance, self.cursor))
        if isinstance(asked, dg.SkipReason):
            return None
        self.cursor = asked.cursor
        (request,) = asked.run_requests
        return self._run(request)

    def settled(self) -> None:
        """As the evening's learning begins: positions follow the bars, outcomes the positions."""
        assert dg.materialize([virtual_positions, outcomes], resources=self.resources).success

    def _run(self, request: dg.RunRequest) -> bool:
        done = dg.materialize(
            [daily_bars],
            partition_key=request.partition_key,
            tags={name: value for name, value in request.tags.items() if name.startswith("dagster/asset_partition")},
            instance=self.instance,
            resources=self.resources,
            raise_on_error=False,
        )
        return bool(done.success)


@pytest.fixture
def home(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    def set_clock(moment: datetime) -> None:
        monkeypatch.setenv("MLTRAINER_AS_OF", moment.isoformat())
        get_settings.cache_clear()

    for name, value in {"LAKE_URL": str(tmp_path / "lake"), "HOME": str(tmp_path), "HISTORY_START": "2022-01-03"}.items():
        monkeypatch.setenv(f"MLTRAINER_{name}", value)
    stocks, lake = Stocks(), Lake(str(tmp_path / "lake"))
    lake.write("corporate_actions", NO_ACTIONS)
    with vendor(stocks) as server, dg.DagsterInstance.ephemeral() as instance:
        market = PolygonMarket(server.url, SecretStr("k"), backoff=Backoff(attempts=1))
        resources = {"lake": lake, "database": database, "market_data": market}
        yield Home(instance, lake, stocks, resources, set_clock)
    get_settings.cache_clear()


def test_a_session_of_the_calendar_on_which_nothing_traded_is_on_record_the_evening_after(home: Home) -> None:
    """As 2012-10-29 and 2025-01-09 were to a calendar printed before: the vendor has no bar of it, then those of the next."""
    closed = date(2024, 3, 5)
    home.stocks.faults[closed] = [NOTHING] * ALWAYS
    assert home.evening(date(2024, 3, 4))
    assert home.evening(closed) is False
    assert home.missing_fetched(2024, 3, 5, 18, 31) is False, "it may only be late"
    assert home.missing_fetched(2024, 3, 5, 18, 45) is None, "and is asked again after 20 minutes"
    assert home.evening(date(2024, 3, 6))
    assert closures(home.lake) == {closed}
    assert overdue_sessions(home.lake, now()) == []
    assert home.missing_fetched(2024, 3, 6, 23, 0) is None
    assert home.evening(date(2024, 3, 7))
    assert home.lake.partitions("daily_bars") == ["2024-03-04", "2024-03-06", "2024-03-07"]


def test_bars_that_come_hours_late_are_fetched_that_night(home: Home) -> None:
    late = date(2024, 11, 29)  # closes at 13:00
    home.stocks.faults[late] = [NOTHING] * 2
    assert home.evening(date(2024, 11, 27))
    assert home.missing_fetched(2024, 11, 29, 15, 30) is False, "an early close's bars are due early"
    assert home.evening(late) is False
    assert home.missing_fetched(2024, 11, 29, 18, 31) is True
    assert overdue_sessions(home.lake, now()) == []


@pytest.mark.parametrize(
    ("off_after", "up", "missed"),
    [
        (date(2024, 3, 7), (2024, 3, 8, 12, 7), 0),  # three hours of a session
        (date(2024, 3, 7), (2024, 3, 11, 8, 0), 1),  # from Friday noon over the weekend in which the clocks change
        (date(2024, 6, 7), (2024, 7, 1, 11, 7), 14),  # three weeks, a holiday and a quarter's end among them
        (date(2024, 12, 30), (2025, 1, 6, 9, 0), 3),  # over the year's end
    ],
)
def test_what_was_missed_while_it_was_off_comes_in_one_run_in_order(
    home: Home, off_after: date, up: tuple[int, ...], missed: int
) -> None:
    assert home.evening(off_after)
    assert home.missing_fetched(*up) is (True if missed else None)
    days = sessions_between(off_after, now().date())
    assert home.lake.partitions("daily_bars") == [str(day) for day in days if day == off_after or day < now().date()]
    assert len(days[:-1]) == 1 + missed
    assert home.missing_fetched(*up) is None


def test_bars_that_come_after_the_evening_are_learnt_from_when_they_are_there(home: Home, database: Database) -> None:
    def asked(*moment: int) -> str | None:
        home.set_clock(datetime(*moment, tzinfo=NEW_YORK))
        tick = learn_from_late_bars(dg.build_sensor_context(home.instance, resources={"database": database}))
        return tick.run_key if isinstance(tick, dg.RunRequest) else None

    def learnt(day: date) -> None:
        store_report(database.engine, Report(day, f"as of {day}", {}))

    assert home.evening(date(2024, 3, 7))
    learnt(complete_until(home.lake))
    assert asked(2024, 3, 7, 23, 0) is None
    # Friday's bars are missing: what is learnt on Friday evening is learnt as of Thursday
    assert complete_until(home.lake) == date(2024, 3, 7)
    assert asked(2024, 3, 8, 23, 0) is None
    assert home.missing_fetched(2024, 3, 11, 8, 0)
    assert asked(2024, 3, 11, 8, 1) == "bars:2024-03-08"
    learnt(complete_until(home.lake))
    assert asked(2024, 3, 11, 8, 2) is None


@pytest.mark.parametrize("end", [date(2024, 6, 28), date(2024, 12, 31)], ids=["a quarter's", "a year's"])
def test_a_symbol_that_leaves_the_universe_keeps_its_open_position_until_that_ends(
    home: Home, database: Database, end: date
) -> None:
    days, later = sessions_between(end - timedelta(days=1), end), sessions_between(end, end + timedelta(days=7))[1:]
    flat = {"o": 100.0, "h": 100.5, "l": 99.5, "c": 100.0, "vw": 100.0}
    rise = {"o": 100.0, "h": 130.0, "l": 99.5, "c": 129.0, "vw": 115.0}
    home.stocks.edit = lambda day, _: [wire_bar(name, day, **(rise if day == later[2] else flat)) for name in ("GONE", "STAY")]
    for month, members in ((days[0].replace(day=1), ("GONE", "STAY")), (later[0].replace(day=1), ("STAY",))):
        home.lake.write("universe", pl.DataFrame({"month": [month] * len(members), "symbol": members}), str(month))
    for day in days:
        assert home.evening(day)
    for symbol in ("GONE", "STAY"):
        recommend(database.engine, days[-1], symbol)
    open_positions(database.engine, 10.0)
    for day in later[:3]:
        assert home.evening(day)
        home.settled()
        held = {row["symbol"]: (row["status"], row["exit_session"]) for row in positions(database.engine)}
        assert held["GONE"] == held["STAY"] == (("open", None) if day < later[2] else ("closed", later[2])), day
        assert closed_without_outcome(database.engine) == []
