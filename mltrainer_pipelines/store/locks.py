"""Locks across processes: who holds one works alone, and whoever dies lets it go."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Engine


@contextmanager
def advisory_lock(engine: Engine, name: str, patience_s: float = 60.0) -> Iterator[None]:
    """Hold a PostgreSQL advisory lock for a block of code; the same name in another process waits for it.

    Raises SQLAlchemy's `OperationalError` if it does not come free in `patience_s` seconds, or the server goes away.
    """
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    with engine.connect() as connection, connection.begin():
        # Of the transaction: a pooled connection gives it back however the block ends.
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{int(patience_s * 1000)}ms'"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
        yield
