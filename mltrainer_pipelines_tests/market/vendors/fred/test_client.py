"""The FRED client against a server that does everything wrong, over real HTTP."""

import logging
import traceback
from datetime import date
from itertools import pairwise

import pytest
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import MACRO_SERIES
from mltrainer_pipelines.market.errors import (
    BrokenAnswerError,
    KeyRefusedError,
    MarketDataError,
    RateLimitedError,
    UnknownSeriesError,
    UnreachableError,
)
from mltrainer_pipelines.market.macro import fetch_macro, sifted_macro
from mltrainer_pipelines.market.vendors.fred.client import FredSeries
from mltrainer_pipelines.market.vendors.transport import Backoff
from mltrainer_pipelines_tests.servers.vendor import Call, Reply, vendor

KEY = "0123456789secret0123456789abcdef"
FIRST, LAST = date(2020, 1, 1), date(2020, 12, 31)
QUICK = Backoff(attempts=3, first_s=0.01, rate_limited_s=0.02, longest_s=1.0)


def observations(*rows: tuple[str, str, str], count: int | None = None) -> Reply:
    """Rows of (observation date, value, day it was published)."""
    lines = "".join(
        f'<observation realtime_start="{published}" realtime_end="9999-12-31" date="{day}" value="{value}"/>'
        for day, value, published in rows
    )
    head = f'<observations count="{len(rows) if count is None else count}">'
    return Reply(f'<?xml version="1.0" encoding="utf-8" ?>{head}{lines}</observations>'.encode(), content_type="text/xml")


GOOD = observations(("2020-01-01", "3.5", "2020-02-07"), ("2020-02-01", "3.6", "2020-03-06"))


def error(message: str) -> Reply:
    return Reply(f'<?xml version="1.0"?><error code="400" message="{message}" />'.encode(), status=400, content_type="text/xml")


def client_of(url: str, fault: str = "") -> FredSeries:
    """A client without patience for that fault, and with much where only a busy machine could be silent or slow."""
    return FredSeries(
        f"{url}/fred",
        SecretStr(KEY),
        timeout_s=0.5 if fault == "hang" else 5.0,
        backoff=QUICK,
        total_s=1.0 if fault.startswith("drip") else 20.0,
    )


def assert_shows_no_key(failed: BaseException | None) -> None:
    while failed is not None:
        assert "secret" not in f"{failed} {failed!r} {''.join(traceback.format_exception(failed))}"
        failed = failed.__cause__ or failed.__context__


@pytest.fixture(autouse=True)
def _no_key_anywhere(caplog, capfd):
    caplog.set_level(logging.DEBUG)
    yield
    assert "secret" not in caplog.text
    assert "secret" not in "".join(capfd.readouterr())


def test_first_releases_come_with_the_day_they_were_published():
    revised = observations(
        ("2020-01-01", "3.5", "2020-02-07"),
        ("2020-01-01", "3.9", "2020-03-06"),
        ("2020-02-01", "3.6", "2020-03-06"),
        ("2020-03-01", ".", "2020-04-03"),
        ("2020-04-01", "4.0", "2020-05-08"),
        ("2020-05-01", "9.9", "2021-02-01"),
        ("2019-12-01", "1.0", "2020-01-10"),
    )
    with vendor([revised]) as fred:
        found = client_of(fred.url).first_releases("UNRATE", FIRST, LAST)
    assert dict(found.schema) == dict(MACRO_SERIES.schema)
    assert found.rows() == [
        ("UNRATE", date(2020, 1, 1), 3.5, date(2020, 2, 7)),
        ("UNRATE", date(2020, 2, 1), 3.6, date(2020, 3, 6)),
        ("UNRATE", date(2020, 4, 1), 4.0, date(2020, 5, 8)),
    ]
    assert fred.calls[0].path == "/fred/series/observations"
    assert fred.calls[0].query == {
        "series_id": "UNRATE",
        "realtime_start": "2020-01-01",
        "realtime_end": "2020-12-31",
        "observation_start": "2020-01-01",
        "observation_end": "2020-12-31",
        "api_key": KEY,
    }


def test_a_series_without_observations_gives_an_empty_frame_of_the_contract():
    with vendor([observations()]) as fred:
        found = client_of(fred.url).first_releases("UNRATE", FIRST, LAST)
    assert found.is_empty()
    assert dict(found.schema) == dict(MACRO_SERIES.schema)


