"""The kinds of action: their parameters, and the sentence that describes each to the user."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mltrainer_pipelines.agent import proposals as proposal_book
from mltrainer_pipelines.agent.names import UnknownModelNameError, model_named
from mltrainer_pipelines.agent.sanitize import plain
from mltrainer_pipelines.agent.system import System
from mltrainer_pipelines.contracts.timeframes import TimeframeName
from mltrainer_pipelines.features.registry import feature_sets
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.runtime_settings import InvalidSettingError, UnknownSettingError
from mltrainer_pipelines.store.tables import LeaderboardRow
from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig, models_for
from mltrainer_pipelines.trials.registry.records import config_of

Kind = Literal[
    "momentum_screening", "submit_trial", "ensemble", "change_setting", "decide_proposal", "refresh_signals", "propose_trials"
]


class ActionError(ValueError):
    """An action that cannot be: says what is wrong with it and what would do."""


class ActionParams(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Share = Annotated[float, Field(ge=0, le=1)]


class UsesModels(ActionParams):
    """What several models are tried for."""

    models: Annotated[list[str], Field(min_length=1, max_length=4)]
    trials: list[str] = Field(default_factory=list, max_length=4)
    """Trials that take the place of a new one: each model's best scored one. Whatever is given is replaced."""


class MomentumScreening(UsesModels):
    """Try models walk-forward, score the market, and list what clears the bars."""

    timeframe: TimeframeName = "short"
    min_probability: Share | None = None
    min_confidence: Share | None = None
    min_expected_return: Annotated[float, Field(ge=-1, le=1)] | None = None


class SubmitTrial(ActionParams):
    """Run one model walk-forward over all quarters and judge it."""

    model: str
    timeframe: TimeframeName = "short"
    params: dict[str, float | int | str | bool] = Field(default_factory=dict)
    train_sessions: int | None = None
    feature_set: str | None = None
    rationale: Annotated[str, Field(max_length=600)] = ""


class Ensemble(UsesModels):
    """Try models, then refit the champion with the best trials voting beside it."""

    models: Annotated[list[str], Field(min_length=2, max_length=4)]
    timeframe: TimeframeName = "short"


class ChangeSetting(ActionParams):
    """Change a run-time setting."""

    name: str
    value: float | int | bool | str
    reason: Annotated[str, Field(max_length=300)] = ""
    before: float | int | bool | str | None = None
    """What it was when the change was shown: whatever else is given is replaced."""


class DecideProposal(ActionParams):
    """Approve or reject a proposed trial."""

    proposal_id: int
    decision: Literal["approve", "reject"]
    trial_id: str = ""
    """The trial that was shown: whatever else is given is replaced."""


class RefreshSignals(ActionParams):
    """Score the market on delayed prices now."""


class ProposeTrials(ActionParams):
    """Ask the proposer for new trials."""


PARAMS: Mapping[Kind, type[ActionParams]] = {
    "momentum_screening": MomentumScreening,
    "submit_trial": SubmitTrial,
    "ensemble": Ensemble,
    "change_setting": ChangeSetting,
    "decide_proposal": DecideProposal,
    "refresh_signals": RefreshSignals,
    "propose_trials": ProposeTrials,
}


