import threading

import pytest

from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.runtime_settings import SETTINGS, InvalidSettingError, UnknownSettingError


def test_every_default_is_a_value_the_setting_may_have() -> None:
    for setting in SETTINGS.values():
        assert setting.checked(setting.default) == setting.default


def test_the_newest_change_holds_and_the_older_ones_are_kept(database: Database) -> None:
    engine = database.engine
    assert runtime_settings.get(engine, "min_confidence") == 0.70
    assert runtime_settings.get(engine, "min_confidence", 0.5) == 0.5
    runtime_settings.put(engine, "min_confidence", 0.9, "user", "too many signals")
    runtime_settings.put(engine, "min_confidence", 0.8, "user", "too few")
    assert runtime_settings.get(engine, "min_confidence", 0.5) == 0.8
    assert runtime_settings.get_all(engine, {"min_regime_score": 30.0})["min_regime_score"] == 30.0
    newest, first = runtime_settings.history(engine, "min_confidence")
    assert (newest.value, newest.reason, first.value, first.changed_by) == (0.8, "too few", 0.9, "user")


def test_changes_are_taken_back_one_at_a_time_down_to_the_default(database: Database) -> None:
    engine = database.engine
    with pytest.raises(InvalidSettingError, match="never changed"):
        runtime_settings.revert(engine, "autonomy", "user")
    runtime_settings.put(engine, "autonomy", "budgeted", "user", "trust")
    assert runtime_settings.revert(engine, "autonomy", "user").value is None
    assert runtime_settings.get(engine, "autonomy") == "manual"
    assert runtime_settings.revert(engine, "autonomy", "user").value == "budgeted"
    assert len(runtime_settings.history(engine)) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_confidence", 1.01),
        ("min_confidence", "0.9"),
        ("min_confidence", True),
        ("min_confidence", float("nan")),
        ("daily_trials", 1.5),
        ("daily_trials", -1),
        ("autonomy", "everything"),
        ("agent_enabled", 1),
        ("daily_dollars", float("inf")),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_named(database: Database, name: str, value: object) -> None:
    with pytest.raises(InvalidSettingError, match=name):
        runtime_settings.put(database.engine, name, value, "user", "")
    assert runtime_settings.history(database.engine) == []


def test_unknown_names_are_refused(database: Database) -> None:
    for call in (
        lambda: runtime_settings.get(database.engine, "broker"),
        lambda: runtime_settings.get_all(database.engine, {"broker": 1}),
        lambda: runtime_settings.put(database.engine, "broker", 1, "user", ""),
        lambda: runtime_settings.history(database.engine, "broker"),
    ):
        with pytest.raises(UnknownSettingError, match="min_profit_probability"):
            call()


def test_changes_at_the_same_time_are_all_kept(database: Database) -> None:
    def change(value: float) -> None:
        runtime_settings.put(database.engine, "min_confidence", value, "user", "race")

    threads = [threading.Thread(target=change, args=(n / 10,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = runtime_settings.history(database.engine)
    assert sorted(change.value for change in kept) == [n / 10 for n in range(8)]
    assert runtime_settings.get(database.engine, "min_confidence") == kept[0].value
