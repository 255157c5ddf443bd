"""Corrections: what a person knows better than the vendor. Each holds from when it was made until it is revoked."""

from dataclasses import dataclass
from datetime import date, datetime
from math import isfinite
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.store.tables import Correction as _Row

Kind = Literal["split", "dividend", "no_action", "closure", "bar", "rename"]
MEANINGS: dict[str, str] = {
    "split": "the symbol split on that day; value: new shares for one old",
    "dividend": "the symbol paid a cash dividend, ex that day; value: dollars a share",
    "no_action": "the symbol neither split nor paid on that day",
    "closure": "the market was closed on that day",
    "bar": "the symbol's bar of that day is right",
    "rename": "from that day on the symbol is the company of an older one; value: the older symbol, its own after a gap",
}


class InvalidCorrectionError(ValueError):
    """A correction that says nothing: names what is missing."""


class UnknownCorrectionError(LookupError):
    """A correction was named that there is not."""


@dataclass(frozen=True)
class Correction:
    """One correction; what `value` is depends on the kind, see `MEANINGS`."""

    kind: str
    day: date
    symbol: str | None = None
    value: Any = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InvalidCorrectionError(f"{self.kind!r} is no kind of correction; give one of {', '.join(get_args(Kind))}")
        if (self.symbol is None) != (self.kind == "closure"):
            raise InvalidCorrectionError(
                "a closure is of the whole market: leave the symbol out" if self.symbol else f"a {self.kind} needs a symbol"
            )
        number = isinstance(self.value, (int, float)) and not isinstance(self.value, bool) and isfinite(self.value)
        if self.kind in ("split", "dividend") and not (number and self.value > 0):
            raise InvalidCorrectionError(f"a {self.kind} needs a value above zero: {MEANINGS[self.kind].split('value: ')[1]}")
        if self.kind == "rename" and not (isinstance(self.value, str) and self.value):
            raise InvalidCorrectionError(f"a rename needs a value: {MEANINGS['rename'].split('value: ')[1]}")


def add(engine: Engine, correction: Correction, made_by: str, moment: datetime) -> int:
    """Record a correction; returns its id."""
    values = vars(correction) | {"made_by": made_by, "made_at": moment}
    with engine.begin() as connection:
        return int(connection.execute(sa.insert(_Row).values(**values).returning(_Row.id)).scalar_one())


def revoke(engine: Engine, number: int, moment: datetime) -> None:
    """Take a correction back; it held until now. Raises `UnknownCorrectionError`."""
    change = sa.update(_Row).where(_Row.id == number).values(revoked_at=sa.func.coalesce(_Row.revoked_at, moment))
    with engine.begin() as connection:
        if connection.execute(change.returning(_Row.id)).first() is None:
            raise UnknownCorrectionError(f"there is no correction {number}")


def in_force(engine: Engine, moment: datetime) -> list[Correction]:
    """The corrections that held at a moment, the oldest first: a past lived through again knows what was known then."""
    rows = [
        row for row in corrections(engine) if row["made_at"] <= moment and not (row["revoked_at"] and row["revoked_at"] <= moment)
    ]
    names = ("kind", "day", "symbol", "value", "reason")
    return [Correction(**{name: row[name] for name in names}) for row in reversed(rows)]


def corrections(engine: Engine, limit: int | None = None) -> list[dict[str, Any]]:
    """All corrections as mappings of the table's columns, the newest first."""
    with engine.connect() as connection:
        statement = sa.select(_Row.__table__).order_by(_Row.id.desc()).limit(limit)
        return [dict(row) for row in connection.execute(statement).mappings()]
