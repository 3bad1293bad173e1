"""Stopped at any moment: by a signal it cleans up and says so, by SIGKILL nothing is torn (F2, F4, O13).

With the engine double the moment is exact; on the real engine it is random, and "it was done
already" is as good an answer as any. More kills: VOLCOPY_TEST_KILLS=200.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CREATED_ONLY, PREFIX, Command, wait_for
from tests.faults.actions import ACTIONS, Ground
from tests.faults.double import EngineDouble, Fault
from tests.faults.scene import (
    LINE_NEW,
    LINE_OLD,
    MEGA,
    answers,
    fill,
    hidden_here,
    hidden_inside,
    judge,
    ready_for_signals,
    sums,
    sums_inside,
)

KILLS = int(os.environ.get("VOLCOPY_TEST_KILLS", "8"))
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
BIG = 16 * MEGA

pytestmark = pytest.mark.timeout(max(300, KILLS * 20))


# ------------------------------------------------------------------ exact moments, on the double

MOMENTS = [
    ("pull a file", "inspect", 0),
    ("pull a file", "get", 0),
    ("pull a file", "get", 100_000),
    ("pull a tree", "get", 60_000),
    ("pull a new tree", "get", 300_000),
    ("push a file", "head", 0),
    ("push a file", "put", 1),
    ("push a file", "put", 150_000),
    ("push a tree", "put", 250_000),
    ("copy a file", "get", 100_000),
    ("copy a file", "put", 100_000),
]


@pytest.mark.parametrize(("number", "status"), SIGNALS, ids=["INT", "TERM", "HUP"])
@pytest.mark.parametrize(("name", "step", "at"), MOMENTS)
def test_signal_at_a_moment(
    name: str,
    step: str,
    at: int,
    number: int,
    status: int,
    double: EngineDouble,
    dcp: Command,
    tmp_path: Path,
) -> None:
    action = next(a for a in ACTIONS if a.name == name)
    ground = Ground(tmp_path, double)
    action.lay(ground)
    there, go = threading.Event(), threading.Event()

    def hold() -> None:
        there.set()
        go.wait(100)

    fault = Fault(at=at, during=hold, times=1)
    if step in ("inspect", "head"):
        fault = Fault(silent=True)
    double.faults[step] = fault
    with dcp.start(*action.argv, env=double.env) as process:
        try:
            ready_for_signals(process)
            if fault.silent:
                wait_for(lambda: double.count(step), "the call")
            else:
                assert there.wait(60), "the transfer never came so far"
            process.send_signal(number)
            code = process.wait(timeout=60)
        finally:
            go.set()
            process.kill()
        said = process.stderr.read().decode()
    assert code == status, said
    assert "cancelled" in said and "Traceback" not in said
    state = action.state(ground)
    assert state == "old" or name.startswith(("push", "copy"))
    # nothing is left here even without `volcopy clean`
    assert hidden_here(tmp_path) == []


def test_second_interrupt_ends_it_at_once(
    double: EngineDouble, dcp: Command, tmp_path: Path
) -> None:
    action = next(a for a in ACTIONS if a.name == "pull a file")
    ground = Ground(tmp_path, double)
    action.lay(ground)
    double.faults["get"] = Fault(stall_at=100_000)
    with dcp.start(*action.argv, env=double.env) as process:
        ready_for_signals(process)
        wait_for(lambda: double.open_streams, "the stream")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert action.state(ground) == "old" and hidden_here(tmp_path) == []


def test_ignored_signals_stay_ignored(double: EngineDouble, dcp: Command, tmp_path: Path) -> None:
    """Under nohup a hang-up is no reason to stop."""
    action = next(a for a in ACTIONS if a.name == "pull a file")
    ground = Ground(tmp_path, double)
    action.lay(ground)
    there, go = threading.Event(), threading.Event()

    def hold() -> None:
        there.set()
        go.wait(100)

    double.faults["get"] = Fault(at=100_000, during=hold)

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with dcp.start(*action.argv, env=double.env, preexec_fn=ignore) as process:
        assert there.wait(60)
        process.send_signal(signal.SIGHUP)
        go.set()
        assert process.wait(timeout=60) == 0
    assert action.state(ground) == "new"


# ---------------------------------------------------------------- random moments, on the engine


class Scene:
    """One container and one directory, each with old and new contents to copy onto the other."""

    def __init__(self, docker: Any, name: str, here: Path) -> None:
        self.docker, self.name, self.here = docker, name, here
        for line, word in ((LINE_OLD, "old"), (LINE_NEW, "new")):
            fill(here / word, line, big=BIG)
            docker("cp", "-q", str(here / word), f"{name}:/{word}")
        self.sums = {
            (word, what): sums(here / word / what)
            for word in ("old", "new")
            for what in ("big", "tree")
        }

    def lay(self, way: str, what: str, existing: bool) -> None:
        """Old content, or nothing, at the destination."""
        if way == "pull":
            target = self.here / "dst"
            if target.is_dir():
                shutil.rmtree(target)
            elif target.exists():
                target.unlink()
            if existing:
                source = self.here / "old" / what
                if what == "tree":
                    shutil.copytree(source, target)
                else:
                    shutil.copyfile(source, target)
        else:
            again = f"cp -r /old/{what} /dst" if existing else "true"
            self.docker.sh(self.name, f"rm -rf /dst && {again}")

    def argv(self, way: str, what: str) -> list[str]:
        typed = f"new/{what}/." if what == "tree" else f"new/{what}"
        return [f"{self.name}:/{typed}", "dst"] if way == "pull" else [typed, f"{self.name}:/dst"]

    def state(self, way: str, what: str, existing: bool) -> str:
        """What is there now; anything torn fails."""
        found = (
            sums(self.here / "dst")
            if way == "pull"
            else sums_inside(self.docker, self.name, "/dst")
        )
        old = self.sums["old", what] if existing else {}
        return judge(found, old, self.sums["new", what])

    def nothing_left(self, volcopy: Command) -> None:
        """After `volcopy clean`."""
        volcopy("clean").ok()
        assert hidden_here(self.here) == []
        assert hidden_inside(self.docker, self.name, "/", "-xdev") == []


@pytest.fixture(scope="module")
def scene(docker: Any, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One for all tests: each lays what it needs."""
    if CREATED_ONLY:
        pytest.skip("this engine starts no containers here")
    name = f"{PREFIX}-scene{os.urandom(3).hex()}"
    docker("run", "-d", "--network", "none", "--name", name, image, "sleep", "100000")
    try:
        yield Scene(docker, name, tmp_path_factory.mktemp("scene"))
    finally:
        docker.raw("rm", "-fv", name)


