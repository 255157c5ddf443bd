"""Answers less than a second old are sent again, so that many readers cost what one does."""

import asyncio
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FRESH_SECONDS = 1.0
_MOST_ANSWERS = 512
_LARGEST = 4 * 1024 * 1024
_UNCACHED = ("/api/events", "/api/chat", "/api/actions", "/health", "/metrics")
"""Streams, states that a reader polls, and what is about the moment itself."""


@dataclass(frozen=True)
class _Answer:
    until: float
    start: Message
    body: bytes


class ResponseCache:
    """Remembers successful GETs for `FRESH_SECONDS`; any other request empties the memory.

    Requests for the same thing that come while it is being answered wait for that answer. What changes a
    table is either a request to this API, or a Dagster run, whose end no reader can time to the second.
    """

    def __init__(self, app: ASGIApp, fresh_s: float = FRESH_SECONDS):
        self.app, self.fresh_s = app, fresh_s
        self.answers: dict[str, _Answer] = {}
        self.under_way: dict[str, asyncio.Event] = {}
        self.generation = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_UNCACHED):
            await self.app(scope, receive, send)
        elif scope["method"] == "GET":
            await self._read(scope, receive, send)
        else:
            self.forget()
            try:
                await self.app(scope, receive, send)
            finally:
                self.forget()

    def forget(self) -> None:
        self.generation += 1
        self.answers.clear()

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = f"{self.generation} {scope['path']}?{scope['query_string'].decode('latin-1')}"
        while True:
            cached = self.answers.get(key)
            if cached is not None and cached.until > time.monotonic():
                await send(cached.start)
                await send({"type": "http.response.body", "body": cached.body})
                return
            waiting = self.under_way.get(key)
            if waiting is None:
                break
            await waiting.wait()
        done = self.under_way[key] = asyncio.Event()
        try:
            await self._answer(key, scope, receive, send)
        finally:
            del self.under_way[key]
            done.set()

    async def _answer(self, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        generation, start, parts, size = self.generation, None, [], 0

        async def record(message: Message) -> None:
            nonlocal start, size
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if not message.get("more_body") and start and start["status"] == 200 and size <= _LARGEST:
                    self._store(key, generation, _Answer(time.monotonic() + self.fresh_s, start, b"".join(parts)))
            await send(message)

        await self.app(scope, receive, record)

    def _store(self, key: str, generation: int, answer: _Answer) -> None:
        if generation != self.generation:
            return
        if len(self.answers) >= _MOST_ANSWERS:
            self.answers.clear()
        self.answers[key] = answer
