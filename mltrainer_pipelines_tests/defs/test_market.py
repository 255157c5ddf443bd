"""The market's assets as Dagster runs them, against a server on loopback that does everything wrong."""

import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS
from mltrainer_pipelines.definitions import defs
from mltrainer_pipelines.defs.market import checks
from mltrainer_pipelines.defs.market.assets import corporate_actions, listings, macro_series, universe
from mltrainer_pipelines.defs.market.automation import correct_bars_schedule
from mltrainer_pipelines.defs.market.bar_corrections import bar_corrections, corrections_of
from mltrainer_pipelines.defs.market.daily_bars import daily_bars
from mltrainer_pipelines.defs.partitions import months
from mltrainer_pipelines.defs.resources import RESOURCES
from mltrainer_pipelines.market.corporate_actions import CHECKED_AGAIN
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.market.vendors.call_budget import CallBudget
from mltrainer_pipelines.market.vendors.fred.client import FredSeries
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.market.vendors.transport import Backoff
from mltrainer_pipelines.settings import get_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines_tests.servers.stocks import Stocks, grouped_reply, wire_bar
from mltrainer_pipelines_tests.servers.vendor import Call, Reply, Vendor, vendor

KEY = "pk-VERY/secret+key=0123456789"
SESSION = date(2024, 3, 4)
BEFORE = date(2024, 3, 1)
QUICK = Backoff(attempts=3, first_s=0.01, rate_limited_s=0.02, longest_s=1.0)
FROM, TO = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
SCHEMA = "dagster/column_schema"


@dataclass
class Desk:
    """An instance, a lake, a vendor's server and the client of it."""

    instance: dg.DagsterInstance
    lake: Lake
    stocks: Stocks
    server: Vendor
    polygon: PolygonMarket
    database: Database

    def run(self, *assets: Any, first: date | str | None = None, last: date | str | None = None, **config: Any) -> Any:
        tags = {FROM: str(first), TO: str(last or first)} if first else {}
        return dg.materialize(
            list(assets),
            instance=self.instance,
            resources=self.resources(),
            run_config={"ops": {"daily_bars": {"config": config}}} if config else None,
            tags=tags,
            raise_on_error=False,
        )

    def resources(self, macro_data: Any = None) -> dict[str, Any]:
        return {"lake": self.lake, "database": self.database, "market_data": self.polygon, "macro_data": macro_data}

    def bars(self, first: date = SESSION, last: date | None = None, **config: Any) -> Any:
        return self.run(daily_bars, first=first, last=last, **config)

    def bytes_of(self, day: date = SESSION) -> bytes | None:
        path = Path(self.lake.path("daily_bars", str(day)))
        return path.read_bytes() if path.exists() else None

    def events(self) -> list[Any]:
        return [event for run in self.instance.get_runs() for event in self.instance.all_logs(run.run_id)]


@pytest.fixture
def desk(tmp_path: Path, database: Database) -> Iterator[Desk]:
    stocks = Stocks()
    with vendor(stocks) as server, dg.DagsterInstance.ephemeral() as instance:
        polygon = PolygonMarket(server.url, SecretStr(KEY), timeout_s=2.0, backoff=QUICK)
        yield Desk(instance, Lake(str(tmp_path / "lake")), stocks, server, polygon, database)


@pytest.fixture(autouse=True)
def _no_key_anywhere(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture, request: pytest.FixtureRequest) -> Iterator:
    """Whatever a test does: the key is in no log line, no event and no metadata, nor in what is printed."""
    caplog.set_level(logging.DEBUG)
    desk = request.getfixturevalue("desk")
    yield
    shown = "".join(capfd.readouterr()) + caplog.text + "".join(str(event) for event in desk.events())
    assert "secret" not in shown


def error_of(result: Any) -> str:
    """The innermost error of the step that failed."""
    error = next(event for event in result.all_events if event.is_step_failure).step_failure_data.error
    while error.cause:
        error = error.cause
    return error.message


