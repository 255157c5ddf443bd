"""The regime of the market: a score from 0 (crash) over 50 (neutral) to 100 (strong bull) a session, and its parts.

Everything is computed online, from trailing windows and a filter alone: the score of a session is final at its close.
`docs/regime.md` explains it.
"""

import math
from typing import Final

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.lake_tables import REGIME
from mltrainer_pipelines.features.panel import (
    BadPanelError,
    Panel,
    aligned_series,
    check_columns,
    check_one_row_a_session,
    dense,
    membership,
    months_between,
)
from mltrainer_pipelines.features.regime.market_states import MARKET_MODEL, STATES, state_probabilities

PARTS: Final = ("trend", "breadth", "volatility", "credit", "curve")

TREND_WINDOWS = (20, 60, 200)
BREADTH_WINDOW = 50
VOLATILITY_WINDOW = 20
SCALE_WINDOW, SCALE_LEAST = 252, 60
RANK_WINDOW, RANK_LEAST = 504, 120
CURVE_WINDOW = 1260
WINSORISED = 0.05
LEAST_SYMBOLS = 5
FILTER_SHARE = 2 / 3
"""Weight of the hidden Markov model in the score; the rest is the mean of the parts."""

VOLATILITY_SERIES, CREDIT_SERIES, CURVE_SERIES = "VIXCLS", "BAMLH0A0HYM2", "T10Y2Y"


def regime_scores(adjusted_bars: pl.DataFrame, macro: pl.DataFrame | None, universe: pl.DataFrame | None = None) -> pl.DataFrame:
    """The regime score of every session of the bars, known at its close.

    The market is the equal-weight mean of the symbols' log returns, 5 % winsorised on each side.

    - ``trend``: how far the market is above its mean of 20, 60 and 200 sessions, each in standard errors of a
      driftless random walk with the volatility of the last 252 sessions, through the normal distribution.
    - ``breadth``: share of symbols above their own mean of 50 sessions.
    - ``volatility``: share of the last 504 sessions in which the market's 20-session volatility was higher; averaged
      with the same of the VIX (`VIXCLS`) where it is known.
    - ``credit``: share of the last 504 sessions in which the high-yield spread (`BAMLH0A0HYM2`) was wider.
    - ``curve``: share of the last 1,260 sessions in which the yield curve (`T10Y2Y`) was flatter.

    Each part runs from 0 to 100. A hidden Markov model with the states crash, neutral and bull stands over them: it
    sees the market's return and the members' mean true range (`market_states.state_probabilities`), and the parts
    tilt its transitions. The score is two thirds what the filtered states are worth (0, 50 and 100) and one third the
    mean of the parts that are known; it is unknown while no part is known.

    Parameters
    ----------
    adjusted_bars : DataFrame
        date, symbol, adj_close and, for the range, adj_high and adj_low. From the first session there is: the filter
        starts there.
    macro : DataFrame or None
        date and one column a series, as known at each session's close (`market.macro.known_macro`).
    universe : DataFrame, optional
        month, symbol: the market is then made of each month's members, and unknown in months before the first one of
        the universe. Give it whenever the bars are not those of the whole market as it traded: otherwise who is in
        the frame could tell the future.

    Returns
    -------
    DataFrame
        date, score, trend, breadth, volatility, credit, curve (0 to 100, null where unknown), crash, neutral, bull
        (filtered probabilities, their sum 1), sorted by date.

    Raises BadPanelError if the bars cannot be used, or a month after the universe's first one is missing from it.

    Source: the parts are those of Faber (2007), A Quantitative Approach to Tactical Asset Allocation (trend),
    Zakamulin (2018), Market Timing with Moving Averages (breadth), Daniel & Moskowitz (2016), Momentum Crashes
    (volatility), Gilchrist & Zakrajšek (2012), Credit Spreads and Business Cycle Fluctuations, and Estrella & Mishkin
    (1998), Predicting U.S. Recessions (curve).
    """
    from scipy.special import ndtr

    from mltrainer_pipelines.features.kernels import cross_section as cross_kernels
    from mltrainer_pipelines.features.kernels import windows as kernels

    ranged = {"adj_high", "adj_low"} <= set(adjusted_bars.columns)
    panel = dense(adjusted_bars, ["adj_close", "adj_high", "adj_low"] if ranged else ["adj_close"])
    close = panel.fields["adj_close"]
    price = kernels.filled(close)
    members = _members(panel, universe)
    with np.errstate(all="ignore"):
        average = kernels.mean(price, BREADTH_WINDOW, math.ceil(0.8 * BREADTH_WINDOW), 0)
        present = members & ~np.isnan(close) & ~np.isnan(average)
        breadth = 100.0 * cross_kernels.cross_mean(np.where(present, (price > average) * 1.0, np.nan), LEAST_SYMBOLS)
        returns = np.where(members, kernels.log_return(close, price), np.nan)
    market = cross_kernels.winsorised_mean(returns, WINSORISED, LEAST_SYMBOLS)

    swings = kernels.deviation(market.reshape(-1, 1), VOLATILITY_WINDOW, math.ceil(0.8 * VOLATILITY_WINDOW), 0)[:, 0]
    series = _series(macro, panel.sessions)
    calm = [1.0 - _trailing_percentile(values, RANK_WINDOW) for values in (swings, series[VOLATILITY_SERIES])]
    parts = {
        "trend": 100.0 * _mean_of_known([ndtr(_average_lead(market, window)) for window in TREND_WINDOWS]),
        "breadth": breadth,
        "volatility": 100.0 * _mean_of_known(calm),
        "credit": 100.0 * (1.0 - _trailing_percentile(series[CREDIT_SERIES], RANK_WINDOW)),
        "curve": 100.0 * _trailing_percentile(series[CURVE_SERIES], CURVE_WINDOW),
    }
    mean_of_parts = _mean_of_known(list(parts.values()))
    states = state_probabilities(market, _mean_range(panel, price, members), mean_of_parts / 50.0 - 1.0)
    filtered = 50.0 * (states @ MARKET_MODEL.levels + 1.0)
    score = FILTER_SHARE * filtered + (1.0 - FILTER_SHARE) * mean_of_parts
    columns = {"score": score, **parts, **{name: states[:, i] for i, name in enumerate(STATES)}}
    return pl.DataFrame(
        {"date": panel.sessions, **{name: pl.Series(v, dtype=pl.Float64).fill_nan(None) for name, v in columns.items()}},
        schema=REGIME.schema,
    )


