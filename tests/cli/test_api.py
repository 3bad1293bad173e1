"""`jupyter_volcopy.copy` and `Copier`: the same copy from Python; the package itself imports nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jupyter_volcopy
from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.errors import EngineUnreachable, TransferCancelled, UsageError

ROOT = Path(__file__).resolve().parents[2]


def test_copy(container: Any, docker: Any, tmp_path: Path) -> None:
    name = container()
    source = tmp_path / "a b.txt"
    source.write_text("hello")
    meter = Meter()
    report = jupyter_volcopy.copy(str(source), f"{name}:/tmp/", meter=meter)
    assert report.ok and (report.files, report.bytes) == (1, 5) and meter.bytes == 5
    assert docker.read(name, "/tmp/a b.txt") == b"hello"
    report = jupyter_volcopy.copy([f"{name}:/tmp/a b.txt", f"{name}:/etc/passwd"], str(tmp_path))
    assert report.ok and report.files == 2 and (tmp_path / "passwd").exists()


def test_faults(container: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable):
        jupyter_volcopy.copy("c:/x", str(tmp_path), host=f"unix://{tmp_path}/none.sock")
    with pytest.raises(UsageError, match="no such option: archiv"):
        jupyter_volcopy.copy(f"{container()}:/x", str(tmp_path), archiv=True)
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(TransferCancelled):
        jupyter_volcopy.copy(f"{container()}:/etc", str(tmp_path / "new"), cancel=cancel)
    assert not list(tmp_path.iterdir())


def test_copier_is_offered() -> None:
    from jupyter_volcopy.core.copier import Copier

    assert jupyter_volcopy.Copier is Copier
    assert set(jupyter_volcopy.__all__) >= {"Copier", "copy", "__version__"}
    with pytest.raises(AttributeError):
        jupyter_volcopy.nothing  # noqa: B018


def test_the_package_imports_nothing_of_its_own() -> None:
    program = "import sys, jupyter_volcopy; print(sorted(m for m in sys.modules if 'volcopy' in m))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "['jupyter_volcopy', 'jupyter_volcopy._version']"
