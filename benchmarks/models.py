"""What a fit of the catalogue's models costs, beside the library's call alone.

`python -m benchmarks.models ID` prints one line of JSON; `--measure` writes `models/costs.py` anew for every model.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.peers import ROOT, module, result
from mltrainer_pipelines.models.catalogue import get_model, list_models
from mltrainer_pipelines.models.panel import panel_groups
from mltrainer_pipelines.models.spec import ModelSpec

ROWS, FEATURES = 100_000, 60
OVERHEAD = 0.05
COSTS = ROOT / "mltrainer_pipelines/models/costs.py"
LONGEST_S = 60.0
"""A measurement for the cost classes ends here: slow begins at 20 s, and there is no class above it."""


def run() -> list[dict[str, Any]]:
    """Fit each core model on 100,000 × 60 rows, and the bare library on the same rows, made ready for it before."""
    rows = []
    for spec in list_models():
        if spec.core:
            told = module("benchmarks.models", spec.id)
            seconds, bare = told["seconds"], told["bare_seconds"]
            name = f"fit {spec.id}, {ROWS:,} × {FEATURES}, {told['rows_per_second']:,} rows/s, {told['peak_mib']:,} MiB"
            met = seconds <= bare * (1 + OVERHEAD)
            rows.append(result(name, seconds, f"at most {1 + OVERHEAD:.2f} × the library alone", met, "library alone", bare))
    return rows


def table(rows: int, features: int, spec: ModelSpec | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of 150 symbols a session with a weak signal in the first feature: X, y, groups."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, max(features, len(spec.columns) if spec else 0))).astype(np.float32)
    if spec and spec.columns:
        X = np.ascontiguousarray(X[:, : len(spec.columns)])
    y = (X[:, 0] + 3 * rng.standard_normal(rows) > 0).astype(np.int8)
    return X, y, panel_groups(np.arange(rows) // 150, np.arange(rows) % 150)


def _fit_once(spec: ModelSpec, rows: int, features: int) -> dict[str, Any]:
    small = table(600, features, spec)
    spec.build().fit(*small)  # imports are not the model's cost
    X, y, groups = table(rows, features, spec)
    estimator = spec.build(threads=1)
    began, used = time.perf_counter(), time.process_time()
    estimator.fit(X, y, groups)
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    return {
        "seconds": seconds, "processor_seconds": processor, "rows_per_second": round(rows / seconds),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }  # fmt: skip


def _bare(spec: ModelSpec, rows: int, features: int) -> float:
    """Seconds of the library's fit alone: rows are filled, scaled and in order before the clock starts."""
    from threadpoolctl import threadpool_limits

    from mltrainer_pipelines.models import table_model
    from mltrainer_pipelines.models.network_model import ARCHITECTURES

    X, y, groups = table(rows, features, spec)
    if spec.id in table_model.METHODS:
        method = table_model.METHODS[spec.id]
        X, y, sessions = table_model._ordered(X, y, groups)
        if method.max_rows:
            kept = table_model._evenly(y, min(method.max_rows, len(y)))
            X, y, sessions = X[kept], y[kept], sessions[kept]
        X = table_model._preparation(method.prepare).fit_transform(X)
        fitting = table_model.Fitting(spec.resolved({}), 0, 1, len(X), X.shape[1], X, y, sessions)
        further = (sessions,) if method.sessions else ()
        with threadpool_limits(1):
            began = time.perf_counter()
            table_model._quietly(method.make(fitting).fit, X, y, *further)
            return time.perf_counter() - began
    if spec.id in ARCHITECTURES:
        from mltrainer_pipelines.models import network_training as training

        model: Any = spec.build()
        model.n_features_in_ = X.shape[1]
        plan = training.Training(
            model.epochs, model.learning_rate, model.weight_decay, model.batch, model.patience, 900.0, 0, 1,
            **ARCHITECTURES[spec.id].training,
        )  # fmt: skip
        with training.bounded(1, 0) as device:
            network, data = model._network(), model._rows(X, groups, device)
            began = time.perf_counter()
            training.train(network, data, y, plan, device)
            return time.perf_counter() - began
    return _bare_library(spec, X, y)


