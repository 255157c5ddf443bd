"""Dagster's storage in the PostgreSQL of the market, so that any Dagster command in this folder finds it.

Under `mltrainer up` the databases run already. `dagster dev`, `dagster definitions validate` and the like
start the embedded server for as long as they run, where nobody else does.
"""

import atexit
import os
from contextlib import ExitStack
from typing import Any, Self

from dagster._config.config_schema import UserConfigSchema
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events.log import EventLogEntry
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage

from mltrainer_pipelines.settings import get_settings

URL_VARIABLE = "MLTRAINER_DAGSTER_DATABASE_URL"
"""Set by the supervisor for its children: the databases run, and here is Dagster's."""


class MarketEventLogStorage(PostgresEventLogStorage):
    """Dagster's event log that plans a check once a run, as it is evaluated, and not once a partition of the run.

    None of our checks is partitioned. Dagster 1.13 plans them by partition all the same: nine checks of a backfill over
    1,479 sessions are 13,311 rows that take half a minute and stay "planned" for ever.
    """

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        occurred = event.dagster_event
        if occurred and occurred.asset_check_planned_data.partitions_subset is not None:
            check = occurred.asset_check_planned_data.asset_check_key
            whole = AssetCheckEvaluationPlanned(asset_key=check.asset_key, check_name=check.name)
            event = event._replace(dagster_event=occurred._replace(event_specific_data=whole))
        super()._store_asset_check_evaluation_planned(event, event_id)


class MarketStorage(DagsterPostgresStorage):
    """`DagsterPostgresStorage` in the database that the settings name; takes no configuration of its own."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None):
        super().__init__(postgres_url, inst_data=inst_data)
        self._event_log_storage.dispose()
        self._event_log_storage = MarketEventLogStorage(postgres_url)
        # Dagster opens a connection for each statement, three for each event: to keep one halves what a long run's events cost.
        self._event_log_storage.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=20)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        return cls(postgres_url=os.environ.get(URL_VARIABLE) or _provided_url(), inst_data=inst_data)


def _provided_url() -> str:
    from mltrainer_pipelines.ops.databases import provided_databases

    held = ExitStack()
    url = held.enter_context(provided_databases(get_settings()))["dagster"]
    atexit.register(held.close)
    return url
