"""Outcomes free of beta, volatility and sector."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig
from mltrainer_pipelines.trials.validation.neutral_outcomes import NeutralOutcomes

COUNT = 120


def _session(own: np.ndarray, market: float, rng: np.random.Generator) -> NeutralOutcomes:
    beta, volatility = rng.uniform(0.3, 2.0, COUNT), rng.uniform(0.01, 0.04, COUNT)
    sector = pl.Series([f"sector {number % 4}" for number in range(COUNT)])
    shared = np.array([0.5, -1.0, 0.3, 0.2])[np.arange(COUNT) % 4]
    net_return = volatility * (own + market * beta + shared)
    keys = {"date": [date(2024, 1, 2)] * COUNT, "symbol": [f"S{number:03}" for number in range(COUNT)]}
    features = pl.DataFrame(keys | {"beta_252": beta, "idiosyncratic_volatility_63": volatility})
    rows = pl.DataFrame(keys | {"net_return": net_return})
    return NeutralOutcomes(rows, features, pl.DataFrame(keys).with_columns(sector=sector))


def test_what_a_stock_earned_by_itself_is_left_whatever_the_market_and_its_sector_did():
    own = np.random.default_rng(1).normal(size=COUNT)
    kept = np.ones(COUNT, dtype=bool)
    for market in (-3.0, 0.0, 3.0):
        ranks = _session(own, market, np.random.default_rng(2)).ranks(kept)
        assert np.corrcoef(ranks, own)[0, 1] > 0.9
        assert np.abs(ranks).max() <= 0.5


def test_only_the_rows_whose_outcome_is_known_are_ranked_and_a_later_window_ranks_anew():
    outcomes = _session(np.arange(COUNT) / COUNT, 0.0, np.random.default_rng(3))
    few, all_of_them = np.arange(COUNT) < 60, np.ones(COUNT, dtype=bool)
    first = outcomes.ranks(few)
    assert len(first) == 60
    assert first.max() > 0.45
    np.testing.assert_array_equal(outcomes.ranks(few), first)
    assert outcomes.ranks(all_of_them)[:60].max() < first.max()


def test_a_session_of_too_few_rows_says_nothing():
    outcomes = _session(np.zeros(COUNT), 0.0, np.random.default_rng(4))
    assert np.isnan(outcomes.ranks(np.arange(COUNT) < 5)).all()


def test_a_neutral_target_needs_a_feature_set_with_beta_and_volatility():
    assert TrialConfig(model="rank_ridge", timeframe="short", target="neutral").target == "neutral"
    with pytest.raises(InvalidTrialError, match="stock_selection"):
        TrialConfig.parse({"model": "lightgbm", "timeframe": "short", "target": "neutral", "feature_set": "macro"})
