"""Learners of river, one session after the other.

river learns from a row as a dict, in Python: a forest takes a quarter of a millisecond a row. The ensembles therefore learn from
part of the rows, sampled evenly over time (`max_rows` of their declarations).
"""

from typing import Any, Self

import numpy as np

from mltrainer_pipelines.models.calibration import Sigmoid
from mltrainer_pipelines.models.libraries import river
from mltrainer_pipelines.models.log_odds import both_classes, expit
from mltrainer_pipelines.models.online_weights import batches
from mltrainer_pipelines.models.table_model import HOLDOUT


class SessionGradient:
    """A logistic regression of river that takes one step of an optimizer a session, its constant among its weights."""

    def __init__(self, optimizer: Any, penalty: float = 0.0):
        self.optimizer, self.penalty = optimizer, penalty

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> Self:
        import pandas as pd

        model = river.linear_model.LogisticRegression(self.optimizer, l2=self.penalty, intercept_lr=0.0)
        rows, outcomes = pd.DataFrame(_with_constant(X)), pd.Series(y)
        for at in batches(sessions):
            model.learn_many(rows.iloc[at], outcomes.iloc[at])
        self.weights_ = np.array([model.weights[column] for column in rows.columns])
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return both_classes(expit(np.einsum("ij,j->i", _with_constant(X), self.weights_)))


def _with_constant(X: np.ndarray) -> np.ndarray:
    return np.column_stack([X, np.ones(len(X))]).astype(np.float64)


class Stream:
    """A classifier of river that learns row by row, session after session.

    The sessions of the last part of the rows are judged before they are learnt from: no row has to be held out to calibrate.
    """

    def __init__(self, model: Any):
        self.model = model

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> Self:
        X = np.asarray(X, dtype=np.float64)
        scored_rows: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        seen = 0
        for at in batches(sessions):
            if seen >= (1 - HOLDOUT) * len(X):
                scored_rows.append(at)
                scores.append(self._log_odds(X[at]))
            for row, outcome in zip(X[at].tolist(), y[at].tolist(), strict=True):
                self.model.learn_one(dict(enumerate(row)), bool(outcome))
            seen += len(at)
        if not scored_rows:  # a single session is all there is
            scored_rows, scores = [np.arange(len(X))], [self._log_odds(X)]
        self.calibration_ = Sigmoid().fit(np.concatenate(scores), y[np.concatenate(scored_rows)])
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return both_classes(self.calibration_.probability(self._log_odds(np.asarray(X, dtype=np.float64))))

    def _log_odds(self, X: np.ndarray) -> np.ndarray:
        predictions = [self.model.predict_proba_one(dict(enumerate(row))) for row in X.tolist()]
        # what a learner has not seen yet it does not name
        up, down = (np.array([p.get(outcome, 0.0) for p in predictions]) for outcome in (True, False))
        return np.log((up + 1e-6) / (down + 1e-6))
