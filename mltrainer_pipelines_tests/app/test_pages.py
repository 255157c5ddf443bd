"""The pages in a browser: what a person does with them, how they look, and whether everybody can read them.

Behind them are the real API, a real PostgreSQL and a small lake; Dagster is a loopback server. The same pages
on the whole stack: `test_whole_stack.py`.
"""

import os
import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mltrainer_pipelines.store import tables
from mltrainer_pipelines_tests.api.installation import (
    SESSIONS,
    Installation,
    hold_virtually,
    make_installation,
    propose,
    recommend,
    submit,
)
from mltrainer_pipelines_tests.api.serving import served
from mltrainer_pipelines_tests.app.browser import LOOKS, PAGES, new_context, serious_violations, settled, whole_page
from mltrainer_pipelines_tests.app.conftest import House, Served
from mltrainer_pipelines_tests.servers.anthropic import Said, anthropic_server

SEEN = {look: PAGES if look == "light" or os.environ.get("CI") else dict([*PAGES.items()][:2]) for look in LOOKS}
"""Continuous integration looks at every page in every look."""


def furnish(installation: Installation) -> None:
    """Recommendations of three sessions with their paper trades, two trials, a champion, a proposal, thirty days of books."""
    database = installation.database
    for session, status in ((SESSIONS[-30], "closed"), (SESSIONS[-8], "open"), (SESSIONS[-1], "pending")):
        for place, symbol in enumerate(("AAA", "BBB", "CCC")):
            number = recommend(
                database, symbol, session, profit_probability=0.61 + 0.02 * place, why="its 21-day return is high; breadth is low"
            )
            gain = Decimal(180 - 150 * place) if status != "pending" else Decimal(0)
            fills = {} if status != "pending" else {"fill_price": None, "fill_shares": None, "entry_price": None}
            hold_virtually(database, number, symbol, status=status, profit_loss=gain, **fills)
    first = submit(database, "lightgbm", "short", 1)
    submit(database, "logistic_l2", "short", 2)
    propose(database)
    days = [
        {
            "date": session,
            "book": book,
            "equity": Decimal(1_000_000 + sign * 900 * day),
            "cash": Decimal(700_000),
            "drawdown": -0.0005 * (day % 7),
            "exposure": 0.3,
            "open_positions": 3,
            "closed_positions": 3,
            "realized": Decimal(90),
            "unrealized": Decimal(60),
            "hit_rate": 0.67,
            "benchmark_return": 0.0004,
        }
        for day, session in enumerate(SESSIONS[-30:])
        for book, sign in (("recommendations", 1), ("user", 2), ("passed_over", -1))
    ]
    with database.engine.begin() as connection:
        connection.execute(sa.insert(tables.PortfolioPerformance), days)
        decision = {"timeframe": "short", "trial_id": first, "decision": "promoted", "grade": "candidate", "model_version": "3"}
        reasons = ["ranked first of 2 short trials", "its Brier skill is not above 0"]
        connection.execute(sa.insert(tables.Promotion).values(**decision, reasons=reasons, decided_at=datetime.now(UTC)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mltrainer_exchange": "replay:HERE/bars.csv"}, "REPLAY Recorded prices of the past"),
        ({"polygon_api_key": "pk", "fred_api_key": "fk", "anthropic_api_key": "sk"}, "For paper trading only"),
    ],
    ids=["a recording", "real prices"],
)
def test_the_banner_says_which_market_it_is(
    house: House, tmp_path: Path, pages: Served, browser: Any, pictures: Path, settings: dict[str, str], said: str
) -> None:
    (tmp_path / "bars.csv").write_text("date,symbol,open,high,low,close,volume\n2024-03-28,AAA,1,1,1,1,5\n")
    given = {name: value.replace("HERE", str(tmp_path)) for name, value in settings.items()}
    house.close_api()
    there = make_installation(tmp_path, house.installation.database, house.installation.dagster, **given)
    kind = there.settings.market_kind
    recommend(there.database, "AAA", market=kind)
    context = new_context(browser)
    with served(there.app, pages.api_port):
        page = visit(context, pages)
        page.get_by_text("1 recommendation ·").wait_for()
        note = " ".join(page.get_by_role("note").inner_text().split())
        assert note.startswith(said)
        assert "SIMULATED" not in note
        assert "cannot place orders" in note
        whole_page(page, pictures / f"banner-{kind}.png")
        if kind == "real":
            page = visit(context, pages, "system")
            page.get_by_text("ANTHROPIC_API_KEY").first.wait_for()
            whole_page(page, pictures / "keys.png")
    context.close()


