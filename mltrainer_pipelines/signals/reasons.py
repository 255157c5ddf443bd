"""Why a signal is what it is: the features that moved the prediction most, in words.

Every member of the ensemble is asked in the way of its family:

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
from functools import lru_cache, partial
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.lake_tables import DRIVER
from mltrainer_pipelines.contracts.ranks import column_percentiles
from mltrainer_pipelines.models.registry import get_model
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble, Member, member_rows, member_scores
from mltrainer_pipelines.trials.validation.walk_forward import feature_matrix, model_matrix

SHOWN = 5
"""How many features a reason names."""
REASON_SCHEMA: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "symbol": pl.String(),
    "why": pl.String(),
    "drivers": pl.List(DRIVER),
}
Asked = Callable[[np.ndarray], np.ndarray]
"""From a matrix of the rows to their probabilities."""
Given = tuple[np.ndarray, np.ndarray | None, int]
"""What a member is given to score (`ensemble.member_rows`): rows, their groups, and how many of the first are past only."""
_TREES, _LINEAR, _NETWORKS = ("boosting", "boosters", "forests"), ("linear", "regressions", "online"), ("networks",)
_SEQUENCES = ("sequences",)
"""Families of the catalogue by the way they are asked."""
_NOT_EXPLAINED = 0.05
"""Share of the log-odds' deviation that coefficients, or gradients along a path, may leave over."""
_ROWS_AT_ONCE = 20_000
_PATH_STEPS = 4
_WINDOW_STEPS = (16, 32)
"""Points along the path of a window: the fewer where they suffice."""
_DIFFERENCE = 0.01
"""Step of a central difference, as a share of the way from the median to the value."""


def reasons(ensemble: ChampionEnsemble, features: pl.DataFrame) -> pl.DataFrame:
    """The features that moved each row's prediction most.

    Parameters
    ----------
    ensemble : ChampionEnsemble
    features : DataFrame
        date, symbol and at least the ensemble's features, of one session: the universe as it is scored.

    Returns
    -------
    DataFrame
        `REASON_SCHEMA`, a row for each one given: `why` in words, `drivers` as numbers, the strongest first.
    """
    names = ensemble.feature_names
    if features.is_empty():
        return pl.DataFrame(schema=REASON_SCHEMA)
    values = feature_matrix(features, names)
    effects = np.zeros(values.shape)
    matrices: dict[tuple[tuple[str, ...], str], np.ndarray] = {}
    for member, weight in _voices(ensemble):
        columns = [names.index(name) for name in member.feature_names]
        prepared = member.feature_names, member.normalise
        if prepared not in matrices:
            matrices[prepared] = model_matrix(features, *prepared)
        X = matrices[prepared]
        asked = partial(member_scores, member, features=features, history=ensemble.history)
        given = member_rows(member, X, features, ensemble.history)
        effects[:, columns] += weight * contributions(member, X, asked, given)
    strongest = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :SHOWN]
    total = np.abs(effects).sum(axis=1)
    percentiles = column_percentiles(values)
    summaries = _summaries(ensemble.champion.feature_set)
    drivers, words = [], []
    for row, columns in enumerate(strongest):
        found = [
            {
                "feature": names[column],
                "value": _number(values[row, column]),
                "percentile": _number(percentiles[row, column]),
                "effect": float(effects[row, column]),
                "share": float(abs(effects[row, column]) / total[row]),
            }
            for column in columns
            if effects[row, column] != 0.0
        ]
        drivers.append(found)
        words.append("; ".join(_in_words(driver, summaries) for driver in found) or "no feature changed the prediction")
    return features.select("date", "symbol").with_columns(
        why=pl.Series(words, dtype=pl.String), drivers=pl.Series(drivers, dtype=pl.List(DRIVER))
    )


