from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.metrics import roc_auc_score

from mltrainer_pipelines.features.hidden_markov import MARKET_MODEL
from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines.features.regime import PARTS, REGIME_SCHEMA, regime_scores
from mltrainer_pipelines.market.adjustment import adjusted
from mltrainer_pipelines.market.macro import known_macro
from mltrainer_pipelines.services.simulated_market import simulated_frames
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
    assert dict(scores.schema) == REGIME_SCHEMA
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


def test_a_crash_lowers_the_score_within_ten_sessions():
    frame = panels.bars(12, 400)
    step = pl.col("date").rank("dense").cast(pl.Float64)
    crash = frame.with_columns(adj_close=pl.col("adj_close") * (-(step - 350).clip(0, 20) * 0.03).exp())
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


def separation(markets, apart) -> float:
    """AUC of the score between bull and crash, over the sessions whose distance from the switch `apart` accepts."""
    scores, bulls = [], []
    for regimes, found in markets:
        state = regimes["regime"].to_numpy()
        since = np.zeros(len(state))
        for i in range(1, len(state)):
            since[i] = since[i - 1] + 1 if state[i] == state[i - 1] else 0
        score = found["score"].fill_null(np.nan).to_numpy()
        switched = np.arange(len(state)) >= np.argmax(state != state[0])
        chosen = switched & ~np.isnan(score) & (state != "bear") & apart(since)
        scores.append(score[chosen])
        bulls.append(state[chosen] == "bull")
    return roc_auc_score(np.concatenate(bulls), np.concatenate(scores))


@pytest.fixture(scope="module")
def simulated():
    """The true regimes and the scores of four simulated markets of eight years."""
    markets = []
    for seed in (5, 8, 9, 12):
        frames = simulated_frames(seed, 30, date(2016, 1, 4), date(2023, 12, 29))
        bars = adjusted(frames.bars, frames.actions)
        markets.append((frames.regimes, regime_scores(bars, known_macro(frames.observations, panels.days(bars)))))
    return markets


def test_bull_and_crash_of_a_simulated_market_are_told_apart_within_ten_sessions_of_a_switch(simulated):
    assert separation(simulated, lambda since: since <= 10) >= 0.9
    assert separation(simulated, lambda since: since == 10) >= 0.98
    assert separation(simulated, lambda since: since > 10) >= 0.98


def test_a_crash_of_the_simulated_market_scores_low_and_a_bull_market_high(simulated):
    known = pl.concat([regimes.join(found, on="date") for regimes, found in simulated]).drop_nulls("score")
    mean = dict(known.group_by("regime").agg(pl.col("score").mean()).iter_rows())
    assert mean["crash"] < 40 < mean["bear"] < 75 < mean["bull"]


def test_bars_without_highs_and_lows_have_a_regime_from_returns_alone(frame, macro):
    full, thin = regime_scores(frame, macro), regime_scores(frame.drop("adj_high", "adj_low"), macro)
    assert thin.select(PARTS).equals(full.select(PARTS))
    assert not thin["crash"].equals(full["crash"])


def test_a_filter_never_looks_back_from_the_future_and_unknown_observations_say_nothing():
    random = np.random.default_rng(4)
    observed, conditions = random.normal(0.0, 0.01, (90, 2)), random.uniform(-1.0, 1.0, 90)
    whole = MARKET_MODEL.filtered(observed, conditions)
    for end in (1, 17, 60):
        np.testing.assert_array_equal(MARKET_MODEL.filtered(observed[:end], conditions[:end]), whole[:end])
    np.testing.assert_allclose(whole.sum(axis=1), 1.0)
    silent = MARKET_MODEL.filtered(np.full((50, 2), np.nan), np.full(50, np.nan))
    np.testing.assert_allclose(silent, np.tile(silent[0], (50, 1)), atol=1e-6)
    crash = MARKET_MODEL.filtered(np.array([[-0.06, 1.0]] * 3), np.zeros(3))
    assert crash[-1, 0] > 0.99


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
