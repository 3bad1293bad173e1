"""What is there already: --update, --checksum, --no-clobber, --backup, --parents."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.errors import Conflict, EngineError, VolcopyError
from tests.choice.conftest import fill, local_texts, make, members, texts
from tests.conftest import Docker

TREE = {"t/a": "a", "t/d/b": "b", "t/d/e/c": "c", "t/l": "-> a", "t/empty": None}


def codes(report: Any) -> dict[str, str]:
    return {note.path: note.code for note in report.skipped}


class Counted:
    """Counts the archives that went out of and into containers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []
        self.written: list[str] = []
        read, write = DockerEngine.open_archive, DockerEngine.extract

        def open_archive(engine: Any, container: str, path: str, **more: Any) -> Any:
            self.read.append(path)
            return read(engine, container, path, **more)

        def extract(engine: Any, container: str, directory: str, body: Any, **more: Any) -> None:
            self.written.append(directory)
            write(engine, container, directory, body, **more)

        monkeypatch.setattr(DockerEngine, "open_archive", open_archive)
        monkeypatch.setattr(DockerEngine, "extract", extract)


def test_update_push(
    docker: Docker,
    any_state: str,
    copier: Copier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    each_access: str,
) -> None:
    root = make(tmp_path / "src", TREE)
    place = f"{any_state}:/t"
    when = (1_600_000_000, 1_600_000_000)
    os.utime(root / "t/d", when)
    copier.copy(str(root / "t"), place)
    (root / "t/d/b").unlink()
    os.link(root / "t/a", root / "t/d/b")  # another content, same size and time
    os.utime(root / "t/d", when)
    count = Counted(monkeypatch)
    report = copier.copy(f"{root}/t/.", place, update=True)
    assert count.written == []
    assert report.ok
    assert report.files == report.bytes == 0
    assert codes(report) == dict.fromkeys(["a", "d/b", "d/e/c", "l"], "equal")
    report = copier.copy(f"{root}/t/.", place, update=True, checksum=True)
    assert codes(report) == dict.fromkeys(["a", "d/e/c", "l"], "equal")
    assert report.files == 1
    make(root, {"t/d/e/c": "longer", "t/new": "n"})
    os.chmod(root / "t/a", 0o600)
    (root / "t/l").unlink()
    (root / "t/l").symlink_to("new")
    report = copier.copy(f"{root}/t/.", place, update=True)
    assert set(codes(report)) == set()
    assert texts(docker, any_state, "/t/.") == {
        "./a": "a",
        "./d/b": "a",
        "./d/e/c": "longer",
        "./l": "-> new",
        "./new": "n",
    }
    assert members(docker, any_state, "/t/.")["./a"].mode & 0o7777 == 0o600


def test_update_pull(
    docker: Docker,
    any_state: str,
    copier: Copier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    each_access: str,
) -> None:
    root = make(tmp_path / "src", TREE)
    fill(docker, any_state, root)
    out = tmp_path / "out"
    copier.copy(f"{any_state}:/t", str(out))
    count = Counted(monkeypatch)
    report = copier.copy(f"{any_state}:/t/.", str(out), update=True)
    assert report.ok
    assert report.files == report.bytes == 0
    assert codes(report) == dict.fromkeys(["a", "d/b", "d/e/c", "l"], "equal")
    if docker.inspect(any_state)["State"]["Status"] == "running":
        assert count.read == []  # a program listed, nothing was read
    make(root, {"t/d/e/c": "longer", "t/new": "n"})
    fill(docker, any_state, root)
    (out / "d/b").write_text("Z")
    os.utime(out / "d/b", (1_600_000_000, 1_600_000_000))  # the same to all but --checksum
    count.read.clear()
    report = copier.copy(f"{any_state}:/t/.", str(out), update=True)
    assert report.ok
    assert report.files == 2
    assert codes(report) == dict.fromkeys(["a", "d/b", "l"], "equal")
    running = docker.inspect(any_state)["State"]["Status"] == "running"
    if running and each_access == "api":  # else the engine is not asked for them
        assert sorted(count.read) == ["/t/d/e/c", "/t/new"]
    report = copier.copy(f"{any_state}:/t/.", str(out), update=True, checksum=True, verify=True)
    assert report.ok
    assert (report.files, report.verified) == (1, 1)
    assert local_texts(out) == {"a": "a", "d/b": "b", "d/e/c": "longer", "l": "-> a", "new": "n"}
    assert (out / "d").stat().st_mtime == (root / "t/d").stat().st_mtime // 1
    # a single file
    report = copier.copy(f"{any_state}:/t/a", str(out), update=True)
    assert codes(report) == {"a": "equal"}


