"""The contract of `Engine`: programs, listings, archives by `tar`, owners."""

from __future__ import annotations

import os

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.engine import ExecResult
from jupyter_volcopy.core.listing import list_by_archive
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.owners import lookup, read_owners
from jupyter_volcopy.core.tar_writer import encode_entry
from jupyter_volcopy.errors import (
    AccessDenied,
    Conflict,
    EngineError,
    NoSuchPath,
    NotADirectory,
    NotFound,
    UnsafeEntry,
    UsageError,
)
from tests.engine.conftest import Body, content, file_entry, landed, members, plain, read_all
from tests.engine.test_archives import ODD

STATES = ["created", "running", "paused", "stopped"]


def test_execute(engine, container):
    name = container()
    result = engine.execute(name, ["sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in\0put")
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"in\0put", b"err\n")
    assert engine.execute(name, ["pwd"]).stdout == b"/\n"
    assert engine.execute(name, ["id", "-u"]).stdout == b"0\n"
    assert engine.execute(name, ["id", "-u"], user="1000:100").stdout == b"1000\n"
    assert engine.execute(name, ["no-such-program"]).exit_code in (126, 127)
    assert engine.execute(name, ["true"], stdin=b"x" * 3_000_000).exit_code == 0
    big = os.urandom(2_000_000)
    assert engine.execute(name, ["cat"], stdin=big).stdout == big


@pytest.mark.parametrize("state", ["created", "paused", "stopped"])
def test_programs_need_a_running_container(engine, container, state):
    name = container(state)
    for call in (
        lambda: engine.execute(name, ["true"]),
        lambda: engine.open_archive(name, "/tmp", live=True),
        lambda: engine.extract(name, "/tmp", plain(), user="1000"),
        lambda: engine.list_dir(name, "/tmp", user="1000"),
        lambda: engine.stat(name, "/tmp", user="1000"),
    ):
        with pytest.raises(Conflict, match="is paused" if state == "paused" else "not running"):
            call()


def _fill(engine, name: str, uid: int = 1000) -> None:
    directory = encode_entry(Entry("d", Kind.DIRECTORY, mode=0o755, uid=uid, gid=100))
    engine.extract(
        name,
        "/tmp",
        plain(
            directory,
            *[file_entry(f"d/{odd}", b"1234", uid=uid, gid=100) for odd in ODD],
            encode_entry(Entry("d/link", Kind.SYMLINK, link="to\nthe //end")),
            encode_entry(Entry("d/sub", Kind.DIRECTORY, mode=0o2750)),
            file_entry("d/sub/deep", b"", mode=0o4711),
            encode_entry(Entry("to-d", Kind.SYMLINK, link="d")),
        ),
    )


def _check(engine, listing) -> None:
    names = [entry.name for entry in listing.entries]
    assert listing.complete
    assert sorted(names) == sorted([*ODD, "link", "sub"])
    assert names == sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))
    found = {entry.name: entry for entry in listing.entries}
    for odd in ODD:
        entry = found[odd]
        assert (entry.kind, entry.size, entry.mode) == (Kind.FILE, 4, 0o644)
        assert (entry.uid, entry.gid, entry.owner) == (1000, 100, "nb")
    assert (found["sub"].kind, found["sub"].mode) == (Kind.DIRECTORY, landed(engine, 0o2750))
    assert (found["link"].kind, found["link"].link_target) == (Kind.SYMLINK, "to\nthe //end")


@pytest.mark.parametrize("state", STATES)
def test_list_dir(engine, container, state):
    name = container(state)
    _fill(engine, name)
    _check(engine, engine.list_dir(name, "/tmp/d"))
    _check(engine, engine.list_dir(name, "/tmp/to-d"))
    tree = engine.list_dir(name, "/tmp/d", recursive=True)
    deep = {entry.name: entry for entry in tree.entries}["sub/deep"]
    assert (deep.mode, deep.size) == (landed(engine, 0o4711), 0)
    with pytest.raises(NotADirectory):
        engine.list_dir(name, "/tmp/d/sub/deep")
    with pytest.raises(NoSuchPath):
        engine.list_dir(name, "/no/such")
    assert engine.list_dir(name, "/home").entries == () or state


