"""Results of the user's own, stored with a trial."""

from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue, field_validator

from mltrainer_pipelines.agent.ledger import record_event
from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Body, Name, Text, TrialId, with_example
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.store.tables import AgentEvent, Trial

router = APIRouter(prefix="/api/facilitator", tags=["facilitator"], route_class=JsonRoute)
_SAVED = "results_saved"
_DEEPEST, _LARGEST_INTEGER = 20, 2**53


class Results(Body):
    """Results to keep with a trial, in whatever shape."""

    model_config = with_example({"trial_id": "lightgbm-short-3f9a1c2b", "results": {"looked_at": 40}, "notes": "by hand"})

    trial_id: Annotated[str, Field(pattern=r"^[a-z0-9\-]{1,100}$")]
    results: dict[Name, JsonValue] = Field(min_length=1, max_length=200)
    notes: Text = ""

    @field_validator("results")
    @classmethod
    def _can_be_kept(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        _refuse_unstorable(value, 0)
        return value


class SavedResults(BaseModel):
    id: int
    saved_at: datetime
    trial_id: str
    results: dict[str, Any]
    notes: str


class SavedResultsList(BaseModel):
    items: list[SavedResults]


@router.post("/save-results", status_code=201)
def save_results(installation: Installation, results: Results) -> SavedResults:
    """Keep results with a trial."""
    with installation.engine.connect() as connection:
        if connection.scalar(sa.select(Trial.trial_id).where(Trial.trial_id == results.trial_id)) is None:
            raise Problem(404, f"no trial {results.trial_id} was ever submitted; /api/trials lists them")
    detail = {"trial_id": results.trial_id, "results": results.results, "notes": results.notes}
    record_event(installation.engine, _SAVED, "user", detail, happened_at=datetime.now(UTC))
    return _saved(installation, results.trial_id)[0]


@router.get("/save-results/{trial_id}")
def get_saved_results(installation: Installation, trial_id: TrialId) -> SavedResultsList:
    """What was kept with a trial, the newest first."""
    return SavedResultsList(items=_saved(installation, trial_id))


def _saved(installation: Context, trial_id: str) -> list[SavedResults]:
    e = AgentEvent
    chosen = sa.select(e.id, e.happened_at, e.detail).where(e.kind == _SAVED, e.detail["trial_id"].astext == trial_id)
    with installation.engine.connect() as connection:
        rows = connection.execute(chosen.order_by(e.id.desc()).limit(100)).all()
    return [
        SavedResults(
            id=row.id, saved_at=row.happened_at, trial_id=trial_id, results=row.detail["results"], notes=row.detail["notes"]
        )
        for row in rows
    ]


def _refuse_unstorable(value: Any, depth: int) -> None:
    """Raise for what jsonb does not keep as it is: too deep, no text, or an integer that JSON readers round."""
    if depth > _DEEPEST:
        raise ValueError(f"is nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_unstorable(name, depth + 1)
            _refuse_unstorable(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _refuse_unstorable(item, depth + 1)
    elif isinstance(value, str):
        if "\x00" in value or any(0xD800 <= ord(letter) < 0xE000 for letter in value):
            raise ValueError("holds a NUL character or half of a surrogate pair, which cannot be stored")
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_INTEGER:
        raise ValueError(f"holds an integer beyond {_LARGEST_INTEGER}")
