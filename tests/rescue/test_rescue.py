"""Rescue and restore, on the engine: exactly what is lost, and back again as it was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import traceback
from importlib import import_module

import pytest

from jupyter_volcopy.core.control import Cancel
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.keep_manifest import Saved
from jupyter_volcopy.core.keep_sinks import sink_for
from jupyter_volcopy.core.model import Entry, Kind
from tests.conftest import PREFIX, wait_for
from tests.rescue.conftest import FILL, helpers, tree

PLACES = ("directory", "tar", "volume")


@pytest.fixture
def place(request, tmp_path, docker):
    """A place for a rescue by the kind asked for, and what is there is removed."""
    kind = getattr(request, "param", "directory")
    if kind == "directory":
        yield str(tmp_path / "saved")
    elif kind == "tar":
        yield str(tmp_path / "saved.tar")
    else:
        name = f"{PREFIX}-saved{os.urandom(3).hex()}"
        yield f"volume={name}"
        docker.raw("volume", "rm", "-f", name)


def entries(path) -> dict[str, dict]:
    with open(os.path.join(path, "manifest.json"), "rb") as file:
        return {item["path"]: item for item in json.load(file)["entries"]}


def files(found: dict[str, dict]) -> set[str]:
    return {path for path, item in found.items() if item["kind"] != "directory"}


@pytest.mark.parametrize("how", ["rm", "rm-v", "recreate"])
def test_exactly_what_is_lost(docker, container, volume, volcopy, tmp_path, how):
    named = volume()
    name = container("running", "-v", f"{named}:/named", "-v", "/nameless", "--tmpfs", "/memory")
    docker.sh(
        name,
        "echo l > /layer; mkdir -p /deep/er; echo d > /deep/er/f; echo x >> /etc/passwd;"
        "echo n > /named/kept; echo a > /nameless/a; echo m > /memory/m; rm /bin/true",
    )
    volcopy("rescue", name, str(tmp_path / "to"), "--how", how).ok()
    found = entries(tmp_path / "to")
    lost = {"/layer", "/deep/er/f", "/etc/passwd", "/memory/m"}
    if how != "rm":
        lost.add("/nameless/a")
    assert files(found) == lost
    forecast = volcopy("forecast", name, "--how", how, "--json").ok().json()
    said = {item["path"] for item in forecast["lost"] if "path" in item}
    assert said <= set(found)
    for path in lost:
        data = docker.read(name, path)
        assert found[path]["sha256"] == hashlib.sha256(data).hexdigest()
        assert found[path]["bytes"] == len(data)
        assert (tmp_path / "to" / "data" / path[1:]).read_bytes() == data
    left = {
        os.path.join(top, one)[len(str(tmp_path / "to" / "data")) :]
        for top, _, names in os.walk(tmp_path / "to" / "data")
        for one in names
    }
    assert left == lost


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_there_and_back(docker, container, volcopy, place):
    name = container("running", "-v", "/home/nb/data")
    for where in ("/home/nb", "/home/nb/data"):
        docker("exec", "-u", "0", name, "sh", "-c", FILL, "sh", where)
    docker.sh(name, "chown 1000:50 /home/nb/data; chmod 2775 /home/nb/data")
    before = tree(docker, name, "/home/nb/w", "/home/nb/data")
    docker("stop", "-t", "0", name)
    done = volcopy("rescue", name, place, "--how", "rm-v").ok()
    if place.startswith("volume="):
        assert f"made {place}" in done.out
        assert not helpers(docker, place.removeprefix("volume="))
    docker("rm", "-v", name)
    state = "running" if place.endswith("saved") else "created"
    other = container(state, "-v", "/home/nb/data")
    back = volcopy("restore", place, other).ok()
    if state == "created":
        docker("start", other)
    assert tree(docker, other, "/home/nb/w", "/home/nb/data") == before
    assert "/home/nb/w: " in back.err and "writable layer" in back.err
    assert not docker.sh(other, "find / -xdev -name '.volcopy-*'")


def test_a_container_that_never_ran_and_has_no_program(
    docker, container, volcopy, empty_image, tmp_path
):
    name = container("created", "-v", "/anon", image=empty_image, command=("none",))
    for text, where in (("layer", "/f"), ("volume", "/anon/f")):
        (tmp_path / text).write_text(text)
        docker("cp", str(tmp_path / text), f"{name}:{where}")
    volcopy("rescue", name, "to", "--how", "rm-v").ok()
    assert (tmp_path / "to/data/f").read_text() == "layer"
    assert (tmp_path / "to/data/anon/f").read_text() == "volume"
    assert files(entries(tmp_path / "to")) == {"/f", "/anon/f"}


def test_powers_are_recorded_and_not_made(docker, container, volcopy, tmp_path):
    name = container()
    docker.sh(
        name,
        "mkdir /p; echo x > /p/suid; chmod 4755 /p/suid; mkfifo /p/pipe; mknod /p/dev c 1 3;"
        "chmod 2775 /p",
    )
    done = volcopy("rescue", name, "to").ok()
    found = entries(tmp_path / "to")
    assert found["/p/suid"]["mode"] == "4755" and found["/p"]["mode"] == "2775"
    assert (tmp_path / "to/data/p/suid").stat().st_mode & 0o7000 == 0
    for path, kind in (("/p/pipe", "fifo"), ("/p/dev", "character device")):
        assert found[path]["kind"] == kind and found[path]["left_out"]
        assert not os.path.lexists(tmp_path / "to/data" / path[1:])
        assert f"{path}: a {kind}" in done.err
    volcopy("rescue", name, "to.tar").ok()
    with tarfile.open(tmp_path / "to.tar") as tar:
        assert not [
            member
            for member in tar
            if member.mode & 0o6000 or not (member.isreg() or member.isdir())
        ]
    other = container()
    docker.sh(other, "mkdir /p; echo old > /p/suid; chmod 4755 /p/suid")
    back = volcopy("restore", "to", other).ok()
    assert docker.sh(other, "stat -c %a /p/suid; cat /p/suid; ls /p") == "755\nx\nsuid"
    assert "/p/suid: the set-id bit is not restored" in back.err


def test_a_name_that_is_no_text(docker, container, volcopy, tmp_path):
    name = container()
    docker.sh(name, r"""mkdir /d; echo x > "$(printf '/d/b\377')"; chown 5:6 /d/*""")
    volcopy("rescue", name, "to").ok()
    assert (os.fsencode(tmp_path) + b"/to/data/d/b\xff") and os.listdir(
        os.fsencode(tmp_path) + b"/to/data/d"
    ) == [b"b\xff"]
    other = container()
    volcopy("restore", "to", other).ok()
    assert docker.sh(other, r"""cat "$(printf '/d/b\377')"; stat -c '%u %g' /d/*""") == "x\n5 6"


def _damage(kind: str, path: str) -> None:
    if kind == "a byte":
        with open(path + "/data/d/f", "r+b") as file:
            file.write(b"X")
    elif kind == "a file":
        os.unlink(path + "/data/d/f")
    elif kind == "a link instead":
        os.unlink(path + "/data/d/f")
        os.symlink("/etc/passwd", path + "/data/d/f")
    elif kind == "no manifest":
        os.unlink(path + "/manifest.json")
    else:
        with open(path + "/manifest.json", "r+b") as file:
            text = file.read()
            if kind == "manifest":
                text = text.replace(b'"path":"/d/f"', b'"path":"/d/g"')
            elif kind == "half a manifest":
                text = text[: len(text) // 2]
            file.seek(0)
            file.truncate()
            file.write(text)


def test_a_damaged_rescue_is_refused(docker, container, volcopy, tmp_path):
    name, other = container("created"), container("created")
    (tmp_path / "d").mkdir()
    for one in "fg":
        (tmp_path / "d" / one).write_text(one)
    docker("cp", str(tmp_path / "d"), f"{name}:/d")
    volcopy("rescue", name, "to").ok()
    before = docker("diff", other)
    for kind in (
        "a byte",
        "a file",
        "a link instead",
        "no manifest",
        "manifest",
        "half a manifest",
    ):
        shutil.copytree(tmp_path / "to", tmp_path / kind)
        _damage(kind, str(tmp_path / kind))
        done = volcopy("restore", kind, other)
        assert done.code == 1 and done.err, kind
    assert docker("diff", other) == before
    volcopy("restore", "to", other).ok()


def test_a_cut_tar_is_refused(docker, container, volcopy, tmp_path):
    name = container("created")
    (tmp_path / "f").write_bytes(os.urandom(100_000))
    docker("cp", str(tmp_path / "f"), f"{name}:/f")
    volcopy("rescue", name, "to.tar").ok()
    whole = (tmp_path / "to.tar").read_bytes()
    other = container("created")
    for size in (len(whole) // 2, len(whole) - 2048, 512, 0):
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        assert volcopy("restore", "cut.tar", other).code == 1
    assert docker("diff", other) == ""
    volcopy("restore", "to.tar", other).ok()


def test_what_stands_in_the_way(docker, container, volume, volcopy, tmp_path):
    name = container("created")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "old.tar").write_text("mine")
    used = volume()
    user = container("running", "-v", f"{used}:/v")
    docker.sh(user, "echo mine > /v/mine")
    for place in ("full", "old.tar", f"volume={used}", "no/such/place", f"{name}:/x", "x.tar.gz"):
        done = volcopy("rescue", name, place)
        assert done.code and done.err, place
    assert os.listdir(tmp_path / "full") == ["mine"]
    assert (tmp_path / "old.tar").read_text() == "mine"
    assert docker.sh(user, "ls /v") == "mine"
    assert sorted(os.listdir(tmp_path)) == ["full", "old.tar"]
    (tmp_path / "empty").mkdir()
    volcopy("rescue", name, "empty").ok()
    assert sorted(os.listdir(tmp_path / "empty")) == ["data", "manifest.json"]


def test_read_only_and_conflicts_change_nothing(docker, container, volcopy, tmp_path):
    name = container()
    docker.sh(name, "mkdir /d; echo 1 > /d/f; echo 2 > /other")
    volcopy("rescue", name, "to").ok()
    closed = container("created", "--read-only")
    done = volcopy("restore", "to", closed)
    assert done.code == 1 and "read-only" in done.err
    crossed = container()
    docker.sh(crossed, "mkdir -p /d/f/inside")
    done = volcopy("restore", "to", crossed)
    assert done.code == 1 and "cannot overwrite directory" in done.err
    assert docker.sh(crossed, "ls /d /d/f; ls /other 2>&1 || true").startswith("/d:\nf\n")
    assert "No such file" in docker.sh(crossed, "ls /other 2>&1 || true")


@pytest.mark.parametrize("place", ["tar", "volume"], indirect=True)
def test_killed_nothing_has_the_final_name(docker, container, volcopy, tmp_path, place, home):
    name = container()
    docker.sh(name, "for i in 1 2 3 4; do head -c 9000000 /dev/urandom > /big$i; done")
    volume = place.removeprefix("volume=") if place.startswith("volume=") else ""
    process = volcopy.start("rescue", name, place)

    def begun() -> bool:
        if volume:
            return bool(helpers(docker, volume))
        return any(one.startswith(".volcopy-") for one in os.listdir(tmp_path))

    wait_for(lambda: process.poll() is not None or begun(), "the rescue to begin")
    process.kill()
    process.communicate()
    if volume:
        volcopy("clean").ok()
        assert not helpers(docker, volume)
        there = docker.raw("volume", "inspect", volume).returncode == 0
    else:
        there = os.path.lexists(place)
    # it may have been done before the kill came: then it is whole, which `restore` checks below
    assert there or process.returncode
    if not there:
        volcopy("rescue", name, place).ok()
        assert not [one for one in os.listdir(tmp_path) if one.startswith(".volcopy-")]
    other = container("created")
    volcopy("restore", place, other).ok()


def test_a_signal_takes_it_all_back(docker, container, volume, volcopy):
    name = container()
    docker.sh(name, "head -c 30000000 /dev/urandom > /big")
    new = volume()
    docker("volume", "rm", new)
    process = volcopy.start("rescue", name, f"volume={new}")
    wait_for(lambda: process.poll() is not None or helpers(docker, new), "the rescue to begin")
    process.terminate()
    _, said = process.communicate(timeout=60)
    there = docker.raw("volume", "inspect", new).returncode == 0
    if process.returncode == 143:
        assert not there, said
    else:  # after its work, where a signal does what it does to any process
        assert process.returncode in (0, -15) and there, said
        volcopy("restore", f"volume={new}", container("created")).ok()
    assert not helpers(docker, new)


def test_nothing_to_lose(container, volcopy, tmp_path):
    name = container("created")
    done = volcopy("rescue", name, "to").ok()
    assert "would lose nothing" in done.out
    assert entries(tmp_path / "to") == {}


def _save_as(user: int, where: str) -> None:
    """A rescue of one file nobody may read, written as `user`; in a process of its own."""
    # what is imported late may lie where only root can read
    import_module("ctypes")
    import_module("fcntl")
    import_module("jupyter_volcopy.core.kernel")
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    sink = sink_for(None, where, Journal(where + "-journal"), Cancel())
    sink.add(Entry("data/d", Kind.DIRECTORY, 0o000, 5, 6), None)
    sink.add(Entry("data/d/f", Kind.FILE, 0o000, 5, 6, 1), lambda write: write(memoryview(b"x")))
    saved = Saved("/d/f", Kind.FILE, 1, sha256=hashlib.sha256(b"x").hexdigest())
    assert sink.check([saved]) == 1
    sink.commit(b"{}")
    assert "owners are only in the manifest" in str(sink.notes[0])


def test_as_somebody_else_the_data_and_no_owners():
    """Only root may use the socket here, so the place of a rescue is tried by itself."""
    if os.geteuid():
        pytest.skip("needs root to become somebody else")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        child = os.fork()
        if not child:
            try:
                _save_as(1234, directory + "/to")
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        info = os.stat(directory + "/to/data/d/f")
        assert info.st_uid == 1234 and info.st_mode & 0o400
