"""What assets are handed: the lake, the database, the clients of the data vendors, MLflow's registry.

Each is made when a run needs it, from the settings of that process. None of them is configured in
Dagster, so that no key or password can show in its UI.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from mltrainer_pipelines.settings import get_settings

if TYPE_CHECKING:
    from mltrainer_pipelines.market.vendors.protocol import Connection, MarketData
    from mltrainer_pipelines.store.database import Database
    from mltrainer_pipelines.store.lake import Lake

    LakeResource = dg.ResourceParam[Lake]
    DatabaseResource = dg.ResourceParam[Database]
    MarketDataResource = dg.ResourceParam[MarketData]
else:  # Dagster reads annotations when it loads the definitions: the types would bring Polars and SQLAlchemy
    LakeResource = DatabaseResource = MarketDataResource = dg.ResourceParam[object]


def _lake(_context: dg.InitResourceContext) -> object:
    from mltrainer_pipelines.features.discovered import follow
    from mltrainer_pipelines.store.lake import Lake

    lake = Lake(get_settings().lake_url)
    lake.assert_owner(get_settings().market_id)
    follow(lake)
    return lake


def _database(_context: dg.InitResourceContext) -> Iterator[object]:
    from mltrainer_pipelines.ops.databases import database_url
    from mltrainer_pipelines.store.database import Database

    database = Database(database_url(get_settings(), "mltrainer"))
    yield database
    database.dispose()  # a sensor has one every minute: its connections must not stay


def _market_data(context: dg.InitResourceContext) -> object:
    from mltrainer_pipelines.market.vendors.registry import open_market_data

    vendor = get_settings().mltrainer_market_vendor
    return open_market_data(vendor, _connection(vendor, context))


def _macro_data(context: dg.InitResourceContext) -> object:
    from mltrainer_pipelines.market.vendors.registry import open_macro_data

    vendor = get_settings().mltrainer_macro_vendor
    return open_macro_data(vendor, _connection(vendor, context))


def _connection(vendor: str, context: dg.InitResourceContext) -> "Connection":
    from mltrainer_pipelines.market.vendors.protocol import Connection

    log = context.log
    return Connection(*get_settings().vendor_connection(vendor), get_settings().state, log.debug if log else lambda _: None)


def _tracking(_context: dg.InitResourceContext) -> object:
    from mltrainer_pipelines.trials.registry.tracking import Tracking

    return Tracking(get_settings().tracking_uri)


RESOURCES = {
    "lake": dg.ResourceDefinition(_lake, description="The Parquet lake under MLTRAINER_LAKE_URL"),
    "database": dg.ResourceDefinition(_database, description="mlTrainer's tables in PostgreSQL"),
    "market_data": dg.ResourceDefinition(
        _market_data, description="MLTRAINER_MARKET_VENDOR's client: Polygon with a key, the local exchange without"
    ),
    "tracking": dg.ResourceDefinition(_tracking, description="MLflow's tracking server and model registry"),
    "macro_data": dg.ResourceDefinition(
        _macro_data, description="MLTRAINER_MACRO_VENDOR's client; nothing where bars are real and FRED_API_KEY is not set"
    ),
}
