"""Fixtures of the fault tests: the engine double, and commands run with less power or measured."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, command_line
from tests.faults.double import EngineDouble

NOBODY = 65534


@pytest.fixture
def double() -> Iterator[EngineDouble]:
    """An engine double; what went wrong inside it fails the test."""
    with EngineDouble() as engine:
        yield engine
    assert not engine.errors, engine.errors


@pytest.fixture
def sandbox() -> Iterator[Path]:
    """An empty directory that any user can reach (pytest's own are root's alone)."""
    path = Path(tempfile.mkdtemp(prefix="volcopy-sandbox-"))
    path.chmod(0o755)
    yield path / "box"
    # Directories of mode 0 are part of the corpus; root does not mind, others would.
    for where, names, _ in os.walk(path):
        for name in names:
            if not os.path.islink(os.path.join(where, name)):
                os.chmod(os.path.join(where, name), 0o700)
    shutil.rmtree(path, ignore_errors=True)


# Started in a small process of its own, so that the peak is the command's and not ours: on Linux the
# child of a fork inherits the peak of its parent.
_MEASURE = """
import json, os, sys
pid = os.spawnvp(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as out:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_maxrss], out)
"""


@dataclass(frozen=True)
class Run:
    """What came of it: exit status, all that was said, peak of memory in MiB (0 where not measured)."""

    code: int
    said: str
    peak: float


def run_as(
    name: str,
    *args: str,
    cwd: Path,
    env: dict[str, str],
    timeout: float,
    nobody: bool = False,
    measured: bool = False,
) -> Run:
    """Run `dcp` or `volcopy` as a real process, perhaps as the user nobody, perhaps measured."""
    argv = [*(nobody_prefix() if nobody else ()), *command_line(name), *args]
    full = {**os.environ, **env, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as place:
        result = os.path.join(place, "usage")
        if measured:
            argv = [sys.executable, "-S", "-c", _MEASURE, result, *argv]
        with subprocess.Popen(
            argv,
            cwd=cwd,
            env=full,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                out, err = process.communicate()
                pytest.fail(f"no answer within {timeout:g} s; it said {err[-500:]!r}")
        said = (err + out).decode("utf-8", "surrogateescape")
        if not measured:
            return Run(process.returncode, said, 0)
        with open(result) as usage:
            code, peak = json.load(usage)
        return Run(code, said, peak / 1024)


@functools.cache
def nobody_prefix() -> tuple[str, ...]:
    """How a command is started as nobody.

    Where nobody cannot even read Python or the project (both may lie in root's home), it keeps the
    right to read everything, and no other: whatever is written is written as nobody.
    """
    plain = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    reading = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    said = b""
    for prefix in (plain, (*plain, *reading)):
        done = subprocess.run(
            [*prefix, *command_line("dcp"), "--help"],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "HOME": "/",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            timeout=60,
            check=False,
            cwd="/",
        )
        if done.returncode == 0:
            return prefix
        said = done.stderr
    pytest.fail(f"dcp cannot be started as nobody: {said[-500:]!r}")
