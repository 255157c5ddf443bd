"""Trees and forests: one tree, many trees on random rows, columns or rotated axes, and trees as features of a regression."""

from functools import partial
from typing import Any

import numpy as np

from mltrainer_pipelines.models.libraries import sklearn
from mltrainer_pipelines.models.log_odds import both_classes
from mltrainer_pipelines.models.spec import Choices, Range
from mltrainer_pipelines.models.table_model import Fitting, declare

_declare = partial(declare, family="forests", prepare="filled")
_TREES = Range(20, 500, default=100, log=True, integer=True)
_DEPTH = Range(2, 20, default=8, integer=True)
_LEAF = Range(5, 5000, default=200, log=True, integer=True)
_COLUMNS = Range(0.05, 1.0, default=0.3)
_SKLEARN = "https://scikit-learn.org/stable/modules/"


def _tree(f: Fitting, **options: object) -> Any:
    return sklearn.tree.DecisionTreeClassifier(max_depth=f["depth"], min_samples_leaf=f.leaf(f["leaf"]), **options)


def _forest(f: Fitting, kind: str) -> Any:
    return getattr(sklearn.ensemble, kind)(
        n_estimators=f["trees"], max_depth=f["depth"], min_samples_leaf=f.leaf(f["leaf"]), max_features=f["columns"],
        max_samples=f["rows"] if kind == "RandomForestClassifier" else None, n_jobs=f.threads, random_state=f.seed,
    )  # fmt: skip


def _bagging(f: Fitting, rows: float, columns: float, replace: bool) -> Any:
    return sklearn.ensemble.BaggingClassifier(
        _tree(f), n_estimators=f["trees"], max_samples=rows, max_features=columns, bootstrap=replace, n_jobs=f.threads,
        random_state=f.seed,
    )  # fmt: skip


class RotationForest:
    """Trees on axes turned by the principal components of random groups of columns, fitted on random rows."""

    def __init__(self, trees: int, depth: int, leaf: int, rotate: bool, seed: int):
        self.trees, self.depth, self.leaf, self.rotate, self.seed = trees, depth, leaf, rotate, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> "RotationForest":
        random = np.random.default_rng(self.seed)
        self.members_ = []
        for number in range(self.trees):
            axes = self._rotation(X, random) if self.rotate else _sparse_projection(X.shape[1], random)
            rows = random.integers(0, len(X), len(X))
            if y[rows].min() == y[rows].max():
                rows = np.arange(len(X))
            tree = sklearn.tree.DecisionTreeClassifier(
                max_depth=self.depth, min_samples_leaf=self.leaf, max_features=0.5, random_state=self.seed + number
            )
            self.members_.append((axes, tree.fit((X[rows] @ axes), y[rows])))
        return self

    def _rotation(self, X: np.ndarray, random: np.random.Generator) -> np.ndarray:
        axes = np.zeros((X.shape[1], X.shape[1]), dtype=np.float32)
        columns = random.permutation(X.shape[1])
        for start in range(0, len(columns), 5):
            part = columns[start : start + 5]
            sample = X[random.choice(len(X), max(2, int(0.75 * min(len(X), 20_000))), replace=len(X) < 4)][:, part]
            _, vectors = np.linalg.eigh(np.atleast_2d(np.cov(sample, rowvar=False)))
            axes[np.ix_(part, part)] = vectors
        return axes

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.mean([tree.predict_proba(X @ axes) for axes, tree in self.members_], axis=0)


def _sparse_projection(columns: int, random: np.random.Generator) -> np.ndarray:
    """Breiman's Forest-RC: each new column is a sum of three old ones with weights drawn from -1 to 1."""
    n_axes = min(2 * columns, columns + 20)
    axes = np.zeros((columns, n_axes), dtype=np.float32)
    for number in range(n_axes):
        chosen = random.choice(columns, min(3, columns), replace=False)
        axes[chosen, number] = random.uniform(-1.0, 1.0, len(chosen))
    return axes


def _rotated(f: Fitting, rotate: bool) -> Any:
    return RotationForest(f["trees"], f["depth"], f.leaf(f["leaf"]), rotate, f.seed)


