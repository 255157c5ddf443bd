"""Settings that are changed while the system runs: thresholds, the agent's autonomy and its budgets; every change is recorded."""

from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, model_validator

from mltrainer_pipelines.agent.autonomy import stop_started
from mltrainer_pipelines.agent.jobs import JobError
from mltrainer_pipelines.api.context import Context, Installation
from mltrainer_pipelines.api.fields import Body, Name, Parameters, Text, with_example
from mltrainer_pipelines.api.json_route import JsonRoute
from mltrainer_pipelines.api.problems import Problem
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.runtime_settings import Change, InvalidSettingError, UnknownSettingError
from mltrainer_pipelines.store.tables import RuntimeSetting

router = APIRouter(prefix="/api/settings", tags=["settings"], route_class=JsonRoute)

Value = float | int | str | bool


class Setting(BaseModel):
    """A setting, its allowed values, and its value now."""

    name: str = Field(examples=["min_confidence"])
    value: Value = Field(examples=[0.7])
    default: Value
    kind: Literal["number", "integer", "choice", "switch"]
    meaning: str
    allowed: str = Field(examples=["a number from 0 to 1"])
    low: float
    high: float
    choices: list[str]
    changed: bool = Field(description="Whether it was changed from its default.")


class Settings(BaseModel):
    version: int = Field(description="Of all settings together: the number of the newest change, 0 before the first.")
    settings: list[Setting]
    history: list[Change] = Field(description="Changes, the newest first.")


class Changes(Body):
    """New values by name; null restores the default."""

    model_config = with_example({"values": {"min_confidence": 0.9}, "reason": "fewer, surer recommendations"})

    values: dict[Name, Value | None] = Field(min_length=1, max_length=50)
    reason: Text = "changed through the API"
    if_version: int | None = Field(default=None, ge=0, le=2**63 - 1, description="Refuse if a setting was changed since.")

    @model_validator(mode="after")
    def _names_are_known(self) -> "Changes":
        for name, value in self.values.items():
            try:
                setting = runtime_settings.SETTINGS[name]
            except KeyError:
                raise ValueError(str(UnknownSettingError(name)).strip("'\"")) from None
            if value is not None:
                setting.checked(value)
        return self


class HistoryParameters(Parameters):
    history: Annotated[int, Field(ge=0, le=500, description="Changes to return.")] = 20


@router.get("")
def get_settings(installation: Installation, chosen: Annotated[HistoryParameters, Query()]) -> Settings:
    """The settings, and their last changes."""
    return _settings(installation, chosen.history)


@router.put("")
def put_settings(installation: Installation, changes: Changes, request: Request) -> Settings:
    """Change settings; a refresh uses them from its next run on. Every change is recorded and can be undone.

    `agent_enabled` set to false stops everything the agent started: its runs are cancelled, what is pending is rejected.
    """
    before = _settings(installation, 0)
    if changes.if_version is not None and changes.if_version != before.version:
        raise Problem(
            409, f"the settings changed: they are at version {before.version}, not {changes.if_version}; read them again"
        )
    now = {setting.name: setting.value for setting in before.settings}
    for name, value in changes.values.items():
        if value is None or value != now[name]:
            runtime_settings.put(installation.engine, name, value, "user", changes.reason)
    return _applied(before, _settings(installation, 20), request, changes.reason)


@router.post("/{name}/revert")
def revert_setting(
    installation: Installation,
    request: Request,
    name: Annotated[str, Path(pattern=r"^[a-z_]{1,60}$", examples=["min_confidence"])],
) -> Settings:
    """Undo the newest change of a setting."""
    before = _settings(installation, 0)
    try:
        runtime_settings.revert(installation.engine, name, "user")
    except UnknownSettingError as error:
        raise Problem(404, str(error).strip("'\"")) from None
    except InvalidSettingError as error:
        raise Problem(409, str(error)) from None
    return _applied(before, _settings(installation, 20), request, f"{name} undone")


def _applied(before: Settings, after: Settings, request: Request, reason: str) -> Settings:
    """The settings after a change; an agent that it switched off has been stopped with everything it started."""
    enabled = [next(one.value for one in settings.settings if one.name == "agent_enabled") for settings in (before, after)]
    if enabled == [True, False]:
        system = request.app.state.agent.system
        try:
            stop_started(system.engine, system.launcher, "user", reason, system.clock())
        except JobError as error:
            raise Problem(503, f"the agent is off, but its runs could not be cancelled: {error}") from None
    return after


def _settings(installation: Context, changes: int) -> Settings:
    defaults = installation.settings.threshold_defaults
    values = runtime_settings.get_all(installation.reader, defaults)
    with installation.reader.connect() as connection:
        version = connection.scalar(sa.select(sa.func.max(RuntimeSetting.id))) or 0
    settings = []
    for name, setting in runtime_settings.SETTINGS.items():
        default, value = defaults.get(name, setting.default), values[name]
        own = vars(setting) | {"default": default, "choices": list(setting.choices)}
        settings.append(Setting(**own, value=value, allowed=setting.describe(), changed=value != default))
    past = runtime_settings.history(installation.reader, limit=changes) if changes else []
    return Settings(version=version, settings=settings, history=past)
