"""Direct access while somebody in the container swaps names under our hands: nothing outside is touched.

The swapper works below `/proc/PID/root`, so what it does is what a process of the container could do. Its
link leads to a directory of this machine, by an absolute and by a climbing path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.core.control import Meter
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.direct_root import Root, why_not
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.endpoint import ContainerPath
from jupyter_volcopy.core.guard import Guarded
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.policy import Rules, User
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.errors import Conflict, UnsafeEntry, UsageError, VolcopyError
from tests.conftest import Docker, wait_for

SECONDS = float(os.environ.get("VOLCOPY_TEST_RACE_SECONDS", "4"))
"""Of swapping in each test; no result depends on how often it comes to pass."""

LEAST = 24
"""Copies in each test, however slow the machine is; about every other one is refused."""

SWAPPER = Path(__file__).with_name("swapper.py")

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="direct access is root's"),
]


USER = "1000:100"


class Everything(frozenset[str]):
    """Of all containers."""

    def __contains__(self, _: object) -> bool:
        return True


@pytest.fixture
def copier(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Copier]:
    """As root; or, where the test asks for `user`, with the rights of a user of the container."""
    journal = Journal(str(tmp_path / "journal"))
    with open_engine() as engine:
        if getattr(request, "param", "root") == "root":
            yield Copier(engine, journal=journal)
        else:
            owner = User("u", owned=Everything())
            yield Copier(Guarded(engine, owner, Rules(), acting_as=lambda _: USER), journal=journal)


def root_of(copier: Copier, name: str) -> str:
    """The container's root on this machine; skips where it cannot be reached."""
    engine = getattr(copier.engine, "inner", copier.engine)
    found = engine.container(name)
    reason = why_not(engine, found)
    if not reason:
        try:
            Root(found).close()
        except Conflict as error:
            reason = error.message
    if reason:
        pytest.skip(f"no direct access here: {reason}")
    return f"/proc/{found.pid}/root"


