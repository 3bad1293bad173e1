"""The command `volcopy` as a real process: its parser, `ps`, `ls`, `clean`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.cli.volcopy import COMMANDS, command_parser
from jupyter_volcopy.core.journal import state_directory

HEX = "0123456789abcdef"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_parts(name: str) -> None:
    module = importlib.import_module(COMMANDS[name])
    assert module.SUMMARY and "\n" not in module.SUMMARY and len(module.SUMMARY) <= 66
    assert callable(module.add_arguments) and callable(module.run)


def test_help(volcopy: Any) -> None:
    page = volcopy("--help").ok().out
    assert all(f"\n  {name} " in page for name in COMMANDS)
    assert max(len(line) for line in page.splitlines()) <= 80
    assert "CONTAINER:PATH" in volcopy("ls", "--help").ok().out
    assert volcopy("help", "ls").ok().out == volcopy("ls", "--help").out
    assert volcopy("--version").ok().out.startswith("volcopy ")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_fits_a_terminal(name: str) -> None:
    page = command_parser(name).format_help()
    assert [line for line in page.splitlines() if len(line) > 80] == []


def test_bad_lines(volcopy: Any) -> None:
    done = volcopy()
    assert done.code == 1 and "Usage:" in done.out
    done = volcopy("lss", "c:/")
    assert done.code == 1 and "did you mean `volcopy ls`?" in done.err
    done = volcopy("ls", "--zzz", "c:/")
    assert done.code == 125 and "--zzz" in done.err
    assert "`volcopy ls --help`" in done.err
    done = volcopy("--zzz")
    assert done.code == 125 and "--zzz" in done.err and not done.out
    done = volcopy("ls", "local", "--json")
    assert done.code == 1 and done.json()["code"] == "usage"
    assert volcopy("ps", "--host", "unix:///nowhere.sock").code == 7
    assert volcopy("--host", "unix:///nowhere.sock", "ps").code == 7


def test_ps(container: Any, volcopy: Any) -> None:
    running = container("running", "--user", "1000:100", "-v", "/data")
    created = container("created")
    assert {running, created} <= set(volcopy("ps", "-q").ok().out.split())
    # of these two only: what else is on the engine may keep it busy, and `ps` does not wait for ever
    lines = volcopy("ps", running, created).ok().out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "IMAGE", "USER", "MOUNTS"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows[running][0] == "running" and rows[running][2:] == ["1000:100", "1"]
    assert rows[created][0] == "created" and rows[created][2:] == ["root", "0"]
    found = {item["name"]: item for item in volcopy("ps", "--json", running).ok().json()}
    assert found[running]["state"] == "running" and found[running]["user"] == "1000:100"
    assert "env" not in found[running]
    assert volcopy("ps", "-q", created).ok().out.split() == [created]


TREE = """
mkdir -p /data/sub && cd /data && printf 'hello' > a.txt && chmod 640 a.txt && chown 1000:100 a.txt
ln -s a.txt link && touch "$(printf 'new\\nline')" && touch -d '2020-05-06 07:08:09' a.txt
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_ls(container: Any, docker: Any, volcopy: Any, stopped: bool) -> None:
    name = container()
    docker.sh(name, TREE)
    if stopped:
        docker("kill", name)
        docker("wait", name)
    found = volcopy("ls", f"{name}:/data", "--json").ok().json()
    assert found["complete"] is True
    entries = {item["name"]: item for item in found["entries"]}
    assert list(entries) == ["a.txt", "link", "new\\x0aline", "sub"]
    entry = entries["a.txt"]
    assert (entry["kind"], entry["mode"], entry["size"]) == ("file", "0640", 5)
    assert (entry["uid"], entry["gid"]) == (1000, 100)
    assert entry["modified"] == "2020-05-06T07:08:09Z"
    assert entries["link"]["link_target"] == "a.txt"
    lines = volcopy("ls", f"{name}:/data").ok().out.splitlines()
    assert len(lines) == 5
    assert lines[1].startswith("-rw-r-----") and lines[1].endswith("a.txt")
    assert lines[2].startswith("l") and lines[2].endswith("link -> a.txt")
    assert "\\x0a" in lines[3] and lines[4].startswith("drwx")
    one = volcopy("ls", f"{name}:/data/a.txt").ok().out.splitlines()
    assert len(one) == 2 and one[1].endswith("a.txt")
    assert one[1].split()[1:4] == ["nb", "users", "5"]
    assert "/data/none in container" in volcopy("ls", f"{name}:/data/none").err
    names = volcopy("ls", "-R", "--names", f"{name}:/data/").ok().out.splitlines()
    assert "sub" in names and "a.txt" in names