GOOD = Stocks().rows(SESSION)
WHOLE = grouped_reply(GOOD)
PASSING = {
    "429": Reply(b'{"status":"ERROR","error":"too many"}', status=429),
    "429 with Retry-After": Reply(b"{}", status=429, headers={"Retry-After": "0.05"}),
    "500": Reply(b"oops", status=500, content_type="text/plain"),
    "502": Reply(b"<html>bad gateway</html>", status=502, content_type="text/html"),
    "521": Reply(b"error code: 521", status=521, content_type="text/plain"),
    "524": Reply(b"error code: 524", status=524, content_type="text/plain"),
    "reset": Reply(reset=True),
    "stall": Reply(WHOLE.body, stall_s=3.0),
    "cut body": replace(WHOLE, cut_to=60),
    "cut body of unknown length": replace(WHOLE, cut_to=60, announced=False),
    "HTML with status 200": Reply(b"<html>maintenance</html>", content_type="text/html"),
    "duplicate rows": grouped_reply([*GOOD, GOOD[0]]),
    "NaN price": Reply(WHOLE.body.replace(b'"c": ', b'"c": NaN, "x": ', 1)),
    "negative price": grouped_reply([{**GOOD[0], "l": -1.0}, *GOOD[1:]]),
    "a third of its size": grouped_reply(GOOD[:1]),
    "a bar dated on a holiday": grouped_reply([wire_bar("AAA", date(2024, 1, 1)), *GOOD[1:]]),
}
STAYING = {
    "401": (Reply(b'{"error":"Unknown API Key"}', status=401), "was refused by Polygon with status 401"),
    "403": (Reply(b'{"error":"not entitled"}', status=403), "was refused by Polygon with status 403"),
    "wrong shape": (Reply(b'[{"T":"AAA"}]'), "the answer is not an object; status 200, content type application/json"),
    "results missing": (Reply(b'{"status":"OK","resultsCount":4}'), "results is missing"),
    "a holiday's answer": (Reply(b'{"status":"OK","resultsCount":0,"queryCount":0}'), "no bar at all came for 2024-03-04"),
}
SAID = {
    "429": "429 (too many calls) after 3 attempts",
    "429 with Retry-After": "asks to wait 0 s",
    "500": "status 500, content type text/plain, 4 bytes: 'oops'",
    "502": "status 502, content type text/html",
    "521": "status 521, content type text/plain",
    "524": "status 524, content type text/plain",
    "reset": "ConnectionResetError",
    "stall": "ReadTimeoutError",
    "cut body": "IncompleteRead",
    "cut body of unknown length": "not JSON, or cut off",
    "HTML with status 200": "content type text/html",
    "duplicate rows": "AAA on 2024-03-04: duplicate",
    "NaN price": "close is not a positive number",
    "negative price": "low is not a positive number",
    "a third of its size": "only 1 symbols came for 2024-03-04 where the sessions before it have 4",
    "a bar dated on a holiday": "AAA on 2024-01-01: not a bar of 2024-03-04",
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_leaves_a_partition_that_is_exactly_right(desk, fault):
    assert desk.bars(BEFORE).success
    desk.stocks.faults[SESSION] = [PASSING[fault]]
    if fault == "stall":
        desk.polygon = PolygonMarket(desk.server.url, SecretStr(KEY), timeout_s=1.0, backoff=QUICK)
    assert desk.bars().success
    found = desk.lake.read("daily_bars", str(SESSION))
    assert found.schema == DAILY_BARS.schema
    assert found["symbol"].to_list() == ["AAA", "BBB", "CCC", "DDD"]
    assert found["close"].to_list() == [row["c"] for row in GOOD]
    assert not desk.lake.exists("rejected_bars", str(SESSION))


@pytest.mark.parametrize("fault", [*PASSING, *STAYING])
def test_a_fault_that_stays_fails_the_run_and_leaves_the_partition_as_it_was(desk, fault):
    reply, said = STAYING[fault] if fault in STAYING else (PASSING[fault], SAID[fault])
    if fault == "stall":
        reply = replace(reply, stall_s=5.0)
    desk.stocks.faults[SESSION] = [reply] * 10
    assert desk.bars(BEFORE).success
    patient = desk.polygon
    hasty = PolygonMarket(desk.server.url, SecretStr(KEY), timeout_s=0.1, backoff=QUICK) if fault == "stall" else patient

    def refused(**how: bool) -> Any:
        desk.polygon = hasty  # what is right has all the time that a busy machine needs
        failed = desk.bars(**how)
        desk.polygon = patient
        return failed

    failed = refused()
    assert not failed.success
    assert said in error_of(failed)
    assert desk.bytes_of() is None
    desk.stocks.faults.clear()
    assert desk.bars().success
    before = desk.bytes_of()
    desk.stocks.faults[SESSION] = [reply] * 10
    assert not refused(overwrite=True).success
    assert desk.bytes_of() == before
    assert desk.lake.partitions("daily_bars") == [str(BEFORE), str(SESSION)]


def test_a_session_that_a_recording_lacks_costs_that_session_and_not_the_run(desk, tmp_path, monkeypatch):
    (tmp_path / "bars.csv").write_text("any recording: the server below answers for it")
    monkeypatch.setenv("MLTRAINER_EXCHANGE", f"replay:{tmp_path / 'bars.csv'}")
    get_settings.cache_clear()
    try:
        days = sessions_between(BEFORE, date(2024, 3, 7))
        desk.stocks.faults[SESSION] = [STAYING["a holiday's answer"][0]] * 10
        assert desk.bars(days[0], days[-1]).success
        assert [desk.lake.row_count("daily_bars", str(day)) for day in days] == [4, 0, 4, 4, 4]
        assert any("the recording has no bars of 2024-03-04" in str(event) for event in desk.events())
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_a_holiday_is_no_partition(desk):
    with pytest.raises(Exception, match="2024-01-01"):
        dg.materialize([daily_bars], partition_key="2024-01-01", resources=desk.resources())
    assert desk.server.calls == []


def test_a_backfill_resumes_at_the_first_missing_session_and_logs_its_calls(desk):
    days = sessions_between(date(2024, 3, 1), date(2024, 3, 15))
    desk.stocks.faults[days[4]] = [Reply(b"oops", status=500)] * 10
    failed = desk.bars(days[0], days[-1])
    assert "status 500" in error_of(failed)
    assert desk.lake.partitions("daily_bars") == [str(day) for day in days[:4]]
    known = desk.instance.get_materialized_partitions(dg.AssetKey("daily_bars"))
    assert known == {str(day) for day in days[:4]}

    desk.stocks.faults.clear()
    desk.server.calls.clear()
    assert desk.bars(days[0], days[-1]).success
    assert [call.path[-10:] for call in sorted(desk.server.calls, key=lambda call: call.path)] == [str(day) for day in days[4:]]
    messages = [event.user_message for event in desk.events()]
    assert any("7 sessions (2024-03-07 to 2024-03-15) in 7 calls, a call a session; no limit" in text for text in messages)
    assert any("7/7 sessions" in text for text in messages)


def test_the_time_that_a_limited_plan_takes_is_told_before_the_first_call(desk, tmp_path):
    budget = CallBudget(tmp_path / "calls.json", 5, window_s=0.2)
    desk.polygon = PolygonMarket(desk.server.url, SecretStr(KEY), backoff=QUICK, budget=budget)
    assert desk.bars(date(2024, 3, 1), date(2024, 3, 15)).success
    told = next(event.user_message for event in desk.events() if "calls, a call a session" in event.user_message)
    assert "11 sessions (2024-03-01 to 2024-03-15) in 11 calls, a call a session; at least 0 s under the limit" in told
    assert CallBudget(tmp_path / "x.json", 5).seconds_for(1260) == 251 * 60


def test_what_a_materialization_tells(desk):
    days = sessions_between(date(2024, 3, 1), date(2024, 3, 8))
    made = desk.bars(days[0], days[-1]).asset_materializations_for_node("daily_bars")
    own = [event for event in made if event.asset_key == dg.AssetKey("daily_bars")]
    assert [event.metadata["dagster/row_count"].value for event in own] == [4] * len(days)
    last = own[-1].metadata
    assert (last["first_session"].value, last["last_session"].value) == ("2024-03-01", "2024-03-08")
    assert last["coverage"].value.startswith("![symbols a session](data:image/svg+xml;base64,")
    columns = {column.name: column for column in last[SCHEMA].schema.columns}
    assert list(columns) == list(DAILY_BARS.schema)
    assert columns["low"].constraints.other == ["> 0", "not null"]
    assert "unadjusted" in columns["low"].description
    assert last[SCHEMA].schema.constraints.other == ["unique in (date, symbol)"]


def test_a_stray_bad_bar_of_a_large_session_is_set_aside_and_told(desk):
    desk.stocks.symbols = tuple(f"S{number:04}" for number in range(1500))

    def spoiled(day, rows):
        return [{**row, "l": -1.0} if row["T"] == "S0007" and day == SESSION else row for row in rows]

    desk.stocks.edit = spoiled
    assert desk.bars().success
    assert desk.lake.read("daily_bars", str(SESSION)).height == 1499
    rejected = desk.lake.read("rejected_bars", str(SESSION))
    assert rejected.select("symbol", "low", "reason").rows() == [("S0007", -1.0, "low is not a positive number")]
    checked = desk.run(daily_bars, checks.daily_bars_content, first=SESSION)
    found = {check.check_name: check for check in checked.get_asset_check_evaluations()}
    assert not found["nothing_was_rejected"].passed
    assert found["prices_are_possible"].passed

    desk.stocks.edit = lambda _day, rows: rows
    assert desk.bars(overwrite=True).success
    assert desk.lake.read("daily_bars", str(SESSION)).height == 1500
    assert not desk.lake.exists("rejected_bars", str(SESSION))


def test_a_market_that_really_became_small_can_be_taken(desk):
    assert desk.bars(BEFORE).success
    desk.stocks.symbols = ("AAA",)
    assert "accept_thin_sessions" in error_of(desk.bars())
    assert desk.bars(accept_thin_sessions=True).success
    assert desk.lake.read("daily_bars", str(SESSION)).height == 1


CHECKS_OF_BARS = [
    one for one in defs.asset_checks or () if any(key.asset_key == dg.AssetKey("daily_bars") for key in one.check_keys)
]
BAR_CHECKS = {
    "no_duplicate_bars": (lambda bars: pl.concat([bars, bars.head(1)]), True),
    "prices_are_possible": (lambda bars: bars.with_columns(low=pl.col("high") + 1), True),
    "vwap_within_the_range": (lambda bars: bars.with_columns(vwap=pl.col("high") + 1), False),
    "jumps_have_a_reason": (
        lambda bars: bars.with_columns(pl.col("open", "high", "low", "close", "vwap") * 1.5),
        False,
    ),
    "coverage": (lambda bars: bars.head(2), False),
    "bars_match_their_schema": (lambda bars: bars.drop("trades"), True),
}


@pytest.mark.parametrize("check", BAR_CHECKS)
def test_each_check_finds_what_it_is_for_and_blocks_where_it_has_to(desk, check):
    spoil, blocks = BAR_CHECKS[check]
    assert desk.bars(BEFORE, SESSION).success
    desk.lake.write("daily_bars", spoil(desk.lake.read("daily_bars", str(SESSION))), str(SESSION))
    result = desk.run(daily_bars, *CHECKS_OF_BARS, first=SESSION)
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert not found[check].passed
    assert (found[check].severity == dg.AssetCheckSeverity.ERROR) == blocks
    if blocks:
        assert not result.success


def test_a_split_is_a_reason_for_a_jump(desk):
    assert desk.bars(BEFORE, SESSION).success
    half = pl.col("open", "high", "low", "close", "vwap") / 2
    spoiled = desk.lake.read("daily_bars", str(SESSION)).with_columns(half)
    desk.lake.write("daily_bars", spoiled, str(SESSION))
    actions = pl.DataFrame({"symbol": spoiled["symbol"][:-1], "ex_date": SESSION}).with_columns(
        kind=pl.lit("split"), ratio=pl.lit(2.0), cash=pl.lit(None, pl.Float64), declared=pl.lit(None, pl.Date)
    )
    desk.lake.write("corporate_actions", actions)
    result = desk.run(daily_bars, checks.daily_bars_content, first=SESSION)
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}["jumps_have_a_reason"]
    assert found.metadata["found"].value == 1