def visit(context: Any, pages: Served, path: str = "") -> Any:
    page = context.new_page()
    page.goto(f"{pages.url}/{path}")
    settled(page)
    return page


def open_first_row(page: Any) -> None:
    """Select the first row of the recommendations, by its check box."""
    table = page.get_by_test_id("stDataFrame").first
    table.locator("canvas").first.wait_for()
    page.wait_for_timeout(300)
    box = table.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 36 + 17)


def test_every_page_looks_right_to_everybody_in_light_in_dark_and_on_a_phone(
    house: House, pages: Served, browser: Any, pictures: Path
) -> None:
    furnish(house.installation)
    violations: dict[str, list[str]] = {}
    for look in LOOKS:
        context = new_context(browser, look)
        for path, title in SEEN[look].items():
            page = visit(context, pages, path)
            assert page.get_by_role("heading", level=1).inner_text() == title
            assert "SIMULATED" in page.get_by_role("note").inner_text()
            assert "cannot place orders" in page.get_by_role("note").inner_text()
            assert page.get_by_test_id("stException").count() == 0
            if path == "":
                open_first_row(page)
                page.get_by_role("heading", name=re.compile("·")).wait_for()
                settled(page)
            wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{title} is {wide} px wider than a {look} screen"
            whole_page(page, pictures / f"{path or 'recommendations'}-{look}.png")
            if found := serious_violations(page):
                violations[f"{title}, {look}"] = found
            page.close()
        context.close()
    assert violations == {}


def test_a_recommendation_is_selected_and_shows_in_the_portfolio_with_its_profit(
    house: House, pages: Served, browser: Any
) -> None:
    recommend(house.installation.database, "AAA")
    context = new_context(browser)
    page = visit(context, pages)
    open_first_row(page)
    page.get_by_role("heading", name="AAA · Alpha Arms Inc.").wait_for()
    page.get_by_label("Price paid ($)").fill("100")
    page.get_by_label("Shares").fill("25")
    page.get_by_label("Notes").fill("bought by phone")
    page.get_by_role("button", name="Add to portfolio").dblclick()
    page.get_by_text("This one is in your portfolio").wait_for()
    page.get_by_role("link", name="Portfolio").first.click()
    close = round(100 * (1 + 0.001 * (len(SESSIONS) - 1)), 4)
    page.get_by_text(f"+${25 * close - 2500:,.2f}").first.wait_for()
    page.get_by_text("Close, correct or remove a holding").click()
    page.get_by_label("Sold at ($)").fill("130")
    page.get_by_role("button", name="Close it").click()
    page.get_by_text("+$750.00").first.wait_for()
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    assert "AAA" in Path(download.value.path()).read_text()
    (holding,) = house.installation.client.get("/api/portfolio").json()["items"]
    assert (holding["status"], holding["notes"], holding["profit_loss"]) == ("closed", "bought by phone", 750.0)
    context.close()


def test_filters_narrow_the_table_and_new_recommendations_come_in_by_themselves(
    house: House, pages: Served, browser: Any
) -> None:
    recommend(house.installation.database, "AAA")
    recommend(house.installation.database, "BBB", timeframe="long")
    context = new_context(browser)
    page = visit(context, pages)
    page.get_by_text("2 recommendations").wait_for()
    page.get_by_role("radio", name="long").click()
    page.get_by_text("1 recommendation ·").wait_for()
    page.get_by_role("radio", name="all").first.click()
    page.get_by_text("2 recommendations").wait_for()
    recommend(house.installation.database, "CCC")
    page.get_by_text("1 new").wait_for()
    page.get_by_text("3 recommendations").wait_for()
    page.get_by_role("button", name="Mark as seen").click()
    page.get_by_text("1 new").wait_for(state="detached")
    context.close()


def test_where_nothing_passes_the_nearest_misses_say_what_they_lacked(house: House, pages: Served, browser: Any) -> None:
    context = new_context(browser)
    page = visit(context, pages)
    page.get_by_text("Nothing passes the thresholds right now.").wait_for()
    page.get_by_role("heading", name="Nearest misses: not recommendations").wait_for()
    table = page.get_by_test_id("stDataFrame").first
    assert "probability 0.58 below 0.60" in table.locator("table").first.text_content()
    context.close()


