"""Our clients against the local exchange, over HTTP: what it serves is what the contracts say."""

import threading
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
import uvicorn
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS
from mltrainer_pipelines.exchange.market import Market
from mltrainer_pipelines.exchange.server import create_app
from mltrainer_pipelines.exchange.simulated import SimulatedMarket
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.corporate_actions import corporate_actions
from mltrainer_pipelines.market.errors import EmptySessionError, KeyRefusedError, UnknownSeriesError, UnknownSymbolError
from mltrainer_pipelines.market.macro import FRED_SERIES, fetch_macro, known_macro
from mltrainer_pipelines.market.profiles import with_sectors
from mltrainer_pipelines.market.quotes import delayed_quotes, provisional_bars
from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between
from mltrainer_pipelines.market.universe import universe_of
from mltrainer_pipelines.market.vendors.fred.client import FredSeries
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.market.vendors.transport import Backoff

FIRST, LAST = date(2022, 1, 3), date(2023, 6, 30)
NOW = datetime(2023, 5, 16, 12, 0, tzinfo=NEW_YORK)
KEY = SecretStr("local-exchange")


@pytest.fixture(scope="module")
def market() -> Market:
    return SimulatedMarket(seed=11, symbols=30, premium=1.0, first=FIRST, last=LAST)


@pytest.fixture(scope="module")
def clock() -> list[datetime]:
    """The exchange's clock: tests may turn it."""
    return [NOW]


@pytest.fixture(scope="module")
def url(market: Market, clock: list[datetime]) -> Iterator[str]:
    app = create_app(market, lambda: clock[0], KEY.get_secret_value())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the exchange did not start"
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def polygon(url: str) -> PolygonMarket:
    return PolygonMarket(url, KEY, backoff=Backoff(attempts=2, first_s=0.01))


@pytest.fixture(scope="module")
def bars(polygon: PolygonMarket) -> pl.DataFrame:
    return pl.concat(polygon.grouped_daily(day) for day in sessions_between(date(2022, 11, 1), date(2023, 5, 15)))


def test_a_session_equals_the_markets_own_bars(polygon, market):
    session = date(2023, 5, 15)
    found, truth = polygon.grouped_daily(session), market.day(session)
    assert found["symbol"].to_list() == list(truth.symbol)
    assert found["close"].to_list() == truth.close.tolist()
    assert found["volume"].to_list() == truth.volume.tolist()


def test_a_session_that_is_not_over_has_no_bars_yet(polygon):
    with pytest.raises(EmptySessionError, match="2023-05-16"):
        polygon.grouped_daily(date(2023, 5, 16))


def test_a_wrong_key_is_refused_by_both_services(url):
    with pytest.raises(KeyRefusedError, match="POLYGON_API_KEY"):
        PolygonMarket(url, SecretStr("wrong")).grouped_daily(date(2023, 5, 15))
    with pytest.raises(KeyRefusedError, match="FRED_API_KEY"):
        FredSeries(f"{url}/fred", SecretStr("wrong")).first_releases("DGS10", FIRST, date(2023, 5, 15))


def test_aggregates_of_one_symbol_are_its_grouped_bars(polygon, bars):
    symbol = bars["symbol"][0]
    first, last = date(2023, 3, 1), date(2023, 4, 28)
    daily = polygon.aggregates(symbol, first, last)
    expected = bars.filter(pl.col("date").is_between(first, last), pl.col("symbol") == symbol).sort("date")
    assert daily.drop("start").equals(expected)
    quarter_hours = polygon.aggregates(symbol, last, last, 15, "minute")
    assert quarter_hours["high"].max() == pytest.approx(expected["high"][-1])
    with pytest.raises(UnknownSymbolError, match="NOPE"):
        polygon.aggregates("NOPE", first, last)


def test_corporate_actions_are_those_of_the_market(polygon, market):
    found = corporate_actions(polygon, FIRST, date(2023, 5, 15))
    assert found.schema == CORPORATE_ACTIONS.schema
    due = [action for action in [*market.splits(), *market.dividends()] if FIRST <= action.ex_date <= date(2023, 5, 15)]
    assert len(found) == len(due) > 30


def test_adjusted_returns_across_ex_dates_are_no_jumps(polygon, bars):
    actions = corporate_actions(polygon, date(2022, 11, 1), date(2023, 5, 15))
    assert not actions.is_empty()
    moves = adjusted(bars, actions).with_columns(
        move=(pl.col("adj_close") / pl.col("adj_close").shift(1).over("symbol") - 1).abs(),
        raw=(pl.col("close") / pl.col("close").shift(1).over("symbol") - 1).abs(),
    )
    splits = actions.filter(pl.col("kind") == "split").select("symbol", date="ex_date")
    at_splits = moves.join(splits, on=["symbol", "date"], how="semi")
    assert (at_splits["move"] < 0.3).all()


