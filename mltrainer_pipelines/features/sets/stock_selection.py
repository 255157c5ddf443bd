"""What tells one stock from another of its session: short-term reversal against the market and the sector, what was paid
overnight and during the session, the reaction to the last session of unusual volume, momentum without its jumps, and risk.

`returns less beta` are log returns less the symbol's beta times the universe's mean return. A sector is that of the universe;
where it is unknown the universe's mean stands in for the sector's.
"""

from collections.abc import Callable

import numpy as np

from mltrainer_pipelines.features.spec import Feature, FeatureSet, Formula
from mltrainer_pipelines.features.window import MOST, Window

LEHMANN = "Lehmann (1990), Fads, Martingales, and Market Efficiency"
DA = "Da, Liu & Schaumburg (2014), A Closer Look at the Short-Term Return Reversal"
HAMEED = "Hameed & Mian (2015), Industries and Stock Return Reversals"
JEGADEESH_TITMAN = "Jegadeesh & Titman (1993), Returns to Buying Winners and Selling Losers"
BLITZ = "Blitz, Huij & Martens (2011), Residual Momentum"
GRINBLATT = "Moskowitz & Grinblatt (1999), Do Industries Explain Momentum?"
LOU = "Lou, Polk & Skouras (2019), A Tug of War: Overnight Versus Intraday Expected Returns"
ANG = "Ang, Hodrick, Xing & Zhang (2006), The Cross-Section of Volatility and Expected Returns"
BALI = "Bali, Cakici & Whitelaw (2011), Maxing Out: Stocks as Lotteries"
JIANG = "Jiang & Zhu (2017), Information Shocks and Short-Term Market Underreaction"
VOLUME = "Campbell, Grossman & Wang (1993), Trading Volume and Serial Correlation in Stock Returns"
SHOCK = "Chan (2003), Stock Price Reaction to News and No-News; Gervais, Kaniel & Mingelgrin (2001)"

RISK = ("log_return", "market_return", "beta_252")
JUMP = 2.5
"""Idiosyncratic deviations of a session's return from which it counts as a jump."""
YEARS = 5
"""Earlier years that a season is taken from."""


def _total(path: np.ndarray) -> np.ndarray:
    """Sum over the last axis; NaN where less than 80 % is known."""
    known = ~np.isnan(path)
    return np.where(known.sum(axis=-1) >= MOST * path.shape[-1], np.where(known, path, 0.0).sum(axis=-1), np.nan)


def _path(w: Window, sessions: int) -> np.ndarray:
    """Returns less beta of the last sessions: (rows, members, sessions)."""
    return w.trailing("log_return", sessions) - w.feature("beta_252")[..., None] * w.trailing("market_return", sessions)


def _residual(w: Window, sessions: int) -> np.ndarray:
    return _total(_path(w, sessions))


def _less_sector(w: Window, values: np.ndarray) -> np.ndarray:
    return values - w.sector_average(values)


def _stretch(w: Window, start: int, stop: int) -> np.ndarray:
    """Returns less beta from `start` to `stop` sessions ago."""
    return _path(w, start)[..., : start - stop]


def _scaled_stretch(w: Window, start: int, stop: int) -> np.ndarray:
    path = _stretch(w, start, stop)
    total, square, count = _total(path), _total(path * path), float(start - stop)
    return total / np.sqrt(square - total * total / count)


def _surges(w: Window, sessions: int) -> np.ndarray:
    """Log of each session's dollar volume over the mean of 63 sessions."""
    return np.log(w.trailing("dollar_volume", sessions) / w.mean("dollar_volume", 63)[..., None])


def _by_volume(w: Window, sessions: int) -> np.ndarray:
    return _total(_path(w, sessions) * np.clip(_surges(w, sessions), -1.0, 2.0))


def _shock_age(w: Window) -> np.ndarray:
    """Sessions since the highest dollar volume of the last 63, the latest of equals; NaN where too little is known."""
    volume = w.trailing("dollar_volume", 63)
    enough = (~np.isnan(volume)).sum(axis=-1) >= MOST * 63
    age = np.argmax(np.where(np.isnan(volume), -1.0, volume)[..., ::-1], axis=-1)
    return np.where(enough, age, np.nan)


def _shock_return(w: Window) -> np.ndarray:
    """Return less beta of the session of highest volume and the one before it."""
    age, path = w.feature("volume_shock_age_63"), _path(w, 64)
    place = (63 - np.where(np.isnan(age), 0, age)).astype(np.int64)[..., None]
    both = np.take_along_axis(path, place, axis=-1) + np.take_along_axis(path, place - 1, axis=-1)
    return np.where(np.isnan(age), np.nan, both[..., 0])


def _jumps(w: Window) -> np.ndarray:
    path = _path(w, 63)
    large = np.abs(path) > JUMP * w.feature("idiosyncratic_volatility_63")[..., None]
    return _total(np.where(large, path, np.where(np.isnan(path), np.nan, 0.0)))


def _without_jumps(w: Window) -> np.ndarray:
    path = _stretch(w, 126, 21)
    small = np.abs(path) <= JUMP * w.feature("idiosyncratic_volatility_63")[..., None]
    return _total(np.where(small, path, np.where(np.isnan(path), np.nan, 0.0)))


