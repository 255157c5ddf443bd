"""What messages ask for: sentences of each kind, and a set that the reader was never tuned on (`sentences.py`)."""

import pytest

from mltrainer_pipelines.agent.decisions import decision
from mltrainer_pipelines.agent.intents import lookup
from mltrainer_pipelines.agent.wishes import wishes
from mltrainer_pipelines.features.registry import feature_sets
from mltrainer_pipelines.models.registry import list_models
from mltrainer_pipelines.trials.config import TrialConfig, models_for
from mltrainer_pipelines_tests.agent.sentences import ASKING, DECIDING, LOOKING_UP, NOTHING, Asked, screening, setting, trial

GB, LR = "lightgbm", "logistic_l2"
SENTENCES: list[tuple[str, Asked]] = [
    ("Let's initiate momentum screening with LightGBM and logistic regression", [screening("lightgbm", "logistic_l2")]),
    (
        "I suggest we initiate momentum screening using LightGBM and LogisticL2 models targeting 7-10 day momentum "
        "with +7% returns at 85% confidence.",
        [screening("lightgbm", "logistic_l2", min_confidence=0.85, min_expected_return=0.07)],
    ),
    ("Start momentum analysis", [screening()]),
    ("We should run a 60-day momentum screen with lightgbm.", [screening("lightgbm", timeframe="long")]),
    ("run a 70-day momentum screen with lightgbm", [screening("lightgbm", timeframe="long")]),
    ("increase the confidence threshold to 90 %", [setting("min_confidence", 0.9)]),
    ("Increase confidence threshold to 90%", [setting("min_confidence", 0.9)]),
    ("raise the confidence threshold to 90,5 %", [setting("min_confidence", 0.905)]),
    ("Let's lower the probability threshold to 0.55.", [setting("min_profit_probability", 0.55)]),
    ("set the minimum regime score to 40", [setting("min_regime_score", 40)]),
    (
        "try an ensemble of LightGBM and logistic regression",
        [("ensemble", {"models": ["lightgbm", "logistic_l2"], "timeframe": "short"})],
    ),
    (
        "Let's try ensemble of RandomForest + LightGBM",
        [("ensemble", {"models": ["random_forest", "lightgbm"], "timeframe": "short"})],
    ),
    ("Run the model lightgbm", [trial("lightgbm")]),
    ("run random forest with 300 trees on 504 sessions", [trial("random_forest", params={"trees": 300}, train_sessions=504)]),
    (
        "train lightgbm with learning_rate=0.02 and alpha158 features",
        [trial("lightgbm", params={"learning_rate": 0.02}, feature_set="alpha158")],
    ),
    ("Then refresh the signals.", [("refresh_signals", {})]),
    ("Propose new trials", [("propose_trials", {})]),
    ("set autonomy to budgeted", [setting("autonomy", "budgeted")]),
    ("set agent_enabled to off", [setting("agent_enabled", False)]),
    ("set autonomy off", [setting("autonomy", "off")]),
    ("set min_confidence to 0.8", [setting("min_confidence", 0.8)]),
    ("set daily_trials to 7", [setting("daily_trials", 7)]),
    ("approve proposal 3", [("decide_proposal", {"proposal_id": 3, "decision": "approve"})]),
    (
        "Initiate momentum screening with LightGBM. Increase the confidence threshold to 90 %. Then refresh the signals.",
        [screening("lightgbm"), setting("min_confidence", 0.9), ("refresh_signals", {})],
    ),
    (
        "Set the confidence threshold to 80 %. Set the regime threshold to 40.",
        [setting("min_confidence", 0.8), setting("min_regime_score", 40)],
    ),
    (
        "set the confidence threshold to 80 % and the regime threshold to 40",
        [setting("min_confidence", 0.8), setting("min_regime_score", 40)],
    ),
    ("start screening the market with ridge and naive bayes", [screening("ridge_classifier", "naive_bayes")]),
    ("momentum screening with xgboost, lightgbm", [screening("xgboost", "lightgbm")]),
]
SENTENCES += [
    ("screen using ridge and naive bayes", [screening("ridge_classifier", "naive_bayes")]),
    ("no, start the screening with xgboost", [screening("xgboost")]),
    ("run lightgbm but not on the long timeframe", [trial(GB)]),
    ("stop the agent", [setting("agent_enabled", False)]),
    ("run lightgbm on 2 years of data", [trial(GB, train_sessions=504)]),
]
LEFT_ALONE = [
    "Don't start momentum screening with LightGBM.",
    "I would not increase the confidence threshold to 90%.",
    "You should never run lightgbm on this.",
    "What does momentum screening do?",
    "The confidence threshold is 70 %.",
    "LightGBM performed better than logistic regression.",
    "Let us run it again and try the next one.",
    "An ensemble is a group of models.",
    "place an order for 100 shares of AAPL",
    "",
    "\n\n..",
    "what is the regime?",
    "show the leaderboard",
    "help",
    "run regime detection",
    "detect the regime",
    "how are things",
    "explain AAPL",
    "candidates",
    "models",
    "stop that",
    "not now",
    "sing a song",
    "status",
]