def test_long_histories_are_asked_for_in_periods_that_fred_accepts():
    """A later period repeats what was published before it, dated to its own start: the earlier period's date counts."""

    def answer(call):
        start = call.query["realtime_start"]
        rows = [("2004-06-01", "5.0", max(start, "2004-07-02"))]
        return observations(*rows, *([("2012-06-01", "8.0", "2012-07-06")] if start > "2009" else []))

    with vendor(answer) as fred:
        found = client_of(fred.url).first_releases("UNRATE", date(2004, 1, 1), date(2014, 6, 30))
    assert found.select("value", "published").rows() == [(5.0, date(2004, 7, 2)), (8.0, date(2012, 7, 6))]
    periods = [(call.query["realtime_start"], call.query["realtime_end"]) for call in fred.calls]
    assert len(periods) == 3
    assert periods[0][0] == "2004-01-01"
    assert periods[-1][1] == "2014-06-30"
    for (_, end), (start, _) in pairwise(periods):
        assert (date.fromisoformat(start) - date.fromisoformat(end)).days == 1


TRANSIENT = {
    "500": Reply(b"oops", status=500, content_type="text/plain"),
    "502 with HTML": Reply(b"<html>bad gateway</html>", status=502, content_type="text/html"),
    "429": Reply(b'<error code="429" message="Too Many Requests."/>', status=429, content_type="text/xml"),
    "429 with Retry-After": Reply(b"", status=429, headers={"Retry-After": "0.05"}),
    "reset": Reply(reset=True),
    "hang": Reply(GOOD.body, stall_s=5.0),
    "drip": Reply(GOOD.body, drip_s=0.02),
    "dripped head": Reply(GOOD.body, drip_head_s=0.02),
    "HTML": Reply(b"<!DOCTYPE html><html><body>Down for maintenance</body></html>", content_type="text/html"),
    "cut body": Reply(GOOD.body, cut_to=120, content_type="text/xml"),
    "cut body of unknown length": Reply(GOOD.body, cut_to=120, announced=False, content_type="text/xml"),
    "empty body": Reply(b"", content_type="text/xml"),
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_passes_is_retried_and_the_values_are_right(fault):
    with vendor([TRANSIENT[fault], GOOD]) as fred:
        found = client_of(fred.url, fault).first_releases("UNRATE", FIRST, LAST)
    assert found["value"].to_list() == [3.5, 3.6]
    assert len(fred.calls) >= 2


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("500", BrokenAnswerError, "status 500, content type text/plain, 4 bytes: 'oops'"),
        ("429", RateLimitedError, "429 (too many calls) after 3 attempts"),
        ("reset", UnreachableError, "reset"),
        ("hang", UnreachableError, "timed out"),
        ("drip", UnreachableError, "not complete after"),
        ("dripped head", UnreachableError, "not complete after"),
        ("HTML", BrokenAnswerError, "content type text/html, 61 bytes: '<!DOCTYPE html>"),
        ("cut body", BrokenAnswerError, "cut off"),
        ("empty body", BrokenAnswerError, "0 bytes"),
    ],
)
def test_a_fault_that_stays_ends_in_an_error_that_says_what_came_and_never_the_key(fault, kind, said):
    with vendor([TRANSIENT[fault]]) as fred, pytest.raises(kind) as failed:
        client_of(fred.url, fault).first_releases("UNRATE", FIRST, LAST)
    assert len(fred.calls) == QUICK.attempts
    assert said in str(failed.value)
    assert_shows_no_key(failed.value)


def test_nobody_listening_is_told_as_such():
    with vendor([GOOD]) as fred:
        pass
    with pytest.raises(UnreachableError, match="check the address") as failed:
        client_of(fred.url).first_releases("UNRATE", FIRST, LAST)
    assert_shows_no_key(failed.value)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (observations(("01/02/2020", "3.5", "2020-02-07")), "01/02/2020"),
        (observations(("2020-13-45", "3.5", "2020-02-07")), "2020-13-45"),
        (observations(("2020-01-01", "3.5", "soon")), "soon"),
        (observations(("2020-01-01", "three", "2020-02-07")), "three"),
        (observations(("2020-01-01", "", "2020-02-07")), "could not convert"),
        (observations(("2020-01-01", "3.5", "2020-02-07"), count=200), "200 observations were announced, 1 came"),
        (Reply(b"<seriess/>", content_type="text/xml"), "<observations> was expected, <seriess> came"),
        (Reply(b"<observations><observation date='2020-01-01'/></observations>", content_type="text/xml"), "lacks date, value"),
    ],
)
def test_an_answer_of_the_wrong_form_fails_without_a_retry(reply, said):
    with vendor([reply]) as fred, pytest.raises(BrokenAnswerError, match="UNRATE") as failed:
        client_of(fred.url).first_releases("UNRATE", FIRST, LAST)
    assert len(fred.calls) == 1
    assert said in str(failed.value)
    assert_shows_no_key(failed.value)


