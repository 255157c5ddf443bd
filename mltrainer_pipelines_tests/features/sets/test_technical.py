"""Every indicator against TA-Lib, called directly on each symbol's own bars."""

import numpy as np
import polars as pl
import pytest
import talib

from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.sets.technical import TECHNICAL
from mltrainer_pipelines_tests.features import panels


def changed(values, sessions):
    return np.concatenate([np.full(sessions, np.nan), values[sessions:] - values[:-sessions]])


def directly(o, h, low, c, v) -> dict[str, np.ndarray]:
    macd, signal, histogram = talib.MACD(c, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(c, 20)
    top, _, bottom = talib.DONCHIAN(h, low, 20)
    down, up = talib.AROON(h, low, 25)
    k, d = talib.STOCH(h, low, c, fastk_period=14, slowk_period=3, slowd_period=3)
    plus, minus = talib.VORTEX(h, low, c, 14)
    volume = talib.SMA(v, 20)
    return {
        **{f"rsi_{n}": talib.RSI(c, n) / 100 for n in (3, 7, 14)},
        "cmo_14": talib.CMO(c, 14) / 100,
        "stochastic_rsi_14": talib.STOCHRSI(c, 14, 14, 3)[1] / 100,
        "adx_14": talib.ADX(h, low, c, 14) / 100,
        "adxr_14": talib.ADXR(h, low, c, 14) / 100,
        "dx_14": talib.DX(h, low, c, 14) / 100,
        "plus_di_14": talib.PLUS_DI(h, low, c, 14) / 100,
        "minus_di_14": talib.MINUS_DI(h, low, c, 14) / 100,
        "aroon_down_25": down / 100,
        "aroon_up_25": up / 100,
        "vortex_14": plus - minus,
        "cci_20": talib.CCI(h, low, c, 20) / 100,
        "williams_r_14": talib.WILLR(h, low, c, 14) / 100,
        "stochastic_k_14": k / 100,
        "stochastic_d_14": d / 100,
        "stochastic_fast_5": talib.STOCHF(h, low, c, 5, 3)[0] / 100,
        "ultimate_oscillator": talib.ULTOSC(h, low, c, 7, 14, 28) / 100,
        "balance_of_power": talib.BOP(o, h, low, c),
        "intraday_momentum_14": talib.IMI(o, c, 14) / 100,
        "true_strength": talib.TSI(c, 25, 13) / 100,
        "trendiness_28": talib.VHF(c, 28),
        "efficiency_20": talib.ER(c, 20),
        "ppo_12_26": talib.PPO(c, 12, 26, 1) / 100,
        "trix_15": talib.TRIX(c, 15) / 100,
        **{f"roc_{n}": talib.ROC(c, n) / 100 for n in (10, 20)},
        "coppock": talib.COPPOCK(c, 10, 14, 11) / 100,
        "macd": macd / c,
        "macd_signal": signal / c,
        "macd_histogram": histogram / c,
        **{f"distance_to_ema_{n}": c / talib.EMA(c, n) - 1 for n in (10, 20)},
        "distance_to_wma_20": c / talib.WMA(c, 20) - 1,
        "distance_to_dema_20": c / talib.DEMA(c, 20) - 1,
        "distance_to_tema_20": c / talib.TEMA(c, 20) - 1,
        "distance_to_t3_5": c / talib.T3(c, 5, 0.7) - 1,
        "distance_to_hma_20": c / talib.HMA(c, 20) - 1,
        "distance_to_vwma_20": c / talib.VWMA(c, v, 20) - 1,
        "distance_to_midprice_20": c / talib.MIDPRICE(h, low, 20) - 1,
        "distance_to_sar": c / talib.SAR(h, low, 0.02, 0.2) - 1,
        "distance_to_forecast_14": c / talib.TSF(c, 14) - 1,
        "regression_slope_14": talib.LINEARREG_SLOPE(c, 14) / c,
        "bollinger_place_20": (c - lower) / (upper - lower),
        "bollinger_width_20": (upper - lower) / middle,
        "donchian_place_20": (c - bottom) / (top - bottom),
        "natr_14": talib.NATR(h, low, c, 14) / 100,
        "true_range": talib.TRANGE(h, low, c) / c,
        "mass_index": talib.MASSI(h, low, 9, 25) / 25,
        "range_volatility_change_10": talib.CVI(h, low, 10, 10) / 100,
        "high_low_beta_20": talib.BETA(h, low, 20),
        "price_volume_correlation_20": talib.CORREL(c, v, 20),
        "percent_rank_60": talib.PERCENTRANK(c, 60) / 100,
        "mfi_14": talib.MFI(h, low, c, v, 14) / 100,
        "chaikin_money_flow_20": talib.CMF(h, low, c, v, 20),
        "relative_volume_20": talib.RVOL(v, 20),
        "pvo_12_26": talib.PVO(v, 12, 26, 1) / 100,
        "chaikin_oscillator": talib.ADOSC(h, low, c, v, 3, 10) / volume,
        "on_balance_volume_20": changed(talib.OBV(c, v), 20) / (20 * volume),
    }


@pytest.fixture(scope="module")
def frame():
    return panels.bars(5, 620, seed=3)


def computed(frame):
    days = panels.days(frame)
    return compute_features(frame, panels.universe(frame), None, days[0], days[-1], "technical", 1)


def compared(ours: pl.DataFrame, frame: pl.DataFrame, symbol: str) -> None:
    bars = frame.filter(symbol=symbol).sort("date")
    expected = directly(*(bars[f"adj_{name}"].to_numpy() for name in ("open", "high", "low", "close", "volume")))
    found = ours.filter(symbol=symbol)
    assert set(found.columns[2:]) == set(expected)
    for name, values in expected.items():
        got = found[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        values = np.where(np.isfinite(values), values, np.nan)
        np.testing.assert_allclose(got, values, rtol=1e-4, atol=3e-5 * np.nanstd(values), err_msg=f"{name} of {symbol}")


def test_there_are_at_least_40_indicators_and_each_names_its_talib_function():
    assert len(TECHNICAL.features) >= 40
    for feature in TECHNICAL.features:
        assert hasattr(talib, feature.source.split("TA-Lib ")[1]), feature.name


def test_every_indicator_equals_talib_called_on_each_symbol(frame):
    ours = computed(frame)
    for symbol in ("S00", "S03"):
        compared(ours, frame, symbol)


def test_a_symbol_that_misses_sessions_is_talib_over_those_it_traded(frame):
    days = panels.days(frame)
    gone = frame.filter((pl.col("symbol") != "S02") | ~pl.col("date").is_in([days[300], days[480], days[481]]))
    compared(computed(gone), gone, "S02")


def test_indicators_have_no_units(frame):
    dearer = frame.with_columns(
        *(pl.col(f"adj_{n}") * 1000.0 for n in ("open", "high", "low", "close")), adj_volume=pl.col("adj_volume") * 64.0
    )
    for name, one, other in zip(TECHNICAL.names, computed(frame)[:, 2:], computed(dearer)[:, 2:], strict=True):
        # A strength index of bars that only rose is 1 whatever the units; the rest differs by rounding alone.
        np.testing.assert_allclose(other.to_numpy(), one.to_numpy(), rtol=2e-3, atol=2e-4 * (one.std() or 1.0), err_msg=name)


def test_oscillators_of_a_constant_price_and_of_no_volume_are_unknown_and_not_0(frame):
    still = frame.with_columns(
        *(pl.lit(20.0).alias(f"adj_{n}") for n in ("open", "high", "low", "close")), adj_volume=pl.lit(0.0)
    )
    newest = computed(still).filter(pl.col("date") == panels.days(still)[-1])
    defined = {name for name in TECHNICAL.names if newest[name].null_count() == 0}
    distances = {name for name in TECHNICAL.names if name.startswith("distance_to_")} - {"distance_to_vwma_20"}
    no_move = {"ppo_12_26", "trix_15", "roc_10", "roc_20", "coppock", "macd", "macd_signal", "macd_histogram",
               "regression_slope_14", "bollinger_width_20", "natr_14", "true_range"}  # fmt: skip
    assert defined == distances | no_move
    assert newest.select(pl.col(defined).abs().max()).transpose().to_series().max() < 1e-9
