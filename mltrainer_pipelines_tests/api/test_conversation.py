"""The chat over the API, and the actions that come of it."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from mltrainer_pipelines.store.database import Database
from mltrainer_pipelines_tests.api.installation import Installation, make_installation
from mltrainer_pipelines_tests.api.serving import served
from mltrainer_pipelines_tests.servers.anthropic import Said, Turn, anthropic_server
from mltrainer_pipelines_tests.servers.dagster import Dagster


def say(installation: Installation, text: str, session: str = "main") -> list[tuple[str, dict[str, Any]]]:
    answer = installation.client.post("/api/chat", json={"session_id": session, "message": text})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events_of(answer.text)


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_a_question_is_answered_and_kept(installation: Installation) -> None:
    events = say(installation, "what is the regime?")
    assert [name for name, _ in events][-1] == "done"
    assert "score" in "".join(data["text"] for name, data in events if name == "text")
    history = installation.client.get("/api/chat/history").json()["items"]
    assert [(said["role"], said["turn"]) for said in history] == [("user", 1), ("assistant", 1)]


def test_what_computes_waits_for_a_yes_and_then_runs_once(installation: Installation) -> None:
    events = say(installation, "refresh the signals")
    (action,) = [data for name, data in events if name == "action"]
    assert action["status"] == "pending"
    assert installation.dagster.runs == []
    listed = installation.client.get("/api/actions").json()
    assert (listed["pending"], listed["items"][0]["id"]) == (1, action["id"])
    approved = installation.client.post(f"/api/actions/{action['id']}/approve").json()
    assert approved["status"] == "running"
    assert [run.job for run in installation.dagster.runs] == ["refresh_signals"]
    assert installation.dagster.runs[0].tags["mltrainer/started_by"] == "agent"
    assert installation.client.post(f"/api/actions/{action['id']}/approve").status_code == 409
    assert len(installation.dagster.runs) == 1
    installation.dagster.finish()
    followed = installation.client.post("/api/chat/follow", json={"timeout_s": 5})
    assert "result" in [name for name, _ in events_of(followed.text)]
    done = installation.client.get(f"/api/actions/{action['id']}").json()
    assert done["status"] == "done"
    assert done["result"]["market"] == "simulated"


def test_yes_in_words_is_as_good_as_a_click(installation: Installation) -> None:
    say(installation, "increase the confidence threshold to 90 %")
    say(installation, "yes")
    settings = installation.client.get("/api/settings").json()["settings"]
    assert next(setting["value"] for setting in settings if setting["name"] == "min_confidence") == 0.9


def test_a_dismissed_action_never_runs(installation: Installation) -> None:
    (action,) = [data for name, data in say(installation, "refresh the signals") if name == "action"]
    assert installation.client.post(f"/api/actions/{action['id']}/reject").json()["status"] == "rejected"
    assert installation.client.post(f"/api/actions/{action['id']}/approve").status_code == 409
    assert installation.dagster.runs == []


def test_conversations_are_apart(installation: Installation) -> None:
    say(installation, "status", "one")
    assert installation.client.get("/api/chat/history", params={"session_id": "two"}).json()["items"] == []
    assert installation.client.get("/api/chat/history", params={"session_id": "one"}).json()["items"] != []


def test_conversations_are_begun_listed_searched_renamed_and_deleted(installation: Installation) -> None:
    client = installation.client
    begun = client.post("/api/conversations", json={"title": "Small caps"}).json()
    say(installation, "what is the regime of small caps?", begun["session_id"])
    say(installation, "refresh the signals")
    assert [one["title"] for one in client.get("/api/conversations").json()["items"]] == ["refresh the signals", "Small caps"]
    assert client.patch("/api/conversations/main", json={"title": "  Daily  work "}).status_code == 204

    def found(search: str) -> list[str]:
        return [one["title"] for one in client.get("/api/conversations", params={"search": search}).json()["items"]]

    assert found("WORK") == found("refresh the") == ["Daily work"]
    assert found("regime of small") == ["Small caps"]
    assert found("100%") == found("text") == []
    assert client.delete("/api/conversations/main").status_code == 204
    assert [one["status"] for one in client.get("/api/actions").json()["items"]] == ["rejected"]
    assert client.get("/api/actions", params={"session_id": "main"}).json()["items"] == []
    assert client.get("/api/chat/history").json()["items"] == []
    say(installation, "status")
    assert found("status") == ["status"]
    for method in ("PATCH", "DELETE"):
        body = {"title": "x"} if method == "PATCH" else None
        assert client.request(method, "/api/conversations/nobody", json=body).status_code == 404


def test_a_running_action_is_stopped_by_itself(installation: Installation) -> None:
    (action,) = [data for name, data in say(installation, "refresh the signals") if name == "action"]
    assert installation.client.post(f"/api/actions/{action['id']}/stop").status_code == 409
    assert (
        installation.client.post(f"/api/actions/{action['id']}/approve?digest={action['digest']}").json()["status"] == "running"
    )
    assert installation.client.post(f"/api/actions/{action['id']}/stop").json()["status"] == "stopped"
    assert [run.status for run in installation.dagster.runs] == ["CANCELED"]


@pytest.mark.parametrize(
    "body",
    [
        {"message": ""},
        {"message": " \n "},
        {"message": "a\x00b"},
        {"message": "x" * 5000},
        {"message": "hi", "session_id": "../x"},
    ],
)
def test_a_message_that_cannot_be_is_refused(installation: Installation, body: dict[str, Any]) -> None:
    assert installation.client.post("/api/chat", json=body).status_code == 422


def test_an_action_that_there_is_not_is_a_404(installation: Installation) -> None:
    for method, path in (("GET", ""), ("POST", "/approve"), ("POST", "/reject")):
        assert installation.client.request(method, f"/api/actions/9{path}").status_code == 404


def test_claude_streams_through_the_api_and_what_it_asks_for_waits_for_a_yes(
    filled_folder: Path, database: Database, dagster: Dagster
) -> None:
    words = "The regime is calm. I put a refresh of the signals before you."

    def answer(body: dict[str, Any]) -> Turn:
        now = json.dumps(body["messages"][-1]["content"])
        return Said(words) if "tool_result" in now else Said("", [("regime", {}), ("refresh_signals", {})])

    with anthropic_server(answer) as server:
        keyed = make_installation(
            filled_folder, database, dagster, anthropic_api_key="sk-ant-secret", anthropic_base_url=server.url
        )
        events = say(keyed, "how is the market, and should we look again?")
    pieces = [data["text"] for name, data in events if name == "text"]
    assert "".join(pieces).strip() == words
    assert len(pieces) > 3, "it came in one piece, not as a stream"
    assert all(request["stream"] for request in server.requests)
    assert [data["name"] for name, data in events if name == "tool"] == ["regime", "refresh_signals"]
    (card,) = [data for name, data in events if name == "action"]
    assert (card["kind"], card["status"], card["proposed_by"]) == ("refresh_signals", "pending", "claude")
    assert dagster.runs == []
    assert events[-1][0] == "done"
    status = keyed.client.get("/api/facilitator/system-status").text
    assert '"ANTHROPIC_API_KEY":true' in status
    assert "sk-ant-secret" not in status + json.dumps(events)


def test_an_answer_whose_reader_leaves_is_given_to_its_end_and_kept(
    filled_folder: Path, database: Database, dagster: Dagster
) -> None:
    left = threading.Event()

    def answer(body: dict[str, Any]) -> Turn:
        if "tool_result" not in json.dumps(body["messages"][-1]["content"]):
            return Said("", [("regime", {})])
        left.wait(20)
        return Said("The regime is calm.")

    with anthropic_server(answer) as server:
        keyed = make_installation(filled_folder, database, dagster, anthropic_api_key="k", anthropic_base_url=server.url)
        headers = dict(keyed.client.headers)
        with served(keyed.app) as url:
            asked = {"session_id": "main", "message": "how is the market?"}
            with httpx.stream("POST", f"{url}/api/chat", json=asked, headers=headers, timeout=20) as stream:
                assert next(stream.iter_lines()) == "event: tool"
            left.set()
            deadline = time.monotonic() + 30
            said: list[str] = []
            while said[-1:] != ["The regime is calm."] and time.monotonic() < deadline:
                time.sleep(0.1)
                said = [one["text"] for one in httpx.get(f"{url}/api/chat/history", headers=headers).json()["items"]]
    assert said[-1] == "The regime is calm."
