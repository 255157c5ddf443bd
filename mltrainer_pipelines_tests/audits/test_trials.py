"""Smaller versions of `mltrainer audit null` and `mltrainer audit planted`."""

import json
from datetime import date

import pytest

from mltrainer_pipelines.audits.trials import AuditMarket, audit_null, audit_planted


def test_without_a_premium_no_trial_is_proven_and_nothing_looks_likely():
    market = AuditMarket(seed=11, symbols=40, premium=0.0, last=date(2024, 3, 29))
    told = []
    found = audit_null(4, market, progress=lambda what, share: told.append(share))
    assert found.passed
    assert found.findings["trials"] == 4
    assert found.findings["proven"] == 0
    assert set(found.findings["champion_grades"].values()) == {"candidate"}
    assert found.findings["share_of_predictions_from_0.60"] <= 0.005
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert json.loads(json.dumps(found.as_dict()))["passed"] is True


def test_with_the_premium_both_core_models_find_it_and_know_what_it_is_worth():
    found = audit_planted(AuditMarket(last=date(2024, 9, 30)), timeframes=["short"])
    assert found.passed, found.text()
    assert [trial["model"] for trial in found.findings["trials"]] == ["logistic_l2", "lightgbm"]
    for trial in found.findings["trials"]:
        assert trial["rank_ic_t"] > 3
        assert trial["proven"]
        assert trial["calibration_error"] <= 0.03
        assert trial["brier_skill"] > 0


def test_the_null_audit_refuses_a_market_with_a_premium():
    with pytest.raises(ValueError, match=r"premium=0\.5"):
        audit_null(2, AuditMarket(premium=0.5))


def test_a_null_audit_that_was_stopped_goes_on_where_it_was(tmp_path):
    market = AuditMarket(seed=11, symbols=15, premium=0.0, last=date(2023, 9, 29))
    told = []

    def stopped(what, share):
        told.append(what)
        if share > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit_null(2, market, stopped, kept_in=tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pickle")}
    assert [path.stem for path in kept] == [told[-1]]
    found = audit_null(2, market, kept_in=tmp_path)
    assert found.findings["trials"] == 2
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert {**found.as_dict(), "seconds": 0} == {**audit_null(2, market, kept_in=tmp_path).as_dict(), "seconds": 0}
