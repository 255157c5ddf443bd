"""The agent of an installation, built from its settings."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Engine

from mltrainer_pipelines.settings import Settings

if TYPE_CHECKING:
    from mltrainer_pipelines.agent.chat import ChatAgent
    from mltrainer_pipelines.agent.jobs import JobLauncher
    from mltrainer_pipelines.agent.messages import Claude
    from mltrainer_pipelines.agent.system import System
    from mltrainer_pipelines.trials.config import TrialConfig


def claude_of(settings: Settings, engine: Engine) -> "Claude | None":
    """Claude as the settings name it, None without `ANTHROPIC_API_KEY`."""
    from mltrainer_pipelines.agent.messages import Claude
    from mltrainer_pipelines.agent.tracing import Traces

    if settings.anthropic_api_key is None:
        return None
    return Claude(
        engine,
        settings.mltrainer_agent_model,
        settings.anthropic_api_key,
        settings.anthropic_base_url,
        traces=Traces(settings.tracking_uri),
    )


def templates_of(settings: Settings) -> "dict[str, TrialConfig]":
    """A trial's configuration for each timeframe with everything that the agent does not choose."""
    from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES
    from mltrainer_pipelines.trials.config import TrialConfig

    size = settings.mltrainer_universe_size
    return {name: TrialConfig.parse({"model": "lightgbm", "timeframe": name, "universe_size": size}) for name in TIMEFRAMES}


def system_of(settings: Settings, engine: Engine, launcher: "JobLauncher | None") -> "System":
    """What the agent works with in this installation."""
    from mltrainer_pipelines.agent.system import System
    from mltrainer_pipelines.features.discovered import follow
    from mltrainer_pipelines.store.lake import Lake

    kind: Any = settings.market_kind
    lake = Lake(settings.lake_url)
    follow(lake)
    return System(engine, lake, launcher, templates_of(settings), kind, settings.threshold_defaults)


@contextmanager
def provided_agent(settings: Settings) -> "Iterator[ChatAgent]":
    """The agent for the length of a command; it has runs started where `mltrainer up` runs on this home.

    Raises `DatabaseUnavailableError` or `EmbeddedPostgresError` if there is no database to be had.
    """
    from mltrainer_pipelines.agent.chat import ChatAgent
    from mltrainer_pipelines.ops import state_dir
    from mltrainer_pipelines.ops.dagster_client import DagsterClient
    from mltrainer_pipelines.ops.databases import provided_databases
    from mltrainer_pipelines.ops.installation_token import share_token
    from mltrainer_pipelines.ops.run_launcher import launcher_of
    from mltrainer_pipelines.store.database import Database

    share_token(settings, os.environ)
    with provided_databases(settings) as urls:
        database = Database(urls["mltrainer"])
        addresses = (state_dir.lock_holder(settings) or state_dir.LockHolder()).addresses
        launcher = None
        if "dagster" in addresses:
            launcher = launcher_of(settings, database.engine, DagsterClient.of(settings, addresses["dagster"]))
        try:
            yield ChatAgent(system_of(settings, database.engine, launcher), claude_of(settings, database.engine))
        finally:
            database.dispose()
