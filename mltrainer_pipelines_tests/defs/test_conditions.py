"""Assets that follow assets, asked at moments of the calendar: what is requested, and that it is requested once."""

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mltrainer_pipelines import defs as stages
from mltrainer_pipelines.defs.resources import RESOURCES
from mltrainer_pipelines.market.sessions import NEW_YORK, sessions_between

FOLLOWING = ("universe", "features", "labels", "regime")


class Follower:
    """`follow_inputs` over an instance of its own; what it requests is done at once."""

    def __init__(self, instance: dg.DagsterInstance):
        self.instance = instance
        self.definitions = dg.load_definitions_from_package_module(stages, resources=RESOURCES)
        self.cursor: Any = None

    def made(self, asset: str, *partitions: str) -> None:
        for partition in partitions or (None,):
            self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))

    def settle(self, *moment: int) -> dict[str, list[str]]:
        """What is requested at a moment in New York until nothing more is, by asset; each partition once."""
        asked: dict[str, list[str]] = {}
        while new := self._ask(datetime(*moment, tzinfo=NEW_YORK)):
            for name, keys in new.items():
                self.made(name, *([f"{key}-01" for key in keys if key]))
                asked.setdefault(name, []).extend(keys)
        assert all(len(set(keys)) == len(keys) for keys in asked.values()), asked
        return asked

    def _ask(self, moment: datetime) -> dict[str, list[str]]:
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, None, moment, self.cursor)
        self.cursor = result.cursor
        keys = {name: result.get_requested_partitions(dg.AssetKey(name)) for name in FOLLOWING}
        assert result.total_requested == sum(map(len, keys.values())), "nothing else follows"
        return {name: sorted(str(key)[:7] if key else "" for key in found) for name, found in keys.items() if found}


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Follower(instance)


def prepared(follower: Follower, last: date) -> None:
    """As a demo leaves it: bars until `last`, and everything made of them."""
    months = [f"2026-{month:02}-01" for month in range(1, last.month + 1)]
    follower.made("daily_bars", *map(str, sessions_between(date(2026, 1, 2), last)))
    for name in ("corporate_actions", "macro_series", "regime"):
        follower.made(name)
    for name in ("universe", "features", "labels"):
        follower.made(name, *months)


def test_an_empty_home_waits_for_its_first_backfill(follower: Follower) -> None:
    assert follower.settle(2026, 7, 2, 12, 0) == {}
    assert follower.settle(2026, 7, 2, 12, 1) == {}


def test_what_came_before_anybody_looked_is_followed_once(follower: Follower) -> None:
    prepared(follower, date(2026, 6, 24))
    follower.made("daily_bars", "2026-06-25")  # fetched by the same start, before the conditions are asked first
    asked = follower.settle(2026, 6, 26, 8, 0)
    assert "2026-06" in asked["features"]
    assert "2026-06" in asked["labels"]
    assert "regime" in asked
    assert follower.settle(2026, 6, 26, 8, 1) == {}


def test_months_quarters_and_three_missed_weeks_are_followed_once_each(follower: Follower) -> None:
    prepared(follower, date(2026, 6, 29))
    follower.settle(2026, 6, 29, 20, 0)
    follower.made("daily_bars", "2026-06-30")
    asked = follower.settle(2026, 6, 30, 18, 31)
    assert asked["features"] == ["2026-06"], "the month before is done"
    assert follower.settle(2026, 6, 30, 18, 32) == {}
    asked = follower.settle(2026, 7, 1, 0, 1)  # the first session of a month and of a quarter has not begun
    assert asked["universe"] == ["2026-07"]
    assert "2026-07" in asked["features"]
    assert "2026-07" in asked["labels"]
    assert follower.settle(2026, 7, 1, 9, 45) == {}
    follower.made("daily_bars", *map(str, sessions_between(date(2026, 7, 1), date(2026, 7, 22))))  # after a pause
    asked = follower.settle(2026, 7, 22, 20, 0)
    assert asked["features"] == ["2026-07"]
    assert follower.settle(2026, 7, 22, 20, 1) == {}
