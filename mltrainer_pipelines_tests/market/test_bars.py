from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS
from mltrainer_pipelines.market.bars import require_valid_bars
from mltrainer_pipelines.market.errors import BadBarsError

SESSION = date(2024, 3, 4)
GOOD = {
    "date": SESSION,
    "symbol": "AAA",
    "open": 10.0,
    "high": 11.0,
    "low": 9.5,
    "close": 10.5,
    "volume": 1e6,
    "vwap": 10.2,
    "trades": 900,
}


def frame(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame([{**GOOD, **row} for row in rows], schema=DAILY_BARS.schema, strict=False)


def test_good_bars_come_back_in_the_contracts_columns_sorted_by_symbol():
    found = require_valid_bars(frame({"symbol": "ZZZ"}, {"symbol": "AAA"}).select(*reversed(DAILY_BARS.schema)), SESSION)
    assert found.schema == DAILY_BARS.schema
    assert found["symbol"].to_list() == ["AAA", "ZZZ"]


def test_vwap_and_trades_may_be_unknown():
    found = require_valid_bars(frame({}).drop("vwap", "trades"), SESSION)
    assert found.schema == DAILY_BARS.schema
    assert found.row(0)[-2:] == (None, None)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"open": -10.0}, "open is not a positive number"),
        ({"close": 0.0}, "close is not a positive number"),
        ({"high": float("nan")}, "high is not a positive number"),
        ({"low": float("inf")}, "low is not a positive number"),
        ({"close": None}, "close is not a positive number"),
        ({"high": 9.0}, "high is below low"),
        ({"low": 10.2}, "low is above open or close"),
        ({"high": 10.4}, "high is below open or close"),
        ({"volume": -1.0}, "volume is negative"),
        ({"volume": None}, "volume is negative or not a number"),
        ({"vwap": -3.0}, "vwap is not a positive number"),
        ({"trades": -1}, "trades is negative"),
        ({"symbol": ""}, "no symbol"),
        ({"date": date(2024, 3, 5)}, "not a bar of 2024-03-04"),
        ({"date": None}, "no date"),
    ],
)
def test_a_bad_bar_is_refused_with_its_symbol_and_the_rule(wrong, rule):
    with pytest.raises(BadBarsError) as refused:
        require_valid_bars(frame({"symbol": "BBB"}, wrong), SESSION)
    assert rule in str(refused.value)
    assert "1 row cannot be right" in str(refused.value)
    assert wrong.get("symbol", "AAA") in str(refused.value)
    assert "BBB" not in str(refused.value)


def test_a_duplicate_symbol_is_refused():
    with pytest.raises(BadBarsError, match="AAA on 2024-03-04: duplicate"):
        require_valid_bars(frame({}, {"close": 10.6}), SESSION)


def test_the_same_symbol_on_two_dates_is_no_duplicate():
    assert len(require_valid_bars(frame({}, {"date": date(2024, 3, 5)}))) == 2


def test_missing_columns_and_wrong_types_are_named():
    with pytest.raises(BadBarsError, match="the column volume is missing"):
        require_valid_bars(frame({}).drop("volume"), SESSION)
    with pytest.raises(BadBarsError, match="wrong type"):
        require_valid_bars(frame({}).with_columns(open=pl.lit("ten")), SESSION)


def test_many_bad_rows_are_counted_and_the_first_shown():
    with pytest.raises(BadBarsError, match=r"30 rows cannot be right: S00 .*; and 25 more"):
        require_valid_bars(frame(*({"symbol": f"S{i:02d}", "close": -1.0} for i in range(30))), SESSION)


def test_the_rounding_of_float_arithmetic_is_no_fault():
    assert len(require_valid_bars(frame({"open": 11.000000000000002}), SESSION)) == 1


@given(st.lists(st.floats(0.01, 1e5), min_size=4, max_size=4), st.floats(0, 1e12))
def test_any_consistent_bar_passes(prices, volume):
    low, first, second, high = sorted(prices)
    row = {"open": first, "close": second, "low": low, "high": high, "volume": volume, "vwap": None}
    assert len(require_valid_bars(frame(row), SESSION)) == 1
