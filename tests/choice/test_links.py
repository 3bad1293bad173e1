"""Links in trees (case O10), things tar cannot carry (case O16), --strict."""

from __future__ import annotations

import os
import socket
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.push import takes_far_links
from jupyter_volcopy.errors import Conflict, UnsafeEntry, UsageError
from tests.choice.conftest import fill, local_texts, make, texts
from tests.conftest import Docker

BAD = {"t/sub/up": "-> ../../../x", "t/a": "a", "t/abs": "-> /etc/passwd", "t/z": "z"}
FOLLOWED = {
    "t/a": "a",
    "t/to-file": "-> a",
    "t/to-dir": "-> ../other",
    "t/loop": "-> .",
    "t/sub/back": "-> ../sub",
    "t/dangling": "-> nowhere",
    "t/chain": "-> to-file",
    "other/o": "o",
    "other/again": "-> o",
    "other/home": "-> ../t",
}
EXPECTED = {
    "a": "a",
    "to-file": "a",
    "chain": "a",
    "to-dir/o": "o",
    "to-dir/again": "o",
    "loop": "-> .",
    "sub/back": "-> ../sub",
    "dangling": "-> nowhere",
    "to-dir/home": "-> ../t",
}


def test_links_that_leave_the_tree(
    docker: Docker, some_state: str, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    root = make(tmp_path / "src", BAD)
    fill(docker, some_state, make(tmp_path / "fill", {"home/deep/x": "x"}))
    place = f"{some_state}:/home/deep/t"
    taken = takes_far_links(copier.engine, docker.inspect(some_state)["Id"], "/home/deep")
    if taken:  # an engine that copies them for docker cp, too
        assert copier.copy(str(root / "t"), f"{place}4").ok
        assert texts(docker, some_state, "/home/deep/t4")["t4/sub/up"] == "-> ../../../x"
    else:
        with pytest.raises(Conflict, match="invalid symlink"):
            copier.copy(str(root / "t"), place)
        assert set(texts(docker, some_state, "/home/deep")) == {"deep/x"}  # nothing came of it
    report = copier.copy(str(root / "t"), place, skip_bad_links=True)
    assert report.ok
    assert [note.path for note in report.warnings if note.code == "bad-link"] == ["sub/up"]
    assert set(texts(docker, some_state, "/home/deep/t")) == {"t/a", "t/abs", "t/z"}
    report = copier.copy(str(root / "t"), f"{place}2", skip_bad_links=True, strict=True)
    assert not report.ok
    report = copier.copy(str(root / "t"), f"{place}3", keep_links=True)
    assert report.ok
    assert texts(docker, some_state, "/home/deep/t3")["t3/sub/up"] == "-> ../../../x"

    # one that stays below where the tree goes passes, also where the tree is already
    near = make(tmp_path / "near", {"n/d/l": "-> ../../x", "n/y": "y"})
    for _ in range(2):
        assert copier.copy(str(near / "n"), f"{some_state}:/home/deep").ok
    assert texts(docker, some_state, "/home/deep/n") == {"n/d/l": "-> ../../x", "n/y": "y"}
    source = f"{some_state}:/home/deep/t3"
    out = tmp_path / "p/out"
    out.parent.mkdir()
    with pytest.raises(Conflict, match="invalid symlink"):
        copier.copy(source, str(out))
    assert not out.exists()
    report = copier.copy(source, str(out), skip_bad_links=True)
    assert report.ok
    assert [note.code for note in report.warnings if "up" in note.path] == ["bad-link"]
    assert local_texts(out) == {"a": "a", "abs": "-> /etc/passwd", "z": "z"}
    copier.copy(source, str(tmp_path / "p/kept"), keep_links=True)
    assert local_texts(tmp_path / "p/kept")["sub/up"] == "-> ../../../x"
    other = container("created")
    report = copier.copy(source, f"{other}:/tmp/t", skip_bad_links=True)
    assert report.ok
    assert set(texts(docker, other, "/tmp/t")) == {"t/a", "t/abs", "t/z"}


def test_an_entry_below_a_link_that_leaves(docker: Docker, some_state: str, copier: Copier) -> None:
    """Refused before anything is written: the engine would not follow the link, and it is sent last."""
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        link = tarfile.TarInfo("e")
        link.type, link.linkname = tarfile.SYMTYPE, "../../.."
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("e/escaped"))
    stream.seek(0)
    before = texts(docker, some_state, "/home")
    with pytest.raises(UnsafeEntry, match="below a link"):
        copier.copy("-", f"{some_state}:/home", stdin=stream, keep_links=True)
    assert texts(docker, some_state, "/home") == before


