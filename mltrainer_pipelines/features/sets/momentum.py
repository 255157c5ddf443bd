"""What the two timeframes need, and what says whether momentum can be trusted."""

from collections.abc import Callable

import numpy as np

from mltrainer_pipelines.features.spec import Feature, FeatureSet
from mltrainer_pipelines.features.window import Window

JEGADEESH_TITMAN = "Jegadeesh & Titman (1993), Returns to Buying Winners and Selling Losers"


def _return(sessions: int) -> Feature:
    return Feature(
        f"return_{sessions}", ("price",), sessions, lambda w: w.change(sessions), JEGADEESH_TITMAN,
        f"simple return over {sessions} sessions",
    )  # fmt: skip


def _rank(of: str, what: str) -> Feature:
    return Feature(
        f"rank_{of}", (of,), 0, lambda w: w.rank(w.feature(of)),
        "Asness, Moskowitz & Pedersen (2013), Value and Momentum Everywhere",
        f"percentile of {what} within the universe, 0 to 1",
    )  # fmt: skip


def _volatility(sessions: int) -> Feature:
    return Feature(
        f"volatility_{sessions}", ("log_return",), sessions, lambda w: w.deviation("log_return", sessions),
        "Ang, Hodrick, Xing & Zhang (2006), The Cross-Section of Volatility and Expected Returns",
        f"standard deviation of daily log returns over {sessions} sessions",
    )  # fmt: skip


def _residual_momentum(w: Window) -> np.ndarray:
    _, _, deviation, total = w.market_model(252, skip=21)
    return total / np.where(deviation > 1e-10, deviation, np.nan) / np.sqrt(231.0)


def _information_discreteness(w: Window) -> np.ndarray:
    return -np.sign(w.change(252)) * w.mean("direction", 252)


def _scaled(sessions: int) -> Callable[[Window], np.ndarray]:
    return lambda w: w.mean("log_return", sessions) / w.deviation("log_return", sessions) * np.sqrt(float(sessions))


def _distance_to_mean(sessions: int) -> Feature:
    return Feature(
        f"distance_to_mean_{sessions}", ("price",), sessions, lambda w: w.now("price") / w.mean("price", sessions) - 1.0,
        "Brock, Lakonishok & LeBaron (1992), Simple Technical Trading Rules",
        f"how far the price is above its average of {sessions} sessions, as a share of it",
    )  # fmt: skip


