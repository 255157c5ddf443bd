"""Linear models: log-odds of a profit as a weighted sum of clipped, scaled features."""

import numpy as np

from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import ProbabilityClassifier
from mltrainer_pipelines.models.libraries import sklearn, threadpoolctl
from mltrainer_pipelines.models.log_odds import expit
from mltrainer_pipelines.models.panel import in_canonical_order
from mltrainer_pipelines.models.scaling import TailClipScaler
from mltrainer_pipelines.models.spec import ModelSpec, Range


class LogisticL2(ProbabilityClassifier):
    """L2-penalized logistic regression on median-filled features, scaled and clipped at either `tail`.

    The mean log loss of a row plus |w|² / 2C is minimized, so that C means the same for any number of rows. The default penalty
    is strong: labels of neighbouring sessions and symbols are few events seen often.
    """

    def __init__(self, C: float = 2.5, tail: float = 0.01, threads: int = 1):
        self.C, self.tail, self.threads = C, tail, threads

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        X, y, _ = in_canonical_order(X, y, groups)
        self.scaler_ = TailClipScaler(self.tail)
        # Newton's method: a handful of steps, each one Gram matrix, where rows outnumber features by far.
        regression = sklearn.linear_model.LogisticRegression(C=self.C / len(X), solver="newton-cholesky", max_iter=50, tol=1e-6)
        with threadpoolctl.threadpool_limits(self.threads):
            regression.fit(self.scaler_.fit_transform(X), y)
        self.coef_ = regression.coef_[0].astype(np.float64)
        self.intercept_ = float(regression.intercept_[0])

    def _positive(self, X: np.ndarray) -> np.ndarray:
        # einsum sums every row alone: a row's probability does not depend on which rows it is asked with, as BLAS's would
        log_odds = np.einsum("ij,j->i", self.scaler_.transform(X).astype(np.float64), self.coef_) + self.intercept_
        return expit(log_odds)


MODELS = (
    ModelSpec(
        id="logistic_l2", family="linear", core=True, cost=cost_of("logistic_l2"),
        source="https://scikit-learn.org/stable/modules/linear_model.html#logistic-regression",
        summary="steady, fast and hard to overfit: the yardstick that every other model has to beat",
        search_space={"C": Range(1e-5, 1e4, default=2.5, log=True), "tail": Range(0.0, 0.05, default=0.01)},
        builder=lambda params, seed, threads: LogisticL2(**params, threads=threads),
    ),
)  # fmt: skip
