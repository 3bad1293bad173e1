"""Many sources and patterns (case O04)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.errors import DestinationExists, NoSuchPath, VolcopyError
from tests.choice.conftest import fill, local_texts, make, texts
from tests.conftest import Command, Docker

WORK = {
    "work/a.ipynb": "a",
    "work/b.ipynb": "b",
    "work/c.csv": "c",
    "work/sub/d.ipynb": "d",
    "work/.hidden.ipynb": "h",
    "work/we[1]rd.ipynb": "w",
    "work/we1rd.txt": "x",
    "work/link": "-> sub",
}


def test_patterns_in_every_state(
    docker: Docker, any_state: str, copier: Copier, tmp_path: Path
) -> None:
    fill(docker, any_state, make(tmp_path / "src/p", WORK).parent)

    def pulled(*sources: str) -> list[str]:
        out = tmp_path / f"out{os.urandom(3).hex()}"
        out.mkdir()
        report = copier.copy([f"{any_state}:/p{item}" for item in sources], str(out))
        assert report.ok
        return sorted(name.name for name in out.rglob("*") if not name.is_dir())

    assert pulled("/work/*.ipynb") == ["a.ipynb", "b.ipynb", "we[1]rd.ipynb"]
    assert pulled("/work/.*.ipynb") == [".hidden.ipynb"]
    assert pulled("/work/[!a].ipynb", "/work/c.csv") == ["b.ipynb", "c.csv"]
    # the name that is there wins over the pattern it is
    assert pulled("/work/we[1]rd.ipynb") == ["we[1]rd.ipynb"]
    assert pulled("/work/we[1]rd.txt") == ["we1rd.txt"]
    # a pattern in the middle, also through a link
    assert pulled("/wor?/sub/*") == ["d.ipynb"]
    assert pulled("/work/li*/*.ipynb") == ["d.ipynb"]
    # `**` is nothing special
    assert pulled("/work/**.csv") == ["c.csv"]
    with pytest.raises(NoSuchPath, match=r"nothing there matches"):
        pulled("/work/*.none")
    with pytest.raises(NoSuchPath):
        pulled("/work/*/none")


def test_patterns_in_a_volume(
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
) -> None:
    name = volume()
    holder = container("created", "-v", f"{name}:/vo[l]")
    docker("cp", f"{make(tmp_path / 'src', WORK)}/.", f"{holder}:/vo[l]")
    out = tmp_path / "out"
    out.mkdir()
    copier.copy(f"volume={name}:/work/*.ipynb", str(out))
    assert sorted(local_texts(out)) == ["a.ipynb", "b.ipynb", "we[1]rd.ipynb"]
    with pytest.raises(NoSuchPath):
        copier.copy(f"volume={name}:/*.none", str(out))


def test_local_patterns_that_arrive_unexpanded(
    docker: Docker, container: Callable[..., str], dcp: Command, tmp_path: Path
) -> None:
    name = container("created")
    make(tmp_path / "nb", {"a.ipynb": "a", "b.ipynb": "b", "x[1].txt": "x", ".c.ipynb": "c"})
    dcp("nb/*.ipynb", "nb/x[1].txt", f"{name}:/tmp").ok()
    assert sorted(texts(docker, name, "/tmp")) == ["tmp/a.ipynb", "tmp/b.ipynb", "tmp/x[1].txt"]
    refused = dcp("nb/*.none", f"{name}:/tmp")
    assert refused.code == 1
    assert "nothing matches" in refused.err


def test_many_sources_need_a_directory_and_other_names(
    docker: Docker, some_state: str, copier: Copier, tmp_path: Path
) -> None:
    src = make(tmp_path / "src", {**WORK, "other/a.ipynb": "other", "file": "f", "to/x": "x"})
    fill(docker, some_state, src)
    out = tmp_path / "out"
    out.mkdir()
    at = some_state
    with pytest.raises(DestinationExists, match=r"both become"):
        copier.copy([f"{at}:/work/a.ipynb", f"{at}:/other/a.ipynb"], str(out))
    with pytest.raises(DestinationExists):
        copier.copy([f"{at}:/work/.", f"{at}:/other/a.ipynb"], str(out))
    with pytest.raises(VolcopyError):
        copier.copy([f"{at}:/work/a.ipynb", f"{at}:/other/none"], str(out))
    with pytest.raises(VolcopyError):
        copier.copy([f"{at}:/work/a.ipynb", f"{at}:/file"], str(tmp_path / "none"))
    assert not list(out.iterdir())
    sources = [str(src / "work/a.ipynb"), str(src / "work/c.csv"), str(src / "other")]
    with pytest.raises(DestinationExists):
        copier.copy([*sources, str(src / "other/a.ipynb")], f"{at}:/to")
    for wrong in ("/none", "/file"):
        with pytest.raises(VolcopyError):
            copier.copy(sources, f"{at}:{wrong}")
    with pytest.raises(VolcopyError):
        copier.copy([*sources, str(src / "none")], f"{at}:/to")
    assert sorted(texts(docker, at, "/to")) == ["to/x"]
    report = copier.copy(sources, f"{at}:/to")
    assert report.ok
    assert len(report.landed) == 3
    assert texts(docker, at, "/to") == {
        "to/a.ipynb": "a",
        "to/c.csv": "c",
        "to/other/a.ipynb": "other",
        "to/x": "x",
    }


def test_options_that_streams_do_not_have_are_refused(
    docker: Docker, container: Callable[..., str], dcp: Command
) -> None:
    name = container("created")
    for options in (["--update"], ["--exclude", "x"], ["--max-size", "0"], ["--verify"]):
        for sides in (("-", f"{name}:/tmp"), (f"{name}:/etc", "-")):
            refused = dcp(*options, *sides, stdin=b"")
            assert refused.code == 1
            assert "does not go with -" in refused.err
    assert dcp("--strict", "-", f"{name}:/tmp", stdin=b"").code == 0
