"""The state of the system: data, jobs, drift, budget, keys and alerts in one answer."""

from datetime import UTC, date, datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from mltrainer_pipelines.agent import autonomy
from mltrainer_pipelines.api import status
from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import MarketKind
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.market_data import newest_signals
from mltrainer_pipelines.api.routes.alerts import AlertRow
from mltrainer_pipelines.api.routes.facilitator import Pipeline, pipeline
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.live_clock import read_clock
from mltrainer_pipelines.ops.dagster_client import Run
from mltrainer_pipelines.store.alerts import alerts

router = APIRouter(prefix="/api/facilitator", tags=["facilitator"], route_class=JsonRoute)


class RunState(BaseModel):
    """A Dagster run."""

    run_id: str
    job: str
    status: str = Field(examples=["SUCCESS"])
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    url: str


class LastRefresh(BaseModel):
    """The last time the market was scored, and the last run that was to do it."""

    at: datetime | None = Field(description="Of the newest signals; null before there are any.")
    signals: int
    strong_buys: int
    run: RunState | None
    failure: str | None = Field(description="Why the last refresh failed; null where it succeeded.")


class Drift(BaseModel):
    """The newest check for one kind of drift; crossed where `p_value` is at or below the false-alarm rate."""

    as_of: date
    timeframe: TimeframeName
    kind: str
    subject: str
    statistic: float
    threshold: float
    p_value: float
    false_alarm_rate: float
    crossed: bool
    advice: str


class Spent(BaseModel):
    """The agent's budget of the New York day, and what is used of it."""

    autonomy: Literal["manual", "budgeted", "off"]
    agent_enabled: bool
    trials: int
    daily_trials: int
    compute_minutes: float
    daily_compute_minutes: float
    dollars: float
    daily_dollars: float


class SystemStatus(BaseModel):
    """The state of the system."""

    market: MarketKind
    market_id: str = Field(description="Name of the market these data are of.")
    as_of: datetime
    clock_pinned: bool = Field(description="Whether `MLTRAINER_AS_OF` or `mltrainer live` holds the clock.")
    places_orders: Literal[False] = Field(description="This system cannot place orders.")
    services: dict[str, bool] = Field(description="Whether each answers.")
    pipeline: Pipeline
    last_refresh: LastRefresh | None
    running: list[RunState]
    recent: list[RunState]
    jobs_error: str | None = Field(description="Why the jobs cannot be listed.")
    drift: list[Drift]
    budget: Spent
    keys: dict[str, bool] = Field(description="Which keys are set. Their values are never shown.")
    alerts: list[AlertRow] = Field(description="Those that are not acknowledged.")
    dagster_url: str
    mlflow_url: str


@router.get("/system-status")
def get_system_status(installation: Installation) -> SystemStatus:
    """Data, jobs, drift, budget, keys and alerts."""
    settings, jobs = installation.settings, status.jobs(installation)
    spent = autonomy.budget(installation.reader, datetime.now(UTC))
    return SystemStatus(
        market=settings.market_kind,
        market_id=settings.market_id,
        as_of=installation.now(),
        clock_pinned=settings.mltrainer_as_of is not None or read_clock(settings.state) is not None,
        places_orders=False,
        services=status.services(installation),
        pipeline=pipeline(installation),
        last_refresh=_last_refresh(installation, jobs),
        running=[_run(installation, run) for run in jobs.running],
        recent=[_run(installation, run) for run in jobs.recent],
        jobs_error=jobs.error,
        drift=[Drift(**row) for row in status.drift(installation)],
        budget=Spent(**vars(spent), agent_enabled=spent.enabled, compute_minutes=spent.minutes),
        keys=status.keys(installation),
        alerts=[AlertRow(**row) for row in alerts(installation.reader, open_only=True, limit=50)],
        dagster_url=installation.dagster.url,
        mlflow_url=settings.tracking_uri,
    )


def _run(installation: Context, run: Run) -> RunState:
    return RunState(**vars(run), seconds=run.seconds, url=f"{installation.dagster.url}/runs/{run.run_id}")


def _last_refresh(installation: Context, jobs: status.Jobs) -> LastRefresh | None:
    signals, run = newest_signals(installation.lake), jobs.last_refresh
    if signals is None and run is None:
        return None
    return LastRefresh(
        at=None if signals is None else signals["timestamp"][0],
        signals=0 if signals is None else signals.height,
        strong_buys=0 if signals is None else int(signals["strong_buy"].sum()),
        run=_run(installation, run) if run else None,
        failure=jobs.refresh_failure,
    )
