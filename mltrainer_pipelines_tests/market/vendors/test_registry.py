"""A vendor is one folder, found by itself; a new one is chosen by its name in the settings and nothing else changes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from pydantic import SecretStr

from mltrainer_pipelines.contracts.lake_tables import DAILY_BARS
from mltrainer_pipelines.market.vendors.fred.client import FredSeries
from mltrainer_pipelines.market.vendors.polygon.client import PolygonMarket
from mltrainer_pipelines.market.vendors.protocol import Connection
from mltrainer_pipelines.market.vendors.registry import UnknownVendorError, open_macro_data, open_market_data
from mltrainer_pipelines.ops.databases import database_url
from mltrainer_pipelines.settings import PROJECT_ROOT, Settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines_tests.servers.vendor import Call, Reply, vendor

PROGRAM = """
import os
import dagster as dg
from mltrainer_pipelines.defs.market.daily_bars import daily_bars
from mltrainer_pipelines.defs.resources import RESOURCES
from mltrainer_pipelines.settings import get_settings
from mltrainer_pipelines.store.database import Database
resources = {name: RESOURCES[name] for name in ("lake", "market_data")} | {"database": Database(os.environ["TEST_DATABASE"])}
assert dg.materialize([daily_bars], partition_key="2024-01-03", resources=resources).success
settings = get_settings()
print(settings.market_id, settings.market_kind, settings.uses_local_exchange, settings.lake_url)
"""


def connection(tmp_path: Path, key: str | None) -> Connection:
    return Connection("http://127.0.0.1:1", SecretStr(key) if key else None, 5, tmp_path, print)


def bars(call: Call) -> Reply:
    if call.headers.get("Authorization") != "Bearer open-sesame":
        return Reply(b"who are you?", status=401)
    day = call.path.removeprefix("/bars/")
    values = {"symbol": "AAA", "date": day, "open": 1.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 10.0, "vwap": 2.0}
    row = pl.DataFrame([values | {"trades": 4}]).select(DAILY_BARS.schema.names())
    return Reply(row.write_csv().encode(), content_type="text/csv")


def test_a_new_vendor_is_one_folder_and_a_name_in_the_settings(
    tmp_path: Path, database: Database, postgres: EmbeddedPostgres
) -> None:
    scratch = tmp_path / "copy" / "mltrainer_pipelines"
    shutil.copytree(PROJECT_ROOT / "mltrainer_pipelines", scratch)
    shutil.copytree(Path(__file__).parent / "tiny", scratch / "market" / "vendors" / "tiny")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLTRAINER_", "POLYGON_", "DAGSTER_"))}
    with vendor(bars) as server:
        variables = {
            "PYTHONPATH": str(scratch.parent),
            "MLTRAINER_HOME": str(tmp_path / "home"),
            "MLTRAINER_MARKET_VENDOR": "tiny",
            "TINY_BASE_URL": server.url,
            "TINY_API_KEY": "open-sesame",
            "TEST_DATABASE": postgres.url("mltrainer"),
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=kept | variables, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr[-3000:]
    market_id, kind, local, lake = done.stdout.split()
    assert (market_id, kind, local) == ("tiny", "real", "False")
    assert pl.read_parquet(f"{lake}/daily_bars/2024-01-03.parquet")["symbol"].to_list() == ["AAA"]
    assert "open-sesame" not in done.stderr


def test_the_vendors_of_the_settings_are_opened(tmp_path: Path) -> None:
    market = open_market_data("polygon", connection(tmp_path, "key"))
    assert isinstance(market, PolygonMarket)
    assert market.budget is not None
    assert market.budget.calls_per_minute == 5
    assert isinstance(open_macro_data("fred", connection(tmp_path, "key")), FredSeries)
    assert open_macro_data("fred", connection(tmp_path, None)) is None


def test_a_vendor_that_is_not_there_or_offers_something_else_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownVendorError, match=r"MLTRAINER_MARKET_VENDOR=nasdaq.*'fred', 'polygon'"):
        open_market_data("nasdaq", connection(tmp_path, "key"))
    with pytest.raises(UnknownVendorError, match=r"MLTRAINER_MARKET_VENDOR=fred.*no US stocks"):
        open_market_data("fred", connection(tmp_path, "key"))
    with pytest.raises(UnknownVendorError, match=r"MLTRAINER_MACRO_VENDOR=polygon.*no macro series"):
        open_macro_data("polygon", connection(tmp_path, "key"))


def test_another_vendor_is_a_real_market_of_its_own_with_fred_at_its_own_address() -> None:
    database = SecretStr("postgresql://me@host/mine")
    settings = Settings(mltrainer_market_vendor="tiny", mltrainer_database_url=database)
    assert database_url(settings, "dagster").endswith("/mine_tiny_dagster")
    polygon = Settings(polygon_api_key=SecretStr("key"), mltrainer_database_url=database)
    assert database_url(polygon, "dagster").endswith("/mine_dagster")
    assert (settings.market_id, settings.market_kind, settings.market_source) == ("tiny", "real", "tiny")
    assert settings.fred_url == "https://api.stlouisfed.org/fred"
    assert settings.fred_key is None
