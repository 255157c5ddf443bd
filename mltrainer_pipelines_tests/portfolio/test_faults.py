"""Killed in the middle, twice at once, and a database that goes away: nothing is there twice, nothing is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date

import polars as pl
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.signals.recommendations import publish
from mltrainer_pipelines.signals.rules import Thresholds, strong_buys
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.locks import advisory_lock
from mltrainer_pipelines.store.tables import Recommendation, VirtualPosition
from mltrainer_pipelines_tests.portfolio.test_samples import signals

SESSION = date(2015, 3, 2)
COUNT = 400

_SCRIPT = """
import sys
import polars as pl
from mltrainer_pipelines.portfolio.positions import open_positions
from mltrainer_pipelines.signals.recommendations import publish
from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.store.database import Database
database, scored = Database(sys.argv[1]), pl.read_parquet(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
publish(database, scored, Thresholds(), "simulated")
open_positions(database.engine, 10.0)
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def strong() -> pl.DataFrame:
    """`COUNT` strong buys, among more signals that are none: where most would be one, nothing is recommended."""
    chance = pl.when(pl.col("symbol").str.slice(1).cast(pl.Int32) < COUNT).then("profit_probability").otherwise(0.4)
    rows = signals(2 * COUNT + 1, probability=0.7, confidence=0.9).with_columns(profit_probability=chance)
    return strong_buys(rows, Thresholds()).with_columns(
        probability_low=pl.lit(0.6), probability_high=pl.lit(0.8), why=pl.lit("because"), drivers=pl.lit(None)
    )


def counts(database: Database) -> tuple[int, int, int]:
    with database.engine.connect() as connection:
        made, distinct = connection.execute(sa.select(sa.func.count(), sa.func.count(sa.distinct(Recommendation.symbol)))).one()
        return made, distinct, connection.scalar(sa.select(sa.func.count()).select_from(VirtualPosition))


def refresh(database: Database, strong: pl.DataFrame) -> None:
    publish(database, strong, Thresholds(), "simulated")
    open_positions(database.engine, 10.0)


def test_a_refresh_that_is_killed_anywhere_and_run_again_leaves_one_of_each(
    database: Database, strong: pl.DataFrame, tmp_path
) -> None:
    strong.drop("drivers").write_parquet(tmp_path / "strong.parquet")
    command = [sys.executable, "-c", _SCRIPT, database.url, str(tmp_path / "strong.parquet")]
    waits = (0.0, 0.03, 0.08, 0.15)
    # All import at once; each begins when the one before has been killed.
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in waits]
    for process, wait in zip(processes, waits, strict=True):
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        made, distinct, held = counts(database)
        assert made == distinct
        assert made in (0, COUNT)
        assert held in (0, COUNT)
    refresh(database, strong)
    assert counts(database) == (COUNT, COUNT, COUNT)


def test_two_refreshes_at_once_leave_one_of_each(database: Database, strong: pl.DataFrame) -> None:
    threads = [threading.Thread(target=refresh, args=(database, strong)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(database) == (COUNT, COUNT, COUNT)


def test_a_database_that_drops_the_connection_in_the_middle_takes_nothing_in_half(
    database: Database, strong: pl.DataFrame
) -> None:
    publish(database, strong, Thresholds(), "simulated")

    def cut() -> None:
        """Drop every other connection as soon as one is writing positions, as a restart does."""
        busy = "query LIKE 'INSERT INTO virtual_positions%' AND state <> 'idle'"
        kill = sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {busy}")
        with other.connect() as connection:
            until = time.monotonic() + 10
            while time.monotonic() < until and not connection.execute(kill).all():
                connection.rollback()

    other = sa.create_engine(database.engine.url)
    with other.begin() as blocker:
        # Holds the insert back until the connection is cut.
        blocker.execute(sa.text("LOCK TABLE virtual_positions IN EXCLUSIVE MODE"))
        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(OperationalError):
            open_positions(database.engine, 10.0)
        thread.join()
    other.dispose()
    assert counts(database) == (COUNT, COUNT, 0)
    open_positions(database.engine, 10.0)
    assert counts(database) == (COUNT, COUNT, COUNT)


def test_a_lock_is_held_by_one_at_a_time_and_goes_with_its_holder(database: Database) -> None:
    held: list[str] = []

    def work(name: str) -> None:
        with advisory_lock(database.engine, "signals/2015-03-02"):
            held.append(f"{name} in")
            time.sleep(0.05)
            held.append(f"{name} out")

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.split()[1] for entry in held] == ["in", "out", "in", "out"]
    with pytest.raises(ZeroDivisionError), advisory_lock(database.engine, "x"):
        raise ZeroDivisionError
    with advisory_lock(database.engine, "x", patience_s=1.0), pytest.raises(OperationalError):  # noqa: SIM117
        with advisory_lock(database.engine, "x", patience_s=0.2):
            pass