def test_follow_all(
    docker: Docker, some_state: str, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    root = make(tmp_path / "src", FOLLOWED)
    fill(docker, some_state, make(tmp_path / "fill", {"place/x": "x"}))
    report = copier.copy(str(root / "t"), f"{some_state}:/place/t", follow_all=True, verify=True)
    assert report.ok, report.failed
    pushed = texts(docker, some_state, "/place/t/.")
    assert {name[2:]: text for name, text in pushed.items()} == EXPECTED

    fill(docker, some_state, root)
    out = tmp_path / "p/out"
    out.parent.mkdir()
    report = copier.copy(f"{some_state}:/t", str(out), follow_all=True, verify=False)
    assert report.ok, report.failed
    assert local_texts(out) == EXPECTED
    assert {note.path for note in report.warnings} == {
        "loop", "sub/back", "dangling", "to-dir/home",
    }  # fmt: skip
    # absolute links lead to the container's files, never to ours
    fill(docker, some_state, make(tmp_path / "abs", {"abs/l": "-> /place/x", "abs/m": "-> /etc"}))
    report = copier.copy(f"{some_state}:/abs/l", str(tmp_path / "single"), follow_all=True)
    assert (tmp_path / "single").read_text() == "x"
    report = copier.copy(f"{some_state}:/abs", str(tmp_path / "abs-out"), follow_all=True)
    assert report.ok
    assert (tmp_path / "abs-out/l").read_text() == "x"
    assert not (tmp_path / "abs-out/m/os-release").exists()
    # filters meet what the links lead to
    report = copier.copy(
        f"{some_state}:/t", str(tmp_path / "p/some"), follow_all=True, exclude=["again", "to-file"]
    )
    assert report.ok
    left = {"to-file", "to-dir/again"}
    assert set(local_texts(tmp_path / "p/some")) == EXPECTED.keys() - left
    with pytest.raises(UsageError):
        copier.copy(f"{some_state}:/t", f"{container('created')}:/t", follow_all=True)


def test_what_tar_cannot_carry(
    docker: Docker, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    root = make(tmp_path / "s", {f"t/f{number}": "x" for number in range(20)})
    os.mkfifo(root / "t/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(root / "t")  # the path of a socket may be 107 bytes long
        try:
            server.bind("sock")
        finally:
            os.chdir(here)
        name = container("running")
        report = copier.copy(str(root / "t"), f"{name}:/t")
        assert report.ok
        assert report.files == 20
        assert [(note.path, note.code) for note in report.warnings] == [("sock", "socket")]
        assert docker.sh(name, "ls /t | wc -l; test -p /t/pipe && echo pipe").split() == [
            "21",
            "pipe",
        ]
        report = copier.copy(str(root / "t"), f"{name}:/u", strict=True)
        assert not report.ok
        assert [note.path for note in report.failed] == ["sock"]
    report = copier.copy(f"{name}:/t", str(tmp_path / "out"))
    assert report.ok
    assert report.files == 20
    # what was asked for is no failure, however strict
    report = copier.copy(f"{name}:/t", str(tmp_path / "o2"), strict=True, exclude=["f1*", "pipe"])
    assert report.ok
    assert len(report.skipped) == 12
