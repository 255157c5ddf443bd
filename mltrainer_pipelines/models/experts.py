"""Experts: models fitted for one stretch of time, one state of the market, one sector or one kind of row."""

from functools import partial
from typing import Any

import numpy as np

from mltrainer_pipelines.models import combined
from mltrainer_pipelines.models.combined import Combined, ForwardValidated, losses
from mltrainer_pipelines.models.libraries import sklearn
from mltrainer_pipelines.models.log_odds import expit, logit
from mltrainer_pipelines.models.panel import UNKNOWN, group_field, sessions_of, subsample
from mltrainer_pipelines.models.scaling import TailClipScaler
from mltrainer_pipelines.models.spec import Range

_declare = partial(combined.declare, family="experts")


class LocalCompetence(ForwardValidated):
    """Members weighed by how well they did ahead on the rows most like this one."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        self.scaler_ = TailClipScaler()
        self.scaler_.fit_transform(X)
        super().fit(X, y, sessions)

    def learn(self, P: np.ndarray, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        rows = subsample(len(y), 5000)
        count = max(1, min(int(self.params["neighbours"]), len(rows) // 2))
        neighbours = sklearn.neighbors.KNeighborsRegressor(count, algorithm="brute")
        self.competence_ = neighbours.fit(self.scaler_.transform(X[rows]), losses(P, y)[rows])

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        loss = self.competence_.predict(self.scaler_.transform(X))
        weight = np.exp(-20.0 * (loss - loss.min(axis=1, keepdims=True)))
        return (P * weight).sum(axis=1) / weight.sum(axis=1)


class StretchExperts(Combined):
    """The same model fitted on each stretch of time, weighed by how well it does in the last one."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        days = np.unique(sessions)
        count = int(self.params["stretches"])
        stretch = np.searchsorted(days, sessions) * count // len(days)
        fitted = []
        for k in range(count):
            fitted += self._fit_members(X, y, sessions, np.flatnonzero(stretch == k), least=20)
        self.fitted_ = fitted or self._fit_members(X, y, sessions)
        last = np.flatnonzero(stretch == count - 1)
        recent = last if len(last) else np.arange(len(y))
        share = float(y[recent].mean())
        error = ((self._member_probabilities(self.fitted_, X[recent]) - y[recent][:, None]) ** 2).mean(axis=0)
        # the last stretch's own model has seen these rows: it gets the weight of one that makes no error beyond chance
        error[-len(self.members) :] = np.minimum.reduce(error[: -len(self.members)], initial=share * (1 - share))
        self.weights_ = np.maximum(share * (1 - share) - error, 0.0) + 1e-4

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return P @ (self.weights_ / self.weights_.sum())