KINDS = [
    (way, what, existing)
    for way in ("pull", "push")
    for what in ("big", "tree")
    for existing in (True, False)
]


@pytest.mark.usefixtures("each_access")
def test_sigkill_at_random_moments(scene: Scene, dcp: Command, volcopy: Command) -> None:
    chance = random.Random(20)
    times: dict[tuple[str, str], float] = {}
    seen: dict[str, int] = {}
    for turn in range(KILLS):
        way, what, existing = KINDS[turn % len(KINDS)]
        scene.lay(way, what, existing)
        if (way, what) not in times:  # how long it takes undisturbed, on this machine, now
            began = time.monotonic()
            dcp(*scene.argv(way, what), cwd=scene.here).ok()
            times[way, what] = time.monotonic() - began
            assert scene.state(way, what, existing) == "new"
            scene.lay(way, what, existing)
        with dcp.start(*scene.argv(way, what), cwd=scene.here) as process:
            try:
                # not a wait: a random moment
                process.wait(timeout=chance.uniform(0.1, 1.0) * times[way, what])
            except Exception:
                process.kill()
        answers(scene.docker, scene.name)
        state = scene.state(way, what, existing)
        if (way, existing) == ("pull", False):
            assert state in ("old", "new"), "a part of a new tree is visible"
        seen[state] = seen.get(state, 0) + 1
        scene.nothing_left(volcopy)
        if turn % 4 == 3:  # and the same command finishes it
            dcp(*scene.argv(way, what), cwd=scene.here).ok()
            assert scene.state(way, what, existing) == "new"
    assert sum(seen.values()) == KILLS


@pytest.mark.parametrize("way", ["pull", "push"])
@pytest.mark.usefixtures("each_access")
def test_signals_at_random_moments(way: str, scene: Scene, dcp: Command, volcopy: Command) -> None:
    """INT, TERM and HUP on the engine: the exit status tells, the old file is whole, nothing is left."""
    chance = random.Random(21)
    for number, status in SIGNALS:
        for what in ("big", "tree"):
            scene.lay(way, what, True)
            with dcp.start(*scene.argv(way, what), cwd=scene.here) as process:
                ready_for_signals(process)
                try:
                    process.wait(timeout=chance.uniform(0.0, 0.15))
                except Exception:
                    process.send_signal(number)
                code = process.wait(timeout=60)
                said = process.stderr.read().decode()
            assert code in (0, status, -number), said
            assert "Traceback" not in said
            answers(scene.docker, scene.name)
            state = scene.state(way, what, True)
            assert state == "new" or code
            if code == -number:  # after its work, where a signal does what it does to any process
                assert state == "new"
            assert hidden_here(scene.here) == []
            scene.nothing_left(volcopy)
