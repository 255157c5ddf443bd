"""Rules of traders and of the factor literature: each a score from a few named features, calibrated on the training rows.

A rule sees each of its features as its rank among the training rows, from -0.5 for the lowest to 0.5 for the highest; unknown
is 0, the middle. So it means the same for features as they are and for their ranks within a session. Features of the whole
market are the same for all symbols of a session: ranked within it they are 0, and rules that ask for them see an even market.
"""

from collections.abc import Callable

import numpy as np

from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import Declarations
from mltrainer_pipelines.models.score_model import ScoreModel
from mltrainer_pipelines.models.spec import ModelSpec, Range

Score = Callable[..., np.ndarray]
"""Columns in the order of the declaration, and `extreme` where the rule has such a parameter, to a score."""

RULES: Declarations[tuple[int, Score]] = Declarations()


class RuleModel(ScoreModel):
    """A rule of the registry. Parameters as for `ScoreModel`; `extreme` is the share of rows that counts as far out."""

    def _n_columns(self) -> int:
        return RULES[self.model][0]

    def _learn(self, X: np.ndarray, groups: np.ndarray | None) -> None:
        self.knots_ = np.zeros((101, X.shape[1]))
        for column in range(X.shape[1]):
            if len(values := X[~np.isnan(X[:, column]), column]):
                self.knots_[:, column] = np.quantile(values, np.linspace(0, 1, 101))

    def _score(self, X: np.ndarray, groups: np.ndarray | None, n_context: int = 0) -> np.ndarray:
        X, ranks = X[n_context:], []
        for column in range(X.shape[1]):
            values, knots = X[:, column], self.knots_[:, column]
            # the middle of equal knots, so that values that many rows share are not all put at their upper end
            below, above = np.searchsorted(knots, values, "left"), np.searchsorted(knots, values, "right")
            between = np.interp(values, knots, np.arange(101))
            rank = np.where(above > below + 1, (below + above - 1) / 2, between) / 100 - 0.5
            ranks.append(np.where(np.isnan(values), 0.0, rank))
        return np.asarray(RULES[self.model][1](*ranks, **self.params), dtype=np.float64)


def _declare(model: str, columns: str, score: Score, summary: str, source: str, extreme: bool = False) -> ModelSpec:
    names = tuple(columns.split())
    RULES[model] = len(names), score
    return ModelSpec(
        id=model, family="rules", source=source, summary=summary, cost=cost_of(model), handles_missing=True,
        search_space={"extreme": Range(0.02, 0.5, default=0.2)} if extreme else {}, columns=names,
        builder=lambda params, seed, threads: RuleModel(model, seed=seed, threads=threads, **params),
        limits=f"reads {', '.join(names)} and nothing else",
    )  # fmt: skip


def _upper_tail(a: np.ndarray, extreme: float) -> np.ndarray:
    """0 up to where the uppermost rows begin, then rising to 1."""
    return np.maximum(a - (0.5 - extreme), 0.0) / extreme


def _tails(a: np.ndarray, extreme: float) -> np.ndarray:
    """-1 to 0 in the lowest rows, 0 in between, 0 to 1 in the uppermost ones."""
    return _upper_tail(a, extreme) - _upper_tail(-a, extreme)


def _share(a: np.ndarray) -> np.ndarray:
    """0 for the lowest, 1 for the highest: a factor that damps."""
    return a + 0.5


_JT = "Jegadeesh & Titman (1993), Returns to Buying Winners and Selling Losers"
_WILDER = "Wilder (1978), New Concepts in Technical Trading Systems"
_BOLLINGER = "Bollinger (2001), Bollinger on Bollinger Bands"
_NISON = "Nison (1991), Japanese Candlestick Charting Techniques"

