"""What steps run on, and what they take along to a node."""

import os
import subprocess
import sys

import pytest

from mltrainer_pipelines.definitions import defs
from mltrainer_pipelines.defs.execution import ON_CLUSTER, shared_variables

ON_RAY = {
    "MLTRAINER_EXECUTOR": "ray",
    "MLTRAINER_RAY_ADDRESS": "http://127.0.0.1:1",
    "MLTRAINER_LAKE_URL": "s3://lake/us",
    "MLTRAINER_DATABASE_URL": "postgresql://user:secret@127.0.0.1:1/mltrainer",
}
PROGRAM = """
import sys
from mltrainer_pipelines.definitions import defs
print(defs.executor.name, "ray" in sys.modules)
"""


def load(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM], env={**os.environ, **variables}, capture_output=True, text=True)


def test_one_variable_chooses_the_executor_and_nothing_imports_ray_before_a_run_needs_it() -> None:
    assert defs.executor is not None
    assert defs.executor.name == "in_process"
    assert load(**ON_RAY).stdout.split() == ["steps", "False"]


def test_a_cluster_without_a_database_and_a_lake_on_the_network_is_refused_by_name() -> None:
    said = load(MLTRAINER_EXECUTOR="ray", MLTRAINER_RAY_ADDRESS="http://127.0.0.1:1").stderr
    assert "MLTRAINER_EXECUTOR=ray needs MLTRAINER_DATABASE_URL, MLTRAINER_LAKE_URL" in said


def test_what_goes_to_the_cluster_are_assets_that_are_there() -> None:
    known = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    assert known >= ON_CLUSTER


def test_a_step_takes_settings_along_but_no_secret_and_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"POLYGON_API_KEY": "secret", "ANTHROPIC_API_KEY": "secret", "MLFLOW_TRACKING_URI": "http://user:secret@mlflow"}
    settings = {"MLTRAINER_HISTORY_START": "2021-01-01", "MLTRAINER_FEE_BPS": "7"}
    for name, value in {**ON_RAY, **secrets, **settings, "MLTRAINER_HOME": "/somewhere"}.items():
        monkeypatch.setenv(name, value)
    named = set(shared_variables())
    assert named >= settings.keys() | {"MLTRAINER_EXECUTOR", "MLTRAINER_RAY_ADDRESS", "MLTRAINER_LAKE_URL"}
    assert not named & (secrets.keys() | {"MLTRAINER_DATABASE_URL", "MLTRAINER_HOME"})