def test_update_between_containers(
    docker: Docker, some_state: str, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    root = make(tmp_path / "src", TREE)
    fill(docker, some_state, root)
    other = container("running")
    copier.copy(f"{some_state}:/t", f"{other}:/t")
    report = copier.copy(f"{some_state}:/t/.", f"{other}:/t", update=True)
    assert report.ok
    assert report.files == 0
    assert set(codes(report)) == {"a", "d/b", "d/e/c", "l"}
    make(root, {"t/d/b": "longer"})
    fill(docker, some_state, root)
    report = copier.copy(f"{some_state}:/t", f"{other}:/", update=True, verify=True)
    assert report.ok
    assert (report.files, report.verified) == (1, 1)
    assert docker.read(other, "/t/d/b") == b"longer"


def test_no_clobber_and_backup(
    docker: Docker, some_state: str, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    old = make(tmp_path / "old", {"t/a": "old a", "t/d/b": "old b", "f": "old f"})
    os.chown(old / "t/a", 7, 8)
    new = make(tmp_path / "new", {"t/a": "new a", "t/d/b": "new b", "t/c": "c", "f": "new f"})
    fill(docker, some_state, old)
    place = f"{some_state}:/"
    report = copier.copy(str(new / "t"), place, no_clobber=True)
    assert report.ok
    assert set(codes(report).values()) == {"exists"}
    assert texts(docker, some_state, "/t") == {"t/a": "old a", "t/d/b": "old b", "t/c": "c"}
    report = copier.copy(str(new / "f"), f"{place}f", no_clobber=True)
    assert report.ok
    assert texts(docker, some_state, "/f") == {"f": "old f"}
    report = copier.copy(str(new / "t"), place, backup=True)
    assert report.ok
    after = texts(docker, some_state, "/t")
    assert after == {
        "t/a": "new a",
        "t/a~": "old a",
        "t/c": "c",
        "t/c~": "c",
        "t/d/b": "new b",
        "t/d/b~": "old b",
    }
    kept = members(docker, some_state, "/t")["t/a~"]
    assert (kept.uid, kept.gid) == (7, 8)
    copier.copy(str(new / "f"), f"{place}f", backup=True)
    assert texts(docker, some_state, "/f~") == {"f~": "old f"}
    # what would be the backup is a directory: refused before anything is sent
    make(tmp_path / "block", {"f~~": None, "f~": "x"})
    with pytest.raises(Conflict):
        docker("cp", f"{tmp_path}/block/f~~", place)
        copier.copy(str(tmp_path / "block/f~"), f"{place}f~", backup=True)
    assert texts(docker, some_state, "/f~") == {"f~": "old f"}

    other = container("created")
    fill(docker, other, old)
    copier.copy(f"{some_state}:/t/.", f"{other}:/t", no_clobber=True)
    assert texts(docker, other, "/t")["t/a"] == "old a"
    copier.copy(f"{some_state}:/t/a", f"{other}:/t/a", backup=True)
    assert texts(docker, other, "/t")["t/a~"] == "old a"

    out = make(tmp_path / "out", {"a": "here a"})
    report = copier.copy(f"{some_state}:/t/.", str(out), no_clobber=True, verify=True)
    assert codes(report) == {"a": "exists"}
    assert report.ok, report.failed
    assert (out / "a").read_text() == "here a"
    copier.copy(f"{some_state}:/t/a", str(out), backup=True)
    assert ((out / "a").read_text(), (out / "a~").read_text()) == ("new a", "here a")


def test_backup_in_tmpfs(
    docker: Docker, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    name = container("running", "--tmpfs", "/fast")
    docker.write(name, "/fast/f", b"old")
    make(tmp_path, {"f": "new"})
    copier.copy(str(tmp_path / "f"), f"{name}:/fast/f", backup=True)
    assert (docker.read(name, "/fast/f"), docker.read(name, "/fast/f~")) == (b"new", b"old")
    report = copier.copy(str(tmp_path / "f"), f"{name}:/fast/f", update=True)
    assert set(codes(report).values()) == {"equal"}


def test_parents(
    docker: Docker, any_state: str, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    root = make(tmp_path / "src", {"home/owned/x": "x", "f": "f", "d/g": "g", "g": "g"})
    os.chown(root / "home/owned", 1000, 100)
    fill(docker, any_state, root)
    base = f"{any_state}:/home/owned"
    with pytest.raises(VolcopyError):
        copier.copy(str(root / "f"), f"{base}/p/q/f")
    copier.copy(str(root / "f"), f"{base}/p/q/f", parents=True)
    copier.copy(str(root / "f"), f"{base}/r/s/", parents=True)
    copier.copy(str(root / "d"), f"{base}/u/new", parents=True)
    copier.copy([str(root / "f"), str(root / "d")], f"{base}/v/w", parents=True)
    found = members(docker, any_state, "/home/owned")
    assert {name for name, item in found.items() if not item.isdir()} == {
        "owned/x", "owned/p/q/f", "owned/r/s/f", "owned/u/new/g", "owned/v/w/f", "owned/v/w/d/g",
    }  # fmt: skip
    for name in ("owned/p", "owned/p/q", "owned/r/s", "owned/u", "owned/v/w"):
        assert (found[name].uid, found[name].gid) == (1000, 100), name
        assert found[name].mode & 0o7777 == 0o755
    with pytest.raises(VolcopyError):  # a file is in the way
        copier.copy(str(root / "f"), f"{base}/x/y/f", parents=True)
    with pytest.raises(VolcopyError):  # nothing is made for what is not there
        copier.copy(str(root / "none"), f"{base}/none/y/f", parents=True)
    assert "owned/none" not in members(docker, any_state, "/home/owned")

    out = tmp_path / "out"
    out.mkdir()
    copier.copy(f"{any_state}:/f", str(out / "a/b/f"), parents=True)
    copier.copy(f"{any_state}:/f", str(out / "c/d") + "/", parents=True)
    copier.copy([f"{any_state}:/f", f"{any_state}:/g"], str(out / "e/f"), parents=True)
    assert set(local_texts(out)) == {"a/b/f", "c/d/f", "e/f/f", "e/f/g"}
    with pytest.raises(VolcopyError):
        copier.copy(f"{any_state}:/none", str(out / "x/y/f"), parents=True)
    assert not (out / "x").exists()
    other = container("created")
    copier.copy(f"{any_state}:/f", f"{other}:/deep/er/", parents=True)
    assert texts(docker, other, "/deep/er/f") == {"f": "f"}


def test_a_listing_that_is_not_complete_is_not_trusted(
    docker: Docker, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    """`find` fails in the middle (files vanish under it): nothing is left out, nothing replaced."""
    name, other = container("running"), container("running")
    fill(docker, name, make(tmp_path / "src", {"d/a": "a", "d/missed": "m"}))
    out = make(tmp_path / "old", {"d/a": "a"})
    os.utime(out / "d", (1_600_000_000, 1_600_000_000))
    fill(docker, other, out)
    find = tmp_path / "find"
    find.write_text('#!/bin/sh\nbusybox find "$@" | busybox grep -v missed\nexit 1\n')
    find.chmod(0o755)
    docker.sh(name, "rm /bin/find")
    docker("cp", str(find), f"{name}:/bin/find")
    assert copier.copy(f"{name}:/d/.", str(out / "d"), update=True).ok
    assert local_texts(out / "d") == {"a": "a", "missed": "m"}
    assert copier.copy(f"{name}:/d/.", f"{other}:/d", update=True).ok
    assert docker.read(other, "/d/missed") == b"m"
    make(tmp_path / "new", {"d/a": "new", "d/missed": "new"})
    for options in ({"no_clobber": True}, {"backup": True}):
        with pytest.raises(EngineError, match="listed completely"):
            copier.copy(str(tmp_path / "new/d"), f"{name}:/", **options)
    assert docker.read(name, "/d/missed") == b"m"
