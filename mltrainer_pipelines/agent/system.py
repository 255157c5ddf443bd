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

    Parameters
    ----------
    engine : Engine
    lake : Lake
    launcher : JobLauncher or None
        None where no run can be started (Dagster is not up): reading still works.
    templates : mapping
        Timeframe to a trial's configuration with everything that the agent does not choose.
    market : {'real', 'simulated', 'replay'}
        Named with everything the agent looks up.
    defaults : mapping
        Of run-time settings, where the environment sets other ones than the settings' own.
    clock : callable
        Gives an aware moment of real time, by which actions expire and days are counted.
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
