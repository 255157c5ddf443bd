"""What each feature adds to a prediction of a member of the ensemble, in log-odds.

Every member is explained in the way of its family:

- trees: SHAP values (Lundberg et al. 2020, From local explanations to global understanding with explainable AI for trees,
  Nature Machine Intelligence 2) where the library gives them (LightGBM, XGBoost, CatBoost); of other trees Shapley
  values estimated on two orders of the features (Štrumbelj & Kononenko 2014, Explaining prediction models and
  individual predictions with feature contributions, Knowledge and Information Systems 41);
- linear models: coefficient times the scaled feature, less its mean over the market now, where that is all there is to them;
- networks: integrated gradients (Sundararajan, Taly & Yan 2017, Axiomatic attribution for deep networks, ICML) along the
  straight path from the market's median; of single rows with central differences for gradients, of sequences with the
  network's own, every session of the window going from the market's median now to what it was and a feature being given
  what its sessions add together;
- anything else (neighbours, kernels, rules, ensembles of models, the network that reads a whole session, networks that do not
  answer by slopes alone): how the prediction falls when the feature is put back to the market's median. These do not add
  up to the prediction where features work together.

All are in log-odds, so that members add up by their weights. They say what moved the model, not what moves the market.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from mltrainer_pipelines.models.log_odds import logit
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.trials.registry.ensemble import Member

Scorer = Callable[[np.ndarray], np.ndarray]
"""From a matrix of the rows to their probabilities."""
MemberInputs = tuple[np.ndarray, np.ndarray | None, int]
"""What a member is given to score (`ensemble.member_rows`): rows, their groups, and how many of the first are past only."""
_TREES, _LINEAR, _NETWORKS = ("boosting", "boosters", "forests"), ("linear", "regressions", "online"), ("networks",)
_SEQUENCES = ("sequences",)
"""Families of the model registry by the way their members are explained."""
_NOT_EXPLAINED = 0.05
"""Share of the log-odds' deviation that coefficients, or gradients along a path, may leave over."""
_ROWS_AT_ONCE = 20_000
_PATH_STEPS = 4
_WINDOW_STEPS = (16, 32)
"""Points along the path of a window: the fewer where they suffice."""
_DIFFERENCE = 0.01
"""Step of a central difference, as a share of the way from the median to the value."""


def contributions(member: Member, X: np.ndarray, score: Scorer, inputs: MemberInputs | None = None) -> np.ndarray:
    """What each feature adds to a member's log-odds, (rows, features).

    X is its features (`walk_forward.model_matrix`), NaN where unknown; `score` gives the member's own probabilities for such
    a matrix; `inputs` is X after the rows of the past that the member reads, X alone by default.
    """
    estimator: Any = member.estimator
    spec = get_model(member.model)
    if spec.family in _TREES:
        shap = _tree_shap(estimator, X)
        return _sampled_shapley(score, X) if shap is None else _in_log_odds(shap, _log_odds(score, X))
    if spec.family in _LINEAR and (weighted := _weighted_features(estimator, X)) is not None:
        log_odds = _log_odds(score, X)
        shap = _in_log_odds(weighted, log_odds)
        # Only what the coefficients explain wholly is explained by them: some of these families add products of features.
        if (log_odds - shap.sum(axis=1)).std() <= _NOT_EXPLAINED * log_odds.std() + 1e-6:
            return shap
    if spec.family in _NETWORKS and not spec.needs_groups:
        return _integrated_differences(score, X)
    if spec.family in _SEQUENCES and (gradients := _window_gradients(estimator, X, inputs or (X, None, 0))) is not None:
        return gradients
    return _put_back(score, X, stacked=not spec.needs_groups)


def _tree_shap(estimator: object, X: np.ndarray) -> np.ndarray | None:
    """SHAP values in the scale of the trees' own score, of libraries that know them; None of others."""
    inner, rows = _inner(estimator, X)
    booster = getattr(inner, "booster_", None)
    if booster is not None and type(booster).__module__.startswith("lightgbm"):
        values = booster.predict(rows, pred_contrib=True, num_threads=1)
    elif hasattr(inner, "get_booster"):
        import xgboost

        values = inner.get_booster().predict(xgboost.DMatrix(rows), pred_contribs=True)
    elif type(inner).__module__.startswith("catboost"):
        import catboost

        values = inner.get_feature_importance(catboost.Pool(rows), type="ShapValues", thread_count=1)
    else:
        return None
    return np.asarray(values, dtype=np.float64)[:, :-1]


def _weighted_features(estimator: object, X: np.ndarray) -> np.ndarray | None:
    """Coefficient times prepared feature, less its mean over the market now; None where there is not one for each feature."""
    inner, rows = _inner(estimator, X)
    coefficients = getattr(inner, "coef_", None)
    if coefficients is None or np.size(coefficients) != rows.shape[1] or rows.shape[1] != X.shape[1]:
        return None
    scaled = np.ravel(coefficients) * rows.astype(np.float64)
    return np.asarray(scaled - scaled.mean(axis=0))


