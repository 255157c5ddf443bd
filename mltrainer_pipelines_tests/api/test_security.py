"""Who may ask what, how much and how often."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from mltrainer_pipelines.api.security import LARGEST_BODY
from mltrainer_pipelines.ops.installation_token import TokenFileError, load_token
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines_tests.api.installation import Installation, make_installation
from mltrainer_pipelines_tests.servers.dagster import Dagster


def test_the_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "home" / "api-token"
    token = load_token(path)
    assert len(token) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert load_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["api-token"]


def test_a_token_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "api-token").touch()
    with pytest.raises(TokenFileError, match="is empty; delete it"):
        load_token(tmp_path / "api-token")
    (tmp_path / "file").touch()
    with pytest.raises(TokenFileError, match="cannot be used"):
        load_token(tmp_path / "file" / "api-token")


def test_without_the_token_nothing_but_health_answers(installation: Installation) -> None:
    stranger = TestClient(installation.app, base_url="http://127.0.0.1:8000")
    document = installation.client.get("/openapi.json").json()
    asked = 0
    for path, operations in document["paths"].items():
        for method in operations:
            answer = stranger.request(method, path.replace("{number}", "1").replace("{trial_id}", "a").replace("{name}", "a"))
            asked += 1
            if path == "/health":
                assert answer.status_code == 200
                continue
            assert answer.status_code == 401, (method, path)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert asked > 35
    for path in ("/openapi.json", "/docs", "/redoc", "/", "/api/nothing"):
        assert stranger.get(path).status_code == 401
    wrong = {"Authorization": "Bearer something-else"}
    assert stranger.get("/api/settings", headers=wrong).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]:8000"])
def test_a_request_for_another_host_is_refused(installation: Installation, host: str) -> None:
    answer = installation.client.get("/health", headers={"Host": host})
    assert answer.status_code == 400
    assert "MLTRAINER_API_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost:8000", "LOCALHOST", "[::1]:8000", "127.0.0.1"])
def test_local_names_are_its_own(installation: Installation, host: str) -> None:
    assert installation.client.get("/health", headers={"Host": host}).status_code == 200


def test_a_further_host_and_origin_are_allowed_where_they_are_configured(
    tmp_path: Path, database: Database, dagster: Dagster, installation: Installation
) -> None:
    asked = {"Origin": "https://desk.example", "Access-Control-Request-Method": "GET"}
    assert "access-control-allow-origin" not in installation.client.get("/api/settings", headers=asked).headers
    wider = make_installation(
        tmp_path, database, dagster, mltrainer_api_hosts="desk.example", mltrainer_api_cors_origins="https://desk.example"
    )
    answer = wider.client.get("/api/settings", headers={**asked, "Host": "desk.example"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://desk.example"
    assert wider.client.options("/api/settings", headers=asked).status_code == 200


def test_a_body_above_the_limit_is_refused_announced_or_not(installation: Installation) -> None:
    large = b"x" * (LARGEST_BODY + 1)
    assert installation.client.put("/api/settings", content=large).status_code == 413
    pieces = (large[start : start + 50_000] for start in range(0, len(large), 50_000))
    answer = installation.client.put("/api/settings", content=pieces)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_who_asks_too_often_is_told_how_long_to_wait(tmp_path: Path, database: Database, dagster: Dagster) -> None:
    few = make_installation(tmp_path, database, dagster, mltrainer_api_reads_per_minute=3, mltrainer_api_jobs_per_minute=1)
    answers = [few.client.get("/api/settings") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 21
    assert few.client.get("/health").status_code == 200
    body = {"operation": "refresh_signals"}
    assert few.client.post("/api/facilitator/data-pipeline", json=body).status_code == 202
    assert few.client.post("/api/facilitator/data-pipeline", json=body).status_code == 429
    assert len(dagster.runs) == 1