def test_missing_sessions_and_a_missing_newest_one_are_told(desk):
    desk.bars(date(2024, 3, 1), date(2024, 3, 5))
    desk.lake.delete("daily_bars", "2024-03-04")
    result = desk.run(daily_bars, *CHECKS_OF_BARS, first="2024-03-05")
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert not found["every_session_is_there"].passed
    assert not found["newest_session_is_there"].passed


@dg.asset(
    partitions_def=months,
    deps=[
        dg.AssetDep(
            daily_bars, partition_mapping=dg.TimeWindowPartitionMapping(-13, 0, allow_nonexistent_upstream_partitions=True)
        ),
        dg.AssetDep(bar_corrections, partition_mapping=corrections_of(-13, 0)),
    ],
)
def a_year_of_bars() -> None:
    """Reads more sessions than Dagster looks at one by one, as features do."""


@dg.asset(deps=[daily_bars, dg.AssetDep(bar_corrections, partition_mapping=dg.LastPartitionMapping())])
def newest_bars() -> None:
    """Reads all sessions and has no partitions, as the regime."""


def stale(desk: Desk, asset: str, partition: str | None = None) -> StaleStatus:
    from dagster._core.loader import LoadingContextForTest

    assets = [daily_bars, bar_corrections, universe, a_year_of_bars, newest_bars]
    graph = dg.Definitions(assets=assets, resources=RESOURCES).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(desk.instance, graph, LoadingContextForTest(desk.instance))
    return resolver.get_status(dg.AssetKey(asset), partition)


