"""A smaller version of `mltrainer audit planted`."""

from datetime import date

from mltrainer_pipelines.audits.planted import audit_planted
from mltrainer_pipelines.audits.result import MODELS
from mltrainer_pipelines.audits.simulated_market import AuditMarket
from mltrainer_pipelines.trials.config import TrialConfig

CORE = [TrialConfig(model=model, timeframe="short") for model in MODELS]


def test_with_the_premium_both_core_models_find_it_and_know_what_it_is_worth():
    found = audit_planted(AuditMarket(last=date(2024, 9, 30)), CORE)
    assert found.passed, found.text()
    assert [trial["model"] for trial in found.findings["trials"]] == ["logistic_l2", "lightgbm"]
    for trial in found.findings["trials"]:
        assert trial["rank_ic_t"] > 3
        assert trial["proven"]
        assert trial["calibration_error"] <= 0.03
        assert trial["brier_skill"] > 0
