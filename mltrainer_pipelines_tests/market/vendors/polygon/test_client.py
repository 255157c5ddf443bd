"""The Polygon client against a server that does everything wrong, over real HTTP."""

import gc
import gzip
import json
import logging
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import polars as pl
import pytest
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS
from mltrainer_pipelines.http_client import LARGEST_ANSWER
from mltrainer_pipelines.market.corporate_actions import corporate_actions, sifted_actions
from mltrainer_pipelines.market.errors import (
    BadBarsError,
    BrokenAnswerError,
    EmptySessionError,
    KeyRefusedError,
    MarketDataError,
    RateLimitedError,
    UnknownSymbolError,
    UnreachableError,
)
from mltrainer_pipelines.market.sessions import NEW_YORK, NotASessionError
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.market.vendors.protocol import REFERENCE_SCHEMA, SNAPSHOT_SCHEMA
from mltrainer_pipelines.market.vendors.transport import Backoff
from mltrainer_pipelines_tests.servers.vendor import Reply, vendor

KEY = "pk-VERY/secret+key=0123456789"
SESSION = date(2024, 3, 4)
FOUR_PM = 1709586000000
QUICK = Backoff(attempts=3, first_s=0.01, rate_limited_s=0.02, longest_s=1.0)


def bar(symbol: str = "AAA", **changes: object) -> dict:
    return {"T": symbol, "v": 1e6, "vw": 10.2, "o": 10, "c": 10.5, "h": 11, "l": 9.5, "t": FOUR_PM, "n": 900, **changes}


def body(rows: object, count: int | None = None, **more: object) -> bytes:
    count = len(rows) if count is None and isinstance(rows, list) else count
    return json.dumps({"queryCount": count, "resultsCount": count, "status": "OK", "results": rows, **more}).encode()


GOOD = Reply(body([bar("BBB"), bar("AAA")]))


def client_of(url: str, fault: str = "", backoff: Backoff = QUICK) -> PolygonMarket:
    """A client without patience for that fault, and with much where only a busy machine could be silent or slow."""
    return PolygonMarket(
        url,
        SecretStr(KEY),
        timeout_s=0.5 if fault == "stall" else 5.0,
        backoff=backoff,
        total_s=1.0 if fault.startswith("drip") else 20.0,
    )


@pytest.fixture(autouse=True)
def _no_key_anywhere(caplog):
    """Whatever a test does: no log line of any library, at any level, shows the key."""
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text
    assert "secret" not in caplog.text


def assert_shows_no_key(error: BaseException) -> None:
    while error is not None:
        assert "secret" not in f"{error} {error!r} {''.join(traceback.format_exception(error))}"
        error = error.__cause__ or error.__context__


def test_a_session_comes_as_validated_unadjusted_bars():
    with vendor([GOOD]) as polygon:
        client = client_of(polygon.url)
        found = client.grouped_daily(SESSION)
    assert found.schema == DAILY_BARS.schema
    assert found["symbol"].to_list() == ["AAA", "BBB"]
    assert found.row(0) == (SESSION, "AAA", 10.0, 11.0, 9.5, 10.5, 1e6, 10.2, 900)
    assert polygon.calls[0].path == "/v2/aggs/grouped/locale/us/market/stocks/2024-03-04"
    assert polygon.calls[0].query["adjusted"] == "false"
    assert polygon.calls[0].headers["Authorization"] == f"Bearer {KEY}"
    assert "apiKey" not in polygon.calls[0].query
    assert client.calls_made == 1


def test_what_a_plan_leaves_out_of_a_bar_is_null():
    row = {name: value for name, value in bar().items() if name not in ("vw", "n")}
    with vendor([Reply(body([row]))]) as polygon:
        assert client_of(polygon.url).grouped_daily(SESSION).row(0)[-2:] == (None, None)


