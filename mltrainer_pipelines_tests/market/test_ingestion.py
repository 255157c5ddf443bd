"""How many sessions are fetched: the cheaper way, what is asked for twice, what is refused."""

import json
from datetime import date

import polars as pl
import pytest
from pydantic import SecretStr

from mltrainer_pipelines.market.bars import validate_bars
from mltrainer_pipelines.market.errors import BadBarsError, EmptySessionError, ThinSessionError
from mltrainer_pipelines.market.ingestion import fetch_sessions, planned_backfill, progress_bar, symbols_before
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.market.vendors.transport import Backoff
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines_tests.servers.stocks import Stocks, grouped_reply, wire_bar
from mltrainer_pipelines_tests.servers.vendor import Reply, vendor

DAYS = sessions_between(date(2024, 1, 2), date(2024, 3, 28))
QUICK = Backoff(attempts=2, first_s=0.01, rate_limited_s=0.01)


def client_of(url: str) -> PolygonMarket:
    return PolygonMarket(url, SecretStr("key"), timeout_s=5, backoff=QUICK)


def everything(client: PolygonMarket, days: list[date], **options) -> pl.DataFrame:
    plan = planned_backfill(client, days)
    return pl.concat(found.bars for _, found in fetch_sessions(client, plan, **options))


def test_where_there_are_fewer_tickers_than_sessions_a_call_a_ticker_gives_the_same_bars():
    with vendor(Stocks()) as server:
        client = client_of(server.url)
        plan = planned_backfill(client, DAYS)
        assert (plan.way, plan.calls) == ("tickers", 6)
        assert "61 sessions (2024-01-02 to 2024-03-28) in 6 calls, a call for each of 4 tickers" in str(plan)
        by_ticker = everything(client, DAYS)
        calls = len(server.calls)
        by_session = pl.concat(client.grouped_daily(day) for day in DAYS)
    assert by_ticker.equals(by_session)
    assert calls <= 6 + 2 * 2


def test_where_there_are_more_tickers_a_call_a_session_is_cheaper():
    with vendor(Stocks(symbols=tuple(f"S{number:03}" for number in range(100)))) as server:
        client = client_of(server.url)
        plan = planned_backfill(client, DAYS)
        assert (plan.way, plan.calls, plan.seconds) == ("sessions", len(DAYS), 0)
        assert len(server.calls) == 1
        few = planned_backfill(client, DAYS[:5])
        assert (few.way, len(server.calls)) == ("sessions", 1)
    assert str(planned_backfill(client, [])) == "no session is missing: 0 calls"


def test_only_so_many_pages_of_tickers_are_read_as_the_choice_needs():
    pages = iter(range(1, 100))

    def answer(call):
        page = next(pages)
        rows = [{"ticker": f"P{page}R{row}"} for row in range(1000)]
        following = {"next_url": f"{server.url}/v3/reference/tickers?cursor={page}"}
        return Reply(json.dumps({"status": "OK", "count": 1000, "results": rows, **following}).encode())

    with vendor(answer) as server:
        assert client_of(server.url).few_tickers(2500) is None
        assert len(server.calls) == 3


def test_tickers_that_do_not_bring_the_whole_market_are_found_out():
    def unlisted(day, rows):
        return [*rows, wire_bar("ZZZ", day)]

    stocks = Stocks(edit=unlisted)
    said: list[str] = []
    with vendor(stocks) as server:
        found = everything(client_of(server.url), DAYS, log=said.append)
    assert found.filter(pl.col("symbol") == "ZZZ").height == len(DAYS)
    assert "not those of the whole session: fetching session by session" in said[0]


@pytest.mark.parametrize("symbol", ["BRK/A", "AUDUSD=X", " LEAD"])
def test_a_symbol_whose_spelling_no_path_can_carry_does_not_end_a_backfill(symbol):
    said: list[str] = []
    with vendor(Stocks(symbols=("AAA", symbol, "CCC"))) as server:
        found = everything(client_of(server.url), DAYS, log=said.append)
    assert found["symbol"].n_unique() == 3
    assert "fetching session by session" in said[0]