def test_a_correction_replaces_the_bar_is_put_on_record_and_makes_what_depends_on_it_stale(desk):
    desk.stocks.symbols = ("AAA", "BBB", "CCC", "DDD", "EEE")
    desk.stocks.sectors = {"AAA": "SERVICES-PREPACKAGED SOFTWARE"}
    first, last = date(2024, 1, 2), date(2024, 3, 28)
    assert desk.bars(first, last).success
    assert desk.run(universe, first="2024-03-01", last="2024-04-01").success
    april = desk.lake.read("universe", "2024-04-01")
    assert dict(april.select("symbol", "sector").iter_rows())["AAA"] == "SERVICES-PREPACKAGED SOFTWARE"
    assert desk.run(a_year_of_bars, first="2024-02-01", last="2024-03-01").success
    assert desk.run(newest_bars).success
    fresh = [("universe", "2024-03-01"), ("universe", "2024-04-01"), ("a_year_of_bars", "2024-03-01"), ("newest_bars", None)]
    assert {stale(desk, *each) for each in fresh} == {StaleStatus.FRESH}

    quiet = desk.run(bar_corrections, first="2024-03-01")
    assert quiet.success
    assert {stale(desk, *each) for each in fresh} == {StaleStatus.FRESH}
    assert desk.lake.read("bar_corrections", "2024-03-01").is_empty()

    def corrected(day, rows):
        return [{**row, "c": row["c"] + 0.5} if (day, row["T"]) == (date(2024, 3, 12), "BBB") else row for row in rows]

    before = desk.lake.read("daily_bars", "2024-03-12")
    untouched = desk.bytes_of(date(2024, 3, 13))
    desk.stocks.edit = corrected
    result = desk.run(bar_corrections, first="2024-03-01")
    assert result.success
    record = desk.lake.read("bar_corrections", "2024-03-01")
    old = before.filter(pl.col("symbol") == "BBB")["close"][0]
    assert record.select("date", "symbol", "field", "before", "after").rows() == [
        (date(2024, 3, 12), "BBB", "close", old, old + 0.5)
    ]
    assert desk.lake.read("daily_bars", "2024-03-12").filter(pl.col("symbol") == "BBB")["close"][0] == old + 0.5
    assert desk.bytes_of(date(2024, 3, 13)) == untouched
    told = desk.instance.fetch_materializations(dg.AssetKey("daily_bars"), limit=1).records[0].asset_materialization
    assert told.partition == "2024-03-12"
    assert told.metadata["corrected_bars"].value == 1
    assert "BBB | close" in told.metadata["corrections"].value
    assert stale(desk, "universe", "2024-04-01") == StaleStatus.STALE
    assert stale(desk, "universe", "2024-03-01") == StaleStatus.FRESH
    assert stale(desk, "a_year_of_bars", "2024-03-01") == StaleStatus.STALE
    assert stale(desk, "a_year_of_bars", "2024-02-01") == StaleStatus.FRESH

    # A second night finds nothing new, and a run over what is there changes no version.
    assert desk.run(bar_corrections, first="2024-03-01").success
    assert desk.lake.read("bar_corrections", "2024-03-01").equals(record)
    assert desk.run(universe, first="2024-04-01").success
    assert desk.bars(first, last).success
    assert stale(desk, "universe", "2024-04-01") == StaleStatus.FRESH


