"""PostgreSQL goes away in the middle of a refresh and comes back: with our tables, and with Dagster's own records in it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import psycopg2
import pytest
import sqlalchemy as sa

from mltrainer_pipelines.contracts.lake_tables import DELAYED_QUOTES
from mltrainer_pipelines.defs.portfolio.assets import portfolio_performance, virtual_positions
from mltrainer_pipelines.defs.signals.assets import recommendations
from mltrainer_pipelines.market.sessions import session_hours
from mltrainer_pipelines.signals.rules import Thresholds, strong_buys
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.store.tables import Recommendation, VirtualPosition
from mltrainer_pipelines_tests.portfolio.markets import NO_ACTIONS, bars_of
from mltrainer_pipelines_tests.portfolio.test_samples import signals

SESSION = date(2015, 3, 2)
_INSERTING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO virtual_positions%' AND state = 'active'"
COUNT = 12  # of few signals most may be strong buys
MOMENT = session_hours(SESSION)[1]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """As a refresh has it once the market is scored: a few strong buys."""
    strong = strong_buys(signals(COUNT, probability=0.7, confidence=0.9), Thresholds()).with_columns(
        probability_low=pl.lit(0.6), probability_high=pl.lit(0.8), why=pl.lit("because"), drivers=pl.lit(None),
        settings_version=pl.lit(None, pl.Int64),
    )  # fmt: skip
    lake = Lake(str(tmp_path / "lake"))
    lake.write("signals", strong, str(SESSION))
    quotes = strong.select("symbol", as_of=pl.lit(MOMENT), date=pl.lit(SESSION), close=pl.lit(100.0), stale=pl.lit(value=False))
    unknown = [pl.lit(None, kind).alias(name) for name, kind in DELAYED_QUOTES.schema.items() if name not in quotes.columns]
    lake.write("delayed_quotes", quotes.with_columns(unknown), str(SESSION))
    bars = pl.concat([bars_of(symbol, [SESSION], [(100.0,) * 4]) for symbol in strong["symbol"]])
    lake.write("daily_bars", bars, str(SESSION))
    lake.write("corporate_actions", NO_ACTIONS)
    return lake


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of these tests alone: the others' is not to be killed."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def database(server: EmbeddedPostgres) -> Iterator[Database]:
    database = Database(server.url("mltrainer"))
    database.migrate()
    with database.engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE recommendations, virtual_positions, portfolio_performance CASCADE"))
    yield database
    database.dispose()


@contextmanager
def restarted_while_positions_are_written(server: EmbeddedPostgres) -> Iterator[list[str]]:
    """Kill the server once an INSERT of positions is under way, as a crash does, and start it again."""
    blocker = psycopg2.connect(server.url("mltrainer"))
    blocker.cursor().execute("LOCK TABLE virtual_positions IN EXCLUSIVE MODE")  # keeps the INSERT from ending
    watcher = psycopg2.connect(server.url("mltrainer"))
    watcher.autocommit = True
    said: list[str] = []

    def restart() -> None:
        cursor, until = watcher.cursor(), time.monotonic() + 60
        while time.monotonic() < until:
            cursor.execute(_INSERTING)
            if cursor.fetchone()[0]:
                break
            time.sleep(0.02)
        else:
            return
        os.kill(int((server.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)
        while server.running:
            time.sleep(0.02)
        again = EmbeddedPostgres(server.folder).start()
        again.stop()  # the fixture still holds it
        said.append("restarted")

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        yield said
    finally:
        thread.join()
        for connection in (blocker, watcher):
            connection.close()


def counts(database: Database) -> tuple[int, int]:
    with database.engine.connect() as connection:
        return tuple(
            connection.scalar(sa.select(sa.func.count()).select_from(table)) for table in (Recommendation, VirtualPosition)
        )


def refreshed(instance: dg.DagsterInstance, lake: Lake, database: Database) -> dg.ExecuteInProcessResult:
    assets = [recommendations, virtual_positions, portfolio_performance]
    return dg.materialize(assets, instance=instance, resources={"lake": lake, "database": database}, raise_on_error=False)


def test_a_step_that_loses_the_database_begins_again_and_leaves_one_of_each(
    server: EmbeddedPostgres, database: Database, lake: Lake
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        with restarted_while_positions_are_written(server) as said:
            result = refreshed(instance, lake, database)
        assert said == ["restarted"]
        assert result.success
        assert {event.step_key for event in result.all_events if event.is_step_up_for_retry} == {"virtual_positions"}
        assert counts(database) == (COUNT, COUNT)
        assert refreshed(instance, lake, database).success
    assert counts(database) == (COUNT, COUNT)


def test_a_restart_that_takes_dagsters_own_records_away_too_ends_the_run_with_a_status_and_the_next_one_completes_it(
    server: EmbeddedPostgres, database: Database, lake: Lake, tmp_path: Path
) -> None:
    (tmp_path / "dagster.yaml").write_text(f"storage: {{postgres: {{postgres_url: '{server.url('dagster')}'}}}}\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        with restarted_while_positions_are_written(server) as said:
            refreshed(instance, lake, database)
        assert said == ["restarted"]
        (run,) = instance.get_runs()
        # Dagster asks a database that is gone again for some seconds; whether that is enough, the status says.
        assert run.status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)
        assert counts(database) == (COUNT, COUNT if run.is_success else 0)
        assert refreshed(instance, lake, database).success
    assert counts(database) == (COUNT, COUNT)
