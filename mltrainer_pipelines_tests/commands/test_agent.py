"""The agent from a terminal, on the database and the Dagster of a running installation."""

import fcntl
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mltrainer_pipelines import cli
from mltrainer_pipelines.ops import state_dir
from mltrainer_pipelines.settings import Settings, get_settings
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines_tests.api.installation import make_installation
from mltrainer_pipelines_tests.servers.dagster import dagster_server


def test_a_running_action_is_stopped_by_its_number(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"MLTRAINER_HOME": str(tmp_path), "MLTRAINER_DATABASE_URL": database.url, "POLYGON_API_KEY": "a-key-of-the-test"}
    monkeypatch.setattr(os, "environ", {**os.environ, **given})
    get_settings.cache_clear()
    settings = Settings()
    settings.state.mkdir(parents=True)
    with dagster_server() as dagster, open(settings.state / "up.lock", "a") as lock:
        installation = make_installation(tmp_path, database, dagster, polygon_api_key="a-key-of-the-test")
        fcntl.flock(lock, fcntl.LOCK_EX)
        state_dir.announce(settings, {"dagster": dagster.url})
        for message in ("refresh the signals", "yes"):
            installation.client.post("/api/chat", json={"session_id": "s", "message": message})
        assert [run.status for run in dagster.runs] == ["QUEUED"]
        stopped = CliRunner().invoke(cli.app, ["agent", "stop", "--action", "1", "--json"])
        assert json.loads(stopped.stdout)["status"] == "stopped", stopped.output
        assert [run.status for run in dagster.runs] == ["CANCELED"]
        again = CliRunner().invoke(cli.app, ["agent", "stop", "--action", "1"])
        assert again.exit_code == 1
        assert "action 1 is stopped; only one that runs can be stopped" in again.output
        settings_now = installation.client.get("/api/settings").json()["settings"]
        assert next(one["value"] for one in settings_now if one["name"] == "agent_enabled") is True
    get_settings.cache_clear()
