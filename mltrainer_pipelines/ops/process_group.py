"""Several processes as one: started together, started again where one dies, stopped together, and dead with their parent.

supervisord and circus restart and rotate too, but leave their children behind when they are killed, know nothing of a database
that others may hold, and begin with a configuration file: what is left to write beside them is as long as this.
"""

import ctypes
import logging.handlers
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Literal, Protocol

MOST_DEATHS = 5
"""Deaths within `WITHIN_SECONDS` after which a process is given up."""
WITHIN_SECONDS = 600.0
_LONGEST_WAIT_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_LONGEST_LINE = 65_536
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
Tell = Callable[[str, str, Literal["warning", "error"]], None]
"""Takes a process's name, a sentence about it, and how bad it is."""


def die_with_parent() -> None:
    """Ask the kernel to stop this process when its parent dies, however that dies; called between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class RotatingLog(logging.handlers.RotatingFileHandler):
    """A log of at most five files of 20 MB. A full disk loses lines of it and stops nobody."""

    def __init__(self, path: Path):
        super().__init__(path, maxBytes=20_000_000, backupCount=4)

    def write(self, line: str) -> None:
        self.handle(logging.makeLogRecord({"msg": line}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


class Supervised(Protocol):
    """Something that runs: `ended` says how it ended, None while it runs; `stop` asks it to end, or makes it."""

    name: str

    def start(self) -> None: ...
    def ended(self) -> str | None: ...
    def last_line(self) -> str: ...
    def stop(self, how: signal.Signals) -> None: ...


class Process:
    """A program in a session of its own. What it leaves is killed once it was asked to stop, and whenever it `owns_port`."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], log: RotatingLog, owns_port: bool = True):
        self.name, self.command, self.env, self.log, self.owns_port = name, command, env, log, owns_port
        self._popen: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._last = ""
        self._asked = False

    def start(self) -> None:
        self._popen = subprocess.Popen(  # noqa: S603 - our own programs, no shell
            self.command,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._note(f"started (pid={self._popen.pid})")
        self._reader = threading.Thread(target=self._read, args=(self._popen.stdout,), name=f"log of {self.name}", daemon=True)
        self._reader.start()

    def ended(self) -> str | None:
        if self._popen is None or (code := self._popen.poll()) is None:
            return None
        if self.owns_port or self._asked:
            self._signal(signal.SIGKILL)
        if self._reader is not None:
            self._reader.join(1)
        self._note(f"stopped (rc={code})")
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def last_line(self) -> str:
        return self._last

    def stop(self, how: signal.Signals) -> None:
        if self._popen is not None and self._popen.poll() is None:
            self._asked = True
            self._note(f"sending {how.name}")
            self._signal(how)

    def _signal(self, how: signal.Signals) -> None:
        if self._popen is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, how)

    def _read(self, output: IO[bytes]) -> None:
        for line in iter(lambda: output.readline(_LONGEST_LINE), b""):
            text = line.decode(errors="replace").rstrip("\n")
            if text.strip():
                self._last = text.strip().removeprefix("Error: ")
            self._note(text)

    def _note(self, text: str) -> None:
        self.log.write(f"{datetime.now():%H:%M:%S} {self.name:<8} | {text}")  # noqa: DTZ005 - the clock on the wall


@dataclass
class _Watch:
    supervised: Supervised
    running: bool = False
    due: float | None = None
    deaths: deque[float] = field(default_factory=deque)


class ProcessGroup:
    """Starts what was added and looks after it until SIGTERM, SIGINT, SIGHUP or `terminate`.

    Before `restarting` is set the first that ends stops the others; afterwards it is started again, after 1 s and twice as long
    with every further death within `WITHIN_SECONDS`, and given up after `MOST_DEATHS`. `tell` hears of every death.
    """

    def __init__(self, stop_seconds: float, tell: Tell):
        self.stop_seconds, self.tell = stop_seconds, tell
        self.restarting = False
        self.received: signal.Signals | None = None
        self.first_end = ""
        self._watches: list[_Watch] = []
        self._stop = threading.Event()

    def add(self, supervised: Supervised) -> None:
        self._watches.append(_Watch(supervised))

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def terminate(self) -> None:
        self._stop.set()

    def loop(self, tend: Callable[[], None] = lambda: None) -> None:
        """Look after the processes, and call `tend` now and then; children are started by the thread that calls this."""
        for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(asked, self._asked)
        try:
            while not self.stopping:
                for watch in self._watches:
                    self._look_after(watch)
                tend()
                self._stop.wait(_LOOK_SECONDS)
        finally:
            self._end()

    def _asked(self, number: int, _frame: object) -> None:
        self.received = signal.Signals(number)
        self._stop.set()

    def _look_after(self, watch: _Watch) -> None:
        supervised = watch.supervised
        if not watch.running:
            begins = not watch.deaths or (watch.due is not None and time.monotonic() >= watch.due)
            if not begins or self.stopping:
                return
            watch.running, watch.due = True, None
            try:
                supervised.start()
            except Exception as error:  # it is started again later, or given up, as if it had ended
                self._died(watch, f"could not start: {error}")
        elif (how := supervised.ended()) is not None:
            self._died(watch, how)

    def _died(self, watch: _Watch, how: str) -> None:
        name, last, now = watch.supervised.name, watch.supervised.last_line(), time.monotonic()
        watch.running = False
        if not self.restarting:
            self.first_end = self.first_end or f"{name} ended while starting: {last or how}"
            self._stop.set()
        watch.deaths.append(now)
        while now - watch.deaths[0] > WITHIN_SECONDS:
            watch.deaths.popleft()
        if self.stopping:
            return
        if len(watch.deaths) >= MOST_DEATHS:
            times = f"{name} ended {len(watch.deaths)} times within {WITHIN_SECONDS / 60:.0f} minutes"
            self.tell(name, f"{times} and is not started again ({how}: {last}); mend it, then start mlTrainer again", "error")
            return
        wait = min(2.0 ** (len(watch.deaths) - 1), _LONGEST_WAIT_SECONDS)
        watch.due = now + wait
        self.tell(name, f"{name} ended ({how}); it starts again in {wait:g} s", "warning")

    def _end(self) -> None:
        deadline = time.monotonic() + self.stop_seconds
        how: signal.Signals | None = signal.SIGTERM
        while left := [watch for watch in self._watches if watch.running and watch.supervised.ended() is None]:
            if how is not None:
                for watch in left:
                    watch.supervised.stop(how)
                how = None
            if time.monotonic() > deadline:
                deadline, how = time.monotonic() + 1.0, signal.SIGKILL
            time.sleep(_LOOK_SECONDS / 2)
