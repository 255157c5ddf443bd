"""Further boosted trees of XGBoost, LightGBM and CatBoost: dropout, sampling, ranking, constraints, other losses."""

from functools import partial
from typing import Any

import numpy as np

from mltrainer_pipelines.models.boosting import booster_params
from mltrainer_pipelines.models.libraries import catboost, lightgbm, xgboost
from mltrainer_pipelines.models.log_odds import both_classes, expit
from mltrainer_pipelines.models.spec import Range
from mltrainer_pipelines.models.table_model import Fitting, declare

_declare = partial(declare, family="boosters", prepare="raw")
_ROUNDS = Range(20, 1000, default=60, log=True, integer=True)
_RATE = Range(0.005, 0.3, default=0.05, log=True)
_LEAVES = Range(3, 127, default=8, log=True, integer=True)
_LEAF = Range(20, 5000, default=1000, log=True, integer=True)
_DEPTH = Range(1, 10, default=3, integer=True)
_COLUMNS = Range(0.1, 1.0, default=0.3)
_L2 = Range(0.0, 1000.0, default=50.0)
_LIGHTGBM = "https://lightgbm.readthedocs.io/en/stable/Parameters.html"
_XGBOOST = "https://xgboost.readthedocs.io/en/stable/"
_BY_LEAF = {"rounds": _ROUNDS, "learning_rate": _RATE, "leaves": _LEAVES, "leaf": _LEAF, "columns": _COLUMNS, "l2": _L2}
_BY_LEVEL = {"rounds": _ROUNDS, "learning_rate": _RATE, "depth": _DEPTH, "columns": _COLUMNS, "l2": _L2}


class LightGBMBooster:
    """A LightGBM booster as an estimator; `fit` takes sessions where the objective ranks within them."""

    def __init__(self, params: dict[str, Any], rounds: int, ranks: bool = False):
        self.params, self.rounds, self.ranks = params, rounds, ranks

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray | None = None) -> "LightGBMBooster":
        sizes = None
        if self.ranks and sessions is not None:
            _, sizes = np.unique(sessions, return_counts=True)
        data = lightgbm.Dataset(X, y.astype(np.float32), group=sizes, params=self.params)
        self.booster_ = lightgbm.train(self.params, data, self.rounds)
        return self

    def raw(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster_.predict(X, num_threads=self.params["num_threads"], raw_score=True))


class LightGBMClassifier(LightGBMBooster):
    """A booster or forest whose predictions are probabilities."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return both_classes(np.asarray(self.booster_.predict(X, num_threads=self.params["num_threads"])))


class LightGBMScore(LightGBMBooster):
    """A booster whose score has no scale of its own: it is calibrated afterwards."""

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return self.raw(X)


def _lightgbm(f: Fitting, kind: type[LightGBMBooster] = LightGBMClassifier, ranks: bool = False, **options: object) -> Any:
    params = booster_params(
        f.seed, f.threads, learning_rate=f["learning_rate"], num_leaves=f["leaves"], lambda_l2=f["l2"],
        min_data_in_leaf=f.leaf(f["leaf"]), feature_fraction=f["columns"], max_bin=63, bin_construct_sample_cnt=25_000,
    )  # fmt: skip
    return kind(params | options, f["rounds"], ranks)


def _rankers(f: Fitting, objective: str) -> Any:
    return _lightgbm(f, LightGBMScore, ranks=True, objective=objective, lambdarank_truncation_level=50, eval_at=10)


def _signs(X: np.ndarray, y: np.ndarray, least: float = 2.0) -> list[int]:
    """Direction of each column's correlation with the class where it is clear, else 0."""
    filled = np.nan_to_num(X.astype(np.float64))
    spread = filled.std(axis=0) * max(float(y.std()), 1e-9)
    covariance = ((filled - filled.mean(axis=0)) * (y - y.mean())[:, None]).mean(axis=0)
    t = np.where(spread > 1e-12, covariance / np.maximum(spread, 1e-12), 0.0) * np.sqrt(len(y))
    return [int(np.sign(value)) if abs(value) > least else 0 for value in t]