def test_the_nightly_schedule_asks_for_the_months_of_the_last_five_sessions():
    from datetime import datetime

    from mltrainer_pipelines.market.sessions import NEW_YORK

    def asked(moment: datetime) -> list[str]:
        context = dg.build_schedule_context(scheduled_execution_time=moment)
        return [request.partition_key for request in correct_bars_schedule(context)]

    assert asked(datetime(2024, 3, 20, 4, tzinfo=NEW_YORK)) == ["2024-03-01"]
    assert asked(datetime(2024, 4, 3, 4, tzinfo=NEW_YORK)) == ["2024-03-01", "2024-04-01"]
    assert "2024-03-01" in months.get_partition_keys()


def fred_reply(*rows: tuple[str, str, str]) -> Reply:
    text = "".join(
        f'<observation realtime_start="{start}" realtime_end="9999-12-31" date="{day}" value="{value}"/>'
        for start, day, value in rows
    )
    return Reply(
        f'<?xml version="1.0"?><observations count="{len(rows)}">{text}</observations>'.encode(), content_type="text/xml"
    )


FRED_FAULTS = {
    "hang": (Reply(b"", stall_s=30.0), "FRED did not answer in 2 attempts"),
    "HTML": (Reply(b"<!DOCTYPE html><html>maintenance</html>", content_type="text/html"), "content type text/html"),
    "malformed date": (fred_reply(("2024-01-05", "05/01/2024", "4.1")), "observations of DGS2 cannot be used"),
    "wrong shape": (Reply(b"<series/>", content_type="text/xml"), "<observations> was expected"),
}


