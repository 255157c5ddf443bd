"""An installation for each test: its own folder and empty tables, one PostgreSQL and one Dagster server for all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines_tests.api.installation import Installation, make_installation
from mltrainer_pipelines_tests.servers.dagster import Dagster, dagster_server


@pytest.fixture(scope="session")
def _dagster() -> Iterator[Dagster]:
    with dagster_server() as server:
        yield server


@pytest.fixture
def dagster(_dagster: Dagster) -> Dagster:
    _dagster.runs.clear()
    _dagster.partitions.clear()
    return _dagster


@pytest.fixture(scope="session")
def filled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("installation")


@pytest.fixture
def installation(filled_folder: Path, database: Database, dagster: Dagster) -> Installation:
    return make_installation(filled_folder, database, dagster)
