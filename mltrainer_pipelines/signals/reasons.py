"""Why a signal is what it is: the features that moved the prediction most, in words.

Every member of the ensemble is asked in the way that is exact for it:

- trees (LightGBM, XGBoost): SHAP values (Lundberg et al. 2020, From local explanations to global understanding with
  explainable AI for trees, Nature Machine Intelligence 2);
- linear models: coefficient times the scaled feature, less its mean over the market now;
- networks: integrated gradients (Sundararajan, Taly & Yan 2017, Axiomatic attribution for deep networks, ICML) along the
  straight path from the market's median, with central differences for gradients;
- anything else: how the prediction falls when the feature is put back to the market's median.

All are in log-odds, so that members add up by their weights. They say what moved the model, not what moves the market.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.trials.ensemble import ChampionEnsemble, Member
from mltrainer_pipelines.trials.walk_forward import feature_matrix, model_matrix

SHOWN = 5
"""How many features a reason names."""
DRIVER: pl.DataType = pl.Struct(
    {"feature": pl.String(), "value": pl.Float64(), "percentile": pl.Float64(), "effect": pl.Float64(), "share": pl.Float64()}
)
"""One feature behind a signal: its value, its percentile in the universe now (0 to 1), its effect on the log-odds, and the
share of all features' effects that it is."""
REASON_SCHEMA: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "symbol": pl.String(),
    "why": pl.String(),
    "drivers": pl.List(DRIVER),
}
_PATH_STEPS = 4
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
        given = member.feature_names, member.normalise
        if given not in matrices:
            matrices[given] = model_matrix(features, *given)
        effects[:, columns] += weight * contributions(member, matrices[given])
    strongest = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :SHOWN]
    total = np.abs(effects).sum(axis=1)
    percentiles = _percentiles(values)
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
        words.append("; ".join(_worded(driver, summaries) for driver in found) or "no feature moved the prediction")
    return features.select("date", "symbol").with_columns(
        why=pl.Series(words, dtype=pl.String), drivers=pl.Series(drivers, dtype=pl.List(DRIVER))
    )


def contributions(member: Member, X: np.ndarray) -> np.ndarray:
    """What each feature adds to a member's log-odds.

    Parameters
    ----------
    member : Member
    X : (rows, features) float32 array
        What it is given (`walk_forward.model_matrix`): its features, NaN where unknown.

    Returns
    -------
    (rows, features) float64 array
    """
    estimator: Any = member.estimator
    booster = getattr(estimator, "booster_", None)
    if booster is not None and type(booster).__module__.startswith("lightgbm"):
        return np.asarray(booster.predict(X, pred_contrib=True, num_threads=1), dtype=np.float64)[:, :-1]
    if booster is not None and type(booster).__module__.startswith("xgboost"):
        import xgboost

        return np.asarray(booster.predict(xgboost.DMatrix(X), pred_contribs=True), dtype=np.float64)[:, :-1]
    coefficients = getattr(estimator, "coef_", None)
    if coefficients is not None and hasattr(estimator, "scaler_") and np.size(coefficients) == X.shape[1]:
        scaled = np.ravel(coefficients) * estimator.scaler_.transform(X)
        return np.asarray(scaled - scaled.mean(axis=0))
    if _is_network(estimator):
        return _integrated_differences(estimator, X)
    return _put_back(estimator, X)


def _voices(ensemble: ChampionEnsemble) -> list[tuple[Member, float]]:
    """One member a trial, its newest fit, with the trial's whole share: refits of a trial say nearly the same."""
    newest: dict[str, Member] = {}
    for member in ensemble.members:
        if member.trial_id not in newest or member.trained_until > newest[member.trial_id].trained_until:
            newest[member.trial_id] = member
    shares = ensemble.weights
    return [(member, shares[trial_id]) for trial_id, member in newest.items() if shares[trial_id] > 0]


def _is_network(estimator: Any) -> bool:
    return any(
        type(part).__module__.startswith("torch") or type(part).__name__.startswith("MLP") for part in vars(estimator).values()
    )


def _log_odds(estimator: Any, X: np.ndarray) -> np.ndarray:
    probability = np.clip(estimator.predict_proba(X)[:, 1], 1e-6, 1.0 - 1e-6)
    return np.log(probability / (1.0 - probability))


def _median(X: np.ndarray) -> np.ndarray:
    known = np.isfinite(X).any(axis=0)
    median = np.zeros(X.shape[1], dtype=X.dtype)
    median[known] = np.nanmedian(X[:, known], axis=0)
    return median


def _integrated_differences(estimator: Any, X: np.ndarray) -> np.ndarray:
    base = _median(X)
    filled = np.where(np.isnan(X), base, X)
    way = filled - base
    found = np.zeros(X.shape)
    for step in range(_PATH_STEPS):
        point = base + (step + 0.5) / _PATH_STEPS * way
        for column in range(X.shape[1]):
            ahead, behind = point.copy(), point.copy()
            ahead[:, column] += _DIFFERENCE * way[:, column]
            behind[:, column] -= _DIFFERENCE * way[:, column]
            found[:, column] += _log_odds(estimator, ahead) - _log_odds(estimator, behind)
    return found / (2 * _DIFFERENCE * _PATH_STEPS)


def _put_back(estimator: Any, X: np.ndarray) -> np.ndarray:
    base, now = _median(X), _log_odds(estimator, X)
    found = np.empty(X.shape)
    for column in range(X.shape[1]):
        without = X.copy()
        without[:, column] = base[column]
        found[:, column] = now - _log_odds(estimator, without)
    return found


def _percentiles(values: np.ndarray) -> np.ndarray:
    """Share of the rows' known values below each one, ties counting half; NaN where unknown."""
    ranks = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        known = np.sort(values[:, column][~np.isnan(values[:, column])])
        if len(known):
            below = np.searchsorted(known, values[:, column], side="left")
            upto = np.searchsorted(known, values[:, column], side="right")
            ranks[:, column] = (below + upto) / (2 * len(known))
    return np.where(np.isnan(values), np.nan, ranks)


@lru_cache(maxsize=8)
def _summaries(feature_set: str) -> dict[str, str]:
    from mltrainer_pipelines.features.engine import get_feature_set

    return {feature.name: feature.summary for feature in get_feature_set(feature_set).features}


def _worded(driver: dict[str, Any], summaries: dict[str, str]) -> str:
    what = summaries.get(driver["feature"], driver["feature"])
    value = "is unknown" if driver["value"] is None else f"is {driver['value']:.3g}"
    place = "" if driver["percentile"] is None else f", above {driver['percentile']:.0%} of the universe"
    side = "for" if driver["effect"] > 0 else "against"
    return (
        f"{what} ({driver['feature']}) {value}{place}: speaks {side} a profit, {driver['share']:.0%} of all that moved the score"
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
