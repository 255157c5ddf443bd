"""Rankers: which symbols of a session do better than the others, learnt from how far ahead each one was.

Features become ranks within their session. What is learnt is the rank of the outcome (`panel.panel_groups`, field `outcome`,
where the trial's target gives it; else whether it was above the middle). A score is taken free of the session's line through
beta and volatility, so that it does not bet on the market.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from mltrainer_pipelines.contracts.ranks import session_groups, session_ranks
from mltrainer_pipelines.models import rank_prior
from mltrainer_pipelines.models.boosting import booster_params
from mltrainer_pipelines.models.calibration import Sigmoid
from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import DeclaredClassifier
from mltrainer_pipelines.models.libraries import lightgbm, threadpoolctl
from mltrainer_pipelines.models.panel import group_field, in_canonical_order, sessions_of
from mltrainer_pipelines.models.spec import Choices, ModelSpec, Range

NEUTRAL_TO = ("beta_252", "idiosyncratic_volatility_63")
"""Features that a score is made free of, where the table has them."""
MIN_PEERS = 5
"""Rows of a session below which its ranks say nothing."""
VARIANCE_OF_RANKS = 1.0 / 12.0
Scorer = Callable[[np.ndarray], np.ndarray]
Fit = Callable[["Ranker", np.ndarray, np.ndarray, np.ndarray], Scorer]


class Ranker(DeclaredClassifier):
    """A model of ranks: the mean of what its parts say, each in deviations of its session.

    `positions` says where in the matrix the features are that it knows by name.
    """

    def __init__(self, model: str, positions: Mapping[str, int] | None = None, seed: int = 0, threads: int = 1, **params: Any):
        super().__init__(model, seed, threads, **params)
        self.positions = positions

    def _parameter_names(self) -> list[str]:
        return ["positions", *super()._parameter_names()]

    @property
    def cross_sectional(self) -> bool:
        return True

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        X, y, groups = in_canonical_order(X, y, groups)
        sessions = sessions_of(groups, len(X))
        ranks = session_ranks(np.asarray(X, dtype=np.float32), sessions)
        outcome = group_field(groups, "outcome", len(X)).astype(np.float64)
        unknown = ~(np.abs(outcome) <= 0.5)
        target = np.where(unknown, y - 0.5, outcome)
        with threadpoolctl.threadpool_limits(self.threads):
            self.parts_ = [part(self, ranks, target, sessions) for part in PARTS[self.model]]
            self.calibration_ = Sigmoid().fit(self._score(ranks, sessions), y)

    def _score(self, ranks: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        """In deviations of the session, (rows,) float64; 0 where there are too few to compare with."""
        order, starts = session_groups(sessions)
        ordered = ranks if order is None else ranks[order]
        parts = [part(ordered) for part in self.parts_]
        neutral_to = [place for name, place in (self.positions or {}).items() if name in NEUTRAL_TO]
        out = np.zeros(len(ranks))
        for start, stop in pairwise(starts.tolist()):
            if stop - start >= MIN_PEERS:
                total = np.mean([_in_deviations(part[start:stop]) for part in parts], axis=0)
                out[start:stop] = _in_deviations(_residual(total, ordered[start:stop][:, neutral_to]))
        if order is None:
            return out
        placed = np.empty_like(out)
        placed[order] = out
        return placed

    def _positive_in_context(self, X: np.ndarray, groups: np.ndarray | None, n_context: int) -> np.ndarray:
        sessions = sessions_of(groups, len(X))
        ranks = session_ranks(np.asarray(X, dtype=np.float32), sessions)
        with threadpoolctl.threadpool_limits(self.threads):
            return self.calibration_.probability(self._score(ranks, sessions))[n_context:]


def _in_deviations(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    deviation = centred.std()
    return centred / deviation if deviation > 1e-9 else np.zeros_like(centred)


def _residual(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What a session's line through the columns leaves over."""
    if not columns.shape[1] or len(values) <= 2 * (columns.shape[1] + 1):
        return values
    design = np.column_stack([np.ones(len(values)), columns.astype(np.float64)])
    return np.asarray(values - design @ np.linalg.lstsq(design, values, rcond=None)[0])


class _Weights:
    """A weighted sum of ranks."""

    def __init__(self, weights: np.ndarray):
        self.weights = weights

    def __call__(self, ranks: np.ndarray) -> np.ndarray:
        # einsum sums every row alone: a score does not depend on which rows it is asked with
        return np.einsum("ij,j->i", ranks.astype(np.float64), self.weights)