def test_list_dir_with_gnu_programs(engine, container, gnu_image):
    name = container(image=gnu_image)
    _fill(engine, name)
    _check(engine, engine.list_dir(name, "/tmp/d"))
    exact = file_entry("exact", b"", mtime_ns=1_600_000_000_123_456_789)
    engine.extract(name, "/tmp", plain(exact))
    found = {entry.name: entry for entry in engine.list_dir(name, "/tmp").entries}
    assert found["exact"].mtime_ns // 10**9 == 1_600_000_000
    with pytest.raises(NotADirectory):
        engine.list_dir(name, "/tmp/exact")
    raw = read_all(engine.open_archive(name, "/tmp/d", live=True))
    assert len(members(raw)) == len(ODD) + 4
    body = plain(file_entry("new", b"by gnu tar"))
    engine.extract(name, "/tmp", body, user="1000:100")
    assert content(read_all(engine.open_archive(name, "/tmp/new")), "new") == b"by gnu tar"


def test_list_by_archive_hard_links_and_budget(engine, docker, container):
    name = container()
    docker.sh(name, "mkdir /h; echo 12345 > /h/a; ln /h/a /h/b; ln -s a /h/c")
    listing = list_by_archive(engine, name, "/h", recursive=False, budget=None)
    assert [(e.name, e.kind, e.size) for e in listing.entries] == [
        ("a", Kind.FILE, 6),
        ("b", Kind.FILE, 6),
        ("c", Kind.SYMLINK, 0),
    ]
    docker.sh(name, "dd if=/dev/zero of=/h/aa bs=1048576 count=16 2>/dev/null")
    assert not list_by_archive(engine, name, "/h", recursive=False, budget=1 << 20).complete


def test_list_dir_of_an_odd_directory(engine, container):
    name = container()
    for odd in ODD:
        directory = encode_entry(Entry(odd, Kind.DIRECTORY, mode=0o755))
        engine.extract(name, "/home", plain(directory, file_entry(f"{odd}/f", b"")))
        assert [e.name for e in engine.list_dir(name, f"/home/{odd}").entries] == ["f"]


def test_a_user_sees_what_the_user_may(engine, docker, container):
    name = container()
    docker.sh(name, "mkdir -m 700 /secret; echo x > /secret/f; echo y > /open; chmod 600 /open")
    with pytest.raises(AccessDenied):
        engine.list_dir(name, "/secret", user="1000:100")
    with pytest.raises(AccessDenied):
        engine.stat(name, "/secret/f", user="1000:100")
    with pytest.raises(AccessDenied):
        read_all(engine.open_archive(name, "/open", user="1000:100"))
    with pytest.raises(AccessDenied):
        engine.extract(name, "/", plain(file_entry("f", b"")), user="1000:100")
    assert [e.name for e in engine.list_dir(name, "/secret").entries] == ["f"]


def test_tmpfs_is_seen_live(engine, docker, container, request):
    name = container("running", "--tmpfs", "/scratch")
    docker.sh(name, "echo hidden > /scratch/f")
    assert [e.name for e in engine.list_dir(name, "/scratch").entries] == ["f"]
    raw = read_all(engine.open_archive(name, "/scratch/f", live=True))
    assert content(raw, "f") == b"hidden\n"
    engine.extract(name, "/scratch", plain(file_entry("g", b"pushed", uid=3)), live=True)
    assert docker.read(name, "/scratch/g") == b"pushed"
    assert engine.stat(name, "/scratch/g", user="0:0").uid == 3
    if "direct" not in request.node.callspec.id:  # which sees it as a process there does
        with pytest.raises(NoSuchPath):
            engine.stat(name, "/scratch/g")


def test_archive_by_tar_has_the_engine_s_shape(engine, docker, container):
    name = container()
    _fill(engine, name)
    ours = members(read_all(engine.open_archive(name, "/tmp/d", live=True)))
    theirs = members(read_all(engine.open_archive(name, "/tmp/d")))
    assert set(ours) == set(theirs)
    inside = members(read_all(engine.open_archive(name, "/tmp/to-d/.", live=True)))
    assert "./sub" in inside
    engine.extract(name, "/tmp", plain(file_entry("-rf", b"", uid=1000)))
    assert set(members(read_all(engine.open_archive(name, "/tmp/-rf", user="1000:100")))) == {"-rf"}
    with pytest.raises(AccessDenied):
        read_all(engine.open_archive(name, "/tmp/d", user="1000:100"))  # d/sub is root's
    with pytest.raises(NoSuchPath):
        engine.open_archive(name, "/tmp/nothing", live=True)