def test_the_whole_conversation_from_a_wish_to_a_yes_to_results(house: House, pages: Served, browser: Any) -> None:
    context = new_context(browser)
    page = visit(context, pages, "chat")
    page.get_by_role("radio", name="Refresh the signals").click()
    page.get_by_role("button", name="Execute").wait_for()
    assert house.installation.dagster.runs == []
    page.get_by_role("button", name="Execute").click()
    page.get_by_text("running", exact=True).first.wait_for()
    assert [run.job for run in house.installation.dagster.runs] == ["refresh_signals"]
    house.installation.dagster.finish()
    page.get_by_text("done", exact=True).first.wait_for()
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill("increase the confidence threshold to 90 %")
    box.press("Enter")
    page.get_by_role("button", name="Execute").wait_for()
    box.fill("yes")
    box.press("Enter")
    page.get_by_text("done", exact=True).nth(1).wait_for()
    settings = house.installation.client.get("/api/settings").json()["settings"]
    assert next(one["value"] for one in settings if one["name"] == "min_confidence") == 0.9
    context.close()


def test_results_are_told_though_the_api_went_away_while_they_were(house: House, pages: Served, browser: Any) -> None:
    context = new_context(browser)
    page = visit(context, pages, "chat")
    page.get_by_role("radio", name="Refresh the signals").click()
    page.get_by_role("button", name="Execute").click()
    page.get_by_text("running", exact=True).first.wait_for()
    house.close_api()
    house.installation.dagster.finish()
    house.open_api(gone_once_at="/api/chat/follow")
    page.get_by_text("done", exact=True).first.wait_for()
    page.get_by_text("Action 1 is done:").first.wait_for()
    context.close()


def test_a_running_action_is_stopped_by_its_button(house: House, pages: Served, browser: Any) -> None:
    context = new_context(browser)
    page = visit(context, pages, "chat")
    page.get_by_role("radio", name="Refresh the signals").click()
    page.get_by_role("button", name="Execute").click()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("stopped", exact=True).first.wait_for()
    assert [run.status for run in house.installation.dagster.runs] == ["CANCELED"]
    page.get_by_role("button", name="Stop", exact=True).wait_for(state="detached")
    context.close()


def test_what_claude_streams_shows_as_it_is_also_a_list_that_comes_letter_by_letter(
    house: House, pages: Served, browser: Any
) -> None:
    """Also while it comes: the second answer stops in its middle."""
    words = "Steps:\n\n1. look\n2. score\n3. hold 4.5 % or $4.\n4. learn\n\nThat is all. "
    with anthropic_server([Said(words, piece=1), Said(words, piece=1, silent_after=len(words))]) as server:
        house.close_api()
        home, behind = house.installation.settings.mltrainer_home, house.installation
        # a key so short that nothing is held back to look for it
        given = {"anthropic_api_key": "k", "anthropic_base_url": server.url}
        house.installation = make_installation(home, behind.database, behind.dagster, **given)
        house.open_api()
        context = new_context(browser)
        page = visit(context, pages, "chat")
        box = page.get_by_test_id("stChatInputTextArea")
        for text in ("what next?", "and then?"):
            box.fill(text)
            box.press("Enter")
            answer = page.get_by_test_id("stChatMessage").last
            answer.get_by_text("That is all").wait_for()
            assert answer.locator("ol li").all_inner_texts() == ["look", "score", "hold 4.5 % or $4.", "learn"]
            if text == "what next?":
                page.get_by_text(re.compile(r"The last answer took [\d,]+ \+ [\d,]+ tokens, \$0\.\d{4}")).wait_for()
    context.close()


def test_a_proposal_is_approved_with_a_click(house: House, pages: Served, browser: Any) -> None:
    furnish(house.installation)
    context = new_context(browser)
    page = visit(context, pages, "trials")
    page.get_by_text("smaller trees forget less").first.wait_for()
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("No proposal needs your approval.").wait_for()
    assert house.installation.client.get("/api/proposals/1").json()["status"] == "launched"
    context.close()


