"""Fixtures of every stage: a real PostgreSQL for each test process, with empty tables for each test."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.tables import Base

if TYPE_CHECKING:
    from mltrainer_pipelines.trials.registry.tracking import Tracking

LONG = (
    *("ops/test_loop.py", "app/test_whole_stack.py", "scale/test_ray_cluster.py", "app/test_pages.py"),
    *("commands/test_lived_day.py", "ops/test_up.py", "agent/test_tracing.py"),
)
"""Tests that mostly wait for processes of their own, the longest first: begun early, the others run beside them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        long = next((at for at, part in enumerate(LONG) if part in str(item.path)), None)
        # those that share an MLflow server side by side, so that one process runs them all and starts one
        return len(LONG) + ("tracking" not in getattr(item, "fixturenames", ())) if long is None else long

    items.sort(key=turn)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server of this test process alone."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def _migrated(postgres: EmbeddedPostgres) -> Iterator[Database]:
    database = Database(postgres.url("mltrainer"))
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def database(_migrated: Database) -> Database:
    """The tables of mlTrainer, migrated and empty."""
    names = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with _migrated.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
        connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    return _migrated


@pytest.fixture(scope="module")
def tracking(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Tracking"]:
    """An MLflow server with a database of its own for each module: what one logs, another does not find, in whatever order."""
    from mltrainer_pipelines.trials.registry.tracking import Tracking

    folder = tmp_path_factory.mktemp("mlflow")
    engine = sa.create_engine(postgres.url("mlflow"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{folder.name}"'))
    engine.dispose()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", postgres.url(folder.name), "--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=2)
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the MLflow server did not start: {(folder / 'server.log').read_text()[-2000:]}")
                time.sleep(0.1)
        yield Tracking(uri)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
