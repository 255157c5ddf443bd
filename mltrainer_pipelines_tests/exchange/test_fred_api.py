"""FRED's wire format, asked for by fredapi over HTTP."""

import json
import urllib.error
import urllib.request
from datetime import date, timedelta
from itertools import pairwise
from types import SimpleNamespace
from xml.etree import ElementTree

import pandas as pd
import pytest

from mltrainer_pipelines.exchange.fred_api import MAX_VINTAGES
from mltrainer_pipelines.exchange.market import MacroSeries, MacroValue
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines_tests.exchange.conftest import KEY, new_york

TODAY = date(2024, 6, 12)


def raw(exchange, path: str) -> tuple[int, str, str]:
    """Status, content type and body of a GET, as they come."""
    try:
        with urllib.request.urlopen(f"{exchange.url}/fred{path}") as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


def published(exchange, series_id: str, until: date = TODAY) -> list[MacroValue]:
    return [value for value in exchange.market.macro()[series_id].values if value.published <= until]


@pytest.mark.parametrize("series_id", ["DGS10", "T10Y2Y", "UNRATE", "M2SL", "FEDFUNDS", "DTWEXBGS"])
def test_the_latest_view_has_the_last_published_value_of_each_date(exchange, series_id):
    series = exchange.fred().get_series(series_id)
    latest = {value.observed: value.value for value in published(exchange, series_id)}
    assert [day.date() for day in series.index] == list(latest)
    assert series.dropna().tolist() == [value for value in latest.values() if value is not None]


def test_all_releases_hold_every_vintage_with_the_date_it_came_out(exchange):
    frame = exchange.fred().get_series_all_releases("CPIAUCSL")
    rows = [(row.date.date(), row.realtime_start.date(), row.value) for row in frame.itertuples()]
    assert rows == [(value.observed, value.published, value.value) for value in published(exchange, "CPIAUCSL")]
    assert frame["date"].duplicated().any()
    first = exchange.fred().get_series_first_release("CPIAUCSL")
    assert first.iloc[-1] == next(v.value for v in published(exchange, "CPIAUCSL") if v.observed == first.index[-1].date())


def test_a_value_is_not_known_the_day_before_it_is_published(exchange):
    value = next(value for value in exchange.market.macro()["UNRATE"].values if value.observed == date(2024, 3, 1))
    for day, known in ((value.published - timedelta(days=1), False), (value.published, True)):
        exchange.now = new_york(day.year, day.month, day.day, 12)
        assert (pd.Timestamp(value.observed) in exchange.fred().get_series("UNRATE").index) == known


def test_a_revision_ends_the_real_time_period_of_the_value_before_it_and_not_earlier(exchange):
    values = [value for value in exchange.market.macro()["M2SL"].values if value.observed == date(2023, 3, 1)]
    first, second = values[:2]

    def seen(day: date) -> dict[str, str]:
        path = f"/series/observations?series_id=M2SL&api_key={KEY}&realtime_start={day}&realtime_end={day}"
        rows = [row.attrib for row in ElementTree.fromstring(raw(exchange, path)[2])]
        return next(row for row in rows if row["date"] == str(first.observed))

    before = second.published - timedelta(days=1)
    assert float(seen(before)["value"]) == first.value
    assert float(seen(second.published)["value"]) == second.value
    assert seen(before)["realtime_start"] == seen(before)["realtime_end"] == str(before)

    def vintages() -> list[dict[str, str]]:
        path = f"/series/observations?series_id=M2SL&api_key={KEY}&realtime_start=1776-07-04&realtime_end=9999-12-31"
        rows = [row.attrib for row in ElementTree.fromstring(raw(exchange, path)[2])]
        return [row for row in rows if row["date"] == str(first.observed)]

    rows = vintages()
    assert rows[0]["realtime_start"] == str(first.published)
    assert rows[0]["realtime_end"] == str(before)
    assert rows[-1]["realtime_end"] == "9999-12-31"
    exchange.now = new_york(before.year, before.month, before.day, 12)
    rows = vintages()
    assert rows[-1]["realtime_end"] == "9999-12-31"
    assert float(rows[-1]["value"]) == first.value


