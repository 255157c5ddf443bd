"""How rows are prepared for a method: as they are, unknown values filled, or scaled as well; learnt from training rows alone."""

import numpy as np

from mltrainer_pipelines.models.panel import subsample

SCALING_ROWS = 5_000
"""Rows, sampled once and for all, that quantiles, means and deviations are learnt from; means are off by 0.014 deviations."""


class TailClipScaler:
    """Fill with the median, clip at two quantiles, then centre and scale: all learnt from the rows given to `fit_transform`.

    Market features have heavy tails; one crash day would otherwise set the scale of a column. A column
    without any value, or with one value only, becomes zero.
    """

    def __init__(self, tail: float = 0.01):
        self.tail = tail

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        """Learn from X (rows, features) and return it scaled, (rows, features) float32."""
        columns = _sorted_columns(X)
        missing = np.isnan(columns)
        counts = columns.shape[1] - missing.sum(axis=1)
        last, at = np.maximum(counts - 1, 0), np.arange(len(columns))

        def quantile(share: float) -> np.ndarray:
            return np.where(counts > 0, columns[at, np.rint(last * share).astype(np.int64)], np.float32(0.0))

        self.low_, median, self.high_ = quantile(self.tail), quantile(0.5), quantile(1.0 - self.tail)
        clipped = np.clip(np.where(missing, median[:, None], columns), self.low_[:, None], self.high_[:, None])
        self.mean_ = clipped.mean(axis=1, dtype=np.float64).astype(np.float32)
        scale = clipped.std(axis=1, dtype=np.float64)
        self.scale_ = np.where(scale > 1e-12, scale, 1.0).astype(np.float32)
        self.unknown_ = (median - self.mean_) / self.scale_
        return self.transform(X)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """X scaled by what `fit_transform` learnt, (rows, features) float32."""
        scaled = np.clip(np.asarray(X, dtype=np.float32), self.low_, self.high_)
        scaled -= self.mean_
        scaled /= self.scale_
        missing = np.isnan(scaled)
        if missing.any():
            np.copyto(scaled, self.unknown_, where=missing)
        return scaled


class RowsAsTheyAre:
    """Rows as they are; only a column without any known value becomes 0, which no library has to survive then."""

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        self.empty_ = np.flatnonzero(np.isnan(X).all(axis=0))
        return self.transform(X)

    def transform(self, X: np.ndarray) -> np.ndarray:
        X = np.ascontiguousarray(X, dtype=np.float32)
        if len(self.empty_):
            X = X.copy()
            X[:, self.empty_] = 0.0
        return X


class MedianFill:
    """Unknown values replaced by their column's median among the training rows, 0 where a column has none."""

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        columns = _sorted_columns(X)
        counts = columns.shape[1] - np.isnan(columns).sum(axis=1)
        middle = columns[np.arange(len(columns)), np.maximum(counts - 1, 0) // 2]
        self.median_ = np.where(counts > 0, middle, 0.0).astype(np.float32)
        return self.transform(X)

    def transform(self, X: np.ndarray) -> np.ndarray:
        X = np.ascontiguousarray(X, dtype=np.float32)
        missing = np.isnan(X)
        if not missing.any():
            return X
        filled = X.copy()
        np.copyto(filled, self.median_, where=missing)
        return filled


def _sorted_columns(X: np.ndarray) -> np.ndarray:
    """Each column of the rows that quantiles are learnt from, ascending, NaN last: (features, rows)."""
    return np.sort((X[subsample(len(X), SCALING_ROWS)] if len(X) > SCALING_ROWS else X).T, axis=1)
