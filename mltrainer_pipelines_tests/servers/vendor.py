"""A loopback server in the place of Polygon or FRED that answers what a test tells it to, faults included."""

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """An answer, whole or broken.

    `cut_to` sends only so many bytes of the body and closes; with `announced` False the length is not told before, so
    that only the body itself shows that something is missing. `stall_s` waits before the status line, `drip_s` after
    every byte of the body, `drip_head_s` after every byte of what comes before it. `reset` drops the connection without a word.
    """

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_to: int | None = None
    announced: bool = True
    stall_s: float = 0.0
    drip_s: float = 0.0
    drip_head_s: float = 0.0
    reset: bool = False


@dataclass
class Vendor:
    """The running server: its address, and the calls it has had."""

    url: str
    calls: list[Call] = field(default_factory=list)


@contextmanager
def vendor(answers: Iterable[Reply] | Callable[[Call], Reply]) -> Iterator[Vendor]:
    """Serve `answers` in their order, the last one again and again; or whatever a function makes of each call."""
    queue = None if callable(answers) else list(answers)
    lock = threading.Lock()
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            call = Call(parts.path, {name: values[-1] for name, values in parse_qs(parts.query).items()}, dict(self.headers))
            with lock:
                running.calls.append(call)
                reply = answers(call) if queue is None else queue.pop(0) if len(queue) > 1 else queue[0]
            self.close_connection = True
            with suppress(OSError):  # the client has given up, as some tests want it to
                self.send(reply)

        def send(self, reply: Reply) -> None:
            if reply.reset:
                # Lingering for 0 seconds makes the close a reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            closing.wait(reply.stall_s)
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000 if reply.drip_head_s else b"":
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if closing.wait(reply.drip_head_s):
                    return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            if reply.announced:
                self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            body = reply.body if reply.cut_to is None else reply.body[: reply.cut_to]
            if not reply.drip_s:
                self.wfile.write(body)
                return
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if closing.wait(reply.drip_s):
                    return

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = Vendor(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