def contributions(member: Member, X: np.ndarray, asked: Asked, given: Given | None = None) -> np.ndarray:
    """What each feature adds to a member's log-odds.

    Parameters
    ----------
    member : Member
    X : (rows, features) float32 array
        What it is given (`walk_forward.model_matrix`): its features, NaN where unknown.
    asked : callable
        The member's own probabilities for such a matrix (`ensemble.member_scores`).
    given : tuple, optional
        X after the rows of the past that the member reads; X alone by default.

    Returns
    -------
    (rows, features) float64 array
    """
    estimator: Any = member.estimator
    spec = get_model(member.model)
    if spec.family in _TREES:
        found = _tree_shap(estimator, X)
        return _sampled_shapley(asked, X) if found is None else _in_log_odds(found, _log_odds(asked, X))
    if spec.family in _LINEAR and (weighted := _weighted_features(estimator, X)) is not None:
        said = _log_odds(asked, X)
        found = _in_log_odds(weighted, said)
        # Only what the coefficients explain wholly is told by them: some of these families add products of features.
        if (said - found.sum(axis=1)).std() <= _NOT_EXPLAINED * said.std() + 1e-6:
            return found
    if spec.family in _NETWORKS and not spec.needs_groups:
        return _integrated_differences(asked, X)
    if spec.family in _SEQUENCES and (gradients := _window_gradients(estimator, X, given or (X, None, 0))) is not None:
        return gradients
    return _put_back(asked, X, together=not spec.needs_groups)


def _voices(ensemble: ChampionEnsemble) -> list[tuple[Member, float]]:
    """One member a trial, its newest fit, with the trial's whole share: refits of a trial say nearly the same."""
    newest: dict[str, Member] = {}
    for member in ensemble.members:
        if member.trial_id not in newest or member.trained_until > newest[member.trial_id].trained_until:
            newest[member.trial_id] = member
    shares = ensemble.weights
    return [(member, shares[trial_id]) for trial_id, member in newest.items() if shares[trial_id] > 0]


def _tree_shap(estimator: Any, X: np.ndarray) -> np.ndarray | None:
    """SHAP values in the scale of the trees' own score, of libraries that know them; None of others."""
    inner, given = _inner(estimator, X)
    booster = getattr(inner, "booster_", None)
    if booster is not None and type(booster).__module__.startswith("lightgbm"):
        return np.asarray(booster.predict(given, pred_contrib=True, num_threads=1), dtype=np.float64)[:, :-1]
    if hasattr(inner, "get_booster"):
        import xgboost

        told = inner.get_booster().predict(xgboost.DMatrix(given), pred_contribs=True)
        return np.asarray(told, dtype=np.float64)[:, :-1]
    if type(inner).__module__.startswith("catboost"):
        import catboost

        told = inner.get_feature_importance(catboost.Pool(given), type="ShapValues", thread_count=1)
        return np.asarray(told, dtype=np.float64)[:, :-1]
    return None


def _weighted_features(estimator: Any, X: np.ndarray) -> np.ndarray | None:
    """Coefficient times prepared feature, less its mean over the market now; None where there is not one for each feature."""
    inner, given = _inner(estimator, X)
    coefficients = getattr(inner, "coef_", None)
    if coefficients is None or np.size(coefficients) != given.shape[1] or given.shape[1] != X.shape[1]:
        return None
    scaled = np.ravel(coefficients) * given.astype(np.float64)
    return np.asarray(scaled - scaled.mean(axis=0))


def _inner(estimator: Any, X: np.ndarray) -> tuple[Any, np.ndarray]:
    """The library's estimator inside one of ours, and the rows as they are prepared for it."""
    if hasattr(estimator, "inner_"):
        return estimator.inner_, estimator.prepared_.transform(X)
    return estimator, estimator.scaler_.transform(X) if hasattr(estimator, "scaler_") else X


