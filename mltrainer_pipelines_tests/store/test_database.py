import socket
import threading
import time

import psycopg2
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg2 import sql

from mltrainer_pipelines.store.database import Database, DatabaseUnavailableError
from mltrainer_pipelines.store.embedded import EmbeddedPostgres
from mltrainer_pipelines.store.tables import Base


@pytest.fixture
def empty(postgres: EmbeddedPostgres, request: pytest.FixtureRequest):
    """A database without any table."""
    name = request.node.name[:50]
    connection = psycopg2.connect(postgres.url("postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    connection.close()
    database = Database(postgres.url(name))
    yield database
    database.dispose()


def test_models_and_migrations_agree(empty: Database) -> None:
    assert empty.revision() is None
    empty.migrate()
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        checks = sa.text("SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace")
        made = set(connection.scalars(checks))
    declared = {c.name for t in Base.metadata.tables.values() for c in t.constraints if isinstance(c, sa.CheckConstraint)}
    assert made == declared


def test_what_the_version_before_requests_had_begun_is_taken_along(empty: Database) -> None:
    from alembic import command

    from mltrainer_pipelines.store.database import _alembic

    with empty.engine.connect() as connection:
        command.upgrade(_alembic(connection), "0005")
        connection.commit()
        for number, status in enumerate(("proposed", "approved", "launched", "done"), 1):
            run = "'run-3'" if status == "launched" else "NULL"
            connection.execute(
                sa.text(
                    f"""INSERT INTO trial_proposals (proposer, trial_id, config, hypothesis, refuted_if, status, run_id)
                        VALUES ('tpe', 'trial-{number}', '{{"model": "lightgbm"}}', '', '', '{status}', {run})"""
                )
            )
        for status in ("running", "done"):
            connection.execute(
                sa.text(
                    f"""INSERT INTO agent_actions (session_id, kind, params, summary, status, proposed_by, created_at, expires_at,
                            jobs, told)
                        VALUES ('s', 'refresh_signals', '{{}}', '', '{status}', 'user', now(), now(), '{{"steps": []}}', true)"""
                )
            )
        connection.commit()
    empty.migrate()
    with empty.engine.connect() as connection:
        requests = connection.execute(
            sa.text("SELECT trial_id, job, status, run_id, proposal_id, params->'config'->>'model' FROM run_requests ORDER BY id")
        )
        assert [tuple(row) for row in requests] == [
            ("trial-2", "walk_forward", "waiting", None, 2, "lightgbm"),
            ("trial-3", "walk_forward", "launched", "run-3", 3, "lightgbm"),
        ]
        acts = connection.execute(sa.text("SELECT status, reported, error IS NULL FROM agent_actions ORDER BY id"))
        assert [tuple(row) for row in acts] == [("failed", False, False), ("done", True, True)]


def test_migrating_again_changes_nothing(empty: Database) -> None:
    empty.migrate()
    first = empty.revision()
    empty.migrate()
    assert empty.revision() == first is not None


def test_tables_older_than_the_baseline_are_refused_in_one_sentence(empty: Database) -> None:
    empty.migrate()
    with empty.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0004'"))
    with pytest.raises(DatabaseUnavailableError, match="of revision 0004, which this version of mlTrainer does not know"):
        empty.migrate()


def test_several_may_migrate_at_once(empty: Database) -> None:
    databases = [Database(empty.url) for _ in range(4)]
    errors: list[BaseException] = []

    def migrate(database: Database) -> None:
        try:
            database.migrate()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=migrate, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sa.inspect(empty.engine).has_table("recommendations")
    for database in databases:
        database.dispose()


def test_the_tables_hold_the_columns_the_design_names(empty: Database) -> None:
    empty.migrate()
    inspector = sa.inspect(empty.engine)
    wanted = {
        "recommendations": "id timestamp symbol signal_strength profit_probability confidence entry_price "
        "target_price stop_loss timeframe model_used",
        "virtual_positions": "id recommendation_id entry_time entry_price shares current_price exit_time exit_price "
        "profit_loss status",
        "user_portfolio": "id recommendation_id selected_time actual_buy_price actual_shares notes",
    }
    for table, names in wanted.items():
        columns = {column["name"]: column["type"] for column in inspector.get_columns(table)}
        assert set(names.split()) <= set(columns)
        assert all(isinstance(columns[name], sa.Numeric) for name in columns if name.endswith("_price") or name == "profit_loss")
        assert all(columns[name].timezone for name in columns if name.endswith("_time") or name == "timestamp")


def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        database = Database(f"postgresql://me:hush%40hush@127.0.0.1:{port}/trainer")
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailableError, match=rf"127.0.0.1:{port}/trainer.*MLTRAINER_DATABASE_URL") as caught:
            database.check()
        assert time.monotonic() - began < 5
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(database)
    with pytest.raises(DatabaseUnavailableError):
        database.migrate()


def test_a_database_that_does_not_exist_is_named(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(DatabaseUnavailableError, match='database "nowhere" does not exist'):
        Database(postgres.url("nowhere")).check()


def cut_connections(postgres: EmbeddedPostgres, database: Database) -> None:
    with psycopg2.connect(postgres.url("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (sa.make_url(database.url).database,)
        )
    connection.close()


def test_a_restarted_server_is_not_noticed(postgres: EmbeddedPostgres, empty: Database) -> None:
    empty.check()
    cut_connections(postgres, empty)
    empty.check()


def test_readers_do_not_notice_a_restart_either_and_err_once_at_most_in_its_second(
    postgres: EmbeddedPostgres, empty: Database
) -> None:
    def read() -> int:
        with empty.reader.connect() as connection:
            return connection.execute(sa.text("SELECT 1")).scalar_one()

    assert read() == 1
    cut_connections(postgres, empty)
    with pytest.raises(sa.exc.OperationalError):
        read()
    assert read() == 1
    cut_connections(postgres, empty)
    time.sleep(1.1)
    assert read() == 1


@pytest.mark.parametrize("url", ["sqlite:///x.db", "mysql://u@h/d", "not a url", ""])
def test_only_postgresql_is_accepted(url: str) -> None:
    with pytest.raises(ValueError, match=r"PostgreSQL|postgresql://"):
        Database(url)


def test_the_server_itself_refuses_what_no_recommendation_can_be(database: Database) -> None:
    statement = """INSERT INTO recommendations (timestamp, symbol, signal_strength, profit_probability, confidence, entry_price,
        target_price, stop_loss, timeframe, model_used, session, volatility, grade, market, thresholds)
        VALUES (now(), 'A', 0.9, 1.7, 0.9, 10, 11, 9, 'short', 'm', '2015-10-30', 0.02, 'candidate', 'simulated', '{}')"""
    with pytest.raises(sa.exc.IntegrityError, match="profit_probability"), database.engine.begin() as connection:
        connection.execute(sa.text(statement))
