"""Fixtures of every stage: a real PostgreSQL for each test process, with empty tables for each test."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.tables import Base

LONG = ("services/test_loop.py", "services/test_up.py", "/app/")
"""Tests that mostly wait for processes of their own: begun first, the others run beside them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(part in str(item.path) for part in LONG))


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
