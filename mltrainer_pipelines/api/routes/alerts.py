"""Alerts, open until they are acknowledged."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.fields import Identifier, Parameters
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.store import alerts as store
from mltrainer_pipelines.store.alerts import UnknownAlertError

router = APIRouter(prefix="/api/alerts", tags=["system"], route_class=JsonRoute)


class AlertRow(BaseModel):
    """An alert; raised once for the same `key`."""

    id: int
    key: str
    kind: str
    severity: Literal["info", "warning", "error"]
    message: str
    details: dict[str, Any]
    run_id: str | None
    created_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None


class AlertList(BaseModel):
    items: list[AlertRow]


class AlertFilter(Parameters):
    open_only: bool = Field(default=True, description="Only those that are not acknowledged.")
    limit: Annotated[int, Field(ge=1, le=500)] = 100


@router.get("")
def list_alerts(installation: Installation, chosen: Annotated[AlertFilter, Query()]) -> AlertList:
    """Alerts, the newest first."""
    return AlertList(items=[AlertRow(**row) for row in store.alerts(installation.reader, chosen.open_only, chosen.limit)])


@router.post("/{number}/acknowledge", status_code=204)
def acknowledge_alert(installation: Installation, number: Identifier) -> None:
    """Acknowledge an alert."""
    try:
        store.acknowledge(installation.engine, number, "user", installation.now())
    except UnknownAlertError as error:
        raise Problem(404, str(error).strip("'\"")) from None
