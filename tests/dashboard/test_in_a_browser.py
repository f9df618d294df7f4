"""The pages in a real browser: what others wrote does nothing, and our own policy stops nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from forge_workers.stack.flower import USER
from tests.conftest import TEMPLATE
from tests.core.conftest import _house
from tests.core.factories import found_house
from tests.dashboard.flower import PASSWORD, Dashboard, Page, flower

pytestmark = pytest.mark.processes

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MARK = "document.documentElement.id='taken'"
HOSTILE = (
    f'<script>{MARK}</script><img src=x onerror="{MARK}"><svg onload="{MARK}"></svg>'
    f'<a href="javascript:{MARK}">x</a>'
)


@pytest.fixture
def house(servers):
    with _house(servers, TEMPLATE) as house:
        found_house(house)
        yield house


@pytest.fixture
def dashboard(house, servers, folder):
    url = house.server.url("forge_reader", house.name)
    with flower(folder, reader_url=url, broker_url=servers.broker_url) as running:
        yield running


def browse(dashboard: Dashboard, path: str, folder: Path) -> tuple[Page, str]:
    """What the page has become when its scripts have run, and the browser's log."""
    address = f"http://{USER}:{PASSWORD}@127.0.0.1:{dashboard.server.port}{path}"
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={folder / 'browser'}", "--virtual-time-budget=2000", "--dump-dom",
         address],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Page(done.stdout), "\n".join(said)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_text_of_members_runs_nothing_in_a_browser(house, dashboard, folder):
    texts = {"title": HOSTILE[:200], "description": HOSTILE, "reason": HOSTILE}
    proposal = house.open(**texts, payload={"text": HOSTILE})
    house.sweep()
    house.perform("advisory.analyse")

    for path in ("/governance", f"/governance/proposals/{proposal}", "/governance/advice"):
        page, said = browse(dashboard, path, folder)
        (root,) = page.all("html")
        assert "id" not in root.attributes
        # Flower's script has chosen a theme: scripts do run here, and the policy lets its own.
        assert root.attributes["data-bs-theme"] in {"light", "dark"}
        assert said == ""
    assert HOSTILE[:60] in browse(dashboard, "/governance", folder)[0].text
