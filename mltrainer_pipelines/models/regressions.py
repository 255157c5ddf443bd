"""Further linear models: other penalties, other links, Bayesian weights, projections first, one regression a session."""

from functools import partial
from typing import Any

from mltrainer_pipelines.models import weighted_sums
from mltrainer_pipelines.models.libraries import sklearn
from mltrainer_pipelines.models.spec import Range
from mltrainer_pipelines.models.table_model import Fitting, declare

_declare = partial(declare, family="regressions")
_C = Range(1e-4, 1e3, default=1.0, log=True)
_PENALTY = Range(1e-6, 1.0, default=1e-3, log=True)
_LINEAR = "a weighted sum of the features only: no interactions unless features hold them"
_SKLEARN = "https://scikit-learn.org/stable/modules/"


def _saga(f: Fitting, share: float) -> Any:
    # liblinear's coordinate descent is quick for a pure L1 penalty, saga alone mixes both
    solver, rounds = ("liblinear", 100) if share == 1.0 else ("saga", 60)
    return sklearn.linear_model.LogisticRegression(
        C=f["C"] * 1000.0 / f.rows, l1_ratio=share, solver=solver, max_iter=rounds, tol=1e-3, random_state=f.seed
    )


def _sgd(f: Fitting, **options: object) -> Any:
    return sklearn.linear_model.SGDClassifier(average=True, random_state=f.seed, **options)


def _adaptive_sgd(f: Fitting, loss: str) -> Any:
    steps = {"learning_rate": "adaptive", "eta0": 0.01, "max_iter": 20, "tol": 1e-4, "n_iter_no_change": 3}
    return _sgd(f, loss=loss, alpha=f["penalty"], **steps)


def _components(f: Fitting, supervised: bool) -> Any:
    count = max(1, min(int(f["components"]), f.features, f.rows - 1))
    if supervised:
        return sklearn.cross_decomposition.PLSRegression(n_components=count, scale=False)
    return sklearn.pipeline.make_pipeline(
        sklearn.decomposition.PCA(count, svd_solver="covariance_eigh"),
        sklearn.linear_model.LogisticRegression(C=1.0, max_iter=200),
    )


def _additive(f: Fitting) -> Any:
    splines = sklearn.preprocessing.SplineTransformer(
        n_knots=int(f["knots"]), degree=2, knots="quantile", extrapolation="constant", include_bias=False
    )
    return sklearn.pipeline.make_pipeline(
        splines, sklearn.linear_model.LogisticRegression(C=f["C"] * 10.0 / f.rows, solver="newton-cholesky", max_iter=30)
    )


