"""What a reader of the events is told."""

from collections.abc import Iterator

import httpx

from mltrainer_pipelines.api.changes import Marks, changes_since, current_marks
from mltrainer_pipelines.store import runtime_settings
from mltrainer_pipelines.store.alerts import raise_alert
from mltrainer_pipelines_tests.api.installation import TOKEN, Installation, hold_virtually, propose, recommend
from mltrainer_pipelines_tests.api.serving import served


def test_whatever_happened_since_the_marks_is_told_once(installation: Installation) -> None:
    engine = installation.database.engine
    start = current_marks(engine)
    assert changes_since(engine, start, current_marks(engine)) == []
    number = recommend(installation.database, "AAA")
    hold_virtually(installation.database, number, "AAA")
    runtime_settings.put(engine, "min_confidence", 0.8, "user", "")
    raise_alert(engine, "k", "drift", "warning", "the features drift")
    propose(installation.database)
    now = current_marks(engine)
    events = changes_since(engine, start, now)
    assert [event.name for event in events] == ["recommendations", "positions", "proposal", "settings", "alert"]
    assert events[0].data["new"][0]["symbol"] == "AAA"
    assert changes_since(engine, now, current_marks(engine)) == []
    installation.client.post("/api/proposals/1/approve")
    (moved,) = changes_since(engine, now, current_marks(engine))
    assert (moved.name, moved.data["status"]) == ("proposal", "launched")


def test_marks_survive_being_written_and_nothing_else_is_taken_for_them() -> None:
    assert Marks.parse(str(Marks(1, 2, 3, 4, 5, 6))) == Marks(1, 2, 3, 4, 5, 6)
    for text in ("", "1-2", "1-2-3-4-5-x", "-1-2-3-4-5-6", "١-2-3-4-5-6", "9" * 40):
        assert Marks.parse(text) is None


def test_a_listener_hears_of_a_recommendation_and_goes_on_where_it_was_cut_off(installation: Installation) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
    with served(installation.app) as url, httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
        with client.stream("GET", "/api/events") as answer:
            lines = answer.iter_lines()
            hello = _next(lines)
            assert hello["event"] == "hello"
            recommend(installation.database, "AAA")
            assert _next(lines)["event"] == "recommendations"
        recommend(installation.database, "BBB")
        with client.stream("GET", "/api/events", headers={"Last-Event-ID": hello["id"]}) as answer:
            lines = answer.iter_lines()
            assert _next(lines)["event"] == "hello"
            missed = _next(lines)
            assert missed["event"] == "recommendations"
            assert '"AAA"' in missed["data"]
            assert '"BBB"' in missed["data"]


def _next(lines: Iterator[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = value
        elif "event" in found:
            return found
    raise AssertionError("the stream ended")
