"""The model registry of models, and how often each of them was tried."""

from collections import defaultdict
from functools import lru_cache
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Installation
from mltrainer_pipelines.api.fields import Parameters
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.routes.trials import newest_promotions
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.models.registry import list_models
from mltrainer_pipelines.models.spec import ModelSpec
from mltrainer_pipelines.store import tables

router = APIRouter(prefix="/api", tags=["trials"], route_class=JsonRoute)


class Parameter(BaseModel):
    """A parameter a trial may set, and its default."""

    name: str
    default: float | int | str | bool
    allowed: str = Field(examples=["an integer from 20 to 400"])


class Model(BaseModel):
    """A model of the model registry."""

    id: str
    family: str
    core: bool
    source: str
    summary: str
    cost: Literal["fast", "medium", "slow"]
    gpu: bool
    handles_missing: bool
    parameters: list[Parameter]
    trials: int = Field(description="How many trials of it were submitted.")
    champion_of: list[TimeframeName]


class Models(BaseModel):
    total: int
    items: list[Model]


@router.get("/models")
def get_models(installation: Installation, _: Annotated[Parameters, Query()]) -> Models:
    """The model registry: every model that a trial may name, with its parameters."""
    t = tables.Trial
    promoted = newest_promotions().subquery()
    leading = sa.select(t.model, promoted.c.timeframe).join(promoted, promoted.c.trial_id == t.trial_id)
    champions: dict[str, list[TimeframeName]] = defaultdict(list)
    with installation.reader.connect() as connection:
        trials = dict(connection.execute(sa.select(t.model, sa.func.count()).group_by(t.model)).tuples().all())
        for model, timeframe in connection.execute(leading.order_by(promoted.c.timeframe.desc())).tuples():
            champions[model].append(timeframe)
    items = [
        model.model_copy(update={"trials": trials.get(model.id, 0), "champion_of": champions.get(model.id, [])})
        if model.id in trials
        else model
        for model in _untried()
    ]
    return Models(total=len(items), items=items)


@lru_cache(maxsize=1)
def _untried() -> tuple[Model, ...]:
    """The model registry before anybody tried anything: it does not change while a process lives."""

    def parameters(spec: ModelSpec) -> list[Parameter]:
        spaces = spec.search_space.items()
        return [Parameter(name=name, default=space.default, allowed=space.describe()) for name, space in spaces]

    return tuple(Model(**vars(spec), parameters=parameters(spec), trials=0, champion_of=[]) for spec in list_models())