MODELS = (
    _declare("logistic_l1", partial(_saga, share=1.0), "few features out of many: the rest get no weight at all",
             "Tibshirani (1996), Regression Shrinkage and Selection via the Lasso", core=True, space={"C": _C}, limits=_LINEAR),
    _declare("logistic_elastic_net", lambda f: _saga(f, min(max(f["share"], 0.01), 0.99)),
             "few groups of features that move together",
             "Zou & Hastie (2005), Regularization and Variable Selection via the Elastic Net", core=True,
             space={"C": _C, "share": Range(0.0, 1.0, default=0.5)}, limits=_LINEAR),
    _declare("sgd", partial(_adaptive_sgd, loss="log_loss"), "a regression in a few passes over the rows: cheap on any length",
             f"{_SKLEARN}sgd.html", core=True, space={"penalty": Range(1e-7, 0.1, default=1e-3, log=True)}, limits=_LINEAR),
    _declare("sgd_modified_huber", partial(_adaptive_sgd, loss="modified_huber"),
             "a regression whose loss grows only linearly for rows that are far wrong",
             "Zhang (2004), Solving Large Scale Linear Prediction Problems Using SGD Algorithms",
             space={"penalty": Range(1e-7, 0.1, default=1e-3, log=True)}, limits=_LINEAR),
    _declare("averaged_perceptron",
             lambda f: _sgd(f, loss="perceptron", learning_rate="constant", eta0=0.01, max_iter=10, alpha=f["penalty"]),
             "moves its weights at each error and averages over all of them",
             "Freund & Schapire (1999), Large Margin Classification Using the Perceptron Algorithm",
             space={"penalty": Range(1e-7, 0.1, default=1e-3, log=True)}, limits=_LINEAR),
    _declare("passive_aggressive",
             lambda f: _sgd(f, loss="hinge", penalty=None, learning_rate="pa1", eta0=f["aggressiveness"], max_iter=10),
             "the smallest change of weights that repairs each error",
             "Crammer et al. (2006), Online Passive-Aggressive Algorithms",
             space={"aggressiveness": Range(1e-6, 1.0, default=1e-4, log=True)}, limits=_LINEAR),
    _declare("ridge_classifier", lambda f: sklearn.linear_model.RidgeClassifier(alpha=f["penalty"] * f.rows),
             "least squares on the class: one solve, no iterations",
             "Hoerl & Kennard (1970), Ridge Regression: Biased Estimation for Nonorthogonal Problems",
             space={"penalty": _PENALTY}, limits=_LINEAR),
    _declare("bayesian_ridge", lambda f: sklearn.linear_model.BayesianRidge(max_iter=50),
             "sets its own penalty by the evidence: nothing to tune",
             "MacKay (1992), Bayesian Interpolation", limits=_LINEAR),
    _declare("relevance_determination", lambda f: sklearn.linear_model.ARDRegression(max_iter=50),
             "a prior for each weight: features without evidence drop out",
             "Tipping (2001), Sparse Bayesian Learning and the Relevance Vector Machine", max_rows=30_000, limits=_LINEAR),
    _declare("laplace_logistic", lambda f: weighted_sums.LaplaceLogistic(),
             "averages over what the weights may be: probabilities shrink where rows say little",
             "MacKay (1992), The Evidence Framework Applied to Classification Networks", limits=_LINEAR),
    _declare("probit", lambda f: weighted_sums.LinkRegression("probit", f["penalty"]),
             "a latent return with normal noise crossing zero",
             "Bliss (1934), The Method of Probits", space={"penalty": _PENALTY}, limits=_LINEAR),
    _declare("complementary_log_log", lambda f: weighted_sums.LinkRegression("cloglog", f["penalty"]),
             "the chance that at least one of many rare events has happened: asymmetric tails",
             "McCullagh & Nelder (1989), Generalized Linear Models, section 4.3", space={"penalty": _PENALTY}, limits=_LINEAR),
    _declare("cauchit", lambda f: weighted_sums.LinkRegression("cauchit", f["penalty"]),
             "heavy tails of the link: rows far off hardly move the weights",
             "Koenker & Yoon (2009), Parametric Links for Binary Choice Models", space={"penalty": _PENALTY}, limits=_LINEAR),
    _declare("partial_least_squares", partial(_components, supervised=True),
             "a few directions that vary with the outcome: for many features that say nearly the same",
             "Wold (1966); Kelly & Pruitt (2013), Market Expectations in the Cross-Section of Present Values",
             space={"components": Range(1, 20, default=3, integer=True)}, limits=_LINEAR),
    _declare("principal_components_regression", partial(_components, supervised=False),
             "the directions in which the features vary most, and no others",
             "Massy (1965), Principal Components Regression in Exploratory Statistical Research",
             space={"components": Range(1, 40, default=15, integer=True)}, limits=_LINEAR),
    _declare("adaptive_lasso", lambda f: weighted_sums.AdaptiveLasso(f["C"], f.seed),
             "a lasso that spares the features that a first look found strong",
             "Zou (2006), The Adaptive Lasso and Its Oracle Properties", space={"C": _C}, limits=_LINEAR),
    _declare("stability_selection", lambda f: weighted_sums.StableLogistic(f["share"], f.seed),
             "only features that are chosen on most halves of the sessions",
             "Meinshausen & Bühlmann (2010), Stability Selection", sessions=True,
             space={"share": Range(0.5, 1.0, default=0.7)}, limits=_LINEAR),
    _declare("fama_macbeth", lambda f: weighted_sums.FamaMacBeth(f["penalty"], f["certainty"]),
             "one cross-section a session: what all symbols share cannot enter the weights",
             "Fama & MacBeth (1973), Risk, Return, and Equilibrium", sessions=True,
             space={"penalty": Range(1e-4, 10.0, default=0.3, log=True), "certainty": Range(0.0, 10.0, default=1.0)},
             limits=_LINEAR),
    _declare("pairwise_logistic", lambda f: weighted_sums.PairwiseLogistic(f["penalty"], min(20_000, 20 * f.rows), f.seed),
             "which of two symbols of a session does better",
             "Herbrich, Graepel & Obermayer (2000), Large Margin Rank Boundaries for Ordinal Regression", sessions=True,
             space={"penalty": _PENALTY}, limits=_LINEAR),
    _declare("recency_logistic", lambda f: weighted_sums.RecencyLogistic(f["half_life"], f["penalty"]),
             "recent sessions count more: follows weights that drift",
             "Brown (1959), Statistical Forecasting for Inventory Control (exponential discounting)", sessions=True,
             space={"half_life": Range(21.0, 1000.0, default=189.0, log=True), "penalty": _PENALTY}, limits=_LINEAR),
    _declare("minimax_logistic", lambda f: weighted_sums.MinimaxLogistic(int(f["stretches"]), f["rate"], f["penalty"]),
             "as good as can be in its worst stretch of time",
             "Sagawa, Koh, Hashimoto & Liang (2020), Distributionally Robust Neural Networks for Group Shifts", sessions=True,
             space={"stretches": Range(2, 12, default=6, integer=True), "rate": Range(0.1, 20.0, default=5.0, log=True),
                    "penalty": _PENALTY}, limits=_LINEAR),
    _declare("additive_splines", _additive, "each feature's own curve: bends, but no interactions",
             "Hastie & Tibshirani (1986), Generalized Additive Models",
             space={"knots": Range(3, 9, default=5, integer=True), "C": Range(0.01, 100.0, default=1.0, log=True)},
             limits="no interactions between features"),
    _declare("interaction_logistic", lambda f: weighted_sums.StrongestPairs(int(f["features"]), f["C"]),
             "products of the strongest features beside all features",
             "Bien, Taylor & Tibshirani (2013), A Lasso for Hierarchical Interactions",
             space={"features": Range(2, 15, default=8, integer=True), "C": Range(0.01, 1e3, default=10.0, log=True)}),
    _declare("marginal_vote", lambda f: weighted_sums.MarginalVote(f["least"]),
             "adds up what each feature says alone: nothing to invert, hard to beat on noise",
             "Fan & Lv (2008), Sure Independence Screening; Lewellen (2015)", space={"least": Range(0.0, 5.0, default=1.0)},
             limits=_LINEAR),
    _declare("forward_selection", lambda f: weighted_sums.ForwardSelection(int(f["most"])),
             "a handful of features, each of which had to pay for itself",
             "Schwarz (1978), Estimating the Dimension of a Model; Efroymson (1960)",
             space={"most": Range(1, 20, default=8, integer=True)}, limits=_LINEAR),
)  # fmt: skip
