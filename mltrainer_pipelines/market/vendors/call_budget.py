"""A budget of calls a minute that all processes on one home keep together.

Polygon's free plan answers five calls a minute. A backfill, a refresh and a webserver are processes of their own, so
the budget lives in a file: a log of the last calls, changed only under a lock that the kernel takes back from a
process that is killed.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

WINDOW_S = 60.0
_LONGEST_CALL_S = 150.0
"""A call that has not ended after so long is over: an attempt's time limits end it before."""
_LOOK_AGAIN_S = 0.25
"""How soon to look again while calls are under way, whose ends nobody knows yet."""


@dataclass
class _Call:
    """One call: when it began and ended (seconds of the system-wide monotonic clock; no end while under way), and who made it."""

    id: str
    pid: int
    began: float
    ended: float | None = None


@dataclass
class _Log:
    """What the file holds: calls that still count, and the moment before which the vendor wants none."""

    calls: list[_Call] = field(default_factory=list)
    not_before: float = 0.0


class CallBudget:
    """At most `calls_per_minute` calls in any 60 seconds (`window_s`), whoever makes them, as the vendor counts.

    A call counts from the moment it is allowed until 60 seconds after its answer came: wherever in between the vendor
    noted it, no 60 seconds of the vendor's ever hold more calls than allowed. A call whose process was killed counts
    for 60 seconds from when that is seen. All processes that share the key share `file`, which is made where it is
    missing. `on_wait` is told the seconds before each wait of a second or more: the place for a line in a log.
    """

    def __init__(
        self,
        file: Path,
        calls_per_minute: int,
        window_s: float = WINDOW_S,
        on_wait: Callable[[float], object] | None = None,
    ):
        if calls_per_minute < 1:
            raise ValueError(
                f"POLYGON_CALLS_PER_MINUTE={calls_per_minute}: a budget has at least 1 call a minute; 0 means none at all"
            )
        self.calls_per_minute = calls_per_minute
        self._file, self._window_s, self._on_wait = file, window_s, on_wait

    def __repr__(self) -> str:
        return f"CallBudget({str(self._file)!r}, {self.calls_per_minute} a minute)"

    def seconds_for(self, calls: int) -> float:
        """How long `calls` calls take at least, from an unused budget: bursts of a minute's worth, a minute apart."""
        return max(0, calls - 1) // self.calls_per_minute * self._window_s

    def recent(self) -> int:
        """Calls of all processes that count now: under way, or ended within the last 60 seconds."""
        with self._opened() as log:
            self._wait_s(log)
            return len(log.calls)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait for a place in the budget and hold it while the call is made."""
        mine = self._reserve()
        try:
            yield
        finally:
            with self._opened() as log:
                for call in log.calls:
                    if call.id == mine:
                        call.ended = time.monotonic()

    def pause(self, seconds: float) -> None:
        """No process makes a call for so long: what a vendor's `Retry-After` asks for."""
        with self._opened() as log:
            log.not_before = max(log.not_before, time.monotonic() + seconds)

    def _reserve(self) -> str:
        call = _Call(uuid4().hex, os.getpid(), 0.0)
        while True:
            with self._opened() as log:
                wait_s = self._wait_s(log)
                if wait_s <= 0:
                    call.began = time.monotonic()
                    log.calls.append(call)
                    return call.id
            if wait_s >= 1 and self._on_wait:
                self._on_wait(wait_s)
            time.sleep(wait_s)

    def _wait_s(self, log: _Log) -> float:
        """Seconds until a call may be made, as far as that is known; 0 or less for now."""
        now = time.monotonic()
        for call in log.calls:
            call.began = min(call.began, now)  # the clock started anew with the machine
            if call.ended is None and (now - call.began > _LONGEST_CALL_S or not _lives(call.pid)):
                call.ended = now
            if call.ended is not None:
                call.ended = min(call.ended, now)
        log.not_before = min(log.not_before, now + _LONGEST_CALL_S)
        log.calls = [call for call in log.calls if call.ended is None or call.ended > now - self._window_s]
        wait_s = log.not_before - now
        if len(log.calls) >= self.calls_per_minute:
            ends = sorted(call.ended for call in log.calls if call.ended is not None)
            too_many = len(log.calls) - self.calls_per_minute
            next_end_s = ends[too_many] + self._window_s - now if len(ends) > too_many else _LOOK_AGAIN_S
            wait_s = max(wait_s, next_end_s, 0.001)
        return wait_s

    @contextmanager
    def _opened(self) -> Iterator[_Log]:
        """The log under its lock, written back at the end in one piece: a killed process leaves the old or the new one."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            log = _read(os.pread(file, os.fstat(file).st_size, 0), self._window_s)
            yield log
            line = json.dumps(asdict(log)).encode() + b"\n"  # what a longer log leaves behind its line break is not read
            os.pwrite(file, line, 0)
            os.ftruncate(file, len(line))
        finally:
            os.close(file)


def _read(content: bytes, window_s: float) -> _Log:
    if not content:
        return _Log()
    try:
        log = json.loads(content.split(b"\n", 1)[0])
        return _Log([_Call(**call) for call in log["calls"]], log["not_before"])
    except (ValueError, TypeError, KeyError):
        # Not written by us, or damaged: which calls were made is unknown, so none is made for a whole window.
        return _Log(not_before=time.monotonic() + window_s)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, and is another user's
    return True
