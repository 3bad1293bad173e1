"""What the panel says when something is not as it should be, and how it looks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import IMAGE, PREFIX, ROOT, Docker, wait_for
from tests.hub.site import script
from tests.ui.conftest import Story, open_lab, open_panel
from tests.ui.lab import Lab, running_lab, set_setting
from tests.ui.steps import browse, entry, listing, menu, panel, row, run, settled

sync_api = pytest.importorskip("playwright.sync_api")
expect, Page, BrowserContext = sync_api.expect, sync_api.Page, sync_api.BrowserContext

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

SECOND = os.environ.get("VOLCOPY_TEST_SECOND", "")
"""Address of another engine, with the tests' image; else the same one by another name."""


def engine_address() -> str:
    """Where the docker command finds the engine."""
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


APART = """() => {
  const number = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = node => {
    for (let one = node; one; one = one.parentElement) {
      const found = number(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] > 0.9) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll(
    '.jp-Volcopy-name, .jp-Volcopy-detail, .jp-Volcopy-state, .jp-Volcopy-mark, .jp-Volcopy-path, .jp-Volcopy-sum'
  )].filter(one => one.offsetParent && one.textContent).map(one => {
    const [a, b] = [light(number(getComputedStyle(one).color)), light(behind(one))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.className, one.textContent];
  }).filter(([ratio]) => ratio < 4.5);
}"""
"""What has less contrast than WCAG 2.1 (1.4.3) asks for."""


@pytest.fixture(scope="module")
def bare(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab whose server has no part of ours."""
    off = "--ServerApp.jpserver_extensions=jupyter_volcopy=False"
    with running_lab(tmp_path_factory.mktemp("bare"), extra=[off]) as found:
        yield found


@pytest.fixture(scope="module")
def lost(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab whose engine is not there; in Chinese."""
    home = tmp_path_factory.mktemp("lost")
    found_home = Lab("", home, home, home)
    set_setting(found_home, "@jupyterlab/translation-extension:plugin", {"locale": "zh_CN"})
    gone = f"--Volcopy.engine_url=unix://{home}/none.sock"
    with running_lab(home, extra=[gone]) as found:
        yield found


def _notice(page: Page, text: str) -> None:
    open_panel(page)
    found = panel(page).get_by_role("alert")
    expect(found).to_contain_text(text)
    expect(found.get_by_role("button")).to_be_visible()


def test_no_server_part(context: BrowserContext, bare: Lab) -> None:
    page = open_lab(context, bare)
    _notice(page, "jupyter server extension enable jupyter_volcopy")
    page.close()


def test_no_engine_in_chinese(context: BrowserContext, lost: Lab) -> None:
    page = open_lab(context, lost)
    _notice(page, "Docker 引擎没有响应")
    page.close()


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (200, {"version": "9.0.0", "api": 9}, "pip install --upgrade"),
        (403, {"code": "denied", "message": "not you", "hint": "", "context": {}}, "permission"),
    ],
)
def test_other_version_and_no_permission(
    context: BrowserContext, lab: Lab, status: int, body: dict[str, object], text: str
) -> None:
    page = open_lab(context, lab)
    page.route(
        "**/volcopy/api/status*",
        lambda route: route.fulfill(
            status=status, body=json.dumps(body), content_type="application/json"
        ),
    )
    _notice(page, text)
    # ... and when it is well again, so is the panel.
    page.unroute("**/volcopy/api/status*")
    panel(page).get_by_role("alert").get_by_role("button").click()
    expect(panel(page).locator(".jp-Volcopy-row").first).to_be_visible()
    page.close()


