import pytest

from mltrainer_pipelines.agent.intents import Lookup, lookup


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
        ("boosting models", Lookup("models", {"family": "boosting"})),
        ("the models of forests from 9", Lookup("models", {"offset": 8, "family": "forests"})),
        ("leaderboard short from 11", Lookup("leaderboard", {"timeframe": "short", "offset": 10})),
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
