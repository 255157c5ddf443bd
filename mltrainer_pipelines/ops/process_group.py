"""Several processes as one, by honcho: when one ends all are stopped. The one module that knows honcho's insides."""

import shlex
from typing import TextIO

import honcho.manager
from honcho.printer import Message, Printer


class ProcessGroup(honcho.manager.Manager):
    """honcho's manager with a time to stop in of our own, and what is left to say of a process that ended.

    honcho kills what has not ended `KILL_WAIT` seconds after it was asked to, 5 unless that constant of the module is
    changed; MLflow and Dagster may take longer. It tells only by `_terminating` that it is stopping. `output` takes the
    processes' own output, line by line.
    """

    def __init__(self, output: TextIO, stop_seconds: float):
        honcho.manager.KILL_WAIT = stop_seconds
        self._log = _Log(output)
        super().__init__(self._log)

    def add(self, name: str, command: list[str], env: dict[str, str]) -> None:
        """A process to start with `loop`; `exec`, so that signals reach it and not the shell."""
        self.add_process(name, f"exec {shlex.join(command)}", env=env)

    @property
    def stopping(self) -> bool:
        return bool(self._terminating)

    @property
    def first_end(self) -> str:
        """Which process ended first, and the last line that it wrote."""
        return f"{self._log.first_ended} ended while starting: {self._log.last_lines.get(self._log.first_ended, '')}"


class _Log(Printer):
    """The processes' output, and the last line of each, for when one of them ends."""

    def __init__(self, output: TextIO):
        super().__init__(output, colour=False)
        self.last_lines: dict[str, str] = {}
        self.first_ended = "a service"

    def write(self, message: Message) -> None:
        text = message.data.decode(errors="replace") if isinstance(message.data, bytes) else str(message.data)
        if message.name == honcho.manager.SYSTEM_PRINTER_NAME:
            if " stopped (rc=" in text and self.first_ended == "a service":
                self.first_ended = text.split(" ", 1)[0]
        elif text.strip():
            self.last_lines[message.name] = text.strip().removeprefix("Error: ")
        super().write(message)
