"""Rates, curve, credit, volatility and the regime: one value a session, the same for every member. A series counts from
the session after its first publication and is never revised; a monthly series changes once a month.
On a file of bars the series are null unless `--macro` gives them, and the regime is that of the file's own market.
"""

from collections.abc import Callable

import numpy as np

from mltrainer_pipelines.features.spec import Feature, FeatureSet
from mltrainer_pipelines.features.window import Window

RATES = "Fama & French (1989), Business Conditions and Expected Returns"
CURVE = "Estrella & Mishkin (1998), Predicting U.S. Recessions"
CREDIT = "Gilchrist & Zakrajšek (2012), Credit Spreads and Business Cycle Fluctuations"
VOLATILITY = "Whaley (2000), The Investor Fear Gauge"
PREMIUM = "Bollerslev, Tauchen & Zhou (2009), Expected Stock Returns and Variance Risk Premia"
GROWTH = "Chen, Roll & Ross (1986), Economic Forces and the Stock Market"
REGIME = "docs/regime.md"
YEAR = 252


def _feature(
    name: str, reads: tuple[str, ...], look_back: int, formula: Callable[[Window], np.ndarray], source: str, summary: str
) -> Feature:
    """A feature with one value a session; members are repeated from the field ``close``."""
    return Feature(name, reads, look_back, lambda w: w.everywhere(formula(w)), source, summary)


def _level(name: str, field: str, source: str, summary: str) -> Feature:
    return _feature(name, (field,), 0, lambda w: w.now(field), source, summary)


def _change(name: str, field: str, sessions: int, source: str, summary: str) -> Feature:
    return _feature(
        f"{name}_change_{sessions}", (field,), sessions, lambda w: w.now(field) - w.lagged(field, sessions), source,
        f"change of {summary} over {sessions} sessions",
    )  # fmt: skip


def _growth(name: str, field: str, sessions: int, source: str, summary: str) -> Feature:
    return _feature(
        f"{name}_growth_{sessions}", (field,), sessions, lambda w: w.log(w.now(field) / w.lagged(field, sessions)), source,
        f"log change of {summary} over {sessions} sessions",
    )  # fmt: skip


def _score(name: str, field: str, source: str, summary: str) -> Feature:
    return _feature(
        f"{name}_zscore_{YEAR}", (field,), YEAR,
        lambda w: (w.now(field) - w.mean(field, YEAR)) / w.deviation(field, YEAR), source,
        f"{summary} minus its mean of {YEAR} sessions, in its standard deviations",
    )  # fmt: skip


def _volatility_premium(w: Window) -> np.ndarray:
    """Implied minus realised, both a session."""
    return w.now("macro:VIXCLS") / (100.0 * np.sqrt(252.0)) - w.deviation("market_return", 21)


# One call a feature, its fields in the order of the declaration, reads as the table that it is.
# fmt: off
MACRO = FeatureSet("macro", (
    _level("rate_2y", "macro:DGS2", RATES, "Treasury yield, 2 years, % a year"),
    _level("rate_10y", "macro:DGS10", RATES, "Treasury yield, 10 years, % a year"),
    _level("rate_funds", "macro:FEDFUNDS", RATES, "federal funds rate, % a year"),
    *(_change("rate_2y", "macro:DGS2", n, RATES, "the 2-year yield, percentage points,") for n in (21, 63)),
    *(_change("rate_10y", "macro:DGS10", n, RATES, "the 10-year yield, percentage points,") for n in (21, 63)),
    _change("rate_funds", "macro:FEDFUNDS", 126, RATES, "the federal funds rate, percentage points,"),
    _level("curve_10y_2y", "macro:T10Y2Y", CURVE, "10-year minus 2-year yield, percentage points"),
    *(_change("curve_10y_2y", "macro:T10Y2Y", n, CURVE, "the curve's slope, percentage points,") for n in (21, 63)),
    _feature("curve_10y_funds", ("macro:DGS10", "macro:FEDFUNDS"), 0,
             lambda w: w.now("macro:DGS10") - w.now("macro:FEDFUNDS"), CURVE,
             "10-year yield minus the federal funds rate, percentage points"),
    _level("spread_high_yield", "macro:BAMLH0A0HYM2", CREDIT, "high-yield spread, percentage points"),
    *(_change("spread_high_yield", "macro:BAMLH0A0HYM2", n, CREDIT, "the high-yield spread, percentage points,")
      for n in (5, 21, 63)),
    _score("spread_high_yield", "macro:BAMLH0A0HYM2", CREDIT, "the high-yield spread"),
    _level("vix", "macro:VIXCLS", VOLATILITY, "VIX, % a year"),
    *(_growth("vix", "macro:VIXCLS", n, VOLATILITY, "the VIX") for n in (5, 21)),
    _score("vix", "macro:VIXCLS", VOLATILITY, "the VIX"),
    _feature("volatility_premium_21", ("macro:VIXCLS", "market_return"), 22, _volatility_premium, PREMIUM,
             "the VIX, a session, minus the universe's volatility of 21 sessions"),
    _growth("dollar", "macro:DTWEXBGS", 63, GROWTH, "the broad dollar index"),
    _level("unemployment", "macro:UNRATE", GROWTH, "unemployment rate, %"),
    _change("unemployment", "macro:UNRATE", 126, GROWTH, "the unemployment rate, percentage points,"),
    _growth("prices", "macro:CPIAUCSL", YEAR, GROWTH, "consumer prices"),
    _growth("money", "macro:M2SL", YEAR, GROWTH, "M2"),
    _level("regime_score", "regime:score", REGIME, "the regime, 0 crash to 100 strong bull"),
    *(_change("regime_score", "regime:score", n, REGIME, "the regime's score") for n in (5, 21)),
    *(_level(f"regime_{part}", f"regime:{part}", REGIME, f"the regime's part {part}, 0 to 100")
      for part in ("trend", "breadth", "volatility", "credit", "curve")),
    *(_level(f"regime_{state}", f"regime:{state}", REGIME, f"filtered probability of the state {state}, 0 to 1")
      for state in ("crash", "bull")),
), description=__doc__ or "")
# fmt: on
