"""Models by nearness and shape of the classes: kernels, neighbours, Gaussian processes, discriminants, naive Bayes."""

from functools import partial
from typing import Any

import numpy as np

from mltrainer_pipelines.models.libraries import sklearn
from mltrainer_pipelines.models.log_odds import both_classes, expit
from mltrainer_pipelines.models.panel import subsample
from mltrainer_pipelines.models.spec import Choices, Range
from mltrainer_pipelines.models.table_model import Fitting, declare

_declare = partial(declare, family="kernels")
_C = Range(1e-3, 1e3, default=1.0, log=True)
_PARTS = Range(50, 1000, default=200, log=True, integer=True)
_WIDTH = Range(0.1, 10.0, default=1.0, log=True)
_SKLEARN = "https://scikit-learn.org/stable/modules/"


def _gamma(f: Fitting) -> float:
    return 1.0 / (max(f.features, 1) * 2.0 * f["width"] ** 2)


def _mapped(f: Fitting, mapping: object) -> Any:
    return sklearn.pipeline.make_pipeline(
        mapping, sklearn.linear_model.LogisticRegression(C=f["C"] * 1000.0 / f.rows, solver="lbfgs", max_iter=60)
    )


def _nystroem(f: Fitting) -> Any:
    return sklearn.kernel_approximation.Nystroem(gamma=_gamma(f), n_components=min(int(f["parts"]), f.rows), random_state=f.seed)


def _rbf_svm(f: Fitting) -> Any:
    return sklearn.pipeline.make_pipeline(
        _nystroem(f), sklearn.svm.LinearSVC(C=f["C"] * 1000.0 / f.rows, dual=False, tol=1e-2, random_state=f.seed)
    )


def _polynomial(f: Fitting) -> Any:
    gamma = 1.0 / max(f.features, 1)
    sketch = sklearn.kernel_approximation.PolynomialCountSketch(
        gamma=gamma, degree=2, coef0=1, n_components=int(f["parts"]), random_state=f.seed
    )
    return _mapped(f, sketch)


class ExtremeLearning:
    """A random hidden layer that is never trained, and a ridge solution above it."""

    def __init__(self, units: int, penalty: float, seed: int):
        self.units, self.penalty, self.seed = units, penalty, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> "ExtremeLearning":
        random = np.random.default_rng(self.seed)
        self.hidden_ = random.standard_normal((X.shape[1], self.units)) / np.sqrt(X.shape[1])
        self.bias_ = random.standard_normal(self.units)
        H = self._units(X)
        gram = H.T @ H + self.penalty * len(X) * np.eye(self.units)
        self.weights_ = np.linalg.solve(gram, H.T @ (y - 0.5))
        return self

    def _units(self, X: np.ndarray) -> np.ndarray:
        return np.tanh(X @ self.hidden_ + self.bias_)

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return self._units(X) @ self.weights_


