"""What the key of a data vendor may be asked for, as it was recognized: a file in the state folder, read by all."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

_FILE = "data_plan.json"


@dataclass(frozen=True)
class DataPlan:
    """What a plan allows: the first session to ask for, prices during a session, calls in any 60 seconds (None: no limit).

    `years` of history are allowed, None where all that was asked for is. `training_days` of history come before the first
    quarter that is predicted. `key` tells this address and key from others; neither can be read from it.
    """

    key: str
    years: int | None
    history_start: date
    snapshots: bool
    calls_per_minute: int | None
    training_days: int

    def __str__(self) -> str:
        history = f"{self.years} year{'s' * (self.years > 1)} of history" if self.years else f"history from {self.history_start}"
        calls = f"{self.calls_per_minute} calls a minute" if self.calls_per_minute else "any number of calls"
        prices = "prices 15 minutes late" if self.snapshots else "no prices during a session"
        return f"{history}, {calls}, {prices}"


def fingerprint(address: str, key: str) -> str:
    """Of an address and its key: tells two apart, and gives neither away."""
    return hashlib.sha256(f"{address}\n{key}".encode()).hexdigest()[:16]


def read_plan(state: Path, key: str) -> DataPlan | None:
    """The plan that was recognized for this fingerprint; None where none was yet."""
    try:
        written = json.loads((state / _FILE).read_text())
        plan = DataPlan(**written | {"history_start": date.fromisoformat(written["history_start"])})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError):
        return None  # of another version: it is recognized anew
    return plan if plan.key == key else None


def write_plan(state: Path, plan: DataPlan) -> None:
    state.mkdir(parents=True, exist_ok=True)
    draft = state / f".{_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(plan) | {"history_start": str(plan.history_start)}))
    draft.replace(state / _FILE)