@pytest.mark.parametrize("fault", FRED_FAULTS)
def test_what_is_wrong_with_fred_fails_the_run_and_leaves_the_table_as_it_was(desk, fault):
    reply, said = FRED_FAULTS[fault]
    good = fred_reply(("2024-01-05", "2024-01-04", "4.1"), ("2024-01-06", "2024-01-05", "."))
    answers = [good]
    with vendor(lambda _: answers[0]) as server:
        quick = Backoff(attempts=2, first_s=0.01)

        def run(timeout_s: float = 30.0) -> Any:
            resources = desk.resources(FredSeries(server.url, SecretStr(KEY), timeout_s=timeout_s, backoff=quick))
            return dg.materialize([macro_series], instance=desk.instance, resources=resources, raise_on_error=False)

        assert run().success
        table = desk.lake.read("macro_series")
        assert table.filter(pl.col("series_id") == "DGS2").select("date", "value", "published").rows() == [
            (date(2024, 1, 4), 4.1, date(2024, 1, 5))
        ]
        whole = Path(desk.lake.path("macro_series")).read_bytes()
        answers[0] = reply
        failed = run(timeout_s=0.2 if fault == "hang" else 30.0)
        assert not failed.success
        assert said in error_of(failed)
        assert Path(desk.lake.path("macro_series")).read_bytes() == whole


def test_a_symbol_that_comes_back_is_asked_about_once_and_is_another_company(desk):
    days = sessions_between(date(2024, 1, 2), date(2024, 2, 29))
    gone = days[10:20]
    desk.stocks.edit = lambda day, rows: [row for row in rows if row["T"] != "AAA" or day not in gone]
    assert desk.bars(days[0], days[-1]).success
    asked = []
    for _ in range(2):
        result = desk.run(listings)
        asked.append(sum(call.path == "/v3/reference/tickers/AAA" for call in desk.server.calls))
        assert result.success
    assert asked == [2, 2]
    assert desk.lake.read("listings").select("company", "first").rows() == [("AAA", days[0]), ("AAA~2", days[20])]
    assert result.asset_materializations_for_node("listings")[0].metadata["symbols"].value == 4


def test_the_same_actions_fetched_again_are_the_same_version(desk):
    versions = []
    for _ in range(2):
        result = desk.run(corporate_actions)
        event = result.asset_materializations_for_node("corporate_actions")[0]
        versions.append(event.tags["dagster/data_version"])
    assert versions[0] == versions[1]
    asked = [call.query["execution_date.gte"] for call in desk.server.calls if call.path == "/v3/reference/splits"]
    today = date.fromisoformat(event.metadata["asked_on"].value)
    assert asked == [event.metadata["asked_from"].value, str(today - CHECKED_AGAIN)]
    assert json.dumps(event.metadata["dagster/row_count"].value) == "0"


def listing(*rows: dict[str, Any]) -> Reply:
    return Reply(json.dumps({"status": "OK", "count": len(rows), "results": rows}).encode())


def test_an_action_that_lies_is_quarantined_told_once_and_a_correction_overrules_it(desk):
    from mltrainer_pipelines.settings import now
    from mltrainer_pipelines.store import corrections, quarantine
    from mltrainer_pipelines.store.alerts import alerts

    days = sessions_between(date(2024, 1, 2), date(2024, 3, 28))
    assert desk.bars(days[0], days[-1]).success
    split = {"ticker": "AAA", "execution_date": "2024-02-20", "split_from": 1, "split_to": 4, "id": "P1"}
    paid = {"ticker": "BBB", "ex_dividend_date": "2024-02-20", "cash_amount": 0.5, "currency": "USD", "id": "E1"}

    def answer(call: Call) -> Reply:
        if call.path.endswith("/splits"):
            return listing(split, split | {"ticker": "CCC", "split_from": 0, "id": "P2"})
        if call.path.endswith("/dividends"):
            return listing(paid, paid, paid | {"cash_amount": -3.0, "id": "E3"}, paid | {"ticker": "DDD", "cash_amount": 900.0})
        return desk.stocks(call)

    with vendor(answer) as server:
        desk.polygon = PolygonMarket(server.url, SecretStr(KEY), timeout_s=2.0, backoff=QUICK)
        for _ in range(2):
            assert desk.run(corporate_actions).success
            assert desk.lake.read("corporate_actions").select("symbol", "cash").rows() == [("BBB", 0.5)]
            rows = quarantine.quarantined(desk.database.engine)
            assert sorted((row["subject"], row["source"]) for row in rows) == [
                (symbol, "corporate_actions") for symbol in ("AAA", "BBB", "BBB", "CCC", "DDD")
            ]
            (raised,) = alerts(desk.database.engine)
            assert raised["message"].startswith("5 rows of corporate_actions set aside: ")
        version = desk.lake.read("corporate_actions")
        right = corrections.Correction("split", date(2024, 2, 20), "AAA", 4.0, "the filing says so")
        number = corrections.add(desk.database.engine, right, "test", now())
        assert desk.run(corporate_actions).success
        assert desk.lake.read("corporate_actions").filter(pl.col("kind") == "split")["ratio"].to_list() == [4.0]
        assert "AAA" not in {row["subject"] for row in quarantine.quarantined(desk.database.engine)}
        corrections.revoke(desk.database.engine, number, now())
        assert desk.run(corporate_actions).success
        assert desk.lake.read("corporate_actions").equals(version)


