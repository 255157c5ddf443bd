"""The record of the agent: every request to Claude with its answer and its cost, and everything else it did."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.agent.prices import Usage, dollars
from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.store.tables import AgentCall, AgentEvent

NEW_YORK = ZoneInfo("America/New_York")
Purpose = Literal["propose", "repair", "chat", "summary"]
_LOCK = 0x6D6C_7364  # "mlsd": requests are charged one after the other


@dataclass(frozen=True)
class Spending:
    """What a day has cost: answers, tokens and dollars."""

    day: date
    calls: int
    input_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    output_tokens: int
    dollars: Decimal


class DailyBudgetError(RuntimeError):
    """A request could cost more than what is left of the day's dollars: names both and the remedy."""


def open_call(
    engine: Engine,
    called_at: datetime,
    purpose: Purpose,
    model: str,
    prompt_version: str,
    request: Mapping[str, object],
    reserved: Decimal,
    daily_dollars: float,
    session_id: str | None = None,
) -> int:
    """Record a request before it is made, charged with the dollars `reserved` for it until `close_call`; returns its id.

    Raises `DailyBudgetError`, and records nothing, if all requests of the New York day could cost more than `daily_dollars`.
    """
    values = {
        "called_at": called_at,
        "purpose": purpose,
        "session_id": session_id,
        "model": model,
        "prompt_version": prompt_version,
        "request": plain(request),
        "error": "no answer was recorded",
        **_token_columns(Usage()),
        "dollars": reserved,
        "seconds": 0.0,
    }
    today = sa.select(sa.func.coalesce(sa.func.sum(AgentCall.dollars), 0)).where(*_on_day(called_at))
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        already = Decimal(connection.execute(today).scalar_one())
        if already + reserved > Decimal(str(daily_dollars)):
            raise DailyBudgetError(
                f"${already:.2f} of today's ${daily_dollars:.2f} for Claude is spent, and this could cost ${reserved:.2f}; "
                "wait for tomorrow (New York time) or raise daily_dollars"
            )
        return connection.execute(sa.insert(AgentCall).values(values).returning(AgentCall.id)).scalar_one()


def close_call(
    engine: Engine,
    call_id: int,
    seconds: float,
    usage: Usage | None,
    response: Mapping[str, object] | None = None,
    stop_reason: str | None = None,
    error: str | None = None,
) -> None:
    """Record the outcome of a request; without `usage`, because the answer was lost, what was reserved stays charged."""
    values: dict[str, Any] = {"seconds": seconds, "stop_reason": stop_reason}
    values["error"] = None if error is None else plain(error, 2000)
    values["response"] = sa.null() if response is None else plain(response)
    with engine.begin() as connection:
        if usage is not None:
            model = connection.execute(sa.select(AgentCall.model).where(AgentCall.id == call_id)).scalar_one()
            values |= {**_token_columns(usage), "dollars": dollars(model, usage)}
        connection.execute(sa.update(AgentCall).where(AgentCall.id == call_id).values(values))


def record_event(
    target: Engine | Connection,
    kind: str,
    by: str,
    detail: Mapping[str, object],
    session_id: str | None = None,
    call_id: int | None = None,
    happened_at: datetime | None = None,
) -> None:
    """Keep what happened: `tool_call`, `validation`, `fallback`, `approval`, `rejection`, `outcome`, `halt`, …."""
    values = {
        "happened_at": happened_at or datetime.now(UTC),
        "kind": kind,
        "by": by,
        "session_id": session_id,
        "call_id": call_id,
        "detail": plain(detail),
    }
    with nullcontext(target) if isinstance(target, Connection) else target.begin() as connection:
        connection.execute(sa.insert(AgentEvent).values(values))


def events(engine: Engine, kind: str | None = None, session_id: str | None = None, limit: int = 200) -> list[dict[str, Any]]:
    """What happened, newest first."""
    statement = sa.select(AgentEvent.__table__).order_by(AgentEvent.id.desc()).limit(limit)
    if kind is not None:
        statement = statement.where(AgentEvent.kind == kind)
    if session_id is not None:
        statement = statement.where(AgentEvent.session_id == session_id)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def day_of(moment: datetime) -> tuple[datetime, datetime]:
    """The New York day that holds a moment, from its midnight to the next one."""
    today = moment.astimezone(NEW_YORK).date()
    first, last = (datetime.combine(day, time(), NEW_YORK) for day in (today, today + timedelta(days=1)))
    return first, last


def spent(engine: Engine, moment: datetime) -> Spending:
    """What the New York day of that moment has cost so far."""
    with engine.connect() as connection:
        return _spending(day_of(moment)[0].date(), connection.execute(sa.select(*_TOTALS).where(*_on_day(moment))).one())


def spent_since(engine: Engine, session_id: str, since: datetime) -> Spending:
    """What a conversation has cost since a moment."""
    mine = sa.select(*_TOTALS).where(AgentCall.session_id == session_id, AgentCall.called_at >= since)
    with engine.connect() as connection:
        return _spending(day_of(since)[0].date(), connection.execute(mine).one())


def spending_by_day(engine: Engine, days: int = 30) -> list[Spending]:
    """The last days on which Claude was asked something, newest first."""
    day = sa.func.date(sa.func.timezone("America/New_York", AgentCall.called_at)).label("day")
    with engine.connect() as connection:
        rows = connection.execute(sa.select(day, *_TOTALS).group_by(day).order_by(day.desc()).limit(days))
        return [_spending(row[0], row[1:]) for row in rows]


def _token_columns(usage: Usage) -> dict[str, int]:
    return {f"{name}_tokens": tokens for name, tokens in vars(usage).items()}


_SUMMED = (*_token_columns(Usage()), "dollars")
_TOTALS: tuple[sa.ColumnElement[Any], ...] = (
    sa.func.count(),
    *(sa.func.coalesce(sa.func.sum(getattr(AgentCall, name)), 0) for name in _SUMMED),
)


def _spending(day: date, row: Sequence[Any]) -> Spending:
    calls, fresh, written, read, output, cost = row
    return Spending(day, calls, int(fresh), int(written), int(read), int(output), Decimal(cost))


def _on_day(moment: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    first, end = day_of(moment)
    return AgentCall.called_at >= first, AgentCall.called_at < end
