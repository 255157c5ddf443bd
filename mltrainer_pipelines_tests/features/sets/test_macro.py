import math
from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.features.engine import compute_features
from mltrainer_pipelines.features.panel import BadPanelError
from mltrainer_pipelines.features.regime.score import regime_scores
from mltrainer_pipelines.features.sets.macro import MACRO
from mltrainer_pipelines.market.macro import FRED_SERIES, known_macro
from mltrainer_pipelines_tests.features import panels


@pytest.fixture(scope="module")
def frame():
    return panels.bars(8, 320)


@pytest.fixture(scope="module")
def known(frame):
    """Every series of the pipeline, a different one each, known on every session."""
    random = np.random.default_rng(2)
    days = panels.days(frame)
    walks = {name: 4.0 + np.cumsum(random.normal(0.0, 0.02, len(days))) for name in FRED_SERIES}
    return pl.DataFrame({"date": days, **walks})


def computed(frame, macro=None, regime=None, first=None):
    days = panels.days(frame)
    return compute_features(frame, panels.universe(frame), macro, first or days[0], days[-1], "macro", 1, regime)


def test_rates_curve_spread_volatility_and_the_regime_are_there():
    assert {"rate_10y", "rate_10y_change_21", "curve_10y_2y", "spread_high_yield", "vix", "regime_score"} <= set(MACRO.names)


def test_values_are_those_of_the_series_and_one_a_session(frame, known):
    regime = regime_scores(frame, known)
    found = computed(frame, known, regime)
    days = panels.days(frame)
    different = found.group_by("date").agg(pl.exclude("symbol", "date").n_unique()).select(pl.exclude("date").max())
    assert set(different.row(0)) == {1}
    row, at = found.filter(date=days[-1]).row(0, named=True), known.row(-1, named=True)
    ago = known.row(-22, named=True)
    assert row["rate_10y"] == pytest.approx(at["DGS10"], rel=1e-6)
    assert row["rate_10y_change_21"] == pytest.approx(at["DGS10"] - ago["DGS10"], rel=1e-4)
    assert row["curve_10y_funds"] == pytest.approx(at["DGS10"] - at["FEDFUNDS"], abs=1e-6)
    assert row["vix_growth_21"] == pytest.approx(math.log(at["VIXCLS"] / ago["VIXCLS"]), rel=1e-4)
    spread = known["BAMLH0A0HYM2"].tail(252)
    assert row["spread_high_yield_zscore_252"] == pytest.approx((spread[-1] - spread.mean()) / spread.std(), rel=1e-4)
    assert row["regime_score"] == pytest.approx(regime["score"][-1], rel=1e-6)
    assert row["regime_score_change_21"] == pytest.approx(regime["score"][-1] - regime["score"][-22], rel=1e-4, abs=1e-4)
    assert row["regime_crash"] == pytest.approx(regime["crash"][-1], abs=1e-6)
    assert None not in row.values()


def test_a_value_shows_on_the_session_after_its_publication(frame):
    days = panels.days(frame)
    observations = pl.DataFrame(
        {
            "series_id": "UNRATE",
            "date": [date(2019, 1, 1), date(2019, 2, 1)],
            "value": [4.0, 3.8],
            "published": [days[30], days[50]],
        }
    )
    found = computed(frame, known_macro(observations, days)).filter(symbol="S00")["unemployment"]
    assert found[:31].is_null().all()
    assert found[31:51].to_list() == pytest.approx([4.0] * 20)
    assert found[51] == pytest.approx(3.8)


def test_without_series_everything_but_the_bars_own_is_null(frame):
    found = computed(frame)
    assert [name for name in MACRO.names if found[name].null_count() < found.height] == []


def test_a_regime_that_is_not_one_is_refused(frame, known):
    regime = regime_scores(frame, known)
    with pytest.raises(BadPanelError, match="regime: a date is there twice"):
        computed(frame, known, pl.concat([regime, regime]))
    with pytest.raises(BadPanelError, match="regime lack the column\\(s\\) crash"):
        computed(frame, known, regime.drop("crash"))