def test_a_false_print_is_clipped_quarantined_and_mended_by_the_vendor_or_by_a_correction(desk):
    from mltrainer_pipelines.settings import now
    from mltrainer_pipelines.store import corrections
    from mltrainer_pipelines.store.quarantine import quarantined

    def lows() -> list[float]:
        return desk.lake.read("daily_bars", str(SESSION)).filter(pl.col("symbol") == "BBB")["low"].to_list()

    (true,) = [row for row in GOOD if row["T"] == "BBB"]
    desk.stocks.edit = lambda day, rows: [row | {"l": 0.92} if (day, row["T"]) == (SESSION, "BBB") else row for row in rows]
    assert desk.bars(BEFORE, SESSION).success
    assert lows() == [min(true["o"], true["c"])]
    (row,) = quarantined(desk.database.engine)
    assert (row["source"], row["subject"], row["day"], row["row"]["low"]) == ("daily_bars", "BBB", SESSION, 0.92)
    assert desk.run(bar_corrections, first="2024-03-01").success
    assert desk.lake.read("bar_corrections", "2024-03-01").is_empty()
    number = corrections.add(desk.database.engine, corrections.Correction("bar", SESSION, "BBB"), "test", now())
    assert desk.run(bar_corrections, first="2024-03-01").success
    assert lows() == [0.92]
    assert quarantined(desk.database.engine) == []
    corrections.revoke(desk.database.engine, number, now())
    desk.stocks.edit = lambda _day, rows: rows
    assert desk.run(bar_corrections, first="2024-03-01").success
    assert lows() == [true["l"]]
    assert quarantined(desk.database.engine) == []


def test_a_closure_that_a_person_declares_is_no_missing_session(desk):
    from mltrainer_pipelines.market.backlog import closures
    from mltrainer_pipelines.settings import now
    from mltrainer_pipelines.store import corrections

    desk.stocks.faults[SESSION] = [Reply(b'{"status":"OK","resultsCount":0,"queryCount":0}')] * 9
    assert desk.bars(BEFORE).success
    assert not desk.bars().success  # the newest session: it may be that nothing is published yet
    corrections.add(desk.database.engine, corrections.Correction("closure", SESSION), "test", now())
    assert desk.bars().success
    assert closures(desk.lake) == {SESSION}


def test_a_series_that_is_gone_keeps_what_is_stored_and_costs_no_other(desk):
    from mltrainer_pipelines.store.quarantine import quarantined

    good = fred_reply(("2024-01-05", "2024-01-04", "4.1"), ("2024-01-06", "2024-01-05", "4.2"))
    future = fred_reply(("2024-01-05", "2024-01-04", "4.1"), ("2024-01-04", "2024-01-05", "4.2"))
    replies: dict[str, Reply] = {}
    with vendor(lambda call: replies.get(call.query["series_id"], good)) as server:
        fred = FredSeries(server.url, SecretStr(KEY), timeout_s=2.0, backoff=Backoff(attempts=1))

        def run() -> Any:
            return dg.materialize([macro_series], instance=desk.instance, resources=desk.resources(fred), raise_on_error=False)

        assert run().success
        whole = desk.lake.read("macro_series")
        replies |= {"DGS2": Reply(b"gone", status=404, content_type="text/plain"), "UNRATE": future}
        assert run().success
        table = desk.lake.read("macro_series")
        assert table.filter(pl.col("series_id") == "UNRATE").height == 1
        assert table.filter(pl.col("series_id") != "UNRATE").equals(whole.filter(pl.col("series_id") != "UNRATE"))
        assert sorted(row["subject"] for row in quarantined(desk.database.engine)) == ["DGS2", "UNRATE"]
        replies.clear()
        assert run().success
        assert quarantined(desk.database.engine) == []