class _Trees:
    """Boosted trees over ranks."""

    def __init__(self, booster: Any, threads: int):
        self.booster, self.threads = booster, threads

    def __call__(self, ranks: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster.predict(ranks, num_threads=self.threads)) if len(ranks) else np.zeros(0)


def _ridge(ranker: Ranker, ranks: np.ndarray, target: np.ndarray, sessions: np.ndarray) -> Scorer:
    """Least squares with a penalty; every session counts the same, however many symbols it has."""
    _, at, count = np.unique(sessions, return_inverse=True, return_counts=True)
    weight = (1.0 / (count[at] * len(count)))[:, None]
    weighted = ranks * weight.astype(np.float32)
    gram = weighted.T @ ranks + ranker.params["penalty"] * VARIANCE_OF_RANKS * np.eye(ranks.shape[1])
    return _Weights(np.linalg.solve(gram.astype(np.float64), (weighted.T @ target).astype(np.float64)))


def _trees(ranker: Ranker, ranks: np.ndarray, target: np.ndarray, sessions: np.ndarray) -> Scorer:
    """Small trees on every third session: neighbouring sessions see nearly the same outcomes."""
    _, at = np.unique(sessions, return_inverse=True)
    kept = (at.max() - at) % int(ranker.params["every"]) == 0
    if kept.sum() < 100:
        kept[:] = True
    params = booster_params(
        ranker.seed, ranker.threads, objective="l2", learning_rate=0.03, num_leaves=int(ranker.params["num_leaves"]),
        min_data_in_leaf=max(1, min(2000, int(kept.sum()) // 20)), feature_fraction=0.3, bagging_fraction=0.5, bagging_freq=1,
        lambda_l2=100.0, max_bin=31, bin_construct_sample_cnt=25_000,
    )  # fmt: skip
    data = lightgbm.Dataset(ranks[kept], target[kept].astype(np.float32), params=params)
    return _Trees(lightgbm.train(params, data, int(ranker.params["rounds"])), ranker.threads)


def _prior(ranker: Ranker, ranks: np.ndarray, target: np.ndarray, sessions: np.ndarray) -> Scorer:
    """The weights that were known from another market when the last row was decided; none of what the table does not have."""
    weights, places = np.zeros(ranks.shape[1]), ranker.positions or {}
    for name, weight in rank_prior.weights(str(ranker.params["prior"]), int(sessions.max())).items():
        if name in places:
            weights[places[name]] = weight
    return _Weights(weights)


PARTS: dict[str, tuple[Fit, ...]] = {"rank_ridge": (_ridge,), "rank_trees": (_trees,), "rank_mix": (_ridge, _trees, _prior)}
_PENALTY: dict[str, Range | Choices] = {"penalty": Range(1e-3, 30.0, default=0.3, log=True)}
_PRIOR = {"prior": Choices((rank_prior.NONE, "short", "long"))}
_GROWN = {
    "rounds": Range(20, 1000, default=200, log=True, integer=True),
    "num_leaves": Range(3, 63, default=16, log=True, integer=True),
    "every": Range(1, 10, default=3, integer=True),
}


def _declare(model: str, summary: str, source: str, space: Mapping[str, Range | Choices]) -> ModelSpec:
    return ModelSpec(
        id=model, family="rankers", source=source, summary=summary, cost=cost_of(model), search_space=space,
        cross_sectional=True, optional_columns=(*NEUTRAL_TO, *(name for name in rank_prior.names() if name not in NEUTRAL_TO)),
        builder=lambda params, seed, threads: Ranker(model, None, seed, threads, **params),
    )  # fmt: skip


MODELS = (
    _declare("rank_ridge", "weights ranks by what they said about ranks: as few assumptions as a regression can have",
             "Lewellen (2015), The Cross-Section of Expected Stock Returns; Hoerl & Kennard (1970), Ridge Regression", _PENALTY),
    _declare("rank_trees", "small trees over ranks, for what features say only together",
             "Gu, Kelly & Xiu (2020), Empirical Asset Pricing via Machine Learning", _GROWN),
    _declare("rank_mix", "the weighted sum, the trees, and weights from a market before (`prior`), alike: the default",
             "Rapach, Strauss & Zhou (2010), Out-of-Sample Equity Premium Prediction: Combination Forecasts",
             _PENALTY | _GROWN | _PRIOR),
)  # fmt: skip
