from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines.features.regime import PARTS, REGIME_SCHEMA, regime_scores
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


def test_the_score_is_the_mean_of_the_parts_that_are_known(frame, macro):
    scores = regime_scores(frame, macro.drop("T10Y2Y"))
    assert scores["curve"].null_count() == scores.height
    parts = scores.select(mean=pl.mean_horizontal(*PARTS))["mean"]
    assert scores["score"].to_list() == pytest.approx(parts.to_list())


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
