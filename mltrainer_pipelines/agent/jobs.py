"""How the agent has things computed, without knowing by whom: the edge hands in a launcher."""

from collections.abc import Sequence
from typing import Protocol


class JobError(RuntimeError):
    """Runs could not be started, looked up or stopped: says why and what to do."""


class JobLauncher(Protocol):
    """Turns requests for runs into runs, and notes what became of them."""

    def update(self) -> object:
        """Start what is requested and waits, and note what has ended. Raises `JobError`."""
        ...

    def cancel(self, run_ids: Sequence[str]) -> None:
        """Stop runs; those that have ended stay as they are. Raises `JobError`."""
        ...

    def cancel_all(self) -> list[str]:
        """Stop every run the agent started that is not finished; returns their ids. Raises `JobError`."""
        ...