@pytest.mark.parametrize("encoding", ["chunked", "gzip"])
def test_chunked_and_zipped_answers_are_read_whole(encoding):
    with vendor([CHUNKED if encoding == "chunked" else ZIPPED]) as polygon:
        assert client_of(polygon.url).grouped_daily(SESSION).height == 2
    assert "gzip" in polygon.calls[0].headers["Accept-Encoding"]


def test_a_holiday_or_a_weekend_is_refused_before_any_call():
    with vendor([GOOD]) as polygon:
        for day in (date(2024, 7, 4), date(2024, 3, 3)):
            with pytest.raises(NotASessionError, match=str(day)):
                client_of(polygon.url).grouped_daily(day)
    assert polygon.calls == []


@pytest.mark.parametrize("nothing", [b'{"queryCount":0,"resultsCount":0,"status":"OK"}', body([])])
def test_a_session_without_any_bar_is_an_error_that_names_it(nothing):
    with vendor([Reply(nothing)]) as polygon, pytest.raises(EmptySessionError, match="2024-03-04"):
        client_of(polygon.url).grouped_daily(SESSION)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_fails_at_once_and_names_the_variable(status):
    said = json.dumps({"status": "ERROR", "error": f"Unknown API Key {KEY}"}).encode()
    with vendor([Reply(said, status=status)]) as polygon, pytest.raises(KeyRefusedError) as refused:
        client_of(polygon.url).grouped_daily(SESSION)
    assert len(polygon.calls) == 1
    assert "POLYGON_API_KEY" in str(refused.value)
    assert f"status {status}" in str(refused.value)
    assert "Unknown API Key ***" in str(refused.value)
    assert_shows_no_key(refused.value)


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nbreak", "clé"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key):
    with pytest.raises(KeyRefusedError, match="POLYGON_API_KEY") as refused:
        PolygonMarket("http://127.0.0.1:1", SecretStr(key))
    assert not key.strip() or key not in str(refused.value)


def chunked(whole: bytes) -> bytes:
    """The body in HTTP chunks of 50 bytes, with the last, empty one that ends it."""
    parts = [whole[i : i + 50] for i in range(0, len(whole), 50)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


CHUNKED = Reply(chunked(GOOD.body), announced=False, headers={"Transfer-Encoding": "chunked"})
ZIPPED = Reply(gzip.compress(GOOD.body), headers={"Content-Encoding": "gzip"})

TRANSIENT = {
    "500": Reply(b"oops", status=500, content_type="text/plain"),
    "502": Reply(b"<html>bad gateway</html>", status=502, content_type="text/html"),
    "503 with Retry-After": Reply(b"{}", status=503, headers={"Retry-After": "0"}),
    "429": Reply(b'{"status":"ERROR","error":"too many"}', status=429),
    "429 with Retry-After": Reply(b"{}", status=429, headers={"Retry-After": "0.05"}),
    "reset": Reply(reset=True),
    "stall": Reply(GOOD.body, stall_s=5.0),
    "drip": Reply(GOOD.body, drip_s=0.02),
    "dripped head": replace(GOOD, drip_head_s=0.02),
    "cut body": Reply(GOOD.body, cut_to=60),
    "cut body of unknown length": Reply(GOOD.body, cut_to=60, announced=False),
    "cut chunks": replace(CHUNKED, cut_to=130),
    "cut between chunks": replace(CHUNKED, cut_to=len(CHUNKED.body) - 5),
    "cut gzip": replace(ZIPPED, cut_to=70, announced=False),
    "no gzip": replace(GOOD, headers={"Content-Encoding": "gzip"}),
    "HTML with status 200": Reply(b"<html><body>maintenance</body></html>", content_type="text/html"),
    "empty body": Reply(b""),
    "nested without end": Reply(b"[" * 100_000),
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_passes_is_retried_and_the_bars_are_right(fault):
    with vendor([TRANSIENT[fault], GOOD]) as polygon:
        found = client_of(polygon.url, fault).grouped_daily(SESSION)
    assert found["symbol"].to_list() == ["AAA", "BBB"]
    assert len(polygon.calls) >= 2


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("500", BrokenAnswerError, "status 500, content type text/plain, 4 bytes: 'oops'"),
        ("502", BrokenAnswerError, "status 502, content type text/html"),
        ("429", RateLimitedError, "429 (too many calls) after 3 attempts"),
        ("reset", UnreachableError, "ConnectionResetError"),
        ("stall", UnreachableError, "ReadTimeoutError"),
        ("drip", UnreachableError, "not complete after"),
        ("dripped head", UnreachableError, "not complete after"),
        ("cut body", UnreachableError, "IncompleteRead"),
        ("cut body of unknown length", BrokenAnswerError, "not JSON, or cut off"),
        ("HTML with status 200", BrokenAnswerError, "content type text/html, 37 bytes: '<html><body>maintenance"),
    ],
)
def test_a_fault_that_stays_ends_in_an_error_that_says_what_came(fault, error, said):
    with vendor([TRANSIENT[fault]]) as polygon, pytest.raises(error) as failed:
        client_of(polygon.url, fault).grouped_daily(SESSION)
    assert len(polygon.calls) == QUICK.attempts
    assert said in str(failed.value)
    assert_shows_no_key(failed.value)


