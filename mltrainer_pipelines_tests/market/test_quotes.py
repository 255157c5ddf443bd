"""Delayed quotes at every time of a day, and the provisional bars they make."""

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS, DELAYED_QUOTES
from mltrainer_pipelines.market.errors import MarketDataError
from mltrainer_pipelines.market.quotes import closing_quotes, delayed_quotes, provisional_bars, sifted_quotes
from mltrainer_pipelines.market.sessions import NEW_YORK
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines_tests.servers.vendor import Reply, vendor

MONDAY, TUESDAY = date(2024, 3, 4), date(2024, 3, 5)
UNSET = {"o": 0, "h": 0, "l": 0, "c": 0, "v": 0, "vw": 0}
TODAY = {"o": 10.0, "h": 11.0, "l": 9.0, "c": 10.5, "v": 5e5, "vw": 10.2}
YESTERDAY = {"o": 9.0, "h": 9.9, "l": 8.5, "c": 9.5, "v": 1e6, "vw": 9.3}


def at(day: date, clock: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=NEW_YORK)


def ticker(symbol: str, updated: datetime | None, day: dict = TODAY, previous: dict = YESTERDAY, **more: object) -> dict:
    nanoseconds = int(updated.timestamp() * 1_000_000) * 1000 if updated else 0
    return {"ticker": symbol, "updated": nanoseconds, "day": day, "prevDay": previous, **more}


def quotes_at(moment: datetime, tickers: Sequence[dict], **options: timedelta):
    answer = json.dumps({"status": "OK", "count": len(tickers), "tickers": list(tickers)}).encode()
    with vendor([Reply(answer)]) as polygon:
        found = delayed_quotes(PolygonMarket(polygon.url, SecretStr("key")), moment, **options)
    assert len(polygon.calls) == 1
    assert found.schema == DELAYED_QUOTES.schema
    return found


def row_of(moment: datetime, one: dict) -> dict:
    return quotes_at(moment, [one]).row(0, named=True)


def test_during_a_session_the_day_so_far_is_given_with_its_age():
    noon = at(TUESDAY, "12:00")
    found = quotes_at(
        noon, [ticker("B", at(TUESDAY, "11:45")), ticker("A", at(TUESDAY, "11:14:59")), ticker("C", at(TUESDAY, "11:15"))]
    )
    assert found["symbol"].to_list() == ["A", "B", "C"]
    assert found["stale"].to_list() == [True, False, False]
    assert found.row(1, named=True) == {
        "as_of": noon,
        "date": TUESDAY,
        "symbol": "B",
        "open": 10.0,
        "high": 11.0,
        "low": 9.0,
        "close": 10.5,
        "volume": 5e5,
        "vwap": 10.2,
        "previous_close": 9.5,
        "updated_at": at(TUESDAY, "11:45"),
        "stale": False,
    }


def test_how_long_without_a_trade_makes_a_price_stale_can_be_set():
    tickers = [ticker("A", at(TUESDAY, "11:34")), ticker("B", at(TUESDAY, "11:35"))]
    noon = at(TUESDAY, "12:00")
    assert quotes_at(noon, tickers)["stale"].to_list() == [False, False]
    assert quotes_at(noon, tickers, stale_after=timedelta(minutes=10))["stale"].to_list() == [True, False]


def test_a_price_younger_than_fifteen_minutes_is_left_out():
    noon = at(TUESDAY, "12:00")
    found = quotes_at(noon, [ticker("OLD", at(TUESDAY, "11:45")), ticker("YOUNG", at(TUESDAY, "11:46"))])
    assert found["symbol"].to_list() == ["OLD"]


def test_a_snapshot_that_holds_only_young_prices_tells_of_the_clock():
    with pytest.raises(MarketDataError, match=r"younger than 15 minutes.*MLTRAINER_AS_OF"):
        quotes_at(at(TUESDAY, "12:00"), [ticker("YOUNG", at(TUESDAY, "11:59"))])


def test_the_last_trade_tells_the_age_where_the_plan_shows_it():
    traded = {"lastTrade": {"t": int(at(TUESDAY, "11:00").timestamp()) * 1_000_000_000, "p": 10.5}}
    found = row_of(at(TUESDAY, "12:00"), ticker("A", at(TUESDAY, "11:59"), **traded))
    assert (found["updated_at"], found["stale"]) == (at(TUESDAY, "11:00"), True)


def test_a_symbol_that_has_not_traded_today_keeps_its_last_close_and_is_stale():
    traded = ticker("A", at(TUESDAY, "11:45"))
    nothing = ticker("B", None, day=UNSET)
    still_monday = ticker("C", at(MONDAY, "15:00"), day=TODAY)
    found = quotes_at(at(TUESDAY, "12:00"), [traded, nothing, still_monday, ticker("D", None, UNSET, UNSET)])
    assert found["symbol"].to_list() == ["A", "B", "C"]
    assert found["date"].to_list() == [TUESDAY] * 3
    assert found["close"].to_list() == [10.5, 9.5, 10.5]
    assert found["open"].to_list() == [10.0, None, None]
    assert found["volume"].to_list() == [5e5, None, None]
    assert found["stale"].to_list() == [False, True, True]
    assert found["updated_at"].to_list() == [at(TUESDAY, "11:45"), at(MONDAY, "16:00"), at(MONDAY, "15:00")]
    assert provisional_bars(found)["symbol"].to_list() == ["A"]


@pytest.mark.parametrize("moment", [at(TUESDAY, "16:15"), at(TUESDAY, "20:00"), at(date(2024, 3, 6), "02:00")])
def test_after_the_close_it_is_the_finished_day(moment):
    found = row_of(moment, ticker("A", at(TUESDAY, "16:00")))
    assert (found["date"], found["close"], found["previous_close"], found["stale"]) == (TUESDAY, 10.5, 9.5, False)


