"""Notifications: where they go, whether they arrive, and a test. Addresses are written and never read."""

from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Body, storable, with_example
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.ops.notifications import addresses, delivery
from mltrainer_pipelines.ops.notifications.addresses import AddressError
from mltrainer_pipelines.store.tables import Notification

router = APIRouter(prefix="/api/notifications", tags=["system"], route_class=JsonRoute)
_RECENT = 20


class Target(BaseModel):
    """An address of Apprise; what it is stays secret."""

    service: str = Field(examples=["Telegram"])
    source: str = Field(description="`MLTRAINER_NOTIFY` or `System page`.")
    last_at: datetime | None = Field(description="When the newest message to it was tried.")
    error: str | None = Field(description="Why it did not take that message.")


class Message(BaseModel):
    """A message; `off` were not to be sent, `given_up` were tried for a day."""

    created_at: datetime
    kind: str
    title: str
    status: str = Field(examples=["sent"])


class Notifications(BaseModel):
    targets: list[Target]
    problem: str | None = Field(description="Why the addresses cannot be used.")
    recent: list[Message] = Field(description="Messages, the newest first.")


class Addresses(Body):
    """Addresses of Apprise, separated by blanks; none takes back those saved here. `MLTRAINER_NOTIFY` stays."""

    model_config = with_example({"addresses": "mailto://user:password@example.com tgram://token/chat"})

    addresses: Annotated[str, StringConstraints(max_length=4000), AfterValidator(storable)]


class Tried(BaseModel):
    service: str
    source: str
    error: str | None = Field(description="Why the address did not take the test message.")


class TestResult(BaseModel):
    targets: list[Tried]


@router.get("")
def get_notifications(installation: Installation) -> Notifications:
    """Where notifications go, whether they arrive, and the last ones."""
    return _notifications(installation)


@router.put("/addresses")
def put_addresses(installation: Installation, body: Addresses) -> Notifications:
    """Save where notifications go, beside the addresses of `MLTRAINER_NOTIFY`. They are never shown again."""
    try:
        addresses.save(installation.settings, body.addresses)
    except AddressError as error:
        raise Problem(422, str(error)) from None
    return _notifications(installation)


@router.post("/test")
def test_notifications(installation: Installation) -> TestResult:
    """Send a test message to every address."""
    try:
        tried: list[dict[str, Any]] = delivery.try_out(installation.settings)
    except AddressError as error:
        raise Problem(409, str(error)) from None
    if not tried:
        raise Problem(409, "there is no address yet; save one, or set MLTRAINER_NOTIFY and start mlTrainer again")
    return TestResult(targets=[Tried(**one) for one in tried])


def _notifications(installation: Context) -> Notifications:
    try:
        every, problem = addresses.addresses(installation.settings), None
    except AddressError as error:
        every, problem = [], str(error)
    last = delivery.last_deliveries(installation.reader, every)
    targets = []
    for one in every:
        newest = last.get(one.fingerprint, {"at": None, "error": None})
        targets.append(Target(service=one.service, source=one.source, last_at=newest["at"], error=newest["error"]))
    n = Notification
    with installation.reader.connect() as connection:
        rows = connection.execute(sa.select(n.created_at, n.kind, n.title, n.status).order_by(n.id.desc()).limit(_RECENT))
        recent = [Message(**row) for row in rows.mappings()]
    return Notifications(targets=targets, problem=problem, recent=recent)
