"""The tar reader and writer against two others: the standard library's tarfile and GNU tar."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import decode, encode
from jupyter_volcopy.core.tar import END, padding
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.tar_writer import encode_entry, encoded_length
from tests.fuzz.fuzz_tar import KINDS, read_all

slow_machine = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

components = st.one_of(
    st.text(st.characters(codec="ascii", exclude_characters="\0/"), min_size=1, max_size=70),
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=60
    ),
    st.binary(min_size=1, max_size=60).map(
        lambda raw: decode(raw.replace(b"\0", b"0").replace(b"/", b"_"))
    ),
)
names = st.lists(components, min_size=1, max_size=6).map("/".join)
owners = st.one_of(st.integers(0, 70_000), st.integers(0, (1 << 32) - 2))
times = st.one_of(
    st.integers(0, 1 << 34).map(lambda seconds: seconds * 10**9),
    st.integers(-(1 << 62), 1 << 62),
)
labels = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
xattrs = st.dictionaries(
    st.sampled_from(["security.capability", "user.ä", "user.x y"]),
    st.binary(max_size=40),
    max_size=2,
)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from([kind for kind in Kind if kind is not Kind.SOCKET]))
    content = draw(st.binary(max_size=1500)) if kind is Kind.FILE else b""
    device = kind in (Kind.CHARACTER, Kind.BLOCK)
    return (
        Entry(
            draw(names),
            kind,
            mode=draw(st.integers(0, 0o7777)),
            uid=draw(owners),
            gid=draw(owners),
            size=len(content),
            mtime_ns=draw(times),
            link=draw(names) if kind in (Kind.SYMLINK, Kind.HARDLINK) else "",
            major=draw(st.integers(0, 4095)) if device else 0,
            minor=draw(st.integers(0, (1 << 32) - 1)) if device else 0,
            xattrs=draw(xattrs),
            uname=draw(labels),
            gname=draw(labels),
        ),
        content,
    )


def write(found: list[tuple[Entry, bytes]], *, gnu: bool = False) -> bytes:
    parts = []
    for entry, content in found:
        header = encode_entry(entry, gnu=gnu)
        member = header + content + padding(len(content))
        assert len(member) == encoded_length(entry, gnu=gnu)
        assert len(member) % 512 == 0
        parts.append(member)
    return b"".join((*parts, END))


def open_tar(data: bytes) -> tarfile.TarFile:
    return tarfile.open(
        fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape"
    )


# ---------------------------------------------------------------- writer -> reader


@slow_machine
@given(st.lists(entries(), max_size=5))
def test_what_is_written_is_read(found: list[tuple[Entry, bytes]]) -> None:
    data = write(found)
    assert read_all(data) == found
    assert read_all(data, lenient=True) == found


@slow_machine
@given(st.lists(entries(), max_size=3))
def test_what_is_written_the_gnu_way_is_read(found: list[tuple[Entry, bytes]]) -> None:
    for entry, _ in found:
        entry.uname = entry.gname = ""
        entry.mtime_ns -= entry.mtime_ns % 10**9
    assert read_all(write(found, gnu=True)) == found


@slow_machine
@given(st.lists(entries(), max_size=4))
def test_what_is_written_tarfile_reads(found: list[tuple[Entry, bytes]]) -> None:
    with open_tar(write(found)) as archive:
        members = archive.getmembers()
        assert len(members) == len(found)
        for member, (entry, content) in zip(members, found, strict=True):
            assert (member.name, KINDS[member.type]) == (entry.name, entry.kind)
            assert (member.mode, member.uid, member.gid) == (entry.mode, entry.uid, entry.gid)
            assert (member.uname, member.gname) == (entry.uname, entry.gname)
            assert member.size == entry.size
            assert member.linkname == entry.link
            assert int(member.mtime // 1) == pytest.approx(entry.mtime_ns // 10**9, abs=1)
            if entry.kind is Kind.FILE:
                taken = archive.extractfile(member)
                assert taken is not None and taken.read() == content
            if entry.kind in (Kind.CHARACTER, Kind.BLOCK):
                assert (member.devmajor, member.devminor) == (entry.major, entry.minor)


def test_great_sizes() -> None:
    for size in (0o77777777777, 0o77777777777 + 1, 1 << 40):
        entry = Entry("src/big", Kind.FILE, size=size)
        for gnu in (False, True):
            header = encode_entry(entry, gnu=gnu)
            assert next(iter(TarReader(io.BytesIO(header)))).size == size
            with tarfile.open(fileobj=io.BytesIO(header), mode="r|") as archive:
                member = archive.next()
                assert member is not None and member.size == size


# --------------------------------------------------------------- tarfile -> reader


@slow_machine
@given(
    st.lists(entries(), max_size=4),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]),
)
def test_what_tarfile_writes_is_read(found: list[tuple[Entry, bytes]], form: int) -> None:
    types = {kind: letter for letter, kind in KINDS.items()}
    out = io.BytesIO()
    written = []
    with tarfile.open(
        fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for entry, content in found:
            entry.xattrs = {}
            if form != tarfile.PAX_FORMAT:
                entry.uname = entry.gname = ""
                entry.mtime_ns = entry.mtime_ns // 10**9 * 10**9
            if form == tarfile.USTAR_FORMAT:
                entry.mtime_ns = abs(entry.mtime_ns) % (10**9 << 33)
            else:  # tarfile's times are floats in PAX
                entry.mtime_ns = entry.mtime_ns // 10**9 * 10**9
            member = tarfile.TarInfo(entry.name)
            member.type = types[entry.kind]
            member.mode, member.uid, member.gid = entry.mode, entry.uid, entry.gid
            member.uname, member.gname = entry.uname, entry.gname
            member.size, member.mtime = entry.size, entry.mtime_ns // 10**9
            member.linkname = entry.link
            member.devmajor, member.devminor = entry.major, entry.minor
            try:
                archive.addfile(member, io.BytesIO(content))
            except ValueError:
                continue  # it cannot say that in this format
            written.append((entry, content))
    got = read_all(out.getvalue())
    assert got == written


# -------------------------------------------------------------------- GNU tar <->

gnu_tar = shutil.which("tar")
if gnu_tar and b"GNU tar" not in subprocess.run([gnu_tar, "--version"], capture_output=True).stdout:
    gnu_tar = None
needs_tar = pytest.mark.skipif(gnu_tar is None, reason="GNU tar is not here")


def tar(*arguments: str, data: bytes = b"", at: str | None = None) -> bytes:
    assert gnu_tar
    done = subprocess.run(
        [gnu_tar, *arguments],
        input=data,
        capture_output=True,
        cwd=at,
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC0"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def tree(tmp_path: object) -> str:
    top = os.path.join(str(tmp_path), "src")
    os.makedirs(os.path.join(top, "d", "e"))
    for name, content in (
        ("a", b"hello"),
        ("d/empty", b""),
        ("d/e/block", b"x" * 512),
        ("d/e/" + "n" * 60, b"y" * 1000),
        ("教程.ipynb", b"{}"),
    ):
        with open(os.path.join(top, name), "wb") as file:
            file.write(content)
    with open(os.path.join(encode(top), b"\xff\xfe"), "wb") as raw:
        raw.write(b"raw")
    os.symlink("../a", os.path.join(top, "d", "l"))
    os.link(os.path.join(top, "a"), os.path.join(top, "d", "h"))
    os.mkfifo(os.path.join(top, "p"))
    os.chmod(os.path.join(top, "a"), 0o4751)
    for path, _, files in os.walk(top):
        for name in [*files, "."]:
            os.utime(
                os.path.join(path, name),
                ns=(0, 1_700_000_000 * 10**9),
                follow_symlinks=False,
            )
    return top


def described(top: str) -> dict[str, tuple[Kind, int, bytes, str]]:
    """What a tree holds: kind, mode, content, link target by name."""
    found = {}
    base = os.path.dirname(top)
    for path, folders, files in os.walk(top):
        for name in [".", *files, *(f for f in folders if os.path.islink(os.path.join(path, f)))]:
            full = os.path.normpath(os.path.join(path, name))
            info = os.lstat(full)
            rel = os.path.relpath(full, base)
            mode = info.st_mode & 0o7777
            if os.path.islink(full):
                found[rel] = (Kind.SYMLINK, 0, b"", os.readlink(full))
            elif os.path.isdir(full):
                found[rel] = (Kind.DIRECTORY, mode, b"", "")
            elif os.path.isfile(full):
                with open(full, "rb") as file:
                    found[rel] = (Kind.FILE, mode, file.read(), "")
            else:
                found[rel] = (Kind.FIFO, mode, b"", "")
    return found


def as_described(data: bytes, *, lenient: bool) -> dict[str, tuple[Kind, int, bytes, str]]:
    found: dict[str, tuple[Kind, int, bytes, str]] = {}
    for entry, content in read_all(data, lenient=lenient):
        if entry.kind is Kind.HARDLINK:
            found[entry.name] = found[entry.link]
            continue
        mode = 0 if entry.kind is Kind.SYMLINK else entry.mode
        found[entry.name] = (entry.kind, mode, content, entry.link)
    return found


@needs_tar
@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "v7", "oldgnu"])
def test_what_gnu_tar_writes_is_read(tree: str, form: str) -> None:
    os.unlink(os.path.join(tree, "p"))  # v7 has no pipes
    data = tar("-c", f"--format={form}", "src", at=os.path.dirname(tree))
    assert as_described(data, lenient=True) == described(tree)
    if form in ("gnu", "pax", "ustar"):
        assert as_described(data, lenient=False) == described(tree)


@needs_tar
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_gnu_tar_with_long_names(tree: str, form: str) -> None:
    at = os.path.dirname(tree)
    deep = os.path.join(tree, *["component-of-thirty-characters"] * 10)
    os.makedirs(deep)
    os.symlink("t" * 300, os.path.join(deep, "l"))
    with open(os.path.join(deep, "ü" * 60), "wb") as file:
        file.write(b"deep")
    data = tar("-c", f"--format={form}", "src", at=at)
    for lenient in (False, True):
        assert as_described(data, lenient=lenient) == described(tree)


@needs_tar
@pytest.mark.parametrize("form", ["gnu", "oldgnu", "0.0", "0.1", "1.0"])
@pytest.mark.parametrize("runs", [0, 1, 3, 4, 5, 30, 100])
def test_sparse_files_of_gnu_tar(tmp_path: object, form: str, runs: int) -> None:
    at = str(tmp_path)
    size = (runs + 1) * 262_144
    with open(os.path.join(at, "s"), "wb") as file:
        for i in range(runs):
            file.seek(i * 262_144 + 65_536)
            file.write(b"%5d" % i * 100)
        file.truncate(size)
    with open(os.path.join(at, "z"), "wb") as file:
        file.write(b"after")
    kind = ["--format=pax", f"--sparse-version={form}"] if "." in form else [f"--format={form}"]
    data = tar("-c", "-S", "--hole-detection=raw", *kind, "s", "z", at=at)
    if len(data) > size and runs:
        pytest.fail("tar wrote no sparse member")
    (entry, content), (after, text) = read_all(data, lenient=True)
    assert (entry.name, entry.size, after.name, text) == ("s", size, "z", b"after")
    assert entry.sparse is not None
    whole = bytearray(entry.size)
    taken = 0
    for offset, length in entry.sparse:
        whole[offset : offset + length] = content[taken : taken + length]
        taken += length
    with open(os.path.join(at, "s"), "rb") as file:
        assert file.read() == whole


@needs_tar
@pytest.mark.parametrize("gnu", [False, True])
def test_what_is_written_gnu_tar_extracts(tree: str, tmp_path: object, gnu: bool) -> None:
    before = described(tree)
    parts = []
    for name, (kind, mode, content, link) in sorted(before.items()):
        entry = Entry(
            name,
            kind,
            mode=mode or 0o777,
            uid=os.getuid(),
            gid=os.getgid(),
            size=len(content),
            mtime_ns=1_700_000_000 * 10**9 + (0 if gnu else 500_000_000),
            link=link,
        )
        parts.append((entry, content))
    parts.append((Entry("src/" + "ü" * 100, Kind.FILE, uid=os.getuid(), gid=os.getgid()), b""))
    parts.append((Entry("src/" + "\udcff" * 120, Kind.FILE, uid=os.getuid(), gid=os.getgid()), b""))
    parts.append((Entry("src/hard", Kind.HARDLINK, mode=0o4751, link="src/a"), b""))
    out = os.path.join(str(tmp_path), "out")
    os.mkdir(out)
    tar("-x", "-p", data=write(parts, gnu=gnu), at=out)
    after = described(os.path.join(out, "src"))
    assert after.pop("src/" + "ü" * 100)[0] is Kind.FILE
    assert after.pop("src/" + "\udcff" * 120)[0] is Kind.FILE
    assert after.pop("src/hard") == after["src/a"]
    assert after == before
    stamp = os.stat(os.path.join(out, "src", "a")).st_mtime_ns
    assert stamp == parts[1][0].mtime_ns


@needs_tar
def test_gnu_tar_lists_a_great_member() -> None:
    entry = Entry("src/big", Kind.FILE, size=9 << 30, uid=3_000_000, gid=7, mtime_ns=-(10**9))
    for gnu in (False, True):
        header = encode_entry(entry, gnu=gnu)
        done = subprocess.run(
            [str(gnu_tar), "-tv", "--numeric-owner"],
            input=header,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC0"},
            timeout=60,
        )
        assert b"3000000/7" in done.stdout and b"%d" % (9 << 30) in done.stdout
        assert b"1969-12-31 23:59" in done.stdout