class SessionBagging(Combined):
    """The members fitted on draws of whole stretches of sessions: rows of one time stay together."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        random = np.random.default_rng(self.seed)
        days, at = np.unique(sessions, return_inverse=True)
        length = max(1, min(21, len(days) // 5))
        self.fitted_ = []
        for _ in range(int(self.params["draws"])):
            starts = random.integers(0, max(1, len(days) - length + 1), max(1, len(days) // length))
            times = np.bincount((starts[:, None] + np.arange(length)).ravel(), minlength=len(days))[: len(days)]
            rows = np.repeat(np.arange(len(y)), times[at])
            self.fitted_ += self._fit_members(X, y, sessions, rows)
        self.fitted_ = self.fitted_ or self._fit_members(X, y, sessions)


class LocalExperts(Combined):
    """Rows fall into a few situations; each has its own regression, shrunk towards that of all rows."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        self.scaler_ = TailClipScaler()
        Z = self.scaler_.fit_transform(X)
        count = max(1, min(int(self.params["situations"]), len(Z) // 50))
        self.clusters_ = sklearn.cluster.KMeans(count, n_init=1, max_iter=50, random_state=self.seed).fit(
            Z[subsample(len(Z), 20_000)]
        )
        situation = self.clusters_.predict(Z)
        super().fit(X, y, sessions)
        self.local_ = [
            self._fit_members(X, y, sessions, np.flatnonzero(situation == k), least=30) or self.fitted_ for k in range(count)
        ]

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        distance = self.clusters_.transform(self.scaler_.transform(X)) ** 2
        share = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / max(X.shape[1], 1) * 4)
        share /= share.sum(axis=1, keepdims=True)
        local = np.stack([self._member_probabilities(members, X).mean(axis=1) for members in self.local_], axis=1)
        return 0.5 * P.mean(axis=1) + 0.5 * (share * local).sum(axis=1)


class RegimeGated(Combined):
    """Each state of the market has its own members; how likely a session's state is says how far they are heard.

    A session's state is the mean of its rows, in a mixture of Gaussians along the two directions in which the training sessions
    differ most. Nothing of it is learnt from outcomes.
    """

    cross_sectional = True

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        super().fit(X, y, sessions)
        self.scaler_ = TailClipScaler()
        self.scaler_.fit_transform(X)
        states, at = self._states(X, sessions)
        self.axes_ = sklearn.decomposition.PCA(max(1, min(2, X.shape[1], len(states))), random_state=self.seed).fit(states)
        count = int(self.params["regimes"]) if len(states) >= 10 * int(self.params["regimes"]) else 1
        mixture = sklearn.mixture.GaussianMixture(count, reg_covar=1e-3, n_init=3, random_state=self.seed)
        self.mixture_ = mixture.fit(self.axes_.transform(states))
        regime = self.mixture_.predict(self.axes_.transform(states))[at]
        self.experts_ = [
            self._fit_members(X, y, sessions, np.flatnonzero(regime == k), least=50) or self.fitted_ for k in range(count)
        ]

    def _states(self, X: np.ndarray, sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean of each session's rows, and which one is each row's."""
        days, at = np.unique(sessions, return_inverse=True)
        sums = np.zeros((len(days), X.shape[1]))
        np.add.at(sums, at, self.scaler_.transform(X).astype(np.float64))
        return sums / np.bincount(at)[:, None], at

    def probability(self, X: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        states, at = self._states(X, sessions_of(groups, len(X)))
        likely = self.mixture_.predict_proba(self.axes_.transform(states))[at]
        by_regime = np.stack([logit(self._member_probabilities(members, X)).mean(axis=1) for members in self.experts_], axis=1)
        everywhere = logit(self._member_probabilities(self.fitted_, X)).mean(axis=1)
        return expit(0.5 * everywhere + 0.5 * (likely * by_regime).sum(axis=1))


class SectorExperts(Combined):
    """Each sector has its own members, heard the more the more rows they learnt from; the rest of the say is that of all rows."""

    sectors = True

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        super().fit(X, y, sessions)
        self.experts_: dict[int, tuple[list[Any], float]] = {}
        for sector in np.unique(self.row_sectors[self.row_sectors != UNKNOWN]).tolist():
            rows = np.flatnonzero(self.row_sectors == sector)
            if members := self._fit_members(X, y, sessions, rows, least=50):
                self.experts_[sector] = members, len(rows) / (len(rows) + self.params["pooling"])

    def probability(self, X: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        odds = logit(self._member_probabilities(self.fitted_, X)).mean(axis=1)
        sectors = group_field(groups, "sector", len(X))
        for sector, (members, weight) in self.experts_.items():
            rows = np.flatnonzero(sectors == sector)
            if len(rows):
                odds[rows] = (1 - weight) * odds[rows] + weight * logit(self._member_probabilities(members, X[rows])).mean(axis=1)
        return expit(odds)


MODELS = (
    _declare("local_competence", LocalCompetence, "trusts the members that were right on similar rows",
             "Woods, Kegelmeyer & Bowyer (1997), Combination of Multiple Classifiers Using Local Accuracy Estimates",
             space={"neighbours": Range(10, 500, default=100, log=True, integer=True)}),
    _declare("stretch_experts", StretchExperts, "one model a stretch of time; those that fit the present count",
             "Wang, Fan, Yu & Han (2003), Mining Concept-Drifting Data Streams using Ensemble Classifiers",
             members=("logistic_l2",),
             space={"stretches": Range(3, 12, default=6, integer=True)}),
    _declare("session_bagging", SessionBagging, "draws of whole stretches of time: overlapping labels do not pass for evidence",
             "López de Prado (2018), Advances in Financial Machine Learning, chapter 6; Künsch (1989)", members=("logistic_l2",),
             space={"draws": Range(5, 50, default=10, integer=True)}),
    _declare("local_experts", LocalExperts, "a regression for each kind of situation",
             "Bottou & Vapnik (1992), Local Learning Algorithms", members=("logistic_l2",),
             space={"situations": Range(2, 10, default=4, integer=True)}),
    _declare("regime_gated", RegimeGated, "other weights in other states of the market, as far as today's state is known",
             "Ang & Bekaert (2004), How Regimes Affect Asset Allocation", members=("logistic_l2", "lightgbm"),
             space={"regimes": Range(2, 4, default=2, integer=True)},
             limits="needs features that differ between sessions: of ranks within a session only one state is left"),
    _declare("sector_experts", SectorExperts, "what works in one sector and not in another, shrunk towards what works in all",
             "Gelman & Hill (2007), Data Analysis Using Regression and Multilevel Models, section 12.2 (partial pooling)",
             members=("logistic_l2", "lightgbm"),
             space={"pooling": Range(100.0, 100_000.0, default=5000.0, log=True)},
             limits="symbols of unknown sector get what holds for all"),
)  # fmt: skip
