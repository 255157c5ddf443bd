"""What runs by itself in an installation: its schedules and sensors, their last and next ticks, and their switches."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mltrainer_pipelines.live_clock import read_clock
from mltrainer_pipelines.ops.dagster_client import LOCATION, REPOSITORY, DagsterClient, DagsterError

_SELECTOR = {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY}
_STATE = "id status ticks(limit: 1) { timestamp status skipReason runIds error { message } }"
_LIST = f"""query Automation($repository: RepositorySelector!) {{
  schedulesOrError(repositorySelector: $repository) {{ __typename ... on Schedules {{ results {{ name description
    scheduleState {{ {_STATE} }} futureTicks(limit: 1) {{ results {{ timestamp }} }} }} }} ... on Error {{ message }} }}
  sensorsOrError(repositorySelector: $repository) {{ __typename ... on Sensors {{ results {{ name description
    sensorState {{ {_STATE} }} nextTick {{ timestamp }} }} }} ... on Error {{ message }} }} }}"""
_SWITCH = {
    ("schedule", True): "mutation On($one: ScheduleSelector!) { done: startSchedule(scheduleSelector: $one) %s }",
    ("schedule", False): "mutation Off($id: String!) { done: stopRunningSchedule(id: $id) %s }",
    ("sensor", True): "mutation On($one: SensorSelector!) { done: startSensor(sensorSelector: $one) %s }",
    ("sensor", False): "mutation Off($id: String!) { done: stopSensor(id: $id) %s }",
}
_RESULT = "{ __typename ... on PythonError { message } ... on UnauthorizedError { message } }"


@dataclass(frozen=True)
class Automation:
    """A schedule or a sensor: whether it is on, when it last looked and will look next (aware, UTC), and what came of it.

    `last_result` is `started` (with the runs), `skipped` (with the reason) or `failed` (with the error); None before it looked.
    """

    name: str
    kind: Literal["schedule", "sensor"]
    on: bool
    description: str
    last_tick: datetime | None
    next_tick: datetime | None
    last_result: Literal["started", "skipped", "failed"] | None
    detail: str
    run_ids: tuple[str, ...]
    state_id: str


def automations(dagster: DagsterClient) -> list[Automation]:
    """Everything that runs by itself, schedules first; raises `DagsterError` where Dagster does not answer."""
    answer = dagster.query(_LIST, repository=_SELECTOR)
    for part in answer.values():
        if part["__typename"] not in {"Schedules", "Sensors"}:
            raise DagsterError(f"Dagster did not list what runs by itself: {part.get('message')}")
    schedules = [
        _automation("schedule", row, row["scheduleState"], next(iter(row["futureTicks"]["results"]), None))
        for row in answer["schedulesOrError"]["results"]
    ]
    sensors = [_automation("sensor", row, row["sensorState"], row["nextTick"]) for row in answer["sensorsOrError"]["results"]]
    return schedules + sensors


SAFETY_NETS = frozenset({"launch_requested_runs", "alert_on_failure"})
"""What carries out what a person asked for, and tells of what failed: on in a quiet installation too."""


def nothing_runs(dagster: DagsterClient, every: list[Automation], state: Path) -> str | None:
    """Why nothing runs by itself, in a sentence; None where something does, or `mltrainer live` asks in its place."""
    if read_clock(state):
        return None
    if not any(one.on for one in every if one.name not in SAFETY_NETS):
        return "Nothing runs by itself: everything is switched off."
    health = "query { instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
    daemons = dagster.query(health)["instance"]["daemonHealth"]["allDaemonStatuses"]
    down = [one["daemonType"].lower() for one in daemons if one["required"] and not one["healthy"]]
    if {"scheduler", "sensor"} & set(down):
        return "Nothing runs by itself: Dagster's daemon does not answer. Stop `mltrainer up` and start it again."
    return None


def switch(dagster: DagsterClient, name: str, on: bool) -> None:
    """Switch one schedule or sensor on or off; it stays so over restarts. `LookupError` names what there is."""
    every = {one.name: one for one in automations(dagster)}
    if name not in every:
        raise LookupError(f"nothing called {name!r} runs by itself; there are {', '.join(every)}")
    one = every[name]
    if one.on == on:
        return
    selector = {**_SELECTOR, f"{one.kind}Name": name}
    variables: dict[str, Any] = {"one": selector} if on else {"id": one.state_id}
    done = dagster.query(_SWITCH[one.kind, on] % _RESULT, **variables)["done"]
    if done["__typename"] in {"PythonError", "UnauthorizedError"}:
        raise DagsterError(f"{name} was not switched {'on' if on else 'off'}: {done['message'][:500]}")


def switch_all(dagster: DagsterClient, on: bool) -> list[str]:
    """Switch everything on, or everything but the safety nets off; the names of what changed."""
    changed = [one.name for one in automations(dagster) if one.on != on and (on or one.name not in SAFETY_NETS)]
    for name in changed:
        switch(dagster, name, on)
    return changed


def _automation(
    kind: Literal["schedule", "sensor"], row: dict[str, Any], state: dict[str, Any], upcoming: dict[str, Any] | None
) -> Automation:
    tick = next(iter(state["ticks"]), None)
    on = state["status"] == "RUNNING"
    result: Literal["started", "skipped", "failed"] | None = None
    detail = ""
    if tick and tick["status"] in {"SUCCESS", "SKIPPED", "FAILURE"}:
        result = {"SUCCESS": "started", "SKIPPED": "skipped", "FAILURE": "failed"}[tick["status"]]  # type: ignore[assignment]
        detail = (tick["error"] or {}).get("message", "") or tick["skipReason"] or ""
    return Automation(
        row["name"],
        kind,
        on,
        row["description"] or "",
        _moment(tick),
        _moment(upcoming) if on else None,
        result,
        detail.strip(),
        tuple(tick["runIds"]) if tick else (),
        state["id"],
    )


def _moment(tick: dict[str, Any] | None) -> datetime | None:
    return datetime.fromtimestamp(tick["timestamp"], UTC) if tick else None
