"""The process that runs are forked from: it has the imports behind it, and nothing that does not survive a fork."""

import os
import subprocess
import sys
from pathlib import Path

from mltrainer_pipelines.ops import code_server
from mltrainer_pipelines.settings import Settings

_FORKED = """
import multiprocessing, os, sys, threading
import mltrainer_pipelines.ops.preload

def run():
    import numpy as np
    import polars as pl
    from lightgbm import LGBMClassifier
    from mltrainer_pipelines.features.kernels.cross_section import cross_mean
    rows = pl.DataFrame({"g": np.arange(200_000) % 7, "x": np.arange(200_000.0)})
    assert rows.group_by("g").agg(pl.col("x").sum()).height == 7
    X = np.random.default_rng(0).standard_normal((500, 5))
    LGBMClassifier(n_estimators=5, n_jobs=2, verbose=-1).fit(X, X[:, 0] > 0)
    assert (X @ X.T).shape == (500, 500)
    assert abs(cross_mean(np.ones((2, 3)), 1).sum() - 2) < 1e-12
    os._exit(7)

assert threading.active_count() == 1, threading.enumerate()
absent = {"torch", "mlflow", "anthropic", "ray"} & set(sys.modules)
assert not absent, absent
runs = [multiprocessing.get_context("fork").Process(target=run) for _ in range(3)]
for process in runs:
    process.start()
for process in runs:
    process.join(60)
print([process.exitcode for process in runs])
"""


def test_what_is_forked_from_the_warm_process_computes() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLTRAINER_")}
    done = subprocess.run([sys.executable, "-c", _FORKED], capture_output=True, text=True, timeout=1000, env=kept, check=False)
    assert done.stdout.strip() == "[7, 7, 7]", done.stderr[-2000:]


def test_each_home_has_a_socket_of_its_own_that_fits_into_an_address(tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 30)
    sockets = {code_server.socket_of(Settings(mltrainer_home=home)) for home in (tmp_path, deep)}
    assert len(sockets) == 2
    assert all(len(os.fsencode(socket)) < 108 for socket in sockets)


def test_the_workspace_leads_to_the_code_server(tmp_path: Path) -> None:
    settings = Settings(mltrainer_home=tmp_path)
    code_server.write_workspace(settings, tmp_path / "workspace.yaml")
    said = (tmp_path / "workspace.yaml").read_text()
    assert f"socket: {code_server.socket_of(settings)}" in said
    assert "location_name: mltrainer" in said
