"""The database: one engine, its migrations, and a clear word when it does not answer."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy as sa
from psycopg2 import sql
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x6D6C_7472  # "mltr": whoever holds it migrates
_CONNECT_SECONDS = 3
_READERS = 8
_TRUSTED_SECONDS = 1.0


class DatabaseUnavailableError(ConnectionError):
    """PostgreSQL does not answer, or refuses us: names the place, never the password, and the remedy."""


@dataclass(frozen=True, repr=False)
class Database:
    """mlTrainer's tables in a PostgreSQL database; a URL that is not PostgreSQL's raises `ValueError`.

    `url` is `postgresql://user:password@host:port/database` or, for the embedded server,
    `postgresql://postgres@/mltrainer?host=/folder/of/the/socket`.
    """

    url: str

    def __post_init__(self) -> None:
        try:
            parsed = make_url(self.url)
        except ArgumentError:
            raise ValueError("the database URL cannot be read; write postgresql://user:password@host:5432/database") from None
        if parsed.get_backend_name() not in ("postgresql", "postgres"):
            raise ValueError(
                f"the database URL is for {parsed.get_backend_name()}; mlTrainer keeps its tables in PostgreSQL only"
            )

    def __repr__(self) -> str:
        return f"Database({self.place!r})"

    @property
    def place(self) -> str:
        """Host and database, without user and password."""
        parsed = self._url
        host = parsed.host or parsed.query.get("host") or "the local socket"
        if isinstance(host, tuple):
            host = ", ".join(host)
        port = f":{parsed.port}" if parsed.port else ""
        return f"{host}{port}/{parsed.database or ''}"

    @property
    def _url(self) -> URL:
        return make_url(self.url).set(drivername="postgresql+psycopg2")

    @cached_property
    def engine(self) -> Engine:
        """A pool of connections; each is tried before it is lent, so that a restarted server is not noticed."""
        return sa.create_engine(
            self._url,
            pool_pre_ping=True,
            pool_size=4,
            max_overflow=8,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "mltrainer"},
        )

    @cached_property
    def reader(self) -> Engine:
        """Connections for those who only read, much and at once.

        A statement has no BEGIN before and no ROLLBACK after it, and a connection that was just used is lent untried.
        """
        engine = sa.create_engine(
            self._url,
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,
            pool_size=_READERS,
            max_overflow=0,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "mltrainer"},
        )
        _try_if_idle(engine)
        return engine

    def dispose(self) -> None:
        """Close the pooled connections."""
        for name in ("engine", "reader"):
            if name in self.__dict__:
                getattr(self, name).dispose()

    def check(self) -> None:
        """Raise `DatabaseUnavailableError` if the server does not answer in five seconds, or refuses us or the database."""
        try:
            with self.engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        except OperationalError as error:
            raise self._unavailable(error) from None

    def migrate(self) -> None:
        """Create the tables, or bring them to this version (Alembic's `upgrade head`).

        Safe from several processes at once: one migrates, the others wait and find it done. Raises
        `DatabaseUnavailableError` where it does not answer, or its tables are of a version that this one cannot update.
        """
        from alembic import command
        from alembic.util import CommandError

        try:
            with self.engine.connect() as connection:
                # Of the session, not of the transaction: a migration may commit in between.
                connection.execute(sa.text("SET lock_timeout = '120s'"))
                connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
                connection.commit()
                try:
                    command.upgrade(_alembic(connection), "head")
                    connection.commit()
                finally:
                    connection.rollback()
                    connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
                    connection.execute(sa.text("RESET lock_timeout"))
                    connection.commit()
        except OperationalError as error:
            raise self._unavailable(error) from None
        except CommandError as error:
            raise DatabaseUnavailableError(
                f"the tables in {self.place} are of revision {self.revision()}, which this version of mlTrainer does not know; "
                "open them with the version that made them, or begin with an empty database"
            ) from error

    def revision(self) -> str | None:
        """The migration the tables stand at; None before the first."""
        from alembic.migration import MigrationContext

        with self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def _unavailable(self, error: OperationalError) -> DatabaseUnavailableError:
        reason = " ".join(str(error.orig).split())
        password = make_url(self.url).password
        if password:
            reason = reason.replace(str(password), "***")
        return DatabaseUnavailableError(
            f"PostgreSQL at {self.place} cannot be used ({reason}); start it (`mltrainer up` starts the embedded one) "
            "or correct MLTRAINER_DATABASE_URL"
        )


def create_missing_databases(url: str, names: Iterable[str]) -> None:
    """Create those of the named databases that the server at `url` does not have yet."""
    connection = psycopg2.connect(url, connect_timeout=10)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            present = {name for (name,) in cursor.fetchall()}
            for name in names:
                if name not in present:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    finally:
        connection.close()


def _alembic(connection: Connection):  # type: ignore[no-untyped-def]
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _try_if_idle(engine: Engine) -> None:
    """What `pool_pre_ping` does, but only where a restart of the server may lie between two uses of a connection."""

    def used(_: object, record: ConnectionPoolEntry) -> None:
        record.info["used"] = time.monotonic()

    def lend(connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
        if time.monotonic() - record.info.get("used", 0.0) < _TRUSTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg2.Error:
            raise DisconnectionError from None  # the pool connects anew

    sa.event.listen(engine, "checkin", used)
    sa.event.listen(engine, "checkout", lend)
