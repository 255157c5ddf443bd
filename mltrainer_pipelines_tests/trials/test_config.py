import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.models.registry import list_models
from mltrainer_pipelines.trials.config import InvalidTrialError, TrialConfig, models_for


def test_the_id_depends_on_what_determines_the_result_and_on_nothing_else():
    plain = TrialConfig(model="logistic_l2", timeframe="short")
    assert plain.trial_id.startswith("logistic-l2-short-")
    assert len(plain.trial_id.removeprefix("logistic-l2-short-")) == 8
    same = TrialConfig(model="logistic_l2", timeframe="short", proposed_by="claude", rationale="it was steady", params={"C": 2.5})
    assert same.trial_id == plain.trial_id
    changed = [
        plain.model_copy(update={"seed": 1}),
        TrialConfig(model="logistic_l2", timeframe="long"),
        TrialConfig(model="logistic_l2", timeframe="short", params={"C": 5.0}),
        TrialConfig(model="logistic_l2", timeframe="short", train_sessions=504),
        TrialConfig(model="logistic_l2", timeframe="short", label=Barriers(target=2.0)),
        TrialConfig(model="logistic_l2", timeframe="short", universe_size=50),
        TrialConfig(model="logistic_l2", timeframe="short", normalise="none"),
        TrialConfig(model="logistic_l2", timeframe="short", target="absolute"),
    ]
    assert len({config.trial_id for config in [plain, *changed]}) == 1 + len(changed)


@pytest.mark.parametrize("label", [Barriers(), Barriers(1.5, 0.75), Barriers(2.0, float("inf"))])
@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.id)
def test_a_configuration_survives_json_and_the_database(spec, label):
    feature_set = next(name for name in ("momentum", "technical", "alpha158") if spec.id in models_for(name))
    config = TrialConfig(model=spec.id, timeframe="long", feature_set=feature_set, label=label, rationale="because")
    assert TrialConfig.from_json(config.model_dump_json()) == config
    stored = json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False))
    assert TrialConfig.parse(stored) == config
    assert TrialConfig.parse(stored).trial_id == config.trial_id


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "lihgtgbm"}, "did you mean lightgbm"),
        ({"params": {"depth": 3}}, "it has feature_fraction"),
        ({"params": {"num_leaves": 10_000}}, "an integer from 3 to 127"),
        ({"params": {"num_leaves": 15.5}}, "an integer from 3 to 127"),
        ({"params": {"rounds": True}}, "rounds=True"),
        ({"timeframe": "weekly"}, "'short' or 'long', not 'weekly'"),
        ({"feature_set": "astrology"}, "momentum"),
        ({"train_sessions": 60}, "train_sessions: .*126, not 60"),
        ({"universe_size": 2}, "universe_size: .*5, not 2"),
        ({"label": {"target": -1.0, "stop": 1.0}}, "target must be above 0"),
        ({"model": "rule_aroon"}, "reads aroon_up_25, aroon_down_25, and 'momentum' does not hold them; give 'technical'"),
        ({"leverage": 2}, "leverage: a trial has no such field; it has model, params"),
    ],
)
def test_what_cannot_run_is_refused_with_what_would_be_valid(given, said):
    with pytest.raises(InvalidTrialError, match=said):
        TrialConfig.parse({"model": "lightgbm", "timeframe": "short"} | given)


def test_several_faults_are_named_together():
    with pytest.raises(InvalidTrialError, match=r"train_sessions.*universe_size"):
        TrialConfig.parse({"model": "lightgbm", "timeframe": "short", "train_sessions": 1, "universe_size": 1})


@pytest.mark.parametrize("text", ["", "[]", "{", '"lightgbm"'])
def test_what_is_not_a_json_object_is_refused_with_an_example(text):
    with pytest.raises(InvalidTrialError, match='"model": "lightgbm"'):
        TrialConfig.from_json(text)


def test_a_configuration_cannot_be_changed():
    config = TrialConfig(model="lightgbm", timeframe="short")
    with pytest.raises(ValidationError):
        config.seed = 2
    assert {config: 1}[TrialConfig(model="lightgbm", timeframe="short")] == 1


def test_importing_trials_loads_none_of_the_heavy_libraries():
    modules = ("config", "validation.windows", "validation.walk_forward", "scoring.calibration", "registry.ensemble")
    modules += ("ensemble_file", "registry.tracking")
    program = "import sys, mltrainer_pipelines.contracts.content_hash\n"
    program += "".join(f"import mltrainer_pipelines.trials.{name}\n" for name in modules)
    program += "from mltrainer_pipelines.models.registry import list_models\n"
    program += "[spec.build() for spec in list_models()]\n"
    program += "print([m for m in ('sklearn', 'lightgbm', 'mlflow', 'torch', 'scipy', 'matplotlib') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
