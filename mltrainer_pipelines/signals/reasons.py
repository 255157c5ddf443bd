"""Why a signal is what it is: the features that changed the prediction most, in words and as numbers."""

from functools import lru_cache, partial
from typing import Any

import numpy as np
import polars as pl

from mltrainer_pipelines.contracts.lake_tables import DRIVER, SIGNALS
from mltrainer_pipelines.contracts.ranks import column_percentiles
from mltrainer_pipelines.signals.attributions import contributions
from mltrainer_pipelines.trials.registry.ensemble import ChampionEnsemble, Member, member_rows, member_scores
from mltrainer_pipelines.trials.validation.table import feature_matrix, model_matrix

MOST_DRIVERS = 5
"""How many features a reason names."""


def reasons(ensemble: ChampionEnsemble, features: pl.DataFrame) -> pl.DataFrame:
    """date, symbol, `why` in words and `drivers` as numbers, the strongest first: the features that moved each prediction most.

    `features` (date, symbol and at least the ensemble's features) are of one session: the universe as it is scored.
    """
    names = ensemble.feature_names
    if features.is_empty():
        return pl.DataFrame(schema={name: SIGNALS.schema[name] for name in ("date", "symbol", "why", "drivers")})
    values = feature_matrix(features, names)
    effects = np.zeros(values.shape)
    matrices: dict[tuple[tuple[str, ...], str], np.ndarray] = {}
    for member, weight in _newest_members(ensemble):
        columns = [names.index(name) for name in member.feature_names]
        prepared = member.feature_names, member.normalise
        if prepared not in matrices:
            matrices[prepared] = model_matrix(features, *prepared)
        X = matrices[prepared]
        score = partial(member_scores, member, features=features, history=ensemble.history)
        inputs = member_rows(member, X, features, ensemble.history)
        effects[:, columns] += weight * contributions(member, X, score, inputs)
    strongest = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :MOST_DRIVERS]
    total = np.abs(effects).sum(axis=1)
    percentiles = column_percentiles(values)
    summaries = _summaries(ensemble.champion.feature_set)
    drivers, words = [], []
    for row, columns in enumerate(strongest):
        drivers_of_row = [
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
        drivers.append(drivers_of_row)
        words.append("; ".join(_in_words(driver, summaries) for driver in drivers_of_row) or "no feature changed the prediction")
    return features.select("date", "symbol").with_columns(
        why=pl.Series(words, dtype=pl.String), drivers=pl.Series(drivers, dtype=pl.List(DRIVER))
    )


def _newest_members(ensemble: ChampionEnsemble) -> list[tuple[Member, float]]:
    """One member a trial, its newest fit, with the trial's whole share: refits of a trial say nearly the same."""
    newest: dict[str, Member] = {}
    for member in ensemble.members:
        if member.trial_id not in newest or member.trained_until > newest[member.trial_id].trained_until:
            newest[member.trial_id] = member
    shares = ensemble.weights
    return [(member, shares[trial_id]) for trial_id, member in newest.items() if shares[trial_id] > 0]


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