def test_nobody_listening_is_told_as_such():
    with vendor([GOOD]) as polygon:
        pass
    with pytest.raises(UnreachableError, match=r"3 attempts.*check the address") as failed:
        client_of(polygon.url).grouped_daily(SESSION)
    assert_shows_no_key(failed.value)


def test_retry_after_is_obeyed_in_seconds():
    with vendor([Reply(status=429, headers={"Retry-After": "0.3"}), GOOD]) as polygon:
        begin = time.monotonic()
        client_of(polygon.url, backoff=Backoff(attempts=2, first_s=0.01, longest_s=3)).grouped_daily(SESSION)
    assert time.monotonic() - begin >= 0.3


def test_retry_after_is_obeyed_as_a_date():
    # An HTTP date has whole seconds.
    awaited = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    with vendor([Reply(status=429, headers={"Retry-After": format_datetime(awaited, usegmt=True)}), GOOD]) as polygon:
        client_of(polygon.url, backoff=Backoff(attempts=2, first_s=0.01, longest_s=4)).grouped_daily(SESSION)
    assert datetime.now(UTC) >= awaited


def test_a_retry_after_beyond_our_patience_fails_at_once():
    with vendor([Reply(status=429, headers={"Retry-After": "3600"})]) as polygon:
        begin = time.monotonic()
        with pytest.raises(RateLimitedError, match="asks to wait 3600 s"):
            client_of(polygon.url).grouped_daily(SESSION)
    assert time.monotonic() - begin < 60
    assert len(polygon.calls) == 1


def test_waits_double_and_stay_bounded():
    from mltrainer_pipelines.market.vendors.transport import TransientFault

    backoff = Backoff(attempts=9, first_s=1, rate_limited_s=15, longest_s=20)
    fault = TransientFault("x", answered=True)
    assert [backoff.wait_s(n, fault) for n in (1, 2, 3, 5, 8)] == [1, 2, 4, 16, 20]
    assert backoff.wait_s(1, TransientFault("x", answered=True, rate_limited=True)) == 15
    with pytest.raises(ValueError, match="at least one attempt"):
        Backoff(attempts=0)


WRONG_SHAPES = {
    "a list": (b"[]", "not an object"),
    "results missing": (b'{"status":"OK","resultsCount":2}', "results is missing"),
    "results missing, no count": (b'{"status":"OK"}', "results is missing"),
    "results null": (b'{"status":"OK","results":null,"resultsCount":5}', "results is not a list"),
    "results an object": (b'{"status":"OK","results":{"T":"AAA"}}', "results is not a list"),
    "rows no objects": (body([1, 2]), "2 of 2 rows hold a value of the wrong type (not an object)"),
    "fewer rows than announced": (body([bar()], count=3000), "resultsCount says 3000 but 1 results came"),
    "a price in words": (body([bar(o="ten")]), "wrong type"),
    "an error with status 200": (b'{"status":"ERROR","error":"x"}', "its status is 'ERROR'"),
}


