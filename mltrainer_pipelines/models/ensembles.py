"""Votes, stacks and calibrated ensembles of other models of the registry."""

from functools import partial

import numpy as np

from mltrainer_pipelines.models import combined
from mltrainer_pipelines.models.boosting import booster_params
from mltrainer_pipelines.models.calibration import Sigmoid
from mltrainer_pipelines.models.combined import SINGLE_ROWS, Combined, ForwardValidated, losses, regression
from mltrainer_pipelines.models.libraries import lightgbm, scipy, sklearn
from mltrainer_pipelines.models.log_odds import expit, logit
from mltrainer_pipelines.models.scaling import TailClipScaler
from mltrainer_pipelines.models.spec import Range

_declare = partial(combined.declare, family="ensembles")


class SoftVote(Combined):
    """The members' mean."""


class LogPool(Combined):
    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return expit(logit(P).mean(axis=1))


class MedianVote(Combined):
    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return np.median(P, axis=1)


class RankAverage(ForwardValidated):
    """Places among the training rows' probabilities, averaged: no member counts more for being surer."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        super().fit(X, y, sessions)
        self.knots_ = np.quantile(self._member_probabilities(self.fitted_, X), np.linspace(0, 1, 101), axis=0)

    def learn(self, P: np.ndarray, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        self.calibration_ = Sigmoid().fit(_mean_ranks(P, np.quantile(P, np.linspace(0, 1, 101), axis=0)), y)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return self.calibration_.probability(_mean_ranks(P, self.knots_))


def _mean_ranks(P: np.ndarray, knots: np.ndarray) -> np.ndarray:
    return np.mean([np.interp(P[:, k], knots[:, k], np.linspace(0, 1, 101)) for k in range(P.shape[1])], axis=0)


class Stack(ForwardValidated):
    """A regression on the members' log-odds, learnt where they had not seen the rows."""

    def learn(self, P: np.ndarray, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        self.regression_ = regression(self._inputs(P, X), y, self.params["C"])

    def _inputs(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return logit(P)

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
        L = logit(P)
        return np.hstack([L, *(L * gates[:, [k]] for k in range(gates.shape[1]))])


class WeightedMean(ForwardValidated):
    """A weighted mean of the members; a subclass learns the weights where they had not seen the rows."""

    def learn(self, P: np.ndarray, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        weights = self.weights(P, y, sessions)
        self.weights_ = weights / weights.sum() if weights.sum() > 0 else np.full(P.shape[1], 1 / P.shape[1])

    def weights(self, P: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        """Of the members, not negative, from their held-out probabilities (rows, members)."""
        raise NotImplementedError

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return P @ self.weights_


class SuperLearner(WeightedMean):
    """The convex mix of the members with the least squared error ahead."""

    def weights(self, P: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        return np.asarray(scipy.optimize.nnls(P, y.astype(np.float64))[0])


class ModelAveraging(WeightedMean):
    """Weights by the members' likelihood ahead, per independent row: a session's rows count as few."""

    def weights(self, P: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        evidence = -losses(P, y).mean(axis=0) * len(np.unique(sessions))
        return np.exp(evidence - evidence.max())


class BestAhead(WeightedMean):
    """The one member with the least log loss ahead."""

    def weights(self, P: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        return np.eye(P.shape[1])[int(losses(P, y).mean(axis=0).argmin())]


class GreedySelection(WeightedMean):
    """Members added one at a time, again and again the one that helps the mean the most."""

    def weights(self, P: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        counts = np.zeros(P.shape[1])
        for _ in range(15):
            loss = [losses(((P @ counts + P[:, k]) / (counts.sum() + 1))[:, None], y).mean() for k in range(P.shape[1])]
            counts[int(np.argmin(loss))] += 1
        return counts


class Cascade(ForwardValidated):
    """Boosted trees that see the first members' probabilities beside the features."""

    def learn(self, P: np.ndarray, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        second = SINGLE_ROWS["lightgbm"].build({"rounds": 40}, seed=self.seed, threads=self.threads)
        self.second_ = second.fit(np.hstack([X, logit(P)]).astype(np.float32), y, sessions)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return self.second_.predict_proba(np.hstack([X, logit(P)]).astype(np.float32))[:, 1]


class LinearThenTrees(Combined):
    """Trees boosted from the log-odds of a regression: they only learn what a line cannot."""

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        super().fit(X, y, sessions)
        start = logit(self._member_probabilities(self.fitted_, X))[:, 0]
        params = booster_params(
            self.seed, self.threads, learning_rate=0.05, num_leaves=8, min_data_in_leaf=max(1, min(1000, len(X) // 20)),
            feature_fraction=0.3, lambda_l2=50.0, max_bin=63,
        )  # fmt: skip
        data = lightgbm.Dataset(X, y.astype(np.float32), init_score=start, params=params)
        self.booster_ = lightgbm.train(params, data, int(self.params["rounds"]))

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return expit(logit(P)[:, 0] + np.asarray(self.booster_.predict(X, raw_score=True, num_threads=self.threads)))


class VennAbers(ForwardValidated):
    """Two isotonic fits for each row, one for each outcome it could have: an ensemble with valid probabilities."""

    def learn(self, P: np.ndarray, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        scores, outcome = P.mean(axis=1), y.astype(np.float64)
        # the two fits at a grid of scores, instead of one pair for each row that is asked
        self.grid_ = np.unique(np.quantile(scores, np.linspace(0, 1, 101)))
        self.low_, self.high_ = np.empty(len(self.grid_)), np.empty(len(self.grid_))
        for label, out in ((0.0, self.low_), (1.0, self.high_)):
            for k, score in enumerate(self.grid_):
                fitted = sklearn.isotonic.IsotonicRegression(out_of_bounds="clip").fit(
                    np.append(scores, score), np.append(outcome, label)
                )
                out[k] = fitted.predict([score])[0]

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        score = P.mean(axis=1)
        low, high = np.interp(score, self.grid_, self.low_), np.interp(score, self.grid_, self.high_)
        # isotonic steps tie many rows: the score itself keeps their order, and moves no probability by more than 0.001
        return np.clip(high / (1 - low + high) + 0.001 * (score - 0.5), 0.0, 1.0)


class ConformalVote(ForwardValidated):
    """How usual the members' vote would be of a winner, and how usual of a loser: the p-values of a conformal predictor a class.

    The held-out rows of each class are its own measure (Mondrian). Their log-ratio is calibrated.
    """

    def learn(self, P: np.ndarray, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        scores = P.mean(axis=1)
        self.losers_, self.winners_ = (np.sort(scores[y == outcome]) for outcome in (0, 1))
        self.calibration_ = Sigmoid().fit(self._ratio(scores), y)

    def _ratio(self, scores: np.ndarray) -> np.ndarray:
        p_winner = (np.searchsorted(self.winners_, scores, "right") + 1) / (len(self.winners_) + 1)
        p_loser = (len(self.losers_) - np.searchsorted(self.losers_, scores, "left") + 1) / (len(self.losers_) + 1)
        return np.log(p_winner / p_loser)

    def combine(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        return self.calibration_.probability(self._ratio(P.mean(axis=1)))


class FamilyStack(Stack):
    """A stack for each family of members, and a stack of these stacks, learnt on later sessions than they were."""

    def learn(self, P: np.ndarray, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> None:
        cut = len(y) // 2
        early = slice(0, cut) if min(len(np.unique(y[:cut])), len(np.unique(y[cut:]))) == 2 else slice(None)
        late = slice(cut, None) if early.stop else early
        self.stacks_ = [regression(logit(P[early][:, family]), y[early], self.params["C"]) for family in self._families()]
        self.regression_ = regression(self._inputs(P[late], X[late]), y[late], self.params["C"])

    def _families(self) -> list[list[int]]:
        names = [_ERROR_FAMILIES.get(member, SINGLE_ROWS[member].family) for member in self.members]
        return [[index for index, name in enumerate(names) if name == family] for family in dict.fromkeys(names)]

    def _inputs(self, P: np.ndarray, X: np.ndarray) -> np.ndarray:
        families = zip(self.stacks_, self._families(), strict=True)
        return np.stack([stack.decision_function(logit(P[:, family])) for stack, family in families], axis=1)


_ERROR_FAMILIES = {"logistic_l2": "linear", "lda": "linear", "lightgbm": "trees", "extra_trees": "trees", "mlp": "networks"}
"""Families of models that err alike; a file of the registry may hold several, or a family several files."""
_BLOCKS = {"blocks": Range(2, 8, default=3, integer=True)}
_stack = partial(_declare, space=_BLOCKS | {"C": Range(1e-4, 10.0, default=0.01, log=True)})
_declare_validated = partial(_declare, space=_BLOCKS)

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
    _declare_validated("super_learner", SuperLearner, "the convex mix that did best ahead: never far from the best member",
           "van der Laan, Polley & Hubbard (2007), Super Learner"),
    _declare_validated("model_averaging", ModelAveraging, "members weighed by their likelihood ahead",
           "Yao, Vehtari, Simpson & Gelman (2018), Using Stacking to Average Bayesian Predictive Distributions (pseudo-BMA)"),
    _declare_validated("best_ahead", BestAhead, "the one member that did best on later sessions",
           "Schaffer (1993), Selecting a Classification Method by Cross-Validation"),
    _declare_validated("greedy_selection", GreedySelection, "adds the member that helps the mean the most, again and again",
           "Caruana, Niculescu-Mizil, Crew & Ksikes (2004), Ensemble Selection from Libraries of Models"),
    _declare("cascade", Cascade, "trees that may ask the first models as they ask features",
             "Gama & Brazdil (2000), Cascade Generalization", members=("logistic_l2", "binned_naive_bayes")),
    _declare("linear_then_trees", LinearThenTrees, "a regression first, trees for what it leaves over",
             "Friedman (2001), Greedy Function Approximation (boosting from an offset)", members=("logistic_l2",),
             space={"rounds": Range(10, 300, default=40, log=True, integer=True)}),
    _declare("venn_abers_vote", VennAbers, "a vote whose probabilities are valid whatever the members say",
             "Vovk & Petej (2014), Venn-Abers Predictors", members=("logistic_l2", "lightgbm")),
    _declare("conformal_vote", ConformalVote, "how usual the vote is among winners and among losers that nobody had fitted",
             "Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World, section 4.5",
             members=("logistic_l2", "lightgbm", "binned_naive_bayes")),
    _stack("family_stack", FamilyStack, "a stack for each family first: three alike do not outvote one that is unlike",
           "Ting & Witten (1999), Issues in Stacked Generalization",
           members=("logistic_l2", "lda", "lightgbm", "extra_trees", "naive_bayes", "binned_naive_bayes")),
)  # fmt: skip
