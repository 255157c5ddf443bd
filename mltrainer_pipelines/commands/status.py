"""`mltrainer status`: what runs by itself, how fresh everything is, open alerts, and what is being caught up on."""

from dataclasses import asdict, dataclass
from typing import Any

from mltrainer_pipelines.ops import state_dir
from mltrainer_pipelines.ops.automation import Automation, automations, nothing_runs
from mltrainer_pipelines.ops.dagster_client import DagsterClient, DagsterError
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.ops.freshness import Backlog, Freshness, backlog, freshness
from mltrainer_pipelines.settings import NEW_YORK, Settings, now
from mltrainer_pipelines.store.alerts import alerts
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.registry.records import first_registered


@dataclass(frozen=True)
class Status:
    """The state of an installation; `problem` says why nothing runs by itself, where that is so."""

    running: bool
    problem: str | None
    automation: list[Automation]
    freshness: list[Freshness]
    alerts: list[dict[str, Any]]
    catching_up: list[Backlog]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def text(self) -> str:
        """For a reader, times in New York's."""
        lines = [self.problem or "Running."]
        for one in self.automation:
            times = [f"{tick.astimezone(NEW_YORK):%a %H:%M}" if tick else "-" for tick in (one.last_tick, one.next_tick)]
            state = "on " if one.on else "off"
            lines.append(
                f"  {state}  {one.name:<28} last {times[0]:<10} next {times[1]:<10} {one.last_result or ''} {one.detail}"
            )
        late = [one for one in self.freshness if one.sessions_behind]
        lines.append("Everything is up to date." if not late else "Behind:")
        lines += [f"  {one.asset:<24} {one.newest or 'never':<12} {one.sessions_behind} sessions" for one in late]
        lines += [f"Catching up: {one.asset}, {one.sessions} sessions, about {one.seconds:.0f} s" for one in self.catching_up]
        lines += [f"Alert: {alert['message']}" for alert in self.alerts]
        return "\n".join(lines)


def status(settings: Settings) -> Status:
    """Read the state of the installation at these settings, whether it runs or not."""
    lake, moment = Lake(settings.lake_url), now()
    holder = state_dir.lock_holder(settings)
    address = (holder.addresses or {}).get("dagster") if holder else None
    every: list[Automation] = []
    materialized, open_alerts, begun = {}, [], None
    problem: str | None = "Nothing runs by itself: mlTrainer is not up; start it with `mltrainer up`."
    if address:
        try:
            dagster = DagsterClient.of(settings, address)
            every, materialized = automations(dagster), dagster.last_materializations()
            problem = nothing_runs(dagster, every, settings.state)
            engine = Database(database_url(settings, "mltrainer")).engine
            open_alerts, begun = alerts(engine, open_only=True), first_registered(engine)
        except DagsterError as error:
            problem = str(error)
    states = freshness(lake, materialized, moment, begun)
    catching_up = backlog(lake, moment, settings.polygon_call_budget)
    return Status(address is not None and problem is None, problem, every, states, open_alerts, catching_up)
