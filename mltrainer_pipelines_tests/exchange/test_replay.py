"""Recordings: what a file may hold, what is refused and how, and what is known of it during a session."""

from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.exchange.market import NEW_YORK
from mltrainer_pipelines.exchange.recording_file import RecordingError
from mltrainer_pipelines.exchange.replay import RecordedMarket
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines_tests.exchange.conftest import new_york

SHARED = Path(__file__).parents[2].parent / "shared/data/us_equities_2009_2015.parquet"
SESSIONS = sessions_between(date(2015, 6, 1), date(2015, 6, 30))


def recording(**changes: object) -> pl.DataFrame:
    """Two symbols over June 2015; BB stops after ten sessions."""
    rows = [
        {"date": day, "symbol": symbol, "open": 10.0 + n, "high": 11.5 + n, "low": 9.5 + n, "close": 11.0 + n, "volume": 1000.0}
        for n, day in enumerate(SESSIONS)
        for symbol in ("AA", "BB")
        if symbol == "AA" or n < 10
    ]
    return pl.DataFrame(rows).with_columns(**changes)


@pytest.fixture
def write(tmp_path):
    def written(frame: pl.DataFrame, name: str = "june.parquet") -> Path:
        path = tmp_path / name
        frame.write_csv(path) if name.endswith(".csv") else frame.write_parquet(path)
        return path

    return written


@pytest.mark.parametrize("name", ["june.parquet", "june.csv"])
def test_parquet_and_csv_give_the_same_market_in_any_order_of_rows(write, name):
    shuffled = recording(adj_close=pl.lit(1.0)).sample(fraction=1.0, shuffle=True, seed=1)
    market = RecordedMarket(write(shuffled, name))
    assert market.sessions() == SESSIONS
    bars = market.day(SESSIONS[3])
    assert (list(bars.symbol), bars.close.tolist(), bars.vwap, bars.trades) == (["AA", "BB"], [14.0, 14.0], None, None)
    assert market.history("AA", SESSIONS[1], SESSIONS[2]).open.tolist() == [11.0, 12.0]
    assert len(market.day(date(2015, 6, 6))) == len(market.history("CC", SESSIONS[0], SESSIONS[-1])) == 0
    assert (market.splits(), market.dividends(), market.macro()) == ([], [], {})
    assert market.minutes(SESSIONS[0]) is None


def test_text_dates_and_whole_numbers_will_do(write):
    frame = recording(date=pl.col("date").cast(pl.String), volume=pl.col("volume").cast(pl.Int64))
    assert RecordedMarket(write(frame)).sessions() == SESSIONS


def test_a_symbol_that_stops_is_delisted_on_the_next_session_and_nothing_more_is_known_of_it(write):
    gone = {ticker.symbol: ticker for ticker in RecordedMarket(write(recording())).tickers()}
    assert gone["BB"].delisted == SESSIONS[10]
    assert gone["AA"].delisted is None
    assert (gone["AA"].list_date, gone["AA"].name, gone["AA"].type) == (SESSIONS[0], None, None)


def bad(row: int, **values: object) -> pl.DataFrame:
    frame = recording().sort("symbol", "date").with_row_index("row")
    here = pl.col("row") == row
    return frame.with_columns(
        **{name: pl.when(here).then(pl.lit(value)).otherwise(pl.col(name)) for name, value in values.items()}
    ).drop("row")


