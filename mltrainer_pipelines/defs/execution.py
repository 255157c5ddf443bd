"""What steps run on: the process of their run, or a Ray cluster, as `MLTRAINER_EXECUTOR` says.

A step on the cluster costs seconds of its own (docs/scale.md), so that only what computes for long goes there. Everything
else runs where it always does: a refresh every 15 minutes, what keeps a call budget in this machine's home, what asks the
local exchange.
"""

import os
from typing import Any, get_args

import dagster as dg
from pydantic import AliasChoices, SecretStr

from mltrainer_pipelines.settings import Settings, get_settings

ON_CLUSTER = frozenset({"universe", "features", "labels", "regime", "trial_predictions", "champion_model"})
"""Assets that compute for long and need nothing but the lake, PostgreSQL and MLflow. A run of these alone uses the cluster."""
CPUS_OF_A_STEP = 1
"""Processors that Ray reserves for a step; models are fitted with one thread."""

LOST_STEP_ATTEMPTS = 4
_STAYS_HERE = {"mltrainer_home"}
_ON_NODE = "MLTRAINER_STEP_ON_CLUSTER"


def steps_executor() -> dg.ExecutorDefinition:
    """The executor of the code location. Locally one process a run: the heavy imports happen once, frames need no trip."""
    return dg.in_process_executor if get_settings().mltrainer_executor == "local" else _steps_by_asset


def on_cluster() -> bool:
    """Whether this process is a step on a node of the cluster."""
    return _ON_NODE in os.environ


@dg.executor(name="steps", requirements=dg.multiple_process_executor_requirements())
def _steps_by_asset(context: dg.InitExecutorContext) -> dg.Executor:
    """Steps of a run on the cluster, if all of its assets compute for long, else in its process."""
    selected = {key.to_user_string() for key in context.job.get_definition().asset_layer.selected_asset_keys}
    retries: dict[str, Any] = {"retries": {"enabled": {}}}
    if not selected or not selected <= ON_CLUSTER:
        return dg.in_process_executor.executor_creation_fn(context._replace(executor_config=retries))  # type: ignore[misc]
    from dagster_ray import ray_executor

    from mltrainer_pipelines.ops.dagster_internals import LostStepRestartExecutor

    ray = {
        "address": get_settings().mltrainer_ray_address,
        "num_cpus": CPUS_OF_A_STEP,
        "env_vars": [*shared_variables(), f"{_ON_NODE}=1"],
    }
    delegating = ray_executor.executor_creation_fn(context._replace(executor_config={"ray": ray, **retries}))
    return LostStepRestartExecutor(delegating, LOST_STEP_ATTEMPTS)


def shared_variables() -> list[str]:
    """Names of the settings that a step takes along to its node: those set in this process's environment, but no secrets.

    Keys and addresses with a password are not sent, because a job's environment shows in Ray's dashboard. A node has them
    in its own environment, as it has the credentials of the object store.
    """
    names = ["DAGSTER_EVENT_BATCH_SIZE"]
    for name, field in Settings.model_fields.items():
        secret = SecretStr in (field.annotation, *get_args(field.annotation))
        alias = field.validation_alias
        if not secret and name not in _STAYS_HERE:
            names.append(str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper())
    return sorted(name for name in names if os.environ.get(name) and "@" not in os.environ[name])
