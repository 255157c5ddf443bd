"""The quarantine: what came from outside and cannot be right, each row once, with its source, reason and first sight."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.store.alerts import raise_alert
from mltrainer_pipelines.store.tables import QuarantinedRow

_SHOWN = 3


@dataclass(frozen=True)
class Doubt:
    """A row that is not used: the symbol or series it is about, its day, the row as it came, and what is wrong with it."""

    subject: str
    day: date | None
    reason: str
    row: Mapping[str, Any]

    def key(self, source: str) -> str:
        row = json.dumps(self.row, sort_keys=True, default=str)
        return f"{source}:{self.subject}:{self.day}:{sha256(row.encode()).hexdigest()[:16]}"


def doubts_of(rejected: Iterable[Mapping[str, Any]], subject: str = "symbol", day: str = "date") -> list[Doubt]:
    """Rows of a frame with a `reason`, as doubts."""
    doubts = []
    for row in rejected:
        terms = {name: _plain(value) for name, value in row.items() if name != "reason"}
        doubts.append(Doubt(str(row[subject]), row[day], row["reason"], terms))
    return doubts


def quarantine(
    engine: Engine,
    source: str,
    doubts: Collection[Doubt],
    moment: datetime,
    days: Collection[date] | None = None,
    run_id: str | None = None,
) -> int:
    """Record what a source gave that is not used; one alert tells of all that is new. Returns how many are new.

    What was in quarantine and is not among `doubts` is resolved: the vendor mended it, or a correction overruled it.
    `days` are those that were looked at; all, where it is None.
    """
    table = QuarantinedRow
    keys = {doubt.key(source): doubt for doubt in doubts}
    rows = [
        {"key": key, "source": source, "subject": doubt.subject, "day": doubt.day, "row": doubt.row, "reason": doubt.reason}
        for key, doubt in keys.items()
    ]
    gone = sa.update(table).where(table.source == source, table.resolved_at.is_(None), table.key.not_in(list(keys)))
    if days is not None:
        gone = gone.where(table.day.in_(list(days)))
    with engine.begin() as connection:
        known = set(connection.scalars(sa.select(table.key).where(table.key.in_(list(keys)))))
        connection.execute(gone.values(resolved_at=moment))
        if rows:
            new = insert(table).values([row | {"first_seen": moment} for row in rows])
            again = {"resolved_at": None, "reason": new.excluded.reason}
            connection.execute(new.on_conflict_do_update(index_elements=["key"], set_=again))
    fresh = [doubt for key, doubt in keys.items() if key not in known]
    if fresh:
        digest = sha256(" ".join(sorted(doubt.key(source) for doubt in fresh)).encode()).hexdigest()[:16]
        listing = "; ".join(f"{doubt.subject} {doubt.day or ''}: {doubt.reason}" for doubt in fresh[:_SHOWN])
        more = f"; and {len(fresh) - _SHOWN} more" if len(fresh) > _SHOWN else ""
        rows_of = f"{len(fresh)} row{'s' * (len(fresh) > 1)} of {source}"
        message = f"{rows_of} set aside: {listing}{more}; see the quarantine on the System page"
        raise_alert(engine, f"quarantine:{source}:{digest}", "quarantine", "warning", message, {"rows": len(fresh)}, run_id)
    return len(fresh)


def quarantined(engine: Engine, open_only: bool = True, limit: int = 100) -> list[dict[str, object]]:
    """Rows of the quarantine as mappings of the table's columns, the newest first."""
    table = QuarantinedRow.__table__
    statement = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if open_only:
        statement = statement.where(table.c.resolved_at.is_(None))
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def _plain(value: object) -> object:
    """A value as JSON holds it: dates as text, what is no number as its name."""
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
