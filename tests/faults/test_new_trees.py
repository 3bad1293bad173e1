"""A large new tree gets its name by one rename of a program in the container, which may not be what it seems."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.push import SMALL, Item, PushBody
from jupyter_volcopy.core.transfer_push import MANY
from jupyter_volcopy.errors import EngineError
from tests.conftest import Command, Docker, wait_for
from tests.faults.scene import hidden_inside

API = ("--access", "api")
BUSYBOX = "#!/bin/busybox sh\n"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """More than enough files, a link among them, a second name, a set-id file, a large one."""
    top = tmp_path / "tree"
    for at in range(MANY):
        directory = top / f"d{at % 9}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{at}").write_text(f"file {at}")
    (top / "large").write_bytes(os.urandom(3 * SMALL))
    (top / "link").symlink_to("d1/f1")
    os.link(top / "d2/f2", top / "second")
    (top / "power").write_text("x")
    (top / "power").chmod(0o4755)
    os.utime(top / "d3", (10**9, 10**9))
    os.utime(top, (10**9, 10**9))
    return top


def look(docker: Docker, name: str, path: str) -> str:
    """Everything below a path in a container: kind, mode, owner, time of directories, contents."""
    return docker.sh(
        name,
        f"set -e; cd {path}; find . ! -type f -exec stat -c '%n %f %u %g %N' {{}} + | sort;"
        "find . -type d -exec stat -c '%n %Y' {} + | sort;"
        "find . -type f -exec stat -c '%n %f %u %g %s %Y %h' {} + | sort; find . -type f | sort | xargs cat | sha256sum",
    )


def mv_is(docker: Docker, name: str, script: str) -> None:
    """In the container, `mv` is this script, or nothing; busybox's `xargs` would take its own."""
    for program in ("mv", "xargs"):
        docker.sh(name, f"rm -f /bin/{program} /usr/bin/{program} /sbin/{program}")
    programs = {"mv": script, "xargs": "exec busybox xargs -0 -r /bin/mv -T"} if script else {}
    for program, text in programs.items():
        docker.write(name, f"/bin/{program}", f"{BUSYBOX}{text}\n".encode())
        docker.sh(name, f"chmod 755 /bin/{program}")


TYPED = pytest.mark.parametrize("typed", ["/ours/tree", "/ours"], ids=["new name", "directory"])


@TYPED
def test_it_is_what_docker_cp_makes(
    typed: str, tree: Path, docker: Docker, container: Callable[..., str], dcp: Command
) -> None:
    name = container()
    docker.sh(name, "mkdir /ours /theirs")
    docker("cp", "-q", str(tree), f"{name}:/theirs/tree")
    dcp(*API, str(tree), f"{name}:{typed}").ok()
    assert look(docker, name, "/ours/tree") == look(docker, name, "/theirs/tree")
    assert hidden_inside(docker, name, "/ours") == []


@TYPED
def test_what_arrives_at_once_is_all_of_it(
    typed: str, tree: Path, docker: Docker, container: Callable[..., str], dcp: Command
) -> None:
    """Whoever sees the name sees everything: here the program that gives it."""
    name = container()
    docker.sh(name, "mkdir /ours")
    mv_is(docker, name, 'busybox find "$2" ! -type d | busybox wc -l >/seen; busybox mv "$@"')
    dcp(*API, str(tree), f"{name}:{typed}").ok()
    assert int(docker.sh(name, "cat /seen")) == MANY + 4
    assert int(docker.sh(name, "find /ours/tree ! -type d | wc -l")) == MANY + 4


def test_a_tree_of_its_name_is_merged(
    tree: Path, docker: Docker, container: Callable[..., str], dcp: Command
) -> None:
    name = container()
    docker.sh(name, "mkdir -p /ours/tree/d1; echo theirs >/ours/tree/d1/theirs")
    dcp(*API, str(tree), f"{name}:/ours").ok()
    assert docker.read(name, "/ours/tree/d1/theirs") == b"theirs\n"
    assert int(docker.sh(name, "find /ours/tree ! -type d | wc -l")) == MANY + 5
    assert hidden_inside(docker, name, "/ours") == []


