"""What a person who is not looking should hear of, read from the tables: each thing once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.engine import Connection

from mltrainer_pipelines.settings import NEW_YORK
from mltrainer_pipelines.signals.recommendations import STAND_IN
from mltrainer_pipelines.store.tables import (
    Alert,
    Notification,
    Promotion,
    Recommendation,
    TrialProposal,
    UserPosition,
    VirtualPosition,
)

RECENT = timedelta(hours=24)
"""What is older is no news any more."""
_DECIDED_BY = timedelta(minutes=1)
"""A proposal that the day's budget approves is approved by then."""
_ALERTS = {
    "run_failure": ("failures", "{job} failed"),
    "snapshot": ("failures", "Prices are not to be trusted"),
    "champion": ("failures", "A champion cannot be used"),
    "stale_data": ("failures", "Data are behind"),
    "drift": ("drift", "A model drifts"),
}
"""Alerts that are told: the kind of the message, and its title."""
_MOST_LINES = 20


@dataclass(frozen=True)
class News:
    """A message: its kind (of `runtime_settings.NOTIFICATIONS`), and the keys of the things that it is about."""

    kind: str
    title: str
    lines: tuple[str, ...]
    about: tuple[str, ...]


def news(connection: Connection, moment: datetime) -> list[News]:
    """What happened of late and no message was about.

    Parameters
    ----------
    moment : datetime
        The installation's clock, aware: recommendations are as old as it says. Everything else is recorded by the wall's.
    """
    since = datetime.now(UTC) - RECENT
    readers = (_recommendations(connection, moment - RECENT), _levels(connection, since), _alerts(connection, since))
    return [*(one for reader in readers for one in reader), *_champions(connection, since), *_proposals(connection, since)]


def _recommendations(connection: Connection, since: datetime) -> Iterator[News]:
    r = Recommendation.__table__.c
    lived = r.model_version.is_not_distinct_from(STAND_IN)  # before anybody could have followed it
    recent = (
        sa.select(Recommendation.__table__)
        .where(r.timestamp >= since, ~lived)
        .order_by(r.timestamp, r.expected_net_return.desc())
    )
    refreshes: dict[datetime, list[Any]] = {}
    for row in _untold(connection, "recommendation", connection.execute(recent).all()):
        refreshes.setdefault(row.timestamp, []).append(row)
    for timestamp, rows in refreshes.items():
        lines = [
            f"{row.symbol} ({row.timeframe}, {row.grade}): about ${row.entry_price:.2f}, target ${row.target_price:.2f}, "
            f"stop ${row.stop_loss:.2f}, profit probability {row.profit_probability:.0%}, confidence {row.confidence:.0%}"
            for row in rows
        ]
        count = f"{len(rows)} new recommendation{'s' * (len(rows) > 1)}"
        title = f"{count}, {timestamp.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York"
        yield News("recommendations", title, _shortened(lines), _keys("recommendation", rows))


def _levels(connection: Connection, since: datetime) -> Iterator[News]:
    """A target or stop that what the user holds has reached: by a delayed price of today, or by a final bar."""
    p, u = VirtualPosition, UserPosition
    reached = sa.case(
        (p.exit_reason.in_(["target", "stop"]), p.exit_reason),
        (sa.and_(p.status == "open", p.current_price >= p.target_price), "target"),
        (sa.and_(p.status == "open", p.current_price <= p.stop_loss), "stop"),
    )
    held = sa.select(u.id, p.symbol, p.timeframe, p.target_price, p.stop_loss, p.current_price, reached.label("reached"))
    held = held.join(p, p.recommendation_id == u.recommendation_id).order_by(u.id)
    held = held.where(u.closed_time.is_(None), reached.is_not(None), p.updated_at >= since)
    rows = connection.execute(held).all()
    for level in ("target", "stop"):
        for row in _untold(connection, level, [row for row in rows if row.reached == level]):
            price = row.target_price if level == "target" else row.stop_loss
            line = f"You hold {row.symbol} ({row.timeframe}): its {level} is ${price:.2f}, its price ${row.current_price:.2f}."
            yield News("levels", f"{row.symbol} reached its {level}", (line,), _keys(level, [row]))


def _alerts(connection: Connection, since: datetime) -> Iterator[News]:
    statement = sa.select(Alert.__table__).where(Alert.created_at >= since, Alert.kind.in_(_ALERTS)).order_by(Alert.id)
    rows = _untold(connection, "alert", connection.execute(statement).all())
    stale = [row for row in rows if row.kind == "stale_data"]
    for alerts in ([row] for row in rows if row.kind != "stale_data"):
        yield _alert(alerts)
    if stale:
        yield _alert(stale)


def _alert(rows: Sequence[Any]) -> News:
    kind, title = _ALERTS[rows[0].kind]
    links = [row.details["url"] for row in rows if "url" in row.details]
    lines = _shortened([row.message for row in rows])
    return News(kind, title.format(job=rows[0].details.get("job", "A run")), (*lines, *links), _keys("alert", rows))


def _champions(connection: Connection, since: datetime) -> Iterator[News]:
    p = Promotion
    statement = sa.select(p.__table__).where(p.decided_at >= since, p.decision.in_(["promoted", "rolled_back"])).order_by(p.id)
    for row in _untold(connection, "promotion", connection.execute(statement).all()):
        back = " again: an earlier version" if row.decision == "rolled_back" else ""
        title = f"New {row.timeframe} champion: {row.trial_id}"
        first = f"{row.trial_id} ({row.grade}) scores the market for {row.timeframe} periods{back}."
        yield News("champion", title, (first, *row.reasons), _keys("promotion", [row]))


def _proposals(connection: Connection, since: datetime) -> Iterator[News]:
    p = TrialProposal
    until = datetime.now(UTC) - _DECIDED_BY
    statement = sa.select(p.__table__).where(p.status == "proposed", p.created_at.between(since, until)).order_by(p.id)
    rows = _untold(connection, "proposal", connection.execute(statement).all())
    if rows:
        count = f"{len(rows)} proposal waits" if len(rows) == 1 else f"{len(rows)} proposals wait"
        lines = [f"{row.id}. {row.trial_id} ({row.proposer}): {row.hypothesis}" for row in rows]
        yield News("proposals", f"{count} for your yes", _shortened(lines), _keys("proposal", rows))


def _untold(connection: Connection, kind: str, rows: Sequence[object]) -> list[Any]:
    """Of these rows those that no message was about."""
    if not rows:
        return []
    keys = _keys(kind, rows)
    about = sa.select(Notification.about).where(Notification.about.has_any(array(keys)))
    told = {key for keys in connection.scalars(about) for key in keys}
    return [row for row, key in zip(rows, keys, strict=True) if key not in told]


def _keys(kind: str, rows: Iterable[Any]) -> tuple[str, ...]:
    return tuple(f"{kind}:{row.id}" for row in rows)


def _shortened(lines: list[str]) -> tuple[str, ...]:
    return (*lines[:_MOST_LINES], *([f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []))