@contextmanager
def swapping(directory: str, name: str, other: str, work: Path) -> Iterator[Callable[[], int]]:
    """Yields a function that says how often the two names were swapped so far."""
    counter, stop = work / "count", work / "stop"
    process = subprocess.Popen(
        [sys.executable, str(SWAPPER), str(os.geteuid()), directory, name, other, counter, stop]
    )

    def swaps() -> int:
        assert process.poll() is None, "the swapper ended by itself"
        return int(counter.read_text() or 0) if counter.exists() else 0

    try:
        wait_for(lambda: swaps() > 0, "the first swap")
        yield swaps
    finally:
        stop.touch()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def look(top: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below a directory here, times and owners included."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in (top, *sorted(top.rglob("*"))):
        info = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = info.st_mode, info.st_uid, info.st_mtime_ns, content
    return found


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory of this machine in which everybody may read and write."""
    path = Path(tempfile.mkdtemp(prefix="volcopy-outside-", dir="/tmp"))
    (path / "below").mkdir(parents=True)
    (path / "x").write_bytes(b"secret")
    (path / "below/y").write_bytes(b"secret")
    for each in (path, *path.rglob("*")):
        each.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def play(
    docker: Docker,
    container: Callable[..., str],
    copier: Copier,
    outside: Path,
    request: pytest.FixtureRequest,
) -> tuple[str, str]:
    """A container with `/play/sub` and `/play/evil`, which leads to `outside`; its root here."""
    name = container()
    root = root_of(copier, name)
    docker.sh(
        name, "mkdir -p /play/sub/below; echo theirs > /play/sub/x; echo theirs > /play/sub/below/y"
    )
    climbing = getattr(request, "param", False)
    docker.sh(name, f"chown -R {USER} /play")
    os.symlink(("../" * 40 if climbing else "") + str(outside), root + "/play/evil")
    return name, root


def rounds() -> Iterator[int]:
    end, done = time.monotonic() + SECONDS, 0
    while time.monotonic() < end or done < LEAST:
        yield done
        done += 1


@pytest.mark.parametrize("copier", ["root", "user"], indirect=True)
@pytest.mark.parametrize("play", [False, True], indirect=True, ids=["absolute", "climbing"])
def test_nothing_outside_is_read(
    play: tuple[str, str], copier: Copier, outside: Path, tmp_path: Path
) -> None:
    name, root = play
    landed = refused = 0
    with swapping(root + "/play", "sub", "evil", tmp_path):
        for turn in rounds():
            there = tmp_path / f"got-{turn}"
            source = ("/play/.", "/play/sub", "/play/sub/x", "/play/sub/below")[turn % 4]
            try:
                copier.copy(f"{name}:{source}", str(there), access="direct")
                landed += 1
            except VolcopyError:
                refused += 1
            paths = (
                [there, *there.rglob("*")] if there.is_dir() and not there.is_symlink() else [there]
            )
            for path in paths:
                if path.is_file() and not path.is_symlink():
                    assert path.read_bytes() == b"theirs\n", path
    assert landed, "not one copy came through"


@pytest.mark.parametrize("copier", ["root", "user"], indirect=True)
@pytest.mark.parametrize("play", [False, True], indirect=True, ids=["absolute", "climbing"])
def test_nothing_outside_is_written(
    play: tuple[str, str], copier: Copier, outside: Path, tmp_path: Path, docker: Docker
) -> None:
    name, root = play
    before = look(outside)
    tree = tmp_path / "tree"
    (tree / "sub/below").mkdir(parents=True)
    (tree / "sub/made").mkdir()
    for file in ("sub/x", "sub/new", "sub/below/y", "sub/made/z"):
        (tree / file).write_bytes(b"ours\n")
    landed = refused = 0
    with swapping(root + "/play", "sub", "evil", tmp_path):
        for turn in rounds():
            source, target = (
                (f"{tree}/.", "/play"),
                (f"{tree}/sub/x", "/play/sub/"),
                (f"{tree}/sub", "/play"),
                (f"{tree}/sub/.", "/play/sub/below"),
            )[turn % 4]
            try:
                copier.copy(source, f"{name}:{target}", access="direct")
                landed += 1
            except VolcopyError:
                refused += 1
            assert look(outside) == before
    assert landed + refused
    assert docker.sh(name, "find / -xdev -name '.volcopy-*'") == ""


def test_a_pipe_in_the_place_of_a_file_is_not_opened(
    play: tuple[str, str], copier: Copier, tmp_path: Path
) -> None:
    name, root = play
    os.mkfifo(root + "/play/sub/pipe")
    with swapping(root + "/play/sub", "x", "pipe", tmp_path):
        for turn in rounds():
            try:
                copier.copy(f"{name}:/play/sub", str(tmp_path / f"got-{turn}"), access="direct")
            except VolcopyError:
                pass


def test_what_a_killed_push_left_is_removed(
    play: tuple[str, str], copier: Copier, tmp_path: Path, docker: Docker
) -> None:
    name, _ = play
    left = ".volcopy-0123456789abcdef"
    docker.sh(
        name, f"mkdir /play/sub/{left}; touch /play/sub/{left}/file /play/sub/.volcopy-of-a-user"
    )
    identity = copier.engine.container(name).id
    dead = Journal(str(tmp_path / "journal"))
    dead.container(copier.engine.address, identity, "/play/sub", left)
    os.close(dead._fd)
    dead._fd = -1
    (tmp_path / "file").write_bytes(b"ours")
    copier.copy(str(tmp_path / "file"), f"{name}:/play/sub/", access="direct")
    assert docker.sh(name, "ls -A /play/sub").split() == [
        ".volcopy-of-a-user",
        "below",
        "file",
        "x",
    ]


def test_what_cannot_be_proven_is_refused(
    docker: Docker, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    name = container()
    root_of(copier, name)
    engine = copier.engine
    found = engine.container(name)
    with pytest.raises(Conflict, match="cgroup"):
        Root(replace(found, pid=os.getpid()))
    with pytest.raises(Conflict, match="cgroup"):
        Root(replace(found, id="0" * 64))
    with pytest.raises(Conflict, match="file system"):
        Root(replace(found, raw={}))
    docker("stop", "-t", "0", name)
    with pytest.raises(Conflict, match="cannot be reached directly: the container is exited"):
        copier.copy(f"{name}:/etc", str(tmp_path / "etc"), access="direct")
    assert not (tmp_path / "etc").exists()


class Striking(Meter):
    """A meter that does something once, when the first file is on its way."""

    def __init__(self, strike: Callable[[], object]) -> None:
        super().__init__()
        self._strike: Callable[[], object] | None = strike

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        strike = self.__dict__.get("_strike")
        if name == "current" and value and strike is not None:
            self.__dict__["_strike"] = None
            strike()


EVENTS = {
    "restart": ("restart", "-t", "0"),
    "kill": ("kill",),
    "remove": ("rm", "-f"),
    "pause": ("pause",),
}


@pytest.mark.parametrize(
    ("copier", "event", "access"),
    [
        *(("root", event, access) for event in EVENTS for access in ("auto", "direct")),
        ("user", "restart", "auto"),
        ("user", "kill", "direct"),
    ],
    indirect=["copier"],
)
@pytest.mark.parametrize("way", ["pull", "push"])
def test_a_container_that_ends_or_begins_anew_meanwhile(
    way: str,
    event: str,
    access: str,
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
) -> None:
    """Its mounts go with its process: what was read or staged since then does not count."""
    name = container("running", "-v", f"{volume()}:/play/data")
    root_of(copier, name)
    docker.sh(name, f"chown -R {USER} /play")
    tree = tmp_path / "tree"
    (tree / "data").mkdir(parents=True)
    for file in ("a", "data/b", "z"):
        (tree / file).write_bytes(b"new")
    if way == "pull":
        docker("cp", "-q", f"{tree}/.", f"{name}:/play")
    meter = Striking(lambda: docker(*EVENTS[event], name))
    (tmp_path / "got").mkdir()
    sides = (
        (f"{name}:/play/.", f"{tmp_path}/got") if way == "pull" else (f"{tree}/.", f"{name}:/play")
    )
    refused = event != "pause" and (access == "direct" or event == "remove")
    if refused:
        with pytest.raises(VolcopyError, match=r"started anew|No such container"):
            copier.copy(*sides, access=access, meter=meter)
    else:
        assert copier.copy(*sides, access=access, meter=meter).ok
    assert meter.__dict__["_strike"] is None, "nothing happened meanwhile"
    if event == "remove":
        assert not any((tmp_path / "got").iterdir())
        return
    if event == "pause":
        docker("unpause", name)
    elif event == "kill":
        docker("start", name)
    arrived = tmp_path / "got"
    if way == "push":
        docker("cp", "-q", f"{name}:/play/.", str(arrived))
    found = sorted(str(path.relative_to(arrived)) for path in arrived.rglob("*"))
    if refused:
        assert found == ([] if way == "pull" else ["data"])
    else:
        assert found == ["a", "data", "data/b", "z"]
        assert (arrived / "data/b").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("event", "access"), [("restart", "auto"), ("restart", "direct"), ("remove", "auto")]
)
def test_a_file_that_is_put_while_its_container_ends(
    event: str,
    access: str,
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
) -> None:
    """As a copy: it arrives whole in the container that began anew, or is refused."""
    store = volume()
    name = container("running", "-v", f"{store}:/play")
    root_of(copier, name)
    docker.sh(name, f"echo old > /play/f; chown -R {USER} /play")
    (tmp_path / "new").write_bytes(b"new")
    meter = Striking(lambda: docker(*EVENTS[event], name))
    place = ContainerPath(name, "/play/f")
    with open(tmp_path / "new", "rb") as file:
        if (event, access) == ("restart", "auto"):
            assert copier.put_file(place, file.fileno(), 3, access=access, meter=meter).replaced
        else:
            with pytest.raises(VolcopyError, match=r"started anew|No such container"):
                copier.put_file(place, file.fileno(), 3, access=access, meter=meter)
    assert meter.__dict__["_strike"] is None, "nothing happened meanwhile"
    reader = name if event == "restart" else container("running", "-v", f"{store}:/play")
    wanted = b"new" if (event, access) == ("restart", "auto") else b"old\n"
    assert docker.read(reader, "/play/f") == wanted
    assert docker.sh(reader, "ls -A /play") == "f"


def test_users_of_its_own_are_not_ours(container: Callable[..., str], copier: Copier) -> None:
    """As where the engine maps users (userns-remap, rootless): root there is nobody here."""
    name = container()
    root_of(copier, name)
    found = copier.engine.container(name)
    # A process with the container's mounts, and of users of its own; its cgroup is taken for the right one.
    enter = ("nsenter", "-t", str(found.pid), "--mount", "--root", "--wd=/")
    process = subprocess.Popen([*enter, "unshare", "-U", "sleep", "1000"])
    own = os.stat("/proc/self/ns/user").st_ino
    try:
        wait_for(lambda: os.stat(f"/proc/{process.pid}/ns/user").st_ino != own, "its own users")
        group = Path(f"/proc/{process.pid}/cgroup").read_text().split("\n")[0]
        with pytest.raises(Conflict, match="users of its own"):
            Root(replace(found, pid=process.pid, id=group))
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ({"Privileged": True}, "mount what it likes"),
        ({"CapAdd": ["ALL"]}, "mount what it likes"),
        ({"CapAdd": ["CAP_SYS_ADMIN"]}, "mount what it likes"),
        ({"Runtime": "runsc"}, "runsc"),
    ],
)
def test_containers_that_are_the_engines(
    host: dict[str, Any], reason: str, container: Callable[..., str], copier: Copier
) -> None:
    found = copier.engine.container(container())
    raw = {**found.raw, "HostConfig": {**found.raw["HostConfig"], **host}}
    assert reason in why_not(copier.engine, replace(found, raw=raw))


def test_a_container_that_may_mount_is_read_through_the_engine(
    container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    name = container("running", "--cap-add", "SYS_ADMIN")
    with pytest.raises(Conflict, match="mount what it likes"):
        copier.copy(f"{name}:/etc/passwd", str(tmp_path / "direct"), access="direct")
    copier.copy(f"{name}:/etc/passwd", str(tmp_path / "auto"))
    assert (tmp_path / "auto").read_bytes()


def test_a_read_only_container_stays_as_it_is(
    docker: Docker, container: Callable[..., str], volume: Callable[..., str], copier: Copier,
    tmp_path: Path,
) -> None:  # fmt: skip
    store = volume()
    name = container(
        "running", "--read-only", "-v", f"{store}:/rw", "-v", f"{store}:/ro:ro", "--tmpfs", "/tmp"
    )
    root_of(copier, name)
    (tmp_path / "file").write_bytes(b"ours")
    for refused in ("/etc/file", "/ro/file"):
        with pytest.raises(VolcopyError, match="read-only"):
            copier.copy(str(tmp_path / "file"), f"{name}:{refused}", access="direct")
    for taken in ("/rw/file", "/tmp/file"):
        copier.copy(str(tmp_path / "file"), f"{name}:{taken}", access="direct")
        assert docker.read(name, taken) == b"ours"
    copier.copy(f"{name}:/ro/file", str(tmp_path / "back"), access="direct")
    assert (tmp_path / "back").read_bytes() == b"ours"


def test_who_says_how_a_container_is_reached(
    container: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A copy's own word, `VOLCOPY_ACCESS`, the engine's setting; refused is what only the engine can do."""
    name = container()
    root_of(copier, name)
    opened: list[str] = []
    open_archive = DockerEngine.open_archive

    def counted(engine: Any, identity: str, path: str, **more: Any) -> Any:
        opened.append(path)
        return open_archive(engine, identity, path, **more)

    monkeypatch.setattr(DockerEngine, "open_archive", counted)

    def asked(**options: Any) -> bool:
        opened.clear()
        copier.copy(f"{name}:/etc/passwd", str(tmp_path / "got"), **options)
        return bool(opened)

    monkeypatch.delenv("VOLCOPY_ACCESS", raising=False)
    assert not asked()
    assert asked(verify=True)
    monkeypatch.setenv("VOLCOPY_ACCESS", "api")
    assert asked()
    copier.engine.access = "auto"  # type: ignore[attr-defined]
    assert not asked()
    assert asked(access="api")
    copier.engine.access = "api"  # type: ignore[attr-defined]
    monkeypatch.setenv("VOLCOPY_ACCESS", "auto")
    assert asked()
    assert not asked(access="direct")
    copier.engine.access = ""  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="--verify does not go with --access direct"):
        asked(access="direct", verify=True)
    monkeypatch.setenv("VOLCOPY_ACCESS", "magic")
    with pytest.raises(UsageError, match="no such access: 'magic'"):
        asked()


@pytest.mark.parametrize("levels", [400, 1200])
def test_deep_trees(
    levels: int, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    """Deeper than descriptors or the stack allow is no matter; deeper than 512 is refused (S11)."""
    name = container()
    top = Path(root_of(copier, name), "deep")
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    if levels > 512:
        with pytest.raises(UnsafeEntry, match="deeper than 512 levels"):
            copier.copy(f"{name}:/deep", str(tmp_path / "deep"), access="direct")
        assert not (tmp_path / "deep").exists()
    else:
        report = copier.copy(f"{name}:/deep", str(tmp_path / "deep"), access="direct")
        assert report.entries == levels + 1
