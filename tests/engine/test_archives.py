"""The contract of `Engine`: archives out of and into containers in every state."""

from __future__ import annotations

import os
import threading

import pytest

from jupyter_volcopy.core.control import Cancel
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.tar_writer import END, encode_entry
from jupyter_volcopy.errors import (
    Busy,
    Conflict,
    CutStream,
    EngineError,
    NoSpace,
    NoSuchPath,
    NotADirectory,
    ReadOnlyTarget,
    TransferCancelled,
)
from tests.conftest import wait_for
from tests.engine.conftest import (
    Body,
    content,
    file_entry,
    members,
    part_entry,
    plain,
    read_all,
    sealed,
)

STATES = ["created", "running", "paused", "stopped"]
ODD = [
    "数据 集",
    "ä",
    "-rf",
    "--",
    "new\nline",
    "a\\b",
    "quo'te\"",
    "x" * 255,
    "bad\udcff\udcfe",
    "*?[a]",
    "%2f%00",
    "a&b=c#d",
]


@pytest.mark.parametrize("state", STATES)
def test_in_and_out(engine, container, state):
    name = container(state)
    data = os.urandom(3_000_000)
    engine.extract(name, "/tmp", plain(file_entry("f", data, mode=0o640, uid=7, gid=8)))
    archive = engine.open_archive(name, "/tmp/f")
    assert archive.stat is not None and archive.stat.size == len(data)
    raw = read_all(archive)
    assert content(raw, "f") == data
    member = members(raw)["f"]
    assert (member.mode & 0o7777, member.uid, member.gid) == (0o640, 7, 8)


def test_shape_of_the_archive(engine, container):
    name = container("created")
    directory = encode_entry(Entry("d", Kind.DIRECTORY, mode=0o755))
    engine.extract(name, "/tmp", plain(directory, file_entry("d/x", b"1")))
    assert sorted(members(read_all(engine.open_archive(name, "/tmp/d")))) == ["d", "d/x"]
    found = members(read_all(engine.open_archive(name, "/tmp/d/.")))
    assert sorted(found) in ([".", "./x"], ["", "x"])


def test_odd_names(engine, container):
    name = container("created")
    engine.extract(name, "/tmp", plain(*[file_entry(odd, b"content") for odd in ODD]))
    for odd in ODD:
        raw = read_all(engine.open_archive(name, f"/tmp/{odd}"))
        assert content(raw, odd) == b"content"
        assert engine.stat(name, f"/tmp/{odd}").size == 7


def test_names_that_are_not_utf_8(engine, container):
    name = container("created")
    tree = encode_entry(Entry("d\udcff", Kind.DIRECTORY, mode=0o755))
    data = os.urandom(3_000_000)
    engine.extract(
        name,
        "/tmp",
        plain(
            tree,
            file_entry("d\udcff/f\udcff", data),
            encode_entry(Entry("d\udcff/link", Kind.HARDLINK, link="d\udcff/f\udcff")),
            file_entry("other", b"not wanted"),
        ),
    )
    raw = read_all(engine.open_archive(name, "/tmp/d\udcff"))
    assert sorted(members(raw)) == ["d\udcff", "d\udcff/f\udcff", "d\udcff/link"]
    assert content(raw, "d\udcff/link") == data
    raw = read_all(engine.open_archive(name, "/tmp/d\udcff/f\udcff"))
    assert list(members(raw)) == ["f\udcff"] and content(raw, "f\udcff") == data
    archive = engine.open_archive(name, "/tmp/d\udcff/f\udcff")
    archive.readinto(memoryview(bytearray(100)))
    archive.close()
    assert engine.stat(name, "/tmp").is_dir


def test_without_any_program(engine, container, empty_image):
    name = container("created", image=empty_image, command=["none"])
    engine.extract(name, "/", plain(file_entry("f", b"data")))
    assert content(read_all(engine.open_archive(name, "/f")), "f") == b"data"
    assert [entry.name for entry in engine.list_dir(name, "/").entries if entry.name == "f"]