def problems(error: ValidationError) -> str:
    """What is wrong with some input, field by field: the first five problems."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])


def checked_params(system: System, kind: Kind, params: Mapping[str, object]) -> ActionParams:
    if kind not in PARAMS:
        raise ActionError(f"there is no action {kind!r}; there are {', '.join(PARAMS)}")
    try:
        checked = PARAMS[kind].model_validate(plain(params))
    except ValidationError as error:
        raise ActionError(f"{kind}: {problems(error)}") from None
    if isinstance(checked, MomentumScreening | Ensemble):
        names = list(dict.fromkeys(_model(name) for name in checked.models))
        trials = [trial for name in names if (trial := _scored_trial(system, checked.timeframe, name)) is not None]
        checked = checked.model_copy(update={"models": names, "trials": trials})
        if isinstance(checked, Ensemble) and len(names) < 2:
            raise ActionError("an ensemble takes two models at least")
        trial_configs(system, checked)
    elif isinstance(checked, SubmitTrial):
        checked = checked.model_copy(update={"model": _model(checked.model)})
        checked = checked.model_copy(
            update={"feature_set": checked.feature_set or _feature_set(system, checked.timeframe, checked.model)}
        )
        trial_configs(system, checked)
    elif isinstance(checked, ChangeSetting):
        if checked.name not in runtime_settings.SETTINGS:
            raise ActionError(str(UnknownSettingError(checked.name)))
        try:
            value = runtime_settings.SETTINGS[checked.name].checked(checked.value)
        except InvalidSettingError as error:
            raise ActionError(str(error)) from None
        before = runtime_settings.get_all(system.engine, system.defaults)[checked.name]
        checked = checked.model_copy(update={"value": value, "before": before})
    elif isinstance(checked, DecideProposal):
        stored = {one.id: one for one in proposal_book.proposals(system.engine)}.get(checked.proposal_id)
        if stored is None or stored.status != "proposed":
            raise ActionError(f"proposal {checked.proposal_id} is {stored.status if stored else 'unknown'}, not waiting")
        checked = checked.model_copy(update={"trial_id": stored.proposal.config.trial_id})
    return checked


def _model(name: str) -> str:
    try:
        return model_named(name)
    except UnknownModelNameError as error:
        raise ActionError(str(error)) from None


def _feature_set(system: System, timeframe: TimeframeName, model: str) -> str | None:
    """The feature set for a model that does not find its columns in the usual one; None where it does."""
    usual = system.templates[timeframe].feature_set
    if model in models_for(usual):
        return None
    return next((name for name in feature_sets() if model in models_for(name)), None)


def _scored_trial(system: System, timeframe: TimeframeName, model: str) -> str | None:
    """The best scored trial of a model that can be used today: its features have the version that is computed now."""
    of = sa.select(LeaderboardRow.trial_id).where(LeaderboardRow.timeframe == timeframe, LeaderboardRow.model == model)
    with system.engine.connect() as connection:
        ranked = connection.scalars(of.order_by(LeaderboardRow.rank).limit(5)).all()
    for trial in ranked:
        config = config_of(system.engine, trial)
        with suppress(InvalidTrialError):
            config.require_today()
            if config.universe_size == system.templates[timeframe].universe_size:
                return str(trial)
    return None


def trial_configs(system: System, checked: MomentumScreening | Ensemble | SubmitTrial) -> list[TrialConfig]:
    """The trials that an action asks for."""
    template = system.templates[checked.timeframe]
    if isinstance(checked, SubmitTrial):
        wanted: list[dict[str, Any]] = [{"model": checked.model, "params": checked.params}]
        if checked.feature_set is not None and checked.feature_set != template.feature_set:
            wanted[0] |= {"feature_set": checked.feature_set, "feature_set_version": ""}
        if checked.train_sessions is not None:
            wanted[0]["train_sessions"] = checked.train_sessions
    else:
        wanted = []
        before = {config.model: config for config in (config_of(system.engine, trial) for trial in checked.trials)}
        for model in checked.models:
            if model in before:
                wanted.append(before[model].model_dump())
                continue
            features = _feature_set(system, checked.timeframe, model)
            other = {"feature_set": features, "feature_set_version": ""} if features else {}
            wanted.append({"model": model, "params": {}, **other})
    reason = checked.rationale if isinstance(checked, SubmitTrial) else "asked for in the chat"
    try:
        return [
            TrialConfig.parse(template.model_dump() | {"proposed_by": "agent", "rationale": reason} | values) for values in wanted
        ]
    except InvalidTrialError as error:
        raise ActionError(str(error)) from None


def summary(checked: ActionParams) -> str:
    """What will be done, in words of ours: nothing in it is free text of anybody."""
    if isinstance(checked, MomentumScreening):
        bars = [
            f"{name} of at least {value:.0%}"
            for name, value in (("profit probability", checked.min_probability), ("confidence", checked.min_confidence))
            if value is not None
        ]
        if checked.min_expected_return is not None:
            bars.append(f"expected return above {checked.min_expected_return:+.1%}")
        asked = f", of symbols with {' and '.join(bars)}" if bars else ""
        tried = f"{_trying(checked)}, then list what the champion picks now{asked}"
        return f"Momentum screening ({checked.timeframe}): {tried}"
    if isinstance(checked, Ensemble):
        return f"Ensemble ({checked.timeframe}): {_trying(checked)}, then refit the champion with the best trials voting"
    if isinstance(checked, SubmitTrial):
        given = ", ".join(f"{name}={value}" for name, value in checked.params.items()) or "its defaults"
        window = f" on {checked.train_sessions} sessions" if checked.train_sessions else ""
        window += f" on {checked.feature_set} features" if checked.feature_set else ""
        return f"Trial ({checked.timeframe}): {checked.model} with {plain(given, 200)}{window}, walk-forward over all quarters"
    if isinstance(checked, ChangeSetting):
        return f"Set {checked.name} from {checked.before} to {checked.value}"
    if isinstance(checked, DecideProposal):
        return f"{checked.decision.capitalize()} proposal {checked.proposal_id}: the trial {checked.trial_id}"
    return "Score the market on delayed prices now" if isinstance(checked, RefreshSignals) else "Ask the proposer for new trials"


def _trying(checked: UsesModels) -> str:
    slugs = [trial.rsplit("-", 2)[0] for trial in checked.trials]
    new = [model for model in checked.models if model.replace("_", "-") not in slugs]
    parts = [f"try {_names(new)} walk-forward"] if new else []
    return " and ".join(parts + ([f"take {_names(checked.trials)} as scored"] if checked.trials else []))


def _names(models: list[str]) -> str:
    return " and ".join([", ".join(models[:-1]), models[-1]] if len(models) > 1 else models)
