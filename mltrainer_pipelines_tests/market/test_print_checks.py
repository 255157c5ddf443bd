"""Prints that nobody traded at: clipped or set aside, and never a step of the whole market's price."""

from datetime import date

import polars as pl
import pytest

from mltrainer_pipelines.market.bars import ValidatedBars, validate_bars
from mltrainer_pipelines.market.ingestion import sifted_session, store_session
from mltrainer_pipelines.market.print_checks import without_false_prints
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.store.lake import Lake

DAY = date(2024, 3, 4)
BEFORE = pl.DataFrame({"symbol": ["AAA"], "close": [16.0], "volume": [1e7]})


def session(open_: float, high: float, low: float, close: float) -> ValidatedBars:
    bar = {"date": DAY, "symbol": "AAA", "open": open_, "high": high, "low": low, "close": close, "volume": 1e6, "vwap": 16.0}
    return validate_bars(pl.DataFrame([bar]))


@pytest.mark.parametrize(
    ("prices", "clipped"),
    [
        ((16.1, 16.4, 0.92, 16.2), (16.1, 16.4, 16.1, 16.2)),
        ((16.1, 164.0, 16.0, 16.2), (16.1, 16.2, 16.0, 16.2)),
        ((16.1, 27.0, 9.0, 16.2), (16.1, 16.2, 16.1, 16.2)),
    ],
)
def test_a_low_or_high_that_nobody_traded_at_is_clipped_and_put_on_record(prices, clipped):
    found = without_false_prints(session(*prices), BEFORE)
    assert found.bars.select("open", "high", "low", "close").rows() == [clipped]
    assert found.rejected.select("open", "high", "low", "close").rows() == [prices]
    assert "clipped" in found.rejected["reason"][0]
    assert without_false_prints(session(*prices), BEFORE, right={"AAA"}).bars.equals(session(*prices).bars)


def test_a_close_at_ten_times_the_open_sets_the_bar_aside():
    found = without_false_prints(session(16.1, 161.0, 16.0, 161.0), BEFORE)
    assert found.bars.is_empty()
    assert "lie too far apart" in found.rejected["reason"][0]


@pytest.mark.parametrize(
    "prices", [(16.1, 16.4, 15.0, 15.2), (8.0, 8.3, 7.9, 8.1), (160.0, 165.0, 158.0, 161.0), (9, 9.5, 6, 6.5)]
)
def test_a_wild_day_a_split_and_a_crash_are_left_as_they_are(prices):
    for before in (BEFORE, None):
        bars = session(*prices)
        assert without_false_prints(bars, before) is bars


def whole(times: float, shares: float) -> ValidatedBars:
    prices = {name: value * times for name, value in (("open", 16.1), ("high", 16.4), ("low", 15.9), ("close", 16.2))}
    bar = {"date": DAY, "symbol": "AAA", **prices, "volume": shares, "vwap": None}
    return validate_bars(pl.DataFrame([bar]))


@pytest.mark.parametrize("times", [10, 100, 1000, 0.1, 0.01])
def test_a_whole_bar_whose_point_slipped_is_set_aside_and_a_split_is_not(times):
    before = BEFORE.with_columns(volume=pl.lit(1e6))
    found = without_false_prints(whole(times, 1.3e6), before)
    assert found.bars.is_empty()
    assert "its point slipped" in found.rejected["reason"][0]
    split = whole(times, 1.3e6 / times)
    assert without_false_prints(split, before).bars.equals(split.bars)
    confirmed = whole(times, 1.3e6)
    assert without_false_prints(confirmed, before, right={"AAA"}).bars.equals(confirmed.bars)


def test_a_bar_that_stays_ten_times_off_is_held_against_the_last_one_that_was_right(tmp_path):
    lake = Lake(str(tmp_path))
    days = sessions_between(date(2024, 3, 1), date(2024, 3, 7))
    for day, times in zip(days, (1, 10, 10, 1, 1), strict=True):
        others = pl.concat([whole(1, 1e6).bars.with_columns(symbol=pl.lit(f"S{number}")) for number in range(30)])
        bars = pl.concat([whole(times, 1e6).bars, others]).with_columns(date=pl.lit(day)).sort("symbol")
        store_session(lake, day, sifted_session(lake, day, validate_bars(bars, day)), compare=False)
    there = [lake.read("daily_bars", str(day)).filter(pl.col("symbol") == "AAA").height for day in days]
    assert there == [1, 0, 0, 1, 1]
