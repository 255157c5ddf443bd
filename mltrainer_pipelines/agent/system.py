"""What the agent works with: the tables, the lake, and somebody who starts jobs."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy.engine import Engine

from mltrainer_pipelines.agent.jobs import JobError, JobLauncher
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.runtime_settings import Value
from mltrainer_pipelines.trials.config import TrialConfig


@dataclass(frozen=True)
class System:
    """The installation that the agent is part of.

    `launcher` is None where no run can be started (Dagster is not up): reading still works. `templates` has for each timeframe a
    trial's configuration with everything that the agent does not choose, `defaults` the run-time settings that the environment
    sets otherwise. `market` is named with everything the agent looks up. `clock` gives an aware moment of real time, by which
    actions expire and days are counted.
    """

    engine: Engine
    lake: Lake
    launcher: JobLauncher | None
    templates: Mapping[str, TrialConfig]
    market: Literal["real", "simulated", "replay"]
    defaults: Mapping[str, Value] = field(default_factory=dict)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def start_requested(self) -> None:
        """Start what was requested at once, where Dagster is there to ask; a sensor does so otherwise."""
        if self.launcher is not None:
            with suppress(JobError):
                self.launcher.update()
