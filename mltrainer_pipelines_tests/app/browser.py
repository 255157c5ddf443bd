"""Chromium, for walking the pages as a person would."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

CHROMIUM = Path("/usr/bin/chromium")
Look = Literal["light", "dark", "phone"]
LOOKS: tuple[Look, ...] = ("light", "dark", "phone")
PAGES = {
    "": "Recommendations",
    "portfolio": "Portfolio",
    "chat": "mlTrainer chat",
    "trials": "Trials",
    "factors": "Factors",
    "system": "System",
}
PATIENCE_MS = 30_000


def require_chromium() -> None:
    """Skip where there is no browser; in CI, where `make test` installs it, fail instead."""
    if CHROMIUM.is_file():
        return
    if os.environ.get("CI"):
        pytest.fail("CI has no Chromium: `make test` installs it with apt-get, as root")
    pytest.skip("Chromium is not installed (apt-get install chromium)")


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser."""
    require_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def new_context(browser: Any, look: Look = "light") -> Any:
    """A reader in Berlin at a desk of 1280 px, in the light or in the dark, or with a phone."""
    phone = look == "phone"
    context = browser.new_context(
        viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 900},
        color_scheme="dark" if look == "dark" else "light",
        timezone_id="Europe/Berlin",
        is_mobile=phone,
        has_touch=phone,
        accept_downloads=True,
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


def settled(page: Any) -> None:
    """Wait until the page's script has run."""
    page.get_by_role("heading", level=1).first.wait_for()
    page.wait_for_function('() => !document.querySelector(\'[data-testid="stStatusWidget"], [data-stale="true"]\')')
    page.wait_for_timeout(400)


def whole_page(page: Any, path: Path) -> None:
    """A picture of everything, not only of what fits the screen."""
    size = page.viewport_size
    height = page.evaluate("() => (document.querySelector('[data-testid=\"stMain\"]') ?? document.documentElement).scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": min(max(size["height"], height + 40), 4000)})
    page.wait_for_timeout(700)
    page.screenshot(path=str(path))
    page.set_viewport_size(size)


def serious_violations(page: Any) -> list[str]:
    """What axe finds that is serious or critical: the rule, and where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