class FocalLoss:
    """Gradient and curvature of the focal loss: rows that are already got right count less."""

    def __init__(self, gamma: float):
        self.gamma = gamma

    def __call__(self, scores: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
        y = data.get_label()
        sign = np.where(y > 0, 1.0, -1.0)
        p = np.clip(expit(sign * scores), 1e-7, 1 - 1e-7)
        q = 1 - p
        gradient = sign * (self.gamma * p * q**self.gamma * np.log(p) - q ** (self.gamma + 1))
        # the exact second derivative turns negative for rows far off: their logistic curvature keeps the steps bounded
        return gradient, np.maximum(q**self.gamma * p * q * (1 + self.gamma), 1e-6)


class SmoothedMaximumScore:
    """Gradient of Horowitz's smoothed maximum score: which rows lie above a quantile of the latent return, and which below."""

    def __init__(self, threshold: float):
        self.threshold = threshold

    def __call__(self, scores: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
        p = expit(scores)
        slope = p * (1 - p)
        weight = data.get_label() - self.threshold
        # the exact second derivative changes its sign: this bound of it keeps the steps small
        return -weight * slope, np.maximum(np.abs(weight) * slope, 1e-6)


class BinaryQuantiles:
    """One booster a quantile of the latent return; how many of the quantiles a row lies above orders the rows.

    A row whose quantile at 1 - c lies above zero has a probability above c. The thresholds lie around the base rate.
    """

    def __init__(self, params: dict[str, Any], rounds: int, spread: float):
        self.params, self.rounds, self.spread = params, rounds, spread

    def fit(self, X: np.ndarray, y: np.ndarray) -> "BinaryQuantiles":
        base = float(y.mean())
        thresholds = np.clip(base + self.spread * np.linspace(-1.0, 1.0, 5), 0.02, 0.98)
        self.boosters_ = [
            LightGBMScore(self.params | {"objective": SmoothedMaximumScore(threshold)}, self.rounds).fit(X, y)
            for threshold in thresholds.tolist()
        ]
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return np.mean([np.tanh(booster.raw(X) / 2) for booster in self.boosters_], axis=0)


def _xgboost(f: Fitting, name: str = "XGBClassifier", **options: object) -> Any:
    params = {
        "n_estimators": f["rounds"], "learning_rate": f["learning_rate"], "max_depth": f["depth"], "reg_lambda": f["l2"],
        "colsample_bytree": f["columns"], "tree_method": "hist", "max_bin": 64, "min_child_weight": 1.0,
        "n_jobs": f.threads, "random_state": f.seed, "verbosity": 0,
    }  # fmt: skip
    return getattr(xgboost, name)(**(params | options))


def _xgboost_linear(f: Fitting) -> Any:
    return xgboost.XGBClassifier(
        booster="gblinear", n_estimators=f["rounds"], learning_rate=f["learning_rate"], reg_lambda=f["l2"], reg_alpha=f["l1"],
        updater="coord_descent", feature_selector="cyclic", n_jobs=f.threads, random_state=f.seed, verbosity=0,
    )  # fmt: skip


def _xgboost_forest(f: Fitting) -> Any:
    return xgboost.XGBRFClassifier(
        n_estimators=f["trees"], max_depth=f["depth"], subsample=0.3, colsample_bynode=f["columns"], reg_lambda=f["l2"],
        tree_method="hist", max_bin=64, n_jobs=f.threads, random_state=f.seed, verbosity=0,
    )  # fmt: skip


class SessionRanker:
    """A library's ranker; `sessions` is its argument that says which rows compete with each other."""

    def __init__(self, ranker: Any, sessions: str):
        self.ranker, self.sessions = ranker, sessions

    def fit(self, X: np.ndarray, y: np.ndarray, sessions: np.ndarray) -> "SessionRanker":
        _, query = np.unique(sessions, return_inverse=True)
        self.ranker_ = self.ranker.fit(X, y, **{self.sessions: query})
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.ranker_.predict(X))


def _catboost(f: Fitting, name: str = "CatBoostClassifier", **options: object) -> Any:
    return getattr(catboost, name)(
        iterations=f["rounds"], learning_rate=f["learning_rate"], depth=f["depth"], l2_leaf_reg=max(f["l2"], 1e-3),
        rsm=f["columns"], border_count=32, thread_count=f.threads, random_seed=f.seed, verbose=False,
        allow_writing_files=False, **options,
    )  # fmt: skip


_RANKS_ONLY = "orders the symbols of a session only: what all of them share is left to the calibration"
_DROP = Range(0.01, 0.5, default=0.1)

MODELS = (
    _declare("lightgbm_dart", lambda f: _lightgbm(f, boosting="dart", drop_rate=f["drop"], drop_seed=f.seed),
             "boosting that drops earlier trees at random: less weight on the first few",
             "Rashmi & Gilad-Bachrach (2015), DART: Dropouts meet Multiple Additive Regression Trees", core=True,
             space=_BY_LEAF | {"drop": _DROP}),
    _declare("lightgbm_goss", lambda f: _lightgbm(f, data_sample_strategy="goss", top_rate=f["top"], other_rate=f["other"]),
             "boosting on the rows with the largest errors and a draw of the rest: quick on long tables",
             "Ke et al. (2017), LightGBM, section 3 (gradient-based one-side sampling)", core=True,
             space=_BY_LEAF | {"top": Range(0.05, 0.5, default=0.2), "other": Range(0.05, 0.4, default=0.1)}),
    _declare("lightgbm_forest",
             lambda f: _lightgbm(f, boosting="rf", bagging_freq=1, bagging_fraction=0.3, bagging_seed=f.seed),
             "a random forest on bins: reads unknown values and grows by leaves", _LIGHTGBM,
             space=_BY_LEAF),
    _declare("lightgbm_lambdarank", partial(_rankers, objective="lambdarank"),
             "learns the order of a session's symbols, the top above all",
             "Burges (2010), From RankNet to LambdaRank to LambdaMART", sessions=True, space=_BY_LEAF, limits=_RANKS_ONLY),
    _declare("lightgbm_xendcg", partial(_rankers, objective="rank_xendcg"),
             "learns the order of a session's symbols as a whole list, by cross-entropy",
             "Bruch (2021), An Alternative Cross Entropy Loss for Learning-to-Rank", sessions=True, space=_BY_LEAF,
             limits=_RANKS_ONLY),
    _declare("lightgbm_monotone",
             lambda f: _lightgbm(f, monotone_constraints=_signs(f.X, f.y), monotone_constraints_method="intermediate"),
             "effects may only rise or fall, as the training rows clearly say: less to overfit",
             f"{_LIGHTGBM}#monotone_constraints", space=_BY_LEAF),
    _declare("lightgbm_linear_trees", lambda f: _lightgbm(f, linear_tree=True, linear_lambda=f["linear_l2"]),
             "a regression in every leaf: smooth where plain trees make steps",
             "Shi, Li & Li (2019), Gradient Boosting with Piece-Wise Linear Regression Trees",
             space=_BY_LEAF | {"linear_l2": Range(0.01, 100.0, default=10.0, log=True)}, prepare="filled"),
    _declare("lightgbm_focal", lambda f: _lightgbm(f, LightGBMScore, objective=FocalLoss(f["gamma"])),
             "spends its trees on the rows that are hard to tell",
             "Lin, Goyal, Girshick, He & Dollár (2017), Focal Loss for Dense Object Detection",
             space=_BY_LEAF | {"gamma": Range(0.0, 5.0, default=1.0)}),
    _declare("lightgbm_quantile", lambda f: BinaryQuantiles(_lightgbm(f).params, f["rounds"], f["spread"]),
             "above how many quantiles of its latent return a row lies",
             "Kordas (2006), Smoothed Binary Regression Quantiles, Journal of Applied Econometrics 21",
             space=_BY_LEAF | {"learning_rate": Range(0.005, 1.0, default=0.3, log=True),
                               "spread": Range(0.02, 0.3, default=0.1)}),
    _declare("xgboost", _xgboost, "regularized boosting by levels; a second opinion beside LightGBM",
             "Chen & Guestrin (2016), XGBoost: A Scalable Tree Boosting System", core=True, space=_BY_LEVEL),
    _declare("xgboost_dart", lambda f: _xgboost(f, booster="dart", rate_drop=f["drop"]),
             "XGBoost with dropout of trees: no single early tree decides",
             f"{_XGBOOST}tutorials/dart.html", core=True,
             space=_BY_LEVEL | {"rounds": Range(20, 200, default=40, log=True, integer=True), "drop": _DROP}),
    _declare("xgboost_linear", _xgboost_linear, "boosted coordinate descent: a sparse regression that stops early",
             f"{_XGBOOST}parameter.html#parameters-for-linear-booster-booster-gblinear", prepare="scaled",
             space={"rounds": _ROUNDS, "learning_rate": Range(0.05, 1.0, default=0.5), "l1": Range(0.0, 1.0, default=0.001),
                    "l2": Range(0.0, 10.0, default=0.01)}),
    _declare("xgboost_forest", _xgboost_forest, "one round of many trees with XGBoost's penalties on leaves",
             f"{_XGBOOST}tutorials/rf.html",
             space={"trees": Range(10, 200, default=50, log=True, integer=True), "depth": Range(2, 10, default=5, integer=True),
                    "columns": _COLUMNS, "l2": Range(0.0, 100.0, default=10.0)}),
    _declare("xgboost_monotone", lambda f: _xgboost(f, monotone_constraints=tuple(_signs(f.X, f.y))),
             "XGBoost whose effects keep the direction of the training rows",
             f"{_XGBOOST}tutorials/monotonic.html", space=_BY_LEVEL),
    _declare("xgboost_rank_pairwise",
             lambda f: SessionRanker(_xgboost(f, "XGBRanker", objective="rank:pairwise", lambdarank_num_pair_per_sample=4,
                                              lambdarank_pair_method="mean"), "qid"),
             "pairs of one session: which of two symbols does better",
             "Burges et al. (2005), Learning to Rank using Gradient Descent", sessions=True, space=_BY_LEVEL, limits=_RANKS_ONLY),
    _declare("catboost", _catboost, "symmetric trees, ordered boosting on small tables: good without tuning",
             "Prokhorenkova et al. (2018), CatBoost: Unbiased Boosting with Categorical Features", core=True, space=_BY_LEVEL),
    _declare("catboost_langevin", partial(_catboost, langevin=True, diffusion_temperature=1000.0),
             "noise in every gradient: explores many boosters' answers instead of one",
             "Ustimenko & Prokhorenkova (2021), SGLB: Stochastic Gradient Langevin Boosting", space=_BY_LEVEL),
    _declare("catboost_yetirank",
             lambda f: SessionRanker(_catboost(f, "CatBoostRanker", loss_function="YetiRank:permutations=3"), "group_id"),
             "orders a session's symbols by random permutations, the top above all",
             "Gulin, Kuralenok & Pavlov (2011), Winning the Transfer Learning Track with YetiRank", sessions=True,
             space=_BY_LEVEL, limits=_RANKS_ONLY),
)  # fmt: skip
