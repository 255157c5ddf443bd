"""A person's walk through everything that `mltrainer up` serves, over the local exchange.

It takes minutes, so it runs where `MLTRAINER_WALK` is set. `MLTRAINER_SCREENSHOTS` names a folder for its pictures.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mltrainer_pipelines.services.dagster_client import DagsterClient
from mltrainer_pipelines.services.supervisor import free_port
from mltrainer_pipelines_tests.app.browser import PAGES, new_context, serious_violations, settled, whole_page
from mltrainer_pipelines_tests.app.test_pages import open_first_row
from mltrainer_pipelines_tests.services.stack import alive, environment, mltrainer, processes_below

pytestmark = [
    pytest.mark.skipif(not os.environ.get("MLTRAINER_WALK"), reason="takes minutes: set MLTRAINER_WALK=1"),
    pytest.mark.timeout(1500),
]
EASY = {"MLTRAINER_MIN_PROFIT_PROBABILITY": "0.5", "MLTRAINER_MIN_CONFIDENCE": "0.1", "MLTRAINER_MIN_REGIME_SCORE": "0"}
"""Thresholds low enough for a market of thirty symbols to have recommendations."""
LONG_MS = 420_000


class Walk:
    """The addresses of a running installation, and its API with the token."""

    def __init__(self, addresses: dict[str, str], token: str):
        self.addresses = addresses
        headers = {"Authorization": f"Bearer {token}"}
        self.api = httpx.Client(base_url=addresses["api"], headers=headers, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    home = tmp_path_factory.mktemp("home")
    done = mltrainer(home, "demo", "--json", timeout_s=900, **EASY)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["recommendations"], "the small market has no recommendation even at low thresholds"
    names = ("dagster", "mlflow", "exchange", "api", "app")
    ports = {f"MLTRAINER_{name.upper()}_PORT": str(free_port()) for name in names}
    process = subprocess.Popen(
        [sys.executable, "-m", "mltrainer_pipelines.cli", "up"],
        env=environment(home, **ports, **EASY),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert any("Ctrl-C stops everything" in line for line in process.stdout), process.stderr and process.stderr.read()
        (token,) = home.glob("*/api-token")
        assert token.stat().st_mode & 0o777 == 0o600
        addresses = {name: f"http://127.0.0.1:{ports[f'MLTRAINER_{name.upper()}_PORT']}" for name in names}
        yield Walk(addresses, token.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        for pid in [*processes_below(process.pid), process.pid]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)


def test_a_selection_has_its_profit_and_loss_after_the_next_refresh(walk: Walk, browser: Any, pictures: Path) -> None:
    context = new_context(browser)
    page = context.new_page()
    page.goto(walk.addresses["app"])
    settled(page)
    open_first_row(page)
    page.get_by_role("heading", name=re.compile("·")).wait_for()
    settled(page)
    whole_page(page, pictures / "real-recommendation.png")
    page.get_by_label("Price paid ($)").fill("10")
    page.get_by_role("button", name="Add to portfolio").click()
    page.get_by_text("This one is in your portfolio").wait_for()
    run = walk.api.post("/api/facilitator/data-pipeline", json={"operation": "refresh_signals"}).json()["run_id"]
    DagsterClient(walk.addresses["dagster"]).wait([run])
    page.get_by_role("link", name="Portfolio").first.click()
    page.get_by_text("unrealized").first.wait_for()
    (holding,) = walk.api.get("/api/portfolio").json()["items"]
    assert holding["profit_loss"] == pytest.approx(10 * holding["current_price"] - 100, abs=0.01)
    page.get_by_text(f"+${holding['profit_loss']:,.2f}").first.wait_for()
    context.close()


def test_momentum_analysis_from_the_wish_over_the_yes_to_real_results(walk: Walk, browser: Any, pictures: Path) -> None:
    context = new_context(browser)
    page = context.new_page()
    page.goto(f"{walk.addresses['app']}/chat")
    settled(page)
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill("Start momentum analysis")
    box.press("Enter")
    page.get_by_role("button", name="Execute").first.wait_for()
    box.fill("yes")
    box.press("Enter")
    page.get_by_text("running", exact=True).first.wait_for()
    page.get_by_text("done", exact=True).first.wait_for(timeout=LONG_MS)
    page.get_by_text("Trials", exact=True).last.wait_for()
    # What mlTrainer says to the results, and the next step it proposes, come by themselves.
    page.get_by_text(re.compile("Next I would try")).first.wait_for(timeout=60_000)
    page.get_by_role("button", name="Execute").first.wait_for()
    page.wait_for_timeout(1500)
    whole_page(page, pictures / "conversation.png")
    context.close()


def test_an_approved_proposal_becomes_a_run_in_dagster(walk: Walk, browser: Any) -> None:
    dagster = DagsterClient(walk.addresses["dagster"])
    run = walk.api.post("/api/facilitator/data-pipeline", json={"operation": "propose_trials"}).json()["run_id"]
    dagster.wait([run])
    selector = {
        "repositoryLocationName": "mltrainer",
        "repositoryName": "__repository__",
        "sensorName": "launch_approved_proposals",
    }
    dagster.query(
        "mutation On($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }", selector=selector
    )
    context = new_context(browser)
    page = context.new_page()
    page.goto(f"{walk.addresses['app']}/trials")
    settled(page)
    page.get_by_role("button", name="Approve").first.click()
    page.get_by_text("Decided (1)").wait_for()
    (approved,) = [one for one in walk.api.get("/api/proposals").json()["items"] if one["status"] != "proposed"]
    deadline = time.monotonic() + 120
    while True:
        runs = [
            run for run in dagster.runs() if run.tags.get("dagster/asset_partition_range_end", "").endswith(approved["trial_id"])
        ]
        if runs:
            break
        assert time.monotonic() < deadline, "no run of the approved proposal"
        time.sleep(2)
    assert runs[0].job == "walk_forward"
    context.close()


def test_every_page_of_the_real_thing_can_be_read_by_everybody(walk: Walk, browser: Any, pictures: Path) -> None:
    for look in ("light", "dark", "phone"):
        context = new_context(browser, look)
        for path, title in PAGES.items():
            page = context.new_page()
            page.goto(f"{walk.addresses['app']}/{path}")
            settled(page)
            assert page.get_by_role("heading", level=1).inner_text() == title
            assert page.get_by_test_id("stException").count() == 0
            whole_page(page, pictures / f"real-{path or 'recommendations'}-{look}.png")
            assert serious_violations(page) == [], f"{title}, {look}"
            page.close()
        context.close()
