"""Another user of the host swaps a directory for a link while we write or read below it (S12)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

import pytest

from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.localfs import Tree
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.errors import VolcopyError
from tests.unit.local_setup import NOBODY, D, F, L, age, copy, look, needs_root, put

SWAPS = 10_000
DEADLINE = 90

pytestmark = [needs_root, pytest.mark.timeout(240)]


@pytest.fixture
def place():
    """`play` belongs to another user, `outside` to us; `play/evil` leads there."""
    root = tempfile.mkdtemp(prefix="volcopy-race-")
    os.chmod(root, 0o755)
    put(root + "/outside/x", b"secret", 0o600)
    put(root + "/outside/below/y", b"secret", 0o600)
    os.chmod(root + "/outside", 0o700)
    age(root + "/outside")
    os.mkdir(root + "/play")
    os.makedirs(root + "/play/sub/below")
    put(root + "/play/sub/x", b"theirs")
    put(root + "/play/sub/below/y", b"theirs")
    os.symlink(root + "/outside", root + "/play/evil")
    for path, names, files in os.walk(root + "/play"):
        for name in [".", *names, *files]:
            os.chown(os.path.join(path, name), NOBODY, NOBODY, follow_symlinks=False)
    try:
        yield root
    finally:
        shutil.rmtree(root)


@contextmanager
def swapping(root):
    """Yields a function that says how often the names were swapped so far."""
    script = os.path.join(os.path.dirname(__file__), "swapper.py")
    counter, stop = root + "/count", root + "/stop"
    process = subprocess.Popen(
        [sys.executable, script, str(NOBODY), root + "/play", "sub", "evil", counter, stop]
    )

    def swaps() -> int:
        assert process.poll() is None, "the swapper ended by itself"
        try:
            with open(counter) as file:
                return int(file.read() or 0)
        except FileNotFoundError:
            return 0

    try:
        yield swaps
        put(stop, b"")
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def rounds(swaps):
    """Go on until both sides have done enough, or the time is over."""
    deadline, done = time.monotonic() + DEADLINE, 0
    while time.monotonic() < deadline and not (swaps() >= SWAPS and done >= 100):
        yield done
        done += 1
    assert done, "not one round in all that time"


def test_nothing_outside_is_written(place):
    before = look(place + "/outside")
    nodes = [
        D("", 0o777),
        D("sub", 0o777, 5),
        F("sub/new", b"new", 0o666),
        D("sub/below", 0o777, 6),
        F("sub/below/y", b"new", 0o666),
        D("sub/made", 0o777),
        F("sub/made/z", b"new"),
        L("sub/ln", "x"),
        F("sub/x", b"new", 0o666),
    ]
    journal = Journal(place + "/journal")
    landed = refused = 0
    with swapping(place) as swaps:
        for i in rounds(swaps):
            owner = (NOBODY, NOBODY) if i % 2 else None
            try:
                if i % 3:
                    copy(place, "play", nodes, journal=journal, owner=owner)
                else:
                    copy(place + "/play", "", nodes, journal=journal, owner=owner, merge_top=True)
                landed += 1
            except VolcopyError:
                refused += 1
    assert look(place + "/outside") == before
    assert landed + refused
    assert not [name for name in os.listdir(place + "/play") if name.startswith(".volcopy-")]
    journal.close()
    assert os.listdir(place + "/journal") == []


def test_nothing_outside_is_read(place):
    read = 0
    with swapping(place) as swaps:
        for _ in rounds(swaps):
            with Tree.open(place + "/play") as tree:
                names = []
                for item in tree.walk():
                    assert not item.rel.startswith("evil/") or item.kind is not Kind.SYMLINK
                    names.append(item.rel)
                for rel in [*names, "sub/x", "sub/below/y", "evil/below/y"]:
                    try:
                        fd = tree.open_file(rel)
                    except VolcopyError:
                        continue
                    try:
                        assert os.read(fd, 100) == b"theirs"
                        read += 1
                    finally:
                        os.close(fd)
    assert read
