"""What runs by itself: shown, switched, and said plainly when nothing does."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from mltrainer_pipelines.api.routes.automation import plan_of
from mltrainer_pipelines.api.routes.facilitator import pipeline
from mltrainer_pipelines.data_plan import DataPlan, write_plan
from mltrainer_pipelines.market.quotes import DELAY
from mltrainer_pipelines.market.sessions import next_session, session_hours
from mltrainer_pipelines.settings import Settings
from mltrainer_pipelines_tests.api.installation import LAST, Installation


@pytest.fixture(autouse=True)
def all_on(installation: Installation) -> None:
    installation.dagster.on.update(schedule=True, sensor=True, net=True)
    installation.dagster.daemon = True


def test_each_is_shown_with_its_ticks_and_switched_alone_or_with_all(installation: Installation) -> None:
    client = installation.client
    state = client.get("/api/automation").json()
    assert state["problem"] is None
    schedule, sensor, net = state["automation"]
    assert [one["safety_net"] for one in (schedule, sensor, net)] == [False, False, True]
    assert (schedule["on"], schedule["last_result"], sensor["last_result"]) == (True, None, "failed")
    assert sensor["detail"] == "the tick went wrong"
    off = client.put("/api/automation/follow_inputs", json={"on": False}).json()
    assert [one["on"] for one in off["automation"]] == [True, False, True]
    assert off["automation"][1]["next_tick"] is None
    none = client.put("/api/automation", json={"on": False}).json()
    assert none["problem"] == "Nothing runs by itself: everything is switched off."
    assert [one["on"] for one in none["automation"]] == [False, False, True], "what carries out requests stays on"
    by_name = client.put("/api/automation/launch_requested_runs", json={"on": False}).json()
    assert [one["on"] for one in by_name["automation"]] == [False, False, False]
    assert client.put("/api/automation", json={"on": True}).json()["problem"] is None
    assert client.put("/api/automation/nobody", json={"on": True}).status_code == 404


def test_a_daemon_that_is_gone_is_said(installation: Installation) -> None:
    installation.dagster.daemon = False
    assert "daemon does not answer" in installation.client.get("/api/automation").json()["problem"]


def test_a_refresh_that_failed_is_the_state_of_the_last_refresh(installation: Installation) -> None:
    installation.client.post("/api/facilitator/data-pipeline", json={"operation": "refresh_signals"})
    installation.dagster.finish("FAILURE")
    last = installation.client.get("/api/facilitator/system-status").json()["last_refresh"]
    assert (last["run"]["status"], last["failure"], last["signals"]) == ("FAILURE", "it went wrong", 5)


def test_a_market_that_is_not_scored_during_a_session_is_overdue(installation: Installation) -> None:
    context = installation.app.state.context
    opens, _ = session_hours(next_session(LAST))
    for minutes, overdue in ((20, False), (90, True), (600, False)):
        object.__setattr__(context, "now", lambda at=opens + DELAY + timedelta(minutes=minutes): at)
        assert pipeline(context).refresh_overdue is overdue, minutes


def test_what_the_data_plan_allows_and_when_it_lets_decide_is_said(installation: Installation, tmp_path: Path) -> None:
    assert installation.client.get("/api/automation").json()["plan"] is None, "a simulated market has no plan"
    settings = Settings(mltrainer_home=tmp_path, polygon_api_key="a-key", polygon_base_url="http://127.0.0.1:1")
    for snapshots, decided in ((False, "once a session, after its close, from the day's bars"), (True, "every 15 minutes")):
        write_plan(settings.state, DataPlan(settings.plan_key or "", 2, date(2024, 1, 2), snapshots, 5, 270))
        said = plan_of(settings) or ""
        assert "2 years of history, 5 calls a minute" in said
        assert decided in said
