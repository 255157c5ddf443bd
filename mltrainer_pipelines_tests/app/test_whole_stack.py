"""A person's walk through everything that `mltrainer up` serves, over the local exchange.

It takes a minute or two, so it runs in continuous integration (`CI`) and where `MLTRAINER_WALK` is set.
`MLTRAINER_SCREENSHOTS` names a folder for its pictures.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mltrainer_pipelines.ops.dagster_client import DagsterClient, Run
from mltrainer_pipelines.ops.supervisor import free_port
from mltrainer_pipelines_tests.app.browser import LOOKS, PAGES, new_context, serious_violations, settled, whole_page
from mltrainer_pipelines_tests.app.test_pages import open_first_row
from mltrainer_pipelines_tests.ops.stack import alive, environment, finished_demo, processes_below
from mltrainer_pipelines_tests.servers.anthropic import Anthropic, Said, anthropic_server

pytestmark = [
    pytest.mark.skipif(
        not (os.environ.get("MLTRAINER_WALK") or os.environ.get("CI")), reason="takes a minute or two: set MLTRAINER_WALK=1"
    ),
    pytest.mark.timeout(1800),
]
SENSORS = ("launch_requested_runs",)
LOOKED_AT = {"light": tuple(PAGES), "dark": ("portfolio",), "phone": ("",)}
"""Pages of the real thing in each look; `test_pages.py` has all of them in every look."""
EASY = {"MLTRAINER_MIN_PROFIT_PROBABILITY": "0.5", "MLTRAINER_MIN_CONFIDENCE": "0.1", "MLTRAINER_MIN_REGIME_SCORE": "0"}
"""Thresholds low enough for a market of thirty symbols to have recommendations."""
PATIENCE_S = 240


def as_claude(body: dict[str, Any]) -> Said:
    """What Claude says on the walk: trials where a schema asks for them, else a word for each step of the conversation."""
    now = json.dumps(body["messages"][-1]["content"])
    if "format" in body.get("output_config", {}):
        quick = {"model": "logistic_l2", "train_sessions": 504, "params": [{"name": "C", "value": 0.0123}]}
        # the most rounds that its space has, so that it is under way long enough to be stopped
        slow = {"model": "lightgbm", "train_sessions": 504, "params": [{"name": "rounds", "value": 1000}]}
        idea = {
            "timeframe": "short",
            "hypothesis": "A weaker penalty lets more of the momentum through.",
            "refuted_if": "it earns nothing",
            "refuted_at_or_below_sharpe": 0.0,
            "expected_gain": 0.1,
        }
        return Said(json.dumps({"trials": [idea | slow, idea | quick]}))
    finished, models = "finished_actions" in json.dumps(body["messages"][-3:]), {"models": ["lightgbm", "logistic_l2"]}
    if "tool_result" in now and finished:
        return Said("Next I would try an ensemble of LightGBM and logistic regression. Type 'yes' to execute.")
    if "tool_result" in now:
        return Said("I suggest we initiate momentum screening using LightGBM and LogisticL2 models. Type 'yes' to execute.")
    return Said("", [("try_ensemble" if finished else "run_momentum_screening", models)])


class Walk:
    """The addresses of a running installation, its API with the token, its Claude, and where pictures go."""

    def __init__(self, home: Path, up: int, addresses: dict[str, str], claude: Anthropic, browser: Any, pictures: Path):
        self.up, self.addresses, self.claude, self.browser, self.pictures = up, addresses, claude, browser, pictures
        (file,) = home.glob("*/api-token")
        assert file.stat().st_mode & 0o777 == 0o600
        token = file.read_text()
        headers = {"Authorization": f"Bearer {token}"}
        self.api = httpx.Client(base_url=addresses["api"], headers=headers, timeout=60, trust_env=False)
        self.dagster = DagsterClient(addresses["dagster"], token=token)

    def start(self, operation: str) -> str:
        """Start a job over the API; gives its run."""
        answer = self.api.post("/api/facilitator/data-pipeline", json={"operation": operation})
        assert answer.status_code == 202, answer.text
        return answer.json()["run_id"]

    def switch_on(self, sensor: str) -> None:
        selector = {"repositoryLocationName": "mltrainer", "repositoryName": "__repository__", "sensorName": sensor}
        self.dagster.query(
            "mutation On($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }", selector=selector
        )

    def tick(self, sensor: str) -> str:
        """Why the sensor starts nothing now."""
        selector = {"repositoryLocationName": "mltrainer", "repositoryName": "__repository__", "sensorName": sensor}
        answer = self.dagster.query(
            """mutation Tick($selector: SensorSelector!) { sensorDryRun(selectorData: $selector, cursor: null) { __typename
                 ... on DryRunInstigationTick { evaluationResult { skipReason runRequests { runKey } } } } }""",
            selector=selector,
        )["sensorDryRun"]["evaluationResult"]
        assert not answer["runRequests"]
        return answer["skipReason"]

    def open(self, context: Any, path: str = "") -> Any:
        page = context.new_page()
        page.goto(f"{self.addresses['app']}/{path}")
        settled(page)
        return page


@pytest.fixture
def walk(tmp_path_factory: pytest.TempPathFactory, browser: Any, pictures: Path) -> Iterator[Walk]:
    home, _ = finished_demo(tmp_path_factory)
    with anthropic_server(as_claude) as claude, served_by_up(home, claude) as (up, addresses):
        yield Walk(home, up, addresses, claude, browser, pictures)


@contextmanager
def served_by_up(home: Path, claude: Anthropic) -> Iterator[tuple[int, dict[str, str]]]:
    """`mltrainer up` with a key for Claude; gives its process id and the addresses of its services."""
    names = ("dagster", "mlflow", "exchange", "api", "app")
    ports = {f"MLTRAINER_{name.upper()}_PORT": str(free_port()) for name in names}
    process = subprocess.Popen(
        [sys.executable, "-m", "mltrainer_pipelines.cli", "up"],
        env=environment(home, **ports, **EASY, ANTHROPIC_API_KEY="sk-walk", ANTHROPIC_BASE_URL=claude.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert any("Ctrl-C stops everything" in line for line in process.stdout), process.stderr and process.stderr.read()
        yield process.pid, {name: f"http://127.0.0.1:{ports[f'MLTRAINER_{name.upper()}_PORT']}" for name in names}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        for pid in [*processes_below(process.pid), process.pid]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)


def test_a_person_walks_through_everything_that_is_served(walk: Walk) -> None:
    """What takes long runs beside what a person does meanwhile; so this is one test and not five."""
    begin = time.monotonic()

    def done(what: str) -> None:
        print(f"{time.monotonic() - begin:6.1f} s  {what}")

    refresh, proposing = walk.start("refresh_signals"), walk.start("propose_trials")
    for sensor in SENSORS:
        walk.switch_on(sensor)
    context = new_context(walk.browser)
    conversation = walk.open(context, "chat")
    momentum_analysis_is_wished_for_and_agreed_to(conversation)
    done("a wish, a proposal, a yes")
    walk.dagster.wait([refresh])
    walk.dagster.wait([proposing])
    done("refreshed and proposed")
    trial_id = a_proposal_of_claude_is_approved(walk, context)
    done("a proposal is approved")
    holding_bought_at_ten_dollars(walk, context)
    refresh = walk.start("refresh_signals")
    done("a recommendation is selected")
    the_table_is_filtered_and_sorted(walk, context)
    done("filtered and sorted")
    every_page_can_be_read_by_everybody(walk)
    done("every page in every look")
    walk.dagster.wait([refresh])
    the_holding_has_its_profit_and_loss(walk, context)
    done("profit and loss after the next refresh")
    the_api_is_gone_and_back(walk, context)
    done("the API down, and back")
    assert within(PATIENCE_S, lambda: run_of(walk, trial_id)).job == "walk_forward"
    done("the approved proposal runs in Dagster")
    real_results_and_the_next_proposal_come_by_themselves(walk, conversation)
    done("results in the conversation")
    proposal = within(PATIENCE_S, lambda: one_that_is_done(walk, trial_id))
    the_next_prompt_says_what_became_of_it(walk, proposal)
    done("Claude is told what became of its hypothesis")
    the_switch_stops_a_trial_in_the_middle_and_nothing_starts_again(walk)
    done("the switch stops what the agent started")
    context.close()


def momentum_analysis_is_wished_for_and_agreed_to(page: Any) -> None:
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill("Start momentum analysis")
    box.press("Enter")
    page.get_by_role("button", name="Execute").first.wait_for()
    box.fill("yes")
    box.press("Enter")
    page.get_by_text("running", exact=True).first.wait_for()


def real_results_and_the_next_proposal_come_by_themselves(walk: Walk, page: Any) -> None:
    page.get_by_text("done", exact=True).first.wait_for(timeout=1000 * PATIENCE_S)
    page.get_by_text("Trials", exact=True).last.wait_for()
    page.get_by_text(re.compile("Next I would try")).first.wait_for(timeout=60_000)
    page.get_by_role("button", name="Execute").first.wait_for()
    assert any("finished_actions" in json.dumps(request["messages"]) for request in walk.claude.requests)
    page.wait_for_timeout(1500)
    whole_page(page, walk.pictures / "conversation.png")


def holding_bought_at_ten_dollars(walk: Walk, context: Any) -> None:
    page = walk.open(context)
    page.get_by_text(re.compile(r"^\d+ recommendations? ·")).first.wait_for()
    open_first_row(page)
    page.get_by_role("heading", name=re.compile("·")).wait_for()
    settled(page)
    whole_page(page, walk.pictures / "real-recommendation.png")
    page.get_by_label("Price paid ($)").fill("10")
    page.get_by_role("button", name="Add to portfolio").click()
    page.get_by_text("This one is in your portfolio").wait_for()


def the_table_is_filtered_and_sorted(walk: Walk, context: Any) -> None:
    page = walk.open(context)
    found = {
        timeframe: walk.api.get("/api/recommendations", params={"timeframe": timeframe, "latest": True, "sort": "symbol"}).json()
        for timeframe in ("short", "long")
    }
    timeframe = max(found, key=lambda name: found[name]["total"])
    many = found[timeframe]["total"]
    page.get_by_role("radio", name=timeframe).click()
    page.get_by_text(re.compile(rf"^{many} recommendations? ·")).first.wait_for()
    page.get_by_role("combobox", name=re.compile("Sort by")).click()
    page.get_by_role("option", name="symbol", exact=True).click()
    rows = page.get_by_test_id("stDataFrame").first.locator("table tbody tr")
    wanted = [item["symbol"] for item in found[timeframe]["items"]][:3]
    within(
        30, lambda: [symbol for symbol, row in zip(wanted, rows.all(), strict=False) if symbol in row.text_content()] == wanted
    )
    page.close()


def the_api_is_gone_and_back(walk: Walk, context: Any) -> None:
    below = set(processes_below(walk.up))
    # what ends in the meantime has no command line
    (server,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid in below and "mltrainer_pipelines.api.server" in (process.info["cmdline"] or ())
    ]
    page = walk.open(context, "portfolio")
    page.get_by_text("unrealized").first.wait_for()
    server.suspend()
    try:
        page.get_by_text("Cannot reach the data:").first.wait_for(timeout=60_000)
    finally:
        server.resume()
    page.get_by_text("Cannot reach the data:").first.wait_for(state="detached", timeout=60_000)
    page.get_by_text("unrealized").first.wait_for()
    page.close()


def the_holding_has_its_profit_and_loss(walk: Walk, context: Any) -> None:
    page = walk.open(context, "portfolio")
    page.get_by_text("unrealized").first.wait_for()
    (holding,) = walk.api.get("/api/portfolio").json()["items"]
    assert holding["profit_loss"] == pytest.approx(10 * holding["current_price"] - 100, abs=0.01)
    page.get_by_text(f"+${holding['profit_loss']:,.2f}").first.wait_for()


def a_proposal_of_claude_is_approved(walk: Walk, context: Any) -> str:
    """The newest, which is the quick one."""
    page = walk.open(context, "trials")
    page.get_by_text("A weaker penalty lets more").first.wait_for()
    page.get_by_role("button", name="Approve").first.click()
    page.get_by_text("Decided (1)").wait_for()
    (approved,) = [one for one in walk.api.get("/api/proposals").json()["items"] if one["status"] != "proposed"]
    assert (approved["proposer"], approved["model"]) == ("claude", "logistic_l2")
    return approved["trial_id"]


def one_that_is_done(walk: Walk, trial_id: str) -> dict[str, Any] | None:
    found = walk.api.get("/api/proposals", params={"status": "done"}).json()["items"]
    return next((one for one in found if one["trial_id"] == trial_id), None)


def the_next_prompt_says_what_became_of_it(walk: Walk, proposal: dict[str, Any]) -> None:
    before = len(walk.claude.requests)
    walk.dagster.wait([walk.start("propose_trials")])
    prompt = walk.claude.requests[before]["messages"][0]["content"][0]["text"]
    verdict = "confirmed" if proposal["result"]["sharpe"] > 0 else "refuted"
    entries = re.findall(r"\{[^{}]*A weaker penalty[^{}]*\}", prompt)
    (told,) = [entry for entry in entries if proposal["trial_id"] in entry]
    assert verdict in told


def the_switch_stops_a_trial_in_the_middle_and_nothing_starts_again(walk: Walk) -> None:
    (slow,) = [one for one in walk.api.get("/api/proposals").json()["items"] if one["model"] == "lightgbm"]
    walk.api.post(f"/api/proposals/{slow['id']}/approve")
    within(PATIENCE_S, lambda: run_of(walk, slow["trial_id"], "STARTED"))
    off = walk.api.put("/api/settings", json={"values": {"agent_enabled": False}, "reason": "enough"})
    assert off.status_code == 200, off.text
    stopped = within(PATIENCE_S, lambda: run_of(walk, slow["trial_id"], "CANCELED"))
    before = {run.run_id for run in walk.dagster.runs()}
    # rejected where the sensor had not looked at its run yet; failed, because it was cancelled, where it had
    within(PATIENCE_S, lambda: walk.api.get(f"/api/proposals/{slow['id']}").json()["status"] in ("rejected", "failed"))
    assert "switched off" in walk.tick("launch_requested_runs")
    assert {run.run_id for run in walk.dagster.runs()} == before
    assert stopped.run_id in before
    answer = walk.api.post("/api/chat", json={"session_id": "afterwards", "message": "Start momentum analysis"})
    assert "switched off" in answer.text


def run_of(walk: Walk, trial_id: str, status: str | None = None) -> Run | None:
    ends = "dagster/asset_partition_range_end"
    found = next((run for run in walk.dagster.runs() if run.tags.get(ends, "").endswith(trial_id)), None)
    return found if found is not None and status in (None, found.status) else None


def every_page_can_be_read_by_everybody(walk: Walk) -> None:
    for look in LOOKS:
        context = new_context(walk.browser, look)
        for path in LOOKED_AT[look]:
            page, title = walk.open(context, path), PAGES[path]
            assert page.get_by_role("heading", level=1).inner_text() == title
            assert page.get_by_test_id("stException").count() == 0
            whole_page(page, walk.pictures / f"real-{path or 'recommendations'}-{look}.png")
            assert serious_violations(page) == [], f"{title}, {look}"
            page.close()
        context.close()


def within(seconds: float, look: Callable[[], Any]) -> Any:
    """What a look finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain"
        time.sleep(1)
    return found
