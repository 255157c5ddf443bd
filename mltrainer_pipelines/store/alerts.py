"""Alerts: what a person should know, each raised once, until somebody acknowledges it."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.redaction import redact
from mltrainer_pipelines.store.tables import Alert

Severity = Literal["info", "warning", "error"]


class UnknownAlertError(LookupError):
    """An alert was named that there is not."""


def raise_alert(
    engine: Engine,
    key: str,
    kind: str,
    severity: Severity,
    message: str,
    details: Mapping[str, object] | None = None,
    run_id: str | None = None,
) -> bool:
    """Raise an alert, unless one with the same key was raised before; returns whether it is new.

    `key` is what it is about (a run, a timeframe and session), `kind` is for filtering (`run_failure`, `drift`, …), and
    `message` is one sentence: what happened, and what to do.
    """
    row = insert(Alert).values(
        key=key, kind=kind, severity=severity, message=redact(message), details=dict(details or {}), run_id=run_id
    )
    statement = row.on_conflict_do_nothing(index_elements=["key"]).returning(Alert.id)
    with engine.begin() as connection:
        return connection.execute(statement).first() is not None


def close_alerts(engine: Engine, kind: str, except_keys: Collection[str], moment: datetime) -> None:
    """Acknowledge, in the system's own name, the open alerts of a kind that are about nothing any more."""
    over = sa.update(Alert).where(Alert.kind == kind, Alert.acknowledged_at.is_(None), Alert.key.not_in(except_keys))
    with engine.begin() as connection:
        connection.execute(over.values(acknowledged_at=moment, acknowledged_by="mltrainer"))


def alerts(engine: Engine, open_only: bool = False, limit: int = 100) -> list[dict[str, Any]]:
    """Alerts as mappings of the table's columns, the newest first."""
    statement = sa.select(Alert.__table__).order_by(Alert.id.desc()).limit(limit)
    if open_only:
        statement = statement.where(Alert.acknowledged_at.is_(None))
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def acknowledge(engine: Engine, alert_id: int, who: str, moment: datetime) -> None:
    """Note that somebody has seen an alert; the first one to say so is kept. Raises `UnknownAlertError`."""
    values = {
        "acknowledged_at": sa.func.coalesce(Alert.acknowledged_at, moment),
        "acknowledged_by": sa.func.coalesce(Alert.acknowledged_by, who),
    }
    with engine.begin() as connection:
        done = connection.execute(sa.update(Alert).where(Alert.id == alert_id).values(values).returning(Alert.id))
        if done.first() is None:
            raise UnknownAlertError(f"there is no alert {alert_id}")
