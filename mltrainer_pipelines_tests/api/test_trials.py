"""Trials, models and proposals."""

import sqlalchemy as sa

from mltrainer_pipelines.audits.market_skill import record_skill
from mltrainer_pipelines.models.registry import list_models
from mltrainer_pipelines.store import tables
from mltrainer_pipelines_tests.api.installation import Installation, propose, submit
from mltrainer_pipelines_tests.audits.test_market_skill import measured


def test_the_leaderboard_comes_best_first_with_intervals_and_links(installation: Installation) -> None:
    second = submit(installation.database, "logistic_l2", "short", 2)
    first = submit(installation.database, "lightgbm", "short", 1)
    submit(installation.database, "lightgbm", "long", 1)
    with installation.database.engine.begin() as connection:
        decision = {
            "timeframe": "short",
            "trial_id": first,
            "decision": "promoted",
            "grade": "candidate",
            "reasons": ["it leads"],
        }
        connection.execute(sa.insert(tables.Promotion).values(**decision, model_version="3"))
    found = installation.client.get("/api/trials", params={"timeframe": "short"}).json()
    assert [trial["trial_id"] for trial in found["items"]] == [first, second]
    best = found["items"][0]
    assert (best["rank"], best["champion"], best["net_return_low"], best["net_return_high"]) == (1, True, -0.01, 0.2)
    assert best["dagster_url"].endswith("/runs/run-9")
    assert found["trials_run"] == 3
    assert found["champions"][0]["reasons"] == ["it leads"]
    models = {model["id"]: model for model in installation.client.get("/api/models").json()["items"]}
    assert set(models) == {spec.id for spec in list_models()}
    assert (models["lightgbm"]["trials"], models["lightgbm"]["champion_of"]) == (2, ["short"])
    assert models["lightgbm"]["parameters"][0]["allowed"]


def test_one_trial_comes_with_its_quarters_in_order_and_its_equity_compounded(installation: Installation) -> None:
    trial_id = submit(installation.database, "lightgbm", "short", 1)
    detail = installation.client.get(f"/api/trials/{trial_id}").json()
    assert [point["quarter"] for point in detail["equity"]] == ["2023-07-01", "2023-10-01"]
    assert abs(detail["equity"][-1]["equity"] - 1.05**2) < 1e-12
    assert "per_quarter" not in detail["metrics"]
    assert installation.client.get("/api/trials/nobody-short-00000000").status_code == 404
    missing = installation.client.get(f"/api/trials/{trial_id}/calibration")
    assert (missing.status_code, missing.json()["detail"]) == (404, f"{trial_id} has no predictions yet")


def test_skill_on_this_market_comes_best_first_and_says_when_it_was_never_measured(installation: Installation) -> None:
    assert installation.client.get("/api/skill").json()["measured_at"] is None
    record_skill(installation.database.engine, measured("2024-03-28"))
    found = installation.client.get("/api/skill?again=1").json()  # an answer is kept for a second
    (short,) = found["timeframes"]
    assert [model["name"] for model in short["models"]] == ["rank_mix", "momentum_12_1"]
    assert short["curves"][0]["months"] == [["2024-01-31", 0.3], ["2024-02-01", 0.2]]
    assert (found["first_session"], found["last_session"], found["passed"]) == ("2024-01-02", "2024-03-28", True)


def test_a_proposal_is_approved_or_rejected_once(installation: Installation) -> None:
    number, other = propose(installation.database), propose(installation.database, "lightgbm-long-cccccccc")
    assert installation.client.get("/api/proposals").json()["waiting"] == 2
    approved = installation.client.post(f"/api/proposals/{number}/approve").json()
    assert (approved["status"], approved["decided_by"]) == ("launched", "user")
    (run,) = installation.dagster.runs
    assert (run.run_id, run.tags["mltrainer/proposal"]) == (approved["run_id"], str(number))
    again = installation.client.post(f"/api/proposals/{number}/reject")
    assert again.status_code == 409
    assert "is launched" in again.json()["detail"]
    assert installation.client.post(f"/api/proposals/{other}/reject").json()["status"] == "rejected"
    assert installation.client.post("/api/proposals/99/approve").status_code == 404
    assert installation.client.get("/api/proposals", params={"status": "launched"}).json()["total"] == 1


def test_proposers_are_compared_by_the_best_so_far(installation: Installation) -> None:
    submit(installation.database, "logistic_l2", "short", 2)
    submit(installation.database, "lightgbm", "short", 1)
    (record,) = installation.client.get("/api/proposals/comparison").json()["items"]
    assert (record["proposer"], record["best_deflated_sharpe"]) == ("tpe", [0.45, 0.9])


def test_the_regime_comes_with_its_history(installation: Installation) -> None:
    found = installation.client.get("/api/regime", params={"sessions": 5}).json()
    assert len(found["history"]) == 5
    assert found["latest"] == found["history"][-1]
    assert found["latest"]["credit"] is None
