"""What has changed, as numbered marks: a reader with its marks can ask for the changes since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.store.tables import AgentAction, Alert, Recommendation, RuntimeSetting, TrialProposal, VirtualPosition

_MAX_ROWS = 100


@dataclass(frozen=True)
class Marks:
    """How far everything is; written as `recommendation-alert-action-proposal-setting-marked`."""

    recommendation: int = 0
    alert: int = 0
    action: int = 0
    proposal: int = 0
    setting: int = 0
    marked: int = 0

    def __str__(self) -> str:
        return "-".join(str(getattr(self, field.name)) for field in fields(self))

    @classmethod
    def parse(cls, text: str) -> "Marks | None":
        """The marks in a `Last-Event-ID`; None where it is not one of ours."""
        parts = text.split("-")
        if len(parts) != len(fields(cls)) or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
            return None
        return cls(*map(int, parts))


@dataclass(frozen=True)
class Change:
    """Something that happened: `name` is one of `recommendations`, `positions`, `action`, `proposal`, `settings`, `alert`."""

    name: str
    data: Mapping[str, Any]


def current_marks(engine: Engine) -> Marks:
    """How far everything is now."""
    # An action moves through its states after it is made: the newest moment counts, not the newest number.
    moved = sa.func.greatest(
        sa.func.max(AgentAction.created_at), sa.func.max(AgentAction.decided_at), sa.func.max(AgentAction.finished_at)
    )
    decided = sa.func.greatest(sa.func.max(TrialProposal.created_at), sa.func.max(TrialProposal.decided_at))
    statement = sa.select(
        sa.select(sa.func.coalesce(sa.func.max(Recommendation.id), 0)).scalar_subquery(),
        sa.select(sa.func.coalesce(sa.func.max(Alert.id), 0)).scalar_subquery(),
        sa.select(_microseconds(moved)).select_from(AgentAction).scalar_subquery(),
        sa.select(_microseconds(decided)).select_from(TrialProposal).scalar_subquery(),
        sa.select(sa.func.coalesce(sa.func.max(RuntimeSetting.id), 0)).scalar_subquery(),
        sa.select(_microseconds(sa.func.max(VirtualPosition.updated_at))).scalar_subquery(),
    )
    with engine.connect() as connection:
        return Marks(*(int(value) for value in connection.execute(statement).one()))


def changes_since(engine: Engine, before: Marks, now: Marks) -> list[Change]:
    """What happened between two marks, recommendations first."""
    r, a, p = Recommendation, AgentAction, TrialProposal
    changes = []
    with engine.connect() as connection:
        if now.recommendation > before.recommendation:
            new = _rows(connection, (r.id, r.symbol, r.timeframe, r.grade, r.session), r.id > before.recommendation)
            changes.append(Change("recommendations", {"new": new, "newest_id": now.recommendation}))
        if now.marked > before.marked:
            changes.append(Change("positions", {"updated_at_us": now.marked}))
        if now.action > before.action:
            columns = (a.id, a.session_id, a.kind, a.summary, a.status, a.created_at, a.decided_at, a.finished_at, a.error)
            since = _moment(before.action)
            moved = sa.or_(a.created_at > since, a.decided_at > since, a.finished_at > since)
            changes += [Change("action", row) for row in _rows(connection, columns, moved)]
        if now.proposal > before.proposal:
            since = _moment(before.proposal)
            moved = sa.or_(p.created_at > since, p.decided_at > since)
            changes += [Change("proposal", row) for row in _rows(connection, (p.id, p.trial_id, p.proposer, p.status), moved)]
        if now.setting > before.setting:
            changes.append(Change("settings", {"version": now.setting}))
        if now.alert > before.alert:
            raised = (Alert.id, Alert.kind, Alert.severity, Alert.message, Alert.created_at)
            changes += [Change("alert", row) for row in _rows(connection, raised, Alert.id > before.alert)]
    return changes


def _rows(connection: sa.Connection, columns: Sequence[Any], condition: sa.ColumnElement[bool]) -> list[dict[str, object]]:
    statement = sa.select(*columns).where(condition).order_by(columns[0]).limit(_MAX_ROWS)
    return [dict(row) for row in connection.execute(statement).mappings()]


def _microseconds(moment: Any) -> Any:
    return sa.func.coalesce(sa.cast(sa.extract("epoch", moment) * 1_000_000, sa.BigInteger), 0)


def _moment(microseconds: int) -> object:
    return sa.func.to_timestamp(sa.cast(microseconds, sa.Numeric) / 1_000_000)
