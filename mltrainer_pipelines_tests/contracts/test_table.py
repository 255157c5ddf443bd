from datetime import date

import polars as pl
import pytest

from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS, FEATURES, LAKE_TABLES, REGIME, SIGNALS
from mltrainer_pipelines.contracts.table import Column, SchemaMismatchError
from mltrainer_pipelines.features.regime.market_states import STATES
from mltrainer_pipelines.features.regime.score import PARTS

BAR = {
    "date": date(2024, 3, 1),
    "symbol": "AAA",
    "open": 10.0,
    "high": 11.0,
    "low": 9.0,
    "close": 10.5,
    "volume": 100.0,
    "vwap": None,
    "trades": None,
}


def bars(*changes: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame([BAR | change for change in changes], schema=DAILY_BARS.schema)


def test_a_frame_that_obeys_its_table_comes_back_as_it_is():
    frame = bars({}, {"symbol": "BBB"})
    assert DAILY_BARS.validate(frame) is frame
    assert DAILY_BARS.problems(frame) == []


@pytest.mark.parametrize("table", LAKE_TABLES.values(), ids=lambda table: table.name)
def test_an_empty_frame_obeys_every_table_and_a_missing_column_none(table):
    assert table.problems(table.empty()) == []
    name = table.columns[-1].name
    assert table.problems(table.empty().drop(name)) == [f"the column {name} is missing"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"low": -1.0}, "low: 1 value breaks “> 0”, such as -1.0"),
        ({"volume": -2.0}, "volume: 1 value breaks “≥ 0”, such as -2.0"),
        ({"close": None}, "close: 1 value breaks “not null”, such as None"),
        ({"close": float("nan")}, "close: 1 value breaks “not null”, such as nan"),
        ({"symbol": ""}, "symbol: 1 value breaks “not empty”, such as "),
        ({"symbol": "AAA"}, "date: 2 values break “unique in (date, symbol)”, such as 2024-03-01"),
    ],
)
def test_a_broken_rule_is_named_with_how_often_and_an_example(change, problem):
    frame = bars({}, {"symbol": "BBB"} | change)
    assert DAILY_BARS.problems(frame) == [problem]
    with pytest.raises(SchemaMismatchError, match="daily_bars was not stored: "):
        DAILY_BARS.validate(frame)


def test_a_value_that_may_be_unknown_obeys_its_rule_while_it_is():
    action = {"symbol": "AAA", "ex_date": date(2024, 3, 1), "kind": "split", "ratio": 2.0, "cash": None, "declared": None}
    assert CORPORATE_ACTIONS.problems(pl.DataFrame([action], schema=CORPORATE_ACTIONS.schema)) == []
    wrong = pl.DataFrame([action | {"kind": "gift"}], schema=CORPORATE_ACTIONS.schema)
    assert CORPORATE_ACTIONS.problems(wrong) == ["kind: 1 value breaks “one of split, dividend”, such as gift"]


def test_types_further_columns_and_the_order_are_part_of_a_table():
    frame = bars({})
    assert DAILY_BARS.problems(frame.with_columns(pl.col("trades").cast(pl.Int32))) == ["trades is Int32, not Int64"]
    assert DAILY_BARS.problems(frame.with_columns(x=1)) == ["there is no column x in daily_bars"]
    assert "the columns are in the order" in DAILY_BARS.problems(frame.select(*reversed(DAILY_BARS.schema)))[0]
    assert DAILY_BARS.cast(frame.with_columns(x=1).select(pl.all().reverse())).schema == DAILY_BARS.schema


def test_features_have_the_columns_of_their_set():
    frame = pl.DataFrame([{"date": date(2024, 3, 1), "symbol": "AAA", "return_5": 0.1}])
    assert FEATURES.problems(frame) == []
    declared = FEATURES.extended([Column("return_5", pl.Float32(), "return of 5 sessions", nullable=True)])
    assert declared.problems(frame) == ["return_5 is Float64, not Float32"]


def test_the_regimes_columns_are_its_parts_and_states():
    assert list(REGIME.schema) == ["date", "score", *PARTS, *STATES]


@pytest.mark.parametrize("table", LAKE_TABLES.values(), ids=lambda table: table.name)
def test_every_table_and_column_is_described_and_every_key_is_a_column(table):
    assert table.description.endswith(".")
    assert all(column.description for column in table.columns)
    assert set(table.unique) <= set(table.schema)


def test_a_columns_rules_are_short_texts():
    constraints = {column.name: column.constraints for column in SIGNALS.columns}
    assert constraints["confidence"] == ["0 to 1"]
    assert constraints["grade"] == ["one of proven, candidate", "not null"]