def _in_log_odds(found: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Contributions to a score put on the scale of the log-odds that became of it, by one factor; 1 where it is one."""
    total = found.sum(axis=1)
    spread = float(((total - total.mean()) ** 2).sum())
    if spread <= 0.0:
        return found
    return found * (float(((total - total.mean()) * (said - said.mean())).sum()) / spread)


def _told(asked: Asked, copies: np.ndarray, together: bool = True) -> np.ndarray:
    """Log-odds of several versions of the market, (copies, rows, features) to (copies, rows).

    Several at a time, but for models that look at other rows too: these are given one version after the other.
    """
    count, rows, width = copies.shape
    at_once = max(1, _ROWS_AT_ONCE // max(rows, 1)) if together else 1
    parts = [
        _log_odds(asked, copies[first : first + at_once].reshape(-1, width)).reshape(-1, rows)
        for first in range(0, count, at_once)
    ]
    return np.vstack(parts)


def _log_odds(asked: Asked, X: np.ndarray) -> np.ndarray:
    probability = np.clip(asked(X), 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(probability / (1.0 - probability)), dtype=np.float64)


def _median(X: np.ndarray) -> np.ndarray:
    known = np.isfinite(X).any(axis=0)
    median = np.zeros(X.shape[1], dtype=X.dtype)
    median[known] = np.nanmedian(X[:, known], axis=0)
    return median


def _integrated_differences(asked: Asked, X: np.ndarray) -> np.ndarray:
    base = _median(X)
    filled = np.where(np.isnan(X), base, X)
    way = filled - base
    found = np.zeros(X.shape)
    columns = np.arange(X.shape[1])
    for step in range(_PATH_STEPS):
        point = base + (step + 0.5) / _PATH_STEPS * way
        for side in (1.0, -1.0):
            moved = np.repeat(point[None], len(columns), axis=0)
            moved[columns, :, columns] += side * _DIFFERENCE * way.T
            found += side * _told(asked, moved).T
    return found / (2 * _DIFFERENCE * _PATH_STEPS)


def _window_gradients(estimator: Any, X: np.ndarray, given: Given) -> np.ndarray | None:
    """Integrated gradients over each row's window; None where they do not add up to how far the windows move the log-odds.

    That is so of networks that count: a count has no slope, though it changes.
    """
    rows, groups, n_context = given
    base = np.where(np.isfinite(X).any(axis=0), _median(X), np.nan)
    windows = np.broadcast_to(base, rows.shape)
    said, before = (_log_odds(lambda of: estimator.predict_proba(of, groups, n_context)[:, 1], of) for of in (rows, windows))
    moved = said - before
    allowed = _NOT_EXPLAINED * np.sqrt((moved**2).mean()) + 1e-6
    for steps in _WINDOW_STEPS:
        found = np.asarray(estimator.attributions(rows, base, groups, n_context, steps))
        left_over = np.sqrt(((moved - found.sum(axis=1)) ** 2).mean())
        if left_over <= allowed:
            return found
        if left_over > 4 * allowed:  # more steps halve it at best
            break
    return None


def _sampled_shapley(asked: Asked, X: np.ndarray) -> np.ndarray:
    """Shapley values against the market's median, estimated on one random order of the features and its reverse."""
    base = _median(X)
    order = np.random.default_rng(0).permutation(X.shape[1])
    found = np.zeros(X.shape)
    for path in (order, order[::-1]):
        steps = np.repeat(np.broadcast_to(base, X.shape)[None].astype(X.dtype), len(path) + 1, axis=0)
        for number, column in enumerate(path, start=1):
            steps[number:, :, column] = X[:, column]
        said = _told(asked, steps)
        found[:, path] += np.diff(said, axis=0).T / 2
    return found


def _put_back(asked: Asked, X: np.ndarray, together: bool) -> np.ndarray:
    columns = np.arange(X.shape[1])
    without = np.repeat(X[None], len(columns), axis=0)
    without[columns, :, columns] = _median(X)[:, None]
    return np.transpose(_log_odds(asked, X) - _told(asked, without, together))


@lru_cache(maxsize=8)
def _summaries(feature_set: str) -> dict[str, str]:
    from mltrainer_pipelines.features.registry import get_feature_set

    return {feature.name: feature.summary for feature in get_feature_set(feature_set).features}


def _in_words(driver: dict[str, Any], summaries: dict[str, str]) -> str:
    what = summaries.get(driver["feature"], driver["feature"])
    place = "unknown" if driver["percentile"] is None else f"higher than {driver['percentile']:.0%} of the universe"
    return f"{what}: {place}, which {'raises' if driver['effect'] > 0 else 'lowers'} the chance of profit"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
