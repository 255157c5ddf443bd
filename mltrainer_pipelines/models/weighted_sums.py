"""Estimators of a weighted sum of the features that no library has, or has otherwise than their papers."""

import itertools

import numpy as np

from mltrainer_pipelines.models.libraries import scipy, sklearn
from mltrainer_pipelines.models.log_odds import both_classes, expit


class LinearScore:
    """A weighted sum of the features, calibrated afterwards; a subclass finds the weights."""

    coef_: np.ndarray

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return np.einsum("ij,j->i", X, self.coef_)


class LogOdds:
    """A weighted sum of the features that is a log-odds."""

    coef_: np.ndarray
    intercept_: float

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return both_classes(expit(np.einsum("ij,j->i", X, self.coef_) + self.intercept_))

    def row_losses(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The log loss of each row, (rows,)."""
        p = np.clip(self.predict_proba(X)[:, 1], 1e-9, 1 - 1e-9)
        return -np.log(np.where(y == 1, p, 1 - p))


def _newton(
    X: np.ndarray, y: np.ndarray, penalty: np.ndarray | float, weights: np.ndarray | None = None
) -> tuple[np.ndarray, float, np.ndarray]:
    """Logistic regression with a ridge penalty for each weight (of the summed log loss): weights, level and their Hessian."""
    design = np.column_stack([X, np.ones(len(X))])
    ridge = np.append(np.broadcast_to(penalty, X.shape[1]).astype(np.float64), 1e-9)
    w = np.ones(len(X)) if weights is None else weights
    beta = np.zeros(design.shape[1])
    for _ in range(30):
        p = expit(design @ beta)
        gradient = design.T @ (w * (p - y)) + ridge * beta
        curvature = design.T @ (design * (w * np.maximum(p * (1 - p), 1e-8))[:, None]) + np.diag(ridge)
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        step *= min(1.0, 3.0 / max(float(np.abs(step).max()), 1e-12))
        beta -= step
        if np.abs(step).max() < 1e-7:
            break
    return beta[:-1], float(beta[-1]), curvature


class LaplaceLogistic(LogOdds):
    """Logistic regression averaged over the posterior of its weights (Laplace), its prior's scale by evidence."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "LaplaceLogistic":
        precision = float(X.shape[1])
        for _ in range(8):  # MacKay's fixed point for the prior's precision
            self.coef_, self.intercept_, curvature = _newton(X, y, precision)
            self.covariance_ = np.linalg.pinv(curvature)
            effective = X.shape[1] - precision * float(np.trace(self.covariance_[:-1, :-1]))
            previous, precision = precision, max(effective, 1e-3) / max(float(self.coef_ @ self.coef_), 1e-9)
            precision = min(precision, 1e9)
            if abs(precision / previous - 1) < 0.05:
                break
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        design = np.column_stack([X, np.ones(len(X))])
        variance = np.einsum("ij,jk,ik->i", design, self.covariance_, design, optimize=True)
        return both_classes(expit((X @ self.coef_ + self.intercept_) / np.sqrt(1 + np.pi / 8 * np.maximum(variance, 0))))


class LinkRegression:
    """A generalized linear model with another link than the logistic, by Fisher scoring."""

    def __init__(self, link: str, penalty: float):
        self.link, self.penalty = link, penalty

    def _mean(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probability and its slope."""
        if self.link == "probit":
            return scipy.special.ndtr(eta), np.exp(-0.5 * eta**2) / np.sqrt(2 * np.pi)
        if self.link == "cauchit":
            return 0.5 + np.arctan(eta) / np.pi, 1 / (np.pi * (1 + eta**2))
        exp_eta = np.exp(np.clip(eta, -30, 3))
        return -np.expm1(-exp_eta), exp_eta * np.exp(-exp_eta)

    def fit(self, X: np.ndarray, y: np.ndarray) -> "LinkRegression":
        design = np.column_stack([X, np.ones(len(X))])
        ridge = np.append(np.full(X.shape[1], self.penalty * len(X)), 1e-9)
        self.beta_ = np.zeros(design.shape[1])
        for _ in range(40):
            p, slope = self._mean(np.clip(design @ self.beta_, -6, 6))
            p = np.clip(p, 1e-6, 1 - 1e-6)
            weight = np.maximum(slope**2 / (p * (1 - p)), 1e-6)
            gradient = design.T @ (slope * (p - y) / (p * (1 - p))) + ridge * self.beta_
            step = np.linalg.lstsq(design.T @ (design * weight[:, None]) + np.diag(ridge), gradient, rcond=None)[0]
            step *= min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))
            self.beta_ -= step
            if np.abs(step).max() < 1e-6:
                break
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return both_classes(self._mean(np.clip(np.column_stack([X, np.ones(len(X))]) @ self.beta_, -6, 6))[0])


class AdaptiveLasso(LogOdds):
    """A lasso whose penalty on each weight is the inverse of a first ridge fit's weight."""

    def __init__(self, C: float, seed: int):
        self.C, self.seed = C, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> "AdaptiveLasso":
        first, _, _ = _newton(X, y, 0.001 * len(X))
        scale = np.abs(first) / max(float(np.abs(first).max()), 1e-12)
        lasso = sklearn.linear_model.LogisticRegression(
            C=self.C * 1000.0 / len(X), l1_ratio=1.0, solver="liblinear", max_iter=100, random_state=self.seed
        ).fit(X * scale, y)
        self.coef_, self.intercept_ = lasso.coef_[0] * scale, float(lasso.intercept_[0])
        return self


class StableLogistic(LogOdds):
    """A ridge regression on the features that a lasso chooses again and again on halves of the sessions."""

    def __init__(self, share: float, seed: int):
        self.share, self.seed = share, seed

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> "StableLogistic":
        random = np.random.default_rng(self.seed)
        days = np.unique(sessions)
        chosen = np.zeros(X.shape[1])
        rounds = 12
        for number in range(rounds):
            half = np.isin(sessions, random.permutation(days)[: max(1, len(days) // 2)])
            if half.sum() < 10 or len(np.unique(y[half])) < 2:
                half = np.ones(len(y), dtype=bool)
            lasso = sklearn.linear_model.LogisticRegression(
                C=200.0 / half.sum(), l1_ratio=1.0, solver="liblinear", max_iter=50, random_state=self.seed + number
            ).fit(X[half], y[half])
            chosen += np.abs(lasso.coef_[0]) > 1e-9
        self.selected_ = chosen >= self.share * rounds
        weights, self.intercept_, _ = _newton(X[:, self.selected_], y, 0.001 * len(X))
        self.coef_ = np.zeros(X.shape[1])
        self.coef_[self.selected_] = weights
        return self


class FamaMacBeth(LinearScore):
    """One ridge regression of the class a session; the weights' mean over the sessions, each by its t-statistic's certainty."""

    def __init__(self, penalty: float, certainty: float):
        self.penalty, self.certainty = penalty, certainty

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> "FamaMacBeth":
        order = np.argsort(sessions, kind="stable")
        X, y, sessions = X[order], y[order].astype(np.float64), sessions[order]
        edges = np.append(np.flatnonzero(np.r_[True, sessions[1:] != sessions[:-1]]), len(sessions))
        slopes = []
        for start, end in itertools.pairwise(edges):
            if end - start >= 3:
                x = X[start:end] - X[start:end].mean(axis=0)
                gram = x.T @ x + self.penalty * (end - start) * np.eye(X.shape[1]) + 1e-6 * np.eye(X.shape[1])
                slopes.append(np.linalg.solve(gram, x.T @ (y[start:end] - y[start:end].mean())))
        if len(slopes) < 2:  # sessions of one or two rows hold no cross-section: the pooled regression is what is left
            x = X - X.mean(axis=0)
            gram = x.T @ x + self.penalty * len(x) * np.eye(X.shape[1])
            self.coef_ = np.linalg.lstsq(gram, x.T @ (y - y.mean()), rcond=None)[0]
            return self
        betas = np.array(slopes)
        mean, error = betas.mean(axis=0), betas.std(axis=0, ddof=1) / np.sqrt(len(betas))
        t2 = (mean / np.maximum(error, 1e-12)) ** 2
        self.coef_ = mean * t2 / (t2 + self.certainty)
        return self


class PairwiseLogistic(LinearScore):
    """Logistic regression on differences of two rows of one session, a winner and a loser: only order counts."""

    def __init__(self, penalty: float, pairs: int, seed: int):
        self.penalty, self.pairs, self.seed = penalty, pairs, seed

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> "PairwiseLogistic":
        random = np.random.default_rng(self.seed)
        order = np.lexsort((y, sessions))
        _days, starts, sizes = np.unique(sessions[order], return_index=True, return_counts=True)
        wins = np.add.reduceat(y[order].astype(np.int64), starts)
        usable = np.flatnonzero((wins > 0) & (wins < sizes))
        if len(usable) == 0:
            starts, sizes, wins, usable = np.array([0]), np.array([len(y)]), np.array([int(y.sum())]), np.array([0])
            order = np.argsort(y, kind="stable")
        session = random.choice(usable, self.pairs)
        losses = sizes - wins
        loser = order[starts[session] + (random.random(self.pairs) * losses[session]).astype(np.int64)]
        winner = order[starts[session] + losses[session] + (random.random(self.pairs) * wins[session]).astype(np.int64)]
        x = X[winner] - X[loser]
        both, label = np.vstack([x, -x]), np.repeat([1.0, 0.0], self.pairs)
        self.coef_, _, _ = _newton(both, label, self.penalty * len(both))
        return self


class RecencyLogistic(LogOdds):
    """Logistic regression whose rows count less the older they are: half after so many sessions."""

    def __init__(self, half_life: float, penalty: float):
        self.half_life, self.penalty = half_life, penalty

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> "RecencyLogistic":
        _, at = np.unique(sessions, return_inverse=True)
        weights = 0.5 ** ((at.max() - at) / self.half_life)
        self.coef_, self.intercept_, _ = _newton(X, y, self.penalty * weights.sum(), weights)
        return self


class StrongestPairs:
    """A regression on the features and the products of those that matter most alone."""

    def __init__(self, features: int, C: float):
        self.features, self.C = features, C

    def fit(self, X: np.ndarray, y: np.ndarray) -> "StrongestPairs":
        strength = np.abs((X * (y - y.mean())[:, None]).mean(axis=0))
        self.chosen_ = np.sort(np.argsort(-strength, kind="stable")[: self.features])
        regression = sklearn.linear_model.LogisticRegression(C=self.C / len(X), solver="newton-cholesky", max_iter=30)
        self.regression_ = regression.fit(self._inputs(X), y)
        return self

    def _inputs(self, X: np.ndarray) -> np.ndarray:
        x = X[:, self.chosen_]
        first, second = np.triu_indices(x.shape[1])
        return np.hstack([X, x[:, first] * x[:, second]])

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self.regression_.predict_proba(self._inputs(X))


class MarginalVote(LinearScore):
    """Each feature's own t-statistic as its weight: no covariance to estimate, nothing to invert."""

    def __init__(self, least: float):
        self.least = least

    def fit(self, X: np.ndarray, y: np.ndarray) -> "MarginalVote":
        t = (X * (y - y.mean())[:, None]).mean(axis=0) / max(float(y.std()), 1e-9) * np.sqrt(len(y))
        self.coef_ = np.sign(t) * np.maximum(np.abs(t) - self.least, 0.0)
        if not self.coef_.any():
            self.coef_ = t
        return self


class ForwardSelection(LogOdds):
    """Features taken in one at a time, the one that lowers BIC the most first, until none does."""

    def __init__(self, most: int):
        self.most = most

    def fit(self, X: np.ndarray, y: np.ndarray) -> "ForwardSelection":
        chosen: list[int] = []
        self.coef_, self.intercept_ = np.zeros(X.shape[1]), float(np.log(max(y.mean(), 1e-6) / max(1 - y.mean(), 1e-6)))
        loss = float(self.row_losses(X, y).sum())
        while len(chosen) < min(self.most, X.shape[1]):
            score = np.abs(X.T @ (y - self.predict_proba(X)[:, 1]))
            score[chosen] = -1.0
            best = int(np.argmax(score))
            weights, level, _ = _newton(X[:, [*chosen, best]], y, 1e-3)
            previous = self.coef_, self.intercept_
            self.coef_, self.intercept_ = np.zeros(X.shape[1]), level
            self.coef_[[*chosen, best]] = weights
            new_loss = float(self.row_losses(X, y).sum())
            if 2 * (loss - new_loss) < np.log(len(X)) and chosen:
                self.coef_, self.intercept_ = previous
                break
            chosen.append(best)
            loss = new_loss
        return self


class MinimaxLogistic(LogOdds):
    """Logistic regression that does well in its worst stretch of time: stretches with a larger loss gain weight."""

    def __init__(self, stretches: int, rate: float, penalty: float):
        self.stretches, self.rate, self.penalty = stretches, rate, penalty

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> "MinimaxLogistic":
        _, at = np.unique(sessions, return_inverse=True)
        stretch = at * self.stretches // (at.max() + 1)
        share = np.bincount(stretch, minlength=self.stretches).astype(np.float64)
        weight = np.ones(self.stretches)
        for _ in range(10):
            w = weight[stretch] / weight[stretch].mean()
            self.coef_, self.intercept_, _ = _newton(X, y, self.penalty * len(X), w)
            loss = np.bincount(stretch, self.row_losses(X, y), self.stretches) / np.maximum(share, 1)
            weight *= np.exp(self.rate * (loss - loss.mean()))
        return self