# Rules of the feature set `momentum`
_MOMENTUM = (
    _declare("rule_momentum_12_1", "momentum_12_1", lambda a: a, "last year's winners go on, its last month left out", _JT),
    _declare("rule_momentum_6_1", "momentum_6_1", lambda a: a, "last half year's winners go on, its last month left out", _JT),
    _declare("rule_month_reversal", "return_21", lambda a: -a, "last month's losers come back",
             "Jegadeesh (1990), Evidence of Predictable Behavior of Security Returns"),
    _declare("rule_week_reversal", "reversal_5", lambda a: a, "last week's losers against the market come back",
             "Lehmann (1990), Fads, Martingales, and Market Efficiency"),
    _declare("rule_high_52_weeks", "high_distance_252", lambda a: a, "prices near the year's high go on",
             "George & Hwang (2004), The 52-Week High and Momentum Investing"),
    _declare("rule_mean_200", "distance_to_mean_200", lambda a: a, "above the long moving average is an uptrend",
             "Faber (2007), A Quantitative Approach to Tactical Asset Allocation"),
    _declare("rule_golden_cross", "distance_to_mean_200 distance_to_mean_50", lambda long, short: long - short,
             "the mean of 50 sessions stands above that of 200",
             "Brock, Lakonishok & LeBaron (1992), Simple Technical Trading Rules"),
    _declare("rule_time_series_momentum", "scaled_momentum_252", np.sign, "a year's own gain, whatever the others did, goes on",
             "Moskowitz, Ooi & Pedersen (2012), Time Series Momentum"),
    _declare("rule_dual_momentum", "momentum_12_1 return_252", np.minimum, "ahead of the others and up by itself",
             "Antonacci (2013), Absolute Momentum: A Simple Rule-Based Strategy"),
    _declare("rule_residual_momentum", "residual_momentum_12_1", lambda a: a, "gains that the market does not explain go on",
             "Blitz, Huij & Martens (2011), Residual Momentum"),
    _declare("rule_frog_in_the_pan", "momentum_12_1 information_discreteness_252", lambda m, d: m * _share(-d),
             "gains that came in small steps are not yet believed",
             "Da, Gurun & Warachka (2014), Frog in the Pan: Continuous Information and Momentum"),
    _declare("rule_acceleration", "acceleration_63", lambda a: a, "gains that quicken go on",
             "Gettleman & Marks (2006), Acceleration Strategies"),
    _declare("rule_smooth_trend", "trend_slope_63 path_r2_63", lambda slope, fit: slope * _share(fit),
             "a steep slope along a straight line", "Clenow (2015), Stocks on the Move"),
    _declare("rule_pullback", "momentum_6_1 return_5", lambda m, week: np.minimum(m, -week),
             "a falling week within a rising half year", "Connors & Alvarez (2008), Short Term Trading Strategies That Work"),
    _declare("rule_sector_momentum", "sector_relative_126", lambda a: a, "ahead of its own sector",
             "Moskowitz & Grinblatt (1999), Do Industries Explain Momentum?"),
    _declare("rule_scaled_momentum", "scaled_momentum_63", lambda a: a, "a quarter's gain for its risk",
             "Barroso & Santa-Clara (2015), Momentum Has Its Moments"),
    _declare("rule_crash_guard", "momentum_12_1 market_return_252 market_volatility_21",
             lambda m, market, risk: m * (2 * np.minimum(_share(market), _share(-risk))),
             "winners, unless the market has fallen and shakes: there losers rebound",
             "Daniel & Moskowitz (2016), Momentum Crashes"),
    _declare("rule_breadth", "momentum_6_1 breadth_50", lambda m, breadth: m * 2 * _share(breadth),
             "winners while most of the market rises with them", "Zweig (1986), Winning on Wall Street"),
    _declare("rule_trend_vote", "return_21 return_63 return_126 return_252",
             lambda *r: sum((np.sign(a) for a in r), np.zeros(len(r[0]))),
             "horizons from a month to a year vote on the direction",
             "Han, Zhou & Zhu (2016), A Trend Factor"),
    _declare("rule_high_volume", "volume_surge_5", lambda a: a, "unusual volume draws buyers",
             "Gervais, Kaniel & Mingelgrin (2001), The High-Volume Return Premium"),
    _declare("rule_volume_breakout", "high_distance_252 volume_surge_5", np.minimum, "near the high, and on rising volume",
             "O'Neil (1988), How to Make Money in Stocks"),
    _declare("rule_early_momentum", "momentum_6_1 dollar_volume_surge_21", lambda m, v: m * _share(-v),
             "winners that few trade yet: early in their life cycle",
             "Lee & Swaminathan (2000), Price Momentum and Trading Volume"),
    _declare("rule_illiquidity", "amihud_21", lambda a: a, "what is hard to trade has to pay for it",
             "Amihud (2002), Illiquidity and Stock Returns"),
    _declare("rule_gap_continuation", "gap_1", _tails, "an opening gap far out of the ordinary goes on",
             "Branch & Ma (2012), Overnight Return, the Invisible Hand", extreme=True),
    _declare("rule_exhaustion_gap", "gap_1 return_21", lambda gap, month, extreme: -np.where(gap * month > 0, gap, 0) * np.abs(
             _tails(month, extreme)), "a gap at the end of a long move turns round",
             "Edwards & Magee (1948), Technical Analysis of Stock Trends", extreme=True),
    _declare("rule_tug_of_war", "overnight_21 intraday_21", lambda night, day: night - day,
             "who buys overnight wins over who sells by day", "Lou, Polk & Skouras (2019), A Tug of War"),
    _declare("rule_low_volatility", "volatility_63", lambda a: -a, "calm symbols earn more for their risk",
             "Blitz & van Vliet (2007), The Volatility Effect"),
    _declare("rule_idiosyncratic_volatility", "idiosyncratic_volatility_63", lambda a: -a,
             "noise that the market does not explain is overpaid",
             "Ang, Hodrick, Xing & Zhang (2006), The Cross-Section of Volatility and Expected Returns"),
    _declare("rule_low_beta", "beta_252", lambda a: -a, "low betas earn more than they should",
             "Frazzini & Pedersen (2014), Betting Against Beta"),
    _declare("rule_low_correlation", "market_correlation_63", lambda a: -a, "what moves on its own is underpriced",
             "Asness, Frazzini, Gormsen & Pedersen (2020), Betting Against Correlation"),
    _declare("rule_lottery", "highest_return_21", lambda a: -a, "symbols with one great day are bought as lottery tickets",
             "Bali, Cakici & Whitelaw (2011), Maxing Out"),
    _declare("rule_left_tail", "deepest_fall_126", lambda a: a, "deep falls are followed by further ones",
             "Atilgan, Bali, Demirtas & Gunaydin (2020), Left-Tail Momentum"),
    _declare("rule_calm_momentum", "momentum_12_1 volatility_63", lambda m, v: m - v, "winners among the calm",
             "Blitz & van Vliet (2018), The Conservative Formula"),
    _declare("rule_volatility_contraction", "high_distance_252 volatility_change_21", lambda high, v: np.minimum(high, -v),
             "near the high while its swings get smaller", "Minervini (2013), Trade Like a Stock Market Wizard"),
    _declare("rule_rebound", "drawdown_63 return_5", lambda fall, week, extreme: _upper_tail(-fall, extreme) * _share(week),
             "deep in the hole and turning up this week",
             "De Bondt & Thaler (1985), Does the Stock Market Overreact?", extreme=True),
    _declare("rule_rsi_reversal", "rsi_14", lambda a, extreme: -_tails(a, extreme), "overbought falls, oversold rises", _WILDER,
             extreme=True),
    _declare("rule_strong_trend", "return_21 adx_14", lambda month, adx: month * _share(adx),
             "the month's direction where it is a trend at all", _WILDER),
)  # fmt: skip

