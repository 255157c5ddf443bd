"""How the agent has things computed, without knowing by whom: the edge hands in a launcher."""

from dataclasses import dataclass
from typing import Literal, Protocol

from mltrainer_pipelines.trials.config import TrialConfig

Job = Literal["refresh_signals", "promote_champion", "propose_trials", "learn", "score_trials"]


class JobError(RuntimeError):
    """A job could not be started, looked up or stopped: says why and what to do."""


@dataclass(frozen=True)
class JobProgress:
    """How far a job is; `message` says what it does now, or why it failed."""

    status: Literal["running", "succeeded", "failed"]
    message: str = ""


class JobLauncher(Protocol):
    """Starts jobs and tells how they do. Ids are the launcher's own; they outlive this process."""

    def start_trial(self, config: TrialConfig, reason: str) -> str:
        """Start a trial over all its quarters and its scorecard; returns the job's id. Raises `JobError`."""
        ...

    def start_job(self, job: Job, reason: str, partition: str | None = None) -> str:
        """Start a job of the system; returns its id. Raises `JobError`."""
        ...

    def progress(self, job_id: str) -> JobProgress:
        """How far a job is. Raises `JobError`."""
        ...

    def cancel_all(self) -> list[str]:
        """Stop every job the agent started that is not finished; returns their ids. Raises `JobError`."""
        ...
