"""Models that ask in which state, in which sector and over which time a row is."""

import numpy as np

from mltrainer_pipelines.models.panel import UNKNOWN, panel_groups
from mltrainer_pipelines.models.registry import get_model

SESSIONS, SYMBOLS, TRAIN = 120, 30, 90 * 30


def _rows(seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((SESSIONS * SYMBOLS, 5)).astype(np.float32)
    sessions, symbols = np.divmod(np.arange(len(X)), SYMBOLS)
    return X, panel_groups(sessions, symbols), rng


def _right(model: str, X: np.ndarray, y: np.ndarray, groups: np.ndarray, **params: float) -> float:
    """Share of the later sessions' rows that the model puts on the right side of a half."""
    fitted = get_model(model).build(params).fit(X[:TRAIN], y[:TRAIN], groups[:TRAIN])
    return float(((fitted.predict_proba(X[TRAIN:], groups[TRAIN:])[:, 1] > 0.5) == y[TRAIN:]).mean())


def test_what_turns_round_with_the_state_of_the_market_is_learnt_by_the_gated_model_alone():
    X, groups, rng = _rows()
    calm = np.repeat(rng.random(SESSIONS) < 0.5, SYMBOLS)
    X[:, 4] = np.where(calm, 1.0, -1.0) + 0.1 * rng.standard_normal(len(X))
    y = (np.where(calm, 1.0, -1.0) * X[:, 0] + 0.5 * rng.standard_normal(len(X)) > 0).astype(np.int8)
    assert _right("logistic_l2", X, y, groups) < 0.6
    assert _right("regime_gated", X, y, groups) > 0.75


def test_what_turns_round_with_the_sector_is_learnt_by_the_sectors_experts_alone():
    X, groups, rng = _rows()
    groups["sector"] = groups["symbol"] % 2
    y = (np.where(groups["sector"] == 1, 1.0, -1.0) * X[:, 0] + 0.5 * rng.standard_normal(len(X)) > 0).astype(np.int8)
    assert _right("logistic_l2", X, y, groups) < 0.6
    assert _right("sector_experts", X, y, groups, pooling=100.0) > 0.8
    fitted = get_model("sector_experts").build().fit(X[:TRAIN], y[:TRAIN], groups[:TRAIN])
    groups["sector"] = UNKNOWN  # what holds for all is what is left
    own = np.mean([np.log(p / (1 - p)) for p in (m.predict_proba(X)[:, 1] for m in fitted.combined_.fitted_)], axis=0)
    np.testing.assert_allclose(fitted.predict_proba(X, groups)[:, 1], 1 / (1 + np.exp(-own)))


def test_the_outcome_of_the_other_timeframe_helps_where_the_own_one_is_scarce():
    X, groups, rng = _rows()
    signal = X[:, 0] * X[:, 1] + X[:, 2]
    y = (signal + 3.0 * rng.standard_normal(len(X)) > 0).astype(np.int8)
    groups["other"] = signal > 0
    informed = get_model("two_timeframes").build().fit(X[:TRAIN], y[:TRAIN], groups[:TRAIN]).predict_proba(X[TRAIN:])[:, 1]
    groups["other"] = UNKNOWN
    uninformed = get_model("two_timeframes").build().fit(X[:TRAIN], y[:TRAIN], groups[:TRAIN]).predict_proba(X[TRAIN:])[:, 1]
    assert np.corrcoef(informed, signal[TRAIN:])[0, 1] > np.corrcoef(uninformed, signal[TRAIN:])[0, 1]
