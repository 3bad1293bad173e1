"""Completion of an unfinished line: options, containers, paths inside; the scripts themselves."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.cli import completion
from jupyter_volcopy.cli.completion import candidates, escape, split_line
from jupyter_volcopy.cli.door import Door


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a busy machine may need."""
    monkeypatch.setattr(completion, "_PATIENCE", 60.0)


@pytest.mark.parametrize(
    ("line", "words", "quoted"),
    [
        ("dcp ", ["dcp", ""], False),
        ("dcp a b", ["dcp", "a", "b"], False),
        ("sudo dcp a\\ b", ["dcp", "a b"], False),
        ("x | /usr/bin/dcp 'a b", ["dcp", "a b"], True),
        ("%dcp lab:/x", ["dcp", "lab:/x"], False),
        ('volcopy ls "lab:/my d', ["volcopy", "ls", "lab:/my d"], True),
    ],
)
def test_split(line: str, words: list[str], quoted: bool) -> None:
    assert split_line(line) == (words, quoted)


def test_escape_is_read_back_by_a_shell() -> None:
    for word in ("a b", "it's", "a&b;c$d`e`", "教程 1", "(x)[y]*?"):
        assert shlex.split(escape(word)) == [word]


def test_options() -> None:
    door = Door(address="unix:///nowhere")
    assert candidates(["dcp", "--exclude-"], door) == ["--exclude-from="]
    assert candidates(["dcp", "--access", "d"], door) == ["direct"]
    assert candidates(["dcp", "--access=d"], door) == ["--access=direct"]
    assert candidates(["volcopy", "p"], door) == ["ps"]
    assert candidates(["volcopy", "ls", "--rec"], door) == ["--recursive"]
    assert candidates(["volcopy", "completion", "z"], door) == ["zsh"]


def test_without_engine_local_paths_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.txt").touch()
    (tmp_path / "only").mkdir()
    (tmp_path / "on:e").touch()
    monkeypatch.chdir(tmp_path)
    found = candidates(["dcp", "on"], Door(address="unix:///nowhere"))
    assert found == ["./on:e", "one.txt", "only/"]


def test_containers_and_paths(container: Any, docker: Any) -> None:
    name = container()
    docker.sh(name, "mkdir -p '/data/sub dir' && touch /data/some.csv /data/other")
    with Door() as door:
        assert f"{name}:" in candidates(["dcp", name[:-2]], door)
        found = candidates(["dcp", f"{name}:/data/s"], door)
        assert found == [f"{name}:/data/some.csv", f"{name}:/data/sub dir/"]
        assert f"{name}:/data/" in candidates(["volcopy", "ls", f"{name}:"], door)
        assert candidates(["dcp", f"{name}:/nowhere/"], door) == []
        assert candidates(["dcp", f"no-{name}:/"], door) == []


def test_bash(container: Any, docker: Any, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    name = container()
    docker.sh(name, "mkdir /data && touch '/data/a b.csv'")
    tool = tmp_path / "volcopy"
    root = Path(__file__).resolve().parent.parent.parent
    tool.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        "from jupyter_volcopy.cli import completion, volcopy\n"
        "completion._PATIENCE = 60.0\nsys.exit(volcopy.main())\n"
    )
    tool.chmod(0o755)
    script = f"""
    PATH={tmp_path}:$PATH
    eval "$(volcopy completion bash)"
    COMP_LINE='dcp {name}:/data/a'
    COMP_POINT=${{#COMP_LINE}}
    _volcopy_complete
    printf '[%s]' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, timeout=120)
    # bash cuts words at the colon, so only what follows it is answered
    assert done.stdout == r"[/data/a\ b.csv ]", done.stderr
