"""TA-Lib's indicators without units, so that symbols can be pooled. Each value is TA-Lib's for the symbol, in single
precision. Two things differ. Where the price (or volume) an oscillator divides by has not moved, TA-Lib answers 0,
and here the value is null. And an average with unbounded memory starts 252 sessions before the month, not at the
symbol's first bar: less than 1e-5 of an indicator's standard deviation on the shared bars.
"""

from collections.abc import Callable

import numpy as np

from mltrainer_pipelines.features.spec import Feature, FeatureSet
from mltrainer_pipelines.features.window import Window

MEMORY = 252
"""Sessions after which the start of an exponential average has faded (below 1e-7 for Wilder's 14)."""

HLC, HLCV = ("high", "low", "close"), ("high", "low", "close", "volume")
WILDER = "Wilder (1978), New Concepts in Technical Trading Systems"
APPEL = "Appel (2005), Technical Analysis: Power Tools for Active Investors"
KAUFMAN = "Kaufman (2013), Trading Systems and Methods"
CHAIKIN = "Chaikin (1982), in Achelis (2000), Technical Analysis from A to Z"
LANE = "Lane (1984), Lane's Stochastics"

Formula = Callable[[Window], np.ndarray]


def _declared(name: str, function: str, reads: tuple[str, ...], formula: Formula, source: str, summary: str) -> Feature:
    return Feature(name, reads, MEMORY, formula, f"{source}; TA-Lib {function}", summary)


def _moved(w: Window, field: str, sessions: int) -> np.ndarray:
    """Whether the field took more than one value in the last sessions the symbol traded."""
    highest, lowest = (w.indicator(function, (field,), timeperiod=sessions) for function in ("MAX", "MIN"))
    return highest > lowest


def _oscillator(
    name: str,
    function: str,
    reads: tuple[str, ...],
    source: str,
    summary: str,
    scale: float = 1.0,
    output: int = 0,
    moves: tuple[str, int] | None = None,
    **parameters: float,
) -> Feature:
    """An indicator that has no units; unknown where the field `moves[0]` is constant over `moves[1]` sessions."""

    def formula(w: Window) -> np.ndarray:
        values = w.indicator(function, reads, output, **parameters) / scale
        return values if moves is None else np.where(_moved(w, *moves), values, np.nan)

    fields = reads if moves is None or moves[0] in reads else (*reads, moves[0])
    return _declared(name, function, fields, formula, source, summary)


def _distance(
    name: str, function: str, reads: tuple[str, ...], source: str, level: str, output: int = 0, **parameters: float
) -> Feature:
    """How far the close is from a level, as a share of the level."""

    def formula(w: Window) -> np.ndarray:
        return w.now("close") / w.indicator(function, reads, output, **parameters) - 1.0

    fields = reads if "close" in reads else (*reads, "close")
    return _declared(name, function, fields, formula, source, f"how far the close is above {level}, as a share of it")


def _over(
    name: str, function: str, reads: tuple[str, ...], source: str, summary: str, output: int = 0, **parameters: float
) -> Feature:
    """An indicator in dollars, as a share of the close."""

    def formula(w: Window) -> np.ndarray:
        return w.indicator(function, reads, output, **parameters) / w.now("close")

    fields = reads if "close" in reads else (*reads, "close")
    return _declared(name, function, fields, formula, source, summary)


def _place(name: str, function: str, reads: tuple[str, ...], source: str, summary: str, **parameters: float) -> Feature:
    """The place of the close between an upper and a lower band: 0 the lower, 1 the upper."""

    def formula(w: Window) -> np.ndarray:
        upper, lower = (w.indicator(function, reads, output, **parameters) for output in (0, 2))
        width = upper - lower
        return (w.now("close") - lower) / np.where(width > 1e-9 * upper, width, np.nan)

    return _declared(name, function, reads if "close" in reads else (*reads, "close"), formula, source, summary)


def _width(w: Window) -> np.ndarray:
    upper, middle, lower = (w.indicator("BBANDS", ("close",), output, timeperiod=20) for output in range(3))
    return (upper - lower) / middle


def _balance_of_power(w: Window) -> np.ndarray:
    values = w.indicator("BOP", ("open", "high", "low", "close"))
    return np.where(w.now("high") > w.now("low"), values, np.nan)


