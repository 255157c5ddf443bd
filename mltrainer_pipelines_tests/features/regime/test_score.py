from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.metrics import roc_auc_score

from mltrainer_pipelines.audits.simulated_market import AuditMarket
from mltrainer_pipelines.contracts.lake_tables import REGIME
from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines.features.regime.score import PARTS, regime_scores
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines_tests.features import panels


def macro_of(frame, **series):
    return pl.DataFrame({"date": panels.days(frame), **series})


def drifting(drift: float, sessions: int = 400) -> pl.DataFrame:
    frame = panels.bars(12, sessions)
    step = pl.col("date").rank("dense").cast(pl.Float64)
    return frame.with_columns(adj_close=pl.col("adj_close") * (step * drift).exp())


@pytest.fixture(scope="module")
def frame():
    return panels.punctured(panels.bars(14, 520), 0.03, seed=5)


@pytest.fixture(scope="module")
def macro(frame):
    random = np.random.default_rng(3)
    walk = {name: np.cumsum(random.normal(0, 0.1, 520)) + 5 for name in ("VIXCLS", "BAMLH0A0HYM2", "T10Y2Y")}
    return macro_of(frame, **walk)


def test_a_score_from_0_to_100_for_every_session(frame, macro):
    scores = regime_scores(frame, macro)
    assert dict(scores.schema) == REGIME.schema
    assert scores["date"].to_list() == panels.days(frame)
    known = scores.drop_nulls()
    assert known.height > 200
    for name in ("score", *PARTS):
        assert known[name].is_between(0.0, 100.0).all()
    assert known.select(pl.col("crash", "neutral", "bull").is_between(0.0, 1.0).all()).row(0) == (True,) * 3


def test_the_score_is_two_thirds_the_filtered_states_and_one_third_the_parts_that_are_known(frame, macro):
    scores = regime_scores(frame, macro.drop("T10Y2Y"))
    assert scores["curve"].null_count() == scores.height
    states = 100.0 * scores["bull"] + 50.0 * scores["neutral"]
    parts = scores.select(mean=pl.mean_horizontal(*PARTS))["mean"]
    assert scores["score"].to_list() == pytest.approx((2 / 3 * states + parts / 3).to_list())
    assert scores.select(total=pl.sum_horizontal("crash", "neutral", "bull"))["total"].to_list() == pytest.approx([1.0] * 520)


def test_without_macro_the_market_alone_speaks(frame):
    scores = regime_scores(frame, None)
    assert scores["credit"].null_count() == scores["curve"].null_count() == scores.height
    assert scores["score"][-1] is not None


def test_a_rising_market_scores_high_and_a_falling_one_low():
    rising, falling = (regime_scores(drifting(drift), None).tail(150) for drift in (0.006, -0.006))
    assert rising["trend"].mean() > 90 > 10 > falling["trend"].mean()
    assert rising["breadth"].mean() > 90 > 10 > falling["breadth"].mean()


def test_a_crash_lowers_the_score_within_ten_sessions_though_it_falls_from_close_to_open():
    frame = panels.bars(12, 400)
    fall = (-(pl.col("date").rank("dense").cast(pl.Float64) - 350).clip(0, 20) * 0.03).exp()
    crash = frame.with_columns(pl.col("adj_open", "adj_high", "adj_low", "adj_close") * fall)
    before, after = regime_scores(crash, None)["score"][349], regime_scores(crash, None)["score"][360]
    assert after < 25 < before


def test_wide_spreads_flat_curves_and_high_vix_are_bad_news(frame):
    ramp = np.arange(520, dtype=float)
    worst = regime_scores(frame, macro_of(frame, VIXCLS=ramp, BAMLH0A0HYM2=ramp, T10Y2Y=-ramp)).row(-1, named=True)
    best = regime_scores(frame, macro_of(frame, VIXCLS=-ramp, BAMLH0A0HYM2=-ramp, T10Y2Y=ramp)).row(-1, named=True)
    assert worst["credit"] < 1 < 99 < best["credit"]
    assert worst["curve"] < 1 < 99 < best["curve"]
    assert best["volatility"] - worst["volatility"] > 45


