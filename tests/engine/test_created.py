"""Copies with containers that were only created: what every engine can, podman too."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from jupyter_volcopy.core.discovery import open_engine
from tests.conftest import Command


def test_there_and_back(docker: Any, container: Any, dcp: Command, tmp_path: Path) -> None:
    name = container("created")
    tree = tmp_path / "tree"
    (tree / "deep" / "中 文").mkdir(parents=True)
    (tree / "deep" / "中 文" / "f").write_bytes(b"small\n")
    (tree / "big").write_bytes(b"12345678" * 300_000)
    (tree / "big").chmod(0o640)
    (tree / "link").symlink_to("big")
    dcp("tree", f"{name}:/tmp/").ok()
    dcp(f"{name}:/tmp/tree", "back").ok()
    back = tmp_path / "back"
    assert (back / "deep" / "中 文" / "f").read_bytes() == b"small\n"
    assert (back / "big").read_bytes() == (tree / "big").read_bytes()
    assert (back / "big").stat().st_mode & 0o777 == 0o640
    assert (back / "link").readlink() == Path("big")
    (tmp_path / "one").write_bytes(b"one")
    dcp("one", f"{name}:/tmp/tree/big").ok()  # over what is there
    dcp(f"{name}:/tmp/tree/big", ".").ok()
    assert (tmp_path / "big").read_bytes() == b"one"


def test_between_containers(docker: Any, container: Any, dcp: Command, tmp_path: Path) -> None:
    one, two = container("created"), container("created")
    (tmp_path / "f").write_bytes(b"x" * 100_000)
    dcp("f", f"{one}:/tmp/f").ok()
    dcp(f"{one}:/tmp/f", f"{two}:/tmp/g").ok()
    dcp(f"{two}:/tmp/g", ".").ok()
    assert (tmp_path / "g").read_bytes() == (tmp_path / "f").read_bytes()


def test_errors_are_sentences(docker: Any, container: Any, dcp: Command) -> None:
    name = container("created")
    for argv in ([f"{name}:/no/such", "."], ["nothing-here", f"{name}:/tmp"], ["no-such:/f", "."]):
        ran = dcp(*argv)
        assert ran.code == 1 and ran.err and "Traceback" not in ran.err


def test_set_id_bits_land(docker: Any, container: Any, dcp: Command, tmp_path: Path) -> None:
    """As docker cp lands them; some engines refuse links that climb out of where they are unpacked."""
    name = container("created")
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    for path, mode in ((tree / "su", 0o4755), (tree / "deep" / "sg", 0o2755), (tree / "x", 0o755)):
        path.write_bytes(b"#!/bin/sh\n")
        path.chmod(mode)
    back = tmp_path / "back"
    said = ""
    for place in (f"{name}:/tmp/", f"{name}:/", f"{name}:/etc/"):
        said += dcp("tree", place).ok().err
        dcp(f"{place}tree", "back").ok()
        assert (back / "su").stat().st_mode & 0o7777 == 0o4755
        assert (back / "deep" / "sg").stat().st_mode & 0o7777 == 0o2755
        assert (back / "x").stat().st_mode & 0o7777 == 0o755
        assert sorted(p.name for p in back.iterdir()) == ["deep", "su", "x"]
        shutil.rmtree(back)
    with open_engine() as engine:
        left = [e.name for e in engine.list_dir(name, "/tmp").entries if e.name != "tree"]
        # Nobody can remove a name in a container that does not run: podman leaves one (E8), and says so.
        docker_itself = (
            engine.call("GET", "/_ping")[0].headers.get("server", "").startswith("Docker/")
        )
    assert left == [] or not docker_itself
    assert all(f"/tmp/{each}" in said for each in left) and len(left) <= 1, (left, said)


def test_set_id_bits_below_a_read_only_root(
    docker: Any, container: Any, volume: Any, dcp: Command, tmp_path: Path
) -> None:
    name = container("created", "--read-only", "-v", f"{volume()}:/vol")
    (tmp_path / "su").write_bytes(b"x")
    (tmp_path / "su").chmod(0o4755)
    ran = dcp("su", f"{name}:/vol/")
    dcp(f"{name}:/vol/su", "back").ok()
    mode = (tmp_path / "back").stat().st_mode & 0o7777
    assert mode == 0o4755 if ran.code == 0 else (mode == 0o755 and "hardlink" in ran.err), ran.err
