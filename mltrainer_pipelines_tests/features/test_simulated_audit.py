"""`mltrainer audit causality` on a small simulated market: everything between raw bars and training rows."""

import json
from dataclasses import replace
from datetime import date

import polars as pl
import pytest
from typer.testing import CliRunner

from mltrainer_pipelines.audits.causality import (
    EVERY_SET,
    CausalityMarket,
    SimulatedAudit,
    audit_simulated_market,
    rows_not_over,
)
from mltrainer_pipelines.cli import app
from mltrainer_pipelines.contracts.timeframes import LONG
from mltrainer_pipelines.features.causality import Violation
from mltrainer_pipelines.features.labels.barriers import Barriers
from mltrainer_pipelines.features.labels.labels import compute_labels
from mltrainer_pipelines.features.registry import UnknownFeatureSetError, get_feature_set
from mltrainer_pipelines.trials.validation.windows import quarter_window
from mltrainer_pipelines_tests.features import panels

SMALL = CausalityMarket(seed=21, symbols=16, first=date(2023, 1, 3), last=date(2023, 7, 31), members=11, cuts=3, sessions=2)


def test_everything_between_raw_bars_and_training_rows_of_every_set_is_causal():
    found = audit_simulated_market(None, SMALL)
    assert found.passed, found.text()
    assert len(found.cuts) == 3
    assert found.training_rows > 1000
    for feature_set in EVERY_SET:
        assert set(get_feature_set(feature_set).names) <= set(found.checked)
    for name in ("adjusted.adj_close", "universe.rows", "universe.rank", "regime.score", "regime.crash", "regime.curve",
                 "labels.short.exit_date", "labels.long.net_return", "rate_10y", "return_21_sector_rank"):  # fmt: skip
        assert found.checked[name] > 0, name


def test_universe_membership_changes_and_companies_fail_in_the_audited_market():
    market = CausalityMarket()
    frames = market.frames()
    last = frames.bars.group_by("symbol").agg(pl.col("date").max())["date"]
    assert last.filter((last > market.first) & (last < frames.bars["date"].max())).len() >= 2
    assert frames.regimes.filter(pl.col("date") >= market.first)["regime"].n_unique() == 3
    assert market.members < market.symbols
    assert frames.actions.filter(kind="split").height > 0


def test_a_training_row_that_reaches_into_its_window_is_counted():
    frame = panels.bars(4, 260)
    days = panels.days(frame)
    labels = compute_labels(frame, panels.universe(frame), LONG, Barriers(9.0, 9.0), 10.0, days[0], days[-1])
    window = quarter_window(date(2019, 10, 1), date(2020, 1, 1), days, 200)
    honest, decided_before = labels.filter(window.trains), labels.filter(pl.col("date") < window.test_first)
    assert honest.height > 0
    assert rows_not_over(honest, window) == 0
    # Without the purge the last 70 sessions' positions are still open when the window starts.
    assert rows_not_over(decided_before.drop_nulls("label"), window) > 100


def test_a_violation_or_an_unpurged_row_fails_the_audit_and_is_told_by_name():
    clean = SimulatedAudit(("momentum",), (date(2023, 5, 3),), {"return_5": 100}, (), 50, {}, 1.0)
    assert clean.passed
    leak = Violation("planted", date(2023, 5, 3), "noise", date(2023, 5, 2), "ABC", 7)
    failed = replace(clean, violations=(leak,))
    assert not failed.passed
    assert failed.as_dict()["leaking"] == ["planted"]
    assert "planted: 7 values differ at the cut 2023-05-03 (noise), first on 2023-05-02 for ABC" in failed.text()
    assert not replace(clean, unpurged={"long 2023-04-03": 2}).passed
    assert not replace(clean, training_rows=0).passed


def test_the_command_prints_one_json_object_with_passed():
    done = CliRunner().invoke(app, ["audit", "causality", "--set", "macro", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["passed"] is True
    assert said["sets"] == ["macro"]
    assert said["market"] == "simulated"
    assert said["violations"] == []
    assert len(said["cuts"]) == CausalityMarket().cuts


def test_a_set_that_is_not_there_is_named():
    with pytest.raises(UnknownFeatureSetError, match="'best'"):
        audit_simulated_market("best", SMALL)
    done = CliRunner().invoke(app, ["audit", "causality", "--set", "best"])
    assert done.exit_code == 1
    assert "there is no feature set 'best'" in done.stderr