@pytest.fixture(scope="module")
def several(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab of three engines: the usual one, another, and one that is gone."""
    home = tmp_path_factory.mktemp("several")
    engines = {"far": SECOND or engine_address(), "gone": f"unix://{home}/none.sock"}
    extra = [f"--Volcopy.engines={json.dumps(engines)}"]
    with running_lab(home, names=[f"{PREFIX}-*", f"engine=*/{PREFIX}-*"], extra=extra) as found:
        yield found


def test_several_engines(
    context: BrowserContext, several: Lab, story: Story, docker: Docker
) -> None:
    far = f"{PREFIX}-far"
    docker_far = ["-H", SECOND] if SECOND else []
    docker(*docker_far, "create", "--name", far, IMAGE, "sleep", "1")
    try:
        page = open_lab(context, several)
        open_panel(page)
        alert = panel(page).get_by_role("alert")
        expect(alert).to_contain_text("The engine gone does not answer")
        chooser = panel(page).get_by_label("Engine", exact=True)
        expect(chooser.locator("option")).to_have_text(
            ["all engines", "the usual one", "far", "gone (does not answer)"]
        )
        name = f"engine=far/{far}"
        expect(row(page, name)).to_contain_text("far · ")
        chooser.select_option(label="the usual one")
        expect(row(page, story.first)).to_be_visible()
        expect(row(page, name)).to_have_count(0)
        chooser.select_option(label="far")
        expect(row(page, name)).to_contain_text("created")
        expect(row(page, story.first)).to_have_count(0)
        browse(page, name, "etc")
        menu(page, entry(listing(page), "passwd"), "Copy to my files")
        wait_for((several.root / "passwd").exists, "the file of the other engine")
        page.close()
    finally:
        docker.raw(*docker_far, "rm", "-fv", far)


def test_no_containers(context: BrowserContext, lab: Lab) -> None:
    page = open_lab(context, lab)
    page.route("**/volcopy/api/containers", lambda route: route.fulfill(json={"containers": []}))
    page.route("**/volcopy/api/volumes", lambda route: route.fulfill(json={"volumes": []}))
    page.route("**/volcopy/api/containers?*", lambda route: route.fulfill(json={"containers": []}))
    page.route("**/volcopy/api/volumes?*", lambda route: route.fulfill(json={"volumes": []}))
    open_panel(page)
    expect(panel(page).get_by_text("No containers", exact=True)).to_be_visible()
    page.close()


@pytest.mark.parametrize(
    "theme", ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"]
)
def test_themes_and_widths(context: BrowserContext, lab: Lab, story: Story, theme: str) -> None:
    page = open_lab(context, lab)
    run(page, "apputils:change-theme", {"theme": theme})
    expect(page.locator("body")).to_have_attribute("data-jp-theme-name", theme)
    open_panel(page)
    browse(page, story.first)
    expect(panel(page).locator(".jp-Volcopy-kept")).to_contain_text("/home/nb")
    assert settled(page, APART) == []
    handles = page.locator("#jp-main-split-panel > .lm-SplitPanel-handle:visible")
    for width in (250, 600):  # Lab itself lets no side area be narrower
        now = panel(page).bounding_box()
        assert now
        left = now["x"] < 600  # an earlier test may have put the panel to the right
        box = (handles.first if left else handles.last).bounding_box()
        assert box
        edge = now["x"] + width if left else now["x"] + now["width"] - width
        page.mouse.move(box["x"] + 1, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(edge, box["y"] + 200, steps=5)
        page.mouse.up()

        def wide_as_asked(width: int = width) -> bool:
            seen = panel(page).bounding_box()
            return bool(seen) and abs(seen["width"] - width) < 30

        wait_for(wide_as_asked, f"a panel {width} pixels wide")
        wide = settled(
            page,
            """() => [...document.querySelectorAll('.jp-Volcopy-section')]
                 .filter(one => one.offsetParent && one.scrollWidth > one.clientWidth + 1)
                 .map(one => [one.title, one.scrollWidth, one.clientWidth])""",
        )
        assert wide == []
        expect(listing(page).locator(".jp-Volcopy-mark").first).to_be_visible()
    page.close()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark High Contrast"])
def test_no_fault_of_accessibility(
    context: BrowserContext, lab: Lab, story: Story, theme: str
) -> None:
    """By axe-core: names, roles, contrast, landmarks."""
    axe = script(str(ROOT / "scripts" / "hub-axe"))
    page = open_lab(context, lab)
    run(page, "apputils:change-theme", {"theme": theme})
    expect(page.locator("body")).to_have_attribute("data-jp-theme-name", theme)
    open_panel(page)
    browse(page, story.first, "home", "nb")
    expect(panel(page).locator(".jp-Volcopy-kept")).to_contain_text("/home/nb/results.csv")
    page.evaluate(Path(axe).read_text("utf-8"))
    found = page.evaluate("axe.run('#jupyter-volcopy-panel')")
    assert found["passes"]
    assert [
        (one["id"], one["help"], [node["html"] for node in one["nodes"]])
        for one in found["violations"]
    ] == []
    page.close()


def test_names_for_screen_readers(context: BrowserContext, lab: Lab, story: Story) -> None:
    page = open_lab(context, lab)
    open_panel(page)
    expect(row(page, story.first)).to_have_role("option")
    expect(row(page, story.first)).to_have_accessible_name(
        f"Container {story.first}, running, image volcopy-test-image"
    )
    for name in ("Containers", "Files", "Kept or lost", "Transfers"):
        expect(panel(page).get_by_role("heading", name=f"{name} Section").first).to_be_attached()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll(
             '#jupyter-volcopy-panel button, #jupyter-volcopy-panel input, #jupyter-volcopy-panel select')]
             .filter(one => !(one.ariaLabel || one.title || one.textContent.trim() || one.labels?.length
               || one.closest('[title],[aria-label]')))
             .map(one => one.outerHTML)"""
    )
    assert nameless == []
    page.close()
