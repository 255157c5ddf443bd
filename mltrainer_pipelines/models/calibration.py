"""Scores made probabilities."""

import warnings

import numpy as np

from mltrainer_pipelines.models.libraries import sklearn
from mltrainer_pipelines.models.log_odds import expit


class Sigmoid:
    """Platt's calibration: the log-odds of class 1 as a line of the standardized score.

    With `rising` a higher score may only mean a higher probability; where the rows say otherwise it is the base rate.
    scikit-learn's `CalibratedClassifierCV` calibrates whole classifiers, and its sigmoid neither clips far scores nor keeps the
    order: with few rows of one class it would turn a score round.

    Source: Platt (1999), Probabilistic Outputs for Support Vector Machines, equation 1 and its target values.
    """

    def __init__(self, rising: bool = True):
        self.rising = rising

    def fit(self, scores: np.ndarray, y: np.ndarray) -> "Sigmoid":
        """Fit on (rows,) scores and outcomes of 0 and 1."""
        scores = np.asarray(scores, dtype=np.float64)
        self.center_, spread = float(np.median(scores)), float(scores.std())
        self.scale_ = spread if spread > 1e-12 else 1.0
        z = np.clip((scores - self.center_) / self.scale_, -8.0, 8.0)
        positives = float(y.sum())
        target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))
        # each row once as a winner and once as a loser, weighed by its target
        regression = sklearn.linear_model.LogisticRegression(C=1e3, solver="newton-cholesky", tol=1e-10)
        with warnings.catch_warnings(action="ignore"):  # of a line search that ends at the last digit
            regression.fit(np.append(z, z)[:, None], np.repeat([1, 0], len(z)), np.append(target, 1 - target))
        self.slope_, self.level_ = float(regression.coef_[0, 0]), float(regression.intercept_[0])
        if self.rising and self.slope_ < 0:
            self.slope_, self.level_ = 0.0, float(np.log((positives + 1) / (len(y) - positives + 1)))
        return self

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """The probability of class 1 at each score, (rows,)."""
        z = np.clip((np.asarray(scores, dtype=np.float64) - self.center_) / self.scale_, -8.0, 8.0)
        return expit(self.slope_ * z + self.level_)
