"""Server-sent events: new recommendations, positions marked, actions and proposals that move, settings, alerts."""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from mltrainer_pipelines.api.changes import Event, Marks, marks, since
from mltrainer_pipelines.api.context import Context, Installation

router = APIRouter(prefix="/api", tags=["events"])

EVENT_STREAM = "text/event-stream"
EVENT_SCHEMA = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}, "id": {"type": "string"}},
    "required": ["event", "data"],
}
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
UNASKED_SECONDS = 15.0
"""How long a client is served that did not say that it reads event streams."""
_EXAMPLE = 'id: 94-0-0-0-3-179\nevent: recommendations\ndata: {"new": [{"id": 94, "symbol": "BGUO"}], "newest_id": 94}\n\n'


class Watch:
    """One look at the database a second, however many listen."""

    def __init__(self, context: Context):
        self.context = context
        self.seen = Marks()
        self.looked_at = 0.0
        self._looking = asyncio.Lock()

    async def marks(self) -> Marks:
        async with self._looking:
            if time.monotonic() - self.looked_at > POLL_SECONDS * 0.9:
                self.seen = await run_in_threadpool(marks, self.context.reader)
                self.looked_at = time.monotonic()
            return self.seen


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENT_STREAM: {"itemSchema": EVENT_SCHEMA, "example": _EXAMPLE}}}},
)
async def follow_events(installation: Installation, request: Request) -> StreamingResponse:
    """What happens, as it happens (server-sent events).

    Begins with `hello`; then `recommendations`, `positions`, `action`, `proposal`, `settings` and `alert` as they come.
    `Last-Event-ID` continues where a connection ended. A client whose `Accept` does not name `text/event-stream` gets
    fifteen seconds of it.
    """
    watch: Watch = request.app.state.watch
    known = Marks.parse(request.headers.get("last-event-id", ""))
    asked = EVENT_STREAM in request.headers.get("accept", "")
    stream = _stream(request, installation, watch, known, None if asked else UNASKED_SECONDS)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type=EVENT_STREAM, headers=headers)


async def _stream(
    request: Request, context: Context, watch: Watch, known: Marks | None, seconds: float | None
) -> AsyncIterator[str]:
    begin = spoke = time.monotonic()
    try:
        now = await watch.marks()
    except OperationalError:
        yield "event: unavailable\ndata: {}\n\n"
        return
    known = now if known is None else known
    yield f"retry: 2000\n{Event('hello', {'market': context.settings.market_kind, 'as_of': context.now()}, known).as_text()}"
    while seconds is None or time.monotonic() - begin < seconds:
        if await request.is_disconnected():
            return
        try:
            now = await watch.marks()
            found = await run_in_threadpool(since, context.reader, known, now) if now != known else []
        except OperationalError:  # the client comes back by itself, and finds out then
            yield "event: unavailable\ndata: {}\n\n"
            return
        for event in found:
            yield event.as_text()
        known = now
        if found:
            spoke = time.monotonic()
        elif time.monotonic() - spoke > HEARTBEAT_SECONDS / 2:
            yield ": still here\n\n"
            spoke = time.monotonic()
        await asyncio.sleep(POLL_SECONDS)
