"""The clock of a home that lives through past days: a file in its state folder, moved by `mltrainer live`, read by all."""

import json
import os
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

_FILE = "clock.json"


@dataclass(frozen=True)
class LiveClock:
    """It is `moment` (aware), the days that are lived through end with `last`, and the process `pid` moves it."""

    moment: datetime
    last: date
    pid: int


def read_clock(state: Path) -> LiveClock | None:
    """The clock of a state folder; None where the wall clock or `MLTRAINER_AS_OF` holds."""
    try:
        written = json.loads((state / _FILE).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return LiveClock(datetime.fromisoformat(written["moment"]), date.fromisoformat(written["last"]), written["pid"])


def set_clock(state: Path, moment: datetime, last: date) -> None:
    """Let it be `moment` for every process of the home, until this process removes the clock."""
    draft = state / f".{_FILE}.{os.getpid()}"
    draft.write_text(json.dumps({"moment": moment.isoformat(), "last": str(last), "pid": os.getpid()}))
    draft.replace(state / _FILE)


def remove_clock(state: Path) -> None:
    """Let the wall clock hold again; a clock that another living process moves stays."""
    clock = read_clock(state)
    if clock and (clock.pid == os.getpid() or not _lives(clock.pid)):
        (state / _FILE).unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
