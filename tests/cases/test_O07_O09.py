"""Mounts that swallow, refuse or cannot be replaced (cases O07, O08, O09)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command

TMPFS = {
    "--tmpfs": ["--tmpfs", "/m"],
    "--mount": ["--mount", "type=tmpfs,target=/m"],
}


@pytest.mark.parametrize("kind", TMPFS)
def test_O07_tmpfs(
    kind: str, docker: Any, container: Any, dcp: Command, volcopy: Command, tmp_path: Path
) -> None:
    """What is pushed is seen by the container's processes; what is pulled is what they see."""
    name = container("running", *TMPFS[kind])
    docker.write(name, "/m/in.txt", b"live")
    (tmp_path / "x").write_bytes(b"pushed")
    dcp("x", f"{name}:/m/").ok()
    assert docker.read(name, "/m/x") == b"pushed"
    dcp(f"{name}:/m/in.txt", "got").ok()
    assert (tmp_path / "got").read_bytes() == b"live"
    (tmp_path / "t" / "s").mkdir(parents=True)
    (tmp_path / "t" / "s" / "f").write_bytes(b"deep")
    dcp("t", f"{name}:/m/").ok()
    assert docker.read(name, "/m/t/s/f") == b"deep"
    dcp(f"{name}:/m", "all").ok()
    assert (tmp_path / "all" / "t" / "s" / "f").read_bytes() == b"deep"
    assert (tmp_path / "all" / "x").read_bytes() == b"pushed"
    assert "in.txt" in volcopy("ls", f"{name}:/m").ok().out
    assert docker.sh(name, "ls -A /m").split() == ["in.txt", "t", "x"]


def test_O07_shm(docker: Any, container: Any, dcp: Command, tmp_path: Path) -> None:
    name = container()
    docker.write(name, "/dev/shm/in", b"live")
    (tmp_path / "x").write_bytes(b"pushed")
    dcp("x", f"{name}:/dev/shm/").ok()
    assert docker.read(name, "/dev/shm/x") == b"pushed"
    dcp(f"{name}:/dev/shm/in", "got").ok()
    assert (tmp_path / "got").read_bytes() == b"live"


@pytest.mark.parametrize("state", ["stopped", "paused"])
def test_O07_no_process_to_see_it(
    state: str, docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """Nothing can be put there: refused before anything is written, the mount is named."""
    name = container(state, "--tmpfs", "/m")
    (tmp_path / "x").write_bytes(b"pushed")
    done = dcp("x", f"{name}:/m/")
    assert done.code == 1 and "/m" in done.err
    done = dcp(f"{name}:/m/x", "got")
    assert done.code == 1 and not (tmp_path / "got").exists()
    changed = docker("diff", name).split("\n")
    assert not [line for line in changed if line.endswith("/x")]


def test_O08_read_only(
    docker: Any, container: Any, volume: Any, dcp: Command, tmp_path: Path
) -> None:
    """The refusal names root file system or mount; what is writable is written."""
    name = container("running", "--read-only", "-v", "/w", "-v", f"{volume()}:/ro:ro")
    (tmp_path / "x").write_bytes(b"x")
    done = dcp("x", f"{name}:/x")
    assert done.code == 1 and "read-only" in done.err and "root" in done.err
    done = dcp("x", f"{name}:/ro/")
    assert done.code == 1 and "read-only" in done.err and "/ro" in done.err
    dcp("x", f"{name}:/w/").ok()
    assert docker.read(name, "/w/x") == b"x"
    assert docker.sh(name, "ls -A /ro") == ""


def test_O08_refused_before_the_upload(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    name = container("running", "--read-only")
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing: were it sent, this would never end
    done = dcp("big", f"{name}:/big")
    assert done.code == 1 and "read-only" in done.err


def test_O08_a_volume_behind_a_link(
    docker: Any, container: Any, volume: Any, dcp: Command, tmp_path: Path, image: str
) -> None:
    """`/dir1 -> /tmp` and a volume at /dir1/dir2: it arrives, or the refusal is true."""
    base = container()
    docker.sh(base, "ln -s /tmp /dir1; mkdir /tmp/dir2")
    linked = f"{base}-image"
    docker("commit", base, linked)
    try:
        name = container("running", "--read-only", "-v", f"{volume()}:/dir1/dir2", image=linked)
        docker.sh(name, "echo can >/dir1/dir2/can")
        (tmp_path / "x").write_bytes(b"x")
        done = dcp("x", f"{name}:/dir1/dir2/")
        if done.code == 0:
            assert docker.read(name, "/dir1/dir2/x") == b"x"
        else:
            assert "read-only" in done.err
            assert docker.sh(name, "ls /dir1/dir2") == "can"
        docker.raw("rm", "-f", name)
    finally:
        docker.raw("rm", "-f", base)
        docker.raw("rmi", "-f", linked)


def test_O09_a_single_mounted_file(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """It can be pulled; it cannot be replaced, and the message says where it comes from."""
    conf = tmp_path / "app.conf"
    conf.write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    name = container("running", "-v", f"{conf}:/cfg/app.conf")
    dcp(f"{name}:/cfg/app.conf", "got").ok()
    assert (tmp_path / "got").read_bytes() == b"old"
    done = dcp("new", f"{name}:/cfg/app.conf")
    assert done.code == 1 and str(conf) in done.err
    assert conf.read_bytes() == b"old"
    assert docker.read(name, "/cfg/app.conf") == b"old"
    assert docker.sh(name, "ls -A /cfg") == "app.conf"
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "app.conf").write_bytes(b"new")
    (tmp_path / "t" / "other").write_bytes(b"other")
    done = dcp("t/.", f"{name}:/cfg")
    assert done.code == 1 and "app.conf" in done.err
    assert docker.sh(name, "ls -A /cfg") == "app.conf", "half done"
    for path in ("/etc/hosts", "/etc/hostname"):
        dcp(f"{name}:{path}", "etc").ok()
        assert (tmp_path / "etc").read_bytes() == docker.read(name, path)
        before = docker.read(name, path)
        assert dcp("new", f"{name}:{path}").code == 1
        assert docker.read(name, path) == before
