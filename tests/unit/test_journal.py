"""The journal: what dead processes left is removed, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from jupyter_volcopy.core.journal import Journal, remove_tree, state_directory
from jupyter_volcopy.core.stage import Stage
from tests.unit.local_setup import D, F, contents, copy, fill, look, put, small_disk


@pytest.fixture
def place():
    root = tempfile.mkdtemp(prefix="volcopy-test-")
    os.mkdir(root + "/in")
    try:
        yield root
    finally:
        shutil.rmtree(root)


def dead(place: str, code: str) -> None:
    """Run `code` in a process that is then killed."""
    head = (
        "import os, signal, sys\n"
        "from jupyter_volcopy.core.journal import Journal\n"
        "from jupyter_volcopy.core.stage import Stage\n"
        "from tests.unit.local_setup import *\n"
        f"place = {place!r}\n"
        "journal = Journal(place + '/journal')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + code + "\nos.kill(os.getpid(), signal.SIGKILL)"],
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


STAGED = """
stage = Stage(place + "/in", "t", safe=False, owner=None, journal=journal)
fill(stage, [D(""), D("r", 0), F("r/x", bytes(1000)), D("s"), F("s/y")])
one = Stage(place + "/in", "f", safe=False, owner=None, journal=journal)
fill(one, [F("", b"new")])
"""


def test_what_a_killed_copy_left_is_removed_by_the_next_one(place):
    put(place + "/in/f", b"old")
    dead(place, STAGED)
    assert len(os.listdir(place + "/in")) == 3
    found = Journal.leftovers(place + "/journal")
    assert [(item.kind, item.directory) for item in found] == [("local", place + "/in")] * 2
    assert all(item.inode and item.name.startswith(".volcopy-") for item in found)
    journal = Journal(place + "/journal")
    copy(place + "/in", "g", [F("", b"G")], journal=journal)
    assert contents(place + "/in") == {"f": b"old", "g": b"G"}
    journal.close()
    assert os.listdir(place + "/journal") == []


def test_leftovers_elsewhere_are_left_until_asked_for(place):
    dead(place, STAGED)
    os.mkdir(place + "/other")
    journal = Journal(place + "/journal")
    copy(place + "/other", "g", [F("")], journal=journal)
    assert len(os.listdir(place + "/in")) == 2
    assert journal.sweep_local(place + "/other") == []
    os.symlink("in", place + "/link")
    removed = journal.sweep_local(place + "/link")
    assert sorted(os.path.dirname(path) for path in removed) == [place + "/in"] * 2
    assert os.listdir(place + "/in") == []
    assert journal.sweep_local() == []
    journal.close()


def test_what_is_not_ours_any_more_survives(place):
    dead(place, STAGED)
    for name in os.listdir(place + "/in"):
        path = f"{place}/in/{name}"
        os.rename(path, path + ".moved")
        put(path, b"somebody else's")
    before = look(place + "/in")
    journal = Journal(place + "/journal")
    assert journal.sweep_local() == []
    assert look(place + "/in") == before
    journal.close()


def test_what_a_living_process_holds_survives(place):
    journal, other = Journal(place + "/journal"), Journal(place + "/journal")
    with Stage(place + "/in", "t", safe=False, owner=None, journal=journal) as stage:
        fill(stage, [D(""), F("x")])
        assert other.sweep_local() == []
        assert Journal.leftovers(place + "/journal") == []
        copy(place + "/in", "g", [F("")], journal=other)
        stage.commit()
    assert sorted(contents(place + "/in")) == ["g", "t", "t/x"]
    journal.close()
    other.close()


def test_killed_between_announcing_and_making(place):
    dead(place, 'journal.local(place + "/in", ".volcopy-0000000000000001")')
    put(place + "/in/.volcopy-0000000000000002")
    journal = Journal(place + "/journal")
    assert journal.sweep_local() == []
    assert os.listdir(place + "/in") == [".volcopy-0000000000000002"]
    journal.close()
    assert os.listdir(place + "/journal") == []


def test_names_and_places_survive_the_writing(place):
    directory = place + "/a\tb\nc\\t\udcff教"
    os.mkdir(directory)
    dead(
        place,
        f"journal.local({directory!r}, 'x\\ty', 5, 6)\n"
        "journal.container('unix:///s', 'f' * 64, '/data\\n', '.volcopy-1')\n"
        "journal.done(journal.local(place, 'gone', 1, 1))",
    )
    local, container = Journal.leftovers(place + "/journal")
    assert (local.directory, local.name, local.device, local.inode) == (directory, "x\ty", 5, 6)
    assert (container.engine, container.container) == ("unix:///s", "f" * 64)
    assert (container.directory, container.name) == ("/data\n", ".volcopy-1")
    journal = Journal(place + "/journal")
    assert journal.sweep_local() == []
    assert [item.kind for item in Journal.leftovers(place + "/journal")] == ["container"]
    journal.forget(container)
    assert Journal.leftovers(place + "/journal") == []
    assert os.listdir(place + "/journal") == []


def test_torn_and_foreign_lines_are_passed_over(place):
    os.mkdir(place + "/journal")
    put(
        place + "/journal/1-x",
        b"L\t1\t1\t/d\tn\t1\t2\nrubbish\nL\tx\nL\t2\t1\t/d\tm\t1\nL\t3\t1\t/d\tq\t1\t2",
    )
    os.utime(place + "/journal/1-x", (1, 1))
    assert [item.name for item in Journal.leftovers(place + "/journal")] == ["n"]
    os.mkdir(place + "/journal/directory")
    os.symlink("/etc/passwd", place + "/journal/link")
    assert [item.name for item in Journal.leftovers(place + "/journal")] == ["n"]


@pytest.mark.parametrize("where", ["/proc/nowhere", "/dev/null/x"])
def test_a_journal_that_cannot_be_written_fails_no_copy(place, where):
    journal = Journal(where)
    copy(place + "/in", "f", [F("", b"new")], journal=journal)
    assert journal.path == "" and journal.sweep_local() == []
    assert contents(place + "/in") == {"f": b"new"}
    journal.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk")
def test_a_full_disk_under_the_journal_fails_no_copy(place):
    with small_disk(place + "/journal", "64k") as disk:
        put(disk + "/fill", b"")
        with open(disk + "/fill", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        journal = Journal(disk)
        copy(place + "/in", "f", [F("", b"new")], journal=journal)
        journal.close()
    assert contents(place + "/in") == {"f": b"new"}


def test_a_long_journal_starts_anew(place):
    journal = Journal(place + "/journal")
    for _ in range(2000):
        journal.done(journal.local(place, ".volcopy-x", 1, 2))
    assert os.stat(journal.path).st_size < 100_000
    token = journal.local(place, ".volcopy-y", 1, 2)
    with open(journal.path, "rb") as file:
        assert b".volcopy-y" in file.read()
    journal.done(token)
    journal.close()


def test_state_directory(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_directory() == "/state/jupyter-volcopy/journal"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/jo")
    assert state_directory() == "/home/jo/.local/state/jupyter-volcopy/journal"


def test_remove_tree_follows_nothing(place):
    put(place + "/outside/x", b"x")
    path = place + "/in/t"
    put(path + "/a/b/f")
    os.symlink(place + "/outside", path + "/a/l")
    deep = path
    for i in range(30):
        deep += f"/d{i}"
    os.makedirs(deep)
    fd = os.open(place + "/in", os.O_RDONLY)
    remove_tree(fd, b"t")
    put(place + "/in/f")
    remove_tree(fd, b"f")
    with pytest.raises(FileNotFoundError):
        remove_tree(fd, b"f")
    os.close(fd)
    assert os.listdir(place + "/in") == [] and contents(place + "/outside") == {"x": b"x"}
