"""What a plain copy imports: its start costs more than the copy, so nothing dear may creep in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

DEAR = {
    "argparse", "base64", "collections", "contextlib", "ctypes", "dataclasses", "datetime", "docker", "email", "enum",
    "functools", "hashlib", "http.client", "inspect", "json", "pathlib", "re", "requests", "shutil", "signal", "socket",
    "ssl", "subprocess", "tarfile", "tempfile", "threading", "typing", "urllib.parse",
}  # fmt: skip
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from jupyter_volcopy.cli.dcp import main
code = main(sys.argv[2:])
print(*sys.modules, sep="\\n")
sys.exit(code)
"""


@pytest.mark.engine
@pytest.mark.parametrize("access", ["api", "auto"])
@pytest.mark.parametrize("way", ["pull", "push"])
def test_a_plain_copy_imports_nothing_dear(
    way: str, access: str, container: Callable[..., str], docker: Callable[..., str], tmp_path: Path
) -> None:
    name = container()
    file = tmp_path / "report.ipynb"
    file.write_bytes(b"x" * 5000)
    docker("cp", "-q", str(file), f"{name}:/tmp/")
    sides = (
        (f"{name}:/tmp/report.ipynb", f"{tmp_path}/got")
        if way == "pull"
        else (str(file), f"{name}:/tmp/put")
    )
    done = subprocess.run(
        [sys.executable, "-E", "-S", "-c", SCRIPT, str(ROOT), "-q", "--access", access, *sides],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert DEAR & set(done.stdout.split()) == set()
