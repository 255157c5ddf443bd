"""The record of the agent: every request to Claude with its answer and its cost, and everything else it did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.store.tables import AgentCall, AgentEvent

NEW_YORK = ZoneInfo("America/New_York")
Purpose = Literal["propose", "repair", "chat", "summary"]
_LOCK = 0x6D6C_7364  # "mlsd": requests are charged one after the other


@dataclass(frozen=True)
class Price:
    """Dollars a million tokens: input, five-minute cache write, cache read, output."""

    input: float
    cache_write: float
    cache_read: float
    output: float


PRICES = {
    "claude-sonnet-5": Price(2.0, 2.5, 0.2, 10.0),
    "claude-sonnet-4": Price(3.0, 3.75, 0.3, 15.0),
    "claude-haiku-5": Price(0.1, 0.125, 0.01, 0.5),
    "claude-haiku-4": Price(1.0, 1.25, 0.1, 5.0),
    "claude-opus-5-5": Price(4.0, 5.0, 0.2, 20.0),
    "claude-opus": Price(5.0, 6.25, 0.5, 25.0),
}
"""List prices by the beginning of a model's name, in November 2026."""
DEAREST = Price(10.0, 12.5, 1.0, 50.0)
"""What a model without a known price is charged with, so that a budget is never passed by not knowing."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer; `input` are those that were neither written to nor read from the cache."""

    input: int = 0
    cache_write: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def all_input(self) -> int:
        return self.input + self.cache_write + self.cache_read


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


def price_of(model: str) -> Price:
    """The list price of a model, the dearest one where it is not known."""
    matching = [name for name in PRICES if model.startswith(name)]
    return PRICES[max(matching, key=len)] if matching else DEAREST


def dollars(model: str, usage: Usage) -> Decimal:
    """What an answer costs at list price."""
    price = price_of(model)
    parts = (
        (usage.input, price.input),
        (usage.cache_write, price.cache_write),
        (usage.cache_read, price.cache_read),
        (usage.output, price.output),
    )
    return sum((Decimal(tokens) * Decimal(str(rate)) for tokens, rate in parts), Decimal(0)) / 1_000_000


class DailyBudgetError(RuntimeError):
    """Asking Claude could cost more than what is left of the day's dollars: names both and the remedy."""


def open_call(
    engine: Engine,
    called_at: datetime,
    purpose: Purpose,
    model: str,
    prompt_version: str,
    request: Mapping[str, Any],
    reserved: Decimal,
    daily_dollars: float,
    session_id: str | None = None,
) -> int:
    """Note a request before it is made, charged with the most it can cost; returns its id.

    Parameters
    ----------
    reserved : Decimal
        Dollars. They stay charged until `close_call` says what it did cost, for ever if that never comes.
    daily_dollars : float
        Most that all requests of the New York day may cost.

    Raises
    ------
    DailyBudgetError
        If the day would pass its limit; nothing is noted then.
    """
    values = {
        "called_at": called_at,
        "purpose": purpose,
        "session_id": session_id,
        "model": model,
        "prompt_version": prompt_version,
        "request": plain(request),
        "error": "no answer was recorded",
        "input_tokens": 0,
        "cache_write_tokens": 0,
        "cache_read_tokens": 0,
        "output_tokens": 0,
        "dollars": reserved,
        "seconds": 0.0,
    }
    first, last = day_of(called_at)
    today = sa.select(sa.func.coalesce(sa.func.sum(AgentCall.dollars), 0)).where(
        AgentCall.called_at >= first, AgentCall.called_at < last
    )
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        already = Decimal(connection.execute(today).scalar_one())
        if already + reserved > Decimal(str(daily_dollars)):
            raise DailyBudgetError(
                f"Claude has cost ${already:.2f} of the day's ${daily_dollars:.2f}, and this could cost up to ${reserved:.2f}; "
                "wait for tomorrow (New York time) or raise daily_dollars"
            )
        return connection.execute(sa.insert(AgentCall).values(values).returning(AgentCall.id)).scalar_one()


def close_call(
    engine: Engine,
    call_id: int,
    seconds: float,
    usage: Usage | None,
    response: Mapping[str, Any] | None = None,
    stop_reason: str | None = None,
    error: str | None = None,
) -> None:
    """Note what came of a request.

    Parameters
    ----------
    usage : Usage or None
        None where it is not known, because the answer was lost: what was reserved stays charged.
    """
    values: dict[str, Any] = {"seconds": seconds, "stop_reason": stop_reason}
    values["error"] = None if error is None else plain(error, 2000)
    values["response"] = sa.null() if response is None else plain(response)
    with engine.begin() as connection:
        if usage is not None:
            model = connection.execute(sa.select(AgentCall.model).where(AgentCall.id == call_id)).scalar_one()
            values |= {
                "input_tokens": usage.input,
                "cache_write_tokens": usage.cache_write,
                "cache_read_tokens": usage.cache_read,
                "output_tokens": usage.output,
                "dollars": dollars(model, usage),
            }
        connection.execute(sa.update(AgentCall).where(AgentCall.id == call_id).values(values))


def calls(engine: Engine, limit: int = 50) -> list[dict[str, Any]]:
    """Requests to Claude, newest first, without what was said."""
    columns = [column for column in AgentCall.__table__.columns if column.name not in ("request", "response")]
    with engine.connect() as connection:
        return [
            dict(row) for row in connection.execute(sa.select(*columns).order_by(AgentCall.id.desc()).limit(limit)).mappings()
        ]


def record_event(
    target: Engine | Connection,
    kind: str,
    by: str,
    detail: Mapping[str, Any],
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
    statement = sa.insert(AgentEvent).values(values)
    if isinstance(target, Connection):
        target.execute(statement)
        return
    with target.begin() as connection:
        connection.execute(statement)


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
    local = moment.astimezone(NEW_YORK)
    start = datetime.combine(local.date(), time(), NEW_YORK)
    return start, datetime.combine(local.date() + timedelta(days=1), time(), NEW_YORK)


def spent(engine: Engine, moment: datetime) -> Spending:
    """What the New York day of that moment has cost so far."""
    first, last = day_of(moment)
    totals = sa.select(
        sa.func.count(),
        *(
            sa.func.coalesce(sa.func.sum(column), 0)
            for column in (
                AgentCall.input_tokens,
                AgentCall.cache_write_tokens,
                AgentCall.cache_read_tokens,
                AgentCall.output_tokens,
                AgentCall.dollars,
            )
        ),
    ).where(AgentCall.called_at >= first, AgentCall.called_at < last)
    with engine.connect() as connection:
        return _spending(first.date(), connection.execute(totals).one())


def spending_by_day(engine: Engine, days: int = 30) -> list[Spending]:
    """The last days on which Claude was asked something, newest first."""
    day = sa.func.date(sa.func.timezone("America/New_York", AgentCall.called_at)).label("day")
    totals = (
        sa.select(
            day,
            sa.func.count(),
            sa.func.sum(AgentCall.input_tokens),
            sa.func.sum(AgentCall.cache_write_tokens),
            sa.func.sum(AgentCall.cache_read_tokens),
            sa.func.sum(AgentCall.output_tokens),
            sa.func.sum(AgentCall.dollars),
        )
        .group_by(day)
        .order_by(day.desc())
        .limit(days)
    )
    with engine.connect() as connection:
        return [_spending(row[0], row[1:]) for row in connection.execute(totals)]


def _spending(day: date, row: Sequence[Any]) -> Spending:
    calls, fresh, written, read, output, cost = row
    return Spending(day, calls, int(fresh), int(written), int(read), int(output), Decimal(cost))
