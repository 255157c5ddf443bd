"""Talking to mlTrainer, and deciding on the actions that come of it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy.exc import SQLAlchemyError

from mltrainer_pipelines.agent import actions as action_book
from mltrainer_pipelines.agent.actions import Action, ActionStateError
from mltrainer_pipelines.agent.chat import ChatAgent, ChatEvent, MessageError
from mltrainer_pipelines.agent.conversation import SessionBusyError, SessionNameError
from mltrainer_pipelines.api.fields import Body, Identifier, Parameters, Text, with_example
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.api.routes.events import EVENT_SCHEMA, EVENT_STREAM

router = APIRouter(prefix="/api", tags=["conversation"])

SessionId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:\-]{0,99}$"), Field(description="Name of the conversation.")
]
_EXAMPLE = 'event: text\ndata: {"text": "The best short trial is lightgbm-short-3f9a1c2b."}\n\nevent: done\ndata: {"turn": 1}\n\n'
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {EVENT_STREAM: {"itemSchema": EVENT_SCHEMA, "example": _EXAMPLE}}}}
MOST_CONVERSATIONS = 64
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Message(Body):
    """Something the user says."""

    model_config = with_example({"session_id": "main", "message": "Start momentum analysis"})

    session_id: SessionId = "main"
    message: Annotated[Text, Field(min_length=1)]


class Conversation(Parameters):
    session_id: SessionId = "main"


class Watching(Body):
    """A conversation to watch."""

    session_id: SessionId = "main"
    timeout_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False, description="Seconds to watch.")] = 60.0


class HistoryParameters(Conversation):
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class Said(BaseModel):
    """A message of a conversation."""

    turn: int
    role: Literal["user", "assistant"]
    text: str
    tools: list[str] = Field(description="Names of what was looked up.")
    written_at: datetime


class History(BaseModel):
    session_id: str
    items: list[Said] = Field(description="The newest last.")


class ActionState(BaseModel):
    """Something that computes or changes a setting: it waits for a yes, then runs exactly once, or expires after an hour."""

    id: int
    session_id: str
    kind: str
    summary: str = Field(examples=["Screen for short momentum with lightgbm."])
    params: dict[str, Any]
    status: Literal["pending", "rejected", "expired", "running", "done", "failed"]
    progress: str | None = Field(description="How far it is, while it runs.")
    proposed_by: str
    created_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None
    error: str | None


class Actions(BaseModel):
    pending: int
    items: list[ActionState]


class ActionFilter(Parameters):
    session_id: SessionId | None = None
    status: Literal["pending", "rejected", "expired", "running", "done", "failed"] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


@router.post("/chat", response_class=StreamingResponse, responses=_STREAM)
async def chat(request: Request, said: Message) -> StreamingResponse:
    """Say something; the answer comes as server-sent events.

    `text` pieces of the answer, `tool` for what was looked up, `action` for what waits for a yes or runs, `result` for what
    ended, `notice`, `error`, and `done` at the end.
    """
    return await _streamed(request, _agent(request).chat(said.session_id, said.message))


@router.post("/chat/follow", response_class=StreamingResponse, responses=_STREAM)
async def follow(request: Request, watching: Watching) -> StreamingResponse:
    """Progress and results of what runs in a conversation until it has ended, then what mlTrainer says to it."""
    return await _streamed(request, _agent(request).follow(watching.session_id, watching.timeout_s))


@router.get("/chat/history")
def get_history(request: Request, chosen: Annotated[HistoryParameters, Query()]) -> History:
    """What was said in a conversation."""
    items = [Said(**message) for message in _agent(request).history(chosen.session_id, chosen.limit)]
    return History(session_id=chosen.session_id, items=items)


@router.get("/actions")
def list_actions(request: Request, chosen: Annotated[ActionFilter, Query()]) -> Actions:
    """Actions, the newest first."""
    system = _agent(request).system
    items = action_book.actions(system, chosen.session_id, chosen.status, chosen.limit)
    pending = len(action_book.actions(system, chosen.session_id, "pending", 500))
    return Actions(pending=pending, items=[_state(found) for found in items])


@router.get("/actions/{number}")
def get_action(request: Request, number: Identifier) -> ActionState:
    """One action."""
    try:
        return _state(action_book.action(_agent(request).system, number))
    except ActionStateError as error:
        raise Problem(404, str(error)) from None


@router.post("/actions/{number}/approve")
def approve_action(request: Request, number: Identifier) -> ActionState:
    """Run an action, once."""
    return _decided(request, number, approve=True)


@router.post("/actions/{number}/reject")
def reject_action(request: Request, number: Identifier) -> ActionState:
    """Dismiss an action."""
    return _decided(request, number, approve=False)


def _decided(request: Request, number: int, approve: bool) -> ActionState:
    before, agent = get_action(request, number), _agent(request)
    try:
        return _state((agent.approve if approve else agent.reject)(before.id, "user"))
    except ActionStateError as error:
        raise Problem(409, str(error)) from None


def _agent(request: Request) -> ChatAgent:
    return request.app.state.agent


async def _streamed(request: Request, events: Iterator[ChatEvent]) -> StreamingResponse:
    told = await _told(events, request.app.state.conversations)
    first = await told.get()
    if isinstance(first, MessageError | SessionNameError):
        raise Problem(422, str(first))
    if isinstance(first, SessionBusyError):
        raise Problem(409, str(first))
    if isinstance(first, Exception):
        raise first
    return StreamingResponse(_written(first, told), media_type=EVENT_STREAM, headers=_HEADERS)


async def _told(events: Iterator[ChatEvent], threads: CapacityLimiter) -> asyncio.Queue[ChatEvent | Exception | None]:
    """The events of a turn as they come, then None, or the error that ended it.

    A thread of its own makes them: an answer may take minutes, and reading goes on meanwhile. It goes on to the end though
    its reader leaves, so that the answer is kept for when they come back.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Queue[ChatEvent | Exception | None]()
    place = object()
    await threads.acquire_on_behalf_of(place)

    def tell(event: ChatEvent | Exception | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(told.put_nowait, event)

    def make() -> None:
        try:
            for event in events:
                tell(event)
            tell(None)
        except Exception as error:
            tell(error)
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(threads.release_on_behalf_of, place)

    threading.Thread(target=make, daemon=True, name="conversation").start()
    return told


async def _written(first: ChatEvent | None, told: asyncio.Queue[ChatEvent | Exception | None]) -> AsyncIterator[str]:
    """Events as text; an error that comes when the answer has begun is the last event."""
    event: ChatEvent | Exception | None = first
    while isinstance(event, ChatEvent):
        yield f"event: {event.kind}\ndata: {json.dumps(event.data, default=str)}\n\n"
        event = await told.get()
    if isinstance(event, SQLAlchemyError):
        detail = "PostgreSQL stopped answering in the middle of this; say it again in a moment"
        yield f"event: error\ndata: {json.dumps({'status': 503, 'detail': detail})}\n\n"
    elif event is not None:
        raise event


def _state(found: Action) -> ActionState:
    values = {name: getattr(found, name) for name in ActionState.model_fields if name != "progress"}
    return ActionState(**values, progress=action_book.progress(found) if found.status == "running" else None)
