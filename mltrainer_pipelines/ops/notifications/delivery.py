"""Messages from the tables to the addresses: each to each once, tried again for a day where one does not take it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.ops.notifications.addresses import Address, addresses, send
from mltrainer_pipelines.ops.notifications.news import news
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.locks import advisory_lock
from mltrainer_pipelines.store.tables import Notification

PROMISE = "For paper trading only: this system cannot place orders."
_FIRST_WAIT, _LONGEST_WAIT, _GIVEN_UP_AFTER = timedelta(minutes=1), timedelta(hours=1), timedelta(hours=24)
_A_TICK = 10
"""Messages sent at once: a sensor's tick has a minute."""


@dataclass(frozen=True)
class Delivered:
    """What a round did: messages written, sent to every address, and not taken by one (they are tried again)."""

    new: int
    sent: int
    failed: int


def notify(settings: Settings, engine: Engine, moment: datetime) -> Delivered:
    """Write messages of what is new, and send those that wait; two at once do it once.

    Parameters
    ----------
    moment : datetime
        The installation's clock, aware.

    Raises
    ------
    AddressError
        If an address cannot be used; nothing is sent.
    """
    targets = addresses(settings)
    with advisory_lock(engine, "notifications"):
        written = _write(settings, engine, moment, bool(targets))
        down: dict[str, str] = {}
        taken = [_deliver(engine, message, targets, down) for message in (_waiting(engine) if targets else [])]
    return Delivered(written, taken.count(True), taken.count(False))


def try_out(settings: Settings) -> list[dict[str, object]]:
    """Send a test message to every address; for each its service, and why it did not take it (None where it did)."""
    title = f"{_heading(settings)}: a test"
    body = f"mlTrainer can reach you here.\n\n{PROMISE}"
    return [{"service": one.service, "source": one.source, "error": send(one, title, body)} for one in addresses(settings)]


def last_deliveries(engine: Engine, targets: Sequence[Address]) -> dict[str, dict[str, object]]:
    """By address (its fingerprint): what came of the newest message to it, `at` and `error`."""
    newest = sa.select(Notification.deliveries).where(Notification.deliveries != sa.text("'{}'::jsonb"))
    newest = newest.order_by(Notification.id.desc()).limit(100)
    with engine.connect() as connection:
        rows = list(connection.scalars(newest))
    return {
        one.fingerprint: max((row[one.fingerprint] for row in rows if one.fingerprint in row), key=lambda row: str(row["at"]))
        for one in targets
        if any(one.fingerprint in row for row in rows)
    }


def _write(settings: Settings, engine: Engine, moment: datetime, addressed: bool) -> int:
    """Messages of what is new; without an address they are kept as not to be sent, so that a later one begins with news."""
    values = runtime_settings.get_all(engine)
    page = f"http://127.0.0.1:{settings.app_port}"
    with engine.begin() as connection:
        rows = [
            {
                "kind": one.kind,
                "title": f"{_heading(settings)}: {one.title}",
                "body": "\n".join((*one.lines, "", page, PROMISE)),
                "about": list(one.about),
                "status": "waiting" if addressed and values[f"notify_{one.kind}"] else "off",
            }
            for one in news(connection, moment)
        ]
        if rows:
            connection.execute(sa.insert(Notification), rows)
    return len(rows)


def _heading(settings: Settings) -> str:
    """Simulated is labelled."""
    return "mlTrainer" if settings.market_kind == "real" else f"mlTrainer ({settings.market_kind} market)"


def _waiting(engine: Engine) -> list[object]:
    due = sa.select(Notification.__table__).where(Notification.status == "waiting", Notification.next_attempt <= sa.func.now())
    with engine.connect() as connection:
        return list(connection.execute(due.order_by(Notification.id).limit(_A_TICK)))


def _deliver(engine: Engine, message: Any, targets: Sequence[Address], down: dict[str, str]) -> bool:
    """Send a message to those that have not taken it; what came of it is noted after each.

    `down` has the addresses that did not take a message in this round, and why: they are not tried again in it.
    """
    deliveries, moment = dict(message.deliveries), datetime.now(UTC)
    own = sa.update(Notification).where(Notification.id == message.id)
    for one in targets:
        before = deliveries.get(one.fingerprint)
        if before is None or before["error"]:
            error = down.get(one.fingerprint) or send(one, message.title, message.body)
            if error:
                down[one.fingerprint] = error
            deliveries[one.fingerprint] = {"at": datetime.now(UTC).isoformat(), "error": error}
            with engine.begin() as connection:
                connection.execute(own.values(deliveries=deliveries))
    failed = any(deliveries[one.fingerprint]["error"] for one in targets)
    over = moment - message.created_at > _GIVEN_UP_AFTER
    wait = min(_FIRST_WAIT * 2 ** min(message.attempts, 10), _LONGEST_WAIT)
    status = "sent" if not failed else "given_up" if over else "waiting"
    with engine.begin() as connection:
        connection.execute(own.values(status=status, attempts=message.attempts + 1, next_attempt=moment + wait))
    return not failed
