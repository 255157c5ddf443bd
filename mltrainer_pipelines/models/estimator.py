"""The base of our estimators: scikit-learn's contract without importing scikit-learn before it is needed."""

import inspect
from typing import Any, Self, TypeVar

import numpy as np

from mltrainer_pipelines.models.libraries import sklearn
from mltrainer_pipelines.models.log_odds import both_classes

D = TypeVar("D")


class UntrainableError(ValueError):
    """A training table from which no classifier can be fitted: says what is wrong with it."""


class Declarations(dict[str, D]):
    """What the files of families declare, by model id: it is there once such a file is imported."""

    def __missing__(self, model: str) -> D:
        raise LookupError(f"{model!r} is not declared in this process; call registry.get_model({model!r}) before it is fitted")


class ProbabilityClassifier:
    """A binary classifier whose constructor's arguments are its parameters, as scikit-learn asks.

    A subclass stores each argument of `__init__` under its own name and implements `_fit(X, y, groups)` and `_positive(X)`, the
    probability of class 1. `clone`, `get_params`, `set_params` and pickling work as with any scikit-learn estimator.
    """

    _estimator_type = "classifier"

    # What it has to be given, as its `ModelSpec` declares it: a saved estimator says so itself.
    @property
    def look_back(self) -> int:
        return 0

    @property
    def cross_sectional(self) -> bool:
        return False

    @property
    def sectors(self) -> bool:
        return False

    @property
    def needs_groups(self) -> bool:
        """Whether a row's prediction depends on more than the row."""
        return self.look_back > 0 or self.cross_sectional or self.sectors

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        raise NotImplementedError

    def _positive(self, X: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _positive_in_context(self, X: np.ndarray, groups: np.ndarray | None, n_context: int) -> np.ndarray:
        """The same for the rows from `n_context` on, at least one; for models that read other rows too."""
        return self._positive(X[n_context:])

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Self:
        """Fit on rows in order of time: X (rows, features), NaN where unknown, and y (rows,) of 0 and 1.

        `groups` are (rows,) integers equal for rows decided at the same session, or sessions and symbols (`panel.panel_groups`);
        without, each row is a symbol and a session of its own, in the order given. Raises `UntrainableError` if there is no row,
        only one class, or the shapes do not fit together.
        """
        X, y = np.asarray(X), np.asarray(y)
        if X.ndim != 2 or len(X) != len(y) or len(X) == 0:
            raise UntrainableError(f"X of shape {X.shape} and y of shape {y.shape}: give as many labels as rows, at least two")
        classes = np.unique(y)
        if not np.isin(classes, (0, 1)).all():
            raise UntrainableError(f"labels are {classes[:5].tolist()}: give 0 and 1")
        if len(classes) < 2:
            raise UntrainableError(f"all {len(y)} labels are {int(classes[0])}: a classifier needs both classes")
        self.classes_ = np.array([0, 1])
        if groups is not None and len(groups) != len(X):
            raise UntrainableError(f"{len(groups)} groups for {len(X)} rows: give one a row")
        self.n_features_in_ = X.shape[1]
        self._fit(X, y, groups)
        return self

    def predict_proba(self, X: np.ndarray, groups: np.ndarray | None = None, n_context: int = 0) -> np.ndarray:
        """Probabilities of the classes 0 and 1, (rows - n_context, 2) float64.

        `groups` as for `fit`; only models that look at a row's past or at its session's other rows use them. The first
        `n_context` rows are a past to look at: no answer is given for them.
        """
        if not hasattr(self, "classes_"):
            raise sklearn.exceptions.NotFittedError(f"{type(self).__name__} is not fitted; call fit first")
        X = np.asarray(X)
        if X.ndim != 2 or X.shape[1] != self.n_features_in_:
            raise ValueError(f"X has the shape {X.shape}; fitted on {self.n_features_in_} features")
        return both_classes(self._positive_in_context(X, groups, n_context) if len(X) > n_context else np.empty(0))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The likelier class of each row, (rows,) int."""
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(np.int8)

    def score(self, X: np.ndarray, y: np.ndarray) -> float:
        """Accuracy, as scikit-learn's classifiers give it."""
        return float((self.predict(X) == np.asarray(y)).mean())

    def _parameter_names(self) -> list[str]:
        return [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: object) -> Self:
        """Change constructor arguments; takes effect at the next `fit`."""
        unknown = sorted(set(params) - set(self._parameter_names()))
        if unknown:
            raise ValueError(f"{type(self).__name__} has no parameter {', '.join(unknown)}; it has {self._parameter_names()}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({arguments})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def __sklearn_tags__(self) -> Any:
        return sklearn.utils.Tags(
            estimator_type="classifier",
            target_tags=sklearn.utils.TargetTags(required=True),
            classifier_tags=sklearn.utils.ClassifierTags(multi_class=False),
            input_tags=sklearn.utils.InputTags(allow_nan=True),
        )


class DeclaredClassifier(ProbabilityClassifier):
    """A classifier whose method a family's file declares for `model`, its id; `params` are those of its search space."""

    def __init__(self, model: str, seed: int = 0, threads: int = 1, **params: Any):
        self.model, self.seed, self.threads = model, seed, threads
        self._names = sorted(params)
        for name, value in params.items():
            setattr(self, name, value)

    def _parameter_names(self) -> list[str]:
        return ["model", "seed", "threads", *self._names]

    @property
    def params(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}
