"""The page of the Hub's service with 400 users, in Chromium: fast enough, by keyboard, accessible."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import playwright.sync_api as playwright
import pytest

from tests.conftest import ROOT, Docker
from tests.hub.site import PASSWORD, Site, script
from tests.ui.lab import CHROMIUM, FLAGS

pytestmark = pytest.mark.timeout(900)

STUDENTS = [f"student{number:03d}" for number in range(400)]
MADE = STUDENTS[10:22]
"""Those with a container that never ran; a server runs of the first one only."""


@pytest.fixture(scope="module")
def crowd(site: Site, docker: Docker, image: str) -> Iterator[Site]:
    """The Hub with 400 users: a server of one runs, twelve have a container that does not."""
    site.hub("POST", "/users", {"usernames": [*STUDENTS, "boss"]})
    site.hub("POST", "/groups/morning", {})
    site.hub("POST", "/groups/morning/users", {"users": MADE[:4]})
    for user in MADE:
        docker("create", "--network", "none", "--name", f"{site.prefix}-{user}", image, "true")
    site.spawn((STUDENTS[0], ""))
    running = site.container(STUDENTS[0])
    docker("exec", running, "sh", "-c", "head -c 3000000 /dev/urandom > /tmp/unsaved")
    yield site


@pytest.fixture
def chromium() -> Iterator[Any]:
    """A browser, for one test."""
    if not os.path.exists(CHROMIUM):
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def opened(browser: Any, site: Site, user: str, said: list[str], **options: Any) -> Any:
    """The page of a user who has just logged in, with its rows."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{site.base}/services/volcopy/")
    page.fill("#username_input", user)
    page.fill("#password_input", PASSWORD)
    page.click("#login_submit")
    page.wait_for_selector("#rows tr")
    return page


def labels(page: Any) -> list[str]:
    return page.locator("#rows tr th").all_text_contents()  # type: ignore[no-any-return]


def rows(page: Any, count: int) -> None:
    # not by a function in the page: the page's own policy allows no eval
    playwright.expect(page.locator("#rows tr")).to_have_count(count, timeout=120_000)


def focused(page: Any) -> str:
    """The id of what has the focus, else what it is called."""
    return page.evaluate(  # type: ignore[no-any-return]
        "(n => n.id || n.getAttribute('aria-label') || n.textContent)(document.activeElement)"
    )


def test_what_the_interface_answers(crowd: Site) -> None:
    began = time.monotonic()
    found = crowd.call("boss", "GET", "people?sizes=1").json()
    assert time.monotonic() - began < 100  # one call for all, not one for each of 400
    mine = {one["label"]: one for one in found["people"] if one["label"]}
    assert set(mine) == {STUDENTS[0], *MADE}
    assert mine[STUDENTS[0]]["layer"] >= 3_000_000 and mine[MADE[0]]["layer"] < 1000
    assert mine[MADE[0]]["groups"] == ["morning"]
    without = {one["user"] for one in found["without"]}
    assert len(without & set(STUDENTS)) == 400 - 13
    # who is no administrator learns nothing of the others
    own = crowd.call(MADE[0], "GET", "people?sizes=1").json()
    assert [one["label"] for one in own["people"]] == [MADE[0]] and own["without"] == []


def test_it_opens_filters_and_sorts(crowd: Site, chromium: Any) -> None:
    said: list[str] = []
    page = opened(chromium, crowd, "boss", said)
    assert int(page.inner_text("#sum-users")) >= 400
    assert page.locator("#rows tr").count() >= 400
    page.fill("#find", "student3")
    rows(page, 100)
    assert page.inner_text("#count").startswith("100 of ")
    page.fill("#find", "student")
    page.select_option("#state", "none")
    rows(page, 400 - 13)
    page.select_option("#state", "running")
    rows(page, 1)
    page.select_option("#state", "")
    page.fill("#find", crowd.prefix)
    rows(page, 13)
    assert labels(page) == [STUDENTS[0], *MADE]
    page.get_by_role("button", name="User", exact=True).click()
    assert labels(page) == [*MADE[::-1], STUDENTS[0]]
    assert page.get_attribute("th[data-key=label]", "aria-sort") == "descending"
    page.click("#measure")
    page.wait_for_selector("#message:has-text('lie outside volumes')")
    assert labels(page)[0] == STUDENTS[0]
    assert page.locator("#rows tr").first.locator("td.number").first.inner_text() == "3.0 MB"
    page.click("#forecast")
    page.wait_for_selector("#message:has-text('13 containers looked at')")
    assert page.inner_text("#message").startswith("3.0 MB would be lost")
    assert said == []


