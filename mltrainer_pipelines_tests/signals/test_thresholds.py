import pytest

from mltrainer_pipelines.signals.thresholds import thresholds_at
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.database import Database

DEFAULTS = {"min_profit_probability": 0.6, "min_confidence": 0.7, "min_regime_score": 25.0}


def test_thresholds_follow_the_run_time_settings_and_every_version_can_be_read_again(database: Database) -> None:
    engine = database.engine
    first = thresholds_at(engine, DEFAULTS)
    assert (first.min_confidence, first.version) == (0.7, 0)
    runtime_settings.put(engine, "min_confidence", 0.9, "user", "raise the confidence threshold to 90 %")
    raised = thresholds_at(engine, DEFAULTS)
    assert (raised.min_confidence, raised.min_probability) == (0.9, 0.6)
    runtime_settings.put(engine, "daily_trials", 7, "user", "not a threshold")
    assert thresholds_at(engine, DEFAULTS) == raised
    runtime_settings.put(engine, "min_profit_probability", 0.65, "user", "")
    runtime_settings.revert(engine, "min_confidence", "user")
    now = thresholds_at(engine, DEFAULTS)
    assert (now.min_confidence, now.min_probability) == (0.7, 0.65)
    assert now.version > raised.version > first.version
    assert thresholds_at(engine, DEFAULTS, raised.version) == raised
    assert thresholds_at(engine, DEFAULTS, 0) == first


def test_what_the_environment_says_holds_until_it_is_changed(database: Database) -> None:
    told = thresholds_at(database.engine, DEFAULTS | {"min_regime_score": 40.0})
    assert told.min_regime == pytest.approx(40.0)
