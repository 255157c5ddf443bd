"""Dagster's storage in the PostgreSQL of the market, so that any Dagster command in this folder finds it.

Under `mltrainer up` the databases run already. `dagster dev`, `dagster definitions validate` and the like
start the embedded server for as long as they run, where nobody else does.
"""

import atexit
import os
from contextlib import ExitStack
from typing import Any, Self

from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from mltrainer_pipelines.settings import get_settings

URL_VARIABLE = "MLTRAINER_DAGSTER_DATABASE_URL"
"""Set by the supervisor for its children: the databases run, and here is Dagster's."""


class MarketStorage(DagsterPostgresStorage):
    """`DagsterPostgresStorage` in the database that the settings name; takes no configuration of its own."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        return cls(postgres_url=os.environ.get(URL_VARIABLE) or _provided_url(), inst_data=inst_data)


def _provided_url() -> str:
    from mltrainer_pipelines.services.databases import provided_databases

    held = ExitStack()
    url = held.enter_context(provided_databases(get_settings()))["dagster"]
    atexit.register(held.close)
    return url
