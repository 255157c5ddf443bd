"""What a trial is: everything that determines its result, its identity, and who asked for it and why."""

import hashlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from mltrainer_pipelines.contracts.timeframes import TIMEFRAMES, Timeframe, TimeframeName
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.registry import UnknownFeatureSetError, feature_sets, get_feature_set
from mltrainer_pipelines.features.versions import UNVERSIONED, version_of
from mltrainer_pipelines.models.rankers import NEUTRAL_TO
from mltrainer_pipelines.models.registry import UnknownModelError, get_model, list_models
from mltrainer_pipelines.models.spec import InvalidParamsError, ModelSpec
from mltrainer_pipelines.redaction import redact

MIN_TRAIN_SESSIONS = 126
"""Half a year: below it a model sees one market regime at most."""
WHOLE_HISTORY = 252 * 30
"""The most `train_sessions` that a trial may name: all decisions there are."""


class InvalidTrialError(ValueError):
    """A trial's configuration that cannot run: names each field, what was given and what would be valid."""


class TrialConfig(BaseModel):
    """A walk-forward trial of one model, of the registry, on a feature set; its `feature_set_version` is today's by default.

    Params are values inside the model's search space; those left out are filled in with its defaults. A window trains on the
    decisions of at most `train_sessions`, the last ones whose labels are resolved. `label` is target and stop, in multiples of
    σ·√max_sessions. With `normalise` `rank` each feature becomes its rank within its session, unknown ones the middle. The
    `target` is what the model learns: whether the net return is above the session's median, the same of what beta, volatility
    and sector leave of it (`validation.neutral_outcomes`), or whether it is above zero; what probability of a profit a score
    means is learnt afterwards, by the calibration, in any case. The `universe_size` most liquid symbols of
    each month are traded and learnt from. It is `proposed_by` `user`, `random`, `tpe`, `claude`, …, and the rationale is why it
    is expected to be worth its time: two configurations that differ only in these are the same trial, of the same `trial_id`.

    >>> trial = TrialConfig(model="logistic_l2", timeframe="short", params={"C": 0.5}, proposed_by="me")
    >>> trial.trial_id == TrialConfig(model="logistic_l2", timeframe="short", params={"C": 0.5}).trial_id
    True
    >>> trial.horizon.max_sessions
    12
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    # a plain dict: pydantic would otherwise turn 1 and True into one another
    params: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    timeframe: TimeframeName
    feature_set: str = "momentum"
    feature_set_version: str = ""
    train_sessions: Annotated[int, Field(ge=MIN_TRAIN_SESSIONS, le=WHOLE_HISTORY)] = 756
    label: Barriers = Barriers()
    normalise: Literal["rank", "none"] = "rank"
    target: Literal["relative", "neutral", "absolute"] = "relative"
    universe_size: Annotated[int, Field(ge=5, le=5000)] = 200
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    proposed_by: str = "user"
    rationale: str = ""

    @field_validator("model", "feature_set")
    @classmethod
    def _is_registered(cls, value: str, info: ValidationInfo) -> str:
        try:
            if info.field_name == "model":
                return get_model(value).id
            get_feature_set(value)
        except (UnknownModelError, UnknownFeatureSetError) as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("rationale", "proposed_by")
    @classmethod
    def _holds_no_key(cls, value: str) -> str:
        return redact(value)  # it goes into MLflow, Dagster's tags and prompts

    @model_validator(mode="after")
    def _params_are_inside_the_space(self) -> Self:
        try:
            resolved = self.spec.resolved(self.params)
        except InvalidParamsError as error:
            raise ValueError(f"params: {error}") from None
        object.__setattr__(self, "params", resolved)
        return self

    @model_validator(mode="after")
    def _feature_set_holds_what_the_model_reads(self) -> Self:
        if self.spec.columns and not self.spec.reads_from(_features_of(self.feature_set)):
            able = [name for name in feature_sets() if self.spec.reads_from(_features_of(name))]
            raise ValueError(
                f"feature_set: {self.model} reads {', '.join(self.spec.columns)}, and {self.feature_set!r} does not hold "
                f"{'them' if len(self.spec.columns) > 1 else 'it'}; give {' or '.join(map(repr, able)) or 'one that does'}"
            )
        return self

    @model_validator(mode="after")
    def _feature_set_holds_what_the_target_is_neutral_to(self) -> Self:
        if self.target == "neutral" and not _features_of(self.feature_set).issuperset(NEUTRAL_TO):
            able = [name for name in feature_sets() if _features_of(name).issuperset(NEUTRAL_TO)]
            raise ValueError(
                f"target: neutral outcomes are free of {' and '.join(NEUTRAL_TO)}, which {self.feature_set!r} does not hold; "
                f"give the feature_set {' or '.join(map(repr, able))}, or the target 'relative'"
            )
        return self

    @model_validator(mode="after")
    def _feature_set_has_a_version(self) -> Self:
        if not self.feature_set_version:
            object.__setattr__(self, "feature_set_version", version_of(self.feature_set))
        return self

    @model_serializer(mode="wrap")
    def _first_version_unnamed(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        # so that a trial of before feature sets had versions keeps its id
        values: dict[str, Any] = dump(self)
        if values.get("feature_set_version") == UNVERSIONED:
            del values["feature_set_version"]
        return values

    def __setstate__(self, state: dict[Any, Any]) -> None:
        state["__dict__"].setdefault("feature_set_version", UNVERSIONED)  # a champion from before feature sets had versions
        super().__setstate__(state)

    @field_serializer("label", when_used="json")
    def _label_without_infinity(self, label: Barriers) -> dict[str, float | str]:
        # neither JSON nor PostgreSQL's jsonb knows infinity, a barrier that is switched off
        multiples = {"target": label.target, "stop": label.stop}
        return {name: value if math.isfinite(value) else "Infinity" for name, value in multiples.items()}

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Self:
        """Validate plain values; InvalidTrialError names, in one line, each field that cannot be used and what would be valid."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise InvalidTrialError("; ".join(_readable(error))) from None

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a configuration from JSON, as a file or the database holds it; InvalidTrialError where it is none."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InvalidTrialError(f"not JSON: {error}; a trial is an object such as {_EXAMPLE}") from None
        if not isinstance(values, dict):
            raise InvalidTrialError(f"a trial is a JSON object such as {_EXAMPLE}, not {type(values).__name__}")
        return cls.parse(values)

    @classmethod
    def from_record(cls, values: Mapping[str, object]) -> Self:
        """Read a configuration as it was recorded when its trial was submitted, whatever its feature set has become."""
        return cls.parse({"feature_set_version": UNVERSIONED, **values})

    def require_today(self) -> None:
        """Refuse a trial whose feature set has changed since it was submitted: today's values are not those it began with.

        InvalidTrialError names both versions, and the trial that the same configuration is today.
        """
        today = version_of(self.feature_set)
        if self.feature_set_version != today:
            again = self.model_copy(update={"feature_set_version": today})
            raise InvalidTrialError(
                f"{self.trial_id} was submitted with version {self.feature_set_version} of the feature set {self.feature_set!r}, "
                f"which is now version {today}: submit its configuration again; it is then {again.trial_id}"
            )

    @property
    def spec(self) -> ModelSpec:
        return get_model(self.model)

    @property
    def horizon(self) -> Timeframe:
        return TIMEFRAMES[self.timeframe]

    @property
    def trial_id(self) -> str:
        """`<model>-<timeframe>-<8 hex digits>`: letters, digits and dashes; equal for equal results."""
        content = self.model_dump(mode="json", exclude={"proposed_by", "rationale"})
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
        return f"{self.model.replace('_', '-')}-{self.timeframe}-{digest}"

    def __hash__(self) -> int:
        return hash(self.trial_id)


@lru_cache(maxsize=32)
def _features_of(feature_set: str) -> frozenset[str]:
    return frozenset(feature.name for feature in get_feature_set(feature_set).features)


def models_for(feature_set: str) -> list[str]:
    """Ids of the models that a trial on a feature set may name."""
    return [spec.id for spec in list_models() if spec.reads_from(_features_of(feature_set))]


_EXAMPLE = '{"model": "lightgbm", "timeframe": "short"}'


def _readable(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            reason = f"a trial has no such field; it has {', '.join(TrialConfig.model_fields)}"
        elif problem["type"] == "missing":
            reason = f"is missing; a trial is an object such as {_EXAMPLE}"
        elif problem["type"] != "value_error":
            reason = f"{reason}, not {problem['input']!r}"
        lines.append(f"{name}: {reason}" if name else reason)
    return lines
