"""What is known from another market: only of years before, and only as a leaning."""

from datetime import date

import numpy as np
import pytest

from mltrainer_pipelines.models import rank_prior
from mltrainer_pipelines.models.panel import panel_groups
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.trials.defaults import default_trial

NAMES = rank_prior.names()
EPOCH = date(1970, 1, 1)
FIRST = date(2003, 1, 1)


def session(day):
    return (day - EPOCH).days


@pytest.mark.parametrize("timeframe", ["short", "long"])
def test_a_session_knows_the_weights_of_the_years_before_it(timeframe):
    assert rank_prior.weights(timeframe, session(FIRST) - 1) == {}
    at_the_end, a_day_later = (rank_prior.weights(timeframe, session(day)) for day in (date(2010, 12, 31), date(2011, 1, 1)))
    assert at_the_end == rank_prior.weights(timeframe, session(date(2010, 1, 1)))
    assert at_the_end != a_day_later
    assert rank_prior.weights(timeframe, session(date(2026, 1, 2))) == rank_prior.weights(timeframe, session(date(2019, 1, 1)))


def test_weights_have_the_signs_that_the_literature_gives_them():
    short, long = (rank_prior.weights(timeframe, session(date(2019, 1, 1))) for timeframe in ("short", "long"))
    assert sum(weight for name, weight in short.items() if name.startswith("reversal_")) > 0
    assert short["seasonal_63"] > 0
    assert long["volume_shock_return_63"] + long["volume_shock_return_63_scaled"] < 0


def test_the_default_leans_to_the_prior_from_the_day_on_that_it_was_known():
    rng = np.random.default_rng(0)
    days, symbols = 60, 30
    X = rng.normal(size=(days * symbols, len(NAMES))).astype(np.float32)
    y = rng.integers(0, 2, days * symbols)
    spec, (model, params) = get_model("rank_mix"), (default_trial("short").model, default_trial("short").params)
    assert model == spec.id
    scores = {}
    for begin in (FIRST.replace(year=2001), FIRST.replace(year=2012)):
        groups = panel_groups(np.repeat(np.arange(days) + session(begin), symbols), np.tile(np.arange(symbols), days))
        for prior in ("none", params["prior"]):
            fitted = spec.build({"prior": prior}, feature_names=NAMES).fit(X, y, groups)
            scores[begin.year, prior] = fitted.predict_proba(X, groups)[:, 1]
    assert scores[2001, "none"] == pytest.approx(scores[2001, "short"])
    known = rank_prior.weights("short", session(date(2012, 1, 1)))
    leaning = X @ np.array([known[name] for name in NAMES])
    without, leant = (np.corrcoef(scores[2012, prior], leaning)[0, 1] for prior in ("none", "short"))
    assert leant > without + 0.2
