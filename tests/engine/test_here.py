"""Only an engine that is proven to be on this machine is taken for one: a socket file proves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_volcopy
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.here import is_here
from jupyter_volcopy.errors import Conflict
from tests.conftest import Command, wait_for
from tests.engine.ways import Forwarder, elsewhere, engine_socket


def test_the_engine_is_here(docker: Any) -> None:
    with open_engine(f"unix://{engine_socket()}") as engine:
        assert engine.info().local


@pytest.fixture(params=["a process of this machine", "another root", "an engine's name elsewhere"])
def forwarded(request: pytest.FixtureRequest, docker: Any, tmp_path: Path) -> Iterator[str]:
    """Address of a socket which carries to the engine under test and is not its own."""
    folder = tmp_path / "far"
    folder.mkdir()
    if request.param.startswith("a process"):
        forward = Forwarder(folder / "s", engine_socket())
        forward.start()
        yield f"unix://{forward.path}"
        forward.stop()
        return
    with elsewhere(folder, engine_socket(), "dockerd" if "name" in request.param else "ssh") as far:
        yield far


def test_a_forwarded_socket_is_not_here(
    forwarded: str, container: Any, dcp: Command, volcopy: Command, tmp_path: Path
) -> None:
    """What is behind it is this very engine, whose container could be reached directly: it is not."""
    name = container()
    (tmp_path / "f").write_bytes(b"sent")
    with open_engine(forwarded) as engine:
        assert not engine.info().local
        for source, target in ((f"{name}:/etc", str(tmp_path / "etc")), ("f", f"{name}:/tmp")):
            with pytest.raises(Conflict, match="not proven to be on this machine"):
                Copier(engine).copy(source, target, access="direct")
    assert not (tmp_path / "etc").exists()
    env = {"DOCKER_HOST": forwarded, "DOCKER_CONTEXT": ""}
    dcp("f", f"{name}:/tmp", env=env).ok()
    dcp(f"{name}:/tmp/f", "back", env=env).ok()
    assert (tmp_path / "back").read_bytes() == b"sent"


def test_no_path_of_a_forwarded_engine_is_looked_at_here(
    forwarded: str, container: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the container's files lie is asked of our own disk (is there room?) only for an engine here."""
    name = container("created")
    (tmp_path / "f").write_bytes(bytes(1 << 20))
    asked: list[str] = []
    real = os.statvfs

    def noted(path: Any) -> os.statvfs_result:
        asked.append(os.fsdecode(path))
        return real(path)

    monkeypatch.setattr("jupyter_volcopy.core.room.os.statvfs", noted)
    found = []
    for address in (forwarded, f"unix://{engine_socket()}"):
        asked.clear()
        with open_engine(address) as engine:
            driver = engine.container(name).raw.get("GraphDriver") or {}
            assert Copier(engine).copy(str(tmp_path / "f"), f"{name}:/tmp").ok
        layer = (driver.get("Data") or {}).get("UpperDir", "")
        found.append(layer in asked)
    assert found == [False, bool(layer) and os.geteuid() == 0]


def test_nobody_else_decides_what_is_here() -> None:
    package = Path(jupyter_volcopy.__file__).parent
    said = {
        path.name
        for path in package.rglob("*.py")
        if 'startswith("unix' in path.read_text(encoding="utf-8")
    }
    assert said == {"here.py"}


ACTIVATED = """
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(8)
if os.fork():
    os.wait()
open("/proc/self/comm", "w").write(sys.argv[2])
while True:
    near = server.accept()[0]
    near.recv(4096)
    near.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nOK")
    near.close()
"""


@pytest.mark.parametrize(("name", "here"), [("dockerd", True), ("systemd-socket", False)])
def test_where_another_process_listens_the_one_that_answers_counts(
    name: str, here: bool, tmp_path: Path
) -> None:
    """As with systemd, which listens for an engine, and may listen for a proxy, too."""
    path = tmp_path / "s"
    process = subprocess.Popen(
        [sys.executable, "-c", ACTIVATED, str(path), name], start_new_session=True
    )
    try:
        wait_for(path.exists, "the socket")
        wait_for(lambda: is_here(f"unix://{path}") is here, "the name of the process")
        assert is_here(f"unix://{path}") is here
    finally:
        os.killpg(process.pid, 9)
        process.wait(30)


def test_nobody_there_is_not_here(tmp_path: Path) -> None:
    assert not is_here(f"unix://{tmp_path}/s")
    assert not is_here("tcp://localhost:2375") and not is_here("ssh://me@somewhere")