def test_chosen_by_hundreds_named_by_group(crowd: Site, chromium: Any) -> None:
    """All of a group, and all: said by its name; rescued a few at a time, one line for each."""
    page = opened(chromium, crowd, "boss", [])
    page.fill("#find", "morning")
    rows(page, 4)
    page.check("#all")
    assert page.inner_text("#count").endswith("4 chosen")
    with page.expect_request("**/api/rescues") as request:
        page.get_by_role("button", name="Rescue", exact=True).click()
    assert request.value.post_data_json == {"to": ["group:morning"]}
    page.wait_for_selector("#transfers li:has-text('group:morning') strong:has-text('done')")
    page.fill("#find", "student")
    page.check("#all")
    with page.expect_request("**/api/rescues") as request:
        page.get_by_role("button", name="Rescue", exact=True).click()
    assert request.value.post_data_json == {"to": ["all"]}
    item = page.locator("#transfers > li", has_text="boss: all")
    item.locator("strong:has-text('done')").wait_for()
    assert "1 done, 12 same, 0 kept, 0 failed" in item.inner_text()
    item.locator("summary").click()
    assert item.locator("details li").count() == 13
    saved = list((crowd.directory / "rescued" / STUDENTS[0]).rglob("unsaved"))
    assert [one.stat().st_size for one in saved] == [3_000_000]


def test_by_keyboard_alone(crowd: Site, chromium: Any) -> None:
    page = opened(chromium, crowd, "boss", [])
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the list"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "find"
    page.keyboard.type(crowd.prefix)
    rows(page, 13)
    order = ["state", "refresh", "measure", "forecast", "List of containers", "all"]
    order += ["User", "Container", "State", "Groups", "Outside volumes", "Would be lost"]
    order += [f"Choose {STUDENTS[0]}", f"Details of {crowd.container(STUDENTS[0])}"]
    for wanted in order:
        page.keyboard.press("Tab")
        assert focused(page) == wanted
    page.keyboard.press("Enter")
    page.wait_for_selector("#lost li:has-text('/tmp/unsaved')")
    assert focused(page) == "details-title"
    page.keyboard.press("Escape")
    assert focused(page) == order[-1] and not page.is_visible("#details")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert page.inner_text("#count").endswith("1 chosen")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_fault_of_accessibility(crowd: Site, chromium: Any, scheme: str) -> None:
    """By axe-core: labels, landmarks, contrast; nothing is wider than a narrow window."""
    axe = script(str(ROOT / "scripts/hub-axe"))
    page = opened(chromium, crowd, "boss", [], color_scheme=scheme, bypass_csp=True)
    page.fill("#find", crowd.prefix)
    rows(page, 13)
    page.get_by_role("button", name=f"Details of {crowd.container(STUDENTS[0])}").click()
    page.wait_for_selector("#lost li:has-text('/tmp/unsaved')")
    page.click("#audit-load")
    page.wait_for_selector("#audit li")
    page.add_script_tag(path=axe)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        found = page.evaluate("axe.run()")
        wrong = [
            f"{fault['id']}: {node['html']}"
            for fault in found["violations"]
            for node in fault["nodes"]
        ]
        assert not wrong, "\n".join(wrong)
        assert len(found["passes"]) > 20
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
