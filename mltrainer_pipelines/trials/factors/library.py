"""The library of factors: what was proposed, screened, accepted, rejected and retired, by whom and why."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.features.expressions.parser import parse
from mltrainer_pipelines.features.expressions.tree import ExpressionError
from mltrainer_pipelines.store.tables import Factor
from mltrainer_pipelines.trials.factors.screening import Screen, Verdict

LONGEST_HYPOTHESIS = 1000
NOT_PUT_FORWARD = "its search found fitter ones on the shown quarters"


class UnknownFactorError(LookupError):
    """A factor was named that the library does not have."""


@dataclass(frozen=True)
class Idea:
    """An expression to screen, why it should work, and the factors it was made of."""

    expression: str
    hypothesis: str = ""
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """An idea that was not taken, and why."""

    expression: str
    reason: str


@dataclass(frozen=True)
class StoredFactor:
    """A factor as the library has it."""

    factor_id: str
    timeframe: str
    expression: str
    proposed_by: str
    hypothesis: str
    parents: tuple[str, ...]
    status: str
    reason: str
    figures: Mapping[str, object] | None
    proposed_at: datetime
    screened_at: datetime | None
    retired_at: datetime | None
    run_id: str | None

    @property
    def column(self) -> str:
        """Its name as a feature."""
        return f"factor_{self.factor_id[:8]}"

    @property
    def direction(self) -> float:
        """1 where high values went with high returns on the shown quarters, else -1."""
        shown = (self.figures or {}).get("shown")
        return -1.0 if isinstance(shown, Mapping) and float(shown["residual_ic"]) < 0 else 1.0


_COLUMNS = [getattr(Factor, name) for name in StoredFactor.__dataclass_fields__]


def factor_id_of(timeframe: str, expression: str) -> str:
    """The id of an expression in its one spelling: the same wherever it comes from."""
    return hashlib.sha256(f"{timeframe} {expression}".encode()).hexdigest()[:16]


def propose(
    engine: Engine, timeframe: str, ideas: Sequence[Idea], by: str, moment: datetime
) -> tuple[list[StoredFactor], list[Refused]]:
    """Take ideas into the library as `proposed`. Refused is what is no expression, and what was proposed or screened before;
    what a search only tried is taken up again.
    """
    refused, ids = [], []
    for idea in ideas:
        try:
            expression = parse(idea.expression).text
        except ExpressionError as error:
            refused.append(Refused(idea.expression, str(error)))
            continue
        values = {
            "factor_id": factor_id_of(timeframe, expression), "timeframe": timeframe, "expression": expression, "proposed_by": by,
            "hypothesis": idea.hypothesis[:LONGEST_HYPOTHESIS], "parents": list(idea.parents), "status": "proposed",
            "proposed_at": moment,
        }  # fmt: skip
        with engine.begin() as connection:
            update = {name: values[name] for name in ("proposed_by", "hypothesis", "parents", "status", "proposed_at")}
            statement = insert(Factor).values(values).on_conflict_do_update(
                index_elements=["factor_id"], set_=update, where=Factor.status == "tried"
            )  # fmt: skip
            taken = connection.execute(statement.returning(Factor.factor_id)).scalar()
        if taken is None:
            before = get_factor(engine, str(values["factor_id"]))
            why = f": {before.reason}" if before.reason else ""
            refused.append(Refused(expression, f"it is in the library already, {before.status}{why}"))
        else:
            ids.append(taken)
    return [get_factor(engine, one) for one in dict.fromkeys(ids)], refused


def record_tries(
    engine: Engine, timeframe: str, tries: Mapping[str, Screen | None], by: str, moment: datetime, run_id: str | None
) -> None:
    """Keep what a search computed on the shown quarters: each counts as screened, and is never tried again."""
    rows = [
        {
            "factor_id": factor_id_of(timeframe, expression), "timeframe": timeframe, "expression": expression, "proposed_by": by,
            "status": "tried", "reason": NOT_PUT_FORWARD, "figures": {"shown": asdict(screen)} if screen else None,
            "proposed_at": moment, "screened_at": moment, "run_id": run_id,
        }
        for expression, screen in tries.items()
    ]  # fmt: skip
    with engine.begin() as connection:
        for start in range(0, len(rows), 1000):
            connection.execute(insert(Factor).on_conflict_do_nothing(), rows[start : start + 1000])


def save_verdict(
    engine: Engine, factor_id: str, verdict: Verdict, moment: datetime, run_id: str | None, fingerprint: str
) -> None:
    """Note what screening decided of a proposed factor."""
    values = {
        "status": "accepted" if verdict.accepted else "rejected", "reason": verdict.reason, "figures": asdict(verdict),
        "screened_at": moment, "run_id": run_id, "data_fingerprint": fingerprint,
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(sa.update(Factor).where(Factor.factor_id == factor_id).values(values))


def retire(engine: Engine, factor_id: str, reason: str, moment: datetime) -> None:
    """Take an accepted factor out of the sets that are made from now on."""
    with engine.begin() as connection:
        connection.execute(
            sa.update(Factor)
            .where(Factor.factor_id == factor_id, Factor.status == "accepted")
            .values(status="retired", reason=reason, retired_at=moment)
        )


def get_factor(engine: Engine, factor_id: str) -> StoredFactor:
    """A factor by its id; raises UnknownFactorError."""
    found = factors(engine, factor_id=factor_id)
    if not found:
        raise UnknownFactorError(f"there is no factor {factor_id!r}; the page Factors lists them")
    return found[0]


def factors(
    engine: Engine,
    timeframe: str | None = None,
    statuses: Sequence[str] = (),
    limit: int | None = None,
    offset: int = 0,
    factor_id: str | None = None,
) -> list[StoredFactor]:
    """Factors of the library, the newest first."""
    statement = sa.select(*_COLUMNS).order_by(Factor.proposed_at.desc(), Factor.factor_id).limit(limit).offset(offset)
    for column, value in ((Factor.timeframe, timeframe), (Factor.factor_id, factor_id)):
        statement = statement.where(column == value) if value else statement
    if statuses:
        statement = statement.where(Factor.status.in_(statuses))
    with engine.connect() as connection:
        rows = [row._asdict() for row in connection.execute(statement)]
    return [StoredFactor(**{**row, "parents": tuple(row["parents"])}) for row in rows]


def count_of(engine: Engine, timeframe: str | None, statuses: Sequence[str]) -> int:
    """How many factors there are of a timeframe, or any, and of some statuses."""
    wanted = [Factor.status.in_(statuses), *([Factor.timeframe == timeframe] if timeframe else [])]
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(Factor).where(*wanted)) or 0


def counts(engine: Engine) -> dict[str, int]:
    """How many factors there are of each status."""
    with engine.connect() as connection:
        return dict(connection.execute(sa.select(Factor.status, sa.func.count()).group_by(Factor.status)).tuples().all())


def screened(engine: Engine) -> int:
    """How many factors were ever screened, for whatever timeframe, those that a search only tried among them."""
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).where(Factor.screened_at.is_not(None))) or 0


def judged(engine: Engine) -> list[float]:
    """The p-values of all that were judged on hidden quarters."""
    p = sa.cast(Factor.figures["p"].astext, sa.Float)
    with engine.connect() as connection:
        return list(
            connection.scalars(sa.select(p).where(Factor.figures["hidden"].astext.is_not(None), Factor.status != "tried"))
        )


def expressions_known(engine: Engine, timeframe: str) -> set[str]:
    """Every expression of a timeframe, whatever became of it."""
    with engine.connect() as connection:
        return set(connection.scalars(sa.select(Factor.expression).where(Factor.timeframe == timeframe)))
