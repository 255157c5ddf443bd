import pytest

from mltrainer_pipelines.agent.intents import Decision, Lookup, decision, lookup, requested_actions

LR, GB = "logistic_l2", "lightgbm"


@pytest.mark.parametrize("by_user", [True, False])
@pytest.mark.parametrize(
    ("text", "kind", "params"),
    [
        (
            "Let's initiate momentum screening with LightGBM and logistic regression",
            "momentum_screening",
            {"models": [GB, LR], "timeframe": "short"},
        ),
        (
            "I suggest we initiate momentum screening using LightGBM and LogisticL2 models targeting 7-10 day momentum with +7% "
            "returns at 85% confidence.",
            "momentum_screening",
            {"models": [GB, LR], "timeframe": "short", "min_confidence": 0.85, "min_expected_return": 0.07},
        ),
        ("Start momentum analysis", "momentum_screening", {"models": [], "timeframe": "short"}),
        ("We should run a 60-day momentum screen with lightgbm.", "momentum_screening", {"models": [GB], "timeframe": "long"}),
        ("increase the confidence threshold to 90 %", "change_setting", {"name": "min_confidence", "value": 0.9}),
        ("Increase confidence threshold to 90%", "change_setting", {"name": "min_confidence", "value": 0.9}),
        ("Let's lower the probability threshold to 0.55.", "change_setting", {"name": "min_profit_probability", "value": 0.55}),
        ("set the minimum regime score to 40", "change_setting", {"name": "min_regime_score", "value": 40.0}),
        ("try an ensemble of LightGBM and logistic regression", "ensemble", {"models": [GB, LR], "timeframe": "short"}),
        (
            "Let's try ensemble of LightGBM + LogisticL2 for the long horizon",
            "ensemble",
            {"models": [GB, LR], "timeframe": "long"},
        ),
        ("Run the model lightgbm", "submit_trial", {"model": GB, "timeframe": "short"}),
        ("Next I would train LightGBM on the long timeframe.", "submit_trial", {"model": GB, "timeframe": "long"}),
        ("Then refresh the signals.", "refresh_signals", {}),
        ("Propose new trials", "propose_trials", {}),
    ],
)
def test_an_action_is_recognised_in_plain_text(text: str, kind: str, params: dict, by_user: bool) -> None:
    (found,) = requested_actions(text, by_user)
    assert (found.kind, found.params, found.problems) == (kind, params, [])


@pytest.mark.parametrize(
    "text",
    [
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
    ],
)
def test_text_that_asks_for_nothing_is_left_alone(text: str) -> None:
    assert requested_actions(text, by_user=True) == []


def test_models_that_the_catalogue_does_not_hold_are_named() -> None:
    (found,) = requested_actions("initiate momentum screening with LightGBM and QuantumOracle9", by_user=True)
    assert found.params["models"] == [GB]
    assert "QuantumOracle9" in found.problems[0]


def test_only_the_user_changes_settings_by_name_and_decides_on_proposals() -> None:
    for text, kind in (("set autonomy to budgeted", "change_setting"), ("approve proposal 3", "decide_proposal")):
        assert [found.kind for found in requested_actions(text, by_user=True)] == [kind]
        assert requested_actions(text, by_user=False) == []
    (found,) = requested_actions("set autonomy off", by_user=True)
    assert found.params == {"name": "autonomy", "value": "off"}
    (found,) = requested_actions("set agent_enabled to off", by_user=True)
    assert found.params["value"] is False


def test_several_sentences_give_several_actions_and_no_more_than_four() -> None:
    text = "Initiate momentum screening with LightGBM. Increase the confidence threshold to 90 %. Then refresh the signals."
    assert [found.kind for found in requested_actions(text, False)] == ["momentum_screening", "change_setting", "refresh_signals"]
    assert len(requested_actions(". ".join(f"set confidence to {n} %" for n in range(10, 99)), True)) == 4


@pytest.mark.parametrize(
    "text", ["yes", "Yes.", "YES!", "execute", "ok", "go ahead", "do it", "yes please", "Yes, execute", " y "]
)
def test_a_yes_is_a_yes(text: str) -> None:
    assert decision(text) == Decision(True)


@pytest.mark.parametrize(
    ("text", "decided"),
    [
        ("yes 12", Decision(True, (12,))),
        ("execute 3 and 4", Decision(True, (3, 4))),
        ("execute action #7", Decision(True, (7,))),
        ("yes all", Decision(True, (), True)),
        ("execute both", Decision(True, (), True)),
        ("approve everything", Decision(True, (), True)),
        ("no", Decision(False)),
        ("dismiss 3", Decision(False, (3,))),
        ("no thanks", Decision(False)),
    ],
)
def test_a_decision_may_name_what_it_is_about(text: str, decided: Decision) -> None:
    assert decision(text) == decided


@pytest.mark.parametrize(
    "text",
    [
        "yes, but with LightGBM instead",
        "yes or no?",
        "he said yes",
        "is it a yes?",
        "execute order 66 please now",
        "yesterday",
        "okay, what is the regime?",
        "",
        "maybe",
        "yes 12 no 13",
    ],
)
def test_anything_more_than_a_yes_is_no_yes(text: str) -> None:
    assert decision(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("explain AAPL", Lookup("explain", {"symbol": "AAPL"})),
        ("Why is BRK.B recommended?", Lookup("explain", {"symbol": "BRK.B"})),
        ("explain recommendation #12", Lookup("explain", {"recommendation_id": 12})),
        ("what is the regime?", Lookup("regime")),
        ("show the leaderboard", Lookup("leaderboard")),
        ("leaderboard long", Lookup("leaderboard", {"timeframe": "long"})),
        ("which models are there", Lookup("models")),
        ("status", Lookup("status")),
        ("my portfolio", Lookup("portfolio")),
        ("performance", Lookup("performance")),
        ("settings", Lookup("settings")),
        ("help", Lookup("help")),
        ("lightgbm-short-3f9a1c2b", Lookup("trial", {"trial_id": "lightgbm-short-3f9a1c2b"})),
        ("good morning", None),
    ],
)
def test_lookups_are_recognised(text: str, found: Lookup | None) -> None:
    assert lookup(text) == found


def test_long_and_strange_text_is_read_in_no_time() -> None:
    for text in ("run " * 4000, "set the " + "x " * 8000 + "to 9", "ensemble of " + ", ".join(["a"] * 4000), "\u202eyes" * 2000):
        requested_actions(text, True)
        decision(text)
        lookup(text)
