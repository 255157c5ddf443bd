"""What a factor's figures say of markets whose truth is known."""

import numpy as np
import polars as pl

from mltrainer_pipelines.trials.factors.assessment import assess, forward_returns
from mltrainer_pipelines_tests.features import panels


def drifting(seed: int = 4) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars whose return from one open to the next is 2 % of a factor known the day before, and the factor."""
    random = np.random.default_rng(seed)
    frame = panels.bars(12, 300).sort("symbol", "date")
    frame = frame.with_columns(factor=pl.Series(random.normal(size=frame.height)))
    frame = frame.with_columns(noise=pl.Series(random.normal(0, 0.01, frame.height)))
    growth = 1.0 + 0.02 * pl.col("factor").shift(2).fill_null(0.0) + pl.col("noise")
    frame = frame.with_columns(adj_open=100.0 * growth.cum_prod().over("symbol"))
    return frame, frame.select("date", "symbol", "factor")


def test_the_decay_says_at_which_horizon_a_factor_forecasts():
    bars, factor = drifting()
    figures = assess(factor, bars, factor.select("date", "symbol", same=-pl.col("factor"), none=pl.lit(None, pl.Float64)))
    by_horizon = {one.horizon: one for one in figures.decay}
    assert by_horizon[1].rank_ic > 0.6
    assert by_horizon[1].t > 20
    assert 0.1 < by_horizon[21].rank_ic < by_horizon[5].rank_ic < by_horizon[1].rank_ic
    assert figures.like == [("same", -1.0)]
    assert figures.coverage == 1.0


def test_a_factor_of_nothing_forecasts_nothing():
    bars, _ = drifting()
    noise = bars.select("date", "symbol", factor=pl.Series(np.random.default_rng(9).normal(size=bars.height)))
    assert all(abs(one.t) < 4 for one in assess(noise, bars, horizons=(1, 5, 10)).decay)


def test_a_return_is_from_the_next_open_and_unknown_at_the_end():
    bars = panels.bars_of("A", [(float(price),) * 4 for price in (1, 2, 4, 8)])
    assert forward_returns(bars, [1, 2])["forward_1"].to_list() == [1.0, 1.0, None, None]
    assert forward_returns(bars, [1, 2])["forward_2"].to_list() == [3.0, None, None, None]
