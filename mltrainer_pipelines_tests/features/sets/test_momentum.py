"""Features against the same numbers computed another way, mostly by pandas, on one symbol at a time."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import talib
from polars.testing import assert_frame_equal

from mltrainer_pipelines.features.engine import compute_features, look_back
from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines_tests.features import panels

SHARED = Path(__file__).parents[4] / "shared/data/us_equities_2009_2015.parquet"


@pytest.fixture(scope="module")
def frame():
    return panels.bars()


@pytest.fixture(scope="module")
def features(frame):
    days = panels.days(frame)
    return compute_features(frame, panels.universe(frame), None, days[0], days[-1])


@pytest.fixture(scope="module")
def wide(frame):
    """Adjusted fields as pandas frames: sessions × symbols."""
    return {
        name: frame.pivot("symbol", index="date", values=f"adj_{name}").to_pandas().set_index("date")
        for name in ("open", "high", "low", "close", "volume")
    }


def r_squared(values):
    return np.corrcoef(np.arange(len(values)), values)[0, 1] ** 2


def deepest(values):
    return (values / np.maximum.accumulate(values) - 1.0).min()


def regression(returns, market, symbol, window=252, skip=21):
    y, x = returns[symbol].to_numpy()[-window:], market.to_numpy()[-window:]
    beta, alpha = np.polyfit(x, y, 1)
    residuals = y - alpha - beta * x
    deviation = np.sqrt((residuals**2).sum() / (window - 2))
    return beta, deviation, (y - beta * x)[: window - skip].sum() / deviation / np.sqrt(window - skip)


def expected_at_the_end(wide, symbol):
    close, high, opens, volume = (wide[name][symbol] for name in ("close", "high", "open", "volume"))
    logs, returns = np.log(close), np.log(wide["close"]).diff()
    own, market = returns[symbol], returns.mean(axis=1)
    overnight = np.log(opens / close.shift(1))
    dollars = close * volume
    beta, _, residual_momentum = regression(returns, market, symbol)
    _, idiosyncratic, _ = regression(returns, market, symbol, window=63, skip=0)
    same_sector = [other for other in returns if int(other[1:]) % 3 == int(symbol[1:]) % 3]
    return {
        "return_5": close.iloc[-1] / close.iloc[-6] - 1,
        "return_252": close.iloc[-1] / close.iloc[-253] - 1,
        "momentum_6_1": close.iloc[-22] / close.iloc[-127] - 1,
        "momentum_12_1": close.iloc[-22] / close.iloc[-253] - 1,
        "residual_momentum_12_1": residual_momentum,
        "sector_relative_21": own.iloc[-21:].sum() - returns[same_sector].mean(axis=1).iloc[-21:].sum(),
        "high_distance_252": close.iloc[-1] / high.iloc[-252:].max() - 1,
        "drawdown_63": close.iloc[-1] / close.iloc[-63:].max() - 1,
        "deepest_fall_126": deepest(close.to_numpy()[-126:]),
        "path_r2_63": r_squared(logs.to_numpy()[-63:]),
        "path_r2_126": r_squared(logs.to_numpy()[-126:]),
        "trend_slope_63": np.polyfit(np.arange(63), logs.to_numpy()[-63:], 1)[0] / own.iloc[-63:].std(),
        "information_discreteness_252": np.sign(close.iloc[-1] / close.iloc[-253] - 1)
        * ((own.iloc[-252:] < 0).mean() - (own.iloc[-252:] > 0).mean()),
        "acceleration_63": close.iloc[-1] / close.iloc[-64] - close.iloc[-64] / close.iloc[-127],
        "scaled_momentum_63": own.iloc[-63:].sum() / own.iloc[-63:].std() / np.sqrt(63),
        "reversal_5": -(own.iloc[-5:].mean() - market.iloc[-5:].mean()) / own.iloc[-21:].std(),
        "distance_to_mean_200": close.iloc[-1] / close.iloc[-200:].mean() - 1,
        "volume_surge_5": np.log(volume.iloc[-5:].mean() / volume.iloc[-63:].mean()),
        "dollar_volume_surge_21": np.log(dollars.iloc[-21:].mean() / dollars.iloc[-252:].mean()),
        "gap_1": overnight.iloc[-1] / own.iloc[-21:].std(),
        "overnight_21": overnight.iloc[-21:].sum(),
        "intraday_21": np.log(close / opens).iloc[-21:].sum(),
        "volatility_63": own.iloc[-63:].std(),
        "volatility_change_21": np.log(own.iloc[-21:].std() / own.iloc[-126:].std()),
        "highest_return_21": own.iloc[-21:].max(),
        "beta_252": beta,
        "market_correlation_63": own.iloc[-63:].corr(market.iloc[-63:]),
        "idiosyncratic_volatility_63": idiosyncratic,
        "amihud_21": np.log((own.abs() / (dollars / 1e6)).iloc[-21:].mean()),
        "rsi_14": talib.RSI(close.to_numpy(), 14)[-1] / 100,
        "adx_14": talib.ADX(high.to_numpy(), wide["low"][symbol].to_numpy(), close.to_numpy(), 14)[-1] / 100,
        "market_return_21": market.iloc[-21:].sum(),
        "market_return_252": market.iloc[-252:].sum(),
        "market_volatility_21": market.iloc[-21:].std(),
        "breadth_50": (wide["close"].iloc[-1] > wide["close"].iloc[-50:].mean()).mean(),
    }


@pytest.mark.parametrize("symbol", ["S00", "S07"])
def test_features_equal_the_same_numbers_computed_another_way(features, wide, symbol):
    newest = features.filter(pl.col("date") == features["date"][-1], symbol=symbol).row(0, named=True)
    expected = expected_at_the_end(wide, symbol)
    assert {name: newest[name] for name in expected} == pytest.approx(expected, rel=2e-5, abs=1e-7)


def test_ranks_are_percentiles_among_the_members_of_the_session(features):
    for of in ("momentum_12_1", "volatility_63", "amihud_21"):
        newest = features.filter(pl.col("date") == features["date"][-1])
        ranks = pd.Series(newest[of].to_numpy()).rank()
        assert newest[f"rank_{of}"].to_list() == pytest.approx(((ranks - 0.5) / len(ranks)).tolist())


def test_every_declaration_is_documented_and_serves_a_timeframe():
    declared = get_feature_set("momentum").features
    assert len(declared) >= 30
    for feature in declared:
        assert feature.source.strip()
        assert feature.summary.strip()
        assert feature.reads
        assert 0 <= feature.look_back <= 252
    assert get_feature_set("default") is get_feature_set("momentum")


def test_features_are_on_scales_that_pool_across_symbols(frame, features):
    tenfold = frame.with_columns(pl.col("^(adj_)?(open|high|low|close)$") * 10.0, pl.col("^(adj_)?volume$") / 10.0)
    days = panels.days(frame)
    scaled = compute_features(tenfold, panels.universe(frame), None, days[-1], days[-1])
    newest = features.filter(date=days[-1])
    for name in get_feature_set("momentum").names:
        assert scaled[name].to_list() == pytest.approx(newest[name].to_list(), rel=1e-4, abs=1e-6), name


@pytest.mark.skipif(not SHARED.exists(), reason="the shared recording is not beside this checkout")
def test_on_recorded_prices_the_newest_session_alone_equals_the_whole_computation():
    bars = pl.read_parquet(SHARED).filter(pl.col("date") >= date(2014, 1, 2))
    bars = bars.with_columns(
        *((pl.col(n) * pl.col("adj_close") / pl.col("close")).alias(f"adj_{n}") for n in ("open", "high", "low")),
        adj_volume=pl.col("volume"),
    )
    members, days = panels.universe(bars), panels.days(bars)
    whole = compute_features(bars, members, None, days[-70], days[-1])
    alone = compute_features(bars.filter(pl.col("date") >= days[-1 - look_back()]), members, None, days[-1], days[-1])
    assert_frame_equal(alone, whole.filter(date=days[-1]), check_exact=True)
    assert alone.height == 200
    assert alone.null_count().transpose().to_series().sum() < 0.02 * alone.height * alone.width
