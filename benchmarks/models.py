"""What a fit of the catalogue's models costs, beside the library's call alone.

`python -m benchmarks.models ID` prints one line of JSON; `--measure` writes `models/costs.json` anew for every model,
`--measure ID …` for some. Seconds are of the processor, one thread: what else the machine does makes them no longer.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.library_fits import EPOCHS, library_fit
from benchmarks.peers import ROOT, module
from mltrainer_pipelines.commands.benchmark import Row, benchmark
from mltrainer_pipelines.models import costs
from mltrainer_pipelines.models.panel import panel_groups
from mltrainer_pipelines.models.registry import get_model, list_models
from mltrainer_pipelines.models.spec import ModelSpec

ROWS, FEATURES, SYMBOLS = 100_000, 60, 150
OVERHEAD = 0.05
UNKNOWN = 0.03
"""Share of unknown values in the table that our fit is compared with the library's on."""
ON_GPU = ("mlp", "lstm", "transformer")
LONGEST_S = 60.0
"""A measurement for the cost classes ends here: slow begins at 20 s, and there is no class above it."""


@benchmark("a fit of each core model beside the library's own parts", 900, by_name_only=True)
def models() -> Iterator[Row]:
    """Fit each core model on 100,000 × 60 rows, and beside it the library's own parts (`benchmarks.library_fits`)."""
    for spec in list_models():
        if spec.core:
            fit = module("benchmarks.models", spec.id)
            seconds, alone = fit["seconds"], fit["library_seconds"]
            name = f"fit {spec.id}, {ROWS:,} × {FEATURES}: {fit['rows_per_second']:,} rows/s, {fit['peak_mib']:,} MiB"
            peer = f"library: {fit['library_rows_per_second']:,} rows/s, {fit['library_peak_mib']:,} MiB"
            met = seconds <= alone * (1 + OVERHEAD)
            yield Row(name, seconds, f"at most {1 + OVERHEAD:.2f} × the library alone", met, peer, alone)
    # some networks on the GPU beside the CPU, seconds by the clock; nothing where there is no GPU
    for model in ON_GPU if module("benchmarks.models", "--gpu")["gpu"] else ():
        fit = module("benchmarks.models", model, "--gpu")
        name = f"fit {model} on {fit['gpu']}: {fit['rows_per_second']:,} rows/s"
        peer = f"CPU, one thread: {round(ROWS / fit['cpu_seconds']):,} rows/s"
        yield Row(name, fit["seconds"], "is shown", True, peer, fit["cpu_seconds"])


def table(rows: int, features: int, spec: ModelSpec | None = None, unknown: float = 0.0) -> tuple[np.ndarray, ...]:
    """Rows of 150 symbols a session of 11 sectors with a weak signal in the first feature: X, y, groups."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, max(features, len(spec.columns) if spec else 0))).astype(np.float32)
    if spec and spec.columns:
        X = np.ascontiguousarray(X[:, : len(spec.columns)])
    y = (X[:, 0] + 3 * rng.standard_normal(rows) > 0).astype(np.int8)
    X[rng.random(X.shape) < unknown] = np.nan
    sessions, symbols = np.divmod(np.arange(rows), SYMBOLS)
    return X, y, panel_groups(sessions, symbols, sectors=symbols % 11, others=y)


def _built(spec: ModelSpec) -> Any:
    """The model as it is compared; networks for a few passes, none of them left out."""
    estimator: Any = spec.build(threads=1)
    return estimator.set_params(epochs=EPOCHS, patience=EPOCHS) if spec.gpu else estimator


def _compared(spec: ModelSpec) -> dict[str, Any]:
    """Ours and the library's fit in turn, each by the least of its times; both have run before on few rows."""
    from threadpoolctl import threadpool_limits

    few, many = table(1500, FEATURES, spec, UNKNOWN), table(ROWS, FEATURES, spec, UNKNOWN)

    def ours(X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Callable[[], Any]:
        return lambda: _built(spec).fit(X, y, groups)

    with threadpool_limits(1):
        ours(*few)()
        library_fit(spec, few[0], few[1], SYMBOLS)()
        fits = {"": ours(*many), "library_": library_fit(spec, many[0], many[1], SYMBOLS)}
        seconds: dict[str, list[float]] = {name: [] for name in fits}
        measured: dict[str, Any] = {}
        pairs = 1
        while len(seconds["library_"]) < pairs:
            for name, fit in fits.items():
                _forget_peak()
                start = time.process_time()
                fit()
                seconds[name].append(time.process_time() - start)
                measured.setdefault(f"{name}peak_mib", _peak_mib())
            pairs = 2 if seconds[""][0] > 5 else 3 if seconds[""][0] > 2 else 7
    for name, times in seconds.items():
        measured |= {f"{name}seconds": min(times), f"{name}rows_per_second": round(ROWS / min(times))}
    return measured


def _peak_mib() -> int:
    """The most memory that this process held since it was last forgotten, its table and its libraries among it."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024  # type: ignore[index]


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _gpu_beside_cpu(spec: ModelSpec) -> dict[str, Any]:
    import torch

    X, y, groups = table(ROWS, FEATURES, spec, UNKNOWN)
    measured: dict[str, Any] = {"gpu": torch.cuda.get_device_name()}
    for name, available in (("seconds", torch.cuda.is_available), ("cpu_seconds", lambda: False)):
        torch.cuda.is_available = available  # what a fit asks for its device
        _built(spec).fit(X[:3000], y[:3000], groups[:3000])
        start = time.perf_counter()
        _built(spec).fit(X, y, groups)
        measured[name] = time.perf_counter() - start
    return measured | {"rows_per_second": round(ROWS / measured["seconds"])}


def _cost(spec: ModelSpec, rows: int, features: int) -> dict[str, float]:
    spec.build().fit(*table(600, features, spec))  # imports are not the model's cost
    X, y, groups = table(rows, features, spec)
    estimator = spec.build(threads=1)
    start = time.process_time()
    estimator.fit(X, y, groups)
    return {"processor_seconds": time.process_time() - start}


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
    """Put measurements into `models/costs.json`, beside those that are there; models that are gone leave it."""
    merged = {**costs.SECONDS, **seconds}
    measured = {spec.id: round(merged[spec.id], 2) for spec in list_models() if spec.id in merged}
    costs.FILE.write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n")


def main(arguments: Sequence[str]) -> None:
    if arguments[0] == "--measure":
        write_costs(measure(arguments[1:]))
    elif arguments[0] == "--gpu":
        import torch

        print(json.dumps({"gpu": torch.cuda.is_available()}))
    elif "--gpu" in arguments:
        print(json.dumps(_gpu_beside_cpu(get_model(arguments[0]))))
    elif "--cost" in arguments:
        import signal

        # the fit is ended where it is slow for certain; processor time, so that a busy machine does not count
        signal.signal(signal.SIGPROF, _too_long)
        signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
        print(json.dumps(_cost(get_model(arguments[0]), 90_000, 30)), flush=True)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # one thread of the processor on both sides
        print(json.dumps(_compared(get_model(arguments[0]))))


def _too_long(*_: object) -> None:
    print(json.dumps({"processor_seconds": LONGEST_S}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
