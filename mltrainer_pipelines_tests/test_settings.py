"""The settings: every variable typed, errors that name the variable, no secret shown."""

from datetime import date, datetime

import pytest

from mltrainer_pipelines.settings import NEW_YORK, Settings, SettingsError, get_settings


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch):
    for name in ("MLTRAINER_AS_OF", "MLTRAINER_EXCHANGE", "MLTRAINER_HISTORY_START", "POLYGON_API_KEY", "MLTRAINER_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        get_settings()
    return str(error.value)


@pytest.mark.parametrize("value", ["2015-10-30T18:00:00", "yesterday", "2015-10-30T18:00:00 Mars/Olympus"])
def test_a_pinned_clock_without_a_usable_offset_is_refused_with_an_example(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    message = refused(monkeypatch, MLTRAINER_AS_OF=value)
    assert f"MLTRAINER_AS_OF={value}" in message
    assert "2015-10-30T18:00:00-04:00" in message


def test_a_pinned_clock_is_the_same_instant_in_new_york(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTRAINER_HISTORY_START", "2010-01-04")
    monkeypatch.setenv("MLTRAINER_AS_OF", "2015-10-30T22:00:00+00:00")
    pinned = get_settings().mltrainer_as_of
    assert pinned is not None
    assert pinned.isoformat() == "2015-10-30T18:00:00-04:00"


def test_a_history_that_starts_after_the_pinned_clock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(monkeypatch, MLTRAINER_HISTORY_START="2016-01-04", MLTRAINER_AS_OF="2015-10-30T18:00:00-04:00")
    assert "MLTRAINER_HISTORY_START=2016-01-04" in message


def test_a_recording_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "/no/such/file.parquet" in refused(monkeypatch, MLTRAINER_EXCHANGE="replay:/no/such/file.parquet")


def test_an_exchange_that_is_not_known_is_refused_with_the_two_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(monkeypatch, MLTRAINER_EXCHANGE="nasdaq")
    assert "simulated" in message
    assert "replay:" in message


def test_a_database_of_another_kind_is_refused_without_showing_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused(monkeypatch, MLTRAINER_DATABASE_URL="mysql://me:hunter2@localhost/x")
    assert "MLTRAINER_DATABASE_URL" in message
    assert "hunter2" not in message


def test_keys_do_not_show_in_the_representation() -> None:
    settings = Settings(polygon_api_key="hunter2", anthropic_api_key="hunter3")  # type: ignore[arg-type]
    assert "hunter" not in repr(settings)
    assert "hunter" not in str(settings.model_dump())


def test_the_history_starts_five_years_before_the_current_year_unless_set() -> None:
    assert get_settings().mltrainer_history_start == date(datetime.now(NEW_YORK).year - 5, 1, 1)


def test_each_market_has_a_home_of_its_own(tmp_path) -> None:
    recording = tmp_path / "bars.csv"
    recording.write_text("date")
    homes = {
        Settings().state,
        Settings(mltrainer_simulated_seed=8).state,
        Settings(mltrainer_simulated_premium=0.0).state,
        Settings(mltrainer_exchange=f"replay:{recording}").state,
        Settings(polygon_api_key="key").state,  # type: ignore[arg-type]
    }
    assert len(homes) == 5


def test_closed_days_are_days(monkeypatch):
    monkeypatch.setenv("MLTRAINER_CLOSED_DAYS", "2024-07-03, 2012-10-29")
    assert get_settings().closed_days == {date(2024, 7, 3), date(2012, 10, 29)}
    get_settings.cache_clear()
    assert "MLTRAINER_CLOSED_DAYS=july 3: not days separated by commas" in refused(monkeypatch, MLTRAINER_CLOSED_DAYS="july 3")
