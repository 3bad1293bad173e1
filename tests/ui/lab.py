"""A JupyterLab of our own, and the story its containers tell; also for scripts/screenshots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import free_port

TOKEN = os.urandom(16).hex()
NOTEBOOK = "教程-研究功能介绍.ipynb"
WAIT = float(os.environ.get("VOLCOPY_UI_WAIT", "60000"))
"""Milliseconds that a step in the browser may take on a busy machine."""

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab.

    Attributes:
        url: its address, without a trailing slash.
        root: the directory of its files.
        log: what it says.
        home: where its own settings lie.
    """

    url: str
    root: Path
    log: Path
    home: Path


@contextmanager
def running_lab(
    home: Path,
    *,
    names: Sequence[str] = ("*",),
    extra: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    seconds: float = 240,
    python: str = sys.executable,
) -> Iterator[Lab]:
    """A JupyterLab with its own settings and files below `home`, for as long as the block runs.

    Args:
        home: an empty directory.
        names: patterns of the containers and volumes it may see.
        extra: more arguments for its command line.
        environment: more variables.
        seconds: how long it may take to start.
        python: of the environment it is installed in.
    """
    root = home / "files"
    for name in ("files", "config", "data", "runtime"):
        (home / name).mkdir(parents=True, exist_ok=True)
    quiet = Lab("", root, home / "lab.log", home)
    set_setting(quiet, "@jupyterlab/apputils-extension:notification", {"fetchNews": "false"})
    port = free_port()
    log = home / "lab.log"
    listed = [f"--Volcopy.allowed_containers={name}" for name in names]
    listed += [f"--Volcopy.allowed_volumes={name}" for name in names]
    env = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "config" / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "config" / "workspaces"),
        **(environment or {}),
    }
    env.pop("JUPYTERHUB_API_TOKEN", None)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                python,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ServerApp.ip=127.0.0.1",
                f"--ServerApp.port={port}",
                "--ServerApp.port_retries=0",
                f"--ServerApp.root_dir={root}",
                f"--IdentityProvider.token={TOKEN}",
                "--LabApp.news_url=None",
                "--LabApp.expose_app_in_browser=True",
                *listed,
                *extra,
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=root,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, log, seconds)
        yield Lab(url, root, log, home)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    request = urllib.request.Request(f"{url}/api?token={TOKEN}")
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                said = log.read_text("utf-8", "replace")[-4000:]
                raise RuntimeError(f"JupyterLab does not start:\n{said}") from None
            time.sleep(0.1)


def set_setting(lab: Lab, plugin: str, values: dict[str, object]) -> None:
    """Write a setting of Lab, as a person would in its settings editor."""
    package, _, name = plugin.partition(":")
    path = lab.home / "config" / "settings" / package / f"{name}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), "utf-8")


HOME_SCRIPT = f"""
set -e
mkdir -p /home/nb/data /home/nb/figures /home/nb/many
cd /home/nb
printf '%s' '{{"cells": [{{"cell_type": "markdown", "id": "a1", "metadata": {{}}, "source": ["# 研究功能介绍"]}}], "metadata": {{}}, "nbformat": 4, "nbformat_minor": 5}}' > '{NOTEBOOK}'
printf 'a,b\\n1,2\\n' > results.csv
printf '\\211PNG\\r\\n\\032\\n' > figures/plot.png
printf 'print(42)\\n' > data/model.py
printf 'a space\\n' > 'a name with spaces.txt'
ln -s data latest
ln -s results.csv newest.csv
printf 'raw\\n' > /home/nb/.hidden
printf 'kept\\n' > /srv/shared/kept.txt
printf 'team\\n' > /srv/team/notes.md
chown -R 1000:100 /home/nb
"""
