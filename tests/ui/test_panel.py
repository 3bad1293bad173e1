"""Every flow of the panel, as a person goes it."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Docker, wait_for
from tests.ui.conftest import Story, open_panel
from tests.ui.lab import NOTEBOOK, Lab
from tests.ui.steps import (
    arrived,
    both_sides,
    browse,
    choose,
    clear_transfers,
    drag,
    entry,
    files,
    listing,
    mark,
    menu,
    panel,
    refresh_files,
    row,
    run,
)

sync_api = pytest.importorskip("playwright.sync_api")
expect, Page = sync_api.expect, sync_api.Page

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of one pixel."""

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def test_containers(page: Page, story: Story) -> None:
    expect(row(page, story.first)).to_contain_text("running")
    expect(row(page, story.second)).to_contain_text("created")
    expect(row(page, story.shared)).to_contain_text("used by 2 containers")
    expect(row(page, story.second).locator(".jp-Volcopy-owner")).to_have_text("王老师")
    field = panel(page).get_by_role("searchbox")
    field.fill("王老师")
    expect(row(page, story.first)).to_have_count(0)
    expect(row(page, story.second)).to_have_count(1)
    field.fill("created")
    expect(row(page, story.first)).to_have_count(0)
    expect(row(page, story.second)).to_have_count(1)
    field.fill("nothing is called so")
    expect(panel(page).get_by_text("Nothing fits the filter")).to_be_visible()
    field.press("Escape")
    expect(row(page, story.first)).to_have_count(1)


def test_files_and_marks(page: Page, story: Story) -> None:
    browse(page, story.first)
    expect(mark(page, "home")).to_have_text("lost")
    expect(mark(page, "bin")).to_have_text("image")
    entry(listing(page), "home").dblclick()
    entry(listing(page), "nb").dblclick()
    item = entry(listing(page), "newest.csv").locator("xpath=ancestor::li")
    expect(item.locator(".jp-Volcopy-link")).to_have_text("→ results.csv")
    expect(item).to_have_attribute("title", __import__("re").compile("Link to results.csv"))
    # A link to a directory is followed when it is opened.
    entry(listing(page), "latest").dblclick()
    expect(entry(listing(page), "model.py")).to_be_visible()


def test_kept_or_lost(page: Page, story: Story) -> None:
    browse(page, story.first)
    kept = panel(page).locator(".jp-Volcopy-kept")
    expect(kept).to_contain_text("/home/nb/results.csv")
    expect(kept).to_contain_text(f"shared with {story.second}")
    expect(kept.get_by_role("img")).to_have_attribute(
        "aria-label", f"{story.shared} is shared with {story.second}"
    )
    mount = kept.locator(".jp-Volcopy-mount").filter(has_text="/srv/shared")
    expect(mount.locator(".jp-Volcopy-mark")).to_have_text("shared")
    team = kept.locator(".jp-Volcopy-mount").filter(has_text="/srv/team")
    expect(team).to_contain_text("read-only")
    row(page, story.second).click()
    own = kept.locator(".jp-Volcopy-mount").filter(has_text="/srv/own")
    expect(own.locator(".jp-Volcopy-mark")).to_have_text("kept")
    panel(page).get_by_role("combobox").select_option("rm-v")
    expect(own.locator(".jp-Volcopy-mark")).to_have_text("lost")


def test_pull_by_menu_and_replace(page: Page, story: Story, clean_files: Path) -> None:
    browse(page, story.first, "home", "nb")
    menu(page, entry(listing(page), "results.csv"), "Copy to my files")
    wait_for((clean_files / "results.csv").exists, "the pulled file")
    assert (clean_files / "results.csv").read_text() == "a,b\n1,2\n"
    (clean_files / "results.csv").write_text("mine\n")
    menu(page, entry(listing(page), "results.csv"), "Copy to my files")
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("results.csv")
    dialog.locator(".jp-mod-reject").click()
    assert (clean_files / "results.csv").read_text() == "mine\n"
    menu(page, entry(listing(page), "results.csv"), "Copy to my files")
    page.locator(".jp-Dialog .jp-mod-warn").click()
    wait_for(lambda: (clean_files / "results.csv").read_text() != "mine\n", "the new file")