def _skewness(w: Window) -> np.ndarray:
    path = _path(w, 63) / w.feature("idiosyncratic_volatility_63")[..., None]
    return _total(path * path * path) / 63.0


def _autocorrelation(w: Window) -> np.ndarray:
    path = _path(w, 64)
    return _total(path[..., 1:] * path[..., :-1]) / w.feature("idiosyncratic_volatility_63") ** 2 / 63.0


def _close_location(sessions: int) -> Callable[[Window], np.ndarray]:
    def formula(w: Window) -> np.ndarray:
        high, low, close = (w.trailing(name, sessions) for name in ("high", "low", "close"))
        return _total((2.0 * close - high - low) / np.where(high > low, high - low, np.nan)) / sessions

    return formula


def _in_volatilities(name: str) -> Formula:
    return lambda w: w.feature(name) / w.feature("idiosyncratic_volatility_63")


def _reversal(sessions: int) -> tuple[Feature, ...]:
    return (
        Feature(f"reversal_residual_{sessions}", RISK, 252, lambda w: -_residual(w, sessions), DA,
                f"minus the return less beta over {sessions} sessions"),
        Feature(f"reversal_sector_{sessions}", RISK, 252, lambda w: -_less_sector(w, _residual(w, sessions)), HAMEED,
                f"minus the return less beta over {sessions} sessions, less the sector's mean of it"),
    )  # fmt: skip


def _momentum(start: int, stop: int) -> tuple[Feature, ...]:
    return (
        Feature(f"momentum_{start}_{stop}", ("price",), start, lambda w: w.change(start, skip=stop), JEGADEESH_TITMAN,
                f"simple return from {start} to {stop} sessions ago"),
        Feature(f"residual_momentum_{start}_{stop}", RISK, 252, lambda w: _scaled_stretch(w, start, stop), BLITZ,
                f"return less beta from {start} to {stop} sessions ago, in volatilities of that span"),
        Feature(f"sector_momentum_{start}_{stop}", RISK, 252,
                lambda w: _less_sector(w, _total(_stretch(w, start, stop))), GRINBLATT,
                f"return less beta from {start} to {stop} sessions ago, less the sector's mean of it"),
    )  # fmt: skip


def _session_part(part: str, sessions: int) -> Feature:
    return Feature(f"{part}_{sessions}", (f"{part}_return",), sessions,
                   lambda w: w.mean(f"{part}_return", sessions) * sessions, LOU,
                   f"sum of {part} log returns over {sessions} sessions")  # fmt: skip


def _sector_return(sessions: int) -> Feature:
    return Feature(f"sector_return_{sessions}", RISK, 252, lambda w: w.sector_average(_residual(w, sessions)), GRINBLATT,
                   f"the sector's mean return less beta over {sessions} sessions")  # fmt: skip


def _volume_surge(sessions: int, base: int) -> Feature:
    return Feature(f"dollar_volume_surge_{sessions}", ("dollar_volume",), base,
                   lambda w: w.log(w.mean("dollar_volume", sessions) / w.mean("dollar_volume", base)), SHOCK,
                   f"log of mean dollar volume of {sessions} over {base} sessions")  # fmt: skip


def _seasonal(sessions: int) -> Feature:
    def formula(w: Window) -> np.ndarray:
        years = [w.lagged("log_price", 252 * k - sessions) - w.lagged("log_price", 252 * k) for k in range(1, YEARS + 1)]
        relative = np.stack([_less_sector(w, year) for year in years])
        known = ~np.isnan(relative)
        return np.where(known, relative, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)

    return Feature(f"seasonal_{sessions}", ("log_price",), 252 * YEARS, formula,
                   "Heston & Sadka (2008), Seasonality in the Cross-Section of Stock Returns",
                   f"return over the next {sessions} sessions, less the sector's, a year ago and up to {YEARS} years ago: "
                   "the mean of the years that are known")  # fmt: skip