@pytest.mark.parametrize("shape", WRONG_SHAPES)
def test_json_of_the_wrong_shape_fails_without_a_retry(shape):
    text, said = WRONG_SHAPES[shape]
    with vendor([Reply(text)]) as polygon, pytest.raises(BrokenAnswerError) as failed:
        client_of(polygon.url).grouped_daily(SESSION)
    assert len(polygon.calls) == 1
    assert said in str(failed.value)
    assert "status 200, content type application/json" in str(failed.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([bar(), bar()], "AAA on 2024-03-04: duplicate"),
        ([bar(), bar("BAD", c=float("nan"))], "BAD on 2024-03-04: close is not a positive number"),
        ([bar(), bar("BAD", o=-10.0)], "BAD on 2024-03-04: open is not a positive number"),
        ([bar(), {k: v for k, v in bar("BAD").items() if k != "c"}], "BAD on 2024-03-04: close is not a positive number"),
        ([bar(), bar("BAD", t=FOUR_PM + 86_400_000)], "BAD on 2024-03-05: not a bar of 2024-03-04"),
        ([bar(), {k: v for k, v in bar().items() if k != "T"}], "no symbol"),
        ([bar(), bar("BAD", o={"x": 1})], "BAD on 2024-03-04: open is not a positive number"),
        ([bar(), 7], "no symbol"),
    ],
)
def test_bars_that_cannot_be_right_are_refused_by_name(rows, said):
    with vendor([Reply(body(rows))]) as polygon, pytest.raises(BadBarsError) as failed:
        client_of(polygon.url).grouped_daily(SESSION)
    assert said in str(failed.value)


WRONG_TYPES = [{"o": "ten"}, {"h": [1]}, {"t": "noon"}, {"c": {"x": 1}}, {"T": [5]}, {"t": 10**30}, {"l": 10**400}]


@pytest.mark.parametrize("wrong", WRONG_TYPES, ids=str)
def test_a_value_of_a_wrong_type_costs_its_bar_and_no_other(wrong):
    good = [bar(f"S{number}") for number in range(30)]
    with vendor([Reply(body([*good, bar("BAD") | wrong]))]) as polygon:
        validated = client_of(polygon.url).session_bars(SESSION)
    assert (validated.bars.height, validated.rejected.height) == (30, 1)


def test_an_action_whose_terms_have_a_wrong_type_is_set_aside_and_no_other():
    rows = [dividend(number) for number in range(5)] + [dividend(5, cash_amount="a lot"), dividend(6, ex_dividend_date=20240305)]
    page = json.dumps({"status": "OK", "results": rows}).encode()
    with vendor([Reply(page)]) as polygon:
        found = client_of(polygon.url).dividends(SESSION, SESSION)
    assert found.filter(pl.col("cash").is_null())["symbol"].to_list() == ["S5"]
    assert found.filter(pl.col("ex_date").is_null())["symbol"].to_list() == ["S6"]
    assert found.height == 7


def test_a_redirect_is_not_followed():
    with vendor([GOOD]) as elsewhere:
        moved = Reply(status=302, headers={"Location": f"{elsewhere.url}/steal"})
        with vendor([moved]) as polygon, pytest.raises(BrokenAnswerError, match="status 302"):
            client_of(polygon.url).grouped_daily(SESSION)
    assert elsewhere.calls == []


