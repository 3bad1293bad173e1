"""JupyterLab while its engine goes away and comes back; the page and the server stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PREFIX, Docker, wait_for
from tests.engine.ways import Forwarder, engine_socket
from tests.ui.conftest import Story, open_lab, open_panel
from tests.ui.lab import Lab, running_lab
from tests.ui.steps import browse, entry, listing, menu, panel, row, run

sync_api = pytest.importorskip("playwright.sync_api")
expect, Page, BrowserContext = sync_api.expect, sync_api.Page, sync_api.BrowserContext

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

BIG = 40_000_000


@pytest.fixture
def forward(docker: Docker, tmp_path: Path) -> Iterator[Forwarder]:
    """The way to the engine, which can be cut."""
    made = Forwarder(tmp_path / "e.sock", engine_socket())
    made.start()
    yield made
    made.stop()


@pytest.fixture
def cut_off(lab: Lab, forward: Forwarder, tmp_path: Path) -> Iterator[Lab]:
    """A JupyterLab that reaches its engine that way."""
    extra = [f"--Volcopy.engine_url=unix://{forward.path}"]
    with running_lab(tmp_path / "lab", names=[f"{PREFIX}-*"], extra=extra) as found:
        yield found


def _replace(page: Page) -> None:
    """Copy the file over the one that is there."""
    menu(page, entry(listing(page), "big"), "Copy to my files")
    page.locator(".jp-Dialog").get_by_role("button", name="Replace").click()


def test_the_engine_goes_away_and_comes_back(
    context: BrowserContext, cut_off: Lab, forward: Forwarder, story: Story, docker: Docker
) -> None:
    docker.sh(story.first, f"yes new | head -c {BIG} > /srv/shared/big")
    page = open_lab(context, cut_off)
    open_panel(page)
    browse(page, story.first, "srv", "shared")
    kept = cut_off.root / "big"
    kept.write_text("old")

    # In the middle of a copy: it failed, with a sentence, and the old file is there.
    forward.slowly()
    _replace(page)
    wait_for(lambda: forward.moved > 1 << 20, "the middle of it")
    forward.stop()
    transfer = panel(page).locator(".jp-Volcopy-transfer")
    expect(transfer).to_have_attribute("data-state", "failed")
    expect(transfer.get_by_role("alert")).not_to_be_empty()
    assert kept.read_text() == "old" and list(cut_off.root.iterdir()) == [kept]

    # Looked at again: no containers of an engine that is not there, but what is to be done.
    run(page, "volcopy:refresh")
    notice = (
        panel(page).locator(".jp-Volcopy-notice[role=alert]").filter(has_text="The Docker engine")
    )
    expect(notice.first).to_contain_text("Cannot connect to the Docker daemon")
    expect(row(page, story.first)).to_have_count(0)
    again = notice.first.get_by_role("button", name="Try again")
    again.click()
    expect(again).to_be_visible()  # it is still gone, and the button still there

    # It is back: no restart, no reload.
    forward.start()
    again.click()
    expect(row(page, story.first)).to_be_visible()
    expect(notice).to_have_count(0)
    browse(page, story.first, "srv", "shared")
    _replace(page)
    wait_for(lambda: kept.stat().st_size == BIG, "the file")
    page.close()