class HonestForest:
    """Trees whose splits come from one half of the sessions' rows and whose leaves' probabilities from the other half."""

    def __init__(self, trees: int, depth: int, leaf: int, columns: float, seed: int):
        self.trees, self.depth, self.leaf, self.columns, self.seed = trees, depth, leaf, columns, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> "HonestForest":
        random = np.random.default_rng(self.seed)
        self.members_ = []
        base = float(y.mean())
        for number in range(self.trees):
            rows = random.permutation(len(X))[: max(4, len(X) // 2)]
            split, estimate = rows[: len(rows) // 2], rows[len(rows) // 2 :]
            tree = sklearn.tree.DecisionTreeClassifier(
                max_depth=self.depth, min_samples_leaf=self.leaf, max_features=self.columns, random_state=self.seed + number
            ).fit(X[split], y[split])
            leaves = tree.apply(X[estimate])
            count = np.bincount(leaves, minlength=tree.tree_.node_count)
            wins = np.bincount(leaves, weights=y[estimate], minlength=tree.tree_.node_count)
            self.members_.append((tree, (wins + base) / (count + 1.0)))
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return both_classes(np.mean([values[tree.apply(X)] for tree, values in self.members_], axis=0))


class LeafRegression:
    """Which leaf of each tree a row falls into, as the inputs of a penalized logistic regression."""

    def __init__(self, trees: Any, C: float):
        self.trees, self.C = trees, C

    def fit(self, X: np.ndarray, y: np.ndarray) -> "LeafRegression":
        half = len(X) // 2 if min(np.bincount(y[: len(X) // 2], minlength=2)) > 0 and len(X) > 200 else len(X)
        self.trees.fit(X[:half], y[:half])
        self.encoder_ = sklearn.preprocessing.OneHotEncoder(handle_unknown="ignore").fit(self._leaves(X))
        later = slice(half, None) if half < len(X) and len(np.unique(y[half:])) == 2 else slice(None)
        self.regression_ = sklearn.linear_model.LogisticRegression(C=self.C, max_iter=200).fit(
            self.encoder_.transform(self._leaves(X[later])), y[later]
        )
        return self

    def _leaves(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.trees.apply(X)).reshape(len(X), -1)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self.regression_.predict_proba(self.encoder_.transform(self._leaves(X)))


def _random_leaves(f: Fitting) -> Any:
    embedding = sklearn.ensemble.RandomTreesEmbedding(
        n_estimators=f["trees"], max_depth=f["depth"], min_samples_leaf=f.leaf(200), n_jobs=f.threads, random_state=f.seed
    )
    return sklearn.pipeline.make_pipeline(embedding, sklearn.linear_model.LogisticRegression(C=f["C"], max_iter=200))


class RuleFit:
    """Paths of small boosted trees as 0/1 rules beside the features themselves, chosen by an L1 penalty."""

    def __init__(self, trees: int, depth: int, leaf: int, C: float, seed: int):
        self.trees, self.depth, self.leaf, self.C, self.seed = trees, depth, leaf, C, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> "RuleFit":
        boosted = _boosted(self.trees, self.depth, self.leaf, self.seed).fit(X, y)
        self.members_ = [stage[0] for stage in boosted.estimators_]
        inputs = self._inputs(X)
        self.scale_ = np.maximum(inputs.std(axis=0), 1e-6)
        regression = sklearn.linear_model.LogisticRegression(
            C=self.C * 1000.0 / len(X), l1_ratio=1.0, solver="liblinear", max_iter=100, random_state=self.seed
        )
        self.regression_ = regression.fit(inputs / self.scale_, y)
        return self

    def _inputs(self, X: np.ndarray) -> np.ndarray:
        paths = [tree.decision_path(X)[:, 1:].toarray() for tree in self.members_]
        return np.hstack([X, *paths]).astype(np.float32)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self.regression_.predict_proba(self._inputs(X) / self.scale_)


def _adaboost(f: Fitting) -> Any:
    tree = _tree(f, max_features=f["columns"])
    return sklearn.ensemble.AdaBoostClassifier(
        tree, n_estimators=f["trees"], learning_rate=f["learning_rate"], random_state=f.seed
    )


def _boosted(trees: int, depth: int, leaf: int, seed: int, **options: object) -> Any:
    draws = {"subsample": 0.3, "max_features": 0.3} | options
    return sklearn.ensemble.GradientBoostingClassifier(
        n_estimators=trees, max_depth=depth, min_samples_leaf=leaf, random_state=seed, **draws
    )


def _histogram(f: Fitting) -> Any:
    return sklearn.ensemble.HistGradientBoostingClassifier(
        max_iter=f["trees"], learning_rate=f["learning_rate"], max_leaf_nodes=f["leaves"], min_samples_leaf=f.leaf(f["leaf"]),
        l2_regularization=f["l2"], max_features=f["columns"], max_bins=63, early_stopping=False, random_state=f.seed,
    )  # fmt: skip


_FEW = Range(10, 200, default=40, log=True, integer=True)
_RATE = Range(0.01, 0.5, default=0.1, log=True)
_SHALLOW = Range(1, 8, default=3, integer=True)

MODELS = (
    _declare("decision_tree", lambda f: _tree(f, criterion=f["criterion"], random_state=f.seed),
             "one readable set of thresholds; the least that an ensemble has to beat",
             "Breiman, Friedman, Olshen & Stone (1984), Classification and Regression Trees", core=True,
             space={"criterion": Choices(("gini", "entropy")), "depth": Range(1, 12, default=4, integer=True), "leaf": _LEAF}),
    _declare("random_forest", partial(_forest, kind="RandomForestClassifier"),
             "interactions and thresholds, steady against noise; hard to overfit with large leaves",
             "Breiman (2001), Random Forests, Machine Learning 45", core=True,
             space={"trees": _TREES, "depth": _DEPTH, "leaf": _LEAF, "columns": _COLUMNS, "rows": Range(0.05, 1.0, default=0.3)}),
    _declare("extra_trees", partial(_forest, kind="ExtraTreesClassifier"),
             "as a random forest with random thresholds: less variance, quicker, smoother",
             "Geurts, Ernst & Wehenkel (2006), Extremely Randomized Trees, Machine Learning 63", core=True,
             space={"trees": _TREES, "depth": _DEPTH, "leaf": _LEAF, "columns": _COLUMNS}),
    _declare("adaboost", _adaboost, "weights the rows that were got wrong; quick to find a few strong thresholds",
             "Freund & Schapire (1997), A Decision-Theoretic Generalization of On-Line Learning", core=True,
             space={"trees": _FEW, "depth": Range(1, 4, default=1, integer=True), "learning_rate": Range(0.01, 2, default=0.5),
                    "leaf": _LEAF, "columns": _COLUMNS}),
    _declare("gradient_boosting",
             lambda f: _boosted(f["trees"], f["depth"], f.leaf(f["leaf"]), f.seed, learning_rate=f["learning_rate"],
                                subsample=0.5, max_features=f["columns"]),
             "stagewise exact trees on random rows: the reference of boosting",
             "Friedman (2001), Greedy Function Approximation: A Gradient Boosting Machine", core=True,
             space={"trees": _FEW, "depth": _SHALLOW, "learning_rate": _RATE, "leaf": _LEAF, "columns": _COLUMNS}),
    _declare("hist_gradient_boosting", _histogram, "binned boosting that reads unknown values; quick on large tables",
             f"{_SKLEARN}ensemble.html#histogram-based-gradient-boosting", core=True, prepare="raw",
             space={"trees": _FEW, "leaves": Range(3, 63, default=8, integer=True), "learning_rate": _RATE, "leaf": _LEAF,
                    "l2": Range(0.0, 100.0, default=10.0), "columns": _COLUMNS}),
    _declare("bagged_trees", partial(_bagging, rows=0.2, columns=1.0, replace=True),
             "deep trees on random rows, all columns open to each: keeps a strong feature strong",
             "Breiman (1996), Bagging Predictors, Machine Learning 24",
             space={"trees": _FEW, "depth": _DEPTH, "leaf": _LEAF}),
    _declare("random_subspace", partial(_bagging, rows=1.0, columns=0.3, replace=False),
             "each tree sees a random third of the columns: for many features that say nearly the same",
             "Ho (1998), The Random Subspace Method for Constructing Decision Forests",
             space={"trees": _FEW, "depth": _DEPTH, "leaf": _LEAF}),
    _declare("random_patches", partial(_bagging, rows=0.1, columns=0.4, replace=False),
             "each tree sees a small patch of rows and columns: quick, and unlike its neighbours",
             "Louppe & Geurts (2012), Ensembles on Random Patches", space={"trees": _TREES, "depth": _DEPTH, "leaf": _LEAF}),
    _declare("rotation_forest", partial(_rotated, rotate=True),
             "thresholds on principal components: borders that are slanted to the features",
             "Rodríguez, Kuncheva & Alonso (2006), Rotation Forest", prepare="scaled",
             space={"trees": Range(5, 100, default=15, log=True, integer=True), "depth": _DEPTH, "leaf": _LEAF}),
    _declare("oblique_forest", partial(_rotated, rotate=False),
             "thresholds on random sums of three features: weak features that only count together",
             "Breiman (2001), Random Forests, section 5 (Forest-RC)", prepare="scaled",
             space={"trees": Range(5, 100, default=15, log=True, integer=True), "depth": _DEPTH, "leaf": _LEAF}),
    _declare("honest_forest", lambda f: HonestForest(f["trees"], f["depth"], f.leaf(f["leaf"]), f["columns"], f.seed),
             "leaves' probabilities from rows that chose no split: calibrated by construction",
             "Wager & Athey (2018), Estimation and Inference using Random Forests, definition 2",
             space={"trees": _TREES, "depth": _DEPTH, "leaf": _LEAF, "columns": _COLUMNS}),
    _declare("boosted_leaves_regression",
             lambda f: LeafRegression(_boosted(f["trees"], f["depth"], f.leaf(200), f.seed), f["C"]),
             "boosted trees as features of a regression that weighs them anew",
             "He et al. (2014), Practical Lessons from Predicting Clicks on Ads at Facebook",
             space={"trees": _FEW, "depth": _SHALLOW, "C": Range(1e-4, 1.0, default=0.01, log=True)}),
    _declare("random_trees_embedding", _random_leaves, "unsupervised neighbourhoods of the features, weighed by a regression",
             "Moosmann, Triggs & Jurie (2006), Fast Discriminative Visual Codebooks using Randomized Clustering Forests",
             space={"trees": _FEW, "depth": Range(2, 8, default=4, integer=True), "C": Range(1e-4, 1.0, default=0.01, log=True)}),
    _declare("rulefit", lambda f: RuleFit(f["trees"], f["depth"], f.leaf(100), f["C"], f.seed),
             "a short list of readable rules and linear terms",
             "Friedman & Popescu (2008), Predictive Learning via Rule Ensembles",
             space={"trees": Range(5, 60, default=15, integer=True), "depth": Range(1, 4, default=2, integer=True),
                    "C": Range(1e-3, 10.0, default=0.1, log=True)}),
)  # fmt: skip
