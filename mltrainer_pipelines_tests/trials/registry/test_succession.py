from datetime import UTC, datetime

import pytest

from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.trials.config import TrialConfig
from mltrainer_pipelines.trials.registry import records
from mltrainer_pipelines.trials.registry.promotion import Decision
from mltrainer_pipelines.trials.registry.succession import decide_succession, deflated_scorecards, voters
from mltrainer_pipelines_tests.trials.registry.test_promotion import card


def test_the_champion_has_half_of_the_weight_and_the_next_best_of_its_feature_set_share_the_rest() -> None:
    cards = [card("a", z=1.0), card("b", z=4.0), card("c", z=3.0), card("d", z=2.0), card("e", z=None), card("f", z=2.5)]
    other = card("g", z=9.0, feature_set="other")
    weights = voters([*cards, other], "a")
    assert list(weights) == ["a", "b", "c", "f"]
    assert weights["a"] == pytest.approx(sum(weights.values()) / 2)
    assert voters([card("a")], "a") == {"a": 1.0}


def test_a_trial_of_an_older_feature_set_stays_champion_as_it_was_fitted_and_challenges_no_more(database: Database) -> None:
    today, stale = (TrialConfig(model="logistic_l2", timeframe="short", seed=seed) for seed in (1, 2))
    stale = stale.model_copy(update={"feature_set_version": "0" * 12})
    for number, config in enumerate((today, stale)):
        records.register(database.engine, config)
        scored = card(config.trial_id, mean=0.001 * (1 + number), daily_sharpe=0.1 + number, skew=0.0, kurtosis=3.0)
        records.save_scorecard(database.engine, scored, None, None)
    cards = deflated_scorecards(database.engine)
    first = decide_succession(database.engine, "short", cards)
    assert (first.champion, list(first.weights)) == (today.trial_id, [today.trial_id])

    promoted = Decision(trial_id=stale.trial_id, decision="promoted", grade="candidate", reasons=())
    records.record_decision(database.engine, "short", promoted, "1", datetime(2026, 1, 5, tzinfo=UTC))
    kept = decide_succession(database.engine, "short", cards)
    assert (kept.champion, kept.decision.decision, dict(kept.weights)) == (stale.trial_id, "refused", {})
    assert kept.scorecard.trial_id == stale.trial_id
