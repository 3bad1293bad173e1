"""What a person does in the panel, as functions."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.conftest import Docker, comes, wait_for


def panel(page: Page) -> Locator:
    """Our side panel."""
    return page.locator("#jupyter-volcopy-panel")


def row(page: Page, name: str) -> Locator:
    """The row of a container or volume."""
    return panel(page).locator(f".jp-Volcopy-row[data-name='{name}']")


def listing(page: Page) -> Locator:
    """Our listing of files."""
    return panel(page).locator(".jp-Volcopy-browser")


def entry(where: Locator, name: str) -> Locator:
    """The name of one entry in a listing."""
    return where.locator(".jp-DirListing-itemText").filter(
        has_text=re.compile(f"^{re.escape(name)}$")
    )


def choose(page: Page, name: str) -> None:
    """Choose an entry of our listing by its first letters, as Lab lets one find it."""
    item = listing(page).locator(".jp-DirListing-item.jp-mod-selected")
    for _ in range(10):
        entry(listing(page), name).focus()
        page.keyboard.type(name)
        try:
            expect(item.filter(has_text=name)).to_have_count(1, timeout=3000)
            return
        except AssertionError:
            page.wait_for_timeout(1100)  # after a second without a key Lab begins a new search
    raise AssertionError(f"{name} could not be chosen by keys")


def mark(page: Page, name: str) -> Locator:
    """The mark of one entry in our listing."""
    return entry(listing(page), name).locator("xpath=ancestor::li").locator(".jp-Volcopy-mark")


def shown(page: Page, path: str) -> None:
    """Wait until our listing shows `path`, spelled `name/dir/sub`."""
    parts = [part for part in path.split("/") if part]
    expect(listing(page).locator(".jp-BreadCrumbs-item")).to_have_count(len(parts))
    expect(listing(page).locator(".jp-BreadCrumbs-item").last).to_have_text(parts[-1])


def browse(page: Page, name: str, *directories: str) -> None:
    """Choose a container and open directories below its root."""
    row(page, name).click()
    expect(row(page, name)).to_have_attribute("aria-selected", "true")
    for directory in directories:
        entry(listing(page), directory).dblclick()
    if directories:
        crumb = listing(page).locator(".jp-BreadCrumbs-item").last
        expect(crumb).to_have_text(directories[-1])


def files(page: Page) -> Locator:
    """The user's own file browser."""
    found = page.locator("#filebrowser")
    if not found.is_visible():
        page.locator(".jp-SideBar [data-id='filebrowser']").click()
    found.wait_for()
    return found


def refresh_files(page: Page) -> None:
    """Have the user's own file browser read its directory again."""
    files(page)
    run(page, "filebrowser:refresh")


def run(page: Page, command: str, args: dict[str, Any] | None = None) -> Any:
    """Run a command of Lab, as the palette does."""
    script = "([id, args]) => { void window.jupyterapp.commands.execute(id, args) }"
    return page.evaluate(script, [command, args or {}])


def menu(page: Page, where: Locator, item: str) -> None:
    """Choose an item of a context menu."""
    where.click(button="right")
    page.locator(".lm-Menu-itemLabel").filter(has_text=re.compile(f"^{re.escape(item)}$")).click()


def clear_transfers(page: Page) -> None:
    """Take earlier transfers off the list."""
    run(page, "volcopy:forget-all")
    expect(panel(page).locator(".jp-Volcopy-transfer")).to_have_count(0)


def arrived(docker: Docker, container: str, path: str) -> None:
    """Wait until a path is in a container."""
    wait_for(
        lambda: docker.raw("exec", container, "test", "-e", path).returncode == 0,
        f"{path} in the container",
    )


def both_sides(page: Page) -> None:
    """Put our panel to the right, so that both file browsers can be seen."""
    if page.locator(".jp-SideBar.jp-mod-right [data-id='jupyter-volcopy-panel']").count() == 0:
        menu(
            page,
            page.locator(".jp-SideBar [data-id='jupyter-volcopy-panel']"),
            "Switch Sidebar Side",
        )
    page.locator(".jp-SideBar.jp-mod-right [data-id='jupyter-volcopy-panel']").wait_for()
    if not panel(page).is_visible():
        page.locator(".jp-SideBar [data-id='jupyter-volcopy-panel']").click()
    panel(page).wait_for()
    files(page)


def settled(where: Page | Locator, script: str) -> Any:
    """What a script finds wrong, once what was asked for is drawn; empty where all is well."""
    found: list[Any] = []

    def well() -> bool:
        found[:] = [where.evaluate(script)]
        return not found[0]

    comes(well, 20)
    return found[0]


def drag(page: Page, source: Locator, target: Locator) -> None:
    """Drag with the mouse, as Lab wants it: in steps, once nothing moves any more."""
    target.hover()
    source.hover()
    start, end = source.bounding_box(), target.bounding_box()
    assert start and end
    page.mouse.move(start["x"] + 8, start["y"] + 6)
    page.mouse.down()
    page.mouse.move(start["x"] + 28, start["y"] + 16, steps=4)
    page.mouse.move(end["x"] + 12, end["y"] + 8, steps=10)
    page.locator(".lm-mod-drag-image").wait_for()
    page.mouse.move(end["x"] + 14, end["y"] + 8, steps=2)
    page.mouse.up()
