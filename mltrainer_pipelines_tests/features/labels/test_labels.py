from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mltrainer_pipelines.contracts.lake_tables import LABELS
from mltrainer_pipelines.contracts.timeframes import LONG, SHORT
from mltrainer_pipelines.features.labels.barriers import Barriers, daily_volatility, first_barrier, price_levels
from mltrainer_pipelines.features.labels.labels import compute_labels, look_ahead, look_back
from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines_tests.features import panels

OUTCOME = ["exit_date", "barrier", "gross_return", "net_return", "label"]


def labels_of(frame, timeframe=SHORT, barriers=Barriers(), cost_bps=10.0, first=None, last=None):  # noqa: B008
    days = panels.days(frame)
    return compute_labels(frame, panels.universe(frame), timeframe, barriers, cost_bps, first or days[0], last or days[-1])


def waves(count: int, *more: tuple[float, float, float, float]) -> pl.DataFrame:
    """A symbol that moves up and down by 1 % for `count` sessions, then as told."""
    rows = [(100.0, 101.0, 99.0, 100.0 + i % 2) for i in range(count)]
    return panels.bars_of("S00", [*rows, *more])


def test_the_contract_of_the_columns_holds():
    labels = labels_of(panels.bars(4, 120))
    assert dict(labels.schema) == LABELS.schema
    assert labels.select("date", "symbol").is_sorted("date")
    assert labels["timeframe"].unique().to_list() == ["short"]


def test_a_worked_example_enters_at_the_next_open_and_exits_at_the_target():
    frame = waves(70, (103.0, 104.0, 102.0, 103.0), (103.0, 200.0, 102.0, 150.0), (150.0, 150.0, 150.0, 150.0))
    days = panels.days(frame)
    row = labels_of(frame, first=days[69], last=days[69]).row(0, named=True)
    volatility = daily_volatility(frame)["volatility"][69]
    target, _ = price_levels(103.0, volatility, SHORT, Barriers())
    gross = target / 103.0 - 1.0
    assert (row["entry_date"], row["exit_date"], row["barrier"], row["label"]) == (days[70], days[71], "target", 1)
    assert row["gross_return"] == pytest.approx(gross)
    assert row["net_return"] == pytest.approx((1 + gross) * 0.999 / 1.001 - 1)


def test_a_return_that_the_costs_eat_is_labelled_0():
    frame = waves(70, *[(100.0, 100.1, 99.9, 100.1)] * 12)
    days = panels.days(frame)
    with_costs = labels_of(frame, first=days[69], last=days[69]).row(0, named=True)
    without = labels_of(frame, first=days[69], last=days[69], cost_bps=0.0).row(0, named=True)
    assert with_costs["barrier"] == without["barrier"] == "time"
    assert with_costs["gross_return"] == pytest.approx(0.001)
    assert (with_costs["label"], without["label"]) == (0, 1)


def test_the_time_barrier_is_the_close_of_the_twelfth_session_from_entry():
    frame = waves(120)
    days = panels.days(frame)
    far = Barriers(50.0, 50.0)
    row = labels_of(frame, barriers=far, first=days[70], last=days[70]).row(0, named=True)
    assert (row["entry_date"], row["exit_date"], row["barrier"]) == (days[71], days[82], "time")


def test_nothing_after_the_entry_is_known_before_the_exit():
    frame = waves(120)
    days = panels.days(frame)
    far = Barriers(50.0, 50.0)
    for end, entry, known in ((70, None, False), (71, days[71], False), (81, days[71], False), (82, days[71], True)):
        row = labels_of(frame.filter(pl.col("date") <= days[end]), barriers=far, first=days[70], last=days[70]).row(0, named=True)
        assert row["entry_date"] == entry
        assert [row[name] is not None for name in OUTCOME] == [known] * 5


def test_a_symbol_that_stops_trading_is_sold_at_its_last_close_known_five_sessions_later():
    frame = panels.bars(3, 120)
    days = panels.days(frame)
    frame = frame.filter((pl.col("symbol") != "S00") | (pl.col("date") <= days[90]))
    gone = labels_of(frame, LONG, Barriers(50.0, 50.0), first=days[85], last=days[90]).filter(symbol="S00")
    assert gone["barrier"].to_list() == ["delisted"] * 5 + [None]
    assert gone["exit_date"].to_list() == [days[95]] * 5 + [None]
    close, entry = (frame.filter(symbol="S00")[f"adj_{name}"].to_numpy() for name in ("close", "open"))
    assert gone["gross_return"].to_list()[:5] == pytest.approx([close[90] / entry[t + 1] - 1 for t in range(85, 90)])
    early = labels_of(frame.filter(pl.col("date") <= days[94]), LONG, Barriers(50.0, 50.0), first=days[85], last=days[90])
    assert early.filter(symbol="S00")["exit_date"].null_count() == 6


def test_a_symbol_without_a_bar_on_the_entry_session_gets_no_label():
    frame = panels.bars(3, 120)
    days = panels.days(frame)
    frame = frame.filter((pl.col("symbol") != "S00") | (pl.col("date") != days[80]))
    labels = labels_of(frame, first=days[79], last=days[80])
    assert labels.filter(symbol="S00", date=days[79]).select("entry_date", *OUTCOME).row(0) == (None,) * 6
    assert labels.filter(symbol="S00", date=days[80]).is_empty()
    assert labels.filter(symbol="S01").drop_nulls().height == 2


