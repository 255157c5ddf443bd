"""A ticker is not a company: renamed ones keep their history, taken ones begin a new one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
import uvicorn
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS, LISTINGS, MACRO_SERIES, TICKER_EVENTS
from mltrainer_pipelines.exchange.replay import RecordedMarket
from mltrainer_pipelines.exchange.server import create_app
from mltrainer_pipelines.features.files import read_bars
from mltrainer_pipelines.features.tables import computed_features, computed_labels
from mltrainer_pipelines.market.corporate_actions import sifted_by_company
from mltrainer_pipelines.market.history import adjusted_history
from mltrainer_pipelines.market.identity import GAP, Run, Runs, asked_events, resolved_listings, runs_of
from mltrainer_pipelines.market.listings import Listings, listings_of, of_symbol
from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between
from mltrainer_pipelines.market.universe import universes_in_lake
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.market.vendors.transport import Backoff
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.portfolio.settlement import settle
from mltrainer_pipelines.store.corrections import Correction
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import Recommendation
from mltrainer_pipelines_tests.portfolio.markets import positions, random_bars, recommend

DAYS = sessions_between(date(2020, 1, 2), date(2021, 12, 31))
ENDS, BACK, RENAMED = 300, 312, 330
NAMES = [f"S{number:02d}" for number in range(20)]


def lake_of(root: Path, bars: pl.DataFrame) -> Lake:
    lake = Lake(str(root))
    bars = DAILY_BARS.cast(bars.with_columns(vwap=pl.lit(None), trades=pl.lit(None)))
    for (day,), part in bars.sort("date", "symbol").partition_by("date", as_dict=True).items():
        lake.write("daily_bars", part, str(day))
    lake.write("corporate_actions", CORPORATE_ACTIONS.empty())
    lake.write("macro_series", MACRO_SERIES.empty())
    return lake


def resolve(lake: Lake, events: pl.DataFrame | None = None, *corrections: Correction) -> Listings:
    runs = runs_of(lake)
    lake.write("listings", resolved_listings(runs, TICKER_EVENTS.empty() if events is None else events, corrections))
    return listings_of(lake)


@pytest.fixture(scope="module")
def market() -> pl.DataFrame:
    """AAA ends at about 20 dollars, and another company takes the ticker at 200; FB becomes META."""
    bars = random_bars([*NAMES, "AAA", "FB"], DAYS, seed=1)
    prices = [pl.col(name) for name in ("open", "high", "low", "close")]
    aaa = bars.filter(pl.col("symbol") == "AAA")
    old = aaa.filter(pl.col("date") <= DAYS[ENDS]).with_columns(price * 0.4 for price in prices)
    new = aaa.filter(pl.col("date") >= DAYS[BACK + 1]).with_columns(price * 4 for price in prices)
    fb = bars.filter(pl.col("symbol") == "FB").with_columns(
        symbol=pl.when(pl.col("date") >= DAYS[RENAMED]).then(pl.lit("META")).otherwise(pl.lit("FB"))
    )
    return pl.concat([bars.filter(~pl.col("symbol").is_in(["AAA", "FB"])), old, new, fb])


@pytest.fixture(scope="module")
def lake(market: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The market in a lake; a test resolves its listings itself."""
    return lake_of(tmp_path_factory.mktemp("market"), market)


def event(asked: str, day: date, figi: str | None, *spells: tuple[str, date]) -> list[tuple[object, ...]]:
    return [(asked, day, figi, None, None), *((asked, day, figi, *spell) for spell in spells)]


