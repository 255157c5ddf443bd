"""Trying an expression by the API."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.store.tables import TrialLook
from mltrainer_pipelines.trials.factors.library import save_verdict
from mltrainer_pipelines.trials.factors.screening import Verdict
from mltrainer_pipelines.trials.run_requests import get_request
from mltrainer_pipelines_tests.api.installation import COMPANIES, Installation
from mltrainer_pipelines_tests.servers.dagster import Dagster


def test_an_expression_is_computed_on_the_newest_sessions(installation: Installation) -> None:
    answer = installation.client.get("/api/factors/try", params={"expression": "close / Ref(open, 5)", "sessions": 20})
    assert answer.status_code == 200, answer.text
    tried = answer.json()
    assert tried["expression"] == "(close / Ref(open, 5))"
    assert tried["look_back"] == 5
    assert tried["coverage"] == 1.0
    assert [one["horizon"] for one in tried["decay"]] == [1, 5, 10, 21, 63]
    assert {one["symbol"] for one in tried["newest"]} == set(COMPANIES)
    with installation.database.engine.connect() as connection:
        assert connection.scalars(sa.select(TrialLook.subject)).all() == ["factor: (close / Ref(open, 5))"]
    assert tried["quantiles"]["0"] <= tried["quantiles"]["0.5"] <= tried["quantiles"]["1"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("close + volume", "no common unit"),
        ("Ref(close, -1)", "look ahead"),
        ("cl\u043ese", "CYRILLIC"),
        ("close / close", "for every symbol and session"),
        ("(" * 3000, "nested too deeply"),
        ("Mean(close, 500)", "looks back 499 sessions"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_a_sentence(installation: Installation, expression: str, message: str) -> None:
    answer = installation.client.get("/api/factors/try", params={"expression": expression})
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


def test_a_factor_is_proposed_screened_on_request_and_never_twice(installation: Installation, dagster: Dagster) -> None:
    idea = {"expression": "-1*(close/Ref(close,5)-1)", "timeframe": "short", "hypothesis": "overreaction"}
    made = installation.client.post("/api/factors", json=idea)
    assert made.status_code == 201, made.text
    factor = made.json()
    assert (factor["status"], factor["expression"]) == ("proposed", "(-1 * ((close / Ref(close, 5)) - 1))")
    again = installation.client.post("/api/factors", json={**idea, "expression": "-1 * (close / Ref(close, 5) - 1)"})
    assert again.status_code == 422
    assert "in the library already" in again.json()["detail"]
    asked = installation.client.post(f"/api/factors/{factor['factor_id']}/screen")
    assert asked.status_code == 202, asked.text
    with installation.database.engine.connect() as connection:
        request = get_request(connection, asked.json()["request_id"])
    assert (request.job, request.params) == ("screen_factors", {"partition": factor["factor_id"]})
    listed = installation.client.get("/api/factors").json()
    assert (listed["total"], listed["counts"], listed["screened"]) == (1, {"proposed": 1}, 0)
    verdict = Verdict(False, "its p of 0.3 does not survive 1 factors screened", p=0.3, screened=1)
    save_verdict(installation.database.engine, factor["factor_id"], verdict, datetime.now(UTC), "run", "data")
    refused = installation.client.post(f"/api/factors/{factor['factor_id']}/screen")
    assert refused.status_code == 409
    assert installation.client.post("/api/factors/nosuch/screen").status_code == 404
    assert installation.client.get("/api/factors").json()["items"][0]["reason"] == verdict.reason
