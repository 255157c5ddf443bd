"""The facilitator: models and the pipeline through Dagster, results, and the state of the system."""

import pytest

from mltrainer_pipelines_tests.api.installation import LAST, Installation, submit
from mltrainer_pipelines_tests.servers.dagster import QUARTERS


def test_a_model_is_run_as_a_trial_over_all_quarters(installation: Installation) -> None:
    body = {"model": "lightgbm", "timeframe": "short", "rationale": "to see"}
    answer = installation.client.post("/api/facilitator/execute-model", json=body)
    assert answer.status_code == 202, answer.text
    trial_id = answer.json()["trial_id"]
    (run,) = installation.dagster.runs
    assert (run.job, answer.json()["run"]["run_id"]) == ("walk_forward", run.run_id)
    assert run.tags["dagster/asset_partition_range_start"] == f"{QUARTERS[0]}|{trial_id}"
    assert run.tags["dagster/asset_partition_range_end"] == f"{QUARTERS[-1]}|{trial_id}"
    assert installation.dagster.partitions == {"trials": [trial_id]}
    assert installation.client.get(f"/api/trials/{trial_id}").json()["status"] == "created"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "lightgmb", "timeframe": "short"}, "did you mean lightgbm"),
        ({"model": "lightgbm", "timeframe": "short", "params": {"num_leaves": 10**6}}, "num_leaves"),
        ({"model": "lightgbm", "timeframe": "short", "feature_set": "secret"}, "feature_set"),
        ({"model": "lightgbm"}, "body.timeframe"),
    ],
)
def test_a_model_that_cannot_run_starts_nothing(installation: Installation, body: dict, said: str) -> None:
    answer = installation.client.post("/api/facilitator/execute-model", json=body)
    assert answer.status_code == 422
    assert said in answer.text
    assert installation.dagster.runs == []
    assert installation.client.get("/api/trials").json()["trials_run"] == 0


def test_parts_of_the_pipeline_are_run_with_their_partitions(installation: Installation) -> None:
    for body in (
        {"operation": "ingest"},
        {"operation": "build_features"},
        {"operation": "promote_champion"},
        {"operation": "learn"},
    ):
        assert installation.client.post("/api/facilitator/data-pipeline", json=body).status_code == 202
    ingest, build, promote, learn = installation.dagster.runs
    assert (ingest.job, ingest.tags["dagster/partition"]) == ("ingest_session", str(LAST))
    assert (build.job, build.tags["dagster/asset_partition_range_end"]) == ("build_features", "2024-03-01")
    assert promote.tags["dagster/asset_partition_range_start"] == "short"
    assert learn.tags["mltrainer/started_by"] == "api"


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "ingest", "session": "2024-03-29"},
        {"operation": "ingest", "session": "2030-01-02"},
        {"operation": "ingest", "session": "1999-01-04"},
        {"operation": "build_features", "month": "2025-01-01"},
        {"operation": "learn", "session": str(LAST)},
        {"operation": "score_trial"},
        {"operation": "sell_everything"},
    ],
)
def test_a_part_that_cannot_run_starts_nothing(installation: Installation, body: dict) -> None:
    assert installation.client.post("/api/facilitator/data-pipeline", json=body).status_code == 422
    assert installation.dagster.runs == []


def test_no_more_is_started_while_many_runs_are_unfinished(installation: Installation) -> None:
    for _ in range(50):
        assert installation.client.post("/api/facilitator/data-pipeline", json={"operation": "learn"}).status_code == 202
    refused = installation.client.post("/api/facilitator/data-pipeline", json={"operation": "learn"})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    installation.dagster.finish()
    assert installation.client.post("/api/facilitator/data-pipeline", json={"operation": "learn"}).status_code == 202


def test_results_are_kept_with_their_trial(installation: Installation) -> None:
    trial_id = submit(installation.database, "lightgbm", "short", 1)
    body = {"trial_id": trial_id, "results": {"looked_at": 40, "kept": ["AAA"]}, "notes": "by hand"}
    saved = installation.client.post("/api/facilitator/save-results", json=body)
    assert saved.status_code == 201
    (found,) = installation.client.get(f"/api/facilitator/save-results/{trial_id}").json()["items"]
    assert (found["results"], found["notes"]) == ({"looked_at": 40, "kept": ["AAA"]}, "by hand")
    assert installation.client.post("/api/facilitator/save-results", json={**body, "trial_id": "nobody"}).status_code == 404
    nul = {**body, "results": {"a": {"b": ["x\x00"]}}}
    assert installation.client.post("/api/facilitator/save-results", json=nul).status_code == 422


def test_the_status_says_how_everything_is_and_never_a_key(installation: Installation) -> None:
    installation.client.post("/api/facilitator/data-pipeline", json={"operation": "refresh_signals"})
    installation.dagster.finish()
    found = installation.client.get("/api/facilitator/system-status").json()
    assert found["places_orders"] is False
    assert found["services"] == {"postgresql": True, "dagster": True, "mlflow": False, "exchange": False}
    assert found["last_refresh"]["signals"] == 5
    assert found["last_refresh"]["run"]["seconds"] == 7.5
    assert {asset["asset"]: asset["sessions_behind"] for asset in found["pipeline"]["assets"]}["daily_bars"] == 0
    assert found["keys"] == dict.fromkeys(("POLYGON_API_KEY", "FRED_API_KEY", "ANTHROPIC_API_KEY", "MLTRAINER_NOTIFY"), False)
    assert found["budget"]["autonomy"] == "manual"
    assert found["clock_pinned"] is True


def test_a_dagster_that_is_away_is_said_and_not_guessed(installation: Installation) -> None:
    from mltrainer_pipelines.ops.dagster_client import DagsterClient

    context = installation.app.state.context
    object.__setattr__(context, "dagster", DagsterClient("http://127.0.0.1:1"))
    found = installation.client.get("/api/facilitator/system-status").json()
    assert "does not answer" in found["jobs_error"]
    assert found["services"]["dagster"] is False
    answer = installation.client.post("/api/facilitator/data-pipeline", json={"operation": "learn"})
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")


def test_alerts_stay_until_somebody_acknowledges_them(installation: Installation) -> None:
    from mltrainer_pipelines.store.alerts import raise_alert

    raise_alert(installation.database.engine, "run-1", "run_failure", "error", "the run of learn failed; see its log")
    (alert,) = installation.client.get("/api/facilitator/system-status").json()["alerts"]
    assert installation.client.post(f"/api/alerts/{alert['id']}/acknowledge").status_code == 204
    assert installation.client.get("/api/alerts").json()["items"] == []
    assert installation.client.get("/api/alerts", params={"open_only": False}).json()["items"][0]["acknowledged_by"] == "user"
    assert installation.client.post("/api/alerts/99/acknowledge").status_code == 404