def test_after_the_close_a_symbol_without_a_trade_that_day_is_not_given_the_day_before_as_its_bar():
    found = quotes_at(at(TUESDAY, "18:00"), [ticker("A", at(TUESDAY, "16:00")), ticker("HALTED", None, day=UNSET)])
    assert found.filter(symbol="HALTED").select("date", "open", "close", "stale").row(0) == (TUESDAY, None, 9.5, True)
    assert provisional_bars(found)["symbol"].to_list() == ["A"]


def test_an_hour_after_the_last_trade_of_the_day_is_no_staleness_but_an_hour_before_the_close_is():
    found = quotes_at(at(TUESDAY, "19:00"), [ticker("A", at(TUESDAY, "15:59")), ticker("B", at(TUESDAY, "15:00"))])
    assert found["stale"].to_list() == [False, True]


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        (at(TUESDAY, "08:00"), MONDAY),
        (at(TUESDAY, "09:44"), MONDAY),
        (at(date(2024, 3, 9), "12:00"), date(2024, 3, 8)),
        (at(date(2024, 7, 4), "12:00"), date(2024, 7, 3)),
    ],
)
def test_before_the_open_and_on_days_without_a_session_it_is_the_session_before(moment, session):
    for tickers in ([ticker("A", None, day=UNSET)], [ticker("A", moment, day=TODAY)]):  # cleared, or trading before hours
        found = row_of(moment, tickers[0])
        assert (found["date"], found["open"], found["close"], found["volume"]) == (session, 9.0, 9.5, 1e6)
        assert found["previous_close"] is None
        assert found["updated_at"].hour == (13 if session == date(2024, 7, 3) else 16)
        assert not found["stale"]


def test_on_an_early_close_the_finished_day_begins_a_quarter_of_an_hour_after_it():
    early = date(2024, 7, 3)
    found = row_of(at(early, "13:15"), ticker("A", at(early, "13:00")))
    assert (found["date"], found["stale"]) == (early, False)


def test_provisional_bars_are_bars_of_the_newest_session():
    quotes = quotes_at(at(TUESDAY, "12:00"), [ticker("A", at(TUESDAY, "11:45"))])
    bars = provisional_bars(quotes)
    assert bars.schema == DAILY_BARS.schema
    assert bars.row(0) == (TUESDAY, "A", 10.0, 11.0, 9.0, 10.5, 5e5, 10.2, None)
    assert provisional_bars(quotes.clear()).schema == DAILY_BARS.schema


def test_a_quote_that_cannot_be_right_makes_no_bar():
    quotes = quotes_at(at(TUESDAY, "12:00"), [ticker("A", at(TUESDAY, "11:45"), day={**TODAY, "l": -1.0})])
    assert provisional_bars(quotes).is_empty()


def test_a_moment_without_an_offset_is_refused():
    with pytest.raises(ValueError, match="no UTC offset"):
        delayed_quotes(PolygonMarket("http://127.0.0.1:1", SecretStr("key")), datetime(2024, 3, 5, 12))  # noqa: DTZ001


def test_a_quote_that_cannot_be_right_costs_its_own_symbol_alone():
    moment = datetime(2024, 3, 4, 12, tzinfo=NEW_YORK)
    plain = {"as_of": moment, "date": date(2024, 3, 4), "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 1e6}
    plain |= {"vwap": 10.2, "previous_close": 10.0, "updated_at": moment, "stale": False}
    wrong = {"VOL": {"volume": -5.0}, "VWAP": {"vwap": 0.0}, "HIGH": {"high": 8.0}, "NAN": {"close": float("nan")}}
    rows = [plain | {"symbol": f"S{number}"} for number in range(10)]
    rows += [plain | {"symbol": symbol} | change for symbol, change in wrong.items()]
    rows += [plain | {"symbol": "TWO"}, plain | {"symbol": "TWO", "close": 10.6}]
    quotes = pl.DataFrame(rows, schema=DELAYED_QUOTES.schema)
    usable, aside = sifted_quotes(quotes)
    assert usable["symbol"].to_list() == [f"S{number}" for number in range(10)]
    assert set(aside["symbol"]) == {*wrong, "TWO"}
    assert provisional_bars(quotes)["symbol"].to_list() == [f"S{number}" for number in range(10)]
    with pytest.raises(MarketDataError, match="nothing is made of it"):
        sifted_quotes(quotes.tail(8))


def test_without_a_snapshot_the_last_close_is_taken_from_the_days_bars(tmp_path):
    lake = Lake(str(tmp_path))
    bar = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 5e5, "vwap": 10.2, "trades": 9}
    for day, close in ((MONDAY, 10.0), (TUESDAY, 10.5)):
        lake.write("daily_bars", DAILY_BARS.cast(pl.DataFrame([{"date": day, "symbol": "A", **bar, "close": close}])), str(day))
    evening = closing_quotes(lake, at(TUESDAY, "16:15"))
    assert not DELAYED_QUOTES.problems(evening)
    row = evening.row(0, named=True)
    assert (row["date"], row["close"], row["previous_close"], row["stale"]) == (TUESDAY, 10.5, 10.0, False)
    assert (row["as_of"], row["updated_at"]) == (at(TUESDAY, "16:15"), at(TUESDAY, "16:00"))
    assert closing_quotes(lake, at(TUESDAY, "16:14"))["date"].to_list() == [MONDAY]
    assert closing_quotes(lake, at(date(2024, 3, 6), "22:00"))["date"].to_list() == [TUESDAY]  # not published yet
    with pytest.raises(MarketDataError, match="the lake's bars end with 2024-03-05"):
        closing_quotes(lake, at(date(2024, 3, 7), "22:00"))
