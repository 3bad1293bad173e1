"""A real Jupyter server (JupyterLab and Notebook 7), a real Chromium, and the panel in a notebook."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, free_port, wait_for

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
pytest.importorskip("notebook", reason="notebook is not installed")

WAIT = 60_000  # milliseconds: a slow machine is no failure
CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


class Server:
    """A Jupyter server in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.work = directory / "work"
        self.work.mkdir()
        settings = directory / "lab-settings"
        (settings / "@jupyterlab" / "apputils-extension").mkdir(parents=True)
        (
            settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        ).write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
        env = {
            **os.environ,
            "HOME": str(directory),
            "JUPYTER_CONFIG_DIR": str(directory / "config"),
            "JUPYTER_DATA_DIR": str(directory / "data"),
            "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(directory / "workspaces"),
            "IPYTHONDIR": str(directory / "ipython"),
            "XDG_STATE_HOME": str(directory / "state"),
            "LC_ALL": "C.UTF-8",  # the panel speaks the locale's language
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])
            ),
        }
        self.log = (directory / "server.log").open("wb")
        arguments = [
            f"--ServerApp.port={self.port}",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.open_browser=False",
            "--ServerApp.allow_root=True",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.work}",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *arguments],
            env=env,
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the server's REST API."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def theme(self, name: str) -> None:
        """Which theme the next page has."""
        raw = json.dumps({"theme": name})
        self.call("PUT", "/lab/api/settings/@jupyterlab/apputils-extension:themes", {"raw": raw})

    def answers(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail((self.directory / "server.log").read_text()[-4000:])
        try:
            self.call("GET", "/api/status")
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
        self.log.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not CHROMIUM:
        pytest.skip("no Chromium here (set CHROMIUM to one)")
    found = Server(tmp_path_factory.mktemp("jupyter"))
    try:
        wait_for(found.answers, "the Jupyter server", timeout=240)
        yield found
    finally:
        found.close()


# For a module, as in tests/ui: Playwright's loop runs in this thread until its end.
@pytest.fixture(scope="module")
def browser(server: Server) -> Iterator[Any]:
    with playwright.sync_playwright() as tool:
        found = tool.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        playwright.expect.set_options(timeout=WAIT)
        yield found
        found.close()


class Notebook:
    """A notebook with the panel as its output, open in a page."""

    def __init__(self, page: Any, server: Server) -> None:
        self.page, self.server = page, server
        self.panel = page.locator(".volcopy-panel").first
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def run(self) -> None:
        """Run the first cell, once, when the kernel is ready."""
        page = self.page
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=WAIT)

        def idle() -> bool:
            try:
                kernels = self.server.call("GET", "/api/kernels")
            except OSError:  # 500 for a moment, while the kernel is being made
                return False
            return bool(kernels) and all(k["execution_state"] == "idle" for k in kernels)

        wait_for(idle, "the kernel", timeout=150)
        prompt = page.locator(".jp-InputPrompt").first
        cell = page.locator(".jp-CodeCell .cm-content").first

        def started() -> bool:
            if prompt.inner_text().strip() not in ("", "[ ]:", "[]:"):
                return True
            cell.click()
            page.keyboard.press("Shift+Enter")
            try:
                playwright.expect(prompt).not_to_have_text("[ ]:", timeout=15_000)
            except AssertionError:
                return False  # pressed before the page was listening
            return True

        wait_for(started, "the cell to run", timeout=150)
        self.panel.wait_for(state="visible", timeout=WAIT)

    def choose(self, container: str) -> None:
        """Choose a container in the list."""
        choice = self.panel.get_by_label("Container")
        option = choice.locator("option", has_text=container)
        option.wait_for(state="attached", timeout=WAIT)
        choice.select_option(label=option.inner_text())

    def entry(self, name: str) -> Any:
        """The button with the name of an entry."""
        return self.panel.locator(".volcopy-name").filter(has_text=name).first

    def shows(self, text: str) -> None:
        """Wait until the panel shows a text."""
        playwright.expect(self.panel).to_contain_text(text, timeout=WAIT)


@pytest.fixture
def notebook(
    server: Server, browser: Any, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """`notebook(code, door="lab", width=…, dark=False) -> Notebook`: the panel is shown."""
    contexts: list[Any] = []

    def make(
        code: str, *, door: str = "lab", width: int = 1000, height: int = 900, dark: bool = False
    ) -> Notebook:
        name = f"n{secrets.token_hex(4)}.ipynb"
        cell = {
            "cell_type": "code",
            "id": "a",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": code,
        }
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        (server.work / name).write_text(
            json.dumps(
                {
                    "cells": [cell],
                    "metadata": {"kernelspec": spec},
                    "nbformat": 4,
                    "nbformat_minor": 5,
                }
            )
        )
        server.theme("JupyterLab Dark" if dark else "JupyterLab Light")
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        found = Notebook(page, server)
        place = f"/lab/tree/{name}?reset&" if door == "lab" else f"/notebooks/{name}?"
        page.goto(f"{server.url}{place}token={server.token}", timeout=WAIT)
        if door == "lab":
            page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=WAIT)
        found.run()
        return found

    yield make
    for at, context in enumerate(contexts):
        if os.environ.get("VOLCOPY_TEST_SCREENSHOTS"):
            folder = Path(os.environ["VOLCOPY_TEST_SCREENSHOTS"])
            folder.mkdir(parents=True, exist_ok=True)
            for page in context.pages:
                page.screenshot(path=str(folder / f"{request.node.name}-{at}.png"))
        context.close()
    for session in server.call("GET", "/api/sessions"):
        server.call("DELETE", f"/api/sessions/{session['id']}")
