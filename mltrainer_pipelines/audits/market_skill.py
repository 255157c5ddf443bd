"""The skill of the default models on this installation's market, kept so that pages can show it."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Engine

from mltrainer_pipelines.audits.skill import SkillAudit
from mltrainer_pipelines.store.tables import MarketSkill


@dataclass(frozen=True)
class StoredSkill:
    """One measurement: what `mltrainer audit skill --json` prints, and `curves`, the monthly sums of rank ICs by model."""

    measured_at: datetime
    last_session: date
    findings: dict[str, Any]
    curves: dict[str, dict[str, list[tuple[str, float]]]]


def record_skill(engine: Engine, audit: SkillAudit) -> None:
    """Keep a measurement under the newest session of its market; measured again it takes that one's place."""
    curves = {name: {model: _monthly(ics) for model, ics in models.items()} for name, models in audit.curves.items()}
    values = {"last_session": date.fromisoformat(audit.findings["last"]), "findings": audit.findings, "curves": curves}
    statement = insert(MarketSkill).values(values)
    with engine.begin() as connection:
        replaced = {**values, "measured_at": sa.func.now()}
        connection.execute(statement.on_conflict_do_update(index_elements=["last_session"], set_=replaced))


def newest_skill(engine: Engine) -> StoredSkill | None:
    """The newest measurement; None before the first."""
    columns = (MarketSkill.measured_at, MarketSkill.last_session, MarketSkill.findings, MarketSkill.curves)
    with engine.connect() as connection:
        row = connection.execute(sa.select(*columns).order_by(MarketSkill.last_session.desc()).limit(1)).first()
    return None if row is None else StoredSkill(*row)


def skill_is_due(engine: Engine, newest: date) -> bool:
    """Whether skill was never measured, or no later than in the quarter before that of the newest session."""
    stored = newest_skill(engine)
    return stored is None or (stored.last_session.year, (stored.last_session.month - 1) // 3) < (
        newest.year,
        (newest.month - 1) // 3,
    )


def _monthly(ics: pl.DataFrame) -> list[tuple[str, float]]:
    """The sum of rank ICs until the end of each month."""
    sums = ics.sort("date").with_columns(pl.col("ic").cum_sum(), month=pl.col("date").dt.truncate("1mo"))
    ends = sums.group_by("month", maintain_order=True).last()
    return [(str(day), round(total, 4)) for day, total in ends.select("date", "ic").iter_rows()]