def test_ls_of_a_volume(container: Any, docker: Any, volume: Any, volcopy: Any) -> None:
    data = volume()
    name = container("running", "-v", f"{data}:/mnt")
    docker.write(name, "/mnt/f", b"x")
    assert volcopy("ls", "--names", f"volume={data}:/").ok().out == "f\n"
    docker("rm", "-fv", name)
    assert volcopy("ls", "--names", f"volume={data}:").ok().out == "f\n"
    assert volcopy("ls", "volume=no-such-volume-here:/").code == 1


def test_ls_of_nothing(container: Any, volcopy: Any) -> None:
    done = volcopy("ls", "no-such-container-here:/")
    assert done.code == 1 and "No such container" in done.err
    done = volcopy("ls", f"{container()}:/nowhere")
    assert done.code == 1 and "Could not find the file" in done.err and "Traceback" not in done.err


def _dead(*lines: str) -> None:
    """A journal whose process is gone."""
    directory = Path(state_directory())
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "1-dead").write_text("".join(line + "\n" for line in lines))


def test_clean_local(volcopy: Any, tmp_path: Path) -> None:
    ours, alike = tmp_path / f".volcopy-{HEX}", tmp_path / "sub" / f".volcopy-{HEX[::-1]}"
    alike.parent.mkdir()
    ours.write_text("half")
    alike.write_text("mine")
    info = ours.stat()
    _dead(f"L\t1\t1\t{tmp_path}\t{ours.name}\t{info.st_dev}\t{info.st_ino}")
    (tmp_path / "elsewhere").mkdir()
    assert "nothing of ours" in volcopy("clean", str(tmp_path / "elsewhere")).ok().out
    done = volcopy("clean", str(tmp_path)).ok()
    assert f"removed {ours}" in done.out
    assert f"left alone, not in our journal: {alike}" in done.out
    assert not ours.exists() and alike.read_text() == "mine"
    assert volcopy("clean", "--json").ok().json() == {
        "removed": [],
        "failed": [],
        "looks_like_ours": [],
    }


def test_clean_says_what_is_wrong(volcopy: Any, docker: Any) -> None:
    for place in ("./no/such", "no-such-container-here", "no-such-container-here:/tmp"):
        done = volcopy("clean", place)
        assert done.code == 1 and done.err and "Traceback" not in done.err


@pytest.mark.parametrize("state", ["running", "stopped"])
@pytest.mark.parametrize("where", ["", "name", "directory"])
def test_clean_in_a_container(
    container: Any, docker: Any, volcopy: Any, state: str, where: str
) -> None:
    name = container()
    docker.sh(name, f"mkdir /data && touch /data/.volcopy-{HEX} /data/.volcopy-{HEX[::-1]}")
    if state == "stopped":
        docker("kill", name)
        docker("wait", name)
    ident = docker.inspect(name)["Id"]
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    _dead(f"C\t1\t1\t{address}\t{ident}\t/data\t.volcopy-{HEX}")
    place = {"": [], "name": [name], "directory": [f"{name}:/data"]}[where]
    done = volcopy("clean", *place).ok()
    assert f"removed {name}:/data/.volcopy-{HEX}" in done.out
    assert (f".volcopy-{HEX[::-1]}" in done.out) is (where == "directory")
    if state == "running":
        assert docker.sh(name, "ls -A /data") == f".volcopy-{HEX[::-1]}"
    assert "nothing of ours" in volcopy("clean").ok().out


def test_clean_after_the_container_is_gone(volcopy: Any, docker: Any) -> None:
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    _dead(f"C\t1\t1\t{address}\t{'0' * 64}\t/data\t.volcopy-{HEX}")
    assert "nothing of ours" in volcopy("clean").ok().out
    assert not os.listdir(state_directory())


def test_python_module_is_the_command() -> None:
    import subprocess

    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_volcopy", "--version"],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.startswith("volcopy ")
