"""The chat over the API, and the actions that come of it."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
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


def test_ten_approvals_at_once_run_each_action_once(installation: Installation) -> None:
    """Ten of the same card, then ten of ten cards, over HTTP."""
    headers = dict(installation.client.headers)
    (card,) = [data for name, data in say(installation, "refresh the signals") if name == "action"]
    for rounds in range(10, 110, 10):
        say(installation, f"run lightgbm with {rounds + 100} rounds", f"s{rounds}")
    cards = installation.client.get("/api/actions", params={"status": "pending"}).json()["items"]
    others = [one for one in cards if one["id"] != card["id"]]
    assert len(others) == 10

    def approve(one: dict[str, Any]) -> int:
        path = f"/api/actions/{one['id']}/approve"
        return httpx.post(f"{url}{path}", params={"digest": one["digest"]}, headers=headers, timeout=60).status_code

    with served(installation.app) as url, ThreadPoolExecutor(10) as people:
        assert sorted(people.map(approve, [card] * 10)) == [200] + [409] * 9
        assert list(people.map(approve, others)) == [200] * 10
    assert [run.job for run in installation.dagster.runs].count("refresh_signals") == 1
    trials = [run.tags["dagster/asset_partition_range_start"] for run in installation.dagster.runs if run.job == "walk_forward"]
    assert len(trials) == len(set(trials)) == 10


def test_the_conversation_of_the_specification_works_over_http(installation: Installation) -> None:
    """Its sentences word by word, without a key: each gets its card or its answer, and nothing else."""
    said = "I suggest we initiate momentum screening using RandomForest and XGBoost models targeting 7-10 day momentum"
    asked = {
        "Start momentum analysis": ["momentum_screening"],
        f"{said} with +7% returns at 85% confidence.": ["momentum_screening"],
        "increase confidence threshold to 90%": ["change_setting"],
        "Let's try ensemble of RandomForest + LightGBM": ["ensemble"],
        "RandomForest performed better than XGBoost": [],
        "Let's run deeper analysis on the top 5 candidates": [],
    }
    for number, (sentence, kinds) in enumerate(asked.items()):
        events = say(installation, sentence, f"c{number}")
        assert [data["kind"] for name, data in events if name == "action"] == kinds, sentence
        assert "".join(data["text"] for name, data in events if name == "text").strip()
        assert (events[-1][0], installation.dagster.runs) == ("done", [])
    assert [data["name"] for name, data in events if name == "tool"] == ["deeper"]
    started = say(installation, "yes", "c0")
    assert [data["status"] for name, data in started if name == "action"] == ["running"]
    assert [run.job for run in installation.dagster.runs] != []


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
