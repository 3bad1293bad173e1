"""An open archive holds the container's lock: no slow reader of ours may keep it (F11, F24)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.faults.scene import MEGA, answers

pytestmark = pytest.mark.timeout(300)


def test_nobody_reads_the_archive(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """`dcp C:/big - | nobody`: the container answers all the same, and all of it comes in the end."""
    name = container()
    docker.sh(name, f"yes | head -c {60 * MEGA} >/big")
    with dcp.start(f"{name}:/big", "-", stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1000)  # it has begun, and is not read any more
        answers(docker, name)
        assert process.poll() is None
        assert len(process.stdout.read()) > 60 * MEGA - 1000
        assert process.wait(timeout=60) == 0
    with dcp.start(f"{name}:/big", "-", stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1000)
        process.kill()
    answers(docker, name)


def test_within_one_container(docker: Any, container: Any, dcp: Command) -> None:
    """Out of a container and into the same: two archives at once would wait for each other for ever."""
    name = container()
    docker.sh(name, f"mkdir /out; yes | head -c {20 * MEGA} >/big")
    dcp(f"{name}:/big", f"{name}:/out/").ok()
    assert docker.sh(name, "cmp /big /out/big && echo same") == "same"


def test_crosswise(docker: Any, container: Any, dcp: Command) -> None:
    """A to B beside B to A."""
    one, two = container(), container()
    for name in (one, two):
        docker.sh(name, f"yes | head -c {20 * MEGA} >/big")
    with (
        dcp.start(f"{one}:/big", f"{two}:/from-one") as a,
        dcp.start(f"{two}:/big", f"{one}:/from-two") as b,
    ):
        assert a.wait(timeout=120) == 0, a.stderr.read()
        assert b.wait(timeout=120) == 0, b.stderr.read()
    assert docker.sh(one, "cmp /big /from-two && echo same") == "same"
    assert docker.sh(two, "cmp /big /from-one && echo same") == "same"


def test_the_same_destination_twice(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """Two copies into one directory: one after the other, never a mixture (F22)."""
    one, two = container(), container()
    for name, word in ((one, "one"), (two, "two")):
        docker.sh(
            name,
            f"mkdir /t; for i in 1 2 3 4 5 6 7 8; do yes {word} | head -c 300000 >/t/f$i; done",
        )
    with dcp.start(f"{one}:/t/.", "dst") as a, dcp.start(f"{two}:/t/.", "dst") as b:
        codes = [a.wait(timeout=120), b.wait(timeout=120)]
        said = a.stderr.read() + b.stderr.read()
    assert 0 in codes and set(codes) <= {0, 1}, said
    words = {p.read_bytes()[:3] for p in (tmp_path / "dst").iterdir()}
    assert len(words) == 1, "mixed"
