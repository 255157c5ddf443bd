"""Factor research as assets, on a small lake: a search, a verdict, a set; each counts what was tried."""

from datetime import date
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mltrainer_pipelines.audits.planted_rules import drawn_rule, market_with
from mltrainer_pipelines.contracts.lake_tables import CORPORATE_ACTIONS, DAILY_BARS, UNIVERSE
from mltrainer_pipelines.defs.factors.assets import discovered_factors, factor_proposals, factor_screening
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake
from mltrainer_pipelines.trials.factors import discovery, library

RULE = drawn_rule(7)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A simulated market in which the rule pays from one session to the next."""
    lake, bars = Lake(str(tmp_path)), market_with(RULE, 7, companies=60, sessions=420, strength=0.2)
    stored = DAILY_BARS.cast(bars.with_columns(vwap=pl.lit(None, pl.Float64), trades=pl.lit(None, pl.Int64)))
    for (day,), part in stored.partition_by("date", as_dict=True).items():
        lake.write("daily_bars", part.sort("symbol"), str(day))
    members = bars.select("symbol", "sector").unique().sort("symbol").with_row_index("rank", 1)
    months = bars["date"].dt.truncate("1mo").unique().sort().to_list()[5:]
    for month in months:
        rows = members.with_columns(
            month=pl.lit(month), name=pl.lit(None, pl.String), median_dollar_volume=pl.lit(1e7), close=pl.lit(50.0)
        )
        lake.write("universe", UNIVERSE.cast(rows), str(month))
    lake.write("corporate_actions", CORPORATE_ACTIONS.empty())
    return lake


def test_a_search_is_screened_and_what_is_accepted_becomes_a_feature_set(
    lake: Lake, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "horizon_of", lambda _: 1)  # the planted rule pays the next day
    given = {"lake": lake, "database": database}
    resources = {name: dg.ResourceDefinition.hardcoded_resource(value) for name, value in given.items()}
    with dg.DagsterInstance.ephemeral() as instance:
        made = partial(dg.materialize, instance=instance, resources=resources)
        search, ours = {"tries": 60, "count": 1}, {"expressions": [RULE.expression], "hypothesis": "calm gaps drift"}
        for config in (search, ours):
            run_config = {"ops": {"factor_proposals": {"config": config}}}
            assert made([factor_proposals], run_config=run_config).success
        proposed = library.factors(database.engine, "short", ["proposed"])
        assert set(instance.get_dynamic_partitions("factors")) == {factor.factor_id for factor in proposed}
        assert library.screened(database.engine) == 60
        for factor in proposed:
            assert made([factor_screening], partition_key=factor.factor_id).success
        (accepted,) = library.factors(database.engine, "short", ["accepted"])
        assert (accepted.proposed_by, accepted.hypothesis) == ("user", "calm gaps drift")
        assert accepted.figures is not None
        assert accepted.figures["screened"] == 61
        assert made([discovered_factors], partition_key="short").success
    rows = lake.read("discovered_factors")
    assert rows["factor_id"].to_list() == [accepted.factor_id]
    assert rows["feature_set"].unique().to_list() == ["discovered_short_1"]
    assert rows["made_on"][0] >= date(2020, 1, 1)
