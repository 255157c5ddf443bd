"""What a vendor said that is not used, and the corrections that overrule it."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, model_validator

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.fields import Body, Identifier, Parameters, Symbol, Text, with_example
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.store import corrections as store
from mltrainer_pipelines.store.quarantine import quarantined

router = APIRouter(prefix="/api", tags=["system"], route_class=JsonRoute)

Value = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | Symbol | None


class QuarantineRow(BaseModel):
    """A row that is not used."""

    id: int
    source: str = Field(description="The asset that it came for.", examples=["corporate_actions"])
    subject: str = Field(description="The symbol or series that it is about.")
    day: date | None
    row: dict[str, Any] = Field(description="As it came.")
    reason: str
    first_seen: datetime
    resolved_at: datetime | None = Field(description="Since when it no longer comes, or is believed.")


class QuarantineList(BaseModel):
    items: list[QuarantineRow]


class QuarantineFilter(Parameters):
    open_only: bool = Field(default=True, description="Only rows that are still set aside.")
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class CorrectionIn(Body):
    """What is known better; `value` is a split's new shares for one old, a dividend's dollars, a rename's older symbol."""

    model_config = with_example({"kind": "split", "day": "2024-06-10", "symbol": "NVDA", "value": 10, "reason": "10-for-1"})

    kind: store.Kind
    day: Annotated[date, Field(ge=date(1998, 1, 1), le=date(2200, 1, 1))]
    symbol: Symbol | None = None
    value: Value = None
    reason: Text = ""

    @model_validator(mode="after")
    def _says_something(self) -> "CorrectionIn":
        self.correction()
        return self

    def correction(self) -> store.Correction:
        return store.Correction(self.kind, self.day, self.symbol, self.value, self.reason)


class CorrectionRow(BaseModel):
    """A correction; it holds from `made_at` until `revoked_at`."""

    id: int
    kind: store.Kind
    symbol: str | None
    day: date
    value: float | str | None
    reason: str
    made_by: str
    made_at: datetime
    revoked_at: datetime | None


class CorrectionList(BaseModel):
    items: list[CorrectionRow]


@router.get("/quarantine")
def list_quarantine(installation: Installation, chosen: Annotated[QuarantineFilter, Query()]) -> QuarantineList:
    """What came from vendors and is not used, the newest first."""
    rows = quarantined(installation.reader, chosen.open_only, chosen.limit)
    return QuarantineList(items=[QuarantineRow(**row) for row in rows])


@router.get("/corrections")
def list_corrections(installation: Installation) -> CorrectionList:
    """What people said instead, the newest first."""
    return CorrectionList(items=[CorrectionRow(**row) for row in store.corrections(installation.reader, limit=500)])


@router.post("/corrections", status_code=201)
def add_correction(installation: Installation, correction: CorrectionIn) -> CorrectionList:
    """Overrule the vendor; the next ingestion uses it, and what depends on it is stale then."""
    store.add(installation.engine, correction.correction(), "user", installation.now())
    return list_corrections(installation)


@router.post("/corrections/{number}/revoke", status_code=204)
def revoke_correction(installation: Installation, number: Identifier) -> None:
    """Take a correction back."""
    try:
        store.revoke(installation.engine, number, installation.now())
    except store.UnknownCorrectionError as error:
        raise Problem(404, str(error).strip("'\"")) from None
