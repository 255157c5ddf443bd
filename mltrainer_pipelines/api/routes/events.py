"""Server-sent events: new recommendations, positions marked, actions and proposals that move, settings, alerts."""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from mltrainer_pipelines.api.changes import Marks, changes_since, current_marks
from mltrainer_pipelines.api.context import Context, Installation

router = APIRouter(prefix="/api", tags=["events"])

POLL_SECONDS = 1.0
PREVIEW_SECONDS = 15.0
"""How long a client is served that did not ask for an event stream."""
_RECONNECT_MS = 2000
_EXAMPLE = 'event: recommendations\ndata: {"new": [{"id": 94, "symbol": "BGUO"}], "newest_id": 94}\nid: 94-0-0-0-3-179\n\n'


class ChangePoll:
    """Reads the marks at most once a second, however many clients listen."""

    def __init__(self, context: Context):
        self.context = context
        self._marks = Marks()
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    async def marks(self) -> Marks:
        async with self._lock:
            if time.monotonic() - self._read_at > POLL_SECONDS * 0.9:
                self._marks = await run_in_threadpool(current_marks, self.context.reader)
                self._read_at = time.monotonic()
            return self._marks


@router.get(
    "/events", response_class=EventSourceResponse, responses={200: {"content": {"text/event-stream": {"example": _EXAMPLE}}}}
)
async def follow_events(installation: Installation, request: Request) -> AsyncIterator[ServerSentEvent]:
    """What happens, as it happens (server-sent events).

    Begins with `hello`; then `recommendations`, `positions`, `action`, `proposal`, `settings` and `alert` as they come.
    `Last-Event-ID` continues where a connection ended. A client whose `Accept` does not name `text/event-stream` gets
    fifteen seconds of it.
    """
    poll: ChangePoll = request.app.state.change_poll
    endless = EventSourceResponse.media_type in request.headers.get("accept", "")
    ends_at = None if endless else time.monotonic() + PREVIEW_SECONDS
    try:
        marks = await poll.marks()
        sent = Marks.parse(request.headers.get("last-event-id", "")) or marks
        hello = {"market": installation.settings.market_kind, "as_of": installation.now()}
        yield ServerSentEvent(event="hello", data=hello, id=str(sent), retry=_RECONNECT_MS)
        while ends_at is None or time.monotonic() < ends_at:
            marks = await poll.marks()
            if marks != sent:
                for change in await run_in_threadpool(changes_since, installation.reader, sent, marks):
                    yield ServerSentEvent(event=change.name, data=change.data, id=str(marks))
                sent = marks
            await asyncio.sleep(POLL_SECONDS)
    except OperationalError:  # the client reconnects by itself, and learns then whether the database is back
        yield ServerSentEvent(event="unavailable", data={})