def dividend(number: int, **changes: object) -> dict:
    return {
        "id": f"E{number}",
        "ticker": f"S{number}",
        "cash_amount": 0.25,
        "currency": "USD",
        "declaration_date": "2024-02-01",
        "dividend_type": "CD",
        "ex_dividend_date": "2024-03-05",
        **changes,
    }


def page(rows: list[dict], next_url: str | None = None) -> Reply:
    return Reply(json.dumps({"status": "OK", "results": rows, **({"next_url": next_url} if next_url else {})}).encode())


def test_all_pages_are_read_to_the_end():
    pages = {
        "1": [dividend(1), dividend(2)],
        "2": [dividend(3)],
        "3": [dividend(4, currency="CAD"), dividend(5, declaration_date=None)],
    }

    def answer(call):
        number = int(call.query.get("cursor", 1))
        return page(pages[str(number)], f"{polygon.url}{call.path}?cursor={number + 1}" if number < 3 else None)

    with vendor(answer) as polygon:
        found = client_of(polygon.url).dividends(date(2024, 3, 1), date(2024, 3, 31))
    assert found.schema == CORPORATE_ACTIONS.schema
    assert found["symbol"].to_list() == ["S1", "S2", "S3", "S5"]
    assert found.row(0) == ("S1", date(2024, 3, 5), "dividend", None, 0.25, date(2024, 2, 1))
    assert found["declared"].to_list()[-1] is None
    assert polygon.calls[0].query["ex_dividend_date.gte"] == "2024-03-01"
    assert polygon.calls[0].query["ex_dividend_date.lte"] == "2024-03-31"
    assert all(call.headers["Authorization"] == f"Bearer {KEY}" for call in polygon.calls)


def test_a_list_without_an_end_ends(monkeypatch):
    def answer(call):
        number = int(call.query.get("cursor", 1))
        return page([dividend(number)], f"{polygon.url}{call.path}?cursor={number + 1}")

    monkeypatch.setattr("mltrainer_pipelines.market.vendors.polygon.responses.MOST_PAGES", 20)
    with vendor(answer) as polygon, pytest.raises(BrokenAnswerError, match="no end of it after 20 pages"):
        client_of(polygon.url).dividends(date(2024, 3, 1), date(2024, 3, 31))
    assert len(polygon.calls) == 21


def test_a_small_answer_that_unpacks_to_gigabytes_is_cut_off():
    bomb = replace(GOOD, body=gzip.compress(bytes(LARGEST_ANSWER + 1), 1), headers={"Content-Encoding": "gzip"})
    patient = Backoff(attempts=1)
    with vendor([bomb]) as polygon, pytest.raises(BrokenAnswerError, match="larger than 64 MB"):
        client_of(polygon.url, backoff=patient).grouped_daily(SESSION)


def test_the_key_is_never_sent_to_another_host():
    with vendor([page([dividend(2)])]) as elsewhere:
        for address in (
            f"{elsewhere.url}/v3/reference/dividends?cursor=x",
            "https://example.com/x",
            "//example.com/x",
            "/relative",
        ):
            with (
                vendor([page([dividend(1)], address)]) as polygon,
                pytest.raises(BrokenAnswerError, match="another host") as failed,
            ):
                client_of(polygon.url).dividends(date(2024, 3, 1), date(2024, 3, 31))
            assert len(polygon.calls) == 1
            assert_shows_no_key(failed.value)
    assert elsewhere.calls == []


def test_a_next_url_that_is_no_address_is_refused():
    for address in (7, "http://[broken"):
        with vendor([page([dividend(1)], address)]) as polygon, pytest.raises(BrokenAnswerError, match="no address"):
            client_of(polygon.url).dividends(date(2024, 3, 1), date(2024, 3, 31))