def test_the_universe_comes_from_listed_and_delisted_tickers(polygon, bars):
    reference = pl.concat([polygon.reference_tickers(date(2023, 5, 1), active) for active in (True, False)])
    assert set(bars["symbol"]) <= set(reference["symbol"])
    found = universe_of(date(2023, 5, 1), bars, reference, 10)
    assert found.height == 10
    assert found["rank"].to_list() == list(range(1, 11))


def test_macro_series_are_first_releases_known_a_session_later(url):
    fred = FredSeries(f"{url}/fred", KEY)
    macro = fetch_macro(fred, FRED_SERIES, FIRST, date(2023, 5, 15))
    assert set(macro["series_id"]) == set(FRED_SERIES)
    assert (macro["published"] >= macro["date"]).all()
    known = known_macro(macro, sessions_between(date(2022, 7, 1), date(2023, 5, 15)))
    assert known.null_count().sum_horizontal()[0] == 0
    with pytest.raises(UnknownSeriesError, match="NOPE"):
        fred.first_releases("NOPE", FIRST, date(2023, 5, 15))


def test_quotes_grow_into_the_sessions_bar(polygon, clock):
    session = date(2023, 5, 16)
    try:
        clock[0] = datetime(2023, 5, 16, 8, 0, tzinfo=NEW_YORK)
        before = delayed_quotes(polygon, clock[0])
        assert (
            provisional_bars(before)
            .select(pl.exclude("trades"))
            .equals(polygon.grouped_daily(date(2023, 5, 15)).select(pl.exclude("trades")))
        )
        volumes = []
        for hour in (11, 13, 15):
            clock[0] = datetime(2023, 5, 16, hour, 0, tzinfo=NEW_YORK)
            quotes = delayed_quotes(polygon, clock[0])
            assert quotes["date"].unique().to_list() == [session]
            assert (quotes["updated_at"] <= clock[0] - timedelta(minutes=15)).all()
            volumes.append(provisional_bars(quotes)["volume"].sum())
        assert volumes == sorted(volumes)
        clock[0] = datetime(2023, 5, 16, 18, 0, tzinfo=NEW_YORK)
        after = provisional_bars(delayed_quotes(polygon, clock[0]))
        final = polygon.grouped_daily(session)
        assert after.select("symbol", "open", "high", "low", "close", "volume").equals(
            final.select("symbol", "open", "high", "low", "close", "volume")
        )
    finally:
        clock[0] = NOW


def test_market_status_and_holidays(polygon):
    assert polygon.market_status().market == "open"
    assert date(2023, 5, 29) in polygon.upcoming_holidays()["date"].to_list()


def test_a_revision_changes_nothing_that_was_decided_before(url, market, clock):
    decided, later = date(2022, 12, 15), date(2023, 5, 15)
    revised = {
        series_id
        for series_id, series in market.macro().items()
        for before, after in pairwise(series.values)
        if before.observed == after.observed
        and before.published <= decided < after.published <= later
        and after.observed >= FIRST
    }
    assert {"UNRATE", "CPIAUCSL"} & revised
    fred = FredSeries(f"{url}/fred", KEY)
    try:
        clock[0] = datetime(2022, 12, 15, 20, 0, tzinfo=NEW_YORK)
        then = fetch_macro(fred, FRED_SERIES, FIRST, decided)
    finally:
        clock[0] = NOW
    since = fetch_macro(fred, FRED_SERIES, FIRST, later)
    assert since.filter(pl.col("published") <= decided).equals(then)
    sessions = sessions_between(FIRST, decided)
    assert known_macro(since, sessions).equals(known_macro(then, sessions))
    for series_id in revised:
        truth = {(one.observed, one.published): one.value for one in market.macro()[series_id].values}
        for day, value, published in since.filter(pl.col("series_id") == series_id).select("date", "value", "published").rows():
            assert truth[day, published] == pytest.approx(value, abs=1e-4)
            assert published == min(at for observed, at in truth if observed == day)


def test_a_simulated_company_tells_its_sector_as_polygon_does(polygon, bars):
    symbols = bars["symbol"].unique().sort().to_list()[:5]
    assert polygon.reference_tickers(date(2023, 5, 1))["sector"].null_count() == len(polygon.reference_tickers(date(2023, 5, 1)))
    universe = universe_of(date(2023, 5, 1), bars, None, 10)
    filled, profiles = with_sectors(universe, None, polygon, most_calls=7)
    assert filled["sector"].null_count() == 3
    assert profiles.height == 7
    before = polygon.calls_made
    again, profiles = with_sectors(universe, profiles, polygon)
    assert polygon.calls_made - before == 3
    assert again["sector"].null_count() == 0
    assert again.drop("sector").equals(universe.drop("sector"))
    assert with_sectors(universe, profiles, polygon)[0].equals(again)
    assert all(polygon.ticker_details(symbol)["sector"][0].isupper() for symbol in symbols)