# One call a feature, its fields in the order of the declaration, reads as the table that it is.
# fmt: off
STOCK_SELECTION = FeatureSet("stock_selection", (
    Feature("beta_252", ("log_return", "market_return"), 252, lambda w: 0.67 * w.market_model(252)[0] + 0.33,
            "Vasicek (1973), Bayesian Estimation of Security Betas; Frazzini & Pedersen (2014), Betting Against Beta",
            "beta to the universe's mean return over 252 sessions, a third of the way to 1"),
    Feature("idiosyncratic_volatility_63", ("log_return", "market_return"), 63, lambda w: w.market_model(63)[2], ANG,
            "standard deviation of market-model residuals over 63 sessions, a session"),
    *(feature for sessions in (1, 3, 5, 10, 21) for feature in _reversal(sessions)),
    *(Feature(f"reversal_sector_{n}_scaled", (f"reversal_sector_{n}", "idiosyncratic_volatility_63"), 63,
              _in_volatilities(f"reversal_sector_{n}"), LEHMANN,
              f"reversal_sector_{n} in daily idiosyncratic volatilities") for n in (1, 5)),
    *(feature for start, stop in ((252, 21), (189, 63), (126, 21), (63, 10)) for feature in _momentum(start, stop)),
    *(_sector_return(sessions) for sessions in (5, 21, 126)),
    *(_session_part(part, sessions) for part in ("overnight", "intraday") for sessions in (5, 21, 126)),
    Feature("gap_1", ("overnight_return",), 5, lambda w: w.now("overnight_return"), LOU, "the session's opening gap, log return"),
    Feature("volatility_63", ("log_return",), 63, lambda w: w.deviation("log_return", 63), ANG,
            "standard deviation of daily log returns over 63 sessions"),
    Feature("volatility_change_10", ("log_return",), 63, lambda w: w.deviation("log_return", 10) / w.deviation("log_return", 63),
            ANG, "volatility of 10 over 63 sessions"),
    Feature("highest_return_21", RISK, 252, lambda w: _path(w, 21).max(axis=-1), BALI,
            "largest daily return less beta of 21 sessions"),
    Feature("lowest_return_21", RISK, 252, lambda w: _path(w, 21).min(axis=-1), BALI,
            "smallest daily return less beta of 21 sessions"),
    Feature("high_distance_252", ("price", "high"), 252, lambda w: w.now("price") / w.highest("high", 252) - 1.0,
            "George & Hwang (2004), The 52-Week High and Momentum Investing",
            "how far the price is from its highest high of 252 sessions, 0 or below"),
    Feature("drawdown_63", ("price",), 63, lambda w: w.now("price") / w.highest("price", 63) - 1.0,
            "Chekhlov, Uryasev & Zabarankin (2005), Drawdown Measure in Portfolio Optimization",
            "how far the price is from its highest close of 63 sessions, 0 or below"),
    _volume_surge(1, 63), _volume_surge(5, 63), _volume_surge(21, 252),
    Feature("volume_reversal_5", (*RISK, "dollar_volume"), 252, lambda w: -_by_volume(w, 5), VOLUME,
            "minus the return less beta over 5 sessions, each weighted by its surge of dollar volume"),
    Feature("volume_return_21", (*RISK, "dollar_volume"), 252, lambda w: _by_volume(w, 21), VOLUME,
            "return less beta over 21 sessions, each weighted by its surge of dollar volume"),
    Feature("volume_shock_age_63", ("dollar_volume",), 63, _shock_age, SHOCK,
            "sessions since the highest dollar volume of 63 sessions"),
    Feature("volume_shock_return_63", (*RISK, "volume_shock_age_63"), 252, _shock_return, SHOCK,
            "return less beta of the session of highest dollar volume of 63, and of the one before it"),
    Feature("volume_shock_return_63_scaled", ("volume_shock_return_63", "idiosyncratic_volatility_63"), 63,
            _in_volatilities("volume_shock_return_63"), SHOCK, "volume_shock_return_63 in daily idiosyncratic volatilities"),
    Feature("jump_return_63", (*RISK, "idiosyncratic_volatility_63"), 252, _jumps, JIANG,
            "sum of the returns less beta of 63 sessions that exceed 2.5 idiosyncratic deviations"),
    Feature("smooth_momentum_126_21", (*RISK, "idiosyncratic_volatility_63"), 252, _without_jumps, JIANG,
            "sum of the returns less beta from 126 to 21 sessions ago within 2.5 idiosyncratic deviations"),
    Feature("rising_share_126", RISK, 252, lambda w: _total(np.sign(_path(w, 126))) / 126.0,
            "Da, Gurun & Warachka (2014), Frog in the Pan", "share of rises less share of falls over 126 sessions, less beta"),
    Feature("skewness_63", (*RISK, "idiosyncratic_volatility_63"), 252, _skewness,
            "Boyer, Mitton & Vorkink (2010), Expected Idiosyncratic Skewness", "skewness of returns less beta over 63 sessions"),
    Feature("autocorrelation_63", (*RISK, "idiosyncratic_volatility_63"), 252, _autocorrelation, LEHMANN,
            "correlation of returns less beta with those of the session before, over 63 sessions"),
    Feature("range_21", ("high", "low", "log_return"), 63,
            lambda w: _total(np.log(w.trailing("high", 21) / w.trailing("low", 21))) / 21.0 / w.deviation("log_return", 63),
            "Parkinson (1980), The Extreme Value Method for Estimating the Variance of the Rate of Return",
            "mean log of high over low of 21 sessions, in daily volatilities"),
    *(Feature(f"close_location_{n}", ("high", "low", "close"), n, _close_location(n),
              "Williams (1972), Accumulation and Distribution; Lou, Polk & Skouras (2019), A Tug of War",
              f"mean place of the close between low (-1) and high (1) over {n} sessions") for n in (5, 21)),
    *(_seasonal(sessions) for sessions in (12, 63)),
    Feature("long_reversal_756_252", ("price",), 756, lambda w: -w.change(756, skip=252),
            "De Bondt & Thaler (1985), Does the Stock Market Overreact?", "minus the simple return from 756 to 252 sessions ago"),
), description=__doc__ or "")
# fmt: on
