"""Dagster's code server, with runs forked from a process that has the imports behind it.

`python -m mltrainer_pipelines.ops.code_server SOCKET` serves the definitions on a Unix socket, for the webserver and
the daemon together. It is Dagster's own server but for one thing: Dagster starts a run in a new Python process, which
imports Dagster, the definitions, scikit-learn, LightGBM and Numba for some seconds, before a refresh computes for half of
one. Here a run is forked (`multiprocessing`'s fork server) from a process that has imported them and done nothing else:
every run gets a fresh copy of it, and nothing of a run before is in it.
"""

import hashlib
import multiprocessing
import os
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from mltrainer_pipelines.ops.dagster_client import LOCATION
from mltrainer_pipelines.settings import Settings

MODULE = "mltrainer_pipelines.definitions"


def socket_of(settings: Settings) -> Path:
    """Where the code server of a home listens: a short path (a socket's may have 107 bytes), in a folder of this user alone."""
    digest = hashlib.sha256(os.fsencode(settings.state)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"mltrainer-code-{os.geteuid()}-{digest}" / "code.sock"


def write_workspace(settings: Settings, path: Path) -> None:
    """Write the workspace file that leads the webserver and the daemon to the code server."""
    path.write_text(f"load_from:\n  - grpc_server:\n      socket: {socket_of(settings)}\n      location_name: {LOCATION}\n")


def main() -> None:
    """Serve on the socket that is named as the only argument."""
    from dagster._cli.api import grpc_command
    from dagster._grpc import server

    class ForkingApiServer(server.DagsterApiServer):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["mltrainer_pipelines.ops.preload"])
            forkserver.ensure_running()
            self._mp_ctx = context  # type: ignore[assignment]

    server.DagsterApiServer = ForkingApiServer  # type: ignore[misc]
    socket = Path(sys.argv[1])
    socket.parent.mkdir(mode=0o700, exist_ok=True)
    if socket.parent.stat().st_uid != os.geteuid() or socket.parent.stat().st_mode & 0o077:
        raise SystemExit(f"Error: {socket.parent} is not a private folder of this user; remove it")
    socket.unlink(missing_ok=True)
    try:
        grpc_command.main(["--socket", str(socket), "--module-name", MODULE, "--location-name", LOCATION])
    finally:
        socket.unlink(missing_ok=True)
        socket.parent.rmdir()


if __name__ == "__main__":
    main()
