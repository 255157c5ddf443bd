"""Sentences written before the reader was, which it was not tuned on: what each asks for, or that it asks for nothing."""

from typing import Any

Asked = list[tuple[str, dict[str, Any]]]


def trial(model: str, timeframe: str = "short", **more: Any) -> tuple[str, dict[str, Any]]:
    return "submit_trial", {"model": model, "timeframe": timeframe, **more}


def screening(*models: str, timeframe: str = "short", **more: Any) -> tuple[str, dict[str, Any]]:
    return "momentum_screening", {"models": list(models), "timeframe": timeframe, **more}


def setting(name: str, value: Any) -> tuple[str, dict[str, Any]]:
    return "change_setting", {"name": name, "value": value}


ASKING: list[tuple[str, Asked]] = [
    ("Please give XGBoost a try on the short horizon", [trial("xgboost")]),
    ("could you kick off a random forest trial for me?", [trial("random_forest")]),
    (
        "Train catboost with 400 rounds and learning_rate=0.03 on the long timeframe",
        [trial("catboost", "long", params={"rounds": 400, "learning_rate": 0.03})],
    ),
    ("run extra trees, 200 trees, depth 5", [trial("extra_trees", params={"trees": 200, "depth": 5})]),
    ("I'd like you to test lightgbm with num_leaves 31", [trial("lightgbm", params={"num_leaves": 31})]),
    ("Test xgboost for 60-day momentum with the alpha158 feature set", [trial("xgboost", "long", feature_set="alpha158")]),
    ("run rule_macd_trend", [trial("rule_macd_trend")]),
    ("evaluate naive bayes over 504 sessions", [trial("naive_bayes", train_sessions=504)]),
    ("launch a walk-forward of gaussian process", [trial("gaussian_process")]),
    ("Try LightGMB next", [trial("lightgbm")]),
    ("lets run the lstm and the gru", [trial("lstm"), trial("gru")]),
    ("Train an MLP on a three-year window, long horizon", [trial("mlp", "long", train_sessions=756)]),
    ("go ahead and run quadratic... no, run qda", [trial("qda")]),
    ("Start a momentum screening", [screening()]),
    ("kick off the momentum scan with catboost and ridge classifier please", [screening("catboost", "ridge_classifier")]),
    ("screen the market for 50-70 day momentum using xgboost", [screening("xgboost", timeframe="long")]),
    (
        "Initiate momentum screening using RandomForest, LightGBM and XGBoost at 90,5 % confidence",
        [screening("random_forest", "lightgbm", "xgboost", min_confidence=0.905)],
    ),
    ("find momentum stocks with extra trees, at least 65% profit probability", [screening("extra_trees", min_probability=0.65)]),
    ("begin momentum analysis for seven to twelve days", [screening()]),
    ("Could we please start the momentum analysis on the long side?", [screening(timeframe="long")]),
    ("Momentum screening with lightgbm targeting +5 % returns", [screening("lightgbm", min_expected_return=0.05)]),
    ("put the confidence threshold at 85 percent", [setting("min_confidence", 0.85)]),
    ("Raise minimum confidence to .8", [setting("min_confidence", 0.8)]),
    ("please lower the profit probability bar to 55%", [setting("min_profit_probability", 0.55)]),
    ("bring the regime gate down to 30", [setting("min_regime_score", 30)]),
    ("I want the confidence threshold to be 0.75", [setting("min_confidence", 0.75)]),
    ("change min_regime_score to 35", [setting("min_regime_score", 35)]),
    ("confidence threshold = 82%", [setting("min_confidence", 0.82)]),
    ("set daily trials to 8", [setting("daily_trials", 8)]),
    ("Set the daily budget to 5 dollars", [setting("daily_dollars", 5)]),
    ("turn autonomy to budgeted", [setting("autonomy", "budgeted")]),
    ("let's try an ensemble of catboost and xgboost", [("ensemble", {"models": ["catboost", "xgboost"], "timeframe": "short"})]),
    (
        "combine random forest with logistic regression into an ensemble for the long timeframe",
        [("ensemble", {"models": ["random_forest", "logistic_l2"], "timeframe": "long"})],
    ),
    ("blend lightgbm, catboost and mlp", [("ensemble", {"models": ["lightgbm", "catboost", "mlp"], "timeframe": "short"})]),
    ("update the signals please", [("refresh_signals", {})]),
    ("Can you rescore the market now?", [("refresh_signals", {})]),
    ("come up with some new trials", [("propose_trials", {})]),
    ("suggest the next experiments", [("propose_trials", {})]),
    ("accept proposal number 4", [("decide_proposal", {"proposal_id": 4, "decision": "approve"})]),
    (
        "decline proposals 2 and 5",
        [
            ("decide_proposal", {"proposal_id": 2, "decision": "reject"}),
            ("decide_proposal", {"proposal_id": 5, "decision": "reject"}),
        ],
    ),
    (
        "Lower the confidence threshold to 60% and then refresh the signals",
        [setting("min_confidence", 0.6), ("refresh_signals", {})],
    ),
    ("Don't run lightgbm, run catboost instead", [trial("catboost")]),
    ("run xgboost instead of lightgbm", [trial("xgboost")]),
    ("first update the scores, then try an lstm for the long horizon", [("refresh_signals", {}), trial("lstm", "long")]),
    ("Run lightgbm and raise the confidence threshold to 90 %", [trial("lightgbm"), setting("min_confidence", 0.9)]),
    ("try xgboost with cross_section features", [trial("xgboost", feature_set="cross_section")]),
    ("strat momentum anaylsis", [screening()]),
    ("incerase the confidnce threshold to 80%", [setting("min_confidence", 0.8)]),
    ("Why don't we start momentum screening with catboost?", [screening("catboost")]),
    ("would you mind running a decision tree?", [trial("decision_tree")]),
]
NOTHING: list[str] = [
    "Do not launch the momentum screening.",
    "please don't touch the confidence threshold",
    "never run catboost again",
    "I'd rather not start the screening now",
    "No need to refresh the signals.",
    "What happens when I run momentum screening?",
    "How long would a trial of catboost take?",
    "Should we raise the confidence threshold to 90 %?",
    "Is it wise to run an ensemble of xgboost and lightgbm?",
    "What if we set the regime threshold to 10?",
    "Suppose we started momentum screening with xgboost.",
    "If the market falls, lower the confidence threshold to 50 %.",
    'My boss wrote: "start momentum screening with xgboost now".',
    "The blog says to run lightgbm with 500 rounds.",
    "> increase the confidence threshold to 5 %",
    "Careful, running random forest is slow.",
    "Beware of lowering the confidence threshold to 10%!",
    "Yesterday I ran xgboost on the long timeframe.",
    "Running lightgbm was a mistake.",
    "LightGBM is a good model for momentum analysis.",
    "I have heard that catboost beats lightgbm.",
    "We could maybe run an lstm some day.",
    "I was thinking about starting momentum screening.",
    "Explain what refreshing the signals does",
    "Tell me how to change the confidence threshold to 80 %",
    "Who approved proposal 3?",
    "Did you run xgboost?",
    "When did the last momentum screening start?",
    "You must not approve proposal 2.",
    "Nobody should set autonomy to budgeted.",
    "thanks, that was helpful",
    "Is lightgbm running?",
    "buy 100 shares of AAPL",
    "Refreshing the signals takes a minute.",
    "He told me to execute everything.",
]
