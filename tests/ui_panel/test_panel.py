"""The panel in a browser: JupyterLab and Notebook 7, light and dark, wide and narrow, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import Docker, wait_for
from tests.ui.steps import settled
from tests.ui_panel.conftest import WAIT, Server, playwright

expect = playwright.expect
NOTEBOOK = "教程-研究功能介绍.ipynb"
EVIL = "<img src=x onerror=\"document.title='owned'\">$x^2$"
CODE = """from jupyter_volcopy import VolcopyPanel
from ipywidgets import VBox, Layout
panel = VolcopyPanel()
{}"""
SHOW = CODE.format("panel")


def fill(docker: Docker, name: str) -> None:
    """Something to see: a link, Chinese, HTML and control characters in names."""
    docker.sh(
        name, "mkdir -p /work/sub /work/many && ln -s sub /work/link && echo old > /work/sub/a.txt"
    )
    docker.sh(name, "cd /work/many && for i in $(seq 1 120); do : > f$i.txt; done")
    docker.write(name, f"/work/{NOTEBOOK}", b'{"cells": []}')
    docker.sh(
        name, f"cd /work && : > '{EVIL.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'"
    )
    docker.sh(name, "cd /work && : > \"$(printf 'bell\\007\\033[31mred')\"")


def press(note: Any, name: str) -> None:
    """Press a button by its name, exact."""
    note.panel.get_by_role("button", name=name, exact=True).click(timeout=WAIT)


def unfold(note: Any, title: str) -> None:
    """Open a section."""
    note.panel.locator(".volcopy-section").filter(has_text=title).click(timeout=WAIT)


def fits(note: Any) -> None:
    """Nothing of the panel sticks out sideways, whatever its width."""
    wide = settled(
        note.panel,
        """panel => [...panel.querySelectorAll('*')].filter(e => e.offsetParent !== null
          && e.getBoundingClientRect().right > panel.getBoundingClientRect().right + 1)
          .map(e => e.className + ' ' + e.textContent.slice(0, 40))""",
    )
    assert not wide


def test_lab(
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    notebook: Callable[..., Any],
    server: Server,
    tmp_path: Path,
) -> None:
    """Choose, browse, pull, push, forecast: all by mouse in JupyterLab."""
    lab = container("running", "-v", f"{volume()}:/kept", "-w", "/work")
    fill(docker, lab)
    note = notebook(SHOW)
    note.choose(lab)
    expect(note.entry(NOTEBOOK)).to_be_visible(timeout=WAIT)
    note.shows("running")
    expect(note.entry("link → sub")).to_be_visible()
    expect(note.entry("<img src=x")).to_contain_text("$x^2$")
    expect(note.entry("bell\\x07\\x1b[31mred")).to_be_visible()
    note.shows("lost")
    fits(note)

    note.panel.get_by_title(f"select {NOTEBOOK}", exact=True).check()
    note.panel.get_by_title("select <img", exact=False).first.check()
    note.shows("2 selected")
    note.panel.get_by_label("Into").fill("in")
    (server.work / "in").mkdir()
    press(note, "Pull 2 entries")
    note.shows("✓")
    pulled = {path.name for path in (server.work / "in").iterdir()}
    assert pulled == {NOTEBOOK, EVIL}

    note.entry("many/").click()
    note.shows("1 to 50 of 120 entries")
    press(note, "Next")
    note.shows("51 to 100 of 120 entries")
    note.panel.get_by_label("Filter").fill("f119")
    note.shows("1 of 120 entries")
    press(note, "work")
    note.entry("link").click()
    expect(note.entry("a.txt")).to_be_visible(timeout=WAIT)

    # Into a directory that is reached by a link: what a person sees is where it lands.
    unfold(note, "Push into this directory")
    (server.work / "b.txt").write_text("b")
    note.panel.get_by_label("Paths").fill("b.*")
    (tmp_path / NOTEBOOK).write_bytes(b"uploaded")
    with note.page.expect_file_chooser() as chooser:
        note.panel.get_by_role("button", name="Choose files").click()
    chooser.value.set_files(str(tmp_path / NOTEBOOK))
    note.panel.get_by_text("Choose files (1)").wait_for(timeout=WAIT)
    press(note, "Push")
    expect(note.entry("b.txt")).to_be_visible(timeout=WAIT)
    expect(note.entry(NOTEBOOK)).to_be_visible(timeout=WAIT)
    assert docker.read(lab, f"/work/sub/{NOTEBOOK}") == b"uploaded"
    assert docker.read(lab, "/work/sub/b.txt") == b"b"

    unfold(note, "Kept or lost")
    note.shows("/kept")
    press(note, "Forecast")
    note.shows("would lose")
    fits(note)
    assert note.errors == []
    assert "owned" not in note.page.title()


def test_chinese_narrow(
    docker: Docker, container: Callable[..., str], notebook: Callable[..., Any]
) -> None:
    """In Chinese, 220 pixels wide: nothing sticks out, the marks are there."""
    lab = container("running", "-w", "/work")
    docker.sh(lab, "mkdir -p /work && : > /work/a.txt")
    code = (
        "from jupyter_volcopy import VolcopyPanel\nfrom ipywidgets import VBox, Layout\n"
        f"VBox([VolcopyPanel('{lab}', language='zh')], layout=Layout(width='220px'))"
    )
    note = notebook(code)
    expect(note.entry("a.txt")).to_be_visible(timeout=WAIT)
    note.shows("运行中")
    note.shows("丢失")
    unfold(note, "保留或丢失")
    note.shows("没有挂载")
    fits(note)
    assert note.errors == []


def test_notebook_narrow_dark_keyboard(
    docker: Docker,
    container: Callable[..., str],
    notebook: Callable[..., Any],
    server: Server,
) -> None:
    """Notebook 7, dark, 220 pixels wide, without a mouse; and a copy that is cancelled."""
    lab = container("running", "-w", "/work")
    docker.sh(
        lab, "mkdir -p /work/sub && echo x > /work/sub/a.txt && truncate -s 8G /work/sub/huge"
    )
    note = notebook(
        CODE.format("VBox([panel], layout=Layout(width='220px'))"), door="notebook", dark=True
    )
    page = note.page
    choice = note.panel.get_by_label("Container")
    choice.locator("option", has_text=lab).wait_for(state="attached", timeout=WAIT)

    def typed() -> bool:
        """A list goes to what is typed, unless a second passes between two keys of a busy machine."""
        choice.focus()
        page.keyboard.type(lab)
        if choice.locator("option:checked").inner_text().startswith(lab):
            return True
        page.wait_for_timeout(1100)  # it begins anew
        return False

    wait_for(typed, "the container to be chosen")
    expect(note.entry("sub/")).to_be_visible(timeout=WAIT)
    fits(note)

    def tab_to(title: str) -> None:
        """By Tab alone, as somebody without a mouse."""
        for _ in range(60):
            page.keyboard.press("Tab")
            now = page.evaluate(
                "(document.activeElement.title || document.activeElement.textContent)"
            )
            if title in now:
                return
        raise AssertionError(f"{title} cannot be reached by Tab")

    tab_to("sub: directory")
    page.keyboard.press("Enter")
    expect(note.entry("huge")).to_be_visible(timeout=WAIT)
    choice.focus()
    tab_to("select huge")
    page.keyboard.press("Space")
    note.shows("1 selected")
    fits(note)
    pull = note.panel.get_by_role("button", name="Pull 1 entry", exact=True)
    pull.focus()
    page.keyboard.press("Space")
    note.shows("Transfers (1 running)")
    cancel = note.panel.get_by_role("button", name="Cancel", exact=True)
    cancel.focus()
    page.keyboard.press("Enter")
    note.shows("cancelled; what was there before is still there")
    assert not (server.work / "huge").exists()
    fits(note)


def test_no_engine(notebook: Callable[..., Any]) -> None:
    """Without an engine the panel says what is missing and how to get it."""
    note = notebook(
        "import os; os.environ['BINDER_SERVICE_HOST'] = 'binder'\n"
        "from jupyter_volcopy import VolcopyPanel\n"
        "VolcopyPanel(address='unix:///nowhere/docker.sock')",
        door="notebook",
    )
    note.shows("No Docker engine here")
    note.shows("Cannot connect to the Docker daemon at unix:///nowhere/docker.sock")
    note.shows("This is Binder")
    note.shows("DOCKER_HOST")
    expect(note.panel.get_by_role("button", name="Try again")).to_be_visible()
