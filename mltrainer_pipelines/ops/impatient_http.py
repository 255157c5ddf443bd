"""A server's patience: a request whose header or body does not come to its end is not waited for."""

import time
from asyncio import TimerHandle
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 30.0
SILENCE_SECONDS = 30.0
BODY_SECONDS = 600.0


class ImpatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which closes a connection whose request has no whole header after `HEADER_SECONDS`."""

    _due: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._done()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._done()
        self._due = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _done(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


class BodyDeadline:
    """Treats who falls silent within a body for `SILENCE_SECONDS`, or takes `BODY_SECONDS` for it, as gone."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        whole, end = False, time.monotonic() + BODY_SECONDS

        async def timely() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            with anyio.move_on_after(min(SILENCE_SECONDS, max(0.0, end - time.monotonic()))):
                message = await receive()
                whole = not message.get("more_body", False)
                return message
            whole = True
            return {"type": "http.disconnect"}

        await self.app(scope, timely, send)
