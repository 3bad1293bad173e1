"""SIGKILL at any moment of writing: each final name holds old or new bytes, never else (F1, F2)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from jupyter_volcopy.core.journal import Journal
from tests.unit.local_setup import D, F, contents, copy

KILLS = 25
SIZE = 200_000
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

WRITER = f"""
import sys
from jupyter_volcopy.core.journal import Journal
from tests.unit.local_setup import *
place, turn = sys.argv[1], int(sys.argv[2])
journal = Journal(place + "/journal")
print("ready", flush=True)
for i in range(100_000):
    data = bytes([65 + (turn + i) % 26]) * {SIZE}
    tree = [D(""), F("a", data), D("s"), F("s/b", data), H("s/c", "a")]
    copy(place + "/in", "t", tree, journal=journal)
    copy(place + "/in", "f", [F("", data)], journal=journal)
    copy(place + "/in", f"new-{{turn}}-{{i}}", tree, journal=journal)
"""


@pytest.fixture
def place():
    root = tempfile.mkdtemp(prefix="volcopy-test-")
    os.mkdir(root + "/in")
    try:
        yield root
    finally:
        shutil.rmtree(root)


@pytest.mark.timeout(300)
def test_kill_anywhere(place):
    chance = random.Random(7)
    start = b"@" * SIZE
    copy(place + "/in", "t", [D(""), F("a", start), D("s"), F("s/b", start), F("s/c", start)],
         journal=Journal(place + "/journal"))  # fmt: skip
    copy(place + "/in", "f", [F("", start)], journal=Journal(place + "/journal"))
    for turn in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, place, str(turn)], cwd=ROOT, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(chance.random() * 0.08)  # not a wait: a random moment
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        assert process.returncode == -signal.SIGKILL
        journal = Journal(place + "/journal")
        journal.sweep_local()
        journal.close()
        found = contents(place + "/in")
        assert not [name for name in found if ".volcopy-" in name]
        assert {"f", "t", "t/a", "t/s", "t/s/b", "t/s/c"} <= set(found)
        news = {name for name in found if name.startswith("new-") and "/" not in name}
        for name in news:
            whole = {found[f"{name}/{rel}"] for rel in ("a", "s/b", "s/c")}
            assert len(whole) == 1, f"{name} is a mixture"
        for name, data in found.items():
            if data is not None:
                assert len(data) == SIZE and data.count(data[:1]) == SIZE, f"{name} is torn"
        for name in news:
            shutil.rmtree(f"{place}/in/{name}")
    assert Journal.leftovers(place + "/journal") == []
