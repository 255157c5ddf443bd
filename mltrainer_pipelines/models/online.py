"""Online learners: one session after the other, each judged before it is learnt from; what they are after the last one counts."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mltrainer_pipelines.models import online_weights as weights
from mltrainer_pipelines.models.libraries import river
from mltrainer_pipelines.models.online_river import SessionGradient, Stream
from mltrainer_pipelines.models.spec import ModelSpec, Range
from mltrainer_pipelines.models.table_model import Fitting, declare

_declare = partial(declare, family="online", sessions=True, limits="a weighted sum of the features only")


def _declare_trees(model: str, learner: Callable[[Fitting], Any], summary: str, source: str, **options: Any) -> ModelSpec:
    """A learner of river, which reads row by row."""
    declared = partial(declare, family="online", sessions=True, prepare="filled")
    return declared(model, lambda f: Stream(learner(f)), summary, source, **options)


def _ensemble_of_trees(f: Fitting, kind: str, **options: object) -> Any:
    tree = river.tree.HoeffdingTreeClassifier(f["grace"], f["depth"])
    return getattr(river.ensemble, kind)(tree, n_models=5, seed=f.seed, **options)


_GRACE = Range(50, 2000, default=200, log=True, integer=True)
_DEPTH = Range(1, 12, default=6, integer=True)
_DELTA = Range(1e-9, 0.1, default=1e-5, log=True)
_WEIGHT = Range(1, 10, default=2, integer=True)
_PENALTY = Range(1e-6, 1.0, default=1e-3, log=True)

MODELS = (
    _declare("online_ftrl", lambda f: weights.Ftrl(f["alpha"], f["l1"], f["l2"]),
             "sparse weights that follow the market, session by session",
             "McMahan et al. (2013), Ad Click Prediction: a View from the Trenches",
             space={"alpha": Range(0.001, 1.0, default=0.1, log=True), "l1": Range(0.0, 1.0, default=0.05),
                    "l2": Range(0.0, 10.0, default=1.0)}),
    _declare("online_adagrad", lambda f: SessionGradient(river.optim.AdaGrad(f["rate"], eps=1e-3), f["penalty"]),
             "steps that shrink where a feature has moved its weight enough",
             "Duchi, Hazan & Singer (2011), Adaptive Subgradient Methods",
             space={"rate": Range(0.001, 1.0, default=0.03, log=True), "penalty": _PENALTY}),
    _declare("recursive_least_squares", lambda f: weights.RecursiveLeastSquares(f["half_life"], f["penalty"]),
             "an exact regression that forgets at a steady rate",
             "Plackett (1950), Some Theorems in Least Squares",
             space={"half_life": Range(10.0, 1000.0, default=189.0, log=True),
                    "penalty": Range(1e-5, 10.0, default=0.1, log=True)}),
    _declare("dynamic_logistic", lambda f: weights.DynamicLogistic(f["forget"], f["spread"]),
             "weights that drift, tracked with their uncertainty",
             "McCormick, Raftery, Madigan & Burd (2012), Dynamic Logistic Regression and Dynamic Model Averaging",
             space={"forget": Range(0.9, 1.0, default=0.995), "spread": Range(0.01, 1.0, default=0.1, log=True)}),
    _declare("online_newton", lambda f: SessionGradient(river.optim.Newton(1 / f["gamma"], eps=0.1)),
             "steps along the curvature that gradients have shown",
             "Hazan, Agarwal & Kale (2007), Logarithmic Regret Algorithms for Online Convex Optimization",
             space={"gamma": Range(0.5, 50.0, default=5.0, log=True)}),
    _declare("adaptive_regularization", lambda f: weights.AdaptiveRegularization(f["r"]),
             "sure weights move little, unsure ones much",
             "Crammer, Kulesza & Dredze (2009), Adaptive Regularization of Weight Vectors",
             space={"r": Range(0.1, 1000.0, default=50.0, log=True)}),
    _declare("hedge_of_features", lambda f: weights.Hedge(f["rate"], f["forget"]),
             "each feature an expert, weighed by how it ordered the sessions so far",
             "Freund & Schapire (1997), A Decision-Theoretic Generalization of On-Line Learning (Hedge)",
             space={"rate": Range(0.01, 10.0, default=0.3, log=True), "forget": Range(0.9, 1.0, default=0.998)}),
    _declare_trees("hoeffding_adaptive_tree",
                   lambda f: river.tree.HoeffdingAdaptiveTreeClassifier(f["grace"], f["depth"], delta=f["delta"], seed=f.seed),
                   "a tree that replaces the branches whose errors have begun to grow",
                   "Bifet & Gavaldà (2009), Adaptive Learning from Evolving Data Streams",
                   space={"grace": _GRACE, "depth": _DEPTH, "delta": _DELTA}),
    _declare_trees("extremely_fast_tree",
                   lambda f: river.tree.ExtremelyFastDecisionTreeClassifier(f["grace"], f["depth"], f["reconsider"],
                                                                            delta=f["delta"]),
                   "a tree that splits early and takes splits back",
                   "Manapragada, Webb & Salehi (2018), Extremely Fast Decision Tree",
                   space={"grace": _GRACE, "depth": _DEPTH, "delta": _DELTA,
                          "reconsider": Range(100, 20_000, default=2000, log=True, integer=True)}),
    _declare_trees("adaptive_random_forest",
                   lambda f: river.forest.ARFClassifier(n_models=10, lambda_value=f["weight"], grace_period=f["grace"],
                                                        max_depth=f["depth"], seed=f.seed),
                   "trees of random features, each begun anew when it drifts",
                   "Gomes et al. (2017), Adaptive Random Forests for Evolving Data Stream Classification", max_rows=50_000,
                   space={"grace": _GRACE, "depth": _DEPTH, "weight": _WEIGHT}),
    _declare_trees("streaming_random_patches",
                   lambda f: _ensemble_of_trees(f, "SRPClassifier", subspace_size=f["share"], lam=f["weight"]),
                   "each tree its own draw of rows and features, begun anew when it drifts",
                   "Gomes, Read & Bifet (2019), Streaming Random Patches for Evolving Data Stream Classification",
                   max_rows=30_000, space={"grace": _GRACE, "depth": _DEPTH, "weight": _WEIGHT,
                                           "share": Range(0.1, 0.9, default=0.4)}),
    _declare_trees("online_boosting", partial(_ensemble_of_trees, kind="BOLEClassifier"),
                   "each tree weighs what those before it got wrong, row by row",
                   "Barros, Santos & Gonçalves (2016), A Boosting-like Online Learning Ensemble (BOLE)", max_rows=30_000,
                   space={"grace": _GRACE, "depth": Range(1, 6, default=3, integer=True)}),
)  # fmt: skip
