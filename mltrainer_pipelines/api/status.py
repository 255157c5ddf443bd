"""The state of the system: data, jobs, drift, budget, keys, alerts. What cannot be read is reported as unknown."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from mltrainer_pipelines.agent import autonomy
from mltrainer_pipelines.api.context import Context
from mltrainer_pipelines.api.market_data import AssetState, asset_states, sessions_behind
from mltrainer_pipelines.market.sessions import last_closed_session
from mltrainer_pipelines.ops.dagster_client import DagsterError, Run
from mltrainer_pipelines.ops.wait_for import answers
from mltrainer_pipelines.store import tables
from mltrainer_pipelines.store.alerts import alerts


@dataclass(frozen=True)
class Jobs:
    """Dagster's runs; `error` says why they cannot be listed."""

    running: list[Run]
    recent: list[Run]
    last_refresh: Run | None
    error: str | None = None


def jobs(context: Context) -> Jobs:
    """Runs under way, the last ones, and the last refresh that succeeded."""
    dagster = context.dagster
    try:
        recent = dagster.runs(limit=15)
        refreshes = [run for run in dagster.runs(limit=10, job="refresh_signals") if run.status == "SUCCESS"]
        return Jobs(dagster.runs(limit=50, unfinished=True), recent, refreshes[0] if refreshes else None)
    except DagsterError as error:
        return Jobs([], [], None, str(error))


def services(context: Context) -> dict[str, bool]:
    """Whether each service answers."""
    settings = context.settings
    addresses = {"dagster": f"{context.dagster.url}/server_info", "mlflow": f"{settings.tracking_uri}/health"}
    if settings.uses_local_exchange:
        addresses["exchange"] = f"{settings.exchange_url}/healthz"
    with ThreadPoolExecutor(len(addresses)) as pool:
        up = dict(zip(addresses, pool.map(lambda url: answers(url, 1.0), addresses.values()), strict=True))
    return {"postgresql": database_answers(context), **up}


def database_answers(context: Context) -> bool:
    try:
        context.database.check()
    except ConnectionError:
        return False
    return True


def keys(context: Context) -> dict[str, bool]:
    """Which keys are set; never what they are."""
    settings = context.settings
    given = {name: getattr(settings, name) is not None for name in ("polygon_api_key", "fred_api_key", "anthropic_api_key")}
    return {name.upper(): present for name, present in given.items()}


@dataclass(frozen=True)
class Freshness:
    state: AssetState
    behind: int | None


def freshness(context: Context) -> list[Freshness]:
    """Assets of the lake, and how many sessions those with a partition a session are behind the last closed one."""
    expected = last_closed_session(context.now())
    by_session = ("daily_bars", "delayed_quotes", "signals")
    return [
        Freshness(state, sessions_behind(state.newest, expected) if state.asset in by_session else None)
        for state in asset_states(context.lake)
    ]


def drift(context: Context) -> list[RowMapping]:
    """The newest look for drift of each timeframe and kind."""
    d = tables.DriftCheck
    newest = sa.select(d.__table__).distinct(d.timeframe, d.kind).order_by(d.timeframe, d.kind, d.as_of.desc())
    with context.reader.connect() as connection:
        return list(connection.execute(newest).mappings().all())


def open_alerts(context: Context, limit: int = 50) -> list[dict[str, Any]]:
    return alerts(context.reader, open_only=True, limit=limit)


def budget(context: Context, moment: datetime) -> autonomy.Budget:
    """What the agent may spend today, and what it has."""
    return autonomy.budget(context.reader, moment)
