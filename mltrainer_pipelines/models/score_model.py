"""A score that nobody fitted to the outcome, made a probability by calibration: the base of the rules and the forecasts."""

from typing import Any

import numpy as np

from mltrainer_pipelines.models.calibration import Sigmoid
from mltrainer_pipelines.models.estimator import DeclaredClassifier
from mltrainer_pipelines.models.panel import in_canonical_order


class ScoreModel(DeclaredClassifier):
    """A model that reads a few named columns and says how strongly it is for a row.

    The outcome of the training rows only says what a strength is worth: the higher, the likelier, or, where the rows contradict
    the model's thesis, all the same base rate. It is never turned around: a rule that fails is not its opposite's success.
    `positions` says where its columns are in the matrix; by default the matrix has just these, in the order of its declaration.
    """

    def __init__(self, model: str, positions: tuple[int, ...] | None = None, seed: int = 0, threads: int = 1, **params: Any):
        super().__init__(model, seed, threads, **params)
        self.positions = positions

    def _parameter_names(self) -> list[str]:
        return ["positions", *super()._parameter_names()]

    def _n_columns(self) -> int:
        """How many columns it reads."""
        raise NotImplementedError

    def _learn(self, X: np.ndarray, groups: np.ndarray | None) -> None:
        """Learn scales and dynamics from its columns of the training rows; never from their outcomes."""
        raise NotImplementedError

    def _score(self, X: np.ndarray, groups: np.ndarray | None, n_context: int = 0) -> np.ndarray:
        """For the rows from `n_context` on."""
        raise NotImplementedError

    def decision_function(self, X: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """How strongly the fitted model is for each row of a table, (rows,) float64: the higher the better."""
        return self._score(self._select_columns(np.asarray(X)), groups)

    def _select_columns(self, X: np.ndarray) -> np.ndarray:
        """Its columns of the matrix, in the order of its declaration."""
        positions = self.positions if self.positions is not None else tuple(range(self._n_columns()))
        if max(positions) >= X.shape[1]:
            raise ValueError(
                f"{self.model} reads {self._n_columns()} columns and the matrix has {X.shape[1]}; build it with the "
                "feature_names of the table"
            )
        return X[:, list(positions)].astype(np.float64)

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        X, y, groups = in_canonical_order(X, y, groups)
        X = self._select_columns(X)
        self._learn(X, groups)
        self.calibration_ = Sigmoid().fit(self._score(X, groups), y)

    def _positive_in_context(self, X: np.ndarray, groups: np.ndarray | None, n_context: int) -> np.ndarray:
        return self.calibration_.probability(self._score(self._select_columns(X), groups, n_context))