# One call a feature, its fields in the order of the declaration, reads as the table that it is.
# fmt: off
MOMENTUM = FeatureSet("momentum", (
    *(_return(sessions) for sessions in (5, 10, 21, 42, 63, 126, 252)),
    Feature("momentum_6_1", ("price",), 126, lambda w: w.change(126, skip=21), JEGADEESH_TITMAN,
            "simple return from 126 to 21 sessions ago"),
    Feature("momentum_12_1", ("price",), 252, lambda w: w.change(252, skip=21), JEGADEESH_TITMAN,
            "simple return from 252 to 21 sessions ago"),
    Feature("residual_momentum_12_1", ("log_return", "market_return"), 252, _residual_momentum,
            "Blitz, Huij & Martens (2011), Residual Momentum",
            "sum of market-model residuals from 252 to 21 sessions ago, in their own standard deviations"),
    Feature("sector_relative_21", ("log_return", "sector_return"), 21,
            lambda w: (w.mean("log_return", 21) - w.mean("sector_return", 21)) * 21.0,
            "Moskowitz & Grinblatt (1999), Do Industries Explain Momentum?",
            "log return over 21 sessions minus the sector's; null where the sector is unknown"),
    Feature("sector_relative_126", ("log_return", "sector_return"), 126,
            lambda w: (w.mean("log_return", 126) - w.mean("sector_return", 126)) * 126.0,
            "Moskowitz & Grinblatt (1999), Do Industries Explain Momentum?",
            "log return over 126 sessions minus the sector's; null where the sector is unknown"),
    Feature("high_distance_252", ("price", "high"), 252, lambda w: w.now("price") / w.highest("high", 252) - 1.0,
            "George & Hwang (2004), The 52-Week High and Momentum Investing",
            "how far the price is from its highest high of 252 sessions, 0 or below"),
    Feature("drawdown_63", ("price",), 63, lambda w: w.now("price") / w.highest("price", 63) - 1.0,
            "Chekhlov, Uryasev & Zabarankin (2005), Drawdown Measure in Portfolio Optimization",
            "how far the price is from its highest close of 63 sessions, 0 or below"),
    Feature("deepest_fall_126", ("price",), 126, lambda w: w.deepest_fall("price", 126),
            "Chekhlov, Uryasev & Zabarankin (2005), Drawdown Measure in Portfolio Optimization",
            "deepest fall from a running high within 126 sessions, as a fraction"),
    Feature("path_r2_63", ("log_price",), 63, lambda w: w.r_squared("log_price", 63),
            "Clenow (2015), Stocks on the Move", "R² of the line through log prices of 63 sessions"),
    Feature("path_r2_126", ("log_price",), 126, lambda w: w.r_squared("log_price", 126),
            "Clenow (2015), Stocks on the Move", "R² of the line through log prices of 126 sessions"),
    Feature("trend_slope_63", ("log_price", "log_return"), 63,
            lambda w: w.slope("log_price", 63) / w.deviation("log_return", 63),
            "Clenow (2015), Stocks on the Move", "slope of the line through log prices of 63 sessions, in daily volatilities"),
    Feature("information_discreteness_252", ("price", "direction"), 252, _information_discreteness,
            "Da, Gurun & Warachka (2014), Frog in the Pan",
            "sign of the return over 252 sessions times the share of falls minus the share of rises; low is smooth"),
    Feature("acceleration_63", ("price",), 126, lambda w: w.change(63) - w.change(126, skip=63),
            "Gettleman & Marks (2006), Acceleration Strategies", "return of the last 63 sessions minus that of the 63 before"),
    Feature("acceleration_21", ("price",), 42, lambda w: w.change(21) - w.change(42, skip=21),
            "Gettleman & Marks (2006), Acceleration Strategies", "return of the last 21 sessions minus that of the 21 before"),
    Feature("scaled_momentum_63", ("log_return",), 63, _scaled(63),
            "Barroso & Santa-Clara (2015), Momentum Has Its Moments", "log return over 63 sessions in volatilities of that span"),
    Feature("scaled_momentum_252", ("log_return",), 252, _scaled(252),
            "Barroso & Santa-Clara (2015), Momentum Has Its Moments",
            "log return over 252 sessions in volatilities of that span"),
    Feature("reversal_5", ("log_return", "market_return"), 21,
            lambda w: -(w.mean("log_return", 5) - w.mean("market_return", 5)) / w.deviation("log_return", 21),
            "Lehmann (1990), Fads, Martingales, and Market Efficiency",
            "the market's mean daily return over 5 sessions minus the symbol's, in daily volatilities"),
    _distance_to_mean(50),
    _distance_to_mean(200),
    Feature("volume_surge_5", ("volume",), 63, lambda w: w.log(w.mean("volume", 5) / w.mean("volume", 63)),
            "Gervais, Kaniel & Mingelgrin (2001), The High-Volume Return Premium", "log of mean volume of 5 over 63 sessions"),
    Feature("dollar_volume_surge_21", ("dollar_volume",), 252,
            lambda w: w.log(w.mean("dollar_volume", 21) / w.mean("dollar_volume", 252)),
            "Lee & Swaminathan (2000), Price Momentum and Trading Volume", "log of mean dollar volume of 21 over 252 sessions"),
    Feature("gap_1", ("overnight_return", "log_return"), 22,
            lambda w: w.now("overnight_return") / w.deviation("log_return", 21),
            "Branch & Ma (2012), Overnight Return, the Invisible Hand", "the session's opening gap in daily volatilities"),
    Feature("overnight_21", ("overnight_return",), 21, lambda w: w.mean("overnight_return", 21) * 21.0,
            "Lou, Polk & Skouras (2019), A Tug of War", "sum of overnight log returns over 21 sessions"),
    Feature("intraday_21", ("intraday_return",), 21, lambda w: w.mean("intraday_return", 21) * 21.0,
            "Lou, Polk & Skouras (2019), A Tug of War", "sum of intraday log returns over 21 sessions"),
    _volatility(21),
    _volatility(63),
    Feature("volatility_change_21", ("log_return",), 126,
            lambda w: w.log(w.deviation("log_return", 21) / w.deviation("log_return", 126)),
            "Barroso & Santa-Clara (2015), Momentum Has Its Moments", "log of volatility of 21 over 126 sessions"),
    Feature("highest_return_21", ("log_return",), 21, lambda w: w.highest("log_return", 21),
            "Bali, Cakici & Whitelaw (2011), Maxing Out", "largest daily log return of 21 sessions"),
    Feature("beta_252", ("log_return", "market_return"), 252, lambda w: w.market_model(252, skip=21)[0],
            "Frazzini & Pedersen (2014), Betting Against Beta", "beta to the universe's mean return over 252 sessions"),
    Feature("market_correlation_63", ("log_return", "market_return"), 63, lambda w: w.market_model(63)[1],
            "Lou & Polk (2022), Comomentum", "correlation with the universe's mean return over 63 sessions; crowding"),
    Feature("idiosyncratic_volatility_63", ("log_return", "market_return"), 63, lambda w: w.market_model(63)[2],
            "Ang, Hodrick, Xing & Zhang (2006), The Cross-Section of Volatility and Expected Returns",
            "standard deviation of market-model residuals over 63 sessions, a session"),
    Feature("amihud_21", ("illiquidity",), 22, lambda w: w.log(w.mean("illiquidity", 21)),
            "Amihud (2002), Illiquidity and Stock Returns", "log of mean |return| a million dollars over 21 sessions"),
    Feature("rsi_14", ("close",), 252, lambda w: w.indicator("RSI", ("close",), timeperiod=14) / 100.0,
            "Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib RSI", "relative strength index, 0 to 1"),
    Feature("adx_14", ("high", "low", "close"), 252,
            lambda w: w.indicator("ADX", ("high", "low", "close"), timeperiod=14) / 100.0,
            "Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib ADX", "average directional index, 0 to 1"),
    _rank("return_21", "the return over 21 sessions"),
    _rank("momentum_6_1", "6-1 momentum"),
    _rank("momentum_12_1", "12-1 momentum"),
    _rank("residual_momentum_12_1", "residual momentum"),
    _rank("volatility_63", "volatility over 63 sessions"),
    _rank("amihud_21", "illiquidity"),
    Feature("market_return_21", ("market_return",), 21, lambda w: w.everywhere(w.mean("market_return", 21) * 21.0),
            "Cooper, Gutierrez & Hameed (2004), Market States and Momentum", "log return of the universe over 21 sessions"),
    Feature("market_return_252", ("market_return",), 252, lambda w: w.everywhere(w.mean("market_return", 252) * 252.0),
            "Cooper, Gutierrez & Hameed (2004), Market States and Momentum", "log return of the universe over 252 sessions"),
    Feature("market_volatility_21", ("market_return",), 21, lambda w: w.everywhere(w.deviation("market_return", 21)),
            "Daniel & Moskowitz (2016), Momentum Crashes", "standard deviation of the universe's daily return over 21 sessions"),
    Feature("breadth_50", ("distance_to_mean_50",), 0,
            lambda w: w.members_mean(np.where(np.isnan(d := w.feature("distance_to_mean_50")), np.nan, (d > 0.0) * 1.0)),
            "Zakamulin (2018), Market Timing with Moving Averages", "share of the universe above its average of 50 sessions"),
), description=__doc__ or "")
# fmt: on