def _vortex(w: Window) -> np.ndarray:
    up, down = (w.indicator("VORTEX", HLC, output, timeperiod=14) for output in (0, 1))
    return np.where(_moved(w, "close", 15), up - down, np.nan)


def _a_days_volume(w: Window) -> np.ndarray:
    """Mean volume of 20 sessions; NaN where nothing was traded."""
    volume = w.indicator("SMA", ("volume",), timeperiod=20)
    return np.where(volume > 0.0, volume, np.nan)


def _on_balance(w: Window) -> np.ndarray:
    flow = w.indicator_path("OBV", ("close", "volume"))
    return w.indicator_on("MOM", flow, timeperiod=20) / (20.0 * _a_days_volume(w))


# One call a feature, its fields in the order of the declaration, reads as the table that it is.
# fmt: off
TECHNICAL = FeatureSet("technical", (
    *(_oscillator(f"rsi_{n}", "RSI", ("close",), WILDER, f"relative strength index over {n} sessions, 0 to 1",
                  scale=100.0, moves=("close", n + 1), timeperiod=n) for n in (3, 7, 14)),
    _oscillator("cmo_14", "CMO", ("close",), "Chande & Kroll (1994), The New Technical Trader",
                "Chande's momentum oscillator, -1 to 1", scale=100.0, moves=("close", 15), timeperiod=14),
    _oscillator("stochastic_rsi_14", "STOCHRSI", ("close",), "Chande & Kroll (1994), The New Technical Trader",
                "place of the RSI in its range of 14 sessions, smoothed over 3, 0 to 1", scale=100.0, output=1,
                moves=("close", 30), timeperiod=14, fastk_period=14, fastd_period=3),
    _oscillator("adx_14", "ADX", HLC, WILDER, "average directional index, 0 to 1", scale=100.0, moves=("close", 28),
                timeperiod=14),
    _oscillator("adxr_14", "ADXR", HLC, WILDER, "mean of the ADX now and 13 sessions ago, 0 to 1", scale=100.0,
                moves=("close", 28), timeperiod=14),
    _oscillator("dx_14", "DX", HLC, WILDER, "directional index, 0 to 1", scale=100.0, moves=("close", 15), timeperiod=14),
    _oscillator("plus_di_14", "PLUS_DI", HLC, WILDER, "share of the true range that went up, 0 to 1", scale=100.0,
                moves=("close", 15), timeperiod=14),
    _oscillator("minus_di_14", "MINUS_DI", HLC, WILDER, "share of the true range that went down, 0 to 1", scale=100.0,
                moves=("close", 15), timeperiod=14),
    _oscillator("aroon_down_25", "AROON", ("high", "low"), "Chande (1995), The Time Price Oscillator",
                "how recent the low of 25 sessions is, 0 to 1", scale=100.0, moves=("low", 26), timeperiod=25),
    _oscillator("aroon_up_25", "AROON", ("high", "low"), "Chande (1995), The Time Price Oscillator",
                "how recent the high of 25 sessions is, 0 to 1", scale=100.0, output=1, moves=("high", 26), timeperiod=25),
    _declared("vortex_14", "VORTEX", HLC, _vortex, "Botes & Siepman (2010), The Vortex Indicator",
              "upward minus downward movement over the true range of 14 sessions"),
    _oscillator("cci_20", "CCI", HLC, "Lambert (1980), Commodity Channel Index",
                "typical price minus its mean of 20 sessions, in 1.5 mean deviations", scale=100.0, moves=("close", 20),
                timeperiod=20),
    _oscillator("williams_r_14", "WILLR", HLC, "Williams (1979), How I Made One Million Dollars",
                "place of the close in the range of 14 sessions, -1 to 0", scale=100.0, moves=("close", 14), timeperiod=14),
    _oscillator("stochastic_k_14", "STOCH", HLC, LANE, "place of the close in the range of 14 sessions, smoothed over 3, 0 to 1",
                scale=100.0, moves=("close", 14), fastk_period=14, slowk_period=3, slowd_period=3),
    _oscillator("stochastic_d_14", "STOCH", HLC, LANE, "the stochastic smoothed over 3 sessions again, 0 to 1", scale=100.0,
                output=1, moves=("close", 14), fastk_period=14, slowk_period=3, slowd_period=3),
    _oscillator("stochastic_fast_5", "STOCHF", HLC, LANE, "place of the close in the range of 5 sessions, 0 to 1", scale=100.0,
                moves=("close", 5), fastk_period=5, fastd_period=3),
    _oscillator("ultimate_oscillator", "ULTOSC", HLC, "Williams (1985), The Ultimate Oscillator",
                "buying pressure over 7, 14 and 28 sessions, 0 to 1", scale=100.0, moves=("close", 28),
                timeperiod1=7, timeperiod2=14, timeperiod3=28),
    _declared("balance_of_power", "BOP", ("open", "high", "low", "close"), _balance_of_power,
              "Livshin (2001), The Balance of Power", "close minus open over the day's range, -1 to 1"),
    _oscillator("intraday_momentum_14", "IMI", ("open", "close"), "Chande & Kroll (1994), The New Technical Trader",
                "rises from open to close over all moves of 14 sessions, 0 to 1", scale=100.0, moves=("close", 14),
                timeperiod=14),
    _oscillator("true_strength", "TSI", ("close",), "Blau (1995), Momentum, Direction and Divergence",
                "smoothed changes over smoothed absolute changes (25, 13), -1 to 1", scale=100.0, moves=("close", 38),
                firstperiod=25, secondperiod=13),
    _oscillator("trendiness_28", "VHF", ("close",), "White (1991), The Vertical Horizontal Filter",
                "range over path length of 28 sessions", moves=("close", 28), timeperiod=28),
    _oscillator("efficiency_20", "ER", ("close",), KAUFMAN, "net change over path length of 20 sessions", moves=("close", 21),
                timeperiod=20),
    _oscillator("ppo_12_26", "PPO", ("close",), APPEL, "how far the average of 12 sessions is above that of 26", scale=100.0,
                fastperiod=12, slowperiod=26, matype=1),
    _oscillator("trix_15", "TRIX", ("close",), "Hutson (1983), Good TRIX",
                "daily change of a triple exponential average of 15 sessions", scale=100.0, timeperiod=15),
    *(_oscillator(f"roc_{n}", "ROC", ("close",), KAUFMAN, f"change of the close over {n} sessions traded", scale=100.0,
                  timeperiod=n) for n in (10, 20)),
    _oscillator("coppock", "COPPOCK", ("close",), "Coppock (1962), Realistic Stock Market Timing",
                "weighted mean over 10 sessions of the changes over 14 and 11", scale=100.0,
                wmaperiod=10, roc1period=14, roc2period=11),
    *(_over(name, "MACD", ("close",), APPEL, summary, output=output, fastperiod=12, slowperiod=26, signalperiod=9)
      for output, (name, summary) in enumerate((
          ("macd", "average of 12 minus average of 26 sessions, over the close"),
          ("macd_signal", "the MACD's average of 9 sessions, over the close"),
          ("macd_histogram", "the MACD minus its average of 9 sessions, over the close")))),
    *(_distance(f"distance_to_ema_{n}", "EMA", ("close",), APPEL, f"its exponential average of {n} sessions",
                timeperiod=n) for n in (10, 20)),
    _distance("distance_to_wma_20", "WMA", ("close",), KAUFMAN, "its weighted mean of 20 sessions",
              timeperiod=20),
    _distance("distance_to_dema_20", "DEMA", ("close",), "Mulloy (1994), Smoothing Data with Faster Moving Averages",
              "its double exponential average of 20 sessions", timeperiod=20),
    _distance("distance_to_tema_20", "TEMA", ("close",), "Mulloy (1994), Smoothing Data with Faster Moving Averages",
              "its triple exponential average of 20 sessions", timeperiod=20),
    _distance("distance_to_t3_5", "T3", ("close",), "Tillson (1998), Better Moving Averages",
              "its T3 average of 5 sessions", timeperiod=5, vfactor=0.7),
    _distance("distance_to_hma_20", "HMA", ("close",), "Hull (2005), The Hull Moving Average",
              "its Hull average of 20 sessions", timeperiod=20),
    _distance("distance_to_vwma_20", "VWMA", ("close", "volume"), KAUFMAN,
              "its volume-weighted mean of 20 sessions", timeperiod=20),
    _distance("distance_to_midprice_20", "MIDPRICE", ("high", "low"), KAUFMAN,
              "the middle of the range of 20 sessions", timeperiod=20),
    _distance("distance_to_sar", "SAR", ("high", "low"), WILDER, "the parabolic stop",
              acceleration=0.02, maximum=0.2),
    _distance("distance_to_forecast_14", "TSF", ("close",), KAUFMAN,
              "where the line through 14 closes leads next", timeperiod=14),
    _over("regression_slope_14", "LINEARREG_SLOPE", ("close",), KAUFMAN,
          "slope a session of the line through 14 closes, over the close", timeperiod=14),
    _place("bollinger_place_20", "BBANDS", ("close",), "Bollinger (2001), Bollinger on Bollinger Bands",
           "place of the close between the bands of 20 sessions, two deviations wide", timeperiod=20),
    _declared("bollinger_width_20", "BBANDS", ("close",), _width, "Bollinger (2001), Bollinger on Bollinger Bands",
              "width of the bands of 20 sessions over their middle"),
    _place("donchian_place_20", "DONCHIAN", ("high", "low"), "Donchian (1960), in Kaufman (2013), Trading Systems and Methods",
           "place of the close in the range of 20 sessions, 0 to 1", timeperiod=20),
    _oscillator("natr_14", "NATR", HLC, WILDER, "average true range of 14 sessions over the close", scale=100.0, timeperiod=14),
    _over("true_range", "TRANGE", HLC, WILDER, "the session's true range over the close"),
    _oscillator("mass_index", "MASSI", ("high", "low"), "Dorsey (1992), The Mass Index",
                "sum over 25 sessions of the range's average of 9 over the average of it", scale=25.0, moves=("close", 25),
                fastperiod=9, slowperiod=25),
    _oscillator("range_volatility_change_10", "CVI", ("high", "low"), CHAIKIN,
                "change over 10 sessions of the range's average of 10", scale=100.0, moves=("close", 20),
                timeperiod=10, rocperiod=10),
    _oscillator("high_low_beta_20", "BETA", ("high", "low"), KAUFMAN, "beta of the low's changes to the high's over 20 sessions",
                moves=("close", 21), timeperiod=20),
    _oscillator("price_volume_correlation_20", "CORREL", ("close", "volume"), KAUFMAN,
                "correlation of close and volume over 20 sessions", moves=("close", 20), timeperiod=20),
    _oscillator("percent_rank_60", "PERCENTRANK", ("close",), KAUFMAN, "percentile of the close among 60, 0 to 1", scale=100.0,
                moves=("close", 60), timeperiod=60),
    _oscillator("mfi_14", "MFI", HLCV, "Quong & Soudack (1989), Volume-Weighted RSI", "money flow index, 0 to 1", scale=100.0,
                moves=("volume", 15), timeperiod=14),
    _oscillator("chaikin_money_flow_20", "CMF", HLCV, CHAIKIN, "accumulation over volume of 20 sessions, -1 to 1",
                moves=("volume", 20), timeperiod=20),
    _oscillator("relative_volume_20", "RVOL", ("volume",), KAUFMAN, "volume over its mean of 20 sessions", moves=("volume", 20),
                timeperiod=20),
    _oscillator("pvo_12_26", "PVO", ("volume",), APPEL, "how far the volume's average of 12 sessions is above that of 26",
                scale=100.0, moves=("volume", 26), fastperiod=12, slowperiod=26, matype=1),
    _declared("chaikin_oscillator", "ADOSC", HLCV,
              lambda w: w.indicator("ADOSC", HLCV, fastperiod=3, slowperiod=10) / _a_days_volume(w),
              CHAIKIN, "accumulation's average of 3 minus its average of 10 sessions, in mean daily volumes"),
    _declared("on_balance_volume_20", "OBV", ("close", "volume"), _on_balance,
              "Granville (1963), New Key to Stock Market Profits", "on-balance volume of 20 sessions as a share of the volume"),
), description=__doc__ or "")
# fmt: on