def _mean_range(panel: Panel, price: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean over the members of the session's log true range, winsorised; NaN where the bars have no highs and lows.

    The true range counts the gap from the close before: a market can crash between two sessions.

    Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    from mltrainer_pipelines.features.kernels import cross_section as cross_kernels

    if "adj_high" not in panel.fields:
        return np.full(len(panel.sessions), np.nan)
    before = np.vstack([np.full((1, price.shape[1]), np.nan), price[:-1]])
    high, low = panel.fields["adj_high"], panel.fields["adj_low"]
    with np.errstate(all="ignore"):
        ranges = np.log(np.fmax(high, before) / np.fmin(low, before))
    present = members & ~np.isnan(high) & ~np.isnan(low)
    return cross_kernels.winsorised_mean(np.where(present, ranges, np.nan), WINSORISED, LEAST_SYMBOLS)


def _members(panel: Panel, universe: pl.DataFrame | None) -> np.ndarray:
    if universe is None:
        return np.ones((len(panel.sessions), len(panel.symbols)), dtype=bool)
    check_columns(universe, ["month", "symbol"], "universe")
    if universe.is_empty():
        raise BadPanelError("universe: the frame has no rows; materialize universe first, or give None for the whole market")
    first = min(universe["month"].to_list())
    months = [month for month in months_between(panel.sessions) if month >= first]
    return membership(universe, panel, slice(None), months)


def _series(macro: pl.DataFrame | None, sessions: np.ndarray) -> dict[str, np.ndarray]:
    names = (VOLATILITY_SERIES, CREDIT_SERIES, CURVE_SERIES)
    series = dict.fromkeys(names, np.full(len(sessions), np.nan))
    if macro is not None:
        check_one_row_a_session(macro, "macro")
        series |= aligned_series(macro, [name for name in names if name in macro.columns], sessions)
    return series


def _average_lead(returns: np.ndarray, window: int) -> np.ndarray:
    """How far the log price is above its mean of `window` sessions, in standard errors of a driftless random walk.

    The lead is a weighted sum of the window's returns, unknown where one of them is.
    """
    weights = np.arange(window - 1, 0, -1) / window
    lead = np.convolve(returns, weights)[: len(returns)]
    lead[: window - 1] = np.nan
    spread = (
        pl.Series(returns).fill_nan(None).rolling_std(SCALE_WINDOW, min_samples=SCALE_LEAST).fill_null(float("nan")).to_numpy()
    )
    return lead / (np.where(spread > 1e-10, spread, np.nan) * np.sqrt(np.sum(weights**2)))


def _trailing_percentile(values: np.ndarray, window: int) -> np.ndarray:
    """Share of the known values of the last `window` sessions that lie below the newest one, ties counting half."""
    present = pl.Series(values).fill_nan(None)
    count = present.is_not_null().cast(pl.Float64).rolling_sum(window, min_samples=1)
    rank = present.rolling_rank(window, method="average", min_samples=RANK_LEAST)
    return ((rank - 0.5) / count).fill_null(float("nan")).to_numpy()


def _mean_of_known(values: list[np.ndarray]) -> np.ndarray:
    """Mean of what is known at each session; NaN where nothing is."""
    parts = np.stack(values)
    count = (~np.isnan(parts)).sum(axis=0)
    return np.divide(np.nansum(parts, axis=0), count, out=np.full(count.shape, np.nan), where=count > 0)