def _inner(estimator: Any, X: np.ndarray) -> tuple[Any, np.ndarray]:
    """The library's estimator inside one of ours, and the rows as they are prepared for it."""
    if hasattr(estimator, "inner_"):
        return estimator.inner_, estimator.prepared_.transform(X)
    return estimator, estimator.scaler_.transform(X) if hasattr(estimator, "scaler_") else X


def _in_log_odds(effects: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """Contributions to a score on the scale of its log-odds, by one factor."""
    total = effects.sum(axis=1)
    spread = float(((total - total.mean()) ** 2).sum())
    if spread <= 0.0:
        return effects
    return effects * (float(((total - total.mean()) * (log_odds - log_odds.mean())).sum()) / spread)


def _log_odds_of_copies(score: Scorer, copies: np.ndarray, stacked: bool = True) -> np.ndarray:
    """Log-odds of several versions of the market, (copies, rows, features) to (copies, rows).

    Several at a time, but for models that look at other rows too: these are given one version after the other.
    """
    count, rows, width = copies.shape
    at_once = max(1, _ROWS_AT_ONCE // max(rows, 1)) if stacked else 1
    parts = [
        _log_odds(score, copies[first : first + at_once].reshape(-1, width)).reshape(-1, rows)
        for first in range(0, count, at_once)
    ]
    return np.vstack(parts)


def _log_odds(score: Scorer, X: np.ndarray) -> np.ndarray:
    return logit(score(X), 1e-6).astype(np.float64)


def _median(X: np.ndarray) -> np.ndarray:
    has_value = np.isfinite(X).any(axis=0)
    median = np.zeros(X.shape[1], dtype=X.dtype)
    median[has_value] = np.nanmedian(X[:, has_value], axis=0)
    return median


def _integrated_differences(score: Scorer, X: np.ndarray) -> np.ndarray:
    base = _median(X)
    filled = np.where(np.isnan(X), base, X)
    direction = filled - base
    slopes = np.zeros(X.shape)
    columns = np.arange(X.shape[1])
    for step in range(_PATH_STEPS):
        point = base + (step + 0.5) / _PATH_STEPS * direction
        for side in (1.0, -1.0):
            moved = np.repeat(point[None], len(columns), axis=0)
            moved[columns, :, columns] += side * _DIFFERENCE * direction.T
            slopes += side * _log_odds_of_copies(score, moved).T
    return slopes / (2 * _DIFFERENCE * _PATH_STEPS)


def _window_gradients(estimator: Any, X: np.ndarray, inputs: MemberInputs) -> np.ndarray | None:
    """Integrated gradients over each row's window; None where they do not add up to how far the windows move the log-odds.

    That is so of networks that count: a count has no slope, though it changes.
    """
    rows, groups, n_context = inputs
    base = np.where(np.isfinite(X).any(axis=0), _median(X), np.nan)
    windows = np.broadcast_to(base, rows.shape)
    log_odds, before = (_log_odds(lambda of: estimator.predict_proba(of, groups, n_context)[:, 1], of) for of in (rows, windows))
    moved = log_odds - before
    allowed = _NOT_EXPLAINED * np.sqrt((moved**2).mean()) + 1e-6
    for steps in _WINDOW_STEPS:
        attributions = np.asarray(estimator.attributions(rows, base, groups, n_context, steps))
        left_over = np.sqrt(((moved - attributions.sum(axis=1)) ** 2).mean())
        if left_over <= allowed:
            return attributions
        if left_over > 4 * allowed:  # more steps halve it at best
            break
    return None


def _sampled_shapley(score: Scorer, X: np.ndarray) -> np.ndarray:
    """Shapley values against the market's median, estimated on one random order of the features and its reverse."""
    base = _median(X)
    order = np.random.default_rng(0).permutation(X.shape[1])
    shapley = np.zeros(X.shape)
    for path in (order, order[::-1]):
        steps = np.repeat(np.broadcast_to(base, X.shape)[None].astype(X.dtype), len(path) + 1, axis=0)
        for number, column in enumerate(path, start=1):
            steps[number:, :, column] = X[:, column]
        log_odds = _log_odds_of_copies(score, steps)
        shapley[:, path] += np.diff(log_odds, axis=0).T / 2
    return shapley


def _put_back(score: Scorer, X: np.ndarray, stacked: bool) -> np.ndarray:
    columns = np.arange(X.shape[1])
    without = np.repeat(X[None], len(columns), axis=0)
    without[columns, :, columns] = _median(X)[:, None]
    return np.transpose(_log_odds(score, X) - _log_odds_of_copies(score, without, stacked))
