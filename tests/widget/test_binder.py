"""binder/: what repo2docker takes up, and the notebook itself, run where no engine is."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINDER = ROOT / "binder"


def test_files() -> None:
    assert os.access(BINDER / "postBuild", os.X_OK)  # repo2docker runs it
    assert (BINDER / "postBuild").read_text().startswith("#!")
    assert "jupyterlab" in (BINDER / "environment.yml").read_text()


def test_notebook_runs_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    from jupyter_client.manager import AsyncKernelManager

    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setenv("BINDER_SERVICE_HOST", "binder")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book: Any = nbformat.read(BINDER / "demo.ipynb", as_version=4)
    nbformat.validate(book)
    book.cells.insert(
        2, nbformat.v4.new_code_cell("panel.wait(60); print(panel._nothing.value)", id="said")
    )
    manager = AsyncKernelManager()
    manager.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    nbclient.NotebookClient(book, km=manager, timeout=120, resources={}).execute()
    said = "".join(output.get("text", "") for output in book.cells[2].outputs)
    assert "No Docker engine here" in said and "This is Binder" in said
    assert any(
        "widget-view" in key for output in book.cells[1].outputs for key in output.get("data", {})
    )
