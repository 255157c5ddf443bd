"""A turn of a conversation, made by a thread of its own and read as server-sent events."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

from anyio import CapacityLimiter
from fastapi.sse import ServerSentEvent
from sqlalchemy.exc import SQLAlchemyError

from mltrainer_pipelines.agent.chat_events import ChatEvent

MAX_TURNS = 64
"""Turns that are made at the same time; further ones wait."""
_LOST_DATABASE = {"status": 503, "detail": "PostgreSQL stopped answering while this answer was written; send your message again"}


class Turn:
    """The events of a turn as they come.

    A thread makes them, since an answer may take minutes. It goes on to the end though its reader leaves, so that the
    answer is stored for when they come back.
    """

    def __init__(self) -> None:
        self._queue = asyncio.Queue[ChatEvent | Exception | None]()
        self._first: ChatEvent | None = None

    @classmethod
    async def begin(cls, events: Iterator[ChatEvent], threads: CapacityLimiter) -> "Turn":
        """Start a turn and wait for its first event; an error before that is raised here."""
        turn = cls()
        await threads.acquire_on_behalf_of(turn)
        loop = asyncio.get_running_loop()
        threading.Thread(target=turn._make, args=(events, loop, threads), daemon=True, name="conversation").start()
        first = await turn._queue.get()
        if isinstance(first, Exception):
            raise first
        turn._first = first
        return turn

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """The events; an error after the first one is the last event."""
        event: ChatEvent | Exception | None = self._first
        while isinstance(event, ChatEvent):
            yield ServerSentEvent(event=event.kind, data=event.data)
            event = await self._queue.get()
        if isinstance(event, SQLAlchemyError):
            yield ServerSentEvent(event="error", data=_LOST_DATABASE)
        elif event is not None:
            raise event

    def _make(self, events: Iterator[ChatEvent], loop: asyncio.AbstractEventLoop, threads: CapacityLimiter) -> None:
        def put(event: ChatEvent | Exception | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._queue.put_nowait, event)

        try:
            for event in events:
                put(event)
            put(None)
        except Exception as error:
            put(error)
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(threads.release_on_behalf_of, self)