def test_extract_by_tar(engine, docker, container):
    name = container()
    docker.sh(
        name,
        "mkdir -p /tmp/w/sub/old /tmp/w/only; echo old > /tmp/w/f; echo keep > /tmp/w/sub/k;"
        "echo victim > /tmp/victim; ln -s /tmp/victim /tmp/w/l; chown -R 1000:100 /tmp/w",
    )
    body = plain(
        file_entry("f", b"new"),
        file_entry("l", b"replaces the link"),
        encode_entry(Entry("sub", Kind.DIRECTORY, mode=0o750)),
        file_entry("sub/x", b"1"),
        encode_entry(Entry("sub/old", Kind.DIRECTORY, mode=0o755)),
        file_entry("sub/old/y", b"2", mode=0o755),
        encode_entry(Entry("fresh", Kind.DIRECTORY, mode=0o755)),
        file_entry("fresh/z", b"3"),
        *[file_entry(odd, b"odd") for odd in ODD if "\udcff" not in odd],
    )
    engine.extract(name, "/tmp/w", body, user="1000:100")
    assert docker.read(name, "/tmp/w/f") == b"new"
    assert docker.read(name, "/tmp/victim") == b"victim\n"
    assert docker.read(name, "/tmp/w/l") == b"replaces the link"
    assert docker.read(name, "/tmp/w/sub/k") == b"keep\n"
    assert docker.read(name, "/tmp/w/sub/old/y") == b"2"
    assert docker.read(name, "/tmp/w/fresh/z") == b"3"
    found = {entry.name: entry for entry in engine.list_dir(name, "/tmp/w").entries}
    assert found["f"].uid == 1000 and found["sub"].mode == 0o750
    assert set(ODD) - {"bad\udcff\udcfe"} <= set(found)
    assert not [entry for entry in found if entry.startswith(".volcopy-")]
    engine.extract(name, "/tmp/w/only", plain(file_entry("bad\udcff", b"x")), user="1000:100")
    assert [e.name for e in engine.list_dir(name, "/tmp/w/only").entries] == ["bad\udcff"]


def test_extract_by_tar_changes_nothing_when_it_fails(engine, docker, container):
    name = container()
    docker.sh(name, "mkdir -p /tmp/w/d; echo old > /tmp/w/f; chown -R 1000:100 /tmp/w")
    with pytest.raises(Conflict, match="cannot overwrite directory"):
        body = plain(file_entry("f", b"new"), file_entry("d", b"no"))
        engine.extract(name, "/tmp/w", body, user="1000:100")
    with pytest.raises(OSError, match="broke"):
        body = Body(file_entry("f", b"new"), OSError("broke"))
        engine.extract(name, "/tmp/w", body, user="1000:100")
    with pytest.raises((EngineError, UnsafeEntry)):
        engine.extract(name, "/tmp/w", Body(b"no tar at all" * 1000), user="1000:100")
    assert docker.read(name, "/tmp/w/f") == b"old\n"
    assert [e.name for e in engine.list_dir(name, "/tmp/w").entries] == ["d", "f"]


@pytest.mark.parametrize("state", STATES)
def test_owners(engine, container, state):
    name = container(state, "-u", "nb")
    assert read_owners(engine, name).user(1000) == "nb"
    assert lookup(engine, name, "7:8") == (7, 8)
    assert lookup(engine, name, "nb")[0] == 1000
    assert lookup(engine, name, "container") == lookup(engine, name, "nb")
    assert lookup(engine, name, "root:5") == (0, 5)
    assert lookup(engine, name, "4321") == (4321, 4321)
    for spec in ("nobody-here", "nb:no-such-group"):
        with pytest.raises(NotFound):
            lookup(engine, name, spec)
    for spec in ("", ":", "a:b:c", "nb:"):
        with pytest.raises(UsageError):
            lookup(engine, name, spec)


def test_owner_of_a_container(engine, container, empty_image):
    name = container("created", "-e", "NB_UID=1234", "-e", "NB_GID=99")
    assert lookup(engine, name, "container") == (1234, 99)
    assert lookup(engine, container("created"), "container") == (0, 0)
    bare = container("created", "-u", "777", image=empty_image, command=["none"])
    assert lookup(engine, bare, "container") == (777, 0)


def test_a_listing_that_ends_with_its_container_is_made_by_the_archive(
    docker, container, monkeypatch
):
    """What a program says while its container ends is cut; nothing of it counts."""
    name = container()
    docker.sh(name, "mkdir /t; touch /t/a /t/b")
    with open_engine() as engine:
        engine.list_dir(name, "/t")  # which program lists is found out
        real = engine.execute

        def execute(ident, argv, **more):
            result = real(ident, argv, **more)
            if argv[0] != "find":
                return result
            docker("restart", "-t", "0", name)
            return ExecResult(0, result.stdout[:-7], b"")

        monkeypatch.setattr(engine, "execute", execute)
        assert [item.name for item in engine.list_dir(name, "/t").entries] == ["a", "b"]
        monkeypatch.setattr(engine, "execute", lambda *_, **__: ExecResult(0, b"nonsense", b""))
        with pytest.raises(EngineError, match="no listing"):
            engine.list_dir(name, "/t")
