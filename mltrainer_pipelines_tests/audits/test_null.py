"""A smaller version of `mltrainer audit null`."""

import json
from datetime import date

import pytest

from mltrainer_pipelines.audits.null import audit_null
from mltrainer_pipelines.audits.simulated_market import AuditMarket


def test_without_a_premium_no_trial_is_proven_and_nothing_looks_likely():
    market = AuditMarket(seed=11, symbols=40, premium=0.0, last=date(2024, 3, 29))
    shares = []
    found = audit_null(3, market, progress=lambda what, share: shares.append(share), defaults=["rank_ridge"])
    assert found.passed
    assert found.findings["trials"] == 5
    assert found.findings["leanings_worth_something"] == []
    for excess, low, high in found.findings["worth_of_default_leanings"].values():
        assert low <= excess <= high
        assert low <= 0.0 <= high
    assert found.findings["proven"] == 0
    assert set(found.findings["champion_grades"].values()) == {"candidate"}
    assert found.findings["share_of_predictions_from_0.60"] <= 0.005
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert json.loads(json.dumps(found.as_dict()))["passed"] is True


def test_the_null_audit_refuses_a_market_with_a_premium():
    with pytest.raises(ValueError, match=r"premium=0\.5"):
        audit_null(2, AuditMarket(premium=0.5))


def test_a_null_audit_that_was_stopped_goes_on_where_it_was(tmp_path):
    market = AuditMarket(seed=11, symbols=15, premium=0.0, last=date(2023, 9, 29))
    steps = []

    def stopped(what, share):
        steps.append(what)
        if share > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit_null(2, market, stopped, cache=tmp_path, defaults=())
    cached = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pickle")}
    assert [path.stem for path in cached] == [steps[-1]]
    found = audit_null(2, market, cache=tmp_path, defaults=())
    assert found.findings["trials"] == 2
    assert {path: path.stat().st_mtime_ns for path in cached} == cached
    assert {**found.as_dict(), "seconds": 0} == {**audit_null(2, market, cache=tmp_path, defaults=()).as_dict(), "seconds": 0}
