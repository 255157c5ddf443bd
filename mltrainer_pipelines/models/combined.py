"""What all models of models share: their members, fitted as the registry builds them, and how their probabilities become one."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from mltrainer_pipelines.models import boosting, forests, kernels, linear
from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import Declarations, DeclaredClassifier
from mltrainer_pipelines.models.libraries import sklearn, threadpoolctl
from mltrainer_pipelines.models.panel import group_field, in_canonical_order, panel_groups, sessions_of
from mltrainer_pipelines.models.spec import ModelSpec, Range

MEMBERS = ("logistic_l2", "lightgbm", "extra_trees", "binned_naive_bayes")
"""A linear model, boosted trees, a forest and a vote of single features: they err differently."""
SINGLE_ROWS: Mapping[str, ModelSpec] = {
    spec.id: spec for family in (linear, boosting, forests, kernels) for spec in family.MODELS
}
"""The models that members are chosen from."""
MEMBERS_OF: Declarations[tuple[str, ...]] = Declarations()
COMBINERS: Declarations["type[Combined]"] = Declarations()
"""The models that an ensemble of the registry is made of."""


class EnsembleModel(DeclaredClassifier):
    """An ensemble of the registry."""

    @property
    def cross_sectional(self) -> bool:
        return (getattr(self, "combined_", None) or COMBINERS[self.model]).cross_sectional

    @property
    def sectors(self) -> bool:
        return (getattr(self, "combined_", None) or COMBINERS[self.model]).sectors

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        X, y, groups = in_canonical_order(X, y, groups)
        self.combined_ = COMBINERS[self.model](MEMBERS_OF[self.model], self.seed, self.threads, self.params)
        self.combined_.row_sectors = group_field(groups, "sector", len(X))
        with threadpoolctl.threadpool_limits(self.threads):
            self.combined_.fit(X, y, sessions_of(groups, len(X)))
        del self.combined_.row_sectors

    def _positive_in_context(self, X: np.ndarray, groups: np.ndarray | None, n_context: int) -> np.ndarray:
        with threadpoolctl.threadpool_limits(self.threads):
            return np.clip(self.combined_.probability(X, groups)[n_context:], 0.0, 1.0)


class Combined:
    """Members fitted on all rows, and how their probabilities become one: a subclass says it.

    While it is fitted, `row_sectors` holds the sector of each row. `cross_sectional` and `sectors` are those of `ModelSpec`.
    """

    cross_sectional: ClassVar[bool] = False
    sectors: ClassVar[bool] = False
    row_sectors: np.ndarray

    def __init__(self, members: tuple[str, ...], seed: int, threads: int, params: Mapping[str, Any]):
        self.members, self.seed, self.threads, self.params = members, seed, threads, params

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        self.fitted_ = self._fit_members(X, y, sessions)

    def probability(self, X: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        return self.combine(self._member_probabilities(self.fitted_, X), X)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        """One probability a row of the members', (rows, members); by default their mean."""
        return np.asarray(P.mean(axis=1))

    def _fit_members(
        self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray, rows: np.ndarray | None = None, least: int = 1
    ) -> list[Any]:
        """Members fitted on some rows, by default on all; none where these are fewer than `least` or of one class."""
        if rows is not None:
            if len(rows) < least or len(np.unique(y[rows])) < 2:
                return []
            X, y, sessions = X[rows], y[rows], sessions[rows]
        groups = panel_groups(sessions, np.arange(len(y)))
        return [SINGLE_ROWS[name].build(seed=self.seed, threads=self.threads).fit(X, y, groups) for name in self.members]

    def _member_probabilities(self, fitted: list[Any], X: np.ndarray) -> np.ndarray:
        return np.stack([member.predict_proba(X)[:, 1] for member in fitted], axis=1)

    def _forward_validation(
        self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray, blocks: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Members' probabilities for rows of later blocks of sessions, each fitted on the blocks before only; and which rows."""
        days = np.unique(sessions)
        block = np.searchsorted(days, sessions) * blocks // len(days)
        held_out, rows = [], []
        for number in range(1, blocks):
            train, at = np.flatnonzero(block < number), np.flatnonzero(block == number)
            if len(at) and (members := self._fit_members(X, y, sessions, train)):
                held_out.append(self._member_probabilities(members, X[at]))
                rows.append(at)
        if not held_out:  # too few sessions to look ahead: what is left is how well the members fit
            return self._member_probabilities(self._fit_members(X, y, sessions), X), np.arange(len(y))
        return np.vstack(held_out), np.concatenate(rows)


class ForwardValidated(Combined):
    """Members whose combination is learnt where they had not seen the rows: on later sessions than each was fitted on."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        super().fit(X, y, sessions)
        P, rows = self._forward_validation(X, y, sessions, int(self.params.get("blocks", 3)))
        self.learn(P, X[rows], y[rows], sessions[rows])

    def learn(self, P: np.ndarray, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        """From the members' held-out probabilities (rows, members) and the rows they are of."""
        raise NotImplementedError


def losses(P: np.ndarray, y: np.ndarray) -> np.ndarray:
    P = np.clip(P, 1e-6, 1 - 1e-6)
    return -np.where(y[:, None] == 1, np.log(P), np.log(1 - P))


def regression(Z: np.ndarray, y: np.ndarray, C: float) -> Any:
    if len(np.unique(y)) < 2:
        raise ValueError("the rows that weights are learnt from are all of one class; give more sessions")
    return sklearn.linear_model.LogisticRegression(C=C, max_iter=200).fit(Z, y)


def declare(
    model: str,
    combined: type[Combined],
    summary: str,
    source: str,
    core: bool = False,
    members: tuple[str, ...] = MEMBERS,
    space: Mapping[str, Range] | None = None,
    *,
    family: str,
    limits: str = "",
) -> ModelSpec:
    """Declare a model of models: how its members are combined, its spec for the registry."""
    COMBINERS[model], MEMBERS_OF[model] = combined, members
    return ModelSpec(
        id=model, family=family, core=core, source=source, summary=summary, cost=cost_of(model), handles_missing=True,
        search_space=space or {}, cross_sectional=combined.cross_sectional, sectors=combined.sectors, limits=limits,
        builder=lambda params, seed, threads: EnsembleModel(model, seed, threads, **params),
    )  # fmt: skip
