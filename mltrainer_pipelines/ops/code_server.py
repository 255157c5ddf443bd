"""Dagster's code server: `python -m mltrainer_pipelines.ops.code_server SOCKET` serves the definitions on a Unix socket, for
the webserver and the daemon together; runs are forked from a process that has `preload` imported."""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from mltrainer_pipelines.ops.dagster_client import LOCATION
from mltrainer_pipelines.settings import Settings


def socket_of(settings: Settings) -> Path:
    """Where the code server of a home listens: a short path (a socket's may have 107 bytes), in a folder of this user alone."""
    digest = hashlib.sha256(os.fsencode(settings.state)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"mltrainer-code-{os.geteuid()}-{digest}" / "code.sock"


def write_workspace(settings: Settings, path: Path) -> None:
    """Write the workspace file that leads the webserver and the daemon to the code server."""
    path.write_text(f"load_from:\n  - grpc_server:\n      socket: {socket_of(settings)}\n      location_name: {LOCATION}\n")


def main() -> None:
    """Serve on the socket that is named as the only argument."""
    from mltrainer_pipelines.ops.dagster_internals import serve_code

    socket = Path(sys.argv[1])
    socket.parent.mkdir(mode=0o700, exist_ok=True)
    if socket.parent.stat().st_uid != os.geteuid() or socket.parent.stat().st_mode & 0o077:
        raise SystemExit(f"Error: {socket.parent} is not a private folder of this user; remove it")
    socket.unlink(missing_ok=True)
    try:
        serve_code(socket, "mltrainer_pipelines.definitions", LOCATION, preload="mltrainer_pipelines.ops.preload")
    finally:
        socket.unlink(missing_ok=True)
        socket.parent.rmdir()


if __name__ == "__main__":
    main()
