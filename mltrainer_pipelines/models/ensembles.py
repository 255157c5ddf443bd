"""Models of models: votes, stacks, gates and calibrated ensembles of other models of the catalogue."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import ProbabilityClassifier
from mltrainer_pipelines.models.linear import TailClipScaler
from mltrainer_pipelines.models.panel import canonical_order, sessions_of
from mltrainer_pipelines.models.spec import ModelSpec, ParamValue, Range
from mltrainer_pipelines.models.table_model import Sigmoid

MEMBERS = ("logistic_l2", "lightgbm", "extra_trees", "binned_naive_bayes")
"""A linear model, boosted trees, a forest and a vote of single features: they err differently."""
_MEMBERS_OF: dict[str, tuple[str, ...]] = {}
_COMBINERS: dict[str, "type[Combined]"] = {}


def members_of(model: str) -> tuple[str, ...]:
    """The models that an ensemble of the catalogue is made of."""
    return _MEMBERS_OF[model]


class EnsembleModel(ProbabilityClassifier):
    """An ensemble of the catalogue.

    Parameters
    ----------
    model : str
        Its id in the catalogue.
    seed, threads : int
    **params
        The parameters of its search space.
    """

    def __init__(self, model: str, seed: int = 0, threads: int = 1, **params: Any):
        self.model, self.seed, self.threads = model, seed, threads
        self._names = sorted(params)
        for name, value in params.items():
            setattr(self, name, value)

    def _parameter_names(self) -> list[str]:  # type: ignore[override]
        return ["model", "seed", "threads", *self._names]

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        if self.model not in _COMBINERS:
            from mltrainer_pipelines.models import catalogue

            catalogue.get_model(self.model)
        order = canonical_order(X, y, groups)
        if order is not None:
            X, y, groups = X[order], y[order], groups[order]  # type: ignore[index]
        params = {name: getattr(self, name) for name in self._names}
        self.combined_ = _COMBINERS[self.model](_MEMBERS_OF[self.model], self.seed, self.threads, params)
        self.combined_.fit(X, y, sessions_of(groups, len(X)))

    def _positive(self, X: np.ndarray) -> np.ndarray:
        return np.clip(self.combined_.probability(X), 0.0, 1.0) if len(X) else np.empty(0)


class Combined:
    """Members fitted on all rows, and how their probabilities become one: a subclass says it."""

    def __init__(self, members: tuple[str, ...], seed: int, threads: int, params: Mapping[str, Any]):
        self.members, self.seed, self.threads, self.params = members, seed, threads, params

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        self.fitted_ = self._members(X, y, sessions)

    def probability(self, X: np.ndarray) -> np.ndarray:
        return self.combine(self._said(self.fitted_, X), X)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        """One probability a row of the members', (rows, members)."""
        raise NotImplementedError

    def _members(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> list[Any]:
        from mltrainer_pipelines.models.catalogue import get_model

        return [get_model(name).build(seed=self.seed, threads=self.threads).fit(X, y, sessions) for name in self.members]

    def _said(self, fitted: list[Any], X: np.ndarray) -> np.ndarray:
        return np.stack([member.predict_proba(X)[:, 1] for member in fitted], axis=1)

    def _ahead(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray, blocks: int) -> tuple[np.ndarray, np.ndarray]:
        """Members' probabilities for rows of later blocks of sessions, each fitted on the blocks before only; and which rows."""
        days = np.unique(sessions)
        block = np.searchsorted(days, sessions) * blocks // len(days)
        said, rows = [], []
        for number in range(1, blocks):
            before, at = np.flatnonzero(block < number), np.flatnonzero(block == number)
            if len(at) and len(np.unique(y[before])) == 2:
                said.append(self._said(self._members(X[before], y[before], sessions[before]), X[at]))
                rows.append(at)
        if not said:  # too few sessions to look ahead: what is left is how well the members fit
            return self._said(self._members(X, y, sessions), X), np.arange(len(y))
        return np.vstack(said), np.concatenate(rows)


def _logit(P: np.ndarray) -> np.ndarray:
    P = np.clip(P, 1e-4, 1 - 1e-4)
    return np.log(P / (1 - P))


def _expit(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -50, 50)))


def _losses(P: np.ndarray, y: np.ndarray) -> np.ndarray:
    P = np.clip(P, 1e-6, 1 - 1e-6)
    return -np.where(y[:, None] == 1, np.log(P), np.log(1 - P))


def _regression(Z: np.ndarray, y: np.ndarray, C: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(y)) < 2:
        raise ValueError("the rows that weights are learnt from are all of one class; give more sessions")
    return LogisticRegression(C=C, max_iter=200).fit(Z, y)


