"""O24: hand out to thirty containers, and collect from them, whatever some of them are like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.many import Goal, Limits, ManyReport
from jupyter_volcopy.core.many_collect import collect
from jupyter_volcopy.core.many_handout import hand_out
from tests.conftest import PREFIX, Docker

pytestmark = pytest.mark.timeout(600)

HOME = "/home/nb"
FLAGS = ("-e", "NB_UID=1000", "-e", "NB_GID=100", "-w", HOME)
GOOD = [f"s{number:02d}" for number in range(25)]
NEVER_RAN, STOPPED, EDITED = GOOD[:18], GOOD[18], GOOD[19]
EVERYBODY = [*GOOD, "readonly", "full", "blocked", "gone", "slow"]


@pytest.fixture
def engine(docker: Docker) -> Iterator[Engine]:
    opened = open_engine()
    yield opened
    opened.close()


@pytest.fixture
def homes(docker: Docker, container: Callable[..., str]) -> Iterator[str]:
    """An image with the home of the notebook's user in it."""
    name = container("running")
    docker("exec", name, "mkdir", "-p", HOME)
    docker("exec", name, "chown", "1000:100", HOME)
    image = f"{PREFIX}-homes"
    docker("commit", name, image)
    yield image
    docker.raw("rmi", "-f", image)


@pytest.fixture
def goals(
    docker: Docker, homes: str, container: Callable[..., str], volume: Callable[..., str]
) -> dict[str, Goal]:
    """Thirty containers by the user they are of."""
    made = {}
    for user in EVERYBODY:
        extra: tuple[str, ...] = FLAGS
        if user == "full":
            small = volume("-d", "local", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=8k,uid=1000,gid=100")  # fmt: skip
            extra += ("-v", f"{small}:{HOME}")
        if user == "readonly":
            extra += ("--read-only",)
        state = {STOPPED: "stopped", **dict.fromkeys(NEVER_RAN, "created")}.get(user, "running")
        name = container(state, *extra, image=homes)
        made[user] = Goal(user, docker("inspect", "-f", "{{.Id}}", name), user)
    docker(
        "exec",
        "-u",
        "1000:100",
        made["blocked"].container,
        "mkdir",
        "-p",
        f"{HOME}/lab1/answer.ipynb",
    )
    docker("rm", "-f", made["gone"].container)
    hang = "for one in tar ls cat stat find mv; do rm /bin/$one; printf '#!/bin/sh\\nexec sleep 1000\\n' > /bin/$one; chmod 755 /bin/$one; done"  # fmt: skip
    docker("exec", made["slow"].container, "sh", "-c", hang)
    return made


def lab(top: Path, text: str) -> Path:
    made = top / "lab1"
    made.mkdir(exist_ok=True)
    (made / "answer.ipynb").write_text(text)
    (made / "数据.csv").write_text("1,2\n" * 3000)
    return made


def states(report: ManyReport) -> dict[str, str]:
    return {item.label: item.state for item in report.outcomes}


def reasons(report: ManyReport) -> dict[str, str]:
    return {item.label: str(item.error) for item in report.outcomes if item.error is not None}


def read(docker: Docker, goal: Goal, path: str) -> str:
    """A file of a container in any state."""
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(docker.bytes("cp", f"{goal.container}:{path}", "-"))) as t:
        (member,) = t.getmembers()
        assert (member.uid, member.gid) == (1000, 100), member
        file = t.extractfile(member)
        assert file is not None
        return file.read().decode()


def test_O24_thirty(docker: Docker, engine: Engine, goals: dict[str, Goal], tmp_path: Path) -> None:
    handed_out(docker, engine, goals, tmp_path)
    collected(docker, engine, goals, tmp_path)