def test_a_page_that_repeats_is_refused_whatever_its_cursor():
    def same_cursor(call):
        return page([dividend(len(polygon.calls))], f"{polygon.url}{call.path}?cursor=again")

    def same_rows(call):
        return page([dividend(1)], f"{polygon.url}{call.path}?cursor={len(polygon.calls)}")

    for answer, said in (
        (same_cursor, "leads back"),
        (same_rows, "a page came twice"),
    ):
        with vendor(answer) as polygon, pytest.raises(BrokenAnswerError, match=said):
            client_of(polygon.url).dividends(date(2024, 3, 1), date(2024, 3, 31))
        assert len(polygon.calls) <= 3


@pytest.mark.parametrize("last", [TRANSIENT["cut body"], Reply(b'{"status":"OK"}')])
def test_a_later_page_that_breaks_fails_the_whole(last):
    def answer(call):
        return last if "cursor" in call.query else page([dividend(1)], f"{polygon.url}{call.path}?cursor=2")

    with vendor(answer) as polygon, pytest.raises(MarketDataError):
        client_of(polygon.url).dividends(date(2024, 3, 1), date(2024, 3, 31))


def test_impossible_actions_come_as_they_are_and_cost_no_other():
    rows = [dividend(1), dividend(2, cash_amount=-1.0), dividend(3, ex_dividend_date="05/03/2024"), dividend(4, ticker=None)]
    splits = [
        {"id": f"P{ratio}", "ticker": "AAA", "execution_date": "2024-03-05", "split_from": ratio[0], "split_to": ratio[1]}
        for ratio in ((1, 2), (0, 2), (-1, -2))
    ]
    with vendor(lambda call: page(splits if call.path.endswith("splits") else [*rows, dividend(1)])) as polygon:
        listed = corporate_actions(client_of(polygon.url), date(2024, 3, 1), date(2024, 3, 31))
    assert listed.height == 8
    sifted = sifted_actions(listed, DAILY_BARS.empty())
    assert sifted.believed.select("symbol", "ratio", "cash").rows() == [("AAA", 2.0, None), ("S1", None, 0.25)]
    assert sorted(sifted.rejected["reason"]) == [
        "its cash is negative or not a number",
        *["its ratio is not a positive number"] * 2,
        "listed twice",
        *["no symbol or no ex-date"] * 2,
    ]


def test_splits_and_dividends_come_in_one_table():
    split = {"id": "P1", "ticker": "S2", "execution_date": "2024-03-06", "split_from": 2, "split_to": 3}

    def answer(call):
        return page([split]) if call.path.endswith("splits") else page([dividend(2), dividend(1)])

    with vendor(answer) as polygon:
        found = corporate_actions(client_of(polygon.url), date(2024, 3, 1), date(2024, 3, 31))
    assert found.schema == CORPORATE_ACTIONS.schema
    assert found.select("symbol", "kind", "ratio", "cash").rows() == [
        ("S1", "dividend", None, 0.25),
        ("S2", "dividend", None, 0.25),
        ("S2", "split", 1.5, None),
    ]


def test_aggregates_of_a_symbol_carry_the_time_each_bar_opens():
    half_past_nine = int(datetime(2024, 3, 4, 9, 30, tzinfo=NEW_YORK).timestamp() * 1000)
    rows = [{**bar(), "t": half_past_nine + 900_000 * i} for i in range(3)]
    with vendor([Reply(body(rows))]) as polygon:
        found = client_of(polygon.url).aggregates("BRK.B", SESSION, SESSION, 15, "minute")
    assert polygon.calls[0].path == "/v2/aggs/ticker/BRK.B/range/15/minute/2024-03-04/2024-03-04"
    assert found["symbol"].unique().to_list() == ["BRK.B"]
    assert [moment.strftime("%H:%M") for moment in found["start"]] == ["09:30", "09:45", "10:00"]
    assert found["date"].unique().to_list() == [SESSION]