def test_volumes_are_reached_in_every_state(engine, docker, container, volume):
    kept = volume()
    for state in STATES:
        name = container(state, "-v", f"{kept}:/data")
        engine.extract(name, "/data", plain(file_entry(state, state.encode())))
    reader = container("created", "-v", f"{kept}:/elsewhere")
    for state in STATES:
        raw = read_all(engine.open_archive(reader, f"/elsewhere/{state}"))
        assert content(raw, state) == state.encode()


def test_files_go_by_descriptor(engine, container, tmp_path):
    name = container("created")
    path = tmp_path / "big"
    data = os.urandom(5_000_001)
    path.write_bytes(data)
    with path.open("rb") as file:
        fd = file.fileno()
        pieces = [*part_entry("a", fd, len(data)), *part_entry("b", fd, len(data)), END]
        engine.extract(name, "/tmp", Body(*pieces))
        length = sum(piece.size if hasattr(piece, "fd") else len(piece) for piece in pieces)
        engine.extract(name, "/tmp", Body(*pieces, length=length))
    for entry in ("a", "b"):
        assert content(read_all(engine.open_archive(name, f"/tmp/{entry}")), entry) == data


def test_a_file_that_ends_early_is_filled_up_and_marked(engine, container, tmp_path):
    name = container("created")
    path = tmp_path / "short"
    path.write_bytes(b"x" * 1000)
    with path.open("rb") as file:
        pieces = part_entry("f", file.fileno(), 500_000)
        engine.extract(name, "/tmp", Body(*pieces, END))
    assert pieces[1].short
    raw = read_all(engine.open_archive(name, "/tmp/f"))
    assert content(raw, "f") == b"x" * 1000 + bytes(499_000)


def test_seal(engine, container):
    name = container("created")
    engine.extract(name, "/tmp", plain(file_entry("f", b"old")))
    token = os.urandom(8).hex()
    engine.extract(name, "/tmp", sealed("f", b"new", token))
    assert content(read_all(engine.open_archive(name, "/tmp/f")), "f") == b"new"
    with pytest.raises(NoSuchPath):
        engine.stat(name, "/tmp/.volcopy-seal")
    with pytest.raises(EngineError, match="confirmed"):  # a 200 for a sealed body is no success
        engine.extract(name, "/tmp", Body(file_entry("g", b""), END, seal=token))
    with pytest.raises(NoSuchPath):  # and an early refusal is none either
        engine.extract(name, "/no/such", sealed("f", b"new", token))


def test_copy_uid_gid(engine, container):
    name = container("running", "-u", "1000")
    try:
        engine.extract(name, "/tmp", plain(file_entry("f", b"x", uid=5, gid=5)), copy_uid_gid=True)
    except EngineError as error:
        # 26.1 looks for a user it does not find in passwd by a program of the container
        assert "getent" in str(error)
        return
    assert members(read_all(engine.open_archive(name, "/tmp/f")))["f"].uid == 1000


@pytest.mark.parametrize("state", ["created", "running"])
def test_missing_places(engine, container, state):
    name = container(state)
    with pytest.raises(NoSuchPath, match=f"Could not find the file /no in container {name}"):
        engine.open_archive(name, "/no")
    with pytest.raises(NoSuchPath, match="Could not find the file /no"):
        engine.extract(name, "/no", plain(file_entry("f", b"")))
    engine.extract(name, "/tmp", plain(file_entry("f", b"")))
    with pytest.raises(NotADirectory):
        engine.extract(name, "/tmp/f", plain(file_entry("g", b"")))


def test_conflicts(engine, container):
    name = container("created")
    directory = encode_entry(Entry("d", Kind.DIRECTORY, mode=0o755))
    engine.extract(name, "/tmp", plain(directory, file_entry("f", b"")))
    with pytest.raises(Conflict, match="cannot overwrite"):
        engine.extract(name, "/tmp", plain(file_entry("d", b"")))
    with pytest.raises(Conflict, match="cannot overwrite"):
        engine.extract(name, "/tmp", plain(encode_entry(Entry("f", Kind.DIRECTORY, mode=0o755))))


