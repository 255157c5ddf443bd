"""The embedded PostgreSQL, which listens on a Unix socket alone, on a port of loopback: a database on the network."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.engine import make_url

from mltrainer_pipelines.store.embedded import EmbeddedPostgres


@contextmanager
def postgres_on_tcp(server: EmbeddedPostgres, database: str = "mltrainer") -> Iterator[str]:
    """Pass every connection on to the running server's socket; yields a `postgresql://user@127.0.0.1:port/…` address."""
    url = make_url(server.url())
    path = f"{url.query['host']}/.s.PGSQL.{url.query.get('port', url.port or 5432)}"
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listening, path), daemon=True).start()
    try:
        yield f"postgresql://{url.username}@127.0.0.1:{listening.getsockname()[1]}/{database}"
    finally:
        listening.close()


def _accept(listening: socket.socket, path: str) -> None:
    with suppress(OSError):  # closed: nobody connects any more
        while True:
            client, _ = listening.accept()
            there = socket.socket(socket.AF_UNIX)
            there.connect(path)
            for source, target in ((client, there), (there, client)):
                threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # one of the two is gone
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
