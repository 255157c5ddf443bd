"""The facilitator: plain access to models and data, without strategy of its own."""

from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator

from mltrainer_pipelines.agent.jobs import JobError
from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Body, MarketKind, Name, Started, Text, with_example
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.market_data import newest_signals, partition_count
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES, TimeframeName
from mltrainer_pipelines.market.quotes import DELAY
from mltrainer_pipelines.market.sessions import is_session, last_closed_session, session_hours
from mltrainer_pipelines.ops.dagster_client import DagsterError
from mltrainer_pipelines.ops.freshness import Freshness, freshness
from mltrainer_pipelines.ops.run_launcher import REASON, STARTED_BY, TooManyRunsError, launcher_of
from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig
from mltrainer_pipelines.trials.registry.records import first_registered
from mltrainer_pipelines.trials.run_requests import get_request, is_scored, request_trial

router = APIRouter(prefix="/api/facilitator", tags=["facilitator"], route_class=JsonRoute)


_OVERDUE = timedelta(minutes=35)
"""Two refreshes were missed."""


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
    """An asset, and how far it is behind."""

    asset: str = Field(examples=["daily_bars"])
    partitions: int = Field(description="Files in the lake; 0 where it is kept in the database.", examples=[1479])
    newest: str | None = Field(description="The newest session that it covers.", examples=["2026-11-20"])
    sessions_behind: int | None = Field(description="Published sessions it lacks; null while there are no bars.")


class Pipeline(BaseModel):
    """What data there are."""

    market: MarketKind
    source: str = Field(description="Where bars come from: `simulated`, a recording, or an address.")
    last_closed_session: date
    assets: list[AssetFreshness]
    refresh_overdue: bool = Field(description="Whether the session is open and its market was not scored for over 35 minutes.")


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
    run = _started(installation, "walk_forward", request.run_id) if request.run_id else None
    computed: Literal["scored", "predicted"] = "scored" if scored else "predicted"
    return Execution202(
        trial_id=config.trial_id,
        status="launched" if run else "waiting" if request.status == "waiting" else computed,
        run=run,
        trial_url=f"/api/trials/{config.trial_id}",
    )


@router.get("/data-pipeline")
def get_data_pipeline(installation: Installation) -> Pipeline:
    """What data the lake holds, and how fresh they are."""
    return pipeline(installation)


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
            raise Problem(404, f"trial {request.trial_id} has no predictions; run it first, then score it")
        job, arguments = "score_trials", [str(request.trial_id)]
    else:
        job, arguments = request.operation, []
    tags = {STARTED_BY: "api"} | ({REASON: request.reason} if request.reason else {})
    if len(arguments) == 2:
        run_id = installation.dagster.launch_range(job, arguments[0], arguments[1], tags)
    else:
        run_id = installation.dagster.launch(job, tags | ({"dagster/partition": arguments[0]} if arguments else {}))
    return _started(installation, job, run_id)


def _require_room(installation: Context) -> None:
    try:
        launcher_of(installation.settings, installation.engine, installation.dagster, installation.lake).require_room()
    except TooManyRunsError as error:
        raise Problem(429, str(error), {"Retry-After": "60"}) from None


def _started(installation: Context, job: str, run_id: str) -> Started:
    return Started(job=job, run_id=run_id, url=f"{installation.dagster.url}/runs/{run_id}")


def pipeline(installation: Context) -> Pipeline:
    """What data there are, and how fresh."""
    settings, newest = installation.settings, last_closed_session(installation.now())
    materialized: dict[str, datetime] = {}
    with suppress(DagsterError):
        materialized = installation.dagster.last_materializations()
    states = freshness(installation.lake, materialized, installation.now(), first_registered(installation.reader))
    return Pipeline(
        market=settings.market_kind,
        source=settings.market_source.split("/")[-1] if settings.uses_local_exchange else settings.market_source,
        last_closed_session=newest,
        assets=[_freshness(installation, state) for state in states],
        refresh_overdue=_refresh_overdue(installation),
    )


def _freshness(installation: Context, state: Freshness) -> AssetFreshness:
    return AssetFreshness(**vars(state), partitions=partition_count(installation.lake, state.asset))


def _refresh_overdue(installation: Context) -> bool:
    moment = installation.now()
    if installation.settings.has_no_snapshots or not is_session(moment.date()):
        return False
    opens, closes = session_hours(moment.date())
    if not opens + DELAY + _OVERDUE <= moment <= closes + DELAY:
        return False
    signals = newest_signals(installation.lake)
    return signals is None or bool(signals["timestamp"][0] < moment - DELAY - _OVERDUE)
