"""Prints that nobody traded at: clipped or set aside, and never a step of the whole market's price."""

from datetime import date

import polars as pl
import pytest

from mltrainer_pipelines.market.bars import ValidatedBars, validate_bars
from mltrainer_pipelines.market.print_checks import without_false_prints

DAY = date(2024, 3, 4)
BEFORE = pl.DataFrame({"symbol": ["AAA"], "close": [16.0]})


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
