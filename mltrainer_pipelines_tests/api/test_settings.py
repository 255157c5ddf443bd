"""Run-time settings: versioned, refused where they cannot be, taken back."""

import pytest

from mltrainer_pipelines_tests.api.installation import Installation


def _value(answer: dict, name: str) -> object:
    return next(setting["value"] for setting in answer["settings"] if setting["name"] == name)


def test_a_change_makes_a_version_and_is_taken_back(installation: Installation) -> None:
    before = installation.client.get("/api/settings").json()
    assert (before["version"], _value(before, "min_confidence")) == (0, 0.7)
    body = {"values": {"min_confidence": 0.9, "autonomy": "budgeted"}, "reason": "surer ones", "if_version": 0}
    after = installation.client.put("/api/settings", json=body).json()
    assert (_value(after, "min_confidence"), _value(after, "autonomy"), after["version"]) == (0.9, "budgeted", 2)
    assert {change["reason"] for change in after["history"]} == {"surer ones"}
    assert installation.client.put("/api/settings", json=body).status_code == 409
    back = installation.client.post("/api/settings/min_confidence/revert").json()
    assert (_value(back, "min_confidence"), back["version"]) == (0.7, 3)
    assert installation.client.post("/api/settings/min_regime_score/revert").status_code == 409
    assert installation.client.post("/api/settings/nothing/revert").status_code == 404


def test_a_value_that_holds_already_makes_no_version(installation: Installation) -> None:
    answer = installation.client.put("/api/settings", json={"values": {"min_confidence": 0.7}})
    assert answer.json()["version"] == 0


@pytest.mark.parametrize(
    "values", [{"min_confidence": 1.5}, {"min_confidence": "high"}, {"nothing": 1}, {"autonomy": "full"}, {}]
)
def test_what_a_setting_cannot_be_is_refused_whole(installation: Installation, values: dict) -> None:
    answer = installation.client.put("/api/settings", json={"values": {**values, "min_regime_score": 30} if values else {}})
    assert answer.status_code == 422
    assert installation.client.get("/api/settings").json()["version"] == 0
