"""Run-time settings: versioned, refused where they cannot be, taken back."""

import pytest

from mltrainer_pipelines_tests.api.installation import Installation, propose


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


def test_switching_the_agent_off_cancels_what_it_started_and_rejects_what_waits(installation: Installation) -> None:
    say = {"message": "refresh the signals"}
    installation.client.post("/api/chat", json=say)
    installation.client.post("/api/chat", json={"message": "yes"})
    by_user = installation.client.post("/api/facilitator/data-pipeline", json={"operation": "learn"}).json()["run_id"]
    number = propose(installation.database)
    installation.client.post(f"/api/proposals/{number}/approve")
    installation.client.post("/api/chat", json=say)
    off = installation.client.put("/api/settings", json={"values": {"agent_enabled": False}, "reason": "enough"})
    assert _value(off.json(), "agent_enabled") is False
    runs = {run.run_id: run.status for run in installation.dagster.runs}
    assert runs.pop(by_user) != "CANCELED"
    assert set(runs.values()) == {"CANCELED"}
    installation.app.state.agent.system.start_requested()  # whoever looks next
    stopped = installation.client.get(f"/api/proposals/{number}").json()
    assert (stopped["status"], stopped["result"]["error"]) == ("failed", "it was cancelled")
    assert installation.client.get("/api/actions").json()["pending"] == 0
