"""A library's estimator made one of ours: prepared rows in, probabilities out, the same for any order within a session."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mltrainer_pipelines.models.calibration import Sigmoid
from mltrainer_pipelines.models.costs import cost_of
from mltrainer_pipelines.models.estimator import Declarations, DeclaredClassifier
from mltrainer_pipelines.models.panel import canonical_order, sessions_of, subsample
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
    """What a method may look at when it builds its estimator.

    Parameters
    ----------
    params : Mapping
        Its resolved parameters.
    seed, threads : int
    rows, features : int
        Size of the training table.
    X, y : array
        The prepared training rows, for methods that derive constraints or weights from them.
    sessions : (rows,) array of int64
    """

    params: Mapping[str, Any]
    seed: int
    threads: int
    rows: int
    features: int
    X: np.ndarray
    y: np.ndarray
    sessions: np.ndarray

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def leaf(self, rows: int) -> int:
        """At least so many rows a leaf, but never more than a twentieth of the table: 50 rows have to train too."""
        return max(1, min(int(rows), self.rows // 20))


Make = Callable[[Fitting], Any]


@dataclass(frozen=True)
class Method:
    """How a model of the catalogue is made from a library's estimator.

    Parameters
    ----------
    make : callable
        An unfitted estimator with `fit(X, y)`; imports its library.
    prepare : {'raw', 'filled', 'scaled'}
        Rows as they are; unknown values replaced by the column's median; or also clipped at both tails and standardized.
    max_rows : int
        Most rows fitted on, drawn evenly over time; 0 for all.
    sessions : bool
        Whether `fit` takes the rows' sessions as a third argument.
    """

    make: Make
    prepare: Prepare
    max_rows: int = 0
    sessions: bool = False


METHODS: Declarations[Method] = Declarations()


class TableModel(DeclaredClassifier):
    """A model of single rows."""

    def _fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> None:
        from threadpoolctl import threadpool_limits

        method = METHODS[self.model]
        X, y, sessions = _ordered(X, y, groups)
        if method.max_rows and len(X) > method.max_rows:
            kept = _evenly(y, method.max_rows)
            X, y, sessions = X[kept], y[kept], sessions[kept]
        self.prepared_ = PREPARATIONS[method.prepare]()
        X = self.prepared_.fit_transform(X)
        y = np.ascontiguousarray(y, dtype=np.int8)
        fitting = Fitting(self.params, self.seed, self.threads, len(X), X.shape[1], X, y, sessions)
        with threadpool_limits(self.threads):
            estimator = method.make(fitting)
            further = (sessions,) if method.sessions else ()
            if hasattr(estimator, "predict_proba"):
                self.calibration_ = None
            else:
                self.calibration_ = _held_out_calibration(method.make, fitting, method.sessions)
            self.inner_ = _quietly(estimator.fit, X, y, *further)

    def _positive(self, X: np.ndarray) -> np.ndarray:
        from threadpoolctl import threadpool_limits

        X = self.prepared_.transform(X)
        if not len(X):
            return np.empty(0)
        with threadpool_limits(self.threads):
            if self.calibration_ is None:
                return np.clip(np.asarray(_quietly(self.inner_.predict_proba, X), dtype=np.float64)[:, 1], 0.0, 1.0)
            return self.calibration_.probability(_score(self.inner_, X))


def declare(
    id: str,  # noqa: A002 - the field's own name
    make: Make,
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
    """Declare a model of single rows: its method for fitting, its spec for the catalogue."""
    METHODS[id] = Method(make, prepare, max_rows, sessions)
    return ModelSpec(
        id=id, family=family, core=core, source=source, summary=summary, cost=cost_of(id), gpu=False,
        handles_missing=prepare == "raw", search_space=space or {}, limits=limits,
        builder=lambda params, seed, threads: TableModel(id, seed, threads, **params),
    )  # fmt: skip


def _ordered(X: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = canonical_order(X, y, groups)
    sessions = sessions_of(groups, len(X))
    return (X, y, sessions) if order is None else (X[order], y[order], sessions[order])


def _evenly(y: np.ndarray, rows: int) -> np.ndarray:
    """Positions of so many rows, all over the table, both classes among them."""
    kept = subsample(len(y), rows)
    if y[kept].min() == y[kept].max():
        kept[len(kept) // 2] = np.flatnonzero(y != y[kept[0]])[0]
    return kept


def _held_out_calibration(make: Make, fitting: Fitting, with_sessions: bool) -> Sigmoid:
    """Calibrate scores on the last rows by a fit on those before: scores of rows that were fitted on are too sure."""
    cut = int(len(fitting.y) * (1 - HOLDOUT))
    early, late = fitting.y[:cut], fitting.y[cut:]
    if min(len(np.unique(early)), len(np.unique(late))) < 2 or len(late) < 10:
        cut, late = 0, fitting.y  # too few rows to hold any out
        part = fitting
    else:
        part = Fitting(
            fitting.params, fitting.seed, fitting.threads, cut, fitting.features, fitting.X[:cut], early, fitting.sessions[:cut]
        )
    further = (part.sessions,) if with_sessions else ()
    estimator = _quietly(make(part).fit, part.X, part.y, *further)
    return Sigmoid().fit(_score(estimator, fitting.X[cut:]), late)


def _score(estimator: Any, X: np.ndarray) -> np.ndarray:
    read = getattr(estimator, "decision_function", None) or estimator.predict
    return np.asarray(_quietly(read, X), dtype=np.float64).reshape(len(X), -1)[:, -1]


def _quietly(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a library without its remarks on convergence and collinear columns: a small table makes all of them."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments)