@pytest.mark.parametrize(
    ("frame", "messages"),
    [
        (
            recording().drop("volume", "low"),
            ["lacks the column(s) low, volume", "it needs date, symbol, open, high, low, close, volume"],
        ),
        (pl.concat([recording(), recording().head(1)]), ["AA on 2015-06-01", "more than once"]),
        (bad(2, close=-3.0), ["AA on 2015-06-03", "close=-3.0", "above zero"]),
        (bad(2, open=0.0), ["AA on 2015-06-03", "open=0.0"]),
        (bad(2, high=float("nan")), ["AA on 2015-06-03", "high=nan"]),
        (bad(2, low=None), ["AA on 2015-06-03", "low=None"]),
        (bad(2, high=9.0), ["AA on 2015-06-03", "high below its low"]),
        (bad(2, open=20.0), ["AA on 2015-06-03", "outside of its high and low"]),
        (bad(2, volume=-1.0), ["AA on 2015-06-03", "volume=-1.0"]),
        (bad(2, symbol=None), ["no symbol"]),
        (recording(date=pl.lit("01/06/2015")), ["'01/06/2015'", "YYYY-MM-DD"]),
        (recording(date=pl.lit("June the first")), ["'June the first'", "YYYY-MM-DD"]),
        (recording(date=pl.lit(None, pl.Date)), ["without a date"]),
        (recording(close=pl.lit("eleven")), ["close 'eleven'"]),
        (recording().head(0), ["no rows"]),
        (recording().head(1).with_columns(date=pl.lit(date(2015, 6, 6))), ["2015-06-06 (Saturday)", "not a trading session"]),
        (recording().head(1).with_columns(date=pl.lit(date(1990, 6, 6))), ["1990-06-06", "sessions are known from"]),
        (recording(split_ratio=pl.lit(-2.0)), ["split of AA", "-2.0"]),
    ],
)
def test_a_recording_that_cannot_be_right_is_refused_with_the_row_and_the_remedy(write, frame, messages):
    path = write(frame)
    with pytest.raises(RecordingError) as error:
        RecordedMarket(path)
    assert str(path) in str(error.value)
    for message in messages:
        assert message in str(error.value)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    for name, text, said in (
        ("empty.csv", "", "is empty"),
        ("noise.parquet", "not parquet", "cannot be read"),
        ("bars.xlsx", "x", "neither .parquet nor .csv"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(RecordingError, match=said):
            RecordedMarket(tmp_path / name)
    with pytest.raises(RecordingError, match="does not exist"):
        RecordedMarket(tmp_path / "missing.parquet")


def test_splits_and_dividends_come_from_columns_or_from_files_beside(write):
    halved = (pl.col("symbol") == "AA") & (pl.col("date") >= SESSIONS[5])
    tenfold = (pl.col("symbol") == "BB") & (pl.col("date") >= SESSIONS[6])
    prices = {
        name: pl.when(halved).then(pl.col(name) / 2).when(tenfold).then(pl.col(name) * 10).otherwise(name)
        for name in ("open", "high", "low", "close")
    }
    frame = recording(
        split_ratio=pl.when((pl.col("symbol") == "AA") & (pl.col("date") == SESSIONS[5])).then(2.0),
        dividend=pl.when((pl.col("symbol") == "BB") & (pl.col("date") == SESSIONS[4])).then(0.25).otherwise(0.0),
        vwap=pl.lit(10.5),
    ).with_columns(**prices)
    path = write(frame)
    declared = SESSIONS[1]
    write(
        pl.DataFrame({"symbol": ["BB"], "ex_date": [SESSIONS[6]], "ratio": [0.1], "declared": [declared]}), "june.splits.parquet"
    )
    write(pl.DataFrame({"symbol": ["AA"], "ex_date": [SESSIONS[7]], "cash": [0.5]}), "june.dividends.parquet")
    market = RecordedMarket(path)
    assert [(s.symbol, s.ex_date, s.old_shares, s.new_shares, s.public_from) for s in market.splits()] == [
        ("AA", SESSIONS[5], 1.0, 2.0, SESSIONS[5]),
        ("BB", SESSIONS[6], 10.0, 1.0, declared),
    ]
    assert [(d.symbol, d.ex_date, d.cash) for d in market.dividends()] == [("BB", SESSIONS[4], 0.25), ("AA", SESSIONS[7], 0.5)]
    assert market.day(SESSIONS[0]).vwap.tolist() == [10.5, 10.5]


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ([("AA", 8, 0.5)], "Not applied: the split of AA"),  # upside down
        ([("AA", 9, 2.0)], "Not applied: the split of AA"),  # a day late
        ([("AA", 3, 4.0), ("AA", 5, 3.0), ("BB", 4, 2.0)], "Not applied: the split of BB"),  # no step at all
        ([("AA", 8, 2.0), ("ZZ", 8, 2.0)], "splits of symbols without bars are left out: ZZ"),
    ],
)
def test_given_splits_are_held_against_the_price_as_by_import(write, splits, said):
    halved = (pl.col("symbol") == "AA") & (pl.col("date") >= SESSIONS[8])
    names = ("open", "high", "low", "close")
    path = write(recording().with_columns(pl.when(halved).then(pl.col(name) / 2).otherwise(name).alias(name) for name in names))
    rows = [{"symbol": symbol, "ex_date": SESSIONS[place], "ratio": ratio} for symbol, place, ratio in splits]
    write(pl.DataFrame(rows), "june.splits.parquet")
    market = RecordedMarket(path)
    assert any(said in note for note in market.notes)
    right = [(split.symbol, split.ex_date) for split in market.splits()]
    assert right == ([("AA", SESSIONS[8])] if ("AA", 8, 2.0) in splits else [])


