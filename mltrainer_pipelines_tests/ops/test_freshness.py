"""How far behind each asset is: known for every one, also for what was never made."""

from datetime import date, datetime, timedelta
from pathlib import Path

from mltrainer_pipelines.definitions import defs
from mltrainer_pipelines.market.sessions import NEW_YORK
from mltrainer_pipelines.ops.cadence import ASSETS, ON_DEMAND
from mltrainer_pipelines.ops.freshness import freshness
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines_tests.market.test_backlog import with_bars

NIGHT = datetime(2024, 7, 2, 23, tzinfo=NEW_YORK)


def test_every_asset_has_its_freshness_and_a_policy_of_dagsters() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert set(ASSETS) == set(specs)
    windows = {name: spec.freshness_policy.fail_window.to_timedelta() for name, spec in specs.items() if spec.freshness_policy}
    assert set(windows) == set(specs) - set(ON_DEMAND)
    assert windows["daily_bars"] == windows["learning_report"] == timedelta(days=5)
    assert windows["champion_model"] < windows["universe"] < windows["leaderboard"]


def test_what_was_never_made_is_as_far_behind_as_it_should_have_been_made(tmp_path: Path) -> None:
    lake = with_bars(tmp_path, *(date(2024, 6, day) for day in (24, 25)), date(2024, 7, 2))
    begun = datetime(2024, 6, 26, 20, tzinfo=NEW_YORK)
    behind = {one.asset: one.sessions_behind for one in freshness(lake, {}, NIGHT, begun)}
    assert None not in behind.values()
    assert (behind["daily_bars"], behind["learning_report"], behind["champion_model"], behind["leaderboard"]) == (0, 4, 0, 0)
    made = {"learning_report": datetime(2024, 7, 1, 19, 40, tzinfo=NEW_YORK)}
    (report,) = (one for one in freshness(lake, made, NIGHT, begun) if one.asset == "learning_report")
    assert (report.newest, report.sessions_behind) == ("2024-07-01", 1)


def test_an_empty_home_is_behind_nothing(tmp_path: Path) -> None:
    assert {one.sessions_behind for one in freshness(Lake(str(tmp_path)), {}, NIGHT)} == {None}


def test_what_was_made_by_the_wall_clock_is_no_newer_than_the_homes_own(tmp_path: Path) -> None:
    lake = with_bars(tmp_path, date(2024, 7, 1), date(2024, 7, 2))
    made = {"outcomes": datetime(2026, 11, 27, tzinfo=NEW_YORK)}
    (outcomes,) = (one for one in freshness(lake, made, NIGHT) if one.asset == "outcomes")
    assert (outcomes.newest, outcomes.sessions_behind) == ("2024-07-02", 0)
