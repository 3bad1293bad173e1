"""What `scripts/screenshots` runs: the pictures of the README."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.ui.conftest import open_lab, open_panel
from tests.ui.demo import NAMES, VOLUME, demo_containers
from tests.ui.lab import CHROMIUM, FLAGS, WAIT, Lab, running_lab, set_setting
from tests.ui.steps import both_sides, browse, entry, listing, menu, panel, refresh_files, run

SIZE = {"width": 1100, "height": 800}


def _story(page: Page) -> None:
    open_panel(page)
    browse(page, NAMES[0], "home", "nb")
    expect(panel(page).locator(".jp-Volcopy-kept")).to_contain_text("/home/nb/results.csv")
    expect(listing(page).locator(".jp-Volcopy-mark").first).to_have_text("lost")


def _english(page: Page, lab: Lab, target: Path) -> None:
    _story(page)
    both_sides(page)
    refresh_files(page)
    menu(page, entry(listing(page), "results.csv"), "Copy to my files")
    expect(panel(page).locator(".jp-Volcopy-transfer[data-state='done']")).to_have_count(1)
    expect(page.locator(".Toastify__toast")).to_have_count(0)
    page.screenshot(path=target / "lab.png")
    run(page, "apputils:change-theme", {"theme": "JupyterLab Dark"})
    expect(page.locator("body")).to_have_attribute("data-jp-theme-name", "JupyterLab Dark")
    panel(page).screenshot(path=target / "lab-dark.png")


def main() -> None:
    """Make them."""
    image, target = sys.argv[1], Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=WAIT)
    with (
        tempfile.TemporaryDirectory(prefix="volcopy-lab-") as directory,
        demo_containers(image),
        sync_playwright() as engine,
    ):
        path = CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium")
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        for name, locale in (("english", "en"), ("chinese", "zh_CN")):
            home = Path(directory) / name
            settings = Lab("", home, home, home)
            set_setting(settings, "@jupyterlab/translation-extension:plugin", {"locale": locale})
            with running_lab(home, names=[*NAMES, VOLUME]) as lab:
                (lab.root / "Dockerfile").write_text("FROM scratch\nVOLUME /data\n")
                context = browser.new_context(viewport=SIZE)
                context.set_default_timeout(WAIT)
                page = open_lab(context, lab)
                if locale == "en":
                    _english(page, lab, target)
                else:
                    open_panel(page)
                    browse(page, NAMES[0], "home", "nb")
                    kept = panel(page).locator(".jp-Volcopy-kept")
                    expect(kept).to_contain_text("/home/nb/results.csv")
                    expect(listing(page).locator(".jp-Volcopy-mark").first).to_have_text("丢失")
                    panel(page).screenshot(path=target / "lab-chinese.png")
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
