"""The wheel that `python -m build` makes, installed where nothing of this repository is, shows the panel.

Once in the newest JupyterLab, once in the oldest that is supported; with `VOLCOPY_TEST_LABS=all` in each minor
version between, since a drag uses hooks of Lab that a version may change.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PREFIX, ROOT, Docker, wait_for
from tests.ui.conftest import Story, need, open_lab, open_panel
from tests.ui.lab import Lab, running_lab
from tests.ui.steps import (
    arrived,
    both_sides,
    browse,
    drag,
    entry,
    files,
    listing,
    mark,
    menu,
    refresh_files,
)

sync_api = pytest.importorskip("playwright.sync_api")
expect, BrowserContext = sync_api.expect, sync_api.BrowserContext

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1500)]

LABS = ["4.2", "newest"]
if os.environ.get("VOLCOPY_TEST_LABS") == "all":
    LABS[1:1] = ["4.3", "4.4", "4.5"]


def _fetched(*args: str) -> None:
    """Run what asks a package index, up to three times; what it says is shown where it fails.

    `SSL_CERT_FILE`: the machine's certificates for uv.
    """
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"UV_HTTP_TIMEOUT": "120", **os.environ, "PATH": path}
    if "SSL_CERT_FILE" not in env and Path(bundle).exists():
        env["SSL_CERT_FILE"] = bundle
    for _ in range(3):
        done = subprocess.run(
            args, capture_output=True, text=True, timeout=400, check=False, env=env
        )
        if not done.returncode:
            return
    pytest.fail(f"{args}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made as for a release: from the source archive."""
    built = ROOT / "jupyter_volcopy" / "labextension" / "static" / "style.js"
    need(built.exists(), "JupyterLab's part is not built: scripts/build-lab builds it")
    target = tmp_path_factory.mktemp("dist")
    _fetched(sys.executable, "-m", "build", "--installer", "uv", "--outdir", str(target), str(ROOT))
    (found,) = target.glob("*.whl")
    return found


@pytest.fixture(scope="module", params=LABS)
def fresh(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """A JupyterLab of an environment in which nothing is but what the wheel asks for."""
    home = tmp_path_factory.mktemp(f"fresh-{request.param}")
    python = str(home / "venv" / "bin" / "python")
    uv = [sys.executable, "-m", "uv", "--quiet"]
    _fetched(*uv, "venv", "--python", sys.executable, str(home / "venv"))
    lab = "jupyterlab" if request.param == "newest" else f"jupyterlab=={request.param}.*"
    _fetched(*uv, "pip", "install", "--python", python, str(wheel), lab)
    with running_lab(home, names=[f"{PREFIX}-*"], python=python) as found:
        yield found


def test_what_it_carries(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    data = f"{'-'.join(wheel.name.split('-')[:2])}.data/data"
    shared = f"{data}/share/jupyter/labextensions/jupyter-volcopy"
    assert f"{shared}/package.json" in names
    assert f"{shared}/install.json" in names
    assert any(name.startswith(f"{shared}/static/remoteEntry.") for name in names)
    assert f"{data}/etc/jupyter/jupyter_server_config.d/jupyter_volcopy.json" in names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]


def test_panel_of_a_fresh_installation(
    context: BrowserContext, fresh: Lab, story: Story, docker: Docker
) -> None:
    page = open_lab(context, fresh)
    open_panel(page)
    browse(page, story.first, "home", "nb")
    expect(mark(page, "results.csv")).to_have_text("lost")
    both_sides(page)
    menu(page, entry(listing(page), "results.csv"), "Copy to my files")
    wait_for((fresh.root / "results.csv").exists, "the pulled file")
    assert (fresh.root / "results.csv").read_text() == "a,b\n1,2\n"
    (fresh.root / "sub").mkdir()
    new = f"by {fresh.url.rpartition(':')[2]}.txt"
    (fresh.root / new).write_text("new")
    refresh_files(page)
    drag(page, entry(files(page), new), entry(listing(page), "many"))
    arrived(docker, story.first, f"/home/nb/many/{new}")
    drag(page, entry(listing(page), "data"), entry(files(page), "sub"))
    wait_for((fresh.root / "sub" / "data" / "model.py").exists, "the folder")
    page.close()
