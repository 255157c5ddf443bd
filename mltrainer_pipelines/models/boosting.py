"""Gradient-boosted trees."""

from typing import Any

import numpy as np

from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import ProbabilityClassifier
from mltrainer_pipelines.models.libraries import lightgbm
from mltrainer_pipelines.models.spec import ModelSpec, Range


def booster_params(seed: int, threads: int, **options: object) -> dict[str, Any]:
    """LightGBM's parameters for the binary log loss, deterministic for a seed, without its remarks."""
    always = {"objective": "binary", "deterministic": True, "force_col_wise": True, "verbose": -1}
    return always | {"seed": seed, "num_threads": threads} | options


class LightGBM(ProbabilityClassifier):
    """LightGBM with the binary log loss, deterministic for a seed; missing values are left to the trees.

    Its parameters are LightGBM's. Leaves hold many rows: labels of neighbouring sessions overlap, so that small ones learn copies
    of one event.
    """

    def __init__(
        self,
        rounds: int = 60,
        learning_rate: float = 0.05,
        num_leaves: int = 8,
        min_data_in_leaf: int = 2000,
        feature_fraction: float = 0.2,
        lambda_l2: float = 300.0,
        max_bin: int = 31,
        seed: int = 0,
        threads: int = 1,
    ):
        self.rounds, self.learning_rate, self.num_leaves = rounds, learning_rate, num_leaves
        self.min_data_in_leaf, self.feature_fraction, self.lambda_l2 = min_data_in_leaf, feature_fraction, lambda_l2
        self.max_bin, self.seed, self.threads = max_bin, seed, threads

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        params = self._params(len(X))
        data = lightgbm.Dataset(X, np.asarray(y, dtype=np.float32), params=params, free_raw_data=True)
        self.booster_ = lightgbm.train(params, data, self.rounds)

    def binned(self, X: np.ndarray, first: slice | np.ndarray) -> Any:
        """The rows of a table in bins for `fit_binned`, cut by what the rows `first` hold and by nothing else."""
        # leaves are as large as each window's own number of rows allows, so no feature is left out for the first one's
        params = self._params(len(X)) | {"feature_pre_filter": False}
        cut = lightgbm.Dataset(X[first], params=params, free_raw_data=True).construct()
        return lightgbm.Dataset(X, np.zeros(len(X), dtype=np.float32), reference=cut, params=params).construct()

    def fit_binned(self, binned: Any, rows: np.ndarray, y: np.ndarray) -> "LightGBM":
        """Fit on some rows of a table that is in bins already, without copying it: as `fit` on these rows, but for the bins."""
        params = self._params(len(rows)) | {"feature_pre_filter": False}
        data = binned.subset(np.sort(rows), params=params).construct()
        data.set_label(np.asarray(y, dtype=np.float32))
        self.classes_, self.n_features_in_ = np.array([0, 1]), binned.num_feature()
        self.booster_ = lightgbm.train(params, data, self.rounds)
        return self

    def _params(self, rows: int) -> dict[str, Any]:
        return booster_params(
            self.seed, self.threads, learning_rate=self.learning_rate, num_leaves=self.num_leaves,
            # 50 rows must train too: a leaf never asks for more than a tenth of the table
            min_data_in_leaf=max(1, min(self.min_data_in_leaf, rows // 10)), feature_fraction=self.feature_fraction,
            # quantiles of 25,000 rows are exact enough for some dozen bins, and half of the time went there
            lambda_l2=self.lambda_l2, max_bin=self.max_bin, bin_construct_sample_cnt=25_000,
        )  # fmt: skip

    def _positive(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster_.predict(X, num_threads=self.threads))


MODELS = (
    ModelSpec(
        id="lightgbm", family="boosting", core=True, cost=cost_of("lightgbm"), handles_missing=True,
        source="Ke et al. (2017), LightGBM: A Highly Efficient Gradient Boosting Decision Tree, NeurIPS",
        summary="finds interactions and thresholds among many features; the first choice on tables",
        search_space={
            "rounds": Range(20, 1000, default=60, log=True, integer=True),
            "learning_rate": Range(0.005, 0.3, default=0.05, log=True),
            "num_leaves": Range(3, 127, default=8, log=True, integer=True),
            "min_data_in_leaf": Range(20, 5000, default=2000, log=True, integer=True),
            "feature_fraction": Range(0.1, 1.0, default=0.2),
            "lambda_l2": Range(0.0, 1000.0, default=300.0),
            "max_bin": Range(15, 255, default=31, integer=True),
        },
        builder=lambda params, seed, threads: LightGBM(**params, seed=seed, threads=threads),
    ),
)  # fmt: skip
