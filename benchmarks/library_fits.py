"""What the libraries alone need for a core model: the least that a user would write to get probabilities from the same table.

The table has unknown values, as features do. An estimator that reads them is fitted on it as it is; any other stands behind the
library's cheapest preparation that it can be used with: `SimpleImputer(strategy="mean")`, and `StandardScaler` where the method
needs columns of one scale. An estimator without probabilities stands in the cheapest `CalibratedClassifierCV` that calibrates on
rows it has not seen and refits on all of them. A network is trained by a plain loop in torch, an ensemble is its members' calls.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from mltrainer_pipelines.models.libraries import lightgbm, sklearn
from mltrainer_pipelines.models.spec import ModelSpec

Fit = Callable[[], Any]
EPOCHS = 2
"""Passes that networks are timed with, on both sides and without early stopping: more of them only repeat the same work."""


def library_fit(spec: ModelSpec, X: np.ndarray, y: np.ndarray, symbols: int) -> Fit:
    """A call that fits the library's own parts on (rows, features) float32, so many symbols a session."""
    from mltrainer_pipelines.models.networks.model import ARCHITECTURES

    if spec.id in ARCHITECTURES:
        return lambda: _network(spec, X, y, symbols)
    if spec.id == "lightgbm":
        return lambda: _lightgbm(spec, X, y)
    if spec.id in ("soft_voting", "stacked"):
        return _ensemble(spec, X, y)
    return lambda: _pipeline(spec, X, y)


def _prepared(*steps: Any) -> Any:
    return sklearn.pipeline.make_pipeline(sklearn.impute.SimpleImputer(strategy="mean"), *steps)


def _pipeline(spec: ModelSpec, X: np.ndarray, y: np.ndarray) -> Any:
    if spec.id == "logistic_l2":
        C = spec.resolved({})["C"] / len(X)  # type: ignore[operator]
        return _prepared(
            sklearn.preprocessing.StandardScaler(),
            sklearn.linear_model.LogisticRegression(C=C, solver="newton-cholesky", max_iter=50, tol=1e-6),
        ).fit(X, y)
    if spec.id == "binned_naive_bayes":  # a member of the ensembles
        return _prepared(
            sklearn.preprocessing.KBinsDiscretizer(8, encode="ordinal", quantile_method="averaged_inverted_cdf"),
            sklearn.naive_bayes.CategoricalNB(),
        ).fit(X, y)

    from mltrainer_pipelines.models import table_model

    method = table_model.METHODS[spec.id]
    if method.max_rows and len(X) > method.max_rows:
        rows = np.linspace(0, len(X) - 1, method.max_rows).astype(np.int64)
        X, y = X[rows], y[rows]
    fitting = table_model.Fitting(spec.resolved({}), 0, 1, X, y, np.arange(len(X)))
    estimator = method.make(fitting)
    if not hasattr(estimator, "predict_proba"):
        estimator = sklearn.calibration.CalibratedClassifierCV(estimator, method="sigmoid", cv=2, ensemble=False)
    if method.prepare == "scaled":
        estimator = _prepared(sklearn.preprocessing.StandardScaler(), estimator)
    elif method.prepare == "filled" and not estimator.__sklearn_tags__().input_tags.allow_nan:
        estimator = _prepared(estimator)
    return estimator.fit(X, y)


def _lightgbm(spec: ModelSpec, X: np.ndarray, y: np.ndarray) -> Any:
    params = spec.resolved({})
    settings = {key: value for key, value in params.items() if key != "rounds"} | {
        "objective": "binary", "bin_construct_sample_cnt": 25_000, "deterministic": True, "force_col_wise": True,
        "num_threads": 1, "verbose": -1,
    }  # fmt: skip
    return lightgbm.train(settings, lightgbm.Dataset(X, y.astype(np.float32), params=settings), params["rounds"])


def _ensemble(spec: ModelSpec, X: np.ndarray, y: np.ndarray) -> Fit:
    from mltrainer_pipelines.models.combined import MEMBERS_OF
    from mltrainer_pipelines.models.registry import get_model

    members = [get_model(member) for member in MEMBERS_OF[spec.id]]

    def fitted(rows: slice) -> list[Any]:
        return [library_fit(member, X[rows], y[rows], 1)() for member in members]

    def stacked() -> Any:
        edges = [0, len(X) // 3, 2 * len(X) // 3, len(X)]
        held_out = [
            np.stack([_probabilities(member, X[start:end]) for member in fitted(slice(0, start))], axis=1)
            for start, end in itertools.pairwise(edges[1:])
        ]
        P = np.clip(np.vstack(held_out), 1e-4, 1 - 1e-4)
        sklearn.linear_model.LogisticRegression(C=0.01).fit(np.log(P / (1 - P)), y[edges[1] :])
        return fitted(slice(None))

    return stacked if spec.id == "stacked" else lambda: fitted(slice(None))


def _probabilities(fitted: Any, X: np.ndarray) -> np.ndarray:
    if hasattr(fitted, "predict_proba"):
        return fitted.predict_proba(X)[:, 1]
    return np.asarray(fitted.predict(X, num_threads=1))


def _network(spec: ModelSpec, X: np.ndarray, y: np.ndarray, symbols: int) -> Any:
    import torch
    import torch.nn.functional as F  # noqa: N812 - the name that every torch program gives it

    from mltrainer_pipelines.models.networks.model import ARCHITECTURES, SEQUENCE_SESSIONS

    torch.set_num_threads(1)
    torch.manual_seed(0)
    params, architecture = spec.resolved({}), ARCHITECTURES[spec.id]
    values = torch.as_tensor(_prepared(sklearn.preprocessing.StandardScaler()).fit_transform(X).astype(np.float32))
    network = architecture.network(X.shape[1], int(params["units"]), int(params.get("layers", 1)), float(params["dropout"]))
    lags = torch.arange(SEQUENCE_SESSIONS - 1, -1, -1) * symbols
    if architecture.sequence:  # a last row of zeros stands for the sessions before the table's first
        values = torch.cat([torch.cat([values, torch.ones(len(values), 1)], dim=1), torch.zeros(1, values.shape[1] + 1)])

    def batch(at: torch.Tensor) -> torch.Tensor:
        return values[(at[:, None] - lags).clamp(min=-1)] if architecture.sequence else values[at]

    label, cut, size = torch.as_tensor(y, dtype=torch.float32), int(0.85 * len(X)), int(params["batch"])
    optimizer = torch.optim.AdamW(
        network.parameters(), float(params["learning_rate"]), weight_decay=float(params["weight_decay"])
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, float(params["learning_rate"]), total_steps=EPOCHS * -(-cut // size), pct_start=0.2
    )
    for _ in range(EPOCHS):
        network.train()
        for at in torch.randperm(cut).split(size):
            optimizer.zero_grad(set_to_none=True)
            loss = F.binary_cross_entropy_with_logits(network(batch(at)), label[at])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.no_grad():  # when to stop is seen on the last rows
            for at in torch.arange(cut, len(X)).split(8192):
                F.binary_cross_entropy_with_logits(network(batch(at)), label[at])
    return network