def _knn(f: Fitting, **options: object) -> Any:
    count = max(1, min(int(f["neighbours"]), f.rows // 4))
    return sklearn.neighbors.KNeighborsClassifier(count, algorithm="brute", **options)


def _learnt_neighbours(f: Fitting) -> Any:
    parts = min(int(f["components"]), f.features)
    metric = sklearn.neighbors.NeighborhoodComponentsAnalysis(parts, init="pca", max_iter=20, random_state=f.seed)
    return sklearn.pipeline.make_pipeline(metric, _knn(f))


def _gaussian_process(f: Fitting) -> Any:
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    kernel = ConstantKernel(1.0) * RBF(f["width"] * np.sqrt(f.features) * 2)
    return sklearn.gaussian_process.GaussianProcessClassifier(kernel, optimizer=None, random_state=f.seed)


def _shrunken_centroids(f: Fitting) -> Any:
    class_weight = "empirical" if f.y.mean() not in (0.0, 1.0) else "uniform"
    # a threshold that leaves no feature would tie both classes everywhere
    strength = np.abs((f.X * (f.y - f.y.mean())[:, None]).mean(axis=0)).max() * np.sqrt(f.rows) / max(float(f.y.std()), 1e-9)
    return sklearn.neighbors.NearestCentroid(shrink_threshold=min(f["shrink"], 0.4 * float(strength)), priors=class_weight)


class BinnedBayes:
    """Naive Bayes on each feature's quantile bins: no shape assumed."""

    def __init__(self, bins: int, smoothing: float):
        self.bins, self.smoothing = bins, smoothing

    def fit(self, X: np.ndarray, y: np.ndarray) -> "BinnedBayes":
        self.edges_ = np.quantile(X, np.linspace(0, 1, self.bins + 1)[1:-1], axis=0)
        self.prior_ = float(np.log(y.sum() / (len(y) - y.sum())))
        binned = self._binned(X)
        self.odds_ = np.zeros((X.shape[1], self.bins))
        prior = self.smoothing * np.array([1 - y.mean(), y.mean()])
        for column in range(X.shape[1]):
            losses, wins = (np.bincount(binned[y == k, column], minlength=self.bins) + prior[k] for k in (0, 1))
            self.odds_[column] = np.log(wins / wins.sum()) - np.log(losses / losses.sum())
        return self

    def _binned(self, X: np.ndarray) -> np.ndarray:
        return np.stack([np.searchsorted(self.edges_[:, c], X[:, c], side="right") for c in range(X.shape[1])], axis=1)

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return self.prior_ + self.odds_[np.arange(X.shape[1]), self._binned(X)].sum(axis=1)


class DensityBayes:
    """Class densities of a few principal components by kernels, compared by Bayes' rule."""

    def __init__(self, components: int, width: float, seed: int):
        self.components, self.width, self.seed = components, width, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> "DensityBayes":
        count = max(1, min(self.components, X.shape[1], len(X) - 1))
        # directions that the outcome varies along: a density needs few of them
        self.directions_ = sklearn.cross_decomposition.PLSRegression(count, scale=False).fit(X, y).x_rotations_
        Z = X @ self.directions_
        self.spread_ = np.maximum(Z.std(axis=0), 1e-9)
        self.densities_ = []
        for part in (Z[y == k] / self.spread_ for k in (0, 1)):
            density = sklearn.neighbors.KernelDensity(bandwidth=self.width * len(part) ** (-1 / (count + 4)), rtol=1e-2)
            self.densities_.append(density.fit(part[subsample(len(part), 2000)]))
        self.prior_ = float(np.log(y.mean() / (1 - y.mean())))
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        Z = X @ self.directions_ / self.spread_
        return both_classes(expit(self.prior_ + self.densities_[1].score_samples(Z) - self.densities_[0].score_samples(Z)))


class MixtureDiscriminant:
    """Each class a mixture of Gaussians with diagonal covariances, compared by Bayes' rule."""

    def __init__(self, parts: int, seed: int):
        self.parts, self.seed = parts, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> "MixtureDiscriminant":
        self.mixtures_ = [
            sklearn.mixture.GaussianMixture(
                min(self.parts, int((y == k).sum())), covariance_type="diag", reg_covar=0.1, max_iter=50, random_state=self.seed
            ).fit(X[y == k])
            for k in (0, 1)
        ]
        self.prior_ = float(np.log(y.mean() / (1 - y.mean())))
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return self.prior_ + self.mixtures_[1].score_samples(X) - self.mixtures_[0].score_samples(X)


class LearningVectorQuantization:
    """A few prototypes of each class, pulled to rows of theirs and pushed from the others' until the border fits."""

    def __init__(self, prototypes: int, rate: float, seed: int):
        self.prototypes, self.rate, self.seed = prototypes, rate, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> "LearningVectorQuantization":
        counts = [min(self.prototypes, int((y == k).sum())) for k in (0, 1)]
        clusters = [sklearn.cluster.KMeans(count, n_init=1, max_iter=20, random_state=self.seed) for count in counts]
        centers = [clusters[k].fit(X[y == k][:20_000]).cluster_centers_ for k in (0, 1)]
        W, self.of_ = np.vstack(centers).astype(np.float64), np.repeat([0, 1], counts)
        random = np.random.default_rng(self.seed)
        for epoch in range(5):
            for rows in np.array_split(random.permutation(len(X)), max(1, len(X) // 64)):
                x, same = X[rows], self.of_[None, :] == y[rows][:, None]
                d = ((x[:, None, :] - W[None]) ** 2).sum(axis=2)
                near, far = np.where(same, d, np.inf).argmin(axis=1), np.where(same, np.inf, d).argmin(axis=1)
                a, b = d[np.arange(len(rows)), near], d[np.arange(len(rows)), far]
                total = np.maximum((a + b) ** 2, 1e-12)
                rate = self.rate / (1 + epoch)
                np.add.at(W, near, rate * (b / total)[:, None] * (x - W[near]))
                np.add.at(W, far, -rate * (a / total)[:, None] * (x - W[far]))
        self.centers_ = W
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        d = ((X[:, None, :] - self.centers_[None]) ** 2).sum(axis=2) if len(X) < 2000 else self._distances(X)
        a, b = d[:, self.of_ == 1].min(axis=1), d[:, self.of_ == 0].min(axis=1)
        return (b - a) / np.maximum(a + b, 1e-12)

    def _distances(self, X: np.ndarray) -> np.ndarray:
        return (X**2).sum(axis=1)[:, None] - 2 * X @ self.centers_.T + (self.centers_**2).sum(axis=1)[None]


_MAPPED = {"parts": _PARTS, "C": Range(1e-4, 100.0, default=0.1, log=True)}

MODELS = (
    _declare("lda", lambda f: sklearn.discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage=f["shrinkage"]),
             "two normal classes of one shrunken covariance: steady with many correlated features",
             "Fisher (1936); Ledoit & Wolf (2004), A Well-Conditioned Estimator", core=True,
             space={"shrinkage": Range(0.0, 1.0, default=0.1)}, limits="a linear border only"),
    _declare("qda",
             lambda f: sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis(solver="eigen",
                                                                                   shrinkage=max(f["shrinkage"], 0.01)),
             "classes of different spread: where both tails of a feature mean the same",
             f"{_SKLEARN}lda_qda.html", core=True, space={"shrinkage": Range(0.0, 1.0, default=0.3)}),
    _declare("naive_bayes", lambda f: sklearn.naive_bayes.GaussianNB(var_smoothing=f["smoothing"]),
             "each feature's own normal curve a class: needs few rows",
             f"{_SKLEARN}naive_bayes.html#gaussian-naive-bayes", core=True,
             space={"smoothing": Range(1e-9, 1.0, default=1e-3, log=True)}, limits="takes features as independent of each other"),
    _declare("linear_svm", lambda f: sklearn.svm.LinearSVC(C=f["C"] * 100.0 / f.rows, dual=False, tol=1e-3, random_state=f.seed),
             "the widest margin: looks at rows near the border only",
             "Cortes & Vapnik (1995), Support-Vector Networks", core=True, space={"C": _C}, limits="a linear border only"),
    _declare("rbf_svm", _rbf_svm, "smooth curved borders of any shape, at the price of a random kernel basis",
             "Williams & Seeger (2000), Using the Nyström Method to Speed Up Kernel Machines", core=True,
             space=_MAPPED | {"width": _WIDTH}),
    _declare("k_nearest_neighbours", lambda f: _knn(f, weights=f["weights"], n_jobs=f.threads),
             "what happened in the most similar situations so far",
             "Cover & Hart (1967), Nearest Neighbor Pattern Classification", core=True, max_rows=20_000,
             space={"neighbours": Range(5, 1000, default=100, log=True, integer=True), "weights": Choices(("uniform",
             "distance"))},
             limits="many features without information hide those that have some"),
    _declare("gaussian_process", _gaussian_process, "smooth surfaces with honest doubt far from what was seen; small samples",
             "Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, chapter 3", core=True, max_rows=600,
             space={"width": _WIDTH}),
    _declare("sparse_gaussian_process",
             lambda f: sklearn.pipeline.make_pipeline(_nystroem(f), sklearn.linear_model.BayesianRidge(max_iter=50)),
             "a Gaussian process on a few hundred inducing rows",
             "Quiñonero-Candela & Rasmussen (2005), A Unifying View of Sparse Approximate Gaussian Process Regression",
             space={"parts": Range(20, 400, default=100, log=True, integer=True), "width": _WIDTH}),
    _declare("random_fourier_features",
             lambda f: _mapped(f, sklearn.kernel_approximation.RBFSampler(gamma=_gamma(f), n_components=int(f["parts"]),
                                                                          random_state=f.seed)),
             "a smooth kernel as random waves: quick on long tables",
             "Rahimi & Recht (2007), Random Features for Large-Scale Kernel Machines", space=_MAPPED | {"width": _WIDTH}),
    _declare("polynomial_sketch", _polynomial, "all products of two features, hashed into a few hundred columns",
             "Pham & Pagh (2013), Fast and Scalable Polynomial Kernels via Explicit Feature Maps", space=_MAPPED),
    _declare("extreme_learning_machine", lambda f: ExtremeLearning(int(f["parts"]), f["penalty"], f.seed),
             "random hidden units under a ridge solution: a network without training",
             "Huang, Zhu & Siew (2006), Extreme Learning Machine: Theory and Applications",
             space={"parts": _PARTS, "penalty": Range(1e-6, 1.0, default=1e-2, log=True)}),
    _declare("learnt_neighbours", _learnt_neighbours, "neighbours in a space that was learnt to tell the classes apart",
             "Goldberger, Hinton, Roweis & Salakhutdinov (2005), Neighbourhood Components Analysis", max_rows=1500,
             space={"components": Range(1, 10, default=3, integer=True),
                    "neighbours": Range(5, 200, default=50, log=True, integer=True)}),
    _declare("binned_naive_bayes", lambda f: BinnedBayes(int(f["bins"]), f["smoothing"]),
             "each feature's quantile bins vote: any shape, one feature at a time",
             "Dougherty, Kohavi & Sahami (1995), Discretization of Continuous Features",
             space={"bins": Range(3, 20, default=8, integer=True), "smoothing": Range(1.0, 1000.0, default=100.0, log=True)},
             limits="takes features as independent of each other"),
    _declare("density_bayes", lambda f: DensityBayes(int(f["components"]), f["width"], f.seed),
             "class densities of any shape along a few telling directions",
             "Parzen (1962), On Estimation of a Probability Density Function and Mode", max_rows=20_000,
             space={"components": Range(1, 4, default=2, integer=True), "width": Range(0.3, 3.0, default=1.0)}),
    _declare("mixture_discriminant", lambda f: MixtureDiscriminant(int(f["parts"]), f.seed),
             "each class in several clusters: unlike situations with the same outcome",
             "Hastie & Tibshirani (1996), Discriminant Analysis by Gaussian Mixtures", max_rows=30_000,
             space={"parts": Range(1, 8, default=3, integer=True)}),
    _declare("shrunken_centroids", _shrunken_centroids, "distance to the classes' middles, features that do not differ left out",
             "Tibshirani, Hastie, Narasimhan & Chu (2002), Diagnosis by Shrunken Centroids",
             space={"shrink": Range(0.01, 10.0, default=0.5, log=True)}, limits="a linear border only"),
    _declare("vector_quantization", lambda f: LearningVectorQuantization(int(f["prototypes"]), f["rate"], f.seed),
             "a few typical winners and losers, moved until they tell rows apart",
             "Sato & Yamada (1996), Generalized Learning Vector Quantization", max_rows=20_000,
             space={"prototypes": Range(1, 20, default=4, integer=True), "rate": Range(0.01, 1.0, default=0.1, log=True)}),
)  # fmt: skip
