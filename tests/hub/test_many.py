"""Handing out and collecting (case O24): each container for itself, nobody's edits overwritten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyter_volcopy.core.direct_root import why_not
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.many import Goal, Limits, ManyReport, folder_name
from jupyter_volcopy.core.many_collect import collect
from jupyter_volcopy.core.many_handout import hand_out
from jupyter_volcopy.errors import UsageError
from tests.conftest import PREFIX, Command, Docker

pytestmark = pytest.mark.timeout(600)

HOME = "/home/nb"
NB = ("-e", "NB_UID=1000", "-e", "NB_GID=100")


@pytest.fixture(params=["auto", "api"])
def engine(docker: Docker, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """With the files of running containers reached directly, where that is possible, and never so."""
    opened = open_engine()
    opened.access = request.param  # type: ignore[attr-defined]
    yield opened
    opened.close()


@pytest.fixture
def classroom(
    docker: Docker, container: Callable[..., str], volume: Callable[..., str]
) -> Callable[..., list[Goal]]:
    """`classroom(*users) -> goals`: a container with a home for each; some names mean something."""

    def make(*users: str) -> list[Goal]:
        goals = []
        for user in users:
            extra: tuple[str, ...] = NB
            if user == "full":
                small = volume("-d", "local", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=64k,uid=1000,gid=100")  # fmt: skip
                extra += ("-v", f"{small}:{HOME}")
            if user == "readonly":
                extra += ("--read-only", "-v", f"{volume()}:{HOME}:ro")
            name = container("running", *extra)
            if user not in ("full", "readonly"):
                docker("exec", "-u", "0", name, "mkdir", "-p", HOME)
                docker("exec", "-u", "0", name, "chown", "1000:100", HOME)
            if user.startswith("stopped"):
                docker("kill", name)
                docker("wait", name)
            ident = docker("inspect", "-f", "{{.Id}}", name).strip()
            goals.append(Goal(user, ident, user))
        return goals

    return make


def lab(top: Path, text: str = "one\n") -> Path:
    made = top / "lab1"
    (made / "data").mkdir(parents=True, exist_ok=True)
    (made / "empty").mkdir(exist_ok=True)
    (made / "answer.ipynb").write_text(text)
    (made / "data" / "教程.csv").write_text("1,2\n")
    return made


def write(docker: Docker, goal: Goal, path: str, text: str) -> None:
    docker.bytes(
        "exec", "-i", "-u", "1000:100", goal.container, "sh", "-c", 'cat > "$1"', "sh", path,
        stdin=text.encode(),
    )  # fmt: skip


def states(report: ManyReport) -> dict[str, str]:
    return {item.label: item.state for item in report.outcomes}


def test_everybody_for_herself(
    docker: Docker, engine: Engine, classroom: Callable[..., list[Goal]], tmp_path: Path
) -> None:
    goals = classroom("a", "b", "stopped", "readonly", "full", "edited", "blocked")
    by = {goal.label: goal for goal in goals}
    source = lab(tmp_path)
    docker("exec", "-u", "1000:100", by["blocked"].container, "mkdir", "-p", f"{HOME}/lab1/answer.ipynb")  # fmt: skip
    memory = str(tmp_path / "memory")
    first = hand_out(engine, str(source), goals, HOME, memory=memory)
    assert states(first) == {
        "a": "done", "b": "done", "stopped": "done", "edited": "done",
        "readonly": "failed", "full": "done", "blocked": "failed",
    }  # fmt: skip
    said = {item.label: item.error for item in first.outcomes}
    assert "read-only" in str(said["readonly"]).lower()
    assert "answer.ipynb is in the way" in str(said["blocked"])
    assert not first.ok and len(first.failed) == 2
    # what was not in the way is there, and everything belongs to the user
    assert docker("exec", by["blocked"].container, "cat", f"{HOME}/lab1/data/教程.csv") == "1,2"
    owners = docker("exec", by["a"].container, "stat", "-c", "%u:%g", f"{HOME}/lab1/answer.ipynb", f"{HOME}/lab1/empty")  # fmt: skip
    assert owners.split() == ["1000:100"] * 2
    docker("start", by["stopped"].container)
    owners = docker("exec", by["stopped"].container, "stat", "-c", "%u:%g", f"{HOME}/lab1", f"{HOME}/lab1/data/教程.csv")  # fmt: skip
    assert owners.split() == ["1000:100"] * 2

    # a second version: the edit stays, the new one lies beside it; who has the old one gets the new
    write(docker, by["edited"], f"{HOME}/lab1/answer.ipynb", "mine\n")
    lab(tmp_path, "two\n")
    second = hand_out(engine, str(source), goals, HOME, memory=memory)
    assert states(second) == {**states(first), "edited": "kept"}
    sha = hashlib.sha256(b"two\n").hexdigest()
    edited = next(item for item in second.outcomes if item.label == "edited")
    beside = f"{HOME}/lab1/answer.new-{sha[:8]}.ipynb"
    assert docker("exec", by["edited"].container, "cat", f"{HOME}/lab1/answer.ipynb") == "mine"
    assert docker("exec", by["edited"].container, "cat", beside) == "two"
    assert {item.action for item in edited.files} == {"kept", "beside", "same"}
    for user in ("a", "b", "stopped"):
        assert docker("exec", by[user].container, "cat", f"{HOME}/lab1/answer.ipynb") == "two"
    assert edited.to_dict()["time"] and any(item.sha256 == sha for item in edited.files)

    # a third run has nothing left to do, but for one who deleted a file
    docker("exec", by["b"].container, "rm", f"{HOME}/lab1/answer.ipynb")
    third = hand_out(engine, str(source), goals, HOME, memory=memory)
    assert states(third) == {**states(second), "a": "same", "b": "done", "stopped": "same", "full": "same"}  # fmt: skip
    assert third.outcomes[5].bytes == 0
    assert json.dumps(third.to_dict())

    # asked for, the edit is replaced
    last = hand_out(engine, str(source), [by["edited"]], HOME, memory=memory, overwrite=True)
    assert states(last) == {"edited": "done"}
    assert docker("exec", by["edited"].container, "cat", f"{HOME}/lab1/answer.ipynb") == "two"


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_no_program_is_started_where_the_files_are_reached_directly(
    engine: Engine,
    classroom: Callable[..., list[Goal]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goals = classroom("a", "b")
    reason = why_not(engine, engine.container(goals[0].container))
    if reason:
        pytest.skip(f"no direct access here: {reason}")
    for name in ("execute", "start_program"):
        monkeypatch.setattr(engine, name, lambda *_, **__: pytest.fail("a program was started"))
    memory = str(tmp_path / "memory")
    for wanted in ("done", "same"):
        handed = hand_out(engine, str(lab(tmp_path)), goals, HOME, memory=memory)
        assert states(handed) == {"a": wanted, "b": wanted}
    found = collect(engine, f"{HOME}/lab1", goals, str(tmp_path / "into"))
    assert states(found) == {"a": "done", "b": "done"}


def test_no_room_fails_alone_and_leaves_nothing(
    docker: Docker, engine: Engine, classroom: Callable[..., list[Goal]], tmp_path: Path
) -> None:
    goals = classroom("a", "full")
    big = tmp_path / "big.bin"
    big.write_bytes(b"x" * 300_000)
    report = hand_out(engine, str(big), goals, HOME, memory=str(tmp_path / "m"))
    assert states(report) == {"a": "done", "full": "failed"}
    assert docker("exec", goals[1].container, "ls", "-A", HOME) == ""


def test_links_of_a_stopped_home_are_not_followed(
    docker: Docker, engine: Engine, classroom: Callable[..., list[Goal]], tmp_path: Path
) -> None:
    (goal,) = classroom("a")
    docker("exec", goal.container, "ln", "-s", "/etc", f"{HOME}/lab1")
    docker("kill", goal.container)
    docker("wait", goal.container)
    report = hand_out(engine, str(lab(tmp_path)), [goal], HOME, memory=str(tmp_path / "m"))
    assert states(report) == {"a": "failed"}
    assert "is a link" in str(report.outcomes[0].error)
    docker("start", goal.container)
    report = hand_out(engine, str(lab(tmp_path)), [goal], HOME, memory=str(tmp_path / "m"))
    assert states(report) == {"a": "failed"}  # as the user, /etc cannot be written
    assert docker("exec", goal.container, "sh", "-c", "ls /etc/answer.ipynb 2>&1 || true").startswith("ls:")  # fmt: skip


def test_collect(
    docker: Docker, engine: Engine, classroom: Callable[..., list[Goal]], tmp_path: Path
) -> None:
    goals = classroom("x@y.z", "stopped", "sparse", "nothing", "unreadable", "tree")
    by = {goal.label: goal for goal in goals}
    docker("start", by["stopped"].container)
    for user in ("x@y.z", "stopped"):
        write(docker, by[user], f"{HOME}/answer", f"by {user}\n")
    docker("kill", by["stopped"].container)
    docker("wait", by["stopped"].container)
    docker("exec", by["sparse"].container, "truncate", "-s", "1000000000000", f"{HOME}/answer")
    docker("exec", "-u", "0", by["unreadable"].container, "sh", "-c", f"echo secret > {HOME}/answer; chmod 600 {HOME}/answer")  # fmt: skip
    docker("exec", by["tree"].container, "sh", "-c", f"mkdir {HOME}/answer; echo 1 > {HOME}/answer/a; ln -s /etc/passwd {HOME}/answer/l; mkfifo {HOME}/answer/p")  # fmt: skip
    into = tmp_path / "submissions"
    limits = Limits(bytes=1 << 20)
    first = collect(engine, HOME + "/answer", goals, str(into), limits=limits)
    assert states(first) == {
        "x@y.z": "done", "stopped": "done", "tree": "done",
        "sparse": "failed", "nothing": "failed", "unreadable": "failed",
    }  # fmt: skip
    (kept,) = (into / "x@y.z").iterdir()
    sha = hashlib.sha256(b"by x@y.z\n").hexdigest()
    assert kept.name.endswith(sha[:12]) and (kept / "answer").read_text() == "by x@y.z\n"
    (tree,) = (into / "tree").iterdir()
    assert (tree / "answer/a").read_text() == "1\n" and (tree / "answer/l").is_symlink()
    assert not (tree / "answer/p").exists()
    assert sorted(path.name for path in into.iterdir()) == [
        "collected.json", "stopped", "tree", "x@y.z",
    ]  # fmt: skip

    # what has not changed is not collected again; what has changed lies beside the earlier one
    write(docker, by["x@y.z"], f"{HOME}/answer", "better\n")
    second = collect(engine, HOME + "/answer", goals, str(into), limits=limits)
    assert states(second) == {**states(first), "stopped": "same", "tree": "same"}
    assert len(list((into / "x@y.z").iterdir())) == 2
    assert len(list((into / "stopped").iterdir())) == 1


def test_commands(
    docker: Docker, classroom: Callable[..., list[Goal]], tmp_path: Path, volcopy: Command
) -> None:
    """Without a Hub: containers by name or pattern, the user from the name."""
    goals = classroom("a", "b")
    names = [docker("inspect", "-f", "{{slice .Name 1}}", goal.container) for goal in goals]
    lab(tmp_path)
    to = [word for name in names for word in ("--to", name[:-1] + "?")]
    done = volcopy("handout", "lab1", *to, "--into", HOME, "--json").ok().json()
    assert done["counts"] == {"done": 2, "same": 0, "kept": 0, "failed": 0}
    again = volcopy("handout", "lab1", *to, "--into", HOME).ok()
    assert again.out.splitlines()[-1] == "0 done, 2 same, 0 kept, 0 failed"
    template = ("--name", PREFIX + "-{username}")
    whose = [word for name in names for word in ("--from", name)]
    path = HOME + "/lab1/answer.ipynb"
    got = volcopy("collect", path, *whose, *template, "--into", "submissions").ok()
    assert got.out.splitlines()[-1] == "2 done, 0 same, 0 kept, 0 failed"
    user = names[0].removeprefix(PREFIX + "-")
    (kept,) = (tmp_path / "submissions" / user).iterdir()
    assert (kept / "answer.ipynb").read_text() == "one\n"
    refused = volcopy("handout", "lab1", "--to", "group:x", "--into", HOME)
    assert refused.code == 1 and "Hub" in refused.err
    missing = volcopy("collect", path, "--from", "no-such-container", "--into", "x")
    assert missing.code == 1 and "No such container" in missing.err


def test_words_in_paths(engine: Engine, tmp_path: Path) -> None:
    goal = Goal("../evil", "none", "../evil")
    with pytest.raises(UsageError, match="cannot stand in a path"):
        collect(engine, "/home/{user}/x", [goal], str(tmp_path))
    with pytest.raises(UsageError, match="is not known"):
        collect(engine, "/home/{home}/x", [goal], str(tmp_path))
    assert folder_name("../evil") == "%2E.%2Fevil" and folder_name("a b@c.d") == "a b@c.d"
    assert folder_name("..") == "%2E." and folder_name("") == "%"
