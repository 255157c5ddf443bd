"""Linear models: log-odds of a profit as a weighted sum of clipped, scaled features."""

from typing import Any

import numpy as np

from mltrainer_pipelines.models.estimator import ProbabilityClassifier
from mltrainer_pipelines.models.spec import ModelSpec, Range


class TailClipScaler:
    """Fill with the median, clip at two quantiles, then centre and scale: all learnt from the rows given to `fit`.

    Market features have heavy tails; one crash day would otherwise set the scale of a column. A column
    without any value, or with one value only, becomes zero.
    """

    def __init__(self, tail: float = 0.01):
        self.tail = tail

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        """Learn from X (rows, features) and return it scaled, (rows, features) float64."""
        columns = np.sort(X, axis=0)  # NaN sorts last
        known = len(X) - np.isnan(columns).sum(axis=0)
        last = np.maximum(known - 1, 0)
        spread = np.arange(X.shape[1])

        def quantile(share: float) -> np.ndarray:
            return np.where(known > 0, columns[np.rint(last * share).astype(np.int64), spread], 0.0).astype(np.float64)

        self.low_, self.median_, self.high_ = quantile(self.tail), quantile(0.5), quantile(1.0 - self.tail)
        self.mean_ = np.zeros(X.shape[1])
        self.scale_ = np.ones(X.shape[1])
        clipped = self.transform(X)
        self.mean_ = clipped.mean(axis=0)
        scale = clipped.std(axis=0)
        self.scale_ = np.where(scale > 1e-12, scale, 1.0)
        clipped -= self.mean_
        clipped /= self.scale_
        return clipped

    def transform(self, X: np.ndarray) -> np.ndarray:
        """X scaled by what `fit_transform` learnt, (rows, features) float64."""
        filled = X.astype(np.float64)
        np.copyto(filled, self.median_, where=np.isnan(filled))
        np.clip(filled, self.low_, self.high_, out=filled)
        filled -= self.mean_
        filled /= self.scale_
        return filled


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

        self.scaler_ = TailClipScaler(self.tail)
        # Newton's method: a handful of steps, each one Gram matrix, where rows outnumber features by far.
        regression = LogisticRegression(C=self.C / len(X), solver="newton-cholesky", max_iter=50, tol=1e-6)
        with threadpool_limits(self.threads):
            regression.fit(self.scaler_.fit_transform(X), y)
        self.coef_ = regression.coef_[0]
        self.intercept_ = float(regression.intercept_[0])

    def _positive(self, X: np.ndarray) -> np.ndarray:
        # einsum sums every row alone: a row's probability does not depend on which rows it is asked with, as BLAS's would
        log_odds = np.einsum("ij,j->i", self.scaler_.transform(X), self.coef_) + self.intercept_
        return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -500.0, 500.0)))


def _logistic_l2(params: Any, seed: int, threads: int) -> LogisticL2:
    return LogisticL2(C=params["C"], tail=params["tail"], threads=threads)


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
        builder=_logistic_l2,
    ),
)
