"""Which file a registered champion is: its digest in PostgreSQL, where MLflow's server cannot change it."""

import hashlib

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.store.tables import ChampionFile


class ChangedFileError(RuntimeError):
    """A champion's file is not the one that was registered: names the version and the remedy."""


def record_file(engine: Engine, name: str, version: str, content: bytes) -> None:
    """Keep the digest of a version that is being registered. A version's digest is never replaced by another one."""
    row = {"name": name, "version": version, "sha256": _digest(content)}
    with engine.begin() as connection:
        connection.execute(insert(ChampionFile).values(row).on_conflict_do_nothing())
    require_file(engine, name, version, content)


def require_file(engine: Engine, name: str, version: str, content: bytes) -> None:
    """Pass where `content` is the file that was registered as this version; `ChangedFileError` where it is not."""
    table, digest = ChampionFile.__table__, _digest(content)
    one = sa.and_(table.c.name == name, table.c.version == version)
    with engine.begin() as connection:
        # of a version from before digests were kept, the first file that is loaded counts
        connection.execute(sa.update(ChampionFile).where(one, table.c.sha256.is_(None)).values(sha256=digest))
        recorded = connection.execute(sa.select(table.c.sha256).where(one)).scalar()
    if recorded != digest:
        what = "is not the file that was registered" if recorded else "was not registered by this installation"
        raise ChangedFileError(
            f"version {version} of {name} {what} (its digest in PostgreSQL is {str(recorded)[:12]}, the file's {digest[:12]}), "
            "and is not loaded; materialize champion_model to train it anew, or roll back to another version"
        )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
