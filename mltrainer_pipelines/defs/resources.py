"""What assets are handed: the lake, the database, the clients of Polygon and FRED, MLflow's registry.

Each is made when a run needs it, from the settings of that process. None of them is configured in
Dagster, so that no key or password can show in its UI.
"""

from collections.abc import Iterator

import dagster as dg

from mltrainer_pipelines.settings import get_settings


def _lake(_context: dg.InitResourceContext) -> object:
    from mltrainer_pipelines.store.lake import Lake

    lake = Lake(get_settings().lake_url)
    lake.assert_owner(get_settings().market_id)
    return lake


def _database(_context: dg.InitResourceContext) -> Iterator[object]:
    from mltrainer_pipelines.ops.databases import database_url
    from mltrainer_pipelines.store.database import Database

    database = Database(database_url(get_settings(), "mltrainer"))
    yield database
    database.dispose()  # a sensor has one every minute: its connections must not stay


def _polygon(context: dg.InitResourceContext) -> object:
    from mltrainer_pipelines.market.vendors.call_budget import CallBudget
    from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket

    settings = get_settings()
    allowed = settings.polygon_call_budget
    log = context.log

    def on_wait(seconds: float) -> None:
        if log:
            log.debug(f"POLYGON_CALLS_PER_MINUTE={allowed}: the next call may be made in {seconds:.0f} s")

    budget = CallBudget(settings.state / "polygon_calls.json", allowed, on_wait=on_wait) if allowed else None
    return PolygonMarket(settings.polygon_url, settings.polygon_key, budget=budget)


def _fred(_context: dg.InitResourceContext) -> object:
    from mltrainer_pipelines.market.vendors.fred.client import FredSeries

    settings = get_settings()
    return FredSeries(settings.fred_url, settings.fred_key) if settings.fred_key else None


def _tracking(_context: dg.InitResourceContext) -> object:
    from mltrainer_pipelines.trials.registry.tracking import Tracking

    return Tracking(get_settings().tracking_uri)


RESOURCES = {
    "lake": dg.ResourceDefinition(_lake, description="The Parquet lake under MLTRAINER_LAKE_URL"),
    "database": dg.ResourceDefinition(_database, description="mlTrainer's tables in PostgreSQL"),
    "polygon": dg.ResourceDefinition(_polygon, description="The Polygon client: Polygon with a key, the local exchange without"),
    "tracking": dg.ResourceDefinition(_tracking, description="MLflow's tracking server and model registry"),
    "fred": dg.ResourceDefinition(_fred, description="The FRED client; nothing where bars are real and FRED_API_KEY is not set"),
}
