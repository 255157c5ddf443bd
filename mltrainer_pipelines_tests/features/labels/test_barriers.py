import math
from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.contracts.timeframes import LONG, SHORT, TIMEFRAMES, Timeframe
from mltrainer_pipelines.features.labels.barriers import Barriers, Exit, daily_volatility, first_barrier, net_return, price_levels
from mltrainer_pipelines_tests.features import panels


def exit_of(rows: list[tuple], target: float = 110.0, stop: float = 90.0, max_sessions: int = 5) -> Exit | None:
    opens, highs, lows, closes = zip(*rows, strict=True)
    return first_barrier(opens, highs, lows, closes, target, stop, max_sessions)


CALM = (100.0, 102.0, 98.0, 101.0)
SHUT = (None, None, None, None)


def test_a_touched_target_exits_at_the_target():
    assert exit_of([CALM, (101.0, 111.0, 100.0, 105.0)]) == Exit(1, 110.0, "target")


def test_a_touched_stop_exits_at_the_stop():
    assert exit_of([CALM, (101.0, 102.0, 89.0, 95.0)]) == Exit(1, 90.0, "stop")


def test_the_stop_wins_when_one_session_touches_both():
    assert exit_of([CALM, (101.0, 115.0, 85.0, 100.0)]) == Exit(1, 90.0, "stop")


def test_the_entry_session_itself_can_touch_a_barrier():
    assert exit_of([(100.0, 112.0, 99.0, 105.0)]) == Exit(0, 110.0, "target")


def test_a_gap_through_the_stop_fills_at_the_open():
    assert exit_of([CALM, (80.0, 120.0, 79.0, 100.0)]) == Exit(1, 80.0, "stop")


def test_a_gap_through_the_target_fills_at_the_open():
    assert exit_of([CALM, (118.0, 119.0, 80.0, 100.0)]) == Exit(1, 118.0, "target")


def test_the_time_barrier_exits_at_the_close_of_the_last_session():
    assert exit_of([CALM] * 4) is None
    assert exit_of([*[CALM] * 4, (100.0, 102.0, 98.0, 99.5)]) == Exit(4, 99.5, "time")


def test_a_symbol_that_does_not_trade_at_the_time_barrier_exits_at_its_next_open():
    assert exit_of([*[CALM] * 4, SHUT, SHUT]) is None
    assert exit_of([*[CALM] * 4, SHUT, SHUT, (97.0, 99.0, 96.0, 98.0)]) == Exit(6, 97.0, "time")


def test_a_symbol_that_stops_trading_exits_at_its_last_close_once_five_sessions_have_shown_it():
    assert exit_of([CALM, CALM, *[SHUT] * 4], max_sessions=50) is None
    assert exit_of([CALM, CALM, *[SHUT] * 5], max_sessions=50) == Exit(6, 101.0, "delisted")


def test_a_short_halt_is_no_delisting():
    assert exit_of([CALM, *[SHUT] * 4, CALM, *[SHUT] * 4], max_sessions=50) is None


def test_what_comes_after_the_exit_does_not_matter():
    rows = [CALM, (101.0, 111.0, 100.0, 105.0)]
    assert exit_of(rows) == exit_of([*rows, (1.0, 1.0, 1.0, 1.0)])


def test_impossible_levels_and_ragged_bars_are_refused():
    with pytest.raises(ValueError, match=r"stop .* below the target"):
        exit_of([CALM], target=90.0, stop=90.0)
    with pytest.raises(ValueError, match="one value a session"):
        first_barrier([1.0], [1.0], [1.0], [1.0, 2.0], 2.0, 0.5, 3)
    with pytest.raises(ValueError, match="max_sessions"):
        exit_of([CALM], max_sessions=0)


def test_levels_are_the_volatility_over_the_horizon_away():
    target, stop = price_levels(100.0, 0.02, SHORT, Barriers(2.0, 1.0))
    assert target == pytest.approx(100.0 * math.exp(2 * 0.02 * math.sqrt(12)))
    assert stop == pytest.approx(100.0 * math.exp(-0.02 * math.sqrt(12)))
    many = price_levels(np.array([100.0, 100.0, np.nan]), np.array([0.02, 0.0, 0.02]), SHORT, Barriers(2.0, 1.0))
    assert many[0][0] == target
    assert many[1][0] == stop
    assert np.isnan(many[0][1:]).all()


def test_an_infinite_multiple_switches_a_barrier_off():
    target, stop = price_levels(100.0, 0.02, LONG, Barriers(math.inf, math.inf))
    assert (target, stop) == (math.inf, 0.0)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan])
def test_multiples_that_are_not_above_0_are_refused(wrong):
    with pytest.raises(ValueError, match="must be above 0"):
        Barriers(target=wrong)
    with pytest.raises(ValueError, match="must be above 0"):
        Barriers(stop=wrong)


def test_costs_are_paid_on_both_sides():
    assert net_return(np.array(0.0), 10.0) == pytest.approx(0.999 / 1.001 - 1)


def test_the_timeframes_are_those_of_the_design():
    assert {name: (t.min_sessions, t.max_sessions) for name, t in TIMEFRAMES.items()} == {"short": (7, 12), "long": (50, 70)}
    with pytest.raises(ValueError, match="min_sessions <= max_sessions"):
        Timeframe("odd", 5, 4)


def test_daily_volatility_is_the_deviation_of_the_last_60_log_returns():
    frame = panels.bars(3, 100)
    found = daily_volatility(frame).filter(symbol="S01")
    returns = np.diff(np.log(frame.filter(symbol="S01")["adj_close"].to_numpy()))
    assert found["volatility"][99] == pytest.approx(np.std(returns[-60:], ddof=1), rel=1e-12)
    assert found["volatility"][58] is None
    assert found["volatility"][59] is not None


def test_daily_volatility_needs_40_of_the_60_and_does_not_know_constant_prices():
    frame = panels.bars(3, 100)
    young = frame.filter((pl.col("symbol") != "S00") | (pl.col("date") >= panels.days(frame)[61]))
    assert daily_volatility(young).filter(symbol="S00")["volatility"].null_count() == 39
    flat = frame.with_columns(adj_close=pl.lit(10.0))
    assert daily_volatility(flat)["volatility"].null_count() == flat.height


def test_daily_volatility_is_the_same_from_a_short_history():
    frame = panels.punctured(panels.bars(6, 140), 0.1, seed=3)
    cut = panels.days(frame)[-67]
    newest = pl.col("date") == panels.days(frame)[-1]
    whole, short = daily_volatility(frame).filter(newest), daily_volatility(frame.filter(pl.col("date") >= cut)).filter(newest)
    assert whole.equals(short)
    assert whole["date"][0] > date(2019, 1, 1)
