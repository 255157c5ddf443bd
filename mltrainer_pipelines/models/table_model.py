"""A library's estimator made one of ours: prepared rows in, probabilities out, the same for any order within a session."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mltrainer_pipelines.models.calibration import Sigmoid
from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import Declarations, DeclaredClassifier
from mltrainer_pipelines.models.libraries import threadpoolctl
from mltrainer_pipelines.models.panel import in_canonical_order, sessions_of, subsample
from mltrainer_pipelines.models.scaling import MedianFill, RowsAsTheyAre, TailClipScaler
from mltrainer_pipelines.models.spec import Choices, ModelSpec, Range

Prepare = Literal["raw", "filled", "scaled"]
PREPARATIONS: Mapping[Prepare, type[RowsAsTheyAre | MedianFill | TailClipScaler]] = {
    "raw": RowsAsTheyAre, "filled": MedianFill, "scaled": TailClipScaler
}  # fmt: skip
HOLDOUT = 0.25
"""Last part of the training rows on which scores are calibrated."""


@dataclass(frozen=True)
class Fitting:
    """What a method may look at when it builds its estimator: its parameters, and the prepared training rows."""

    params: Mapping[str, Any]
    seed: int
    threads: int
    X: np.ndarray
    y: np.ndarray
    sessions: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.X)

    @property
    def features(self) -> int:
        return int(self.X.shape[1])

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def leaf(self, rows: int) -> int:
        """At least so many rows a leaf, but never more than a twentieth of the table: 50 rows have to train too."""
        return max(1, min(int(rows), self.rows // 20))


@dataclass(frozen=True)
class Method:
    """How a model of the registry is made from a library's estimator.

    `make` gives an unfitted estimator with `fit(X, y)`, or `fit(X, y, sessions)` where `sessions` says so. Rows are given as they
    are ('raw'), with unknown values replaced by the column's median ('filled'), or also clipped at both tails and standardized
    ('scaled'); at most `max_rows` of them, sampled evenly over time, 0 for all.
    """

    make: Callable[[Fitting], Any]
    prepare: Prepare
    max_rows: int = 0
    sessions: bool = False


METHODS: Declarations[Method] = Declarations()


class TableModel(DeclaredClassifier):
    """A model of single rows."""

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        method = METHODS[self.model]
        X, y, groups = in_canonical_order(X, y, groups)
        sessions = sessions_of(groups, len(X))
        if method.max_rows and len(X) > method.max_rows:
            rows = _subsample_of_both_classes(y, method.max_rows)
            X, y, sessions = X[rows], y[rows], sessions[rows]
        self.prepared_ = PREPARATIONS[method.prepare]()
        X, y = self.prepared_.fit_transform(X), np.ascontiguousarray(y, dtype=np.int8)
        fitting = Fitting(self.params, self.seed, self.threads, X, y, sessions)
        with threadpoolctl.threadpool_limits(self.threads):
            self.inner_ = _fitted(method, fitting)
            self.calibration_ = None if hasattr(self.inner_, "predict_proba") else _held_out_calibration(method, fitting)

    def _positive(self, X: np.ndarray) -> np.ndarray:
        X = self.prepared_.transform(X)
        with threadpoolctl.threadpool_limits(self.threads):
            if self.calibration_ is not None:
                return self.calibration_.probability(_score(self.inner_, X))
            return np.clip(np.asarray(_without_warnings(self.inner_.predict_proba, X), dtype=np.float64)[:, 1], 0.0, 1.0)


def declare(
    model: str,
    make: Callable[[Fitting], Any],
    summary: str,
    source: str,
    *,
    family: str,
    space: Mapping[str, Range | Choices] | None = None,
    prepare: Prepare = "scaled",
    core: bool = False,
    max_rows: int = 0,
    sessions: bool = False,
    limits: str = "",
) -> ModelSpec:
    """Declare a model of single rows: its method for fitting, its spec for the registry."""
    METHODS[model] = Method(make, prepare, max_rows, sessions)
    return ModelSpec(
        id=model, family=family, core=core, source=source, summary=summary, cost=cost_of(model),
        handles_missing=prepare == "raw", search_space=space or {}, limits=limits,
        builder=lambda params, seed, threads: TableModel(model, seed, threads, **params),
    )  # fmt: skip


def _subsample_of_both_classes(y: np.ndarray, count: int) -> np.ndarray:
    rows = subsample(len(y), count)
    if y[rows].min() == y[rows].max():
        rows[len(rows) // 2] = np.flatnonzero(y != y[rows[0]])[0]
    return rows


def _fitted(method: Method, fitting: Fitting) -> Any:
    sessions = (fitting.sessions,) if method.sessions else ()
    return _without_warnings(method.make(fitting).fit, fitting.X, fitting.y, *sessions)


def _held_out_calibration(method: Method, fitting: Fitting) -> Sigmoid:
    """Calibrate scores on the last rows by a fit on those before: scores of rows that were fitted on are too sure."""
    cut = int(fitting.rows * (1 - HOLDOUT))
    early, late = fitting.y[:cut], fitting.y[cut:]
    if min(len(np.unique(early)), len(np.unique(late))) < 2 or len(late) < 10:
        return Sigmoid().fit(_score(_fitted(method, fitting), fitting.X), fitting.y)  # too few rows to hold any out
    part = replace(fitting, X=fitting.X[:cut], y=early, sessions=fitting.sessions[:cut])
    return Sigmoid().fit(_score(_fitted(method, part), fitting.X[cut:]), late)


def _score(estimator: Any, X: np.ndarray) -> np.ndarray:
    read = getattr(estimator, "decision_function", None) or estimator.predict
    return np.asarray(_without_warnings(read, X), dtype=np.float64).reshape(len(X), -1)[:, -1]


def _without_warnings(call: Callable[..., object], *arguments: object) -> Any:
    """Call a library without its remarks on convergence and collinear columns: a small table makes all of them."""
    with warnings.catch_warnings(action="ignore"):
        return call(*arguments)