def test_without_fifteen_minute_bars_the_exchange_knows_the_previous_close_during_a_session(write, serve):
    market = RecordedMarket(write(recording()))
    with serve(market, new_york(2015, 6, 4, 14)) as exchange:
        row = exchange.polygon().get_snapshot_all("stocks")[0]
        assert (row.ticker, row.day.close, row.updated, row.prev_day.close) == ("AA", 0, 0, 13.0)
        assert exchange.polygon().get_aggs("AA", 15, "minute", date(2015, 6, 1), date(2015, 6, 4)) == []
        assert exchange.polygon().get_grouped_daily_aggs(date(2015, 6, 4)) == []
        assert exchange.polygon().get_aggs("AA", 1, "day", date(2015, 6, 1), date(2015, 6, 30))[-1].close == 13.0
        exchange.now = new_york(2015, 6, 4, 16, 15)
        row = exchange.polygon().get_snapshot_all("stocks")[0]
        assert (row.day.close, row.prev_day.close) == (14.0, 13.0)
        answer = exchange.polygon().get_grouped_daily_aggs(date(2015, 6, 4), adjusted=False)[0]
        assert (answer.close, answer.vwap, answer.transactions) == (14.0, None, None)
        with pytest.raises(ValueError, match="The series does not exist"):
            exchange.fred().get_series("DGS10")
        ticker = next(exchange.polygon().list_tickers(market="stocks"))
        assert (ticker.ticker, ticker.name, ticker.type, ticker.active) == ("AA", None, None, True)


def test_recorded_fifteen_minute_bars_and_macro_series_are_served_as_they_become_known(write, serve):
    path = write(recording())
    starts = ["2015-06-04T09:30:00-04:00", "2015-06-04T09:45:00-04:00", "2015-06-04T10:00:00-04:00"]
    minutes = {"start": starts, "symbol": ["AA"] * 3, "open": [13.0] * 3, "high": [14.5, 14.0, 14.0], "low": [12.5] * 3}
    write(pl.DataFrame(minutes | {"close": [13.5, 13.6, 13.7], "volume": [5.0, 6.0, 7.0]}), "june.minutes.parquet")
    macro = {"series_id": ["UNRATE"] * 2, "date": [date(2015, 5, 1)] * 2, "value": [5.5, 5.4]}
    write(pl.DataFrame(macro | {"published": [date(2015, 6, 5), date(2015, 6, 20)]}), "june.macro.parquet")
    with serve(RecordedMarket(path), new_york(2015, 6, 4, 10, 20)) as exchange:
        rows = {row.ticker: row for row in exchange.polygon().get_snapshot_all("stocks")}
        assert (rows["AA"].day.close, rows["AA"].day.volume, rows["AA"].day.high) == (13.6, 11.0, 14.5)
        assert rows["AA"].updated == int(datetime(2015, 6, 4, 10, tzinfo=NEW_YORK).timestamp()) * 10**9
        assert rows["BB"].day.close == 0
        assert len(exchange.polygon().get_aggs("AA", 15, "minute", date(2015, 6, 4), date(2015, 6, 4))) == 2
        for moment, values in ((new_york(2015, 6, 4, 18), []), (new_york(2015, 6, 8), [5.5]), (new_york(2015, 6, 22), [5.4])):
            exchange.now = moment
            assert exchange.fred().get_series("UNRATE").tolist() == values


@pytest.mark.skipif(not SHARED.is_file(), reason=f"{SHARED} is not on this machine")
def test_the_shared_recording_holds_what_it_says():
    market = RecordedMarket(SHARED)
    assert (market.sessions()[0], market.sessions()[-1]) == (date(2009, 11, 2), date(2015, 10, 30))
    assert sum(len(market.day(session)) for session in market.sessions()) == 293_509
    assert len(market.tickers()) == 200
    apple = pl.read_parquet(SHARED).filter(pl.col("symbol") == "AAPL")
    np.testing.assert_array_equal(market.history("AAPL", date(2009, 1, 1), date(2016, 1, 1)).close, apple["close"].to_numpy())


@pytest.mark.parametrize("order", [1, -1])
def test_a_regular_and_a_special_dividend_of_one_day_are_two_and_one_listed_twice_is_one(write, tmp_path, order):
    path = write(recording())
    rows = [("AA", SESSIONS[3], 0.25), ("AA", SESSIONS[3], 1.0), ("AA", SESSIONS[3], 1.0), ("BB", SESSIONS[4], 0.5)][::order]
    schema = {"symbol": pl.String, "ex_date": pl.Date, "cash": pl.Float64}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(tmp_path / "june.dividends.parquet")
    paid = [(one.symbol, one.ex_date, one.cash) for one in RecordedMarket(path).dividends()]
    assert paid == [("AA", SESSIONS[3], 0.25), ("AA", SESSIONS[3], 1.0), ("BB", SESSIONS[4], 0.5)]
