"""What is left out on request: patterns, .dockerignore, sizes, times; and hard links to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.endpoint import ContainerPath, LocalPath
from jupyter_volcopy.core.filters import DockerIgnore, wants
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.options import CopyOptions
from jupyter_volcopy.errors import BadOption, UsageError
from tests.choice.conftest import fill, local_texts, make, texts
from tests.conftest import Command, Docker

TREE = {
    "t/a.csv": "a",
    "t/keep.csv": "k",
    "t/n.ipynb": "n",
    "t/data/x.csv": "x",
    "t/data/deep/k.txt": "k",
    "t/data/deep/l.txt": "l",
    "t/__pycache__/m.pyc": "m",
    "t/big": "b" * 5000,
}
OPTIONS = {
    "exclude": ["*.csv", "__pycache__/", "/data"],
    "include": ["keep.csv", "data/deep/k.txt"],
    "max_size": 4000,
}
LEFT = {"keep.csv": "k", "n.ipynb": "n", "data/deep/k.txt": "k"}


def test_docker_ignore_has_dockers_rules() -> None:
    rules = DockerIgnore(
        "# a comment\n*.md\n!README.md\n/sub\n!sub/keep\n**/*.pyc\nd?r\nx[ab]\n\\!odd\n"
    )
    ignored = ["a.md", "sub", "sub/x", "a/b/c.pyc", "c.pyc", "dir", "dir/below", "xa", "!odd"]
    kept = ["README.md", "s/a.md", "sub/keep", "sub/keep/y", "a/dir", "xc", "x/sub"]
    assert [name for name in ignored if not rules.ignored(name)] == []
    assert [name for name in kept if rules.ignored(name)] == []
    assert rules.why("sub", Kind.DIRECTORY, 0, 0) is None  # something below it comes back


def test_include_alone_means_only_that() -> None:
    test = wants(CopyOptions(include=("*.ipynb",)), LocalPath("."))
    assert test("a/b.ipynb", Kind.FILE, 1, 0) is None
    assert test("a", Kind.DIRECTORY, 0, 0) is None
    assert test("a/b.csv", Kind.FILE, 1, 0) is not None


def test_patterns_that_take_for_ever(tmp_path: Path) -> None:
    """Where a copy is done for others, no pattern may meet a name that keeps it busy (S11)."""
    (tmp_path / ".dockerignore").write_text("*a*a*a*a*b\n")
    here = LocalPath(str(tmp_path))
    for options in (
        {"exclude": ("*a*a*a*a*b",)},
        {"include": ("x/*a*a*a*a*b/y",)},
        {"exclude": ("**/a/**/a/**/a/**/b",)},
        {"dockerignore": True},
    ):
        with pytest.raises(BadOption, match="too many"):
            wants(CopyOptions(safe=True, **options), here)  # type: ignore[arg-type]
        wants(CopyOptions(**options), here)  # type: ignore[arg-type]
    wants(CopyOptions(safe=True, exclude=("**/*.py[co]", "*a*b*", "**/x/**")), here)


def test_docker_ignore_is_for_local_sources() -> None:
    with pytest.raises(UsageError):
        wants(CopyOptions(dockerignore=True), ContainerPath("c", "/x"))


def test_filters_both_ways(
    docker: Docker,
    any_state: str,
    container: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
) -> None:
    root = make(tmp_path / "src", TREE)
    report = copier.copy(str(root / "t"), f"{any_state}:/pushed", **OPTIONS)
    assert report.ok
    assert texts(docker, any_state, "/pushed/.") == {f"./{k}": v for k, v in LEFT.items()}
    reasons = {note.path: note.code for note in report.skipped}
    assert reasons.keys() == {"a.csv", "__pycache__", "big", "data/x.csv", "data/deep/l.txt"}
    assert set(reasons.values()) == {"filtered"}

    fill(docker, any_state, root)
    report = copier.copy(f"{any_state}:/t", str(tmp_path / "out"), **OPTIONS)
    assert report.ok, report.failed
    assert local_texts(tmp_path / "out") == LEFT
    assert {note.path for note in report.skipped} == set(reasons)

    other = container("created")
    report = copier.copy(f"{any_state}:/t", f"{other}:/copied", **OPTIONS)
    assert report.ok, report.failed
    assert texts(docker, other, "/copied/.") == {f"./{k}": v for k, v in LEFT.items()}


def test_newer_and_files_of_patterns(
    docker: Docker, container: Callable[..., str], dcp: Command, tmp_path: Path
) -> None:
    name = container("created")
    root = make(tmp_path / "p", {"old": "o", "new": "n", "x.tmp": "x", "d/y.tmp": "y", "z": "z"})
    os.utime(root / "new", (1_700_000_000, 1_700_000_000))
    (tmp_path / "patterns").write_text("# no temporaries\n*.tmp\n")
    dcp("--newer", "@1650000000", "p", f"{name}:/tmp/").ok()
    assert texts(docker, name, "/tmp/p") == {"p/new": "n"}
    dcp("--exclude-from", "patterns", "p", f"{name}:/tmp/q").ok()
    assert sorted(texts(docker, name, "/tmp/q")) == ["q/new", "q/old", "q/z"]
    (root / ".dockerignore").write_text("**\n!z\n!d\n")
    dcp("--dockerignore", "p", f"{name}:/tmp/r").ok()
    assert sorted(texts(docker, name, "/tmp/r")) == ["r/d/y.tmp", "r/z"]
    assert dcp("--exclude-from", "none", "p", f"{name}:/tmp/s").code == 1


def test_a_filter_also_meets_single_files(
    docker: Docker, some_state: str, copier: Copier, tmp_path: Path
) -> None:
    fill(docker, some_state, make(tmp_path / "src", {"w/a.txt": "a", "w/b.txt": "b"}))
    out = tmp_path / "out"
    out.mkdir()
    report = copier.copy(f"{some_state}:/w/*", str(out), exclude=["b.*"])
    assert report.ok
    assert [note.path for note in report.skipped] == ["b.txt"]
    assert local_texts(out) == {"a.txt": "a"}
    report = copier.copy(
        [str(tmp_path / "src/w/a.txt"), str(tmp_path / "src/w/b.txt")],
        f"{some_state}:/",
        exclude=["a*"],
    )
    assert [note.path for note in report.skipped] == ["a.txt"]
    assert texts(docker, some_state, "/b.txt") == {"b.txt": "b"}


def test_a_hard_link_whose_first_name_is_left_out_arrives(
    docker: Docker,
    some_state: str,
    container: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
) -> None:
    root = make(tmp_path / "src", {"h/a": "content", "h/skip/b": "other"})
    for name in ("h/second", "h/third"):
        os.link(root / "h/a", root / name)
    os.link(root / "h/skip/b", root / "h/z")
    fill(docker, some_state, root)
    expected = {"second": "content", "third": "content", "z": "other"}
    options = {"exclude": ["/a", "skip/"]}
    out = tmp_path / "out"
    report = copier.copy(f"{some_state}:/h", str(out), **options)
    assert report.ok, report.failed
    assert local_texts(out) == expected
    assert (out / "second").samefile(out / "third")
    report = copier.copy(str(root / "h"), f"{some_state}:/pushed", **options)
    assert texts(docker, some_state, "/pushed/.") == {f"./{k}": v for k, v in expected.items()}
    other = container("created")
    report = copier.copy(f"{some_state}:/h", f"{other}:/copied", **options)
    assert report.ok
    assert texts(docker, other, "/copied/.") == {f"./{k}": v for k, v in expected.items()}