def _bare_library(spec: ModelSpec, X: np.ndarray, y: np.ndarray) -> float:
    from threadpoolctl import threadpool_limits

    params = spec.resolved({})
    with threadpool_limits(1):
        if spec.id == "lightgbm":
            import lightgbm

            told = {key: value for key, value in params.items() if key != "rounds"} | {
                "objective": "binary", "bin_construct_sample_cnt": 25_000, "deterministic": True, "force_col_wise": True,
                "num_threads": 1, "verbose": -1,
            }  # fmt: skip
            began = time.perf_counter()
            lightgbm.train(told, lightgbm.Dataset(X, y.astype(np.float32), params=told), params["rounds"])
        elif spec.id == "logistic_l2":
            from sklearn.linear_model import LogisticRegression

            from mltrainer_pipelines.models.linear import TailClipScaler

            ready = TailClipScaler().fit_transform(X)
            began = time.perf_counter()
            LogisticRegression(C=float(params["C"]) / len(X), solver="newton-cholesky", max_iter=50, tol=1e-6).fit(ready, y)
        else:  # ensembles of ours: their members' fits, one after the other, are the library's part
            from mltrainer_pipelines.models import ensembles

            members = ensembles.members_of(spec.id)
            groups = panel_groups(np.arange(len(X)) // 150, np.arange(len(X)) % 150)
            began = time.perf_counter()
            for member in members:
                get_model(member).build(threads=1).fit(X, y, groups)
    return time.perf_counter() - began


def measure(ids: Sequence[str] = (), at_once: int = 1) -> dict[str, float]:
    """Processor seconds of one fit of each model on 90,000 × 30 rows, each in a process of its own."""
    chosen = list(ids) or [spec.id for spec in list_models()]

    def one(model: str) -> tuple[str, float]:
        command = [sys.executable, "-m", "benchmarks.models", model, "--cost"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=3 * LONGEST_S)
        except subprocess.TimeoutExpired:
            return model, LONGEST_S
        if done.returncode:
            raise RuntimeError(f"{model}: {done.stderr.strip()[-2000:]}")
        seconds = json.loads(done.stdout.strip().splitlines()[-1])["processor_seconds"]
        print(f"{model:35s} {seconds:8.2f} s", file=sys.stderr, flush=True)
        return model, min(seconds, LONGEST_S)

    with ThreadPoolExecutor(at_once) as pool:
        return dict(pool.map(one, chosen))


def write_costs(seconds: dict[str, float]) -> None:
    """Put measurements into `models/costs.py`, beside those that are there."""
    from mltrainer_pipelines.models import costs

    known = {spec.id for spec in list_models()}
    merged = {model: s for model, s in {**costs.SECONDS, **seconds}.items() if model in known}
    text = COSTS.read_text()
    start = text.index("SECONDS: dict[str, float] = {")
    end = text.index("}\n", start) + 2
    lines = "".join(f'    "{model}": {value:.2f},\n' for model, value in sorted(merged.items()))
    COSTS.write_text(text[:start] + "SECONDS: dict[str, float] = {\n" + lines + "}\n" + text[end:])


def main(arguments: Sequence[str]) -> None:
    if arguments[0] == "--measure":
        write_costs(measure(arguments[1:]))
        return
    spec = get_model(arguments[0])
    if "--cost" in arguments:
        import signal

        # the fit is ended where it is slow for certain; processor time, so that a busy machine does not count
        signal.signal(signal.SIGPROF, _too_long)
        signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
        print(json.dumps(_fit_once(spec, 90_000, 30)), flush=True)
        return
    told = _fit_once(spec, ROWS, FEATURES)
    print(json.dumps(told | {"bare_seconds": _bare(spec, ROWS, FEATURES)}))


def _too_long(*_: object) -> None:
    print(json.dumps({"processor_seconds": LONGEST_S}), flush=True)
    import os

    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
