"""What `mltrainer corrections` does: show, add and revoke what overrules a vendor."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from sqlalchemy.engine import Engine

from mltrainer_pipelines.ops.databases import provided_databases
from mltrainer_pipelines.settings import Settings, now
from mltrainer_pipelines.store import corrections as store
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.quarantine import quarantined


def overview(settings: Settings) -> dict[str, object]:
    """`corrections` that were made and `quarantine`: what is set aside now; both the newest first."""
    with _engine(settings) as engine:
        return {"corrections": store.corrections(engine), "quarantine": quarantined(engine, limit=500)}


def text(overview: dict[str, Any]) -> str:
    """The same for a reader."""
    made = [f"{one['id']}: {sentence(one)}{' (revoked)' if one['revoked_at'] else ''}" for one in overview["corrections"]]
    aside = [f"{row['source']}: {row['subject']} {row['day'] or ''}: {row['reason']}" for row in overview["quarantine"]]
    return "\n".join(["Corrections:", *(made or ["none"]), "", "Set aside:", *(aside or ["nothing"])])


def sentence(correction: dict[str, object]) -> str:
    """One correction in a line."""
    terms = (correction["kind"], correction["symbol"], correction["day"], correction["value"])
    reason = f": {correction['reason']}" if correction["reason"] else ""
    return " ".join(str(term) for term in terms if term is not None) + reason


def add(settings: Settings, kind: str, day: date, symbol: str | None, value: str | None, reason: str) -> dict[str, Any]:
    """Record a correction; returns its row. Raises `InvalidCorrectionError`."""
    meant = value.upper() if value and kind == "rename" else None if value is None else _number(value)
    correction = store.Correction(kind, day, symbol and symbol.upper(), meant, reason)
    with _engine(settings) as engine:
        store.add(engine, correction, "cli", now())
        return store.corrections(engine, limit=1)[0]


def revoke(settings: Settings, number: int) -> None:
    """Take one back. Raises `UnknownCorrectionError`."""
    with _engine(settings) as engine:
        store.revoke(engine, number, now())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise store.InvalidCorrectionError(f"{text!r} is no number: give new shares for one old, or dollars a share") from None


@contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    with provided_databases(settings) as urls:
        database = Database(urls["mltrainer"])
        yield database.engine
        database.dispose()
