"""The pages in front of an API with a small installation behind it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mltrainer_pipelines.ops.supervisor import free_port
from mltrainer_pipelines.ops.wait_for import answers
from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines_tests.api.installation import TOKEN, Installation, make_installation
from mltrainer_pipelines_tests.api.serving import served
from mltrainer_pipelines_tests.app.browser import chromium
from mltrainer_pipelines_tests.servers.dagster import Dagster, dagster_server


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: `MLTRAINER_SCREENSHOTS`, or a temporary folder."""
    chosen = os.environ.get("MLTRAINER_SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Served:
    """Streamlit, and the port where it looks for the API."""

    url: str
    api_port: int


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "api-token").write_text(TOKEN)
    port, api_port = free_port(), free_port()
    command = [sys.executable, "-m", "mltrainer_pipelines.app", "--port", str(port), "--api", f"http://127.0.0.1:{api_port}"]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen([*command, "--token-file", str(folder / "api-token")], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not answers(f"http://127.0.0.1:{port}/_stcore/health"):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, "Streamlit did not come up"
                time.sleep(0.1)
            yield Served(f"http://127.0.0.1:{port}", api_port)
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="session")
def _folder_and_dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Dagster]]:
    with dagster_server() as dagster:
        yield tmp_path_factory.mktemp("installation"), dagster


class GoneOnce:
    """An app in front of which the first connection for a path breaks in the middle of its answer."""

    def __init__(self, app: Any, path: str):
        self.app, self.path, self.gone = app, path, False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.gone or scope.get("path") != self.path:
            await self.app(scope, receive, send)
            return
        self.gone = True
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b"event: no", "more_body": True})


@dataclass
class House:
    """The installation, and the API in front of it, which can be switched off and on."""

    installation: Installation
    port: int
    _running: ExitStack = field(default_factory=ExitStack)

    def open_api(self, gone_once_at: str | None = None) -> None:
        """Serve; the connection of the first request for a path breaks in the middle of its answer."""
        app: Any = GoneOnce(self.installation.app, gone_once_at) if gone_once_at else self.installation.app
        self._running.enter_context(served(app, self.port))

    def close_api(self) -> None:
        self._running.close()


@pytest.fixture
def house(_folder_and_dagster: tuple[Path, Dagster], database: Database, pages: Served) -> Iterator[House]:
    folder, dagster = _folder_and_dagster
    dagster.runs.clear()
    found = House(make_installation(folder, database, dagster), pages.api_port)
    found.open_api()
    yield found
    found.close_api()