def test_push_by_menu(page: Page, story: Story, clean_files: Path, docker: Docker) -> None:
    (clean_files / "report 报告.md").write_text("hello")
    browse(page, story.first, "home", "nb", "many")
    refresh_files(page)
    menu(page, entry(files(page), "report 报告.md"), "Copy to container…")
    form = page.locator(".jp-Volcopy-form")
    expect(form.locator("input")).to_have_value("/home/nb/many")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    arrived(docker, story.first, "/home/nb/many/report 报告.md")
    assert docker.read(story.first, "/home/nb/many/report 报告.md") == b"hello"
    assert docker.sh(story.first, "stat -c %u:%g '/home/nb/many/report 报告.md'") == "1000:100"


def test_notebook_opened_and_saved(page: Page, story: Story, docker: Docker) -> None:
    browse(page, story.first, "home", "nb")
    entry(listing(page), NOTEBOOK).dblclick()
    page.locator(".jp-Dialog .jp-mod-reject").click()  # no kernel
    expect(page.locator(".jp-Notebook")).to_contain_text("研究功能介绍")
    run(page, "notebook:insert-cell-below")
    expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(2)
    run(page, "docmanager:save")
    path = f"/home/nb/{NOTEBOOK}"
    wait_for(lambda: b'"code"' in docker.read(story.first, path), "the saved notebook")
    text = docker.read(story.first, path).decode()
    assert text.startswith('{\n "cells": [\n')
    assert "trusted" not in text
    assert docker.sh(story.first, f"stat -c %u:%g '{path}'") == "1000:100"
    assert docker.sh(story.first, "ls -A /home/nb | grep -c volcopy || true") == "0"


def test_drags(page: Page, story: Story, clean_files: Path, docker: Docker) -> None:
    (clean_files / "sub").mkdir()
    (clean_files / "sub" / "x.txt").write_text("x")
    browse(page, story.first, "home", "nb")
    both_sides(page)
    refresh_files(page)
    drag(page, entry(files(page), "sub"), entry(listing(page), "many"))
    arrived(docker, story.first, "/home/nb/many/sub/x.txt")
    assert docker.read(story.first, "/home/nb/many/sub/x.txt") == b"x"
    drag(page, entry(listing(page), "data"), entry(files(page), "sub"))
    wait_for(lambda: (clean_files / "sub" / "data" / "model.py").exists(), "the folder")


def test_copy_and_paste(page: Page, story: Story, clean_files: Path, docker: Docker) -> None:
    (clean_files / "mine.txt").write_text("mine")
    browse(page, story.first, "home", "nb", "figures")
    both_sides(page)
    refresh_files(page)
    entry(listing(page), "plot.png").click()
    page.keyboard.press("Control+c")
    entry(files(page), "mine.txt").click()
    page.keyboard.press("Control+v")
    wait_for(lambda: (clean_files / "plot.png").exists(), "the pulled file")
    entry(files(page), "mine.txt").click()
    page.keyboard.press("Control+c")
    entry(listing(page), "plot.png").click()
    page.keyboard.press("Control+v")
    expect(entry(listing(page), "mine.txt")).to_be_visible()
    assert docker.read(story.first, "/home/nb/figures/mine.txt") == b"mine"
    # Keys that would delete or rename must not reach the user's own files from here.
    entry(files(page), "mine.txt").click()
    entry(listing(page), "plot.png").click()
    for key in ("Delete", "F2", "Control+x", "Control+d"):
        page.keyboard.press(key)
    expect(page.get_by_text("not renamed, deleted or created").first).to_be_visible()
    expect(page.locator(".jp-Dialog")).to_have_count(0)
    assert sorted(one.name for one in clean_files.iterdir()) == ["mine.txt", "plot.png"]


