"""Polygon's wire format, asked for by Polygon's own client over HTTP."""

import json
import urllib.error
import urllib.request
from datetime import date, datetime, timedelta
from urllib.parse import urlsplit

import numpy as np
import pytest
from polygon import BadResponse

from mltrainer_pipelines.exchange.market import NEW_YORK, midnight
from mltrainer_pipelines.exchange.polygon_reference import holiday_name
from mltrainer_pipelines.market.sessions import early_closes_between, holidays_between, previous_session
from mltrainer_pipelines_tests.exchange.conftest import KEY, new_york

TODAY = date(2024, 6, 12)


def raw(exchange, path: str, key: str | None = KEY) -> tuple[int, dict | str]:
    """Status and body of a GET, as they come."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(exchange.url + path, headers=headers)) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def grouped_path(day: date, **asked: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    return f"/v2/aggs/grouped/locale/us/market/stocks/{day}?{query}"


def test_a_grouped_day_is_the_whole_market_unadjusted(exchange):
    bars = exchange.market.day(TODAY)
    rows = exchange.polygon().get_grouped_daily_aggs(TODAY, adjusted=False)
    assert [row.ticker for row in rows] == list(bars.symbol)
    np.testing.assert_array_equal([row.close for row in rows], bars.close)
    np.testing.assert_array_equal([row.volume for row in rows], bars.volume)
    np.testing.assert_array_equal([row.vwap for row in rows], bars.vwap)
    assert {row.timestamp for row in rows} == {int(new_york(2024, 6, 12, 16).timestamp() * 1000)}
    assert all(isinstance(row.transactions, int) for row in rows)


@pytest.mark.parametrize("day", [date(2024, 5, 27), date(2024, 6, 8), date(2024, 6, 13), date(1970, 1, 1)])
def test_a_day_without_public_trading_has_a_count_of_zero_and_no_results(exchange, day):
    status, body = raw(exchange, grouped_path(day, adjusted="false"))
    assert status == 200
    assert body.keys() == {"queryCount", "resultsCount", "adjusted", "status", "request_id"}
    assert (body["resultsCount"], body["status"], body["adjusted"]) == (0, "OK", False)


def test_the_grouped_day_appears_fifteen_minutes_after_the_close(exchange):
    for moment, rows in ((new_york(2024, 6, 12, 16, 14), 0), (new_york(2024, 6, 12, 16, 15), len(exchange.market.day(TODAY)))):
        exchange.now = moment
        assert len(exchange.polygon().get_grouped_daily_aggs(TODAY)) == rows
    early = early_closes_between(date(2023, 1, 1), date(2023, 12, 31))[0]
    exchange.now = datetime.combine(early, datetime.min.time(), NEW_YORK) + timedelta(hours=13, minutes=15)
    assert exchange.polygon().get_grouped_daily_aggs(early)


def test_adjusted_bars_undo_the_splits_in_effect_today_and_no_later_ones(exchange):
    today = exchange.now.date()
    done = [split for split in exchange.market.splits() if split.ex_date <= today]
    later = [split for split in exchange.market.splits() if split.ex_date > today]
    assert done
    assert later
    for split in (done[-1], later[0]):
        day = previous_session(min(split.ex_date, today))
        ratio = np.prod([s.ratio for s in done if s.symbol == split.symbol and s.ex_date > day])
        plain, adjusted = (
            next(row for row in exchange.polygon().get_grouped_daily_aggs(day, adjusted=flag) if row.ticker == split.symbol)
            for flag in (False, True)
        )
        assert adjusted.close == pytest.approx(plain.close / ratio, abs=1e-6)
        assert adjusted.volume == pytest.approx(plain.volume * ratio)
        one = exchange.polygon().get_aggs(split.symbol, 1, "day", day, day)[0]
        assert (one.close, one.volume) == (adjusted.close, adjusted.volume)


def test_daily_aggregates_of_a_ticker_are_paged_and_complete(exchange):
    symbol = exchange.market.day(TODAY).symbol[0]
    bars = exchange.market.history(symbol, date(2023, 1, 1), TODAY)
    client = exchange.polygon()
    rows = list(client.list_aggs(symbol, 1, "day", date(2023, 1, 1), date(2025, 1, 1), adjusted=False, limit=50))
    np.testing.assert_array_equal([row.timestamp for row in rows], bars.start)
    np.testing.assert_array_equal([row.open for row in rows], bars.open)
    newest_first = list(
        client.list_aggs(symbol, 1, "day", date(2023, 1, 1), date(2025, 1, 1), adjusted=False, sort="desc", limit=50)
    )
    assert newest_first == rows[::-1]
    path = f"/v2/aggs/ticker/{symbol}/range/1/day/2023-01-01/2024-06-12?limit=50&adjusted=false"
    following = urlsplit(raw(exchange, path)[1]["next_url"])
    assert f"{following.scheme}://{following.netloc}" == exchange.url


def test_fifteen_minute_bars_stop_fifteen_minutes_ago_and_what_is_known_stays(exchange):
    symbol = exchange.market.day(TODAY).symbol[0]

    def known(moment):
        exchange.now = moment
        return list(exchange.polygon().list_aggs(symbol, 15, "minute", TODAY, TODAY, adjusted=False, limit=150))

    assert known(new_york(2024, 6, 12, 9, 59)) == []
    noon, evening = known(new_york(2024, 6, 12, 12, 7)), known(new_york(2024, 6, 12, 20))
    assert noon[-1].timestamp == int(new_york(2024, 6, 12, 11, 30).timestamp() * 1000)
    assert evening[: len(noon)] == noon
    assert len(evening) == 26
    assert evening[-1].close == exchange.market.history(symbol, TODAY, TODAY).close[0]


def test_millisecond_bounds_select_bars_by_their_start(exchange):
    symbol = exchange.market.day(TODAY).symbol[0]
    start, end = (int(new_york(2024, 6, 12, hour).timestamp() * 1000) for hour in (11, 12))
    rows = exchange.polygon().get_aggs(symbol, 15, "minute", start, end)
    assert [row.timestamp for row in rows] == [start + 900_000 * step for step in range(5)]
    day = exchange.polygon().get_aggs(symbol, 1, "day", midnight(TODAY), midnight(TODAY))
    assert [row.timestamp for row in day] == [midnight(TODAY)]


def test_the_snapshot_is_the_day_so_far_with_the_session_before(exchange):
    exchange.now = new_york(2024, 6, 12, 12, 7)
    rows = {row.ticker: row for row in exchange.polygon().get_snapshot_all("stocks")}
    before = exchange.market.day(previous_session(TODAY))
    assert set(rows) >= set(exchange.market.day(TODAY).symbol)
    symbol = before.symbol[0]
    bars = exchange.polygon().get_aggs(symbol, 15, "minute", TODAY, TODAY, adjusted=False)
    day = rows[symbol].day
    assert day.open == bars[0].open
    assert day.high == max(bar.high for bar in bars)
    assert day.low == min(bar.low for bar in bars)
    assert day.close == bars[-1].close
    assert day.volume == sum(bar.volume for bar in bars)
    assert rows[symbol].prev_day.close == before.close[0]
    assert rows[symbol].todays_change == pytest.approx(day.close - before.close[0], abs=1e-6)
    assert rows[symbol].updated == int(new_york(2024, 6, 12, 11, 45).timestamp()) * 10**9
    two = exchange.polygon().get_snapshot_all("stocks", tickers=[symbol, before.symbol[1], "NOSUCH"])
    assert {row.ticker for row in two} == {symbol, before.symbol[1]}


@pytest.mark.parametrize(
    ("moment", "day_of", "previous"),
    [
        (new_york(2024, 6, 12, 9, 50), None, date(2024, 6, 11)),
        (new_york(2024, 6, 12, 16, 15), date(2024, 6, 12), date(2024, 6, 11)),
        (new_york(2024, 6, 13, 3, 29), date(2024, 6, 12), date(2024, 6, 11)),
        (new_york(2024, 6, 13, 3, 30), None, date(2024, 6, 12)),
        (new_york(2024, 6, 15, 2), date(2024, 6, 14), date(2024, 6, 13)),
        (new_york(2024, 6, 16, 12), None, date(2024, 6, 14)),
    ],
)
def test_the_snapshot_is_cleared_at_half_past_three_and_empty_until_the_first_bar(exchange, moment, day_of, previous):
    exchange.now = moment
    symbol = exchange.market.day(TODAY).symbol[0]
    row = exchange.polygon().get_snapshot_all("stocks", tickers=[symbol])[0]
    expected = 0 if day_of is None else exchange.market.history(symbol, day_of, day_of).close[0]
    assert row.day.close == expected
    assert (row.updated == 0) == (day_of is None)
    assert row.prev_day.close == exchange.market.history(symbol, previous, previous).close[0]


def test_splits_and_dividends_are_paged_filtered_and_not_known_before_they_are_declared(exchange):
    client, today = exchange.polygon(), exchange.now.date()
    splits = list(client.list_splits(execution_date_gte=date(2022, 1, 1), order="asc", sort="execution_date", limit=2))
    expected = [s for s in exchange.market.splits() if s.ex_date >= date(2022, 1, 1) and s.declared <= today]
    assert [(s.ticker, s.execution_date, s.split_to / s.split_from) for s in splits] == [
        (s.symbol, str(s.ex_date), s.ratio) for s in expected
    ]
    dividends = list(
        client.list_dividends(
            ex_dividend_date_gte=date(2023, 1, 1), ex_dividend_date_lte=date(2024, 12, 31), order="asc", limit=50
        )
    )
    expected = [d for d in exchange.market.dividends() if d.ex_date >= date(2023, 1, 1) and d.declared <= today]
    assert len(dividends) == len(expected) > 50
    assert [(d.ex_dividend_date, d.ticker, d.cash_amount) for d in dividends] == [
        (str(d.ex_date), d.symbol, d.cash) for d in expected
    ]
    assert any(d.ex_dividend_date > str(today) for d in dividends)
    assert {d.ticker for d in client.list_dividends(ticker=dividends[0].ticker)} == {dividends[0].ticker}
    assert next(client.list_dividends(limit=1000)).ex_dividend_date == dividends[-1].ex_dividend_date


def test_tickers_are_those_listed_on_the_day_asked_for(exchange):
    client, tickers = exchange.polygon(), exchange.market.tickers()
    for day in (date(2021, 3, 1), TODAY):
        active = [row.ticker for row in client.list_tickers(market="stocks", active=True, date=str(day), limit=7)]
        assert active == [ticker.symbol for ticker in tickers if ticker.active_on(day)]
        gone = {row.ticker: row.delisted_utc for row in client.list_tickers(market="stocks", active=False, date=str(day))}
        assert gone == {t.symbol: f"{t.delisted}T05:00:00Z" for t in tickers if t.delisted and t.delisted <= day}
    future = date(2024, 12, 1)
    assert [row.ticker for row in client.list_tickers(date=str(future), limit=1000)] == active
    adrs = list(client.list_tickers(type="ADRC", limit=1000))
    assert {row.ticker for row in adrs} == {t.symbol for t in tickers if t.type == "ADRC" and t.active_on(TODAY)}


def test_ticker_details_name_the_industry_and_an_unknown_ticker_is_not_found(exchange):
    ticker = exchange.market.tickers()[0]
    details = exchange.polygon().get_ticker_details(ticker.symbol)
    assert (details.name, details.sic_code, details.sic_description) == (ticker.name, ticker.sic_code, ticker.sic_description)
    assert (details.list_date, details.type, details.active) == (str(ticker.list_date), ticker.type, ticker.active_on(TODAY))
    status, body = raw(exchange, "/v3/reference/tickers/NOSUCH")
    assert (status, body["status"], body["message"]) == (404, "NOT_FOUND", "Ticker not found.")


def test_an_unknown_ticker_has_no_aggregates(exchange):
    status, body = raw(exchange, "/v2/aggs/ticker/NOSUCH/range/1/day/2024-01-01/2024-06-01")
    assert (status, body["resultsCount"]) == (200, 0)
    assert "results" not in body


@pytest.mark.parametrize(
    ("moment", "market", "early", "late"),
    [
        (new_york(2024, 6, 12, 12), "open", False, False),
        (new_york(2024, 6, 12, 8), "extended-hours", True, False),
        (new_york(2024, 6, 12, 17), "extended-hours", False, True),
        (new_york(2024, 6, 12, 22), "closed", False, False),
        (new_york(2024, 5, 27, 12), "closed", False, False),
        (new_york(2024, 6, 8, 12), "closed", False, False),
        (new_york(2023, 7, 3, 14), "extended-hours", False, True),
    ],
)
def test_the_market_status_follows_the_clock(exchange, moment, market, early, late):
    exchange.now = moment
    status = exchange.polygon().get_market_status()
    assert (status.market, status.early_hours, status.after_hours) == (market, early, late)
    assert datetime.fromisoformat(status.server_time) == moment


def test_upcoming_holidays_are_those_of_the_calendar(exchange):
    rows = [row for row in exchange.polygon().get_market_holidays() if row.exchange == "NYSE"]
    last = TODAY + timedelta(days=364)
    assert [row.date for row in rows if row.status == "closed"] == [str(day) for day in holidays_between(TODAY, last)]
    assert [row.date for row in rows if row.status == "early-close"] == [str(day) for day in early_closes_between(TODAY, last)]
    assert [row.name for row in rows if row.date == "2024-12-25"] == ["Christmas"]
    assert holiday_name(date(2025, 1, 9)) == "Market holiday"


def test_a_key_goes_in_the_header_or_the_query_and_a_wrong_one_is_refused_as_polygon_does(exchange):
    path = grouped_path(TODAY)
    assert raw(exchange, f"{path}apiKey={KEY}", key=None)[0] == 200
    for key, reason in (("wrong", "Unknown API Key"), (None, "API Key was not provided")):
        status, body = raw(exchange, path, key=key)
        assert (status, body["status"], body["error"]) == (401, "ERROR", reason)
        assert body["request_id"]
        assert KEY not in str(body)
    with pytest.raises(BadResponse, match="Unknown API Key"):
        exchange.polygon("wrong").get_market_status()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v2/aggs/grouped/locale/us/market/stocks/2024-13-01", "date"),
        ("/v2/aggs/grouped/locale/us/market/stocks/2024-06-12?adjusted=perhaps", "adjusted"),
        ("/v2/aggs/ticker/A/range/1/day/yesterday/2024-06-12", "'from'. Use YYYY-MM-DD or Unix MS Timestamps"),
        ("/v2/aggs/ticker/A/range/1/day/2024-06-12/2024-06-11", "'to'"),
        ("/v2/aggs/ticker/A/range/7/week/2024-06-11/2024-06-12", "7 week"),
        ("/v2/aggs/ticker/A/range/1/day/2024-06-11/2024-06-12?limit=none", "limit"),
        ("/v2/aggs/ticker/A/range/1/day/2024-06-11/2024-06-12?cursor=%25", "cursor"),
        ("/v3/reference/splits?cursor=abc", "cursor"),
        ("/v3/reference/splits?order=up", "order"),
        ("/v3/reference/tickers?sort=mood", "sort"),
    ],
)
def test_a_parameter_that_cannot_be_read_is_named_with_status_400(exchange, path, said):
    status, body = raw(exchange, path)
    assert (status, body["status"]) == (400, "ERROR")
    assert said in body["error"]


def test_an_unknown_route_is_not_found(exchange):
    assert raw(exchange, "/v9/nothing") == (404, "404 page not found")


def test_one_call_too_many_within_a_minute_is_answered_with_429(serve, small_market):
    with serve(small_market, new_york(2024, 6, 12, 18), calls_per_minute=3) as exchange:
        assert [raw(exchange, "/v1/marketstatus/now")[0] for _ in range(3)] == [200] * 3
        status, body = raw(exchange, "/v1/marketstatus/now")
        assert (status, body["status"]) == (429, "ERROR")
        assert "exceeded the maximum requests per minute" in body["error"]
        assert raw(exchange, "/healthz", key=None)[0] == 200
    with pytest.raises(ValueError, match="calls_per_minute=0"), serve(small_market, new_york(2024, 6, 12), calls_per_minute=0):
        pass
