"""Settings that are changed while the system runs, every change kept: thresholds, the agent's autonomy and its budgets.

The newest row of a name holds. A change is a new row with who made it and why, so that it can be
looked up and taken back; nothing is ever overwritten.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mltrainer_pipelines.store.tables import RuntimeSetting

PROPOSERS = ("claude", "tpe", "random")
"""Who may propose trials: values of the setting `proposer`."""
NOTIFICATIONS: Mapping[str, str] = MappingProxyType(
    {
        "recommendations": "new recommendations, one message a refresh",
        "levels": "a target or stop reached by what you hold",
        "failures": "what failed or is behind: refreshes, ingestions, data",
        "drift": "models that drift",
        "champion": "a champion that changed",
        "proposals": "proposals that wait for your yes",
    }
)
"""Kinds of notifications, and what each tells; the setting `notify_<kind>` switches it."""
Value = float | int | str | bool
_LOCK = 0x6D6C_7273  # "mlrs": changes are made one after the other


class UnknownSettingError(LookupError):
    """A setting was named that there is not: names those there are."""

    def __init__(self, name: str):
        super().__init__(f"there is no run-time setting {name!r}; there are {', '.join(SETTINGS)}")


class InvalidSettingError(ValueError):
    """A value that a setting cannot have: names the setting, the value and what would do."""


@dataclass(frozen=True)
class Setting:
    """What a setting may be.

    `default` holds until somebody changes it (an environment variable may take its place); `meaning` is a line for people,
    with the unit; a number lies between `low` and `high`, both included.
    """

    name: str
    kind: Literal["number", "integer", "choice", "switch"]
    default: Value
    meaning: str
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()

    def checked(self, value: object) -> Value:
        """The value in the setting's own type; `InvalidSettingError` if it cannot have that value."""
        if self.kind == "switch" and isinstance(value, bool):
            return value
        if self.kind == "choice" and isinstance(value, str) and value in self.choices:
            return value
        if self.kind in ("number", "integer") and isinstance(value, int | float) and not isinstance(value, bool):
            whole = self.kind == "number" or value == int(value) if math.isfinite(value) else False
            if whole and self.low <= value <= self.high:
                return float(value) if self.kind == "number" else int(value)
        raise InvalidSettingError(f"{self.name} cannot be {value!r}; give {self.describe()}")

    def describe(self) -> str:
        """What it may be, in words."""
        if self.kind == "switch":
            return "true or false"
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        return f"{'an integer' if self.kind == 'integer' else 'a number'} from {self.low:g} to {self.high:g}"


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        setting.name: setting
        for setting in (
            Setting("min_profit_probability", "number", 0.60, "Lowest calibrated probability of profit of a strong buy, 0 to 1."),
            Setting("min_confidence", "number", 0.70, "Lowest confidence of a strong buy, 0 to 1."),
            Setting("min_regime_score", "number", 25.0, "Lowest regime score at which anything is recommended.", high=100.0),
            Setting(
                "autonomy",
                "choice",
                "manual",
                "The agent's proposals need a yes (manual), run within the daily budget (budgeted), or are not made (off).",
                choices=("manual", "budgeted", "off"),
            ),
            Setting("daily_trials", "integer", 4, "Most trials a day that run without a yes under `budgeted`.", high=1000),
            Setting(
                "daily_compute_minutes",
                "number",
                60.0,
                "Most minutes of computing a day by trials that run without a yes under `budgeted`.",
                high=24 * 60 * 16,
            ),
            Setting(
                "daily_dollars", "number", 2.0, "Most dollars a day that Claude may cost, proposals and chat together.", high=1000
            ),
            Setting("agent_enabled", "switch", True, "The agent's main switch: off, nothing of it starts or goes on."),
            Setting(
                "proposer",
                "choice",
                "claude",
                "Who proposes trials; without an API key `tpe` takes the place of `claude`.",
                choices=PROPOSERS,
            ),
            *(Setting(f"notify_{kind}", "switch", True, f"Notify of {what}.") for kind, what in NOTIFICATIONS.items()),
        )
    }
)
"""Every run-time setting by its name."""


@dataclass(frozen=True)
class Change:
    """A change of a setting; `value` is None where it went back to its default."""

    id: int
    name: str
    value: Value | None
    changed_by: str
    reason: str
    changed_at: datetime


def get(engine: Engine, name: str, default: Value | None = None) -> Value:
    """The value that holds now: the newest one put, else `default`, else the setting's own default."""
    return get_all(engine, {} if default is None else {_known(name).name: default}, only=_known(name).name)[name]


def get_all(engine: Engine, defaults: Mapping[str, Value] | None = None, only: str | None = None) -> dict[str, Value]:
    """All values that hold now, by name; `defaults` take the place of the settings' own ones."""
    newest = sa.select(RuntimeSetting.name, RuntimeSetting.value).distinct(RuntimeSetting.name)
    newest = newest.order_by(RuntimeSetting.name, RuntimeSetting.id.desc())
    if only is not None:
        newest = newest.where(RuntimeSetting.name == only)
    with engine.connect() as connection:
        put_values = {name: value for name, value in connection.execute(newest).tuples() if value is not None}
    given = dict(defaults or {})
    for name in given:
        _known(name)
    names = [only] if only is not None else list(SETTINGS)
    return {name: put_values.get(name, given.get(name, SETTINGS[name].default)) for name in names}


def put(engine: Engine, name: str, value: object, changed_by: str, reason: str) -> Change:
    """Change a setting; None goes back to its default. `changed_by` is who: `user`, `api`, ….

    Raises `UnknownSettingError` or `InvalidSettingError`.
    """
    setting = _known(name)
    checked = None if value is None else setting.checked(value)
    with engine.begin() as connection:
        return _append(connection, name, checked, changed_by, reason)


def revert(engine: Engine, name: str, changed_by: str, reason: str = "taken back") -> Change:
    """Take the newest change back: the value before it holds again, as a change of its own.

    Raises `UnknownSettingError`, or `InvalidSettingError` if it was never changed.
    """
    _known(name)
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        chosen = sa.select(RuntimeSetting.value).where(RuntimeSetting.name == name).order_by(RuntimeSetting.id.desc()).limit(2)
        values = list(connection.scalars(chosen))
        if not values:
            raise InvalidSettingError(f"{name} was never changed, so there is nothing to take back")
        return _append(connection, name, values[1] if len(values) > 1 else None, changed_by, reason)


def history(engine: Engine, name: str | None = None, limit: int = 100) -> list[Change]:
    """Changes, the newest first; of one setting where it is named."""
    statement = sa.select(RuntimeSetting.__table__).order_by(RuntimeSetting.id.desc()).limit(limit)
    if name is not None:
        statement = statement.where(RuntimeSetting.name == _known(name).name)
    with engine.connect() as connection:
        return [Change(*row) for row in connection.execute(statement).tuples()]


def _known(name: str) -> Setting:
    if name not in SETTINGS:
        raise UnknownSettingError(name)
    return SETTINGS[name]


def _append(connection: Connection, name: str, value: Value | None, changed_by: str, reason: str) -> Change:
    # After the lock, so that ids follow the order in which changes take effect.
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    row = sa.insert(RuntimeSetting).values(name=name, value=value, changed_by=changed_by, reason=reason)
    return Change(*connection.execute(row.returning(RuntimeSetting.__table__)).one())
