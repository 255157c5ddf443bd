"""Features that tell stocks apart, beside plain arithmetic on the bars."""

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines_tests.features import panels

SESSIONS, SYMBOLS = 1300, 12


@pytest.fixture(scope="module")
def frame():
    return panels.bars(SYMBOLS, SESSIONS)


@pytest.fixture(scope="module")
def newest(frame):
    day = panels.days(frame)[-1]
    return compute_features(frame, panels.universe(frame), None, day, day, "stock_selection", 1)


@pytest.fixture(scope="module")
def returns(frame):
    """Log returns of the last sessions, a row a session and a column a symbol in order."""
    close = frame.sort("date").pivot("symbol", index="date", values="adj_close").drop("date")
    return np.diff(np.log(close.select(sorted(close.columns)).to_numpy()), axis=0)


def test_reversal_is_minus_the_return_less_beta(newest, returns):
    market = np.nanmean(returns, axis=1)
    beta = newest["beta_252"].to_numpy()
    residual = returns[-5:].sum(axis=0) - beta * market[-5:].sum()
    np.testing.assert_allclose(newest["reversal_residual_5"].to_numpy(), -residual, rtol=1e-4, atol=1e-6)


def test_the_shock_is_the_session_of_highest_dollar_volume_and_the_one_before(frame, newest, returns):
    symbol = newest["symbol"][0]
    own = frame.filter(pl.col("symbol") == symbol).sort("date").tail(63)
    volume = (own["close"] * own["volume"]).to_numpy()
    age = 62 - int(volume.argmax())
    assert newest["volume_shock_age_63"][0] == age
    residual = returns[:, 0] - newest["beta_252"][0] * np.nanmean(returns, axis=1)
    both = residual[len(residual) - 1 - age] + residual[len(residual) - 2 - age]
    assert newest["volume_shock_return_63"][0] == pytest.approx(both, rel=1e-4, abs=1e-6)


def test_every_feature_is_known_with_enough_history_and_names_its_source(newest):
    assert all(feature.source and feature.summary for feature in get_feature_set("stock_selection").features)
    assert newest.null_count().sum_horizontal().item() == 0


def test_no_more_history_than_declared_changes_nothing(frame, newest):
    days = panels.days(frame)
    assert look_back("stock_selection") < len(days)
    short = frame.filter(pl.col("date") >= days[-look_back("stock_selection")])
    again = compute_features(short, panels.universe(short), None, days[-1], days[-1], "stock_selection", 1)
    assert again.equals(newest)