def test_constant_prices_have_no_volatility_and_no_label():
    frame = panels.bars_of("S00", [(10.0, 10.0, 10.0, 10.0)] * 100)
    assert labels_of(frame)["barrier"].null_count() == 100


def test_labels_equal_the_settlement_of_a_single_position():
    frame = panels.punctured(panels.bars(5, 200, seed=9), 0.06, seed=4)
    days = panels.days(frame)
    labels = labels_of(frame, LONG, Barriers(1.2, 0.9))
    volatility = daily_volatility(frame)
    by_symbol = {
        symbol: pl.DataFrame({"date": days}).join(frame.filter(symbol=symbol), on="date", how="left")
        for symbol in labels["symbol"].unique()
    }
    known = labels.drop_nulls("exit_date")
    assert {"target", "stop", "time"} <= set(known["barrier"])
    for row in known.sample(60, seed=1).iter_rows(named=True):
        since = days.index(row["entry_date"])
        later = by_symbol[row["symbol"]][since:]
        entry = later["adj_open"][0]
        sigma = volatility.filter(date=row["date"], symbol=row["symbol"])["volatility"][0]
        target, stop = price_levels(entry, sigma, LONG, Barriers(1.2, 0.9))
        columns = (later[f"adj_{name}"].to_list() for name in ("open", "high", "low", "close"))
        settled = first_barrier(*columns, target, stop, LONG.max_sessions)
        assert settled is not None
        assert (days[since + settled.index], settled.barrier) == (row["exit_date"], row["barrier"])
        assert settled.price / entry - 1.0 == row["gross_return"]


def test_purging_by_exit_date_leaves_only_labels_known_before_the_window():
    frame = panels.punctured(panels.bars(6, 220, seed=2), 0.05, seed=8)
    days = panels.days(frame)
    frame = frame.filter((pl.col("symbol") != "S03") | (pl.col("date") <= days[150]))
    whole = labels_of(frame, LONG)
    for window_start in (120, 153, 156, 190):
        train = whole.filter(pl.col("exit_date") < days[window_start])
        as_known = labels_of(frame.filter(pl.col("date") < days[window_start]), LONG)
        assert_frame_equal(train, as_known.drop_nulls("exit_date"), check_exact=True)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), holes=st.sampled_from([0.0, 0.1, 0.5]), cut=st.integers(70, 129))
def test_a_label_never_changes_once_it_is_known(seed, holes, cut):
    frame = panels.punctured(panels.bars(4, 130, seed=seed % 3), holes, seed)
    end = panels.days(frame)[cut]
    known = (pl.col("exit_date") <= end).fill_null(value=False)
    whole = labels_of(frame).filter(pl.col("date") <= end)
    whole = whole.with_columns(
        pl.when(pl.col("entry_date") <= end).then("entry_date"), *(pl.when(known).then(name) for name in OUTCOME)
    )
    assert_frame_equal(labels_of(frame.filter(pl.col("date") <= end)), whole, check_exact=True)


def test_labels_are_known_at_the_latest_after_the_look_ahead():
    frame = panels.punctured(panels.bars(6, 200, seed=5), 0.15, seed=5)
    days = panels.days(frame)
    known = labels_of(frame, barriers=Barriers(9.0, 9.0)).drop_nulls("exit_date")
    waits = [days.index(e) - days.index(d) for d, e in known.select("date", "exit_date").iter_rows()]
    assert SHORT.max_sessions < max(waits) <= look_ahead(SHORT)


def test_the_declared_look_back_is_enough():
    frame = panels.punctured(panels.bars(6, 200, seed=5), 0.1, seed=6)
    days = panels.days(frame)
    short = frame.filter(pl.col("date") >= days[150 - look_back()])
    assert_frame_equal(labels_of(short, first=days[150]), labels_of(frame, first=days[150]), check_exact=True)


def test_only_members_of_the_month_are_labelled():
    frame = panels.bars(4, 120)
    members = panels.universe(frame).filter((pl.col("symbol") != "S02") | (pl.col("month") != date(2019, 5, 1)))
    labels = compute_labels(frame, members, SHORT, Barriers(), 10.0, date(2019, 4, 29), date(2019, 5, 2))
    assert labels.filter(symbol="S02")["date"].to_list() == [date(2019, 4, 29), date(2019, 4, 30)]


def test_bad_input_is_named():
    frame = panels.bars(4, 120)
    with pytest.raises(BadPanelError, match="lack the column\\(s\\) adj_open"):
        labels_of(frame.drop("adj_open"))
    with pytest.raises(BadPanelError, match="no session from 2031-01-01"):
        labels_of(frame, first=date(2031, 1, 1), last=date(2031, 2, 1))
    members = panels.universe(frame).filter(pl.col("month") != date(2019, 2, 1))
    with pytest.raises(BadPanelError, match="no members for the month\\(s\\) 2019-02-01"):
        compute_labels(frame, members, SHORT, Barriers(), 10.0, date(2019, 1, 2), date(2019, 3, 1))
    with pytest.raises(ValueError, match="basis points"):
        labels_of(frame, cost_bps=-1.0)


def test_members_without_any_bar_give_no_row():
    frame = panels.bars(4, 120)
    members = panels.universe(frame).with_columns(symbol=pl.lit("NONE") + pl.col("symbol"))
    labels = compute_labels(frame, members, SHORT, Barriers(), 10.0, date(2019, 4, 29), date(2019, 5, 2))
    assert labels.is_empty()
    assert dict(labels.schema) == LABELS.schema
