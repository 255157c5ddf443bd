"""How much each feature moves a model's score, for any model: predict again with one feature of a row exchanged."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

SHARE = 0.1
"""Rows predicted again for each feature's sake, as a share of all: what the importances may cost of a prediction."""
LEAST_ROWS = 10


def permutation_importance(
    predict: Callable[[np.ndarray], np.ndarray], X: np.ndarray, scores: np.ndarray, names: Sequence[str], seed: int
) -> pl.DataFrame:
    """Mean absolute change of the score when a feature takes its value from another row: feature, importance.

    Permutation importance (Breiman 2001, Random Forests, section 10; Fisher, Rudin & Dominici 2019, JMLR 20(177)) of the
    score itself rather than of a loss: it needs no outcome, so that it is known as soon as the scores are.
    """
    rng = np.random.default_rng(seed)
    features = len(names)
    count = min(len(X), max(LEAST_ROWS, int(SHARE * len(X) / features)))
    chosen, other = rng.integers(0, len(X), (2, count))
    permuted = np.repeat(X[chosen][None], features, axis=0)
    for feature in range(features):
        permuted[feature, :, feature] = X[other, feature]
    changed = predict(permuted.reshape(features * count, X.shape[1])).reshape(features, count)
    return pl.DataFrame({"feature": list(names), "importance": np.abs(changed - scores[chosen]).mean(axis=1)})


def mean_importances(quarters: pl.DataFrame) -> pl.DataFrame:
    """Mean over quarters, the most important feature first: feature, importance."""
    means = quarters.group_by("feature").agg(pl.col("importance").mean())
    return means.sort(["importance", "feature"], descending=[True, False])
