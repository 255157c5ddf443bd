"""The facilitator: plain access to models, data, results and the state of the system, without strategy of its own."""

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue, field_validator, model_validator

from mltrainer_pipelines.agent.jobs import JobError
from mltrainer_pipelines.agent.ledger import record_event
from mltrainer_pipelines.api import status
from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Body, MarketKind, Name, Started, Text, TrialId, with_example
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.market_data import newest_signals
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES, TimeframeName
from mltrainer_pipelines.market.sessions import is_session, last_closed_session
from mltrainer_pipelines.ops.dagster_client import DagsterError, Run
from mltrainer_pipelines.ops.run_launcher import REASON, STARTED_BY, TooManyRunsError, launcher_of
from mltrainer_pipelines.store.tables import AgentEvent, Trial
from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig
from mltrainer_pipelines.trials.run_requests import get_request, is_scored, request_trial

router = APIRouter(prefix="/api/facilitator", tags=["facilitator"], route_class=JsonRoute)
_SAVED = "results_saved"
_DEEPEST, _LARGEST_INTEGER = 20, 2**53


class Execution(Body):
    """A model to try, walk-forward over all quarters."""

    model_config = with_example(
        {"model": "lightgbm", "timeframe": "short", "params": {"num_leaves": 15}, "rationale": "smaller trees forget less"}
    )

    model: Name
    timeframe: TimeframeName
    params: dict[Name, float | int | str | bool] = Field(default_factory=dict, max_length=50)
    feature_set: Name = "momentum"
    train_sessions: Annotated[int, Field(ge=126, le=7560)] = 756
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    rationale: Text = ""


class Execution202(BaseModel):
    """A trial that is under way, or was run before."""

    trial_id: str
    status: Literal["launched", "scored", "predicted", "waiting"] = Field(
        description="`scored`: the same trial ran before; see it. `waiting`: Dagster does not answer; it starts when it does."
    )
    run: Started | None
    trial_url: str = Field(examples=["/api/trials/lightgbm-short-3f9a1c2b"])


Operation = Literal["ingest", "build_features", "refresh_signals", "learn", "propose_trials", "promote_champion", "score_trial"]


