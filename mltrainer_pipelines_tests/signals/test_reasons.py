from datetime import date
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from mltrainer_pipelines.contracts.ranks import column_percentiles
from mltrainer_pipelines.market.sessions import sessions_between
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.signals.attributions import contributions
from mltrainer_pipelines.signals.reasons import _in_words, reasons
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble, Member
from mltrainer_pipelines.trials.validation.table import feature_matrix, row_groups

ROWS, FEATURES, SHOWN = 600, 6, 80
TREES, LINEAR, NETWORKS = ("lightgbm", "xgboost", "catboost", "random_forest"), ("logistic_l2", "logistic_elastic_net"), ("mlp",)


@lru_cache
def fitted(model: str) -> tuple[Any, np.ndarray]:
    """A model of the catalogue on data in which feature 2 says yes and feature 4 says no."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-2.0 * X[:, 2] + 1.2 * X[:, 4]))).astype(np.int8)
    spec = get_model(model)
    defaults = {name: dimension.default for name, dimension in spec.search_space.items()}
    return spec.build(defaults, seed=0, threads=1).fit(X, y), X[:SHOWN]


def explained(model: str) -> tuple[np.ndarray, np.ndarray]:
    """Contributions, and the log-odds they are of."""
    estimator, X = fitted(model)
    found = contributions(SimpleNamespace(model=model, estimator=estimator), X, lambda Z: estimator.predict_proba(Z)[:, 1])
    probability = estimator.predict_proba(X)[:, 1]
    return found, np.log(probability / (1 - probability))


@pytest.mark.parametrize("model", [*TREES, *LINEAR, *NETWORKS, "k_nearest_neighbours"])
def test_the_features_that_matter_move_the_prediction_most_and_all_add_up_to_it(model: str) -> None:
    found, log_odds = explained(model)
    X = fitted(model)[1]
    size = np.abs(found).mean(axis=0)
    assert set(np.argsort(size)[-2:]) == {2, 4}
    assert np.corrcoef(found[:, 2], X[:, 2])[0, 1] > 0.7
    assert np.corrcoef(found[:, 4], X[:, 4])[0, 1] < -0.6
    left_over = (log_odds - found.sum(axis=1)).std() / log_odds.std()  # but for a constant
    if model in (*TREES, *LINEAR):
        assert left_over < 1e-4
    elif model in NETWORKS:  # as closely as four steps along the path give the integral
        assert left_over < 0.1


def test_the_shap_values_of_a_library_are_taken_as_they_are() -> None:
    estimator, X = fitted("xgboost")
    booster = estimator.inner_.get_booster()
    import xgboost

    expected = booster.predict(xgboost.DMatrix(X), pred_contribs=True)[:, :-1]
    np.testing.assert_allclose(explained("xgboost")[0], expected, atol=1e-4)


def test_a_model_that_can_only_be_asked_is_asked_what_it_says_without_the_feature() -> None:
    def asked(X: np.ndarray) -> np.ndarray:
        known = np.nan_to_num(X)
        return 1 / (1 + np.exp(-(1.5 * known[:, 0] - 0.5 * known[:, 1])))

    X = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    X[3, 1] = np.nan
    found = contributions(SimpleNamespace(model="k_nearest_neighbours", estimator=None), X, asked)
    base = np.nanmedian(X, axis=0)
    expected = np.column_stack([1.5 * (X[:, 0] - base[0]), -0.5 * (np.nan_to_num(X[:, 1]) - base[1]), np.zeros(50)])
    np.testing.assert_allclose(found, expected, atol=1e-5)


NAMES = ("calm", "now", "past", "idle")


@lru_cache
def panel() -> tuple[pl.DataFrame, np.ndarray]:
    """60 sessions of 40 symbols in which `now` says yes and what `past` was over the last five sessions says no."""
    days = sessions_between(date(2015, 1, 2), date(2015, 12, 31))[:60]
    rng = np.random.default_rng(3)
    values = rng.normal(size=(60, 40, 4)).astype(np.float32)
    before = np.stack([values[max(0, t - 4) : t + 1, :, 2].sum(axis=0) for t in range(60)])
    outcome = rng.random((60, 40)) < 1 / (1 + np.exp(-2.0 * values[:, :, 1] + before))
    values[rng.random(values.shape) < 0.02] = np.nan
    keys = {"date": [day for day in days for _ in range(40)], "symbol": np.tile([f"S{n:02}" for n in range(40)], 60)}
    columns = {name: values[:, :, number].ravel() for number, name in enumerate(NAMES)}
    return pl.DataFrame(keys | columns).with_columns(pl.col(NAMES).fill_nan(None)), outcome.ravel().astype(np.int8)


@pytest.mark.parametrize("model", ["gru", "temporal_cnn", "transformer"])
def test_what_a_network_of_sequences_is_told_by_its_windows_adds_up_to_how_far_they_move_it(model: str) -> None:
    rows, outcome = panel()
    X = feature_matrix(rows, NAMES)
    spec = get_model(model)
    params = {name: dimension.default for name, dimension in spec.search_space.items()}
    estimator = spec.build(params | {"epochs": 6, "units": 16, "learning_rate": 0.02}, 0).fit(X, outcome, row_groups(rows))
    today = rows["date"][-1]
    config = TrialConfig(model=model, timeframe="short")
    member = Member(config.trial_id, model, today, today, len(X), 1.0, NAMES, "none", estimator, calibrator=None)
    # as the refresh hands them over: the session, and those before that the member reads; one symbol is new to the universe
    new = (pl.col("symbol") == "S07") & (pl.col("date") < rows["date"].unique().sort()[-3])
    shown = rows.filter(pl.col("date") > rows["date"].unique().sort()[-spec.look_back - 2]).filter(~new)
    past, now = shown.filter(pl.col("date") < today), shown.filter(pl.col("date") == today)
    found = reasons(ChampionEnsemble("short", today, config, (member,)).with_history(past), now)

    medians = now.select(pl.col(NAMES).median()).row(0, named=True)
    unmoved = shown.with_columns(pl.lit(medians[name], pl.Float32).alias(name) for name in NAMES)
    said, before = (
        np.log(p / (1 - p))
        for of in (shown, unmoved)
        for p in [estimator.predict_proba(feature_matrix(of, NAMES), row_groups(of), past.height)[:, 1]]
    )
    effects = [{driver["feature"]: driver["effect"] for driver in drivers} for drivers in found["drivers"].to_list()]
    # as closely as sixteen steps along the path give the integral: 5 % of how far the windows move it
    left_over = (said - before) - np.array([sum(told.values()) for told in effects])
    assert np.sqrt((left_over**2).mean()) < 0.05 * np.sqrt(((said - before) ** 2).mean())
    size = {name: np.mean([abs(told.get(name, 0.0)) for told in effects]) for name in NAMES}
    assert set(sorted(size, key=size.__getitem__)[-2:]) == {"now", "past"}
    assert found["why"].str.contains("the chance of profit").all()


def test_gradients_that_do_not_add_up_are_not_told() -> None:
    """Networks that count have no slope where they change: what they say without the feature is told instead."""
    estimator, X = fitted("random_convolutions")
    base = np.median(X, axis=0)
    log_odds = [np.log(p / (1 - p)) for of in (X, np.tile(base, (len(X), 1))) for p in [estimator.predict_proba(of)[:, 1]]]
    moved = log_odds[0] - log_odds[1]
    assert np.abs(moved - estimator.attributions(X, base).sum(axis=1)).mean() > 0.1 * np.abs(moved).mean()
    found, _ = explained("random_convolutions")
    for column in range(FEATURES):
        without = X.copy()
        without[:, column] = base[column]
        p = estimator.predict_proba(without)[:, 1]
        np.testing.assert_allclose(found[:, column], log_odds[0] - np.log(p / (1 - p)), atol=1e-5)


def test_what_is_told_is_in_words() -> None:
    driver = {"feature": "momentum_12_1", "value": 0.3412, "percentile": 0.92, "effect": 0.2, "share": 0.31}
    told = _in_words(driver, {"momentum_12_1": "simple return from 252 to 21 sessions ago"})
    assert told == (
        "simple return from 252 to 21 sessions ago: higher than 92% of the universe, which raises the chance of profit"
    )
    unknown = driver | {"value": None, "percentile": None, "effect": -0.1}
    assert _in_words(unknown, {}) == "momentum_12_1: unknown, which lowers the chance of profit"
    ranks = column_percentiles(np.array([[1.0], [np.nan], [3.0], [1.0]]))
    assert ranks[[0, 2, 3], 0].tolist() == pytest.approx([1 / 3, 5 / 6, 1 / 3])
    assert np.isnan(ranks[1, 0])