# Rules of the feature set `technical`
_TECHNICAL = (
    _declare("rule_macd_histogram", "macd_histogram", lambda a: a, "the fast mean pulls away from its signal",
             "Appel (2005), Technical Analysis: Power Tools for Active Investors"),
    _declare("rule_macd_trend", "macd macd_histogram", np.minimum, "MACD above zero and above its signal",
             "Murphy (1999), Technical Analysis of the Financial Markets"),
    _declare("rule_bollinger_reversion", "bollinger_place_20", lambda a, extreme: -_tails(a, extreme),
             "outside of the band comes back", _BOLLINGER, extreme=True),
    _declare("rule_bollinger_squeeze", "bollinger_place_20 bollinger_width_20", lambda place, width: place * _share(-width),
             "a break out of a narrow band", _BOLLINGER),
    _declare("rule_donchian_breakout", "donchian_place_20", _tails, "a new high of four weeks is bought",
             "Faith (2007), Way of the Turtle", extreme=True),
    _declare("rule_stochastic_cross", "stochastic_k_14 stochastic_d_14", lambda k, d: (k - d) * _share(-d),
             "the fast line crosses the slow one from below, low down", "Lane (1984), Lane's Stochastics"),
    _declare("rule_stochastic_rsi", "stochastic_rsi_14", lambda a, extreme: -_tails(a, extreme),
             "RSI at the end of its own range turns", "Chande & Kroll (1994), The New Technical Trader", extreme=True),
    _declare("rule_short_rsi_in_trend", "rsi_3 percent_rank_60", lambda rsi, r, extreme: _upper_tail(-rsi, extreme) * _share(r),
             "oversold for days within a rising quarter",
             "Connors & Alvarez (2008), Short Term Trading Strategies That Work", extreme=True),
    _declare("rule_cci_breakout", "cci_20", _tails, "far from its typical price: a move begins",
             "Lambert (1980), Commodity Channel Index", extreme=True),
    _declare("rule_williams_reversal", "williams_r_14",
             lambda a, extreme: -_tails(a, extreme), "at the end of the range turns back",
             "Williams (1979), How I Made One Million Dollars", extreme=True),
    _declare("rule_aroon", "aroon_up_25 aroon_down_25", lambda up, down: up - down, "the high is younger than the low",
             "Chande & Kroll (1994), The New Technical Trader"),
    _declare("rule_directional_movement", "plus_di_14 minus_di_14", lambda up, down: up - down, "upward movement outweighs",
             _WILDER),
    _declare("rule_directional_trend", "plus_di_14 minus_di_14 adxr_14", lambda up, down, trend: (up - down) * _share(trend),
             "upward movement outweighs, within a trend", _WILDER),
    _declare("rule_vortex", "vortex_14", lambda a: a, "positive flow between neighbouring bars",
             "Botes & Siepman (2010), The Vortex Indicator"),
    _declare("rule_parabolic_stop", "distance_to_sar", np.sign, "above the trailing parabolic stop", _WILDER),
    _declare("rule_trix", "trix_15", lambda a: a, "the triple smoothed price rises",
             "Hutson (1983), Good TRIX, Stocks & Commodities"),
    _declare("rule_coppock", "coppock", lambda a: a, "the long momentum curve is up",
             "Coppock (1962), in Barron's of 15 October 1962"),
    _declare("rule_ultimate_oscillator", "ultimate_oscillator", lambda a, extreme: -_tails(a, extreme),
             "buying pressure of three spans at its limit turns", "Williams (1985), The Ultimate Oscillator", extreme=True),
    _declare("rule_money_flow_reversal", "mfi_14", lambda a, extreme: -_tails(a, extreme), "flow of money at its limit turns",
             "Quong & Soudack (1989), Volume-Weighted RSI: Money Flow", extreme=True),
    _declare("rule_money_flow_divergence", "mfi_14 percent_rank_60", lambda flow, rank: flow - rank,
             "money flows in while the price lags", "Murphy (1999), Technical Analysis of the Financial Markets"),
    _declare("rule_chaikin_money_flow", "chaikin_money_flow_20", lambda a: a, "closes near the high on volume: accumulation",
             "Achelis (1995), Technical Analysis from A to Z"),
    _declare("rule_chaikin_turn", "chaikin_oscillator on_balance_volume_20", np.minimum,
             "accumulation quickens and volume has sided with the rises", "Achelis (1995), Technical Analysis from A to Z"),
    _declare("rule_volume_divergence", "on_balance_volume_20 roc_20", lambda volume, price: volume - price,
             "volume runs ahead of the price", "Granville (1963), New Key to Stock Market Profits"),
    _declare("rule_volume_confirms", "roc_20 price_volume_correlation_20", lambda price, c: price * _share(c),
             "the price moves with its volume", "Karpoff (1987), The Relation Between Price Changes and Trading Volume"),
    _declare("rule_volume_reversal", "roc_10 relative_volume_20", lambda price, volume: -price * _share(volume),
             "moves on heavy volume were pressure, and turn back",
             "Campbell, Grossman & Wang (1993), Trading Volume and Serial Correlation in Stock Returns"),
    _declare("rule_true_strength", "true_strength", lambda a: a, "twice smoothed momentum is up",
             "Blau (1995), Momentum, Direction, and Divergence"),
    _declare("rule_efficient_move", "roc_20 efficiency_20", lambda price, e: price * _share(e), "a move that went straight",
             "Kaufman (1995), Smarter Trading"),
    _declare("rule_range_or_trend", "donchian_place_20 trendiness_28",
             lambda place, trend: place * 2 * trend, "breakouts follow on in trends and turn back in ranges",
             "Dreiss, in LeBeau & Lucas (1992), Computer Analysis of the Futures Market"),
    _declare("rule_mass_bulge", "mass_index distance_to_ema_20", lambda mass, trend, extreme: -trend * _upper_tail(mass, extreme),
             "ranges that swell announce a turn", "Dorsey (1992), The Mass Index, Stocks & Commodities", extreme=True),
    _declare("rule_range_expansion", "true_range balance_of_power", lambda r, power, extreme: power * _upper_tail(r, extreme),
             "a wide day goes on to the side that won it",
             "Crabel (1990), Day Trading with Short Term Price Patterns and Opening Range Breakout", extreme=True),
    _declare("rule_hull_trend", "distance_to_hma_20", lambda a: a, "above a mean that hardly lags",
             "Hull (2005), How to Reduce Lag in a Moving Average"),
    _declare("rule_smoothed_agreement", "distance_to_dema_20 distance_to_tema_20 distance_to_t3_5",
             lambda *d: np.minimum.reduce(d), "above each of three quick means",
             "Mulloy (1994), Smoothing Data with Faster Moving Averages"),
    _declare("rule_chande_reversal", "cmo_14", lambda a, extreme: -_tails(a, extreme), "momentum at its limit turns",
             "Chande & Kroll (1994), The New Technical Trader", extreme=True),
    _declare("rule_regression_channel", "distance_to_forecast_14 regression_slope_14", lambda gap, slope: slope - gap,
             "below a rising regression line", "Raff (1991), Trading the Regression Channel"),
    _declare("rule_support_strength", "high_low_beta_20", lambda a: a, "highs move more than lows: support holds",
             "Everbright Securities (2017), Resistance Support Relative Strength"),
    _declare("rule_volume_weighted_mean", "distance_to_wma_20 distance_to_vwma_20", lambda mean, weighted: mean - weighted,
             "the mean by volume stands above the plain one", "Dormeier (2011), Investing with Volume Analysis"),
    _declare("rule_intraday_momentum", "intraday_momentum_14", lambda a: a, "days end above where they began, again and again",
             "Chande & Kroll (1994), The New Technical Trader"),
)  # fmt: skip

# Candles: rules of the feature set `alpha158`, whose ROC5 is the price 5 sessions ago over now
_CANDLES = (
    _declare("rule_hammer", "KLOW2 KUP2 ROC5", lambda low, up, drop: np.minimum(np.minimum(low, -up), drop),
             "a long lower shadow after a fall: sellers were beaten", _NISON),
    _declare("rule_shooting_star", "KUP2 KLOW2 ROC5", lambda up, low, drop: -np.minimum(np.minimum(up, -low), -drop),
             "a long upper shadow after a rise: buyers were beaten", _NISON),
    _declare("rule_marubozu", "KMID2 KLEN", lambda body, length: body * _share(length),
             "a long day that closes at its end goes on", _NISON),
    _declare("rule_doji_turn", "KMID2 ROC5", lambda body, drop, extreme: drop * (1 - np.minimum(np.abs(body) / extreme, 1.0)),
             "a day without a body after a move: it turns", _NISON, extreme=True),
)  # fmt: skip

MODELS = _MOMENTUM + _TECHNICAL + _CANDLES
