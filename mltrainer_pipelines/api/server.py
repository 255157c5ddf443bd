"""The API as an application, and the process that serves it on 127.0.0.1."""

import argparse
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI

from mltrainer_pipelines.api.assistant import chat_agent
from mltrainer_pipelines.api.context import Context
from mltrainer_pipelines.api.limits import RateLimit
from mltrainer_pipelines.api.metrics import MeasureRequests, Metrics
from mltrainer_pipelines.api.openapi import openapi_document
from mltrainer_pipelines.api.problems import answer_problems
from mltrainer_pipelines.api.response_cache import ResponseCache
from mltrainer_pipelines.api.routes import (
    alerts,
    automation,
    conversation,
    conversations,
    events,
    facilitator,
    factor_library,
    factors,
    leanings,
    market,
    models,
    near_misses,
    notifications,
    portfolio,
    positions,
    proposals,
    quarantine,
    recommendations,
    saved_results,
    skill,
    system,
    system_status,
    trials,
)
from mltrainer_pipelines.api.routes import settings as settings_routes
from mltrainer_pipelines.api.security import BearerToken, BodyLimit, HostCheck
from mltrainer_pipelines.api.turns import MAX_TURNS
from mltrainer_pipelines.ops.dagster_client import DagsterClient
from mltrainer_pipelines.ops.impatient_http import BodyDeadline, ImpatientProtocol
from mltrainer_pipelines.ops.installation_token import load_token, token_file
from mltrainer_pipelines.ops.request_guard import LOCAL_NAMES
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.settings import now as wall_clock
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake

HOST = "127.0.0.1"
_WORKERS = 8
_DESCRIPTION = (
    "mlTrainer learns to recommend US equities for two holding periods and trades its recommendations on paper. "
    "It cannot place orders. Every answer says which market it is about: `real`, `simulated` or `replay`."
)
_ROUTES = (
    *(near_misses, leanings, recommendations, portfolio, positions, trials, models, proposals, market, factor_library, factors),
    *(
        settings_routes,
        facilitator,
        saved_results,
        system_status,
        automation,
        conversation,
        conversations,
        alerts,
        notifications,
        quarantine,
    ),
    *(events, system, skill),
)


def create_api(
    settings: Settings,
    database: Database,
    lake: Lake | None = None,
    dagster: DagsterClient | None = None,
    now: Callable[[], datetime] = wall_clock,
    token: str | None = None,
) -> FastAPI:
    """The API of an installation whose tables are migrated.

    The lake and Dagster are those of the settings by default, `token` (what callers have to give) that in
    `token_file(settings)`, made there where it is missing; TokenFileError where that file cannot be used.
    """
    from mltrainer_pipelines.features.discovered import follow

    app = FastAPI(
        title="mlTrainer",
        version="0.1.0",
        description=_DESCRIPTION,
        docs_url=None,  # their scripts come from elsewhere, and a browser would not send the token
        redoc_url=None,
        lifespan=_limited,
    )
    lake = lake or Lake(settings.lake_url)
    follow(lake)
    app.state.context = Context(
        settings,
        database,
        lake,
        dagster or DagsterClient.of(settings, timeout_s=20.0),
        now,
    )
    app.state.metrics = Metrics()
    app.state.change_poll = events.ChangePoll(app.state.context)
    app.state.conversations = CapacityLimiter(MAX_TURNS)
    app.state.agent = chat_agent(app.state.context)
    for module in _ROUTES:
        app.include_router(module.router)
    answer_problems(app)
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]
    # The last one added is the first to see a request.
    app.add_middleware(ResponseCache)
    app.add_middleware(BodyLimit)
    app.add_middleware(BodyDeadline)
    app.add_middleware(
        RateLimit,
        reads_per_minute=settings.mltrainer_api_reads_per_minute,
        writes_per_minute=settings.mltrainer_api_writes_per_minute,
        jobs_per_minute=settings.mltrainer_api_jobs_per_minute,
    )
    app.add_middleware(BearerToken, token=token or load_token(token_file(settings)))
    if settings.api_cors_origins:
        from starlette.middleware.cors import CORSMiddleware

        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.api_cors_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
        )
    app.add_middleware(HostCheck, allowed=LOCAL_NAMES | settings.api_hosts)
    app.add_middleware(MeasureRequests, metrics=app.state.metrics)
    return app


@asynccontextmanager
async def _limited(app: FastAPI) -> AsyncIterator[None]:
    """No more requests are worked on than there are connections."""
    to_thread.current_default_thread_limiter().total_tokens = _WORKERS
    yield


def serve(settings: Settings, port: int) -> None:
    """Serve the API on 127.0.0.1 until SIGTERM; raises where the database, which runs already, does not answer."""
    import uvicorn

    from mltrainer_pipelines.ops.databases import database_url

    database = Database(database_url(settings, "mltrainer"))
    database.check()
    app = create_api(settings, database)
    logging.getLogger("uvicorn.access").disabled = True
    gc.collect()
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again and again
    # A stream that is open does not hold up the end of the process.
    http = ImpatientProtocol
    uvicorn.run(app, host=HOST, port=port, http=http, log_level="warning", access_log=False, timeout_graceful_shutdown=2)


def main() -> None:
    from mltrainer_pipelines.settings import get_settings

    settings = get_settings()
    parser = argparse.ArgumentParser(description="Serve mlTrainer's API on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=settings.api_port)
    serve(settings, parser.parse_args().port)


if __name__ == "__main__":
    main()
