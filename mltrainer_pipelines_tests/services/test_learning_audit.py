from mltrainer_pipelines.services.learning_audit import FOLLOWS_WITHIN_SESSIONS, flip, shown


def test_the_weights_follow_a_premium_that_flips_and_the_ensemble_keeps_up() -> None:
    found = flip(symbols=40, sessions=500, seed=8)
    assert found["passed"]
    assert 0 < found["sessions_until_weights_follow"] <= FOLLOWS_WITHIN_SESSIONS
    assert found["ensemble_over_better"] <= 1.05
    assert found["weight_of_the_right_model_first_half"] > 0.8


def test_the_audit_says_in_words_what_holds_and_what_does_not() -> None:
    nothing = {
        "passed": False,
        "recommended": 9,
        "symbol_sessions": 100,
        "recommended_share": 0.09,
        "allowed_share": 0.005,
        "grades": {"a": "candidate"},
        "drift_alarms": {"features": 0.0},
        "stated_false_alarm_rate": 0.05,
    }
    flipped = {
        "passed": True,
        "sessions_until_weights_follow": 19,
        "allowed_sessions": 40,
        "ensemble_over_better": 1.01,
        "allowed_ratio": 1.05,
    }
    told = shown({"flip": flipped, "null": nothing, "planted": {"passed": True, "precision_by_confidence": [0.5, 0.6]}})
    assert "holds: after a flip the weights follow in 19 sessions (allowed 40)" in told
    assert "FAILS: without a premium 9 of 100 symbol-sessions are recommended (9.000%, allowed 0.5%)" in told
