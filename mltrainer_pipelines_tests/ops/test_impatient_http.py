"""Requests that never come to their end, against a real server."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mltrainer_pipelines.ops import impatient_http
from mltrainer_pipelines.ops.impatient_http import BodyDeadline, ImpatientProtocol


async def _length(request: Request) -> PlainTextResponse:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:
        return PlainTextResponse("gone", 408)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(impatient_http, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr(impatient_http, "SILENCE_SECONDS", 1.0)
    app = BodyDeadline(Starlette(routes=[Route("/", _length, methods=["GET", "POST"])]))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # who comes early waits
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", http=ImpatientProtocol))
        thread = threading.Thread(target=lambda: asyncio.run(running.serve([listener])), daemon=True)
        thread.start()
        yield listener.getsockname()
        running.should_exit = True
        thread.join(20)


@pytest.mark.parametrize(
    ("sent", "came"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ", b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", b"408"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", b"408"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhalf", b"200"),
    ],
)
def test_a_request_that_does_not_end_is_not_waited_for(server: tuple[str, int], sent: bytes, came: bytes) -> None:
    with socket.create_connection(server, timeout=60) as connection:
        connection.sendall(sent)
        assert connection.recv(1000)[9:12] == came