def test_read_only(engine, container, volume):
    kept = volume()
    name = container("created", "--read-only", "-v", f"{kept}:/ro:ro")
    with pytest.raises(ReadOnlyTarget, match="container rootfs is marked read-only"):
        engine.extract(name, "/home", plain(file_entry("f", b"")))
    with pytest.raises(ReadOnlyTarget, match="mounted volume is marked read-only"):
        engine.extract(name, "/ro", plain(file_entry("f", b"")))


def test_a_mount_cannot_be_replaced_and_no_host_path_is_told(engine, docker, container):
    name = container()
    docker.sh(name, "test -f /etc/hosts")
    with pytest.raises(Busy) as caught:
        engine.extract(name, "/etc", plain(file_entry("hosts", b"x")))
    assert "hosts: device or resource busy" in str(caught.value)
    assert "overlay2" not in str(caught.value)
    assert docker.inspect(name)["Id"] not in str(caught.value)


def test_no_space(engine, docker, container, volume):
    kept = volume("--driver", "local", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m")
    name = container("running", "-v", f"{kept}:/data")
    with pytest.raises(NoSpace, match="no space left on device") as caught:
        engine.extract(name, "/data", plain(file_entry("f", os.urandom(4_000_000))))
    assert "overlay2" not in str(caught.value) and "/volumes/" not in str(caught.value)


def test_a_failing_body_is_never_a_clean_end(engine, container):
    name = container("created")
    engine.extract(name, "/tmp", plain(file_entry("f", b"old")))
    half = encode_entry(Entry("f", Kind.FILE, size=10_000_000))
    body = Body(file_entry(".aside", b"new"), half, b"x" * 600_000, OSError("disk broke"))
    with pytest.raises(OSError, match="disk broke"):
        engine.extract(name, "/tmp", body)
    assert engine.stat(name, "/tmp/f").size < 10_000_000  # not taken for a whole one
    with pytest.raises(EngineError, match="announced"):
        engine.extract(name, "/tmp", Body(file_entry("g", b""), END, length=99999))


def test_close_frees_the_container(engine, docker, container):
    name = container()
    docker.sh(name, "dd if=/dev/zero of=/big bs=1048576 count=64 2>/dev/null")
    archive = engine.open_archive(name, "/big")
    buffer = memoryview(bytearray(4096))
    assert archive.readinto(buffer)
    archive.close()
    archive.close()
    assert engine.container(name).running  # would wait for ever
    with pytest.raises(CutStream):
        archive.readinto(buffer)


def test_close_from_another_thread_wakes_the_reader(engine, docker, container):
    name = container()
    docker.sh(name, "dd if=/dev/zero of=/big bs=1048576 count=64 2>/dev/null")
    blocker = engine.open_archive(name, "/big")  # holds the lock: nothing more can be read
    blocker.readinto(memoryview(bytearray(4096)))
    failed: list[BaseException] = []

    def read() -> None:
        try:
            while blocker.readinto(memoryview(bytearray(4096))):
                pass
        except CutStream as problem:
            failed.append(problem)

    reader = threading.Thread(target=read)
    reader.start()
    blocker.close()
    reader.join(60)
    assert not reader.is_alive()


def test_a_cut_breaks_a_push(engine, container):
    name = container("created")
    cancel = Cancel()
    going = threading.Event()

    class Endless(Body):
        def __iter__(self):
            yield encode_entry(Entry(".aside", Kind.FILE, size=1 << 40))
            while True:
                cancel.check()
                going.set()
                yield bytes(1 << 16)

    body = Endless()
    body.cancel = cancel
    caught: list[BaseException] = []

    def push() -> None:
        try:
            engine.extract(name, "/tmp", body)
        except (TransferCancelled, EngineError) as problem:
            caught.append(problem)

    pusher = threading.Thread(target=push)
    pusher.start()
    assert going.wait(60)
    cancel.cancel(now=True)
    pusher.join(60)
    assert not pusher.is_alive() and caught
    wait_for(lambda: engine.stat(name, "/tmp").is_dir, "the container's lock")
