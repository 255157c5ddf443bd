"""Loopback receivers of notifications: a mail server that speaks SMTP, and a webhook."""

import email
import email.policy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from mltrainer_pipelines.ops.supervisor import free_port


@dataclass
class Receiver:
    """A running receiver: its port, the messages it took (title, text), and whether it answers with an error."""

    port: int
    messages: list[tuple[str, str]] = field(default_factory=list)
    refuses: bool = False


@contextmanager
def mail_server(port: int | None = None) -> Iterator[Receiver]:
    """An SMTP server."""
    received = Receiver(port or free_port())

    class Handler:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  the name of aiosmtpd
            if received.refuses:
                return "451 try again later"
            message: Any = email.message_from_bytes(envelope.content, policy=email.policy.default)
            received.messages.append((message["Subject"], message.get_body(("plain", "html")).get_content()))
            return "250 taken"

    controller = Controller(Handler(), hostname="127.0.0.1", port=received.port)
    controller.start()
    try:
        yield received
    finally:
        controller.stop()


@contextmanager
def webhook(port: int = 0) -> Iterator[Receiver]:
    """A server that takes JSON by POST."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not received.refuses:
                received.messages.append((body["title"], body["message"]))
            self.send_response(500 if received.refuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    received = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