def test_a_value_that_is_no_number_costs_its_observation_and_not_the_series():
    rows = [(f"2020-01-{day:02d}", "words" if day == 7 else f"{day}", "2020-02-07") for day in range(1, 21)]
    with vendor([observations(*rows)]) as server:
        found, doubts = sifted_macro(client_of(server.url), ["DGS10"], FIRST, LAST, None)
    assert found["date"].to_list() == [date(2020, 1, day) for day in range(1, 21) if day != 7]
    assert [(doubt.subject, doubt.day, doubt.reason) for doubt in doubts] == [
        ("DGS10", date(2020, 1, 7), "its value is no number")
    ]


def test_a_refused_key_names_its_variable():
    said = f"Bad Request.  The value for variable api_key is not registered. ({KEY})"
    for reply in (error(said), Reply(b"no", status=403)):
        with vendor([reply]) as fred, pytest.raises(KeyRefusedError, match="FRED_API_KEY") as failed:
            client_of(fred.url).first_releases("UNRATE", FIRST, LAST)
        assert len(fred.calls) == 1
        assert_shows_no_key(failed.value)
    with pytest.raises(KeyRefusedError, match="FRED_API_KEY"):
        FredSeries("http://127.0.0.1:1", SecretStr("two words"))


def test_an_unknown_series_is_named():
    with vendor([error("Bad Request.  The series does not exist.")]) as fred, pytest.raises(UnknownSeriesError, match="'NOPE'"):
        client_of(fred.url).first_releases("NOPE", FIRST, LAST)


def test_where_no_series_is_known_they_are_missing_and_nothing_fails():
    with vendor([error("Bad Request.  The series does not exist.")]) as fred:
        found, doubts = sifted_macro(client_of(fred.url), ["DGS2", "DGS10"], FIRST, LAST, None)
    assert (found.height, doubts) == (0, [])

    def one_of_two(call: Call) -> Reply:
        return GOOD if call.query["series_id"] == "UNRATE" else error("Bad Request.  The series does not exist.")

    with vendor(one_of_two) as fred:
        found, doubts = sifted_macro(client_of(fred.url), ["UNRATE", "NOPE"], FIRST, LAST, None)
    assert (found["series_id"].unique().to_list(), [doubt.subject for doubt in doubts]) == (["UNRATE"], ["NOPE"])


def test_a_redirect_is_not_followed_because_the_key_is_in_the_address():
    with vendor([GOOD]) as elsewhere:
        moved = Reply(status=302, headers={"Location": f"{elsewhere.url}/steal"})
        with vendor([moved]) as fred, pytest.raises(BrokenAnswerError, match="status 302"):
            client_of(fred.url).first_releases("UNRATE", FIRST, LAST)
    assert elsewhere.calls == []


def test_one_series_that_fails_fails_the_fetch_of_all():
    def answer(call):
        return GOOD if call.query["series_id"] == "UNRATE" else TRANSIENT["HTML"]

    with vendor(answer) as fred:
        client = client_of(fred.url)
        assert fetch_macro(client, ["UNRATE"], FIRST, LAST).height == 2
        with pytest.raises(MarketDataError):
            fetch_macro(client, ["UNRATE", "DGS10"], FIRST, LAST)
        assert fetch_macro(client, [], FIRST, LAST).is_empty()


def test_neither_repr_nor_str_shows_the_key():
    client = client_of("http://127.0.0.1:1")
    assert repr(client) == str(client) == "FredSeries('http://127.0.0.1:1/fred')"


def test_a_reversed_range_and_a_bad_address_are_refused():
    with pytest.raises(ValueError, match="2020-12-31 is after last 2020-01-01"):
        client_of("http://127.0.0.1:1").first_releases("UNRATE", LAST, FIRST)
    with pytest.raises(ValueError, match="FRED_BASE_URL"):
        FredSeries("stlouisfed", SecretStr(KEY))


def test_a_series_that_begins_later_keeps_its_history_and_too_many_vintages_are_asked_for_in_parts():
    def answer(call):
        start, end = (date.fromisoformat(call.query[f"realtime_{side}"]) for side in ("start", "end"))
        if end < date(2014, 1, 1):
            return error("Bad Request.  The series does not exist in ALFRED but may exist in FRED.")
        if (min(end, date(2020, 12, 31)) - start).days > 400:
            return error("Bad Request.  There are 2001 vintage dates. This exceeds the maximum number of vintage dates allowed")
        rows = [(f"{year}-01-01", f"{year}.5", f"{year}-02-07") for year in range(2014, 2021)]
        return observations(*(row for row in rows if str(start) <= row[2] <= str(end)))

    with vendor(answer) as server:
        found = client_of(server.url).first_releases("GDP", date(2006, 1, 1), date(2020, 12, 31))
    assert found["date"].to_list() == [date(year, 1, 1) for year in range(2014, 2021)]
    with vendor([error("Bad Request.  The series does not exist.")]) as server, pytest.raises(UnknownSeriesError):
        client_of(server.url).first_releases("GDP", date(2006, 1, 1), date(2020, 12, 31))
