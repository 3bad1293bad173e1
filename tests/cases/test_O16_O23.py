"""What tar cannot carry, read-only directories, every state (cases O16, O17, O23)."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Command
from tests.faults.conftest import nobody_prefix, sandbox
from tests.unit.local_setup import needs_root


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    """Twenty files, a socket, a pipe, a file of mode 000."""
    top = tmp_path / "odd"
    top.mkdir()
    for n in range(20):
        (top / f"f{n}").write_text(str(n))
    os.mkfifo(top / "pipe")
    (top / "closed").write_text("closed")
    (top / "closed").chmod(0)
    with socket.socket(socket.AF_UNIX) as sock:
        os.chdir(top)  # its path must be short
        sock.bind("sock")
        os.chdir("/")
        yield top


def test_O16_what_tar_cannot_carry(
    odd: Path, docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """The files arrive, what is left out is named, in words and for machines."""
    name = container()
    done = dcp("--json", "odd", f"{name}:/srv/")
    assert done.code == 0, done.err
    report = done.json()
    assert [note["code"] for note in report["warnings"] if note["path"].endswith("sock")] == [
        "socket"
    ]
    assert docker.sh(name, "ls /srv/odd | grep -c ^f").strip() == "20"
    assert docker.sh(name, "test -p /srv/odd/pipe && stat -c %a /srv/odd/closed") == "0"
    done = dcp("odd", f"{name}:/srv/two").ok()
    assert "sock" in done.err
    done = dcp("--strict", "odd", f"{name}:/srv/three")
    assert done.code == 1 and "sock" in done.err
    done = dcp("--safe", "odd", f"{name}:/srv/safe")
    assert "pipe" in done.err and "sock" in done.err
    assert docker.sh(name, "ls /srv/safe | grep -c ^f").strip() == "20"
    # and back
    done = dcp("--json", f"{name}:/srv/odd", "back")
    assert done.code == 0, done.err
    back = tmp_path / "back"
    assert len([p for p in back.iterdir() if p.name.startswith("f")]) == 20
    assert back.joinpath("pipe").is_fifo()


assert sandbox  # a fixture


@needs_root
def test_O17_read_only_directories(docker: Any, container: Any, sandbox: Path, home: Path) -> None:
    """As an ordinary user: the whole tree, modes 0555 at the end."""
    name = container()
    docker.sh(
        name, "mkdir -p /rod/sub; echo a >/rod/a; echo b >/rod/sub/b; chmod 0555 /rod/sub /rod"
    )
    sandbox.mkdir()
    os.chown(sandbox, 65534, 65534)
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        pytest.skip("the engine is not on this machine")
    path = address.removeprefix("unix://")
    group = os.stat(path).st_gid
    if not os.stat(path).st_mode & 0o020 and group != 65534:
        pytest.skip("the engine's socket is root's alone")
    # nobody, in the group that may speak to the engine
    prefix = [f"--groups={group}" if a == "--clear-groups" else a for a in nobody_prefix()]
    from tests.conftest import command_line

    done = subprocess.run(
        [*prefix, *command_line("dcp"), f"{name}:/rod", "rod"],
        cwd=sandbox,
        env={
            **os.environ,
            "HOME": "/",
            "XDG_STATE_HOME": str(sandbox / "s"),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rod = sandbox / "rod"
    assert (rod / "a").read_text() == "a\n" and (rod / "sub" / "b").read_text() == "b\n"
    assert [p.stat().st_mode & 0o777 for p in (rod, rod / "sub")] == [0o555, 0o555]
    assert {p.stat().st_uid for p in (rod, rod / "sub", rod / "a")} == {65534}


@pytest.mark.parametrize("state", ["created", "running", "paused", "stopped", "restarting"])
def test_O23_every_state(
    state: str,
    docker: Any,
    container: Any,
    volume: Any,
    dcp: Command,
    volcopy: Command,
    tmp_path: Path,
) -> None:
    """List, pull, push, in a layer and on a volume, with the same fields of the listing."""
    disk = volume()
    (tmp_path / "t" / "s").mkdir(parents=True)
    (tmp_path / "t" / "s" / "f").write_bytes(b"hello")
    if state == "restarting":
        more = ["--restart", "always", "-v", f"{disk}:/v"]
        name = container("running", *more, command=["sh", "-c", "exit 1"])
    else:
        name = container(state, "-v", f"{disk}:/v")
    for top in ("/srv", "/v"):
        dcp("t", f"{name}:{top}/").ok()
        dcp(f"{name}:{top}/t", f"back{top[1:]}").ok()
        assert (tmp_path / f"back{top[1:]}" / "s" / "f").read_bytes() == b"hello"
        rows = volcopy("ls", "--json", f"{name}:{top}/t/s").ok().json()
        entries = rows["entries"] if isinstance(rows, dict) else rows
        assert [(e["name"], e["size"], e["kind"]) for e in entries] == [("f", 5, "file")]
        assert {"mode", "uid", "gid"} <= set(entries[0])
    if state == "created":
        docker("start", name)
        assert docker.read(name, "/v/t/s/f") == b"hello"


def test_O23_without_any_program(
    docker: Any, container: Any, dcp: Command, volcopy: Command, tmp_path: Path, empty_image: str
) -> None:
    name = container("created", image=empty_image, command=["none"])
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "f").write_bytes(b"hello")
    dcp("t", f"{name}:/home/").ok()
    dcp("t/f", f"{name}:/home/t/f").ok()
    dcp(f"{name}:/home/t", "back").ok()
    assert (tmp_path / "back" / "f").read_bytes() == b"hello"
    assert "f" in volcopy("ls", f"{name}:/home/t").ok().out