def test_a_session_that_the_exchange_does_not_have_comes_as_its_error_on_both_ways():
    gone = DAYS[10]
    stocks = Stocks(edit=lambda day, rows: [] if day == gone else rows)
    with vendor(stocks) as server:
        client = client_of(server.url)
        for days in (DAYS, DAYS[5:15]):
            found = dict(fetch_sessions(client, planned_backfill(client, days)))
            assert [day for day, bars in found.items() if isinstance(bars, EmptySessionError)] == [gone]
            assert list(found) == days


def test_a_session_is_compared_with_the_twenty_before_it():
    small = DAYS[20]
    stocks = Stocks(symbols=tuple("ABCDEFGH"), edit=lambda day, rows: rows[:3] if day == small else rows)
    with vendor(stocks) as server:
        client = client_of(server.url)
        plan = planned_backfill(client, DAYS[18:25])
        with pytest.raises(ThinSessionError, match=rf"only 3 symbols came for {small}.*have 8 \(median\)"):
            list(fetch_sessions(client, plan))
        assert len(list(fetch_sessions(client, plan, accept_thin=True))) == 7
        assert len(list(fetch_sessions(client, plan, symbols_before=[4] * 20))) == 7


def test_the_sizes_before_a_session_are_read_from_the_lake(tmp_path):
    lake = Lake(str(tmp_path))
    for place, day in enumerate(DAYS[:30]):
        lake.write("daily_bars", pl.DataFrame({"symbol": ["A"] * (place + 1)}), str(day))
    assert symbols_before(lake, DAYS[30]) == list(range(11, 31))
    assert symbols_before(lake, DAYS[3]) == [1, 2, 3]
    assert symbols_before(lake, DAYS[0]) == []


def frame(*rows: tuple) -> pl.DataFrame:
    names = ("date", "symbol", "open", "high", "low", "close", "volume")
    return pl.DataFrame(rows, schema=names, orient="row")


def test_a_stray_bad_bar_is_set_aside_and_many_are_refused():
    day = date(2024, 3, 4)
    rows = [(day, f"S{n:04}", 10.0, 11.0, 9.0, 10.0, 1.0) for n in range(2000)]
    bad = (day, "BAD", 10.0, 9.0, 11.0, 10.0, 1.0)
    validated = validate_bars(frame(*rows, bad), day)
    assert validated.bars.height == 2000
    assert validated.rejected.select("symbol", "reason").rows() == [("BAD", "high is below low")]
    assert validate_bars(frame(*rows[:20], bad), day).rejected.height == 1
    worse = [(day, f"BAD{n}", *bad[2:]) for n in range(3)]
    with pytest.raises(BadBarsError, match="3 rows cannot be right"):
        validate_bars(frame(*rows[:200], *worse), day)
    with pytest.raises(BadBarsError, match="1 row cannot be right"):
        validate_bars(frame(*rows[:10], bad), day)
    twice = validate_bars(frame(*rows, rows[0]), day)
    assert twice.bars.height == 1999
    assert twice.rejected["symbol"].to_list() == ["S0000", "S0000"]


def test_what_is_wrong_is_asked_for_once_more():
    day = DAYS[0]
    stocks = Stocks(faults={day: [grouped_reply([wire_bar("AAA", day, l=-1.0)])]})
    with vendor(stocks) as server:
        found = dict(fetch_sessions(client_of(server.url), planned_backfill(client_of(server.url), [day])))
        assert found[day].bars.height == 4
        assert len(server.calls) == 2


def test_a_progress_bar_shows_how_far_it_is():
    assert progress_bar(0, 100, 0) == "░" * 24 + " 0/100 sessions, 0 s"
    assert progress_bar(500, 1000, 30) == "█" * 12 + "░" * 12 + " 500/1,000 sessions, 30 s, about 30 s left"
    assert progress_bar(100, 100, 7300) == "█" * 24 + " 100/100 sessions, 2 h 2 min"