@pytest.mark.parametrize(("text", "asked"), SENTENCES)
def test_what_a_sentence_asks_for_is_read(text: str, asked: Asked) -> None:
    found = wishes(text)
    assert [(one.kind, one.params) for one in found.actions] == asked
    assert not [one for one in found.actions if one.problems or one.question]
    assert found.unused == []


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_text_that_asks_for_nothing_is_left_alone(text: str) -> None:
    assert wishes(text).actions == []


def test_sentences_that_the_reader_was_not_tuned_on_are_right_in_nineteen_of_twenty_and_never_make_a_card_of_nothing() -> None:
    wrong = [text for text, asked in ASKING if [(one.kind, one.params) for one in wishes(text).actions] != asked]
    assert len(wrong) <= len(ASKING) / 20, wrong
    assert [text for text in NOTHING if [one for one in wishes(text).actions if not one.question]] == []
    assert [text for text, _ in ASKING if decision(text) is not None] == []
    assert [text for text in NOTHING if (decided := decision(text)) is not None and decided.yes] == []


def test_lookups_and_decisions_are_read_as_people_write_them() -> None:
    assert [text for text, query, _ in LOOKING_UP if (found := lookup(text)) is None or found.query != query] == []
    assert [
        text for text, _, given in LOOKING_UP if (found := lookup(text)) and not given.items() <= found.arguments.items()
    ] == []
    assert [text for text, *_ in LOOKING_UP if wishes(text).actions or wishes(text).unsure] == []
    wrong = [text for text, meant in DECIDING if (one := decision(text)) is None or (one.yes, one.everything) != meant]
    assert wrong == []


def test_every_model_can_be_asked_for_by_its_id_and_in_words_and_runs_on_features_that_it_reads() -> None:
    for spec in list_models():
        for name in (spec.id, spec.id.replace("_", " "), spec.id.replace("_", "-").upper()):
            (asked,) = wishes(f"run {name}").actions
            assert asked.params == {"model": spec.id, "timeframe": "short"}, name
        assert any(spec.id in models_for(features) for features in feature_sets())


@pytest.mark.parametrize("name", feature_sets())
def test_every_feature_set_can_be_asked_for(name: str) -> None:
    for words in (f"with {name} features", f"on the {name.replace('_', ' ')} feature set", f"using feature set {name}"):
        (asked,) = wishes(f"run lightgbm {words}").actions
        assert asked.params["feature_set"] == name
        TrialConfig.parse(asked.params)


def test_what_was_not_used_is_named_and_what_is_unclear_is_asked_back() -> None:
    assert wishes("run lightgbm on bananas with extra caution").unused == ["bananas", "extra", "caution"]
    (odd,) = wishes("run a 30-day momentum screening").actions
    assert "neither short" in odd.question
    assert [one.kind for one in wishes("if the market falls, refresh the signals").unsure] == ["refresh_signals"]
    (unknown,) = wishes("initiate momentum screening with LightGBM and QuantumOracle9").actions
    assert unknown.params["models"] == [GB]
    assert "QuantumOracle9" in unknown.problems[0]
    (open_,) = wishes("raise the confidence threshold by 5 points").actions
    assert "to which value" in open_.question
    (less,) = wishes("Start momentum screening, but don't use lightgbm").actions
    assert less.without == {GB}
    (odd,) = wishes("run lightgbm with wings=3").actions
    assert "no parameter 'wings'" in odd.problems[0]


@pytest.mark.parametrize(
    ("said", "right"),
    [("randm forest", "random_forest"), ("xgbosot", "xgboost"), ("ligthgbm", GB), ("cat boost", "catboost"), ("XGB", "xgboost")],
)
def test_typing_errors_in_names_are_forgiven(said: str, right: str) -> None:
    assert [one.params["model"] for one in wishes(f"run {said} please").actions] == [right]


def test_long_and_strange_text_is_read_in_no_time() -> None:
    for text in ("run " * 2000, "set the " + "x " * 4000 + "to 9", "ensemble of " + ", ".join(["a"] * 2000), "\u202eyes" * 2000):
        wishes(text)
        decision(text)
        lookup(text)
