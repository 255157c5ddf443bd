"""The thresholds as they stand now, or stood under an earlier version of the run-time settings."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mltrainer_pipelines.signals.rules import Thresholds
from mltrainer_pipelines.store.tables import RuntimeSetting

NAMES = ("min_profit_probability", "min_confidence", "min_regime_score")
"""Run-time settings that are thresholds; each change of one makes a new version."""


def thresholds_at(
    engine: Engine, defaults: Mapping[str, float], version: int | None = None, moment: datetime | None = None
) -> Thresholds:
    """What a strong buy has to clear: now, by a version of the settings, or at a moment by the clock that recorded the changes.

    `defaults` hold where nobody changed a setting, by `NAMES`. The thresholds' `version` is the number of the newest
    change that is in them; 0 before the first.
    """
    row = RuntimeSetting
    chosen = sa.select(row.name, row.value, row.id).where(row.name.in_(NAMES)).order_by(row.id)
    if version is not None:
        chosen = chosen.where(row.id <= version)
    if moment is not None:
        chosen = chosen.where(row.changed_at <= moment)
    with engine.connect() as connection:
        changes = connection.execute(chosen).all()
    values = {name: float(defaults[name]) for name in NAMES}
    for name, value, _ in changes:
        values[name] = float(defaults[name] if value is None else value)
    return Thresholds(
        min_probability=values["min_profit_probability"],
        min_confidence=values["min_confidence"],
        min_regime=values["min_regime_score"],
        version=changes[-1].id if changes else 0,
    )
