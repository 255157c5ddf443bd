"""What steps run on: the process of their run, or a Ray cluster, as `MLTRAINER_EXECUTOR` says.

A step on the cluster costs seconds of its own (docs/scale.md), so that only what computes for long goes there. Everything
else runs where it always does: a refresh every 15 minutes, what keeps a call budget in this machine's home, what asks the
local exchange.
"""

import os
from typing import Any, get_args

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.plan.objects import StepRetryData
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from pydantic import AliasChoices, SecretStr

from mltrainer_pipelines.settings import Settings, get_settings

ON_CLUSTER = frozenset({"universe", "features", "labels", "regime", "trial_predictions", "champion_model"})
"""Assets that compute for long and need nothing but the lake, PostgreSQL and MLflow. A run of these alone uses the cluster."""
CPUS_OF_A_STEP = 1
"""Processors that Ray reserves for a step; models are fitted with one thread."""

LOST_STEP_ATTEMPTS = 4
_HEALTH_CHECK_SECONDS = 10
_SECONDS_BEFORE_AGAIN = 2
_STAYS_HERE = {"mltrainer_home"}
_ON_NODE = "MLTRAINER_STEP_ON_CLUSTER"


def steps_executor() -> dg.ExecutorDefinition:
    """The executor of the code location. Locally one process a run: the heavy imports happen once, frames need no trip."""
    return dg.in_process_executor if get_settings().mltrainer_executor == "local" else _steps_by_asset


def on_cluster() -> bool:
    """Whether this process is a step on a node of the cluster."""
    return _ON_NODE in os.environ


@dg.executor(name="steps", requirements=multiple_process_executor_requirements())
def _steps_by_asset(context: dg.InitExecutorContext) -> dg.Executor:
    """Steps of a run on the cluster, if all of its assets compute for long, else in its process."""
    selected = {key.to_user_string() for key in context.job.get_definition().asset_layer.selected_asset_keys}
    retries: dict[str, Any] = {"retries": {"enabled": {}}}
    if not selected or not selected <= ON_CLUSTER:
        return dg.in_process_executor.executor_creation_fn(context._replace(executor_config=retries))  # type: ignore[misc]
    from dagster_ray import ray_executor

    ray = {
        "address": get_settings().mltrainer_ray_address,
        "num_cpus": CPUS_OF_A_STEP,
        "env_vars": [*shared_variables(), f"{_ON_NODE}=1"],
    }
    delegating = ray_executor.executor_creation_fn(context._replace(executor_config={"ray": ray, **retries}))
    return _LostStepsBeginAgain(delegating)


class _LostStepsBeginAgain(StepDelegatingExecutor):
    """dagster-ray's executor, for a cluster whose nodes come and go.

    A step whose node is gone begins again on another one, and finds what it had written. A step that failed by itself is
    left failed: it would fail again. (Dagster's `RetryPolicy` makes no difference between the two.)
    """

    def __init__(self, delegating: Any):
        super().__init__(
            delegating._step_handler,
            retries=RetryMode.ENABLED,
            check_step_health_interval_seconds=_HEALTH_CHECK_SECONDS,
            should_verify_step=True,
        )

    def log_failure_or_retry_event_after_error(self, step_context: Any, err_info: Any, known_state: Any) -> dg.DagsterEvent:
        if known_state.get_retry_state().get_attempt_count(step_context.step.key) + 1 >= LOST_STEP_ATTEMPTS:
            return super().log_failure_or_retry_event_after_error(step_context, err_info, known_state)
        again = StepRetryData(error=err_info, seconds_to_wait=_SECONDS_BEFORE_AGAIN)
        return dg.DagsterEvent.step_retry_event(step_context, again)


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