def test_settings_are_changed_and_taken_back(house: House, pages: Served, browser: Any) -> None:
    context = new_context(browser)
    page = visit(context, pages, "system")
    page.get_by_role("spinbutton", name="min confidence").fill("0.85")
    page.get_by_label("Why").fill("surer ones")
    page.get_by_role("button", name="Save the settings").click()
    page.get_by_text("Version 1.").wait_for()
    page.get_by_text("Changes (1)").click()
    page.get_by_role("button", name="Undo the last change of min_confidence").click()
    page.get_by_text("Version 2.").wait_for()
    context.close()


def test_a_page_without_its_api_says_so_and_comes_back_by_itself(house: House, pages: Served, browser: Any) -> None:
    recommend(house.installation.database, "AAA")
    context = new_context(browser)
    page = visit(context, pages)
    page.get_by_text("1 recommendation ·").wait_for()
    house.close_api()
    page.get_by_text("Cannot reach the data:").first.wait_for()
    assert "start it with mltrainer up" in page.get_by_role("alert").first.inner_text()
    assert "cannot place orders" in page.get_by_role("note").inner_text()
    house.open_api()
    page.get_by_text("Cannot reach the data:").first.wait_for(state="detached")
    page.get_by_text("1 recommendation ·").wait_for()
    context.close()


def test_every_page_has_an_empty_state_that_says_what_to_do_next(house: House, pages: Served, browser: Any) -> None:
    context = new_context(browser)
    for path, said in {
        "portfolio": "Your portfolio is empty.",
        "chat": "begin with one of the suggestions",
        "trials": "No trial has run yet.",
        "system": "No open alerts.",
    }.items():
        page = visit(context, pages, path)
        page.get_by_text(said).first.wait_for()
        assert page.get_by_test_id("stException").count() == 0
        page.close()
    context.close()


@pytest.mark.parametrize("positions", [50_000])
def test_five_hundred_recommendations_and_fifty_thousand_positions_show_soon(
    house: House, pages: Served, browser: Any, positions: int
) -> None:
    """How soon is printed; the processor is shared with all other tests."""
    crowd(house.installation, 500, positions)
    context = new_context(browser)
    visit(context, pages).close()  # the first visit loads Streamlit itself
    page = context.new_page()
    begin = time.monotonic()
    page.goto(pages.url)
    page.get_by_text("500 recommendations").wait_for()
    first = time.monotonic() - begin
    begin = time.monotonic()
    page.goto(f"{pages.url}/portfolio")
    page.get_by_text("Your portfolio is empty.").wait_for()
    print(f"\nfirst content: recommendations {first:.2f} s, portfolio {time.monotonic() - begin:.2f} s")
    page.get_by_role("tab", name="All recommendations").click()
    page.get_by_text(f"{positions + 500:,} paper trades").wait_for()
    context.close()


def crowd(installation: Installation, newest: int, closed: int) -> None:
    """So many recommendations in the newest session, and so many closed positions of the sessions before."""
    template = recommend(installation.database, "AAA")
    hold_virtually(installation.database, template, "AAA")
    copied = [column.name for column in tables.Recommendation.__table__.columns if column.name not in ("id", "symbol", "session")]
    held = [
        column.name
        for column in tables.VirtualPosition.__table__.columns
        if column.name not in ("id", "recommendation_id", "symbol", "status", "exit_session", "exit_reason")
    ]
    with installation.database.engine.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO recommendations (symbol, session, {', '.join(copied)}) "
                f"SELECT 'S' || n, CASE WHEN n < :newest THEN session ELSE session - 30 END, {', '.join(copied)} "
                "FROM recommendations, generate_series(1, :all) AS n WHERE id = :template"
            ),
            {"newest": newest, "all": newest + closed - 1, "template": template},
        )
        connection.execute(
            sa.text(
                "INSERT INTO virtual_positions "
                f"(recommendation_id, symbol, status, exit_session, exit_reason, {', '.join(held)}) "
                "SELECT r.id, r.symbol, CASE WHEN old THEN 'closed' ELSE 'open' END, CASE WHEN old THEN r.session + 9 END, "
                f"CASE WHEN old THEN 'time' END, {', '.join(f'p.{name}' for name in held)} "
                "FROM (SELECT id, symbol, session, session < (SELECT max(session) FROM recommendations) AS old "
                "FROM recommendations) r, virtual_positions p "
                "WHERE p.recommendation_id = :template AND r.id <> :template"
            ),
            {"template": template},
        )
