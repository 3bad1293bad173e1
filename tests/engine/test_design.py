"""The facts E1 to E12 of docs/design.md, seen on the engine under test, and that we are right either way.

What an engine does is recorded, not asserted, where we work the same with another answer: `seen` becomes
the table of docs/engines.md. What is asserted is what we do about it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.engine import ExecResult
from jupyter_volcopy.core.execute import collect
from jupyter_volcopy.core.http import Timeouts
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.push import takes_far_links
from jupyter_volcopy.core.tar_writer import END, encode_entry
from jupyter_volcopy.errors import Conflict, CutStream, EngineError, EngineStalled, NoSuchPath
from tests.conftest import CREATED_ONLY, Command, Docker, wait_for
from tests.engine.conftest import Body, content, file_entry, members, plain, read_all, sealed

MEGA = 1 << 20
STATE = "created" if CREATED_ONLY else "running"
WAITS = 3.0  # seconds after which a call is taken to be waiting

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def engine(docker: Docker) -> Iterator[DockerEngine]:
    with open_engine(timeouts=Timeouts(answer=120, idle=120)) as opened:
        yield opened


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`seen("inspect waits")`: what this engine does, for the table."""
    return lambda text: request.node.user_properties.append(("seen", text))


def _big(engine: DockerEngine, name: str, path: str, size: int) -> None:
    directory, _, base = path.rpartition("/")
    engine.extract(name, directory or "/", plain(file_entry(base, bytes(size))))