class PipelineRequest(Body):
    """A part of the data pipeline to run."""

    model_config = with_example({"operation": "ingest", "session": "2026-11-20"})

    operation: Operation
    session: date | None = Field(default=None, description="For `ingest`: which session; the last closed one by default.")
    month: date | None = Field(default=None, description="For `build_features`: any day of it; the running one by default.")
    trial_id: Annotated[str, Field(pattern=r"^[a-z0-9\-]{1,100}$")] | None = Field(default=None, description="For `score_trial`.")
    reason: Annotated[Text, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _fits_the_operation(self) -> "PipelineRequest":
        for name, operation in (("session", "ingest"), ("month", "build_features"), ("trial_id", "score_trial")):
            if getattr(self, name) is not None and self.operation != operation:
                raise ValueError(f"{name} is for the operation {operation}")
        if self.operation == "score_trial" and self.trial_id is None:
            raise ValueError("score_trial needs a trial_id")
        return self


class AssetFreshness(BaseModel):
    """An asset of the lake."""

    asset: str = Field(examples=["daily_bars"])
    partitions: int = Field(examples=[1479])
    newest: str | None = Field(examples=["2026-11-20"])
    sessions_behind: int | None = Field(description="The last closed session; null where an asset is not kept by session.")


class Pipeline(BaseModel):
    """What data there are."""

    market: MarketKind
    source: str = Field(description="Where bars come from: `simulated`, a recording, or an address.")
    last_closed_session: date
    assets: list[AssetFreshness]


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
    """The last time the market was scored."""

    at: datetime
    signals: int
    strong_buys: int
    run: RunState | None


class Drift(BaseModel):
    """The newest look for one kind of drift; crossed where `p_value` is at or below the false-alarm rate."""

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


class Alert(BaseModel):
    id: int
    kind: str
    severity: Literal["info", "warning", "error"]
    message: str
    run_id: str | None
    created_at: datetime
    acknowledged_at: datetime | None


class SystemStatus(BaseModel):
    """How the system is."""

    market: MarketKind
    market_id: str = Field(description="Name of the market these data are of.")
    as_of: datetime
    clock_pinned: bool = Field(description="Whether `MLTRAINER_AS_OF` holds the clock.")
    places_orders: Literal[False] = Field(description="This system cannot place orders.")
    services: dict[str, bool] = Field(description="Whether each answers.")
    pipeline: Pipeline
    last_refresh: LastRefresh | None
    running: list[RunState]
    recent: list[RunState]
    jobs_error: str | None = Field(description="Why jobs are not known, where they are not.")
    drift: list[Drift]
    budget: Spent
    keys: dict[str, bool] = Field(description="Which keys are set. Their values are never shown.")
    alerts: list[Alert] = Field(description="Those nobody has acknowledged.")
    dagster_url: str
    mlflow_url: str


@router.post("/execute-model", status_code=202)
def execute_model(installation: Installation, execution: Execution) -> Execution202:
    """Run a model walk-forward as a trial, through Dagster; a configuration that ran before returns its trial."""
    values = execution.model_dump() | {"universe_size": installation.settings.mltrainer_universe_size, "proposed_by": "user"}
    try:
        config = TrialConfig.parse(values)
    except InvalidTrialError as error:
        raise Problem(422, str(error)) from None
    launcher = launcher_of(installation.settings, installation.engine, installation.dagster, installation.lake)
    try:
        launcher.validate(config)
    except InvalidTrialError as error:
        raise Problem(422, str(error)) from None
    with suppress(DagsterError):
        _require_room(installation)
    with installation.engine.begin() as connection:
        number = request_trial(connection, config, "api", execution.rationale)
    with suppress(JobError):
        launcher.update()
    with installation.engine.connect() as connection:
        request = get_request(connection, number)
        scored = is_scored(connection, config.trial_id)
    if request.status == "failed":
        raise Problem(422, f"{config.trial_id} cannot run: {request.message}")
    return Execution202(
        trial_id=config.trial_id,
        status="launched"
        if request.run_id
        else "waiting"
        if request.status == "waiting"
        else "scored"
        if scored
        else "predicted",
        run=_started(installation, "walk_forward", request.run_id) if request.run_id else None,
        trial_url=f"/api/trials/{config.trial_id}",
    )


@router.get("/data-pipeline")
def get_data_pipeline(installation: Installation) -> Pipeline:
    """What data the lake holds, and how fresh they are."""
    return _pipeline(installation)


@router.post("/data-pipeline", status_code=202)
def run_data_pipeline(installation: Installation, request: PipelineRequest) -> Started:
    """Run a part of the pipeline, through Dagster."""
    _require_room(installation)
    if request.operation == "ingest":
        newest = last_closed_session(installation.now())
        session = request.session or newest
        if not is_session(session) or not installation.settings.mltrainer_history_start <= session <= newest:
            start = installation.settings.mltrainer_history_start
            raise Problem(422, f"{session} cannot be ingested; give a session from {start} to {newest}, the last that is closed")
        job, arguments = "ingest_session", [str(session)]
    elif request.operation == "build_features":
        month = (request.month or installation.now().date()).replace(day=1)
        first = installation.lake.partitions("universe")[:1]
        if month > installation.now().date() or (first and str(month) < first[0]) or (not first and request.month):
            raise Problem(422, f"{month:%Y-%m} cannot be built; give a month from {first[0][:7] if first else 'later on'} to now")
        job, arguments = "build_features", [str(month), str(month)]
    elif request.operation == "promote_champion":
        job, arguments = "promote_champion", list(TIMEFRAMES)
    elif request.operation == "score_trial":
        if not any(key.startswith(f"{request.trial_id}/") for key in installation.lake.partitions("trial_predictions")):
            raise Problem(404, f"nothing is predicted for a trial {request.trial_id}; run it first, then score it")
        job, arguments = "score_trials", [str(request.trial_id)]
    else:
        job, arguments = request.operation, []
    tags = {STARTED_BY: "api"} | ({REASON: request.reason} if request.reason else {})
    if len(arguments) == 2:
        run_id = installation.dagster.launch_range(job, arguments[0], arguments[1], tags)
    else:
        run_id = installation.dagster.launch(job, tags | ({"dagster/partition": arguments[0]} if arguments else {}))
    return _started(installation, job, run_id)


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


@router.get("/system-status")
def get_system_status(installation: Installation) -> SystemStatus:
    """Data, jobs, drift, budget, keys and alerts."""
    settings, found = installation.settings, status.jobs(installation)
    spent = status.budget(installation, datetime.now(UTC))
    return SystemStatus(
        market=settings.market_kind,
        market_id=settings.market_id,
        as_of=installation.now(),
        clock_pinned=settings.mltrainer_as_of is not None,
        places_orders=False,
        services=status.services(installation),
        pipeline=_pipeline(installation),
        last_refresh=_last_refresh(installation, found.last_refresh),
        running=[_run(installation, run) for run in found.running],
        recent=[_run(installation, run) for run in found.recent],
        jobs_error=found.error,
        drift=[Drift(**{name: row[name] for name in Drift.model_fields}) for row in status.drift(installation)],
        budget=Spent(
            autonomy=spent.autonomy,
            agent_enabled=spent.enabled,
            trials=spent.trials,
            daily_trials=spent.daily_trials,
            compute_minutes=spent.minutes,
            daily_compute_minutes=spent.daily_compute_minutes,
            dollars=float(spent.dollars),
            daily_dollars=spent.daily_dollars,
        ),
        keys=status.keys(installation),
        alerts=[Alert(**{name: row[name] for name in Alert.model_fields}) for row in status.open_alerts(installation)],
        dagster_url=installation.dagster.url,
        mlflow_url=settings.tracking_uri,
    )


def _require_room(installation: Context) -> None:
    try:
        launcher_of(installation.settings, installation.engine, installation.dagster, installation.lake).require_room()
    except TooManyRunsError as error:
        raise Problem(429, str(error), {"Retry-After": "60"}) from None


def _started(installation: Context, job: str, run_id: str) -> Started:
    return Started(job=job, run_id=run_id, url=f"{installation.dagster.url}/runs/{run_id}")


def _run(installation: Context, run: Run) -> RunState:
    return RunState(
        run_id=run.run_id,
        job=run.job,
        status=run.status,
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        seconds=run.seconds,
        url=f"{installation.dagster.url}/runs/{run.run_id}",
    )


def _last_refresh(installation: Context, run: Run | None) -> LastRefresh | None:
    signals = newest_signals(installation.lake)
    if signals is None:
        return None
    return LastRefresh(
        at=signals["timestamp"][0],
        signals=signals.height,
        strong_buys=int(signals["strong_buy"].sum()),
        run=_run(installation, run) if run else None,
    )


def _pipeline(installation: Context) -> Pipeline:
    settings = installation.settings
    return Pipeline(
        market=settings.market_kind,
        source=settings.market_source.split("/")[-1] if settings.uses_local_exchange else settings.market_source,
        last_closed_session=last_closed_session(installation.now()),
        assets=[
            AssetFreshness(
                asset=found.state.asset,
                partitions=found.state.partitions,
                newest=found.state.newest,
                sessions_behind=found.behind,
            )
            for found in status.freshness(installation)
        ],
    )


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
