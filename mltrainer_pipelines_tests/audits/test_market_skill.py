"""Skill on an installation's market: kept, shown, and measured again when it is due."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl

from mltrainer_pipelines.audits.market_skill import newest_skill, record_skill, skill_is_due
from mltrainer_pipelines.audits.skill import SkillAudit
from mltrainer_pipelines.defs.trials.assets import market_skill
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines.store.lake import Lake

MODEL = {"kind": "default", "default": True, "t": 2.5, "neutral_rank_ic": 0.02, "top_decile_excess": 0.001, "turnover": 0.3}
BOUNDS = {"top_decile_excess_low": 0.0001, "top_decile_excess_high": 0.002}


def measured(last: str, rank_ic: float = 0.03) -> SkillAudit:
    models = [
        {"name": "momentum_12_1", **MODEL, **BOUNDS, "kind": "feature", "default": False, "rank_ic": 0.01},
        {"name": "rank_mix", **MODEL, **BOUNDS, "rank_ic": rank_ic},
    ]
    short = {"verdict": "beats what a spreadsheet does", "passed": True, "sessions": 3, "models": models}
    found = {"passed": True, "verdict": "The default models beat it.", "first": "2024-01-02", "last": last}
    days = [date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1)]
    curves = {"short": {"rank_mix": pl.DataFrame({"date": days, "ic": [0.1, 0.2, -0.1]})}}
    return SkillAudit("made", found | {"timeframes": {"short": short}}, pl.DataFrame(), curves)


def test_the_newest_measurement_is_kept_with_monthly_sums_and_due_again_in_the_next_quarter(database: Database) -> None:
    engine, last = database.engine, date(2024, 3, 28)
    assert newest_skill(engine) is None
    assert skill_is_due(engine, last)
    record_skill(engine, measured(str(last), 0.01))
    record_skill(engine, measured(str(last), 0.03))
    stored = newest_skill(engine)
    assert stored is not None
    assert stored.findings["timeframes"]["short"]["models"][1]["rank_ic"] == 0.03
    assert stored.curves == {"short": {"rank_mix": [["2024-01-31", 0.3], ["2024-02-01", 0.2]]}}
    assert not skill_is_due(engine, last)
    assert skill_is_due(engine, last + timedelta(days=4))


def test_a_market_that_was_not_ingested_is_said_and_is_no_failure(database: Database, tmp_path: Path) -> None:
    resources = {"lake": Lake(str(tmp_path)), "database": database}
    with dg.instance_for_test() as instance:
        done = dg.materialize([market_skill], resources=resources, instance=instance)
    (made,) = done.asset_materializations_for_node("market_skill")
    assert "no universe or no labels yet" in str(made.metadata["status"].value)
    assert newest_skill(database.engine) is None