def handed_out(docker: Docker, engine: Engine, goals: dict[str, Goal], tmp_path: Path) -> None:
    quick = [goal for user, goal in goals.items() if user != "slow"]
    memory = str(tmp_path / "memory")
    source = str(lab(tmp_path, "one\n"))

    first = hand_out(engine, source, quick, memory=memory)
    bad = {"readonly", "full", "blocked", "gone"}
    assert states(first) == {**dict.fromkeys(GOOD, "done"), **dict.fromkeys(bad, "failed")}
    said = reasons(first)
    assert "read-only" in said["readonly"].lower() and "No such container" in said["gone"]
    assert "in the way" in said["blocked"] and all("\n" not in one for one in said.values())
    for user in (NEVER_RAN[0], NEVER_RAN[-1], STOPPED, EDITED):
        assert read(docker, goals[user], f"{HOME}/lab1/answer.ipynb") == "one\n"
    assert docker("exec", goals["full"].container, "find", HOME, "-type", "f") == ""

    # somebody works on it, somebody deletes it, and there is a second version
    docker("exec", "-u", "1000:100", goals[EDITED].container, "sh", "-c", f"echo mine > {HOME}/lab1/answer.ipynb")  # fmt: skip
    docker("exec", goals[GOOD[20]].container, "rm", "-r", f"{HOME}/lab1")
    lab(tmp_path, "two\n")
    second = hand_out(engine, source, quick, memory=memory)
    assert states(second) == {**states(first), EDITED: "kept"}
    sha = hashlib.sha256(b"two\n").hexdigest()
    assert read(docker, goals[EDITED], f"{HOME}/lab1/answer.ipynb") == "mine\n"
    assert read(docker, goals[EDITED], f"{HOME}/lab1/answer.new-{sha[:8]}.ipynb") == "two\n"
    for user in (NEVER_RAN[0], STOPPED, GOOD[20]):
        assert read(docker, goals[user], f"{HOME}/lab1/answer.ipynb") == "two\n"
    by = {item.label: item for item in second.outcomes}
    assert by[NEVER_RAN[0]].bytes == 4  # what had not changed was not sent again
    assert by[GOOD[20]].bytes == 4 + 12_000

    # a run more does only what is left: nothing, but for those who could not take it
    docker("exec", goals["blocked"].container, "rmdir", f"{HOME}/lab1/answer.ipynb")
    third = hand_out(engine, source, quick, memory=memory)
    left = {"blocked": "done", EDITED: "kept"}
    assert states(third) == {**dict.fromkeys(GOOD, "same"), **dict.fromkeys(bad, "failed"), **left}
    assert third.bytes == 4

    # one whose programs never end is given up after its time; the others are not waited for
    engine.access = "api"  # type: ignore[attr-defined]  # directly none of them is asked
    soon = hand_out(
        engine, source, [goals["slow"], *quick[:3]], memory=memory, limits=Limits(seconds=15)
    )
    assert states(soon) == {"slow": "failed", **dict.fromkeys(GOOD[:3], "same")}
    assert "longer than 15 seconds" in reasons(soon)["slow"]
    assert next(item for item in soon.outcomes if item.label == "slow").seconds < 120
    engine.access = ""  # type: ignore[attr-defined]

    # the report is for machines, too: who, when, and the hash of everything
    outcomes = json.loads(json.dumps(second.to_dict()))["outcomes"]
    assert [one["user"] for one in outcomes] == [goal.user for goal in quick]
    assert all(one["time"] for one in outcomes)
    hashes = {f["sha256"] for one in outcomes for f in one["files"] if f["action"] == "replaced"}
    assert hashes == {sha}


def collected(docker: Docker, engine: Engine, goals: dict[str, Goal], tmp_path: Path) -> None:
    sparse, unreadable, many, other = GOOD[21:25]
    docker("exec", goals[sparse].container, "truncate", "-s", "1000000000000", f"{HOME}/lab1/answer.ipynb")  # fmt: skip
    docker("exec", goals[unreadable].container, "chown", "0:0", f"{HOME}/lab1")
    docker("exec", goals[unreadable].container, "chmod", "700", f"{HOME}/lab1")
    docker("exec", goals[many].container, "sh", "-c", f"cd {HOME}/lab1; for n in $(seq 60); do : > f$n; done")  # fmt: skip
    docker("exec", goals[other].container, "sh", "-c", f"echo mine > {HOME}/lab1/answer.ipynb")
    into = tmp_path / "submissions"
    limits = Limits(bytes=1 << 20, entries=50)
    quick = [goal for user, goal in goals.items() if user != "slow"]

    first = collect(engine, HOME + "/lab1", quick, str(into), limits=limits)
    bad = {sparse, unreadable, many, "readonly", "full", "gone"}
    fine = {user: "done" for user in (*GOOD, "blocked") if user not in bad}
    assert states(first) == {**fine, **dict.fromkeys(bad, "failed")}
    said = reasons(first)
    assert "1048576" in said[sparse] and "62 entries; 50 may be" in said[many]
    assert {one.name for one in into.iterdir()} == {*fine, "collected.json"}
    (kept,) = (into / other).iterdir()
    assert (kept / "lab1/answer.ipynb").read_text() == "mine\n"
    outcome = next(item for item in first.outcomes if item.label == other)
    assert kept.name.endswith(outcome.more["sha256"][:12]) and kept.name[:8].isdigit()

    # again: only what has changed since
    docker("exec", goals[other].container, "sh", "-c", f"echo better > {HOME}/lab1/answer.ipynb")
    second = collect(engine, HOME + "/lab1", quick, str(into), limits=limits)
    assert states(second) == {**dict.fromkeys(fine, "same"), other: "done", **dict.fromkeys(bad, "failed")}  # fmt: skip
    assert len(list((into / other).iterdir())) == 2