def test_an_unknown_symbol_is_told_from_one_that_did_not_trade():
    def answer(call):
        if call.path.startswith("/v2/aggs"):
            return Reply(b'{"queryCount":0,"resultsCount":0,"status":"OK"}')
        listed = call.query["ticker"] == "GONE" and call.query["active"] == "false"
        return page([{"ticker": "GONE", "active": False}] if listed else [])

    with vendor(answer) as polygon:
        client = client_of(polygon.url)
        assert client.aggregates("GONE", SESSION, SESSION).is_empty()
        with pytest.raises(UnknownSymbolError, match="'NOPE'"):
            client.aggregates("NOPE", SESSION, SESSION)
        calls = len(polygon.calls)
        with pytest.raises(UnknownSymbolError):
            client.aggregates("../../v1/secrets", SESSION, SESSION)
        assert len(polygon.calls) == calls


def test_tickers_of_companies_that_are_no_longer_listed():
    row = {
        "ticker": "GONE",
        "name": "Gone Inc.",
        "type": "CS",
        "active": False,
        "delisted_utc": "2023-05-02T04:00:00Z",
        "market": "stocks",
    }
    with vendor([page([row])]) as polygon:
        found = client_of(polygon.url).reference_tickers(date(2024, 1, 2), active=False)
    assert found.schema == REFERENCE_SCHEMA
    assert found.row(0) == ("GONE", "Gone Inc.", "CS", False, None, None, date(2023, 5, 2))
    assert polygon.calls[0].query | {"limit": ""} == {
        "market": "stocks",
        "date": "2024-01-02",
        "active": "false",
        "sort": "ticker",
        "order": "asc",
        "limit": "",
    }


def test_details_of_a_ticker_hold_its_sector():
    details = {"ticker": "AAA", "name": "A", "type": "CS", "active": True, "sic_description": "SEMICONDUCTORS"}
    with vendor([Reply(json.dumps({"status": "OK", "results": details}).encode())]) as polygon:
        assert client_of(polygon.url).ticker_details("AAA")["sector"].to_list() == ["SEMICONDUCTORS"]
    with vendor([Reply(b'{"status":"NOT_FOUND"}', status=404)]) as polygon, pytest.raises(UnknownSymbolError, match="AAA"):
        client_of(polygon.url).ticker_details("AAA")


def test_the_snapshot_has_a_null_where_the_vendor_writes_nothing_yet():
    day = {"o": 10, "h": 11, "l": 9, "c": 10.5, "v": 1e5, "vw": 10.1}
    unset = dict.fromkeys(day, 0)
    rows = [
        {"ticker": "BBB", "updated": 0, "day": unset, "prevDay": day, "min": {}, "todaysChange": 0},
        {
            "ticker": "AAA",
            "updated": 1709568000123456789,
            "day": day,
            "prevDay": day,
            "lastTrade": {"t": 1709567999000000000, "p": 10.5},
        },
    ]
    with vendor([Reply(json.dumps({"status": "OK", "count": 2, "tickers": rows}).encode())]) as polygon:
        found = client_of(polygon.url).snapshot()
    assert found.schema == SNAPSHOT_SCHEMA
    assert found["symbol"].to_list() == ["AAA", "BBB"]
    assert found["updated_at"][0] == datetime(2024, 3, 4, 11, 0, 0, 123456, tzinfo=NEW_YORK)
    assert found["traded_at"][0] == datetime(2024, 3, 4, 10, 59, 59, tzinfo=NEW_YORK)
    assert found["day_close"].to_list() == [10.5, None]
    assert found["previous_close"].to_list() == [10.5, 10.5]
    assert found["updated_at"][1] is None
    with vendor([Reply(b'{"status":"OK","count":3}')]) as polygon, pytest.raises(BrokenAnswerError, match="tickers is missing"):
        client_of(polygon.url).snapshot()


