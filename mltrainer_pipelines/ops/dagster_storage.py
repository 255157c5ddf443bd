"""Dagster's storage in the PostgreSQL of the market, so that any Dagster command in this folder finds it.

Under `mltrainer up` the databases run already. `dagster dev`, `dagster definitions validate` and the like
start the embedded server for as long as they run, where nobody else does.
"""

import atexit
import os
from contextlib import ExitStack

from mltrainer_pipelines.ops.dagster_internals import PooledStorage
from mltrainer_pipelines.settings import get_settings

URL_VARIABLE = "MLTRAINER_DAGSTER_DATABASE_URL"
"""Set by the supervisor for its children: the databases run, and here is Dagster's."""


class MarketStorage(PooledStorage):
    """What dagster.yaml names: Dagster's storage in the database of the settings."""

    @staticmethod
    def url() -> str:
        return os.environ.get(URL_VARIABLE) or _provided_url()


def _provided_url() -> str:
    from mltrainer_pipelines.ops.databases import provided_databases

    running = ExitStack()
    url = running.enter_context(provided_databases(get_settings()))["dagster"]
    atexit.register(running.close)
    return url