class SoftVote(Combined):
    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return P.mean(axis=1)


class LogPool(Combined):
    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return _expit(_logit(P).mean(axis=1))


class MedianVote(Combined):
    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return np.median(P, axis=1)


class RankAverage(Combined):
    """Places among the training rows' probabilities, averaged: no member counts more for being surer."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        P, rows = self._ahead(X, y, sessions, 3)
        super().fit(X, y, sessions)
        self.knots_ = np.quantile(self._said(self.fitted_, X), np.linspace(0, 1, 101), axis=0)
        held_out = np.quantile(P, np.linspace(0, 1, 101), axis=0)
        self.calibration_ = Sigmoid().fit(_places(P, held_out), y[rows])

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return self.calibration_.probability(_places(P, self.knots_))


def _places(P: np.ndarray, knots: np.ndarray) -> np.ndarray:
    return np.mean([np.interp(P[:, k], knots[:, k], np.linspace(0, 1, 101)) for k in range(P.shape[1])], axis=0)


class Stack(Combined):
    """A regression on the members' log-odds, learnt where they had not seen the rows."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        P, rows = self._ahead(X, y, sessions, int(self.params["blocks"]))
        self.regression_ = _regression(self._inputs(P, X[rows]), y[rows], self.params["C"])
        super().fit(X, y, sessions)

    def _inputs(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return _logit(P)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return self.regression_.predict_proba(self._inputs(P, X))[:, 1]


class FeatureWeightedStack(Stack):
    """A stack whose weights depend on the row: products of the members' log-odds with the strongest features."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        self.scaler_ = TailClipScaler()
        Z = self.scaler_.fit_transform(X)
        strength = np.abs((Z * (y - y.mean())[:, None]).mean(axis=0))
        self.gates_ = np.argsort(-strength, kind="stable")[:3]
        super().fit(X, y, sessions)

    def _inputs(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        gates = self.scaler_.transform(X)[:, self.gates_]
        L = _logit(P)
        return np.hstack([L, *(L * gates[:, [k]] for k in range(gates.shape[1]))])


class SuperLearner(Stack):
    """The convex mix of the members with the least squared error ahead."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        from scipy.optimize import nnls

        P, rows = self._ahead(X, y, sessions, int(self.params["blocks"]))
        weights, _ = nnls(P, y[rows].astype(np.float64))
        self.weights_ = weights / weights.sum() if weights.sum() > 0 else np.full(P.shape[1], 1 / P.shape[1])
        Combined.fit(self, X, y, sessions)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return P @ self.weights_


class ModelAveraging(SuperLearner):
    """Weights by the members' likelihood ahead, per independent row: a session's rows count as few."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        P, rows = self._ahead(X, y, sessions, int(self.params["blocks"]))
        evidence = -_losses(P, y[rows]).mean(axis=0) * len(np.unique(sessions[rows]))
        weights = np.exp(evidence - evidence.max())
        self.weights_ = weights / weights.sum()
        Combined.fit(self, X, y, sessions)


class BestAhead(SuperLearner):
    """The one member with the least log loss ahead."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        P, rows = self._ahead(X, y, sessions, int(self.params["blocks"]))
        self.weights_ = np.zeros(P.shape[1])
        self.weights_[int(_losses(P, y[rows]).mean(axis=0).argmin())] = 1.0
        Combined.fit(self, X, y, sessions)


class GreedySelection(SuperLearner):
    """Members added one at a time, again and again the one that helps the mean the most."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        P, rows = self._ahead(X, y, sessions, int(self.params["blocks"]))
        counts = np.zeros(P.shape[1])
        for _ in range(15):
            loss = [_losses(((P @ counts + P[:, k]) / (counts.sum() + 1))[:, None], y[rows]).mean() for k in range(P.shape[1])]
            counts[int(np.argmin(loss))] += 1
        self.weights_ = counts / counts.sum()
        Combined.fit(self, X, y, sessions)


class LocalCompetence(Combined):
    """Members weighed by how well they did ahead on the rows most like this one."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        from sklearn.neighbors import KNeighborsRegressor

        P, rows = self._ahead(X, y, sessions, 3)
        kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), 5000)).astype(np.int64))
        self.scaler_ = TailClipScaler()
        self.scaler_.fit_transform(X)
        count = max(1, min(int(self.params["neighbours"]), len(kept) // 2))
        self.competence_ = KNeighborsRegressor(count, algorithm="brute").fit(
            self.scaler_.transform(X[rows[kept]]), _losses(P, y[rows])[kept]
        )
        super().fit(X, y, sessions)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        loss = self.competence_.predict(self.scaler_.transform(X))
        weight = np.exp(-20.0 * (loss - loss.min(axis=1, keepdims=True)))
        return (P * weight).sum(axis=1) / weight.sum(axis=1)


class Cascade(Combined):
    """Boosted trees that see the first members' probabilities beside the features."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        from mltrainer_pipelines.models.catalogue import get_model

        P, rows = self._ahead(X, y, sessions, 3)
        second = get_model("lightgbm").build({"rounds": 40}, seed=self.seed, threads=self.threads)
        self.second_ = second.fit(np.hstack([X[rows], _logit(P)]).astype(np.float32), y[rows], sessions[rows])
        super().fit(X, y, sessions)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return self.second_.predict_proba(np.hstack([X, _logit(P)]).astype(np.float32))[:, 1]


class LinearThenTrees(Combined):
    """Trees boosted from the log-odds of a regression: they only learn what a line cannot."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        import lightgbm

        super().fit(X, y, sessions)
        start = _logit(self._said(self.fitted_, X))[:, 0]
        params = {
            "objective": "binary", "learning_rate": 0.05, "num_leaves": 8, "min_data_in_leaf": max(1, min(1000, len(X) // 20)),
            "feature_fraction": 0.3, "lambda_l2": 50.0, "max_bin": 63, "seed": self.seed, "deterministic": True,
            "force_col_wise": True, "num_threads": self.threads, "verbose": -1,
        }  # fmt: skip
        data = lightgbm.Dataset(X, y.astype(np.float32), init_score=start, params=params)
        self.booster_ = lightgbm.train(params, data, int(self.params["rounds"]))

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return _expit(_logit(P)[:, 0] + np.asarray(self.booster_.predict(X, raw_score=True, num_threads=self.threads)))


class VennAbers(Combined):
    """Two isotonic fits for each row, one for each outcome it could have: an ensemble with valid probabilities."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        from sklearn.isotonic import IsotonicRegression

        P, rows = self._ahead(X, y, sessions, 3)
        super().fit(X, y, sessions)
        scores, outcome = P.mean(axis=1), y[rows].astype(np.float64)
        # the two fits at a grid of scores, instead of one pair for each row that is asked
        self.grid_ = np.unique(np.quantile(scores, np.linspace(0, 1, 101)))
        self.low_, self.high_ = np.empty(len(self.grid_)), np.empty(len(self.grid_))
        for label, out in ((0.0, self.low_), (1.0, self.high_)):
            for k, score in enumerate(self.grid_):
                fitted = IsotonicRegression(out_of_bounds="clip").fit(np.append(scores, score), np.append(outcome, label))
                out[k] = fitted.predict([score])[0]

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        score = P.mean(axis=1)
        low, high = np.interp(score, self.grid_, self.low_), np.interp(score, self.grid_, self.high_)
        # isotonic steps tie many rows: the score itself keeps their order, and moves no probability by more than 0.001
        return np.clip(high / (1 - low + high) + 0.001 * (score - 0.5), 0.0, 1.0)


class StretchExperts(Combined):
    """The same model fitted on each stretch of time, weighed by how well it does in the last one."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        days = np.unique(sessions)
        count = int(self.params["stretches"])
        stretch = np.searchsorted(days, sessions) * count // len(days)
        fitted = []
        for k in range(count):
            rows = np.flatnonzero(stretch == k)
            if len(rows) >= 20 and len(np.unique(y[rows])) == 2:
                fitted += self._members(X[rows], y[rows], sessions[rows])
        self.fitted_ = fitted or self._members(X, y, sessions)
        last = np.flatnonzero(stretch == count - 1)
        recent = last if len(last) else np.arange(len(y))
        share = float(y[recent].mean())
        error = ((self._said(self.fitted_, X[recent]) - y[recent][:, None]) ** 2).mean(axis=0)
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
            if len(np.unique(y[rows])) == 2:
                self.fitted_ += self._members(X[rows], y[rows], sessions[rows])
        self.fitted_ = self.fitted_ or self._members(X, y, sessions)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return P.mean(axis=1)


class LocalExperts(Combined):
    """Rows fall into a few situations; each has its own regression, drawn to that of all rows."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        from sklearn.cluster import KMeans

        self.scaler_ = TailClipScaler()
        Z = self.scaler_.fit_transform(X)
        count = max(1, min(int(self.params["situations"]), len(Z) // 50))
        self.clusters_ = KMeans(count, n_init=1, max_iter=50, random_state=self.seed).fit(Z[:: max(1, len(Z) // 20_000)])
        situation = self.clusters_.predict(Z)
        super().fit(X, y, sessions)
        self.local_ = []
        for k in range(count):
            rows = np.flatnonzero(situation == k)
            enough = len(rows) >= 30 and len(np.unique(y[rows])) == 2
            self.local_.append(self._members(X[rows], y[rows], sessions[rows]) if enough else self.fitted_)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        distance = self.clusters_.transform(self.scaler_.transform(X)) ** 2
        share = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / max(X.shape[1], 1) * 4)
        share /= share.sum(axis=1, keepdims=True)
        local = np.stack([self._said(members, X).mean(axis=1) for members in self.local_], axis=1)
        return 0.5 * P.mean(axis=1) + 0.5 * (share * local).sum(axis=1)


def _declare(
    id: str,  # noqa: A002 - the field's own name
    combined: type[Combined],
    summary: str,
    source: str,
    core: bool = False,
    members: tuple[str, ...] = MEMBERS,
    space: Mapping[str, Range] | None = None,
) -> ModelSpec:
    _COMBINERS[id], _MEMBERS_OF[id] = combined, members
    return ModelSpec(
        id=id, family="ensembles", core=core, source=source, summary=summary, cost=cost_of(id), gpu=False, handles_missing=True,
        search_space=space or {}, builder=_builder(id),
    )  # fmt: skip


def _builder(model: str) -> Callable[[Mapping[str, ParamValue], int, int], EnsembleModel]:
    def build(params: Mapping[str, ParamValue], seed: int, threads: int) -> EnsembleModel:
        values: dict[str, Any] = dict(params)
        return EnsembleModel(model, seed, threads, **values)

    return build


_BLOCKS = {"blocks": Range(2, 8, default=3, integer=True)}
_stack = partial(_declare, space=_BLOCKS | {"C": Range(1e-4, 10.0, default=0.01, log=True)})
_ahead = partial(_declare, space=_BLOCKS)

MODELS = (
    _declare("soft_voting", SoftVote, "unlike models' probabilities averaged: errors that are not shared cancel",
             "Kittler, Hatef, Duin & Matas (1998), On Combining Classifiers", core=True),
    _stack("stacked", Stack, "learns from later sessions how far to trust each member",
           "Wolpert (1992), Stacked Generalization", core=True),
    _declare("log_opinion_pool", LogPool, "the members' log-odds averaged: one that is sure can decide",
             "Genest & Zidek (1986), Combining Probability Distributions"),
    _declare("median_vote", MedianVote, "the middle member: one that is far off does not count",
             "Kittler, Hatef, Duin & Matas (1998), On Combining Classifiers, median rule"),
    _declare("rank_average", RankAverage, "the members' orders averaged, whatever their scales",
             "Borda (1781); Dwork, Kumar, Naor & Sivakumar (2001), Rank Aggregation Methods"),
    _stack("feature_weighted_stack", FeatureWeightedStack, "trusts different members in different situations",
           "Sill, Takács, Mackey & Lin (2009), Feature-Weighted Linear Stacking"),
    _ahead("super_learner", SuperLearner, "the convex mix that did best ahead: never far from the best member",
           "van der Laan, Polley & Hubbard (2007), Super Learner"),
    _ahead("model_averaging", ModelAveraging, "members weighed by their likelihood ahead",
           "Yao, Vehtari, Simpson & Gelman (2018), Using Stacking to Average Bayesian Predictive Distributions (pseudo-BMA)"),
    _ahead("best_ahead", BestAhead, "the one member that did best on later sessions",
           "Schaffer (1993), Selecting a Classification Method by Cross-Validation"),
    _ahead("greedy_selection", GreedySelection, "adds the member that helps the mean the most, again and again",
           "Caruana, Niculescu-Mizil, Crew & Ksikes (2004), Ensemble Selection from Libraries of Models"),
    _declare("local_competence", LocalCompetence, "trusts the members that were right on similar rows",
             "Woods, Kegelmeyer & Bowyer (1997), Combination of Multiple Classifiers Using Local Accuracy Estimates",
             space={"neighbours": Range(10, 500, default=100, log=True, integer=True)}),
    _declare("cascade", Cascade, "trees that may ask the first models as they ask features",
             "Gama & Brazdil (2000), Cascade Generalization", members=("logistic_l2", "binned_naive_bayes")),
    _declare("linear_then_trees", LinearThenTrees, "a regression first, trees for what it leaves over",
             "Friedman (2001), Greedy Function Approximation (boosting from an offset)", members=("logistic_l2",),
             space={"rounds": Range(10, 300, default=40, log=True, integer=True)}),
    _declare("venn_abers_vote", VennAbers, "a vote whose probabilities are valid whatever the members say",
             "Vovk & Petej (2014), Venn-Abers Predictors", members=("logistic_l2", "lightgbm")),
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
)  # fmt: skip