def test_market_status_and_holidays():
    status = b'{"market":"extended-hours","serverTime":"2020-11-10T17:37:37-05:00","exchanges":{}}'
    with vendor([Reply(status), Reply(b"{}")]) as polygon:
        client = client_of(polygon.url)
        found = client.market_status()
        assert (found.market, found.server_time.hour) == ("extended-hours", 17)
        with pytest.raises(BrokenAnswerError, match="serverTime"):
            client.market_status()
    rows = [
        {"date": "2024-11-28", "exchange": "NYSE", "name": "Thanksgiving", "status": "closed"},
        {
            "date": "2024-11-29",
            "exchange": "NYSE",
            "name": "Thanksgiving",
            "status": "early-close",
            "open": "2024-11-29T14:30:00.000Z",
            "close": "2024-11-29T18:00:00.000Z",
        },
    ]
    with vendor([Reply(json.dumps(rows).encode()), Reply(b"{}")]) as polygon:
        client = client_of(polygon.url)
        found = client.upcoming_holidays()
        assert found["date"].to_list() == [date(2024, 11, 28), date(2024, 11, 29)]
        assert found["close"].to_list() == [None, datetime(2024, 11, 29, 13, tzinfo=NEW_YORK)]
        with pytest.raises(BrokenAnswerError, match="not a list"):
            client.upcoming_holidays()


def test_sessions_can_be_fetched_by_several_threads_at_once():
    def answer(call):
        day = date.fromisoformat(call.path[-10:])
        return Reply(
            body([bar(t=int(datetime(day.year, day.month, day.day, 16, tzinfo=NEW_YORK).timestamp() * 1000))]), stall_s=0.05
        )

    sessions = [date(2024, 3, day) for day in (4, 5, 6, 7, 8, 11, 12, 13, 14, 15)]
    with vendor(answer) as polygon:
        client = PolygonMarket(polygon.url, SecretStr(KEY), backoff=QUICK)
        with ThreadPoolExecutor(5) as pool:
            found = list(pool.map(client.grouped_daily, sessions))
    assert [frame["date"][0] for frame in found] == sessions
    assert client.calls_made == len(polygon.calls) == 10
    assert client.seconds_waited >= 10 * 0.05


def test_neither_repr_nor_str_shows_the_key():
    client = client_of("http://127.0.0.1:1")
    assert repr(client) == str(client) == "PolygonMarket('http://127.0.0.1:1')"
    assert "secret" not in f"{client._pool!r} {client._answers!r}"


def test_an_address_that_is_none_is_refused_by_its_variable():
    for address in ("api.polygon.io", "ftp://x", ""):
        with pytest.raises(ValueError, match="POLYGON_BASE_URL"):
            PolygonMarket(address, SecretStr(KEY))


def test_a_session_of_the_whole_market_is_decoded_in_milliseconds():
    """From the answer's bytes to checked bars; the bounds leave room for a busy machine."""
    with vendor([GOOD]) as polygon:
        client = client_of(polygon.url)
        for symbols, most_s in ((120, 0.01), (10_000, 0.2)):
            answer = client._pool.request("GET", polygon.url)
            text = body([bar(f"S{i:05d}", c=10 + (i % 100) / 100) for i in range(symbols)])
            fastest = float("inf")
            for _ in range(5):
                gc.collect()
                begin = time.process_time()
                whole = type(answer)(200, "application/json", text, json.loads(text))
                client._rest.get_grouped_daily_aggs = lambda *_, whole=whole, **__: whole
                assert len(client.grouped_daily(SESSION)) == symbols
                fastest = min(fastest, time.process_time() - begin)
            print(f"{symbols} symbols: {fastest * 1000:.2f} ms")
            assert fastest < most_s


def test_the_client_under_the_vendors_new_name_will_do(monkeypatch):
    import polygon

    monkeypatch.setitem(sys.modules, "massive", polygon)
    monkeypatch.setitem(sys.modules, "polygon", None)
    with vendor([Reply(b'{"status":"OK","count":0,"tickers":[]}')]) as server:
        assert PolygonMarket(server.url, SecretStr("key")).snapshot().is_empty()
