"""One JupyterLab and one Chromium for all tests here; a page of its own for each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PREFIX, ROOT, Docker
from tests.ui.lab import CHROMIUM, FLAGS, HOME_SCRIPT, TOKEN, WAIT, Lab, running_lab

playwright = pytest.importorskip("playwright.sync_api", reason="scripts/setup installs playwright")


def need(there: bool, what: str) -> None:
    """Skip, or fail where the suite says that everything must be here."""
    if not there:
        if os.environ.get("VOLCOPY_TEST_ENGINE") == "required":
            pytest.fail(what)
        pytest.skip(what)


@dataclass(frozen=True)
class Story:
    """The containers of the tests: `first` runs, `second` shares a volume with it and is stopped."""

    first: str
    second: str
    shared: str
    team: Path


@pytest.fixture(scope="session")
def story(docker: Docker, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Two containers that share a volume; the first has a bind, a tmpfs and a home, too."""
    team = tmp_path_factory.mktemp("team")
    found = Story(f"{PREFIX}-lab-1", f"{PREFIX}-lab-2", f"{PREFIX}-shared", team)
    try:
        docker("volume", "create", found.shared)
        docker(
            "run", "-d", "--init", "--name", found.first, "--network", "none", "--user", "1000:100",
            "-v", f"{found.shared}:/srv/shared", "-v", f"{team}:/srv/team:ro", "--tmpfs", "/scratch",
            image, "sleep", "86400",
        )  # fmt: skip
        (team / "notes.md").write_text("team\n")
        docker.sh(found.first, HOME_SCRIPT.replace("printf 'team\\n' > /srv/team/notes.md", ":"))
        docker(
            "create", "--name", found.second, "--network", "none", "--label", "org.example.owner=王老师",
            "-v", f"{found.shared}:/srv/shared", "-v", "/srv/own", image, "sleep", "86400",
        )  # fmt: skip
        yield found
    finally:
        docker.raw("rm", "-fv", found.first, found.second)
        docker.raw("volume", "rm", "-f", found.shared)


@pytest.fixture(scope="session")
def lab(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab that sees the containers of the story only."""
    need(
        (ROOT / "jupyter_volcopy" / "labextension" / "static" / "style.js").exists(),
        "JupyterLab's part is not built: scripts/build-lab builds it",
    )
    with running_lab(tmp_path_factory.mktemp("lab"), names=[f"{PREFIX}-*"]) as found:
        yield found


# For a module, not the session: Playwright's loop runs in this thread until its end, and the tests
# of the server, which may come next in this process, need one of their own.
@pytest.fixture(scope="module")
def context() -> Iterator[playwright.BrowserContext]:
    """Chromium."""
    path = CHROMIUM if Path(CHROMIUM).exists() else (shutil.which("chromium") or "")
    need(bool(path), "no chromium: scripts/setup installs it")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        # One for all pages: what Lab is made of is loaded once.
        found = browser.new_context(viewport={"width": 1300, "height": 850}, accept_downloads=True)
        found.set_default_timeout(WAIT)
        playwright.expect.set_options(timeout=WAIT)
        yield found
        browser.close()


def open_lab(context: playwright.BrowserContext, lab: Lab) -> playwright.Page:
    """A new page with JupyterLab in it, ready, its state forgotten."""
    page = context.new_page()
    page.goto(f"{lab.url}/lab?token={TOKEN}&reset")
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    page.locator(".jp-SideBar [data-id='jupyter-volcopy-panel']").wait_for()
    return page


@pytest.fixture
def page(
    context: playwright.BrowserContext, lab: Lab, story: Story, request: pytest.FixtureRequest
) -> Iterator[playwright.Page]:
    """JupyterLab with our panel open. No error may come to the browser's console from us."""
    found = open_lab(context, lab)
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    open_panel(found)
    yield found
    failed = getattr(request.node, "failed", False)
    if failed:
        where = ROOT / ".cache" / "ui"
        where.mkdir(parents=True, exist_ok=True)
        found.screenshot(path=where / f"{request.node.name}.png")
    found.close()
    assert not errors, errors


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that fails leaves a picture in .cache/ui."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        item.failed = True


def open_panel(page: playwright.Page) -> None:
    """Show the side panel. A click on its tab hides it where it is shown already."""
    found = page.locator("#jupyter-volcopy-panel")
    for _ in range(6):
        if not found.is_visible():
            page.locator(".jp-SideBar [data-id='jupyter-volcopy-panel']").click()
        try:
            return found.wait_for(timeout=WAIT / 6)
        except playwright.TimeoutError:
            continue  # Lab was restoring its layout
    found.wait_for(timeout=1)


@pytest.fixture
def clean_files(lab: Lab) -> Iterator[Path]:
    """The user's files, empty before and after."""

    def empty() -> None:
        for one in lab.root.iterdir():
            shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()

    empty()
    yield lab.root
    empty()


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