def events(*rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame([row for several in rows for row in several], schema=TICKER_EVENTS.schema, orient="row")


META = event("META", DAYS[RENAMED], "BBG000MM2P62", ("FB", date(2012, 5, 18)), ("META", DAYS[RENAMED]))


def with_universe(lake: Lake) -> pl.DataFrame:
    chosen = universes_in_lake(lake, [date(2021, month, 1) for month in range(1, 13)], None, 30)
    for (month,), members in chosen.partition_by("month", as_dict=True).items():
        lake.write("universe", members, str(month))
    return chosen


def members(chosen: pl.DataFrame, month: int) -> set[str]:
    return set(chosen.filter(pl.col("month") == date(2021, month, 1))["symbol"])


def test_a_ticker_that_another_company_took_has_neither_its_momentum_nor_its_place_in_the_universe(lake):
    listings = resolve(lake, events(META))
    assert listings.company("AAA", DAYS[ENDS]) == "AAA"
    assert listings.company("AAA", DAYS[-1]) == "AAA~2"
    chosen = with_universe(lake)
    back = DAYS[BACK + 1].month
    assert "AAA" in members(chosen, 2)
    assert not {"AAA", "AAA~2"} & members(chosen, back + 1)  # it has no history yet
    assert {"AAA~2"} == {"AAA", "AAA~2"} & members(chosen, 12)
    rows = computed_features(lake, date(2021, 1, 4), date(2021, 12, 31))
    momentum = rows.filter(pl.col("symbol").is_in(["AAA", "AAA~2"])).drop_nulls("momentum_12_1")
    assert momentum["symbol"].unique().to_list() == ["AAA"]
    labels = computed_labels(lake, date(2021, 1, 4), date(2021, 12, 31), 10.0)
    assert labels.filter(pl.col("symbol").str.starts_with("AAA"), pl.col("net_return").abs() > 0.5).is_empty()


def test_a_renamed_company_keeps_its_history_its_place_and_its_labels(market, lake, tmp_path):
    plain = lake_of(tmp_path / "plain", market.with_columns(pl.col("symbol").replace("META", "FB")))
    resolve(lake, events(META))
    resolve(plain)
    assert with_universe(lake).equals(with_universe(plain))
    span = date(2021, 1, 4), date(2021, 12, 31)
    assert computed_features(lake, *span).equals(computed_features(plain, *span))
    assert computed_labels(lake, *span, 10.0).equals(computed_labels(plain, *span, 10.0))


def test_a_step_between_two_companies_is_no_split(lake):
    resolve(lake, events(META))
    assert sifted_by_company(lake, CORPORATE_ACTIONS.empty(), []).believed.is_empty()


def test_symbols_are_shown_as_of_their_date(market, lake):
    listings = resolve(lake, events(META))
    bars = market.filter(pl.col("symbol").is_in(["AAA", "FB", "META"]))
    assert listings.symbols(listings.companies(bars)).equals(bars)
    assert [(spell.symbol, spell.last) for spell in listings.spells("META")] == [("FB", DAYS[RENAMED - 1]), ("META", None)]
    assert listings.companies(bars.head(0)).is_empty()


A, B, C = DAYS[0], DAYS[100], DAYS[200]
CASES = {
    "a short gap": ([Run("AAA", A, DAYS[-1])], [], []),
    "a gap that the FIGI explains": (
        [Run("AAA", A, B), Run("AAA", C, DAYS[-1], 99)],
        [event("AAA", A, "F1"), event("AAA", C, "F1")],
        [],
    ),
    "a gap that an event of long ago explains": (
        [Run("AAA", A, B), Run("AAA", C, DAYS[-1], 99)],
        [event("AAA", C, "F1", ("AAA", date(1999, 1, 4)))],
        [],
    ),
    "a gap that nothing explains": ([Run("AAA", A, B), Run("AAA", C, DAYS[-1], 99)], [], [("AAA", A), ("AAA~2", C)]),
    "taken overnight": (
        [Run("AAA", A, DAYS[-1])],
        [event("BBB", C, "F1", ("AAA", A), ("BBB", C)), event("AAA", C, "F2", ("AAA", C))],
        [("AAA", A), ("AAA~2", C)],
    ),
    "an event dated a little late": (
        [Run("FB", A, DAYS[199]), Run("META", C, DAYS[-1])],
        [event("META", C, "F1", ("FB", A), ("META", DAYS[202]))],
        [("FB", A), ("FB", C)],
    ),
    "renamed twice and given up": (
        [Run("AAA", A, DAYS[99]), Run("BBB", B, DAYS[199]), Run("CCC", C, DAYS[300]), Run("AAA", DAYS[310], DAYS[-1], 210)],
        [event("CCC", C, "F1", ("AAA", A), ("BBB", B), ("CCC", C)), event("AAA", DAYS[310], "F2", ("AAA", DAYS[310]))],
        [("AAA", A), ("AAA~2", DAYS[310]), ("AAA", B), ("AAA", C)],
    ),
    "both symbols trade at once": (
        [Run("FB", A, DAYS[-1]), Run("META", C, DAYS[-1])],
        [event("META", C, "F1", ("FB", A), ("META", C)), event("FB", A, "F1")],
        [("FB", A), ("FB~2", C)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_companies_are_told_apart_by_what_is_known(case):
    runs, said, wanted = CASES[case]
    table = resolved_listings(Runs(DAYS, runs), events(*said))
    if case == "both symbols trade at once":  # never two bars of one company on one day
        listings = Listings(table)
        assert listings.company("FB", DAYS[-1]) != listings.company("META", DAYS[-1])
    else:
        assert table.select("company", "first").rows() == wanted


def test_a_person_knows_of_a_rename_and_takes_it_back(lake):
    assert resolve(lake).company("META", DAYS[-1]) == "META"
    renames = [Correction("rename", DAYS[RENAMED], "META", "FB"), Correction("rename", DAYS[BACK + 1], "AAA", "AAA")]
    listings = resolve(lake, None, *renames)
    assert listings.company("META", DAYS[-1]) == "FB"
    assert listings.company("AAA", DAYS[-1]) == "AAA"  # it was halted
    assert resolve(lake).company("AAA", DAYS[-1]) == "AAA~2"


def test_gaps_of_fewer_sessions_and_days_without_any_bar_end_nothing(tmp_path):
    bars = random_bars(["AAA", "BBB"], DAYS[:40], seed=2).filter(
        (pl.col("symbol") == "BBB") & ~pl.col("date").is_in(DAYS[20:30])
        | (pl.col("symbol") == "AAA") & ~pl.col("date").is_in(DAYS[10 : 10 + GAP - 1] + DAYS[20:30])
    )
    runs = runs_of(lake_of(tmp_path / "lake", bars)).runs
    assert [(run.symbol, run.gap) for run in runs] == [("AAA", 0), ("BBB", 0)]


def test_bars_of_a_file_are_told_apart_too(market, tmp_path):
    path = tmp_path / "bars.parquet"
    market.write_parquet(path)
    bars = read_bars(path)
    assert bars.filter(pl.col("symbol") == "AAA~2")["date"].min() == DAYS[BACK + 1]
    assert bars.select("date", "symbol").is_duplicated().any() is False


def test_positions_follow_the_company(market, lake, database: Database):
    listings = resolve(lake, events(META))
    close = market.filter((pl.col("symbol") == "FB") & (pl.col("date") == DAYS[RENAMED - 3]))["close"][0]
    recommend(database.engine, DAYS[RENAMED - 3], "FB", close, multiples=(30.0, 30.0))
    open_positions(database.engine, 10.0)
    until = DAYS[RENAMED + 20]
    settle(database.engine, adjusted_history(lake, DAYS[RENAMED - 2], until, look_back=1), until, listings)
    [held] = positions(database.engine)
    assert (held["symbol"], held["exit_reason"]) == ("FB", "time")
    assert held["exit_session"] > DAYS[RENAMED]


@contextmanager
def exchange(path: Path) -> Iterator[PolygonMarket]:
    market, moment = RecordedMarket(path), datetime(2021, 12, 31, 20, tzinfo=NEW_YORK)
    server = uvicorn.Server(
        uvicorn.Config(create_app(market, lambda: moment, "key"), host="127.0.0.1", port=0, log_level="error")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the exchange did not start"
    try:
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield PolygonMarket(url, SecretStr("key"), backoff=Backoff(attempts=1))
    finally:
        server.should_exit = True
        thread.join()


def test_a_recording_says_by_a_list_of_names_who_was_who(market, lake, tmp_path):
    path = tmp_path / "recording.parquet"
    market.write_parquet(path)
    names = [
        ("AAA", "Old and Gone", None, None, DAYS[ENDS]),
        ("AAA", "Young Company", None, DAYS[BACK + 1], None),
        ("FB", "Facebook", "Meta Platforms", None, DAYS[RENAMED - 1]),
        ("META", "Meta Platforms", "Meta Platforms", DAYS[RENAMED], None),
    ]
    schema = {"symbol": pl.String, "name": pl.String, "company": pl.String, "start": pl.Date, "end": pl.Date}
    pl.DataFrame(names, schema=schema, orient="row").write_parquet(tmp_path / "recording.names.parquet")
    with exchange(path) as vendor:
        asked = asked_events(vendor, runs_of(lake).to_ask(), TICKER_EVENTS.empty())
        again = vendor.calls_made
        assert asked_events(vendor, runs_of(lake).to_ask(), asked).equals(asked)  # each is asked about once
        assert vendor.calls_made == again
        snapshot = vendor.snapshot()
        reference = vendor.reference_tickers(DAYS[-1])
    listings = resolve(lake, asked)
    assert listings.company("META", DAYS[-1]) == "FB"
    assert listings.company("AAA", DAYS[-1]) == "AAA~2"
    assert not snapshot["symbol"].is_duplicated().any()
    assert reference.filter(pl.col("symbol") == "AAA")["name"].to_list() == ["Young Company"]
    assert LISTINGS.validate(listings.table).height == 4


def test_who_asks_for_a_symbol_is_shown_the_company_under_all_its_names(lake, database: Database):
    listings = resolve(lake, events(META))
    days = {"FB": DAYS[RENAMED - 9], "META": DAYS[RENAMED + 9], "AAA": DAYS[ENDS - 9], "S01": DAYS[3]}
    numbers = {symbol: recommend(database.engine, day, symbol) for symbol, day in days.items()}
    numbers["young AAA"] = recommend(database.engine, DAYS[BACK + 9], "AAA")

    def shown(symbol: str, known: Listings) -> set[int]:
        with database.engine.connect() as connection:
            return set(connection.scalars(sa.select(Recommendation.id).where(*of_symbol(Recommendation, symbol, known))))

    for symbol in ("FB", "META"):
        assert shown(symbol, listings) == {numbers["FB"], numbers["META"]}
    assert shown("S01", listings) == {numbers["S01"]}
    assert shown("AAA", listings) == {numbers["AAA"], numbers["young AAA"]}
    assert shown("AAA", listings.only(listings.company("AAA", DAYS[-1]))) == {numbers["young AAA"]}