def test_a_score_is_final_at_its_close(frame, macro):
    whole = regime_scores(frame, macro)
    for cut in panels.days(frame)[200::75]:
        known = pl.col("date") <= cut
        assert_frame_equal(regime_scores(frame.filter(known), macro.filter(known)), whole.filter(known), check_exact=True)


SEEDS = (7, 31, 32, 33)
"""The market of the demo, and the first ones after those (1 to 26) by which the regime was made."""


def after_a_switch(state: np.ndarray, first: int, last: int) -> np.ndarray:
    """Sessions of a bull market or a crash from the `first` to the `last` after the switch to it, which is session 0."""
    since = np.arange(len(state)) - np.maximum.accumulate(
        np.where(np.r_[True, state[1:] != state[:-1]], np.arange(len(state)), 0)
    )
    switched = np.arange(len(state)) >= np.argmax(state != state[0])
    return switched & (since >= first) & (since <= last) & (state != "bear")


def separation(markets, first: int, last: int) -> float:
    """AUC of the score between bull and crash, over the sessions `first` to `last` after a switch, all markets together."""
    scores, bulls = [], []
    for state, score in markets.values():
        chosen = after_a_switch(state, first, last) & ~np.isnan(score)
        scores.append(score[chosen])
        bulls.append(state[chosen] == "bull")
    return roc_auc_score(np.concatenate(bulls), np.concatenate(scores))


@pytest.fixture(scope="module")
def simulated():
    """The true regime and the score of every session of simulated markets of the default size, by seed."""
    markets = {}
    for seed in SEEDS:
        frames = AuditMarket(seed, 120, first=date(2021, 1, 1), last=date(2026, 11, 20)).frames()
        bars = adjusted(frames.bars, frames.actions)
        found = regime_scores(bars, known_macro(frames.observations, panels.days(bars)))
        both = frames.regimes.join(found, on="date", validate="1:1", maintain_order="left")
        markets[seed] = both["regime"].to_numpy(), both["score"].fill_null(np.nan).to_numpy()
    return markets


def test_bull_and_crash_of_a_simulated_market_are_told_apart_within_ten_sessions_of_a_switch(simulated):
    assert separation(simulated, 0, 10) >= 0.9
    assert {seed: auc for seed in SEEDS if (auc := separation({seed: simulated[seed]}, 0, 10)) < 0.9} == {}
    assert separation(simulated, 10, 10) >= 0.98
    assert separation(simulated, 11, 10_000) >= 0.98


def test_a_crash_of_the_simulated_market_scores_low_and_a_bull_market_high(simulated):
    state, score = (np.concatenate(each) for each in zip(*simulated.values(), strict=True))
    mean = {regime: np.nanmean(score[state == regime]) for regime in ("crash", "bear", "bull")}
    assert mean["crash"] < 40 < mean["bear"] < 75 < mean["bull"]


def test_bars_without_highs_and_lows_have_a_regime_from_returns_alone(frame, macro):
    full, thin = regime_scores(frame, macro), regime_scores(frame.drop("adj_high", "adj_low"), macro)
    assert thin.select(PARTS).equals(full.select(PARTS))
    assert not thin["crash"].equals(full["crash"])


def test_with_a_universe_other_symbols_do_not_matter(frame):
    members = panels.universe(frame).filter(pl.col("symbol") < "S09", pl.col("month") >= date(2019, 3, 1))
    alone = regime_scores(frame.filter(pl.col("symbol") < "S09"), None, members)
    assert_frame_equal(regime_scores(frame, None, members), alone, check_exact=True)
    assert alone.filter(pl.col("date") < date(2019, 3, 1))["score"].is_null().all()


def test_observations_instead_of_known_series_are_refused(frame):
    observations = pl.DataFrame(
        {"series_id": ["VIXCLS"], "date": [date(2019, 1, 2)], "value": [1.0], "published": [date(2019, 1, 3)]}
    )
    with pytest.raises(BadPanelError, match="known_macro"):
        regime_scores(frame, observations)
    with pytest.raises(BadPanelError, match="no members for the month\\(s\\) 2019-06-01"):
        regime_scores(frame, None, panels.universe(frame).filter(pl.col("month") != date(2019, 6, 1)))