def test_observation_bounds_limit_offset_and_order_are_kept(exchange):
    series = exchange.fred().get_series(
        "DGS2", observation_start="2024-01-01", observation_end="2024-03-31", sort_order="desc", limit=10
    )
    every = exchange.fred().get_series("DGS2", observation_start="2024-01-01", observation_end="2024-03-31")
    assert series.index.tolist() == every.index[::-1][:10].tolist()
    assert every.index[0] == pd.Timestamp(2024, 1, 1)
    path = f"/series/observations?series_id=DGS2&api_key={KEY}&file_type=json&limit=5&offset=3"
    status, kind, body = raw(exchange, path)
    document = json.loads(body)
    assert (status, kind.split(";")[0]) == (200, "application/json")
    assert document["count"] == len(exchange.fred().get_series("DGS2"))
    assert [row["date"] for row in document["observations"]] == [str(v.observed) for v in published(exchange, "DGS2")[3:8]]


def test_a_holiday_has_a_row_without_a_value(exchange):
    series = exchange.fred().get_series("VIXCLS", observation_start="2024-05-27", observation_end="2024-05-28")
    assert series.isna().tolist() == [True, False]


def test_the_description_of_a_series_says_what_it_is_and_how_far_it_goes(exchange):
    info = exchange.fred().get_series_info("UNRATE")
    assert (info["id"], info["frequency_short"], info["seasonal_adjustment_short"]) == ("UNRATE", "M", "SA")
    assert info["observation_end"] == str(published(exchange, "UNRATE")[-1].observed)


def test_vintage_dates_are_the_days_something_came_out(exchange):
    dates = exchange.fred().get_series_vintage_dates("M2SL")
    assert [day.date() for day in dates] == sorted({value.published for value in published(exchange, "M2SL")})


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("series_id=DGS10", "Variable api_key has not been set"),
        ("series_id=DGS10&api_key=wrong", "The value for variable api_key is not registered"),
        (f"api_key={KEY}", "Variable series_id has not been set"),
        (f"series_id=NOSUCH&api_key={KEY}", "The series does not exist"),
        (f"series_id=DGS10&api_key={KEY}&realtime_start=1/1/2015", "Variable realtime_start is not a YYYY-MM-DD formatted date"),
        (f"series_id=DGS10&api_key={KEY}&realtime_start=2024-06-01&realtime_end=2024-05-01", "is after"),
        (f"series_id=DGS10&api_key={KEY}&realtime_end=2025-01-01", "can not be after today's date"),
        (f"series_id=DGS10&api_key={KEY}&limit=0", "Variable limit"),
        (f"series_id=DGS10&api_key={KEY}&sort_order=up", "sort_order"),
    ],
)
def test_a_bad_request_is_answered_as_fred_does(exchange, query, said):
    status, kind, body = raw(exchange, f"/series/observations?{query}")
    error = ElementTree.fromstring(body)
    assert (status, kind.split(";")[0], error.tag, error.get("code")) == (400, "text/xml", "error", "400")
    assert said in error.get("message")
    status, _, body = raw(exchange, f"/series/observations?{query}&file_type=json")
    assert (status, json.loads(body)["error_code"]) == (400, 400)
    assert KEY not in body


def test_fredapi_reports_the_message_of_an_unknown_series(exchange):
    with pytest.raises(ValueError, match="The series does not exist"):
        exchange.fred().get_series("NOSUCH")


def test_more_than_two_thousand_vintages_in_one_answer_are_refused_as_fred_does(serve, small_market):
    days = sessions_between(date(2012, 1, 1), date(2024, 6, 1))
    values = [MacroValue(day, 1.0, published) for day, published in pairwise(days)]
    market = SimpleNamespace(
        name="simulated",
        sessions=small_market.sessions,
        macro=lambda: {"DGS10": MacroSeries("DGS10", values, "", frequency="Daily")},
    )
    with serve(market, new_york(2024, 6, 12, 18)) as exchange:
        with pytest.raises(ValueError, match=f"exceeds the maximum number of vintage dates allowed .{MAX_VINTAGES}"):
            exchange.fred().get_series_all_releases("DGS10")
        frame = exchange.fred().get_series_all_releases("DGS10", realtime_start="2018-01-01", realtime_end="2024-06-12")
        assert frame["realtime_start"].min() == pd.Timestamp(2018, 1, 1)
        assert len(exchange.fred().get_series("DGS10")) == len(values)
