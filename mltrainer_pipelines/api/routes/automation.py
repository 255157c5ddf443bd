"""What runs by itself: its ticks, its switches, and what is being caught up on."""

from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Body, with_example
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.ops.automation import SAFETY_NETS, automations, nothing_runs, switch, switch_all
from mltrainer_pipelines.ops.freshness import backlog
from mltrainer_pipelines.settings import Settings

router = APIRouter(prefix="/api/automation", tags=["system"], route_class=JsonRoute)


class Automation(BaseModel):
    """A schedule or a sensor of Dagster."""

    name: str = Field(examples=["refresh_signals_schedule"])
    kind: Literal["schedule", "sensor"]
    on: bool
    safety_net: bool = Field(description="Carries out what a person asked for, or tells of failures: stays on with all off.")
    description: str
    last_tick: datetime | None
    next_tick: datetime | None
    last_result: Literal["started", "skipped", "failed"] | None
    detail: str = Field(description="Why it was skipped or failed.")
    runs: list[str] = Field(description="Where the runs that it started can be watched.")


class CatchingUp(BaseModel):
    """Sessions that an asset lacks, and about how long it takes to fetch or compute them."""

    asset: str
    sessions: int
    first: date
    last: date
    seconds: float


class AutomationState(BaseModel):
    problem: str | None = Field(description="Why nothing runs by itself.")
    plan: str | None = Field(description="What the plan of the data vendor's key allows, and what that means for decisions.")
    automation: list[Automation]
    catching_up: list[CatchingUp]


class Switch(Body):
    """On or off; it stays so over restarts."""

    model_config = with_example({"on": False})

    on: bool


@router.get("")
def get_automation(installation: Installation) -> AutomationState:
    """What runs by itself, when it last did and will next, and what is being caught up on."""
    return _state(installation)


@router.put("")
def switch_everything(installation: Installation, wanted: Switch) -> AutomationState:
    """Switch everything that runs by itself on or off; what carries out requests and tells of failures stays on."""
    switch_all(installation.dagster, wanted.on)
    return _state(installation)


@router.put("/{name}")
def switch_one(
    installation: Installation,
    wanted: Switch,
    name: Annotated[str, Path(pattern=r"^[a-z_]{1,60}$", examples=["refresh_signals_schedule"])],
) -> AutomationState:
    """Switch one schedule or sensor on or off."""
    try:
        switch(installation.dagster, name, wanted.on)
    except LookupError as error:
        raise Problem(404, str(error)) from None
    return _state(installation)


def _state(installation: Context) -> AutomationState:
    dagster = installation.dagster
    every = automations(dagster)
    rows = [
        Automation(
            **{name: value for name, value in vars(one).items() if name in Automation.model_fields},
            safety_net=one.name in SAFETY_NETS,
            runs=[f"{dagster.url}/runs/{run_id}" for run_id in one.run_ids],
        )
        for one in every
    ]
    missing = backlog(installation.lake, installation.now(), installation.settings.polygon_call_budget)
    caught = [CatchingUp(**vars(one)) for one in missing]
    plan = plan_of(installation.settings)
    return AutomationState(
        problem=nothing_runs(dagster, every, installation.settings.state), plan=plan, automation=rows, catching_up=caught
    )


def plan_of(settings: Settings) -> str | None:
    """What the plan of the data vendor's key allows, in sentences; None where nothing is known of one."""
    plan = settings.data_plan
    if plan is None:
        return None
    decided = "every 15 minutes of the session" if plan.snapshots else "once a session, after its close, from the day's bars"
    return f"The data plan has {plan}. The market is decided on {decided}."