def _waits(docker: Docker, name: str) -> bool:
    """Whether `docker inspect` waits; it is ended."""
    process = subprocess.Popen(
        ["docker", "inspect", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(WAITS)
        return False
    except subprocess.TimeoutExpired:
        return True
    finally:
        process.kill()
        process.wait()


def _answers(engine: DockerEngine, name: str) -> None:
    """The container's lock is free (again)."""

    def asked() -> bool:
        with open_engine(timeouts=Timeouts(answer=5)) as other:
            try:
                return bool(other.container(name).id)
            except EngineStalled:
                return False

    wait_for(asked, "the container's lock", 120)


def _is_docker(engine: DockerEngine) -> bool:
    head, _ = engine.call("GET", "/_ping")
    return head.headers.get("server", "").startswith("Docker/")


def _file(engine: DockerEngine, name: str, path: str) -> bytes:
    return content(read_all(engine.open_archive(name, path)), path.rpartition("/")[2])


def _cut_push(engine: DockerEngine, name: str, directory: str, pieces: list[bytes]) -> None:
    """Send the beginning of an archive, then break the connection."""
    connection = engine.connect()
    connection.start(
        f"PUT /containers/{name}/archive?path={directory}&noOverwriteDirNonDir=true HTTP/1.1\r\n"
        "Host: docker\r\nContent-Type: application/x-tar\r\n"
        "Transfer-Encoding: chunked\r\n\r\n".encode()
    )
    for piece in pieces:
        connection.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
    connection.close()
    _answers(engine, name)


def test_E1_an_open_archive_holds_the_lock(
    engine: DockerEngine, docker: Docker, container: Any, seen: Any, dcp: Command
) -> None:
    name = container(STATE)
    _big(engine, name, "/big", 40 * MEGA)
    archive = engine.open_archive(name, "/big")
    archive.readinto(memoryview(bytearray(1000)))
    waits = _waits(docker, name)
    archive.close()
    seen("inspect waits while an archive is open" if waits else "inspect does not wait")
    _answers(engine, name)
    with dcp.start(f"{name}:/big", "-") as process:  # ours, with a reader that does not read
        assert process.stdout.read(1000)
        wait_for(lambda: not _waits(docker, name), "inspect beside a slow reader of ours", 120)
        process.kill()


def test_E2_an_archive_piped_into_its_own_container(
    engine: DockerEngine, docker: Docker, container: Any, seen: Any, dcp: Command
) -> None:
    name = container(STATE)
    _big(engine, name, "/big", 30 * MEGA)
    engine.extract(name, "/", plain(encode_entry(Entry("out", Kind.DIRECTORY, mode=0o755))))
    process = subprocess.Popen(
        ["sh", "-c", 'docker cp "$1:/big" - | docker cp - "$1:/out"', "sh", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(8)
        seen("docker cp X:/a - | docker cp - X:/b ends")
    except subprocess.TimeoutExpired:
        seen("docker cp X:/a - | docker cp - X:/b hangs")
    finally:
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass
        process.wait()
    _answers(engine, name)
    dcp(f"{name}:/big", f"{name}:/ours").ok()
    assert engine.stat(name, "/ours").size == 30 * MEGA


def test_E3_a_push_that_is_cut(
    engine: DockerEngine, container: Any, seen: Any, dcp: Command
) -> None:
    name = container(STATE)
    engine.extract(name, "/tmp", plain(file_entry("f", b"old")))
    head = encode_entry(Entry("f", Kind.FILE, size=8 * MEGA))
    _cut_push(engine, name, "/tmp", [head, bytes(4 * MEGA)])
    try:
        size = engine.stat(name, "/tmp/f").size
    except NoSuchPath:
        seen("the old file is gone, nothing in its place")
        return
    if size == 3:
        seen("the old file is whole")
    else:
        assert size < 8 * MEGA
        seen("a part of the new file under the final name")


def test_E4_there_is_no_listing(
    engine: DockerEngine, container: Any, seen: Any, docker: Docker
) -> None:
    name = container("created")
    engine.extract(name, "/tmp", plain(file_entry("a", b"1"), file_entry("b", b"22")))
    head, _ = engine.call("GET", f"/containers/{name}/files?path=/tmp")
    assert head.status in (404, 405)
    listing = engine.list_dir(name, "/tmp")
    assert [(item.name, item.size) for item in listing.entries] == [("a", 1), ("b", 2)]
    seen("none; read from the archive's headers, or by a program of a running container")


@pytest.fixture
def bind() -> Iterator[Path]:
    """A directory which an engine that is not root's reaches, too (pytest's own are root's)."""
    path = Path(tempfile.mkdtemp(prefix="volcopy-bind-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def test_E5_every_state_volumes_and_binds_not_tmpfs(
    engine: DockerEngine, docker: Docker, container: Any, volume: Any, seen: Any, bind: Path
) -> None:
    options = ("-v", f"{volume()}:/vol", "-v", f"{bind}:/bind", "--tmpfs", "/mem", "-u", "1000")
    reached = []
    for state in ("created",) if CREATED_ONLY else ("created", "stopped", "running"):
        name = container(state, *options)
        for place in ("/tmp", "/vol", "/bind"):
            engine.extract(
                name,
                place,
                plain(file_entry("rootly", state.encode(), mode=0o600, uid=0)),
            )
            assert _file(engine, name, f"{place}/rootly") == state.encode()
        if not CREATED_ONLY and engine.info().local:
            assert (bind / "rootly").read_bytes() == state.encode()
        reached.append(state)
    words = f"layer, volumes and binds of {', '.join(reached)} containers, as root"
    if not CREATED_ONLY:
        engine.extract(name, "/mem", plain(file_entry("beneath", b"x")))
        inside = docker.sh(name, "ls /mem")
        words += "; not tmpfs" if inside == "" else "; tmpfs too"
    seen(words)


def test_E6_stat_and_flags(engine: DockerEngine, docker: Docker, container: Any, seen: Any) -> None:
    name = container("created")
    engine.extract(
        name,
        "/tmp",
        plain(
            encode_entry(Entry("d", Kind.DIRECTORY, mode=0o755)),
            file_entry("f", b"123", mode=0o640, mtime_ns=10**18),
        ),
    )
    head, _ = engine.call("HEAD", f"/containers/{name}/archive?path=/tmp/f")
    in_head = "x-docker-container-path-stat" in head.headers
    archive = engine.open_archive(name, "/tmp/f")
    in_get = archive.stat is not None
    archive.close()
    found = engine.stat(name, "/tmp/f")
    assert (found.kind, found.size, found.mode) == (Kind.FILE, 3, 0o640)
    words = []
    words.append(
        f"stat with {' and '.join(w for w, y in (('HEAD', in_head), ('GET', in_get)) if y)}"
    )
    try:
        engine.extract(name, "/tmp", plain(file_entry("d", b"in the way")))
        words.append("a file replaces a directory though asked not to")
    except (Conflict, EngineError):
        words.append("noOverwriteDirNonDir kept")
        assert engine.stat(name, "/tmp/d").is_dir
    seen(", ".join(words))


def test_E7_a_link_makes_a_push_all_or_nothing(
    engine: DockerEngine, container: Any, volume: Any, seen: Any
) -> None:
    name = container(STATE, "-v", f"{volume()}:/vol")
    for place in ("/tmp", "/vol"):
        engine.extract(name, place, plain(file_entry("f", b"old")))
        head = encode_entry(Entry(".aside", Kind.FILE, size=8 * MEGA))
        _cut_push(engine, name, place, [head, bytes(4 * MEGA)])
        assert _file(engine, name, f"{place}/f") == b"old"
        one, two = b"1" * 3000, b"2" * 3000
        engine.extract(
            name,
            place,
            plain(
                file_entry(".aside", one, mode=0o640, mtime_ns=10**18),
                encode_entry(
                    Entry("f", Kind.HARDLINK, link=".aside", mode=0o640, uid=12, mtime_ns=10**18)
                ),
                file_entry(".aside", two),
                encode_entry(Entry("g", Kind.HARDLINK, link=".aside", mode=0o600)),
            ),
        )
        assert _file(engine, name, f"{place}/f") == one
        assert _file(engine, name, f"{place}/g") == two
        found = engine.stat(name, f"{place}/f")
        assert (found.mode, found.mtime_ns) == (0o640, 10**18)
        owner = members(read_all(engine.open_archive(name, f"{place}/f")))["f"].uid
        assert owner == 12 or not _is_docker(engine)
    try:
        engine.extract(
            name,
            "/",
            plain(
                file_entry("tmp/.aside", b"x"),
                encode_entry(Entry("vol/new", Kind.HARDLINK, link="tmp/.aside")),
            ),
        )
        refused = False
    except EngineError:
        refused = True
    assert refused or not _is_docker(engine)
    assert _file(engine, name, "/vol/f") == one
    seen(
        f"old or new, in the layer and in volumes; across mounts {'refused' if refused else 'taken'}; "
        + ("the link sets the owner" if owner == 12 else "owners are not kept")
    )


def test_E10_an_archive_without_chunks(engine: DockerEngine, container: Any, seen: Any) -> None:
    name = container("created")
    _big(engine, name, "/tmp/f", MEGA)
    connection = engine.connect()
    connection.start(
        f"GET /containers/{name}/archive?path=/tmp/f HTTP/1.0\r\nHost: docker\r\n\r\n".encode()
    )
    head, body = connection.head("GET", 60, "the archive")
    assert head.status == 200
    raw = body.read(4 * MEGA)
    connection.close()
    assert content(raw, "f") == bytes(MEGA) and raw.endswith(END)
    chunked = head.headers.get("transfer-encoding") == "chunked"
    seen("HTTP/1.0 gives chunks" if chunked else "HTTP/1.0 gives the plain archive to its end")


def test_E8_the_last_entry_cannot_be_made(engine: DockerEngine, container: Any, seen: Any) -> None:
    name = container("created")
    token = os.urandom(8).hex()
    engine.extract(name, "/tmp", sealed("f", b"whole", token))
    assert _file(engine, name, "/tmp/f") == b"whole"
    try:
        engine.stat(name, "/tmp/.volcopy-seal")
        gone = False
    except NoSuchPath:
        gone = True
    assert gone or not _is_docker(engine)
    with pytest.raises((EngineError, CutStream)):  # refused before the seal: not taken for success
        engine.extract(
            name, "/tmp", Body(b"this is no archive at all".ljust(1024, b"."), END, seal=token)
        )
    words = "the hidden name is gone" if gone else "the hidden name stays"
    seen(f"refused, with the entry named; all before it is in place; {words}")


def test_E9_the_mode_of_a_link(engine: DockerEngine, container: Any, seen: Any) -> None:
    name = container("created")
    words = []
    ways = (("plain", "/tmp", "", ".aside"), ("climbing", "/tmp", "", "../tmp/.aside"), ("from the root", "/", "tmp/", "tmp/.aside"))  # fmt: skip
    for number, (word, directory, prefix, text) in enumerate(ways):
        link = Entry(f"{prefix}f{number}", Kind.HARDLINK, link=text, mode=0o4755, uid=7)
        aside = file_entry(f"{prefix}.aside", b"x", mode=0o644, uid=7)
        try:
            engine.extract(name, directory, plain(aside, encode_entry(link)))
        except EngineError:
            words.append(f"{word}: refused")
            continue
        mode = engine.stat(name, f"/tmp/f{number}").mode
        words.append(f"{word}: {'set' if mode == 0o4755 else 'not set'}")
    seen(", ".join(words))
    assert words[2] == "from the root: set" or not _is_docker(engine)


def test_E11_a_relative_link_that_leads_out(
    engine: DockerEngine, container: Any, docker: Docker, seen: Any, tmp_path: Path
) -> None:
    name = container("created")
    engine.extract(name, "/tmp", plain(encode_entry(Entry("d", Kind.DIRECTORY, mode=0o755))))
    before = engine.stat(name, "/tmp/d").mtime_ns
    takes = takes_far_links(engine, name, "/tmp/d")
    assert list(members(read_all(engine.open_archive(name, "/tmp/d")))) == [
        "d"
    ]  # asking made nothing
    assert engine.stat(name, "/tmp/d").mtime_ns == before
    out = plain(encode_entry(Entry("l", Kind.SYMLINK, mode=0o777, link="../x")))
    if os.environ.get("VOLCOPY_TEST_OTHER_ENGINE") == "podman":
        engine.extract(name, "/tmp/d", out)
        assert not takes
        seen("taken, but the question is not understood: we refuse")
        return
    seen("taken" if takes else "refused")
    if takes:
        engine.extract(name, "/tmp/d", out)
    else:
        with pytest.raises(EngineError):
            engine.extract(name, "/tmp/d", out)

    # as docker cp: copied where the engine takes it, else refused before anything is written
    (tmp_path / "t").mkdir()
    (tmp_path / "t/a").write_text("a")
    (tmp_path / "t/l").symlink_to("../../x")
    (tmp_path / "t/z").write_text("z")
    docker_says = docker.raw("cp", f"{tmp_path}/t", f"{name}:/tmp/d")
    assert (docker_says.returncode == 0) is takes
    copier, target = Copier(engine), f"{name}:/tmp/d/ours"
    if takes:
        assert copier.copy(str(tmp_path / "t"), target).ok
        ours, theirs = (
            members(read_all(engine.open_archive(name, f"/tmp/d/{d}"))) for d in ("ours", "t")
        )
        assert [n[4:] for n in sorted(ours)] == [n[1:] for n in sorted(theirs)]
        assert ours["ours/l"].linkname == theirs["t/l"].linkname == "../../x"
    else:
        with pytest.raises(Conflict, match="invalid symlink"):
            copier.copy(str(tmp_path / "t"), target)
        with pytest.raises(NoSuchPath):
            engine.stat(name, "/tmp/d/ours")


def test_E12_a_program_started_before_an_archive_is_opened(
    engine: DockerEngine, container: Any, seen: Any
) -> None:
    ident = engine.container(container()).id
    _big(engine, ident, "/tmp/big", 40 * MEGA)
    program = engine.start_program(ident, ["find", "/etc"])
    program.settle(10)
    found: list[ExecResult] = []
    thread = threading.Thread(target=lambda: found.append(collect(program, "find")))
    archive = engine.open_archive(ident, "/tmp/big")
    thread.start()
    thread.join(WAITS)
    seen("waits until it is closed" if thread.is_alive() else "runs on beside it")
    read_all(archive)
    thread.join(60)
    assert found[0].exit_code == 0 and b"/etc/passwd\n" in found[0].stdout  # in any order
