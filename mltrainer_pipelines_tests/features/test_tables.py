"""Feature tables of the lake: the stored set as it is stored, any other computed from the same lake."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mltrainer_pipelines.audits.simulated_market import AuditMarket
from mltrainer_pipelines.features.registry import get_feature_set
from mltrainer_pipelines.features.tables import computed_features, feature_table
from mltrainer_pipelines.market.universe import universes_of
from mltrainer_pipelines.store.lake import Lake, MissingPartitionError

FIRST, LAST = date(2023, 5, 1), date(2023, 6, 30)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    frames = AuditMarket(seed=3, symbols=12, first=date(2023, 3, 1), last=LAST).frames()
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    for (day,), bars in frames.bars.partition_by("date", as_dict=True).items():
        lake.write("daily_bars", bars.sort("symbol"), str(day))
    lake.write("corporate_actions", frames.actions)
    lake.write("macro_series", frames.observations)
    for month in (FIRST, date(2023, 6, 1)):
        lake.write("universe", universes_of([month], frames.bars, frames.reference, 10), str(month))
    for month in (FIRST, date(2023, 6, 1)):
        last = date(2023, 5, 31) if month == FIRST else LAST
        lake.write("features", computed_features(lake, month, last), str(month))
    return lake


def test_the_stored_set_comes_back_as_it_was_stored(lake: Lake) -> None:
    table = feature_table(lake, "momentum", LAST)
    assert_frame_equal(table, lake.scan("features").filter(pl.col("date") < LAST).collect())


def test_another_set_is_computed_for_the_same_decisions(lake: Lake) -> None:
    table = feature_table(lake, "technical", date(2023, 7, 1))
    stored = lake.scan("features").collect()
    assert table.columns == ["date", "symbol", *(feature.name for feature in get_feature_set("technical").features)]
    assert_frame_equal(table.select("date", "symbol"), stored.select("date", "symbol"))
    assert table["date"].max() == LAST
    assert feature_table(lake, "technical", LAST)["date"].max() == date(2023, 6, 29)


def test_a_lake_without_features_says_what_to_materialize(tmp_path: Path) -> None:
    with pytest.raises(MissingPartitionError, match="materialize features"):
        feature_table(Lake(str(tmp_path)), "momentum", LAST)
