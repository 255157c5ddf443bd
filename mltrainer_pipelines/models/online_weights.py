"""Learners of a weighted sum, moved session by session: those that no library has, or has otherwise than its paper.

river's FTRL leaves a weight as it is where its sum falls back inside `l1`, which the paper sets to 0, and steps a gradient late;
its linear regression that forgets (`BayesianLinearRegression`) forgets its penalty too, and then a constant feature makes its
matrix singular. It has no logistic regression with a Kalman filter, no AROW, and no Hedge over features.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from mltrainer_pipelines.models.log_odds import both_classes, expit


def batches(sessions: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each session, in order of time; of rows without sessions, some at a time."""
    order = np.argsort(sessions, kind="stable")
    edges = np.flatnonzero(np.r_[True, np.diff(sessions[order]) != 0, True])
    if len(edges) > 5000:
        edges = np.unique(np.linspace(0, len(order), 2000).astype(np.int64))
    for first, end in itertools.pairwise(edges):
        yield order[first:end]


class OnlineLearner:
    """A weighted sum of the features and 1, moved session by session; a subclass says how."""

    def start(self, columns: int) -> None:
        raise NotImplementedError

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        raise NotImplementedError

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> "OnlineLearner":
        design = np.column_stack([X, np.ones(len(X))])
        self.weights_: np.ndarray = np.zeros(design.shape[1])
        self.start(design.shape[1])
        for rows in batches(sessions):
            self.learn(design[rows], y[rows])
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return np.einsum("ij,j->i", np.column_stack([X, np.ones(len(X))]), self.weights_)

    def gradient(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        return X.T @ (expit(X @ self.weights_) - y) / len(X)


class LogOddsLearner(OnlineLearner):
    """An online learner whose sum is a log-odds."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return both_classes(expit(self.decision_function(X)))


class Ftrl(LogOddsLearner):
    def __init__(self, alpha: float, l1: float, l2: float):
        self.alpha, self.l1, self.l2 = alpha, l1, l2

    def start(self, columns: int) -> None:
        self.z, self.n = np.zeros(columns), np.zeros(columns)

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        g = self.gradient(X, y)
        sigma = (np.sqrt(self.n + g**2) - np.sqrt(self.n)) / self.alpha
        self.z += g - sigma * self.weights_
        self.n += g**2
        shrunk = np.sign(self.z) * np.maximum(np.abs(self.z) - self.l1, 0.0)
        self.weights_ = -shrunk / ((1.0 + np.sqrt(self.n)) / self.alpha + self.l2)


class RecursiveLeastSquares(OnlineLearner):
    def __init__(self, half_life: float, penalty: float):
        self.forget, self.penalty = 0.5 ** (1 / half_life), penalty

    def start(self, columns: int) -> None:
        self.gram, self.moment = np.zeros((columns, columns)), np.zeros(columns)
        self.ridge = np.eye(columns)

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        self.gram = self.forget * self.gram + X.T @ X
        self.moment = self.forget * self.moment + X.T @ (y - 0.5)
        mass = max(float(self.gram[-1, -1]), 1.0)
        self.weights_ = np.linalg.solve(self.gram + self.penalty * mass * self.ridge, self.moment)


class DynamicLogistic(LogOddsLearner):
    """A Kalman filter on the weights of a logistic regression: they drift, and each session corrects them."""

    def __init__(self, forget: float, spread: float):
        self.forget, self.spread = forget, spread

    def start(self, columns: int) -> None:
        self.covariance = self.spread**2 * np.eye(columns)

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        self.covariance = self.covariance / self.forget
        p = expit(X @ self.weights_)
        # labels of one session move together: it counts as far fewer independent rows than it has
        share = 1.0 / np.sqrt(len(X))
        information = np.linalg.pinv(self.covariance) + share * X.T @ (X * (p * (1 - p))[:, None])
        self.covariance = np.linalg.pinv(information)
        self.weights_ = self.weights_ + self.covariance @ (X.T @ (y - p)) * share


class AdaptiveRegularization(OnlineLearner):
    """AROW with diagonal confidence: sure weights move little, unsure ones much."""

    def __init__(self, r: float):
        self.r = r

    def start(self, columns: int) -> None:
        self.variance = np.ones(columns)

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        sign = 2.0 * y - 1.0
        hinge = np.maximum(1 - sign * (X @ self.weights_), 0.0)
        beta = 1.0 / ((X**2) @ self.variance + self.r)
        update = ((hinge * beta * sign)[:, None] * X).mean(axis=0)
        self.weights_ = self.weights_ + self.variance * update
        self.variance = 1.0 / (1.0 / self.variance + (X**2 * beta[:, None]).mean(axis=0))


class Hedge(OnlineLearner):
    """Each feature, and its opposite, is an expert; weights fall by how wrong its order of a session was."""

    def __init__(self, rate: float, forget: float):
        self.rate, self.forget = rate, forget

    def start(self, columns: int) -> None:
        self.log_weight = np.zeros((2, columns))

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        gain = (X * (y - y.mean())[:, None]).mean(axis=0) * 2
        self.log_weight = self.forget * self.log_weight + self.rate * np.vstack([gain, -gain])
        weight = np.exp(self.log_weight - self.log_weight.max())
        weight /= weight.sum()
        self.weights_ = weight[0] - weight[1]
        self.weights_[-1] = 0.0
