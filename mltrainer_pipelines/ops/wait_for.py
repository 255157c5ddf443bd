"""Run a command once an address answers: `python -m mltrainer_pipelines.ops.wait_for URL command…`.

The supervisor starts the Dagster daemon through this, so that it begins when the webserver is up: two
processes that import the same code at once would each take twice as long on a small machine.
"""

import os
import socket
import sys
import time

from mltrainer_pipelines.http_client import NoAnswerError, send

_POLL_SECONDS = 0.2


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether something speaks HTTP at `url`, with any status, or listens at `unix:PATH`."""
    if url.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(timeout_s)
            return probe.connect_ex(url.removeprefix("unix:")) == 0
    try:
        send(url, timeout_s=timeout_s)
        return True
    except NoAnswerError:
        return False


def main() -> None:
    url, *command = sys.argv[1:]
    while not answers(url):
        time.sleep(_POLL_SECONDS)
    os.execvp(command[0], command)  # noqa: S606  replaces this process, so that signals reach the command


if __name__ == "__main__":
    main()
