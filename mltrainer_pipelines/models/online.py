"""Online learners: one session after the other, each judged before it is learnt from; the weights after the last one count."""

import itertools
from functools import partial
from typing import Any

import numpy as np

from mltrainer_pipelines.models.spec import Range
from mltrainer_pipelines.models.table_model import Fitting, declare

_declare = partial(declare, family="online", sessions=True, limits="a weighted sum of the features only")


class OnlineLearner:
    """A weighted sum of the features and 1, moved session by session; a subclass says how."""

    def start(self, columns: int) -> None:
        raise NotImplementedError

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        raise NotImplementedError

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> "OnlineLearner":
        design = np.column_stack([X, np.ones(len(X))])
        order = np.argsort(sessions, kind="stable")
        edges = np.flatnonzero(np.r_[True, np.diff(sessions[order]) != 0, True])
        if len(edges) > 5000:  # rows without sessions: some at a time
            edges = np.unique(np.linspace(0, len(order), 2000).astype(np.int64))
        self.weights_: np.ndarray = np.zeros(design.shape[1])
        self.start(design.shape[1])
        for first, end in itertools.pairwise(edges):
            rows = order[first:end]
            self.learn(design[rows], y[rows])
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return np.einsum("ij,j->i", np.column_stack([X, np.ones(len(X))]), self.weights_)

    def gradient(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        return X.T @ (_expit(X @ self.weights_) - y) / len(X)


class LogOddsLearner(OnlineLearner):
    """An online learner whose sum is a log-odds."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        p = _expit(self.decision_function(X))
        return np.column_stack([1 - p, p])


def _expit(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -50, 50)))


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


class AdaGrad(LogOddsLearner):
    def __init__(self, rate: float, penalty: float):
        self.rate, self.penalty = rate, penalty

    def start(self, columns: int) -> None:
        self.n = np.full(columns, 1e-3)

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        g = self.gradient(X, y) + self.penalty * self.weights_
        self.n += g**2
        self.weights_ = self.weights_ - self.rate * g / np.sqrt(self.n)


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
        p = _expit(X @ self.weights_)
        # labels of one session move together: it counts as far fewer independent rows than it has
        share = 1.0 / np.sqrt(len(X))
        information = np.linalg.pinv(self.covariance) + share * X.T @ (X * (p * (1 - p))[:, None])
        self.covariance = np.linalg.pinv(information)
        self.weights_ = self.weights_ + self.covariance @ (X.T @ (y - p)) * share


class OnlineNewton(LogOddsLearner):
    def __init__(self, gamma: float):
        self.gamma = gamma

    def start(self, columns: int) -> None:
        self.A = np.eye(columns) * 0.1

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        g = self.gradient(X, y)
        self.A += np.outer(g, g)
        step = np.linalg.solve(self.A, g) / self.gamma
        self.weights_ = np.clip(self.weights_ - step, -3.0, 3.0)


class AdaptiveRegularization(OnlineLearner):
    """AROW with diagonal confidence: sure weights move little, unsure ones much."""

    def __init__(self, r: float):
        self.r = r

    def start(self, columns: int) -> None:
        self.variance = np.ones(columns)

    def learn(self, X: np.ndarray, y: np.ndarray) -> None:
        sign = 2.0 * y - 1.0
        miss = np.maximum(1 - sign * (X @ self.weights_), 0.0)
        beta = 1.0 / ((X**2) @ self.variance + self.r)
        pull = ((miss * beta * sign)[:, None] * X).mean(axis=0)
        self.weights_ = self.weights_ + self.variance * pull
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


def _ftrl(f: Fitting) -> Any:
    return Ftrl(f["alpha"], f["l1"], f["l2"])


def _adagrad(f: Fitting) -> Any:
    return AdaGrad(f["rate"], f["penalty"])


def _rls(f: Fitting) -> Any:
    return RecursiveLeastSquares(f["half_life"], f["penalty"])


def _dynamic(f: Fitting) -> Any:
    return DynamicLogistic(f["forget"], f["spread"])


def _newton(f: Fitting) -> Any:
    return OnlineNewton(f["gamma"])


def _arow(f: Fitting) -> Any:
    return AdaptiveRegularization(f["r"])


def _hedge(f: Fitting) -> Any:
    return Hedge(f["rate"], f["forget"])


_PENALTY = Range(1e-6, 1.0, default=1e-3, log=True)

MODELS = (
    _declare("online_ftrl", _ftrl, "sparse weights that follow the market, session by session",
             "McMahan et al. (2013), Ad Click Prediction: a View from the Trenches",
             space={"alpha": Range(0.001, 1.0, default=0.1, log=True), "l1": Range(0.0, 1.0, default=0.05),
                    "l2": Range(0.0, 10.0, default=1.0)}),
    _declare("online_adagrad", _adagrad, "steps that shrink where a feature has moved its weight enough",
             "Duchi, Hazan & Singer (2011), Adaptive Subgradient Methods",
             space={"rate": Range(0.001, 1.0, default=0.03, log=True), "penalty": _PENALTY}),
    _declare("recursive_least_squares", _rls, "an exact regression that forgets at a steady rate",
             "Plackett (1950), Some Theorems in Least Squares",
             space={"half_life": Range(10.0, 1000.0, default=189.0, log=True),
                    "penalty": Range(1e-5, 10.0, default=0.1, log=True)}),
    _declare("dynamic_logistic", _dynamic, "weights that drift, tracked with their uncertainty",
             "McCormick, Raftery, Madigan & Burd (2012), Dynamic Logistic Regression and Dynamic Model Averaging",
             space={"forget": Range(0.9, 1.0, default=0.995), "spread": Range(0.01, 1.0, default=0.1, log=True)}),
    _declare("online_newton", _newton, "steps along the curvature that gradients have shown",
             "Hazan, Agarwal & Kale (2007), Logarithmic Regret Algorithms for Online Convex Optimization",
             space={"gamma": Range(0.5, 50.0, default=5.0, log=True)}),
    _declare("adaptive_regularization", _arow, "sure weights move little, unsure ones much",
             "Crammer, Kulesza & Dredze (2009), Adaptive Regularization of Weight Vectors",
             space={"r": Range(0.1, 1000.0, default=50.0, log=True)}),
    _declare("hedge_of_features", _hedge, "each feature an expert, weighed by how it ordered the sessions so far",
             "Freund & Schapire (1997), A Decision-Theoretic Generalization of On-Line Learning (Hedge)",
             space={"rate": Range(0.01, 10.0, default=0.3, log=True), "forget": Range(0.9, 1.0, default=0.998)}),
)  # fmt: skip
