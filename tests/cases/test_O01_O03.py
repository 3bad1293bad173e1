"""Nest or merge, what must exist, colons (cases O01, O02, O03)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command


def files(top: Path) -> dict[str, str]:
    return {str(p.relative_to(top)): p.read_text() for p in sorted(top.rglob("*")) if p.is_file()}


DATA = {"a.txt": "a\n", "sub/b.txt": "b\n"}


def data(docker: Any, name: str, at: str = "/data") -> None:
    docker.sh(name, f"mkdir -p {at}/sub; echo a >{at}/a.txt; echo b >{at}/sub/b.txt")


def inside(docker: Any, name: str, top: str) -> dict[str, str]:
    found = docker.sh(name, f"cd {top} && find . -type f | sort").split()
    return {p[2:]: docker.read(name, f"{top}/{p[2:]}").decode() for p in found}


def test_O01_pull(docker: Any, container: Any, dcp: Command, tmp_path: Path) -> None:
    name = container()
    data(docker, name)
    dcp(f"{name}:/data", "out").ok()
    assert files(tmp_path / "out") == DATA
    dcp(f"{name}:/data", "out").ok()
    assert files(tmp_path / "out") == {**DATA, **{f"data/{k}": v for k, v in DATA.items()}}
    (tmp_path / "o3").mkdir()
    dcp(f"{name}:/data/.", "o3").ok()
    assert files(tmp_path / "o3") == DATA


@pytest.mark.parametrize("on_volume", [False, True], ids=["layer", "volume"])
def test_O01_push(
    on_volume: bool, docker: Any, container: Any, volume: Any, dcp: Command, tmp_path: Path
) -> None:
    more = ["-v", f"{volume()}:/v"] if on_volume else []
    name = container("running", *more)
    top = "/v" if on_volume else "/srv"
    for rel, text in DATA.items():
        path = tmp_path / "data" / rel
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    dcp("data", f"{name}:{top}/out").ok()
    assert inside(docker, name, f"{top}/out") == DATA
    dcp("data", f"{name}:{top}/out").ok()
    nested = {**DATA, **{f"data/{k}": v for k, v in DATA.items()}}
    assert inside(docker, name, f"{top}/out") == nested
    docker.sh(name, f"mkdir {top}/o3")
    dcp("data/.", f"{name}:{top}/o3").ok()
    assert inside(docker, name, f"{top}/o3") == DATA


def test_O01_the_plan_says_which(docker: Any, container: Any, dcp: Command, tmp_path: Path) -> None:
    name = container()
    data(docker, name)
    (tmp_path / "there").mkdir()
    said = [
        dcp("--plan", f"{name}:{source}", target).ok().out
        for source, target in (("/data", "new"), ("/data", "there"), ("/data/.", "there"))
    ]
    assert len(set(said)) == 3, said
    assert "there/data" in said[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there"]
    assert files(tmp_path / "there") == {}


def test_O02_what_must_exist(docker: Any, container: Any, dcp: Command, tmp_path: Path) -> None:
    """Exit status not 0, nothing changed, a sentence that names the path."""
    name = container()
    docker.sh(name, "echo f >/f; mkdir -p /d/x /in/f; echo x >/d/x/y; echo file >/file")
    (tmp_path / "has" / "f").mkdir(parents=True)
    (tmp_path / "file").write_text("file\n")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x").write_text("x")
    (tmp_path / "f").write_text("here")
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    listing = "find / -xdev -path /proc -prune -o -print | sort | sha256sum"
    there = docker.sh(name, listing)
    for source, target, named in (
        (f"{name}:/f", "no/such/x", "no/such"),
        (f"{name}:/f", "nodir/", "nodir"),
        (f"{name}:/f", "has", "f"),
        (f"{name}:/d", "file", "file"),
        (f"{name}:", "dir", ""),
        ("dir", f"{name}:/file", "/file"),
        ("f", f"{name}:/in", "f"),
        ("f", f"{name}:/no/such/x", "/no/such"),
        ("f", f"{name}:/nodir/", "/nodir"),
        ("f", f"{name}:", ""),
        ("missing", f"{name}:/", "missing"),
        (f"{name}:/missing", "dir", "/missing"),
    ):
        done = dcp(source, target)
        assert done.code != 0, (source, target)
        assert named in done.err, done.err
        assert "Traceback" not in done.err and len(done.err.splitlines()) <= 3, done.err
        assert sorted(str(p) for p in tmp_path.rglob("*")) == before
        assert docker.sh(name, listing) == there
    assert (tmp_path / "file").read_text() == "file\n"


def test_O02_parents(docker: Any, container: Any, dcp: Command, tmp_path: Path) -> None:
    """`--parents` makes what is missing, on either side, owned like the directory it is made in."""
    name = container()
    docker.sh(name, "echo f >/f; mkdir /home/nb; chown 1000:100 /home/nb")
    (tmp_path / "f").write_text("here")
    dcp("--parents", f"{name}:/f", "no/such/x").ok()
    assert (tmp_path / "no" / "such" / "x").read_text() == "f\n"
    dcp("--parents", "f", f"{name}:/home/nb/a/b/x").ok()
    assert docker.read(name, "/home/nb/a/b/x") == b"here"
    owners = docker.sh(name, "stat -c %u:%g /home/nb/a /home/nb/a/b").split()
    assert owners == ["1000:100", "1000:100"]


def test_O03_colons(docker: Any, container: Any, dcp: Command, tmp_path: Path) -> None:
    name = container()
    docker.sh(name, "mkdir /d; echo log >/d/t-10:30:00.log")
    (tmp_path / "x:1.txt").write_text("x")
    (tmp_path / "v:2").mkdir()
    bare = dcp("x:1.txt", f"{name}:/tmp/")
    assert bare.code != 0 and "./x:1.txt" in bare.err
    dcp("./x:1.txt", f"{name}:/tmp/").ok()
    assert docker.read(name, "/tmp/x:1.txt") == b"x"
    dcp(str(tmp_path / "x:1.txt"), f"{name}:/tmp/y:2").ok()
    assert docker.read(name, "/tmp/y:2") == b"x"
    dcp(f"{name}:/d/t-10:30:00.log", "./v:2/").ok()
    assert (tmp_path / "v:2" / "t-10:30:00.log").read_text() == "log\n"
    dcp(f"{name}:/d/t-10:30:00.log", ".").ok()
    assert (tmp_path / "t-10:30:00.log").read_text() == "log\n"