PROGRAMS = {
    "lies": "exit 0",
    "takes it away": 'busybox mv "$2" /elsewhere',
    "was outrun": 'busybox mkdir -p "$3"; echo theirs >"$3/theirs"; busybox mv "$@"',
    "is none": "",
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_that_does_not_rename(
    what: str,
    tree: Path,
    docker: Docker,
    container: Callable[..., str],
    dcp: Command,
    tmp_path: Path,
) -> None:
    """Then every file gets its name by itself, as ever."""
    name = container()
    docker.sh(name, "mkdir /ours /theirs")
    docker("cp", "-q", str(tree), f"{name}:/theirs/tree")
    mv_is(docker, name, PROGRAMS[what])
    dcp(*API, str(tree), f"{name}:/ours/tree").ok()
    if what == "was outrun":
        assert docker.read(name, "/ours/tree/theirs") == b"theirs\n"
        docker.sh(name, "rm /ours/tree/theirs; touch -d @1000000000 /ours/tree")
    assert look(docker, name, "/ours/tree") == look(docker, name, "/theirs/tree")
    assert hidden_inside(docker, name, "/ours") == []


def test_a_container_without_xargs(
    tree: Path, docker: Docker, container: Callable[..., str], dcp: Command
) -> None:
    """Then `mv` is started when everything is there."""
    name = container()
    docker.sh(name, "mkdir /ours; rm -f /bin/xargs /usr/bin/xargs")
    dcp(*API, str(tree), f"{name}:/ours/tree").ok()
    assert int(docker.sh(name, "find /ours/tree ! -type d | wc -l")) == MANY + 4
    assert hidden_inside(docker, name, "/ours") == []


def test_a_push_that_is_refused_renames_nothing(
    tree: Path, docker: Docker, container: Callable[..., str], dcp: Command
) -> None:
    """The program that waits for the two names gets none, and ends."""
    name = container("running", "--read-only")
    done = dcp(*API, str(tree), f"{name}:/ours")
    assert done.code == 1 and "read-only" in done.err
    wait_for(lambda: "xargs" not in docker("top", name), "xargs to end")


def test_killed_in_the_middle(
    tree: Path, docker: Docker, container: Callable[..., str], dcp: Command, volcopy: Command
) -> None:
    """There is all of it, or nothing under its name; what is left is removed."""
    name = container()
    docker.sh(name, "mkdir /ours")
    chance = random.Random(4)
    began = time.monotonic()
    dcp(*API, str(tree), f"{name}:/ours/first").ok()
    whole, took = look(docker, name, "/ours/first"), time.monotonic() - began
    for turn in range(5):
        with dcp.start(*API, str(tree), f"{name}:/ours/tree-{turn}") as process:
            try:
                # not a wait: a random moment
                process.wait(timeout=chance.uniform(0.1, 1) * took)
            except Exception:
                process.kill()
        volcopy("clean").ok()
        if docker.sh(name, f"ls -d /ours/tree-{turn} 2>&1 || true").startswith("ls:"):
            continue
        assert look(docker, name, f"/ours/tree-{turn}") == whole
    assert hidden_inside(docker, name, "/ours") == []


def test_an_engine_that_says_yes_too_early(
    tree: Path, container: Callable[..., str], docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is no proof that all was unpacked; the seal is."""
    name = container()
    put = DockerEngine._put

    def early(engine: Any, target: str, framing: str, body: Any) -> Any:
        body.items = itertools.islice(body.items, 500)
        body.seal, seal = None, body.seal
        try:
            return put(engine, target, framing, body)
        finally:
            body.seal = seal

    monkeypatch.setattr(DockerEngine, "_put", early)
    engine = open_engine()
    with pytest.raises(EngineError, match="cannot be confirmed"):
        Copier(engine).copy(str(tree), f"{name}:/tree", access="api")
    engine.close()
    assert "No such" in docker.sh(name, "ls -d /tree 2>&1 || true")


@pytest.mark.parametrize(("size", "spoiled"), [(100, False), (3 * SMALL, True)])
def test_a_file_that_may_not_get_its_name(size: int, spoiled: bool, tmp_path: Path) -> None:
    """It is left out of what is renamed; where it is out already, nothing is renamed."""
    (tmp_path / "file").write_bytes(b"x" * size)

    def opened() -> tuple[int, int]:
        return os.open(tmp_path / "file", os.O_RDONLY), 0

    entry = Entry("t/file", Kind.FILE, size=size)
    items = [Item(Entry("t", Kind.DIRECTORY, 0o755)), Item(entry, opened, lambda whole: False)]
    body = PushBody(items, "/", staged=False)
    body.whole = True
    sent = b"".join(piece for piece in body if isinstance(piece, (bytes, bytearray)))
    assert body.spoiled == spoiled
    assert (b"t/file" in sent) == spoiled