def test_desktop_drop(page: Page, story: Story, docker: Docker) -> None:
    browse(page, story.first, "home", "nb", "data")
    expect(entry(listing(page), "model.py")).to_be_visible()
    page.evaluate(
        """() => {
          const transfer = new DataTransfer();
          transfer.items.add(new File(['one'], '数据.txt'));
          transfer.items.add(new File(['two'], 'b.txt'));
          const list = document.querySelector('.jp-Volcopy-browser .jp-DirListing-content');
          const box = list.getBoundingClientRect();
          list.dispatchEvent(new DragEvent('drop', {
            dataTransfer: transfer, bubbles: true, cancelable: true,
            clientX: box.left + 20, clientY: box.bottom - 4
          }));
        }"""
    )
    expect(entry(listing(page), "数据.txt")).to_be_visible()
    assert docker.read(story.first, "/home/nb/data/数据.txt") == b"one"
    assert docker.read(story.first, "/home/nb/data/b.txt") == b"two"
    assert docker.sh(story.first, "stat -c %u:%g /home/nb/data/b.txt") == "1000:100"


def test_desktop_drop_of_a_folder(page: Page, story: Story, docker: Docker, tmp_path: Path) -> None:
    """As the browser gives it for a real drag: a folder, with what is in it."""
    folder = tmp_path / "从桌面"
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("a")
    for number in range(120):  # a browser gives at most a hundred entries at a time
        (folder / f"{number}.txt").write_text(str(number))
    browse(page, story.first, "home", "nb", "figures")
    expect(entry(listing(page), "plot.png")).to_be_visible()
    box = listing(page).locator(".jp-DirListing-content").bounding_box()
    assert box
    browser = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send(
            "Input.dispatchDragEvent",
            {
                "type": kind,
                "x": box["x"] + 20,
                "y": box["y"] + box["height"] - 4,
                "data": {"items": [], "files": [str(folder)], "dragOperationsMask": 1},
            },
        )
    expect(entry(listing(page), "从桌面")).to_be_visible()
    there = "/home/nb/figures/从桌面"
    assert docker.read(story.first, f"{there}/deep/a.txt") == b"a"
    assert docker.sh(story.first, f"test -d {there}/deep/empty && ls {there} | wc -l") == "121"
    docker.sh(story.first, f"rm -rf {there}")