def test_the_settings_list_the_series_and_the_free_plans_calls(monkeypatch):
    from mltrainer_pipelines.market.macro import FRED_SERIES
    from mltrainer_pipelines.market.quotes import STALE_AFTER
    from mltrainer_pipelines.settings import Settings

    assert Settings().macro_series == tuple(FRED_SERIES)
    assert timedelta(minutes=Settings().mltrainer_stale_minutes) == STALE_AFTER
    monkeypatch.setenv("MLTRAINER_MACRO_SERIES", "dgs10, UNRATE")
    assert Settings().macro_series == ("DGS10", "UNRATE")
    for name in ("POLYGON_API_KEY", "POLYGON_BASE_URL", "POLYGON_CALLS_PER_MINUTE"):
        monkeypatch.delenv(name, raising=False)
    assert Settings().polygon_call_budget is None
    monkeypatch.setenv("POLYGON_API_KEY", "key")
    assert Settings().polygon_call_budget == 5
    for said, budget in (("0", None), ("100", 100), ("", 5)):
        monkeypatch.setenv("POLYGON_CALLS_PER_MINUTE", said)
        assert Settings().polygon_call_budget == budget


def test_quotes_are_checked_for_their_age(desk):
    from datetime import datetime

    from mltrainer_pipelines.contracts.lake_tables import DELAYED_QUOTES
    from mltrainer_pipelines.defs.signals.assets import delayed_quotes
    from mltrainer_pipelines.defs.signals.checks import quotes_are_delayed_and_possible
    from mltrainer_pipelines.market.sessions import NEW_YORK

    check = quotes_are_delayed_and_possible
    moment = datetime(2024, 3, 4, 12, tzinfo=NEW_YORK)

    def checked(age: timedelta) -> Any:
        row = {"as_of": moment, "date": SESSION, "symbol": "AAA", "close": 10.0, "updated_at": moment - age, "stale": False}
        desk.lake.write("delayed_quotes", pl.DataFrame([row], schema=DELAYED_QUOTES.schema), str(SESSION))
        return check.node_def.compute_fn.decorated_fn(desk.lake)  # type: ignore[attr-defined]

    assert delayed_quotes.key in {key.asset_key for key in check.check_keys}
    assert checked(timedelta(minutes=15)).passed
    assert not checked(timedelta(minutes=5)).passed


def split_page(number: int, following: str | None = None) -> Reply:
    row = {"id": f"E{number}", "ticker": "AAA", "execution_date": "2024-03-04", "split_from": 1, "split_to": 2}
    more = {"next_url": following} if following else {}
    return Reply(json.dumps({"status": "OK", "results": [row], **more}).encode())


PAGING_FAULTS = {
    "a page that repeats": (lambda url: split_page(1, f"{url}/v3/reference/splits?cursor=b"), "a page came twice"),
    "a next_url that leads back": (
        lambda url: split_page(number=next(COUNTER), following=f"{url}/v3/reference/splits?cursor=b"),
        "its next_url leads back",
    ),
    "a next_url to another host": (
        lambda url: split_page(1, "http://127.0.0.2:9/v3/reference/splits?cursor=b"),
        "another host, http://127.0.0.2, to which nothing was sent",
    ),
    "results missing": (lambda url: Reply(b'{"status":"OK","count":3}'), "results is missing"),
}
COUNTER = itertools.count(1)


@pytest.mark.parametrize("fault", PAGING_FAULTS)
def test_corporate_actions_that_come_wrong_leave_the_table_as_it_was(desk, fault):
    make, said = PAGING_FAULTS[fault]
    faulty = [False]

    def answer(call: Call) -> Reply:
        if call.path != "/v3/reference/splits":
            return desk.stocks(call)
        return make(server.url) if faulty[0] else split_page(1)

    with vendor(answer) as server:
        desk.polygon = PolygonMarket(server.url, SecretStr(KEY), timeout_s=2.0, backoff=QUICK)
        assert desk.run(corporate_actions).success
        before = Path(desk.lake.path("corporate_actions")).read_bytes()
        assert desk.lake.read("corporate_actions")["ratio"].to_list() == [2.0]
        faulty[0] = True
        failed = desk.run(corporate_actions)
        assert not failed.success
        assert said in error_of(failed)
        assert Path(desk.lake.path("corporate_actions")).read_bytes() == before
