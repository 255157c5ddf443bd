"""Who may command Dagster and MLflow: their own pages, and who has the token; no page of anybody else."""

import asyncio
import base64
import os
import socket
import threading
from collections.abc import Iterator

import dagster as dg
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from mltrainer_pipelines.ops import mlflow_server, webserver
from mltrainer_pipelines.ops.dagster_internals import webserver_app
from mltrainer_pipelines.ops.request_guard import MAY_CHANGE, RequestGuard

TOKEN = "the-token-of-this-installation"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FOREIGN = "https://attacker.example"


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


async def _tell(request: object) -> PlainTextResponse:
    return PlainTextResponse(str(request.scope[MAY_CHANGE]))  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A server that says whether who asks may change something, behind the guard; its address."""
    routes = [Route("/{path:path}", _tell, methods=["GET", "POST", "PUT", "DELETE"]), WebSocketRoute("/ws", _echo)]
    app = RequestGuard(Starlette(routes=routes), TOKEN, frozenset({"desk.example"}), mlflow_server.changes)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # who comes early waits
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", proxy_headers=False))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", "localhost.attacker.example:80", "[::2]", ""])
def test_a_name_that_was_made_to_point_here_is_refused(guarded: str, host: str) -> None:
    assert httpx.get(guarded, headers={"Host": host, **BEARER}, trust_env=False).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:3000", "[::1]:3000", "desk.example"])
def test_a_name_of_ours_is_answered(guarded: str, host: str) -> None:
    assert httpx.get(guarded, headers={"Host": host}, trust_env=False).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://127.0.0.1:1", "http://localhost"])
def test_a_page_of_another_origin_is_refused_whatever_it_sends(guarded: str, method: str, origin: str) -> None:
    answer = httpx.request(method, f"{guarded}/x", headers={"Origin": origin, **BEARER}, trust_env=False)
    assert answer.status_code == 403


def test_what_a_foreign_page_embeds_without_an_origin_is_refused_and_a_link_on_it_opens_the_page(guarded: str) -> None:
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert httpx.get(guarded, headers=embedded, trust_env=False).status_code == 403
    followed = httpx.get(guarded, headers={**embedded, "Sec-Fetch-Mode": "navigate"}, trust_env=False)
    assert (followed.status_code, followed.text) == (200, "False")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/models/ensemble.pkl"),
        ("POST", "/api/2.0/mlflow/runs/create"),
        ("DELETE", "/api/2.0/mlflow/registered-models/delete"),
        ("GET", "/graphql"),
        ("POST", "/graphql"),
    ],
)
def test_a_program_changes_something_with_the_token_alone(guarded: str, method: str, path: str) -> None:
    def status(**headers: str) -> int:
        return httpx.request(method, guarded + path, headers=headers, trust_env=False).status_code

    assert status() == 401
    assert status(Authorization="Bearer something-else") == 401
    assert status(Authorization="Basic " + base64.b64encode(TOKEN.encode()).decode()) == 401
    assert status(**BEARER) == 200


def test_a_program_reads_without_the_token(guarded: str) -> None:
    for answer in (httpx.get(guarded, trust_env=False), httpx.post(f"{guarded}/api/2.0/mlflow/runs/search", trust_env=False)):
        assert (answer.status_code, answer.text) == (200, "False")


def test_its_own_page_changes_something_in_a_browser_of_the_same_user_alone(
    guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = guarded.removeprefix("http://").split(":")

    def status(connection: socket.socket) -> bytes:
        with connection:
            connection.settimeout(20)
            connection.connect((host, int(port)))
            head = f"PUT /x HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {guarded}\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(head.encode())
            return connection.recv(64).split()[1]

    assert status(socket.socket()) == b"200"
    user = os.geteuid()
    if user == 0:  # a socket is of the user who made it
        os.seteuid(65534)
        try:
            theirs = socket.socket()
        finally:
            os.seteuid(0)
    else:
        theirs = socket.socket()
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert status(theirs) == b"401"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": FOREIGN}, 403),
        ({"Origin": FOREIGN, **BEARER}, 403),
        ({"Host": "attacker.example", **BEARER}, 403),
        ({"Origin": "itself"}, 101),
        (BEARER, 101),
    ],
)
def test_a_websocket_opens_for_its_own_page_and_with_the_token(guarded: str, headers: dict[str, str], status: int) -> None:
    host, port = guarded.removeprefix("http://").split(":")
    lines = {"Host": f"{host}:{port}", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    lines |= {"Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), **headers}
    if lines.get("Origin") == "itself":
        lines["Origin"] = guarded
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(("GET /ws HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n").encode())
        assert connection.recv(64).split()[1] == str(status).encode()


WIPE = "mutation { wipeAssets(assetPartitionRanges: []) { __typename } }"
READ = "query { version }"


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Dagster's webserver as `ops.webserver` serves it, without a code location."""
    workspace = tmp_path_factory.mktemp("dagster") / "workspace.yaml"
    workspace.write_text("load_from: []\n")
    with dg.instance_for_test() as instance, webserver_app(instance, str(workspace), lambda *_: (), "") as app:
        yield TestClient(RequestGuard(app, TOKEN, frozenset(), webserver.changes), "http://127.0.0.1:3000")


@pytest.mark.parametrize("text", [WIPE, READ + " " + WIPE.replace("mutation", "mutation Other"), "# query\n" + WIPE])
def test_dagster_is_told_to_change_something_by_post_and_with_the_token_alone(dagster: TestClient, text: str) -> None:
    asked = {"query": text}
    assert dagster.get("/graphql", params=asked, headers=BEARER).status_code == 405
    assert dagster.get("/graphql", params=asked).status_code == 405
    assert dagster.post("/graphql", params=asked).status_code == 401
    assert dagster.post("/graphql", json=asked).status_code == 401
    assert dagster.post("/graphql", content=text, headers={"Content-Type": "application/graphql"}).status_code == 401
    assert dagster.post("/report_asset_materialization/daily_bars", json={}).status_code == 401


def test_dagster_does_what_who_has_the_token_asks_for_and_anybody_here_reads(dagster: TestClient) -> None:
    done = dagster.post("/graphql", json={"query": WIPE}, headers=BEARER).json()
    assert done["data"]["wipeAssets"]["__typename"] == "AssetWipeSuccess"
    for answer in (dagster.post("/graphql", json={"query": READ}), dagster.get("/graphql", params={"query": READ})):
        assert answer.json()["data"]["version"]


def test_dagsters_socket_stays_shut_for_foreign_pages(dagster: TestClient) -> None:
    for headers in ({"Host": "localhost"}, {"Host": "localhost", "Origin": FOREIGN, **BEARER}, BEARER):
        with pytest.raises(WebSocketDisconnect), dagster.websocket_connect("/graphql", headers=headers):
            pass
    with dagster.websocket_connect("/graphql", ["graphql-ws"], headers={"Host": "localhost", **BEARER}) as opened:
        opened.send_json({"type": "connection_init"})
        assert opened.receive_json() == {"type": "connection_ack"}
