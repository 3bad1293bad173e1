"""Whose the files are: pushed (case O05) and pulled (case O06)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.errors import UsageError, VolcopyError
from tests.choice.conftest import fill, make, members
from tests.conftest import ROOT, Docker, command_line
from tests.faults.conftest import NOBODY, nobody_prefix

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


def owner(docker: Docker, name: str, path: str) -> tuple[int, int]:
    item = members(docker, name, path)[path.rpartition("/")[2]]
    return item.uid, item.gid


@root_only
@pytest.mark.parametrize("state", ["running", "stopped"])
@pytest.mark.parametrize("user", ["", "1000:1000", "nb"])
def test_pushed(
    docker: Docker,
    container: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
    user: str,
    state: str,
) -> None:
    name = container(state, *(["--user", user] if user else []))
    fill(docker, name, make(tmp_path / "place", {"home/nb/own/x": "x"}))
    make(tmp_path, {"f.ipynb": "{}"})
    source = tmp_path / "f.ipynb"
    os.chown(source, 1234, 2345)
    os.chmod(source, 0o640)
    own = tmp_path / "own"
    own.mkdir()
    os.chown(own, 77, 88)
    docker("cp", str(own), f"{name}:/home/nb/")

    expected = {
        "plain": (1234, 2345),
        "5": (5, 5),
        "1000": (1000, 100),  # the group of its account
        "5:6": (5, 6),
        "nb": (1000, 100),
        "nb:root": (1000, 0),
        "directory": (77, 88),
        "container": {"": (0, 0), "1000:1000": (1000, 1000), "nb": (1000, 100)}[user],
    }
    for chown in expected:
        options = {} if chown == "plain" else {"chown": chown}
        assert copier.copy(str(source), f"{name}:/home/nb/own/f-{chown}", **options).ok
    found = members(docker, name, "/home/nb/own")
    assert {
        chown: (found[f"own/f-{chown}"].uid, found[f"own/f-{chown}"].gid) for chown in expected
    } == expected
    for wrong in ("nobody-here", "nb:no-group", "a:b:c", ":"):
        with pytest.raises(VolcopyError):
            copier.copy(str(source), f"{name}:/home/nb/own/wrong", chown=wrong)
    if user and state == "running":  # the notebook's user opens and saves it
        own_file = "/home/nb/own/f-container"
        docker("exec", name, "sh", "-c", f"cat {own_file} && echo saved > {own_file}")
        assert docker.read(name, own_file) == b"saved\n"


def test_the_user_of_a_jupyter_image(
    docker: Docker, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    name = container("created", "--user", "root", "-e", "NB_UID=1000", "-e", "NB_GID=100")
    make(tmp_path, {"d/f": "x"})
    copier.copy(str(tmp_path / "d"), f"{name}:/home/nb2", chown="container")
    assert {(i.uid, i.gid) for i in members(docker, name, "/home/nb2").values()} == {(1000, 100)}


def test_copied_between_containers(
    docker: Docker, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    source, target = container("created"), container("created")
    fill(docker, source, make(tmp_path / "s", {"d/f": "x"}))
    copier.copy(f"{source}:/d", f"{target}:/tmp/", chown="nb")
    assert owner(docker, target, "/tmp/d") == (1000, 100)


@root_only
def test_pulled(docker: Docker, some_state: str, copier: Copier, tmp_path: Path) -> None:
    root = make(tmp_path / "src", {"d/f": "x"})
    os.chown(root / "d/f", 1000, 100)
    os.chmod(root / "d/f", 0o600)
    os.chown(root / "d", 1001, 101)
    fill(docker, some_state, root)

    def pulled(where: str, **options: object) -> list[tuple[int, int]]:
        out = tmp_path / where
        assert copier.copy(f"{some_state}:/d", str(out), **options).ok
        return [(p.stat().st_uid, p.stat().st_gid) for p in (out, out / "f")]

    assert pulled("plain") == [(0, 0), (0, 0)]
    assert pulled("archive", archive=True) == [(0, 0), (0, 0)]
    for nobody in ("99999999999", "\u00b2", "no-such-user-here", "0:no-such-group", "1:"):
        with pytest.raises(UsageError, match="no user or group"):
            pulled("none", chown=nobody)
    assert pulled("numeric", numeric_owner=True) == [(1001, 101), (1000, 100)]
    assert pulled("given", chown="5:6") == [(5, 6), (5, 6)]
    assert pulled("named", chown="root:root") == [(0, 0), (0, 0)]
    with pytest.raises(UsageError):
        pulled("wrong", chown="no-such-user-here")
    assert (tmp_path / "given/f").stat().st_mode & 0o7777 == 0o600


@root_only
def test_pulled_by_somebody_else(
    docker: Docker, container: Callable[..., str], tmp_path: Path
) -> None:
    """Without root's power: their own uid and a note, no error."""
    name = container("created")
    root = make(tmp_path / "src", {"d/f": "x"})
    os.chown(root / "d/f", 1000, 100)
    fill(docker, name, root)
    place = tmp_path / "theirs"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == 0 and not path.stat().st_mode & 0o005:
            os.chmod(path, 0o755)
    address = docker("context", "inspect", "-f", "{{.Endpoints.docker.Host}}")
    socket = address.removeprefix("unix://")
    if not os.path.exists(socket) or os.stat(socket).st_mode & 0o060 != 0o060:
        pytest.skip("others cannot reach the engine's socket here")
    group = f"--groups={os.stat(socket).st_gid}"
    prefix = [group if word == "--clear-groups" else word for word in nobody_prefix()]
    for options in (["--numeric-owner"], ["--chown", "5:6"]):
        out = place / options[0]
        done = subprocess.run(
            [*prefix, *command_line("dcp"), *options, "--json", f"{name}:/d", str(out)],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "HOME": str(place),
                "XDG_STATE_HOME": str(place),
            },
            cwd=place,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "owner" in {note["code"] for note in json.loads(done.stdout)["warnings"]}
        found = (out / "f").stat()
        assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY)


@root_only
def test_as_a_directory_that_only_processes_see(
    docker: Docker, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    """A directory in a tmpfs: the engine's own stat does not reach it."""
    name = container("running", "--tmpfs", "/fast")
    docker.sh(name, "mkdir /fast/sub && chown 77:88 /fast/sub")
    make(tmp_path, {"f.ipynb": "{}"})
    source = str(tmp_path / "f.ipynb")
    assert copier.copy(source, f"{name}:/fast/sub/new", chown="directory", access="api").ok
    assert docker.sh(name, "stat -c %u:%g /fast/sub/new") == "77:88"
