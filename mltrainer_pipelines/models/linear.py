"""Linear models: log-odds of a profit as a weighted sum of clipped, scaled features."""

import numpy as np

from mltrainer_pipelines.models.estimator import ProbabilityClassifier
from mltrainer_pipelines.models.panel import canonical_order, subsample
from mltrainer_pipelines.models.spec import ModelSpec, Range

SCALING_ROWS = 5_000
"""Rows, drawn once and for all, that quantiles, means and deviations are learnt from; means are off by 0.014 deviations."""


class TailClipScaler:
    """Fill with the median, clip at two quantiles, then centre and scale: all learnt from the rows given to `fit_transform`.

    Market features have heavy tails; one crash day would otherwise set the scale of a column. A column
    without any value, or with one value only, becomes zero.
    """

    def __init__(self, tail: float = 0.01):
        self.tail = tail

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        """Learn from X (rows, features) and return it scaled, (rows, features) float32."""
        columns = np.sort((X[subsample(len(X), SCALING_ROWS)] if len(X) > SCALING_ROWS else X).T, axis=1)  # NaN sorts last
        unknown = np.isnan(columns)
        known = columns.shape[1] - unknown.sum(axis=1)
        last, at = np.maximum(known - 1, 0), np.arange(len(columns))

        def quantile(share: float) -> np.ndarray:
            return np.where(known > 0, columns[at, np.rint(last * share).astype(np.int64)], np.float32(0.0))

        self.low_, median, self.high_ = quantile(self.tail), quantile(0.5), quantile(1.0 - self.tail)
        clipped = np.clip(np.where(unknown, median[:, None], columns), self.low_[:, None], self.high_[:, None])
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
        unknown = np.isnan(scaled)
        if unknown.any():
            np.copyto(scaled, self.unknown_, where=unknown)
        return scaled


class LogisticL2(ProbabilityClassifier):
    """L2-penalized logistic regression on median-filled, tail-clipped, scaled features.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty: the mean log loss of a row plus |w|² / 2C is minimized, so that it means the same
        for any number of rows. The default is strong: labels of neighbouring sessions and symbols are few events seen often.
    tail : float
        Share of each column's values clipped at either end.
    threads : int
        Unused by the solver beyond what BLAS takes; kept so that all estimators are built alike.
    """

    def __init__(self, C: float = 2.5, tail: float = 0.01, threads: int = 1):
        self.C = C
        self.tail = tail
        self.threads = threads

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        order = canonical_order(X, y, groups)
        if order is not None:
            X, y = X[order], y[order]
        self.scaler_ = TailClipScaler(self.tail)
        # Newton's method: a handful of steps, each one Gram matrix, where rows outnumber features by far.
        regression = LogisticRegression(C=self.C / len(X), solver="newton-cholesky", max_iter=50, tol=1e-6)
        with threadpool_limits(self.threads):
            regression.fit(self.scaler_.fit_transform(X), y)
        self.coef_ = regression.coef_[0].astype(np.float64)
        self.intercept_ = float(regression.intercept_[0])

    def _positive(self, X: np.ndarray) -> np.ndarray:
        # einsum sums every row alone: a row's probability does not depend on which rows it is asked with, as BLAS's would
        log_odds = np.einsum("ij,j->i", self.scaler_.transform(X).astype(np.float64), self.coef_) + self.intercept_
        return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -500.0, 500.0)))


MODELS = (
    ModelSpec(
        id="logistic_l2",
        family="linear",
        core=True,
        source="https://scikit-learn.org/stable/modules/linear_model.html#logistic-regression",
        summary="steady, fast and hard to overfit: the yardstick that every other model has to beat",
        cost="fast",
        gpu=False,
        handles_missing=False,
        search_space={
            "C": Range(1e-5, 1e4, default=2.5, log=True),
            "tail": Range(0.0, 0.05, default=0.01),
        },
        builder=lambda params, seed, threads: LogisticL2(**params, threads=threads),
    ),
)
