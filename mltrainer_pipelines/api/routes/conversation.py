"""The conversation with mlTrainer, and approving the actions that come of it."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field, StringConstraints

from mltrainer_pipelines.agent import actions as action_book
from mltrainer_pipelines.agent.actions import Action, ActionStateError
from mltrainer_pipelines.agent.chat import ChatAgent, MessageError
from mltrainer_pipelines.agent.chat_events import ChatEvent
from mltrainer_pipelines.agent.conversation import SessionBusyError, SessionNameError
from mltrainer_pipelines.agent.stopping import stop
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.api.fields import Body, Identifier, Parameters, Text, with_example
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.api.turns import Turn

router = APIRouter(prefix="/api", tags=["conversation"])

SessionId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:\-]{0,99}$"), Field(description="Name of the conversation.")
]
_EXAMPLE = 'event: text\ndata: {"text": "The best short trial is lightgbm-short-3f9a1c2b."}\n\nevent: done\ndata: {"turn": 1}\n\n'
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"example": _EXAMPLE}}}}


class ChatMessage(Body):
    """A message of the user."""

    model_config = with_example({"session_id": "main", "message": "Start momentum analysis"})

    session_id: SessionId = "main"
    message: Annotated[Text, Field(min_length=1)]


class Approval(Parameters):
    """What the user saw and said yes to."""

    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] | None = None


class Conversation(Parameters):
    session_id: SessionId = "main"


class FollowRequest(Body):
    """A conversation to follow."""

    session_id: SessionId = "main"
    timeout_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False, description="Seconds to follow.")] = 60.0


class HistoryParameters(Conversation):
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class MessageOut(BaseModel):
    """A message of a conversation."""

    turn: int
    role: Literal["user", "assistant"]
    text: str
    tools: list[str] = Field(description="Names of what was looked up.")
    written_at: datetime


class History(BaseModel):
    session_id: str
    items: list[MessageOut] = Field(description="The newest last.")


class ActionState(BaseModel):
    """Something that computes or changes a setting: it needs approval, then runs exactly once, or expires after an hour."""

    id: int
    session_id: str
    kind: str
    summary: str = Field(examples=["Screen for short momentum with lightgbm."])
    params: dict[str, Any]
    status: Literal["pending", "rejected", "expired", "running", "done", "failed", "stopped"]
    progress: str | None = Field(description="While it runs.")
    digest: str | None = Field(description="Of what is shown; send it back with an approval, and nothing else can run.")
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
    status: Literal["pending", "rejected", "expired", "running", "done", "failed", "stopped"] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


async def _chat_turn(request: Request, message: ChatMessage) -> Turn:
    return await _begin(request, _agent(request).chat(message.session_id, message.message))


async def _follow_turn(request: Request, conversation: FollowRequest) -> Turn:
    return await _begin(request, _agent(request).follow(conversation.session_id, conversation.timeout_s))


@router.post("/chat", response_class=EventSourceResponse, responses=_STREAM)
async def chat(turn: Annotated[Turn, Depends(_chat_turn)]) -> AsyncIterator[ServerSentEvent]:
    """Send a message; the answer comes as server-sent events.

    `text` pieces of the answer, `tool` for what was looked up, `action` for what awaits approval or runs, `result` for what
    ended, `notice`, `error`, and `done` at the end.
    """
    async for event in turn.events():
        yield event


@router.post("/chat/follow", response_class=EventSourceResponse, responses=_STREAM)
async def follow(turn: Annotated[Turn, Depends(_follow_turn)]) -> AsyncIterator[ServerSentEvent]:
    """Progress and results of what runs in a conversation until it has ended, then mlTrainer's comment on it."""
    async for event in turn.events():
        yield event


@router.get("/chat/history")
def get_history(request: Request, chosen: Annotated[HistoryParameters, Query()]) -> History:
    """The messages of a conversation."""
    items = [MessageOut(**message) for message in _agent(request).history(chosen.session_id, chosen.limit)]
    return History(session_id=chosen.session_id, items=items)


@router.get("/actions")
def list_actions(request: Request, chosen: Annotated[ActionFilter, Query()]) -> Actions:
    """Actions, the newest first."""
    system = _agent(request).system
    action_book.finish_ended(system)
    items = action_book.actions(system, chosen.session_id, chosen.status, chosen.limit)
    pending = len(action_book.actions(system, chosen.session_id, "pending", 500))
    return Actions(pending=pending, items=[_state(system, one) for one in items])


@router.get("/actions/{number}")
def get_action(request: Request, number: Identifier) -> ActionState:
    """One action."""
    system = _agent(request).system
    action_book.finish_ended(system)
    try:
        return _state(system, action_book.action(system, number))
    except ActionStateError as error:
        raise Problem(404, str(error)) from None


@router.post("/actions/{number}/approve")
def approve_action(request: Request, number: Identifier, shown: Annotated[Approval, Query()]) -> ActionState:
    """Run an action, once, and only if it is still what was shown."""
    return _decided(request, number, lambda system: action_book.approve(system, number, "user", shown.digest))


@router.post("/actions/{number}/reject")
def reject_action(request: Request, number: Identifier) -> ActionState:
    """Dismiss an action."""
    return _decided(request, number, lambda system: action_book.reject(system, number, "user"))


@router.post("/actions/{number}/stop")
def stop_action(request: Request, number: Identifier) -> ActionState:
    """Stop a running action; what it finished stays."""
    return _decided(request, number, lambda system: stop(system, number, "user"))


def _decided(request: Request, number: int, decide: Callable[[System], Action]) -> ActionState:
    get_action(request, number)
    system = _agent(request).system
    try:
        return _state(system, decide(system))
    except ActionStateError as error:
        raise Problem(409, str(error)) from None


def _agent(request: Request) -> ChatAgent:
    agent: ChatAgent = request.app.state.agent
    return agent


async def _begin(request: Request, events: Iterator[ChatEvent]) -> Turn:
    try:
        return await Turn.begin(events, request.app.state.conversations)
    except (MessageError, SessionNameError) as error:
        raise Problem(422, str(error)) from None
    except SessionBusyError as error:
        raise Problem(409, str(error)) from None


def _state(system: System, action: Action) -> ActionState:
    return ActionState(**vars(action), progress=action_book.progress(system, action) if action.status == "running" else None)
