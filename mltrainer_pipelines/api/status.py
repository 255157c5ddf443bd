"""The state of the system: data, jobs, drift, budget, keys, alerts. What cannot be read is reported as unknown."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from mltrainer_pipelines.api.context import Context
from mltrainer_pipelines.ops.dagster_client import FINISHED, DagsterError, Run
from mltrainer_pipelines.ops.wait_for import answers
from mltrainer_pipelines.store import tables

SECRETS = ("polygon_api_key", "fred_api_key", "anthropic_api_key", "mltrainer_notify")


@dataclass(frozen=True)
class Jobs:
    """Dagster's runs; `error` says why they cannot be listed, `refresh_failure` why the last refresh failed."""

    running: list[Run]
    recent: list[Run]
    last_refresh: Run | None
    error: str | None = None
    refresh_failure: str | None = None


def jobs(context: Context) -> Jobs:
    """Runs under way, the last ones, and the last refresh that ended, however it did."""
    dagster = context.dagster
    try:
        recent = dagster.runs(limit=15)
        refresh = next((run for run in dagster.runs(limit=10, job="refresh_signals") if run.status in FINISHED), None)
        failed = refresh is not None and refresh.status == "FAILURE"
        why = dagster.failure(refresh.run_id) if refresh and failed else None
        return Jobs(dagster.runs(limit=50, unfinished=True), recent, refresh, refresh_failure=why)
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
    given = {name: getattr(settings, name) is not None for name in SECRETS}
    return {name.upper(): present for name, present in given.items()}


def drift(context: Context) -> list[RowMapping]:
    """The newest check for drift of each timeframe and kind."""
    d = tables.DriftCheck
    newest = sa.select(d.__table__).distinct(d.timeframe, d.kind).order_by(d.timeframe, d.kind, d.as_of.desc())
    with context.reader.connect() as connection:
        return list(connection.execute(newest).mappings().all())
