"""Conversations with mlTrainer: begin, list, search, rename and delete them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, StringConstraints

from mltrainer_pipelines.agent import conversations as conversation_book
from mltrainer_pipelines.agent.conversation import SessionBusyError
from mltrainer_pipelines.agent.conversations import UnknownConversationError
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.api.fields import Body, Name, Parameters, with_example
from mltrainer_pipelines.api.problems import Problem

router = APIRouter(prefix="/api/conversations", tags=["conversation"])
SessionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:\-]{0,99}$", examples=["main"])]
Title = Annotated[Name, StringConstraints(max_length=conversation_book.TITLE_AT_MOST, pattern=r"\S")]


class ConversationOut(BaseModel):
    """A conversation."""

    session_id: str = Field(examples=["chat-3f9a1c2b77aa"])
    title: str = Field(description="The user's, or how it began.")
    started_at: datetime
    last_message_at: datetime | None
    turns: int = Field(description="How often the user wrote.")


class ConversationsOut(BaseModel):
    items: list[ConversationOut] = Field(description="The one last written in first.")


class ConversationFilter(Parameters):
    search: Annotated[Name | None, Field(description="Words of its title or its messages.")] = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class NewConversation(Body):
    """A conversation to begin."""

    model_config = with_example({"title": "Small caps"})

    title: Title | None = None


class NewTitle(Body):
    """A title for a conversation."""

    model_config = with_example({"title": "Small caps"})

    title: Title


@router.get("")
def list_conversations(request: Request, chosen: Annotated[ConversationFilter, Query()]) -> ConversationsOut:
    """Conversations, those that hold the words to search for where there are any."""
    matching = conversation_book.conversations(_system(request), chosen.search or "", chosen.limit)
    return ConversationsOut(items=[ConversationOut(**vars(one)) for one in matching])


@router.post("", status_code=201)
def begin_conversation(request: Request, wanted: NewConversation) -> ConversationOut:
    """Begin a conversation; send messages with its `session_id`."""
    return ConversationOut(**vars(conversation_book.begin(_system(request), wanted.title)))


@router.patch("/{session_id}", status_code=204)
def rename_conversation(request: Request, session_id: SessionId, new: NewTitle) -> None:
    """Give a conversation another title."""
    try:
        conversation_book.rename(_system(request), session_id, new.title)
    except UnknownConversationError as error:
        raise Problem(404, str(error)) from None


@router.delete("/{session_id}", status_code=204)
def delete_conversation(request: Request, session_id: SessionId) -> None:
    """Delete a conversation and its messages; its actions stay on the record, and what runs goes on."""
    try:
        conversation_book.delete(_system(request), session_id, "user")
    except UnknownConversationError as error:
        raise Problem(404, str(error)) from None
    except SessionBusyError as error:
        raise Problem(409, str(error)) from None


def _system(request: Request) -> System:
    system: System = request.app.state.agent.system
    return system