def test_preview_runs_nothing(page: Page, story: Story, docker: Docker) -> None:
    """What a container holds is looked at; nothing of it acts in the page that has the user's rights."""
    act = "window.top.document.title = 'owned'; window.owned = true"
    output = {
        "output_type": "display_data",
        "metadata": {},
        "data": {
            "text/html": [f'<img src=dot.png onload="{act}" onerror="{act}"><script>{act}</script>']
        },
    }
    cell = {
        "cell_type": "code",
        "id": "a1",
        "metadata": {"trusted": True},
        "execution_count": 1,
        "source": ["1"],
        "outputs": [output],
    }
    docker.sh(story.first, "mkdir -p /home/nb/look")
    for name, data in {
        "dot.png": base64.b64decode(DOT),
        "evil.svg": f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>{act}</script></svg>'.encode(),
        "evil.html": f"<body>seen<script>{act}</script></body>".encode(),
        "evil.md": f'seen <img src=x onerror="{act}"> <script>{act}</script>'.encode(),
        "evil.ipynb": json.dumps(
            {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        ).encode(),
    }.items():
        docker.write(story.first, f"/home/nb/look/{name}", data)
    browse(page, story.first, "home", "nb", "look")
    entry(listing(page), "dot.png").dblclick()
    page.wait_for_function("document.querySelector('.jp-ImageViewer img')?.naturalWidth === 1")
    entry(listing(page), "evil.svg").dblclick()
    expect(page.locator(".jp-ImageViewer img")).to_have_count(2)
    entry(listing(page), "evil.html").dblclick()
    expect(
        page.frame_locator("iframe.jp-HTMLViewer, .jp-HTMLViewer iframe").locator("body")
    ).to_contain_text("seen")
    entry(listing(page), "evil.md").dblclick()
    expect(page.locator(".cm-content")).to_contain_text("seen")
    entry(listing(page), "evil.ipynb").dblclick()
    page.locator(".jp-Dialog .jp-mod-reject").click()  # no kernel
    # Its picture is shown, out of the container; what else the output holds does not act.
    page.wait_for_function(
        "document.querySelector('.jp-Notebook .jp-RenderedHTMLCommon img')?.naturalWidth === 1"
    )
    assert page.locator(".jp-Notebook .jp-RenderedHTMLCommon script").count() == 0
    assert "owned" not in page.title()
    assert page.evaluate("window.owned") is None
    docker.sh(story.first, "rm -rf /home/nb/look")


def test_folders_up_and_down(page: Page, story: Story, docker: Docker, tmp_path: Path) -> None:
    folder = tmp_path / "实验"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.bin").write_bytes(bytes(range(256)) * 5000)
    (folder / "b.txt").write_text("b")
    browse(page, story.first, "home", "nb", "many")
    with page.expect_file_chooser() as chooser:
        run(page, "volcopy:upload-folder")
    chooser.value.set_files(str(folder))
    expect(entry(listing(page), "实验")).to_be_visible()
    assert docker.read(story.first, "/home/nb/many/实验/deep/a.bin") == bytes(range(256)) * 5000
    with page.expect_download() as download:
        menu(page, entry(listing(page), "实验"), "Download")
    target = tmp_path / "down.tar"
    download.value.save_as(target)
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
        names = {one.name.rstrip("/") for one in archive.getmembers()}
    assert {"实验", "实验/deep/a.bin", "实验/b.txt"} <= names


@pytest.fixture
def slow(container: Callable[..., str], docker: Docker) -> str:
    """A container with a `/home/slow` of so many files that a copy of it takes its time.

    It may mount what it likes, so its files are never reached but through the engine.
    """
    name = container("running", "--cap-add", "SYS_ADMIN")
    docker.sh(
        name,
        "mkdir -p /home/slow && cd /home/slow && i=0; "
        "while [ $i -lt 20 ]; do mkdir d$i; (cd d$i; seq 1000 | xargs touch); i=$((i+1)); done",
    )
    return name


def test_cancel(slow: str, page: Page, clean_files: Path) -> None:
    browse(page, slow, "home")
    clear_transfers(page)
    menu(page, entry(listing(page), "slow"), "Copy to my files")
    found = panel(page).locator(".jp-Volcopy-transfer")
    found.get_by_role("button").click()
    expect(found).to_have_attribute("data-state", "cancelled")
    assert list(clean_files.iterdir()) == []
    page.mouse.move(0, 0)  # Lab's message may have come below the pointer: there it would stay
    found.get_by_role("button").click()
    expect(panel(page).locator(".jp-Volcopy-transfer")).to_have_count(0)


def test_running_panel(slow: str, page: Page, clean_files: Path) -> None:
    browse(page, slow, "home")
    clear_transfers(page)
    menu(page, entry(listing(page), "slow"), "Copy to my files")
    page.locator(".jp-SideBar [data-id='jp-running-sessions']").click()
    running = page.locator("#jp-running-sessions")
    item = running.locator(".jp-RunningSessions-item").filter(has_text="slow → my files")
    expect(item).to_be_visible()
    item.hover()
    item.get_by_role("button", name="Cancel").or_(item.get_by_title("Cancel")).first.click()
    expect(item).to_have_count(0)
    open_panel(page)
    found = panel(page).locator(".jp-Volcopy-transfer")
    expect(found).to_have_attribute("data-state", "cancelled")
    assert list(clean_files.iterdir()) == []


@pytest.fixture
def odd_names(story: Story, docker: Docker) -> Iterator[None]:
    """Names with bytes that are no UTF-8, and with a control character, in a directory of their own."""
    docker.sh(
        story.first,
        "mkdir /home/nb/odd && cd /home/nb/odd && printf odd > \"$(printf 'odd\\377.txt')\" && printf bell > \"$(printf 'bell\\007.txt')\""
        " && mkdir \"$(printf 'dir\\377')\" && printf in > \"$(printf 'dir\\377/in.txt')\"",
    )
    yield
    docker.sh(story.first, "rm -rf /home/nb/odd")


@pytest.mark.usefixtures("odd_names")
def test_names_that_are_no_text(page: Page, story: Story, clean_files: Path) -> None:
    browse(page, story.first, "home", "nb", "odd")
    odd = entry(listing(page), "odd\\xff.txt")
    with page.expect_download() as download:
        menu(page, odd, "Download")
    assert Path(download.value.path()).read_bytes() == b"odd"
    menu(page, odd, "Copy to my files")
    wait_for(lambda: b"odd\xff.txt" in os.listdir(bytes(clean_files)), "the file")
    menu(page, entry(listing(page), "bell\\x07.txt"), "Copy to my files")
    wait_for((clean_files / "bell\x07.txt").exists, "the other file")
    odd.dblclick()
    said = page.locator(".jp-Dialog")
    expect(said).to_contain_text("odd\\xff.txt cannot be opened here")
    said.locator("button").last.click()
    entry(listing(page), "dir\\xff").dblclick()
    menu(page, entry(listing(page), "in.txt"), "Copy to my files")
    wait_for((clean_files / "in.txt").exists, "the file in the odd directory")
    for name in (b"odd\xff.txt", b"bell\x07.txt"):
        os.unlink(bytes(clean_files) + b"/" + name)


def test_rescue(page: Page, story: Story, clean_files: Path) -> None:
    browse(page, story.first)
    clear_transfers(page)
    panel(page).locator(".jp-Volcopy-rescue").click()
    field = page.locator(".jp-Dialog input")
    expect(field).to_have_value(f"rescued-{story.first}")
    field.press("Enter")
    moved = panel(page).locator(".jp-Volcopy-transfer")
    expect(moved).to_contain_text(f"Rescue of {story.first} → rescued-{story.first}")
    expect(moved).to_have_attribute("data-state", "done")
    saved = clean_files / f"rescued-{story.first}"
    noted = {one["path"] for one in json.loads((saved / "manifest.json").read_text())["entries"]}
    # All of it, hidden files too, though this server's file browser shows none.
    assert {"/home/nb/results.csv", "/home/nb/.hidden", f"/home/nb/{NOTEBOOK}"} <= noted
    found = {one.name: one for one in saved.rglob("*")}
    assert found["results.csv"].read_text() == "a,b\n1,2\n"
    assert found[".hidden"].read_text() == "raw\n"


def test_keyboard_only(page: Page, story: Story, clean_files: Path) -> None:
    files(page)  # something else has the place
    page.keyboard.press("Control+Shift+y")
    panel(page).wait_for()
    first = row(page, story.first)
    expect(first).to_be_visible()
    panel(page).get_by_role("searchbox").focus()
    page.keyboard.press("Tab")
    expect(first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(row(page, story.second)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(first).to_have_attribute("aria-selected", "true")
    expect(entry(listing(page), "home")).to_be_visible()
    choose(page, "home")
    page.keyboard.press("Enter")
    expect(entry(listing(page), "nb")).to_be_visible()
    choose(page, "nb")
    page.keyboard.press("Enter")
    expect(entry(listing(page), "results.csv")).to_be_visible()
    choose(page, "results.csv")
    page.keyboard.press("Control+Shift+c")
    page.keyboard.type("Copy to my files")
    page.locator(".lm-CommandPalette-item.lm-mod-active").wait_for()
    page.keyboard.press("Enter")
    wait_for(lambda: (clean_files / "results.csv").exists(), "the pulled file")


def test_comes_back_after_a_reload(page: Page, story: Story, lab: Lab) -> None:
    expect(row(page, story.first)).to_be_visible()
    page.goto(f"{lab.url}/lab")
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    page.locator(".jp-SideBar [data-id='jupyter-volcopy-panel']").wait_for()
    run(page, "volcopy:show")
    expect(row(page, story.first)).to_be_visible()
