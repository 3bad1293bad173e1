"""The tar reader on archives made by hand: what it takes, what it refuses, what it says."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import random
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.tar import (
    BLOCK,
    BUFFER,
    END,
    checksum,
    compression,
    number,
    padding,
    pax_record,
    pax_records,
    pax_time,
)
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.tar_writer import encode_entry, encoded_length
from jupyter_volcopy.errors import (
    CutStream,
    LimitExceeded,
    UnsafeEntry,
    UsageError,
    VolcopyError,
)
from tests.fuzz.fuzz_tar import read_all

CORPUS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "faults", "make_hostile.py")
INVALID = "archive/tar: invalid tar header"


class Pieces:
    """A source that gives what an iterator gives, in those pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = iter(pieces)
        self.rest = b""

    def readinto(self, buffer: memoryview) -> int:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.rest = piece
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


def header(
    name: bytes = b"src/a",
    size: int | bytes = 0,
    kind: bytes = b"0",
    link: bytes = b"",
    **fields: bytes | None,
) -> bytes:
    """One header; every field can be given raw."""
    raw: dict[str, bytes | None] = {
        "mode": b"0000644\0",
        "uid": b"0001750\0",
        "gid": b"0000144\0",
        "mtime": b"14524770400\0",
        "checksum": None,
        "magic": b"ustar\x0000",
        "uname": b"",
        "gname": b"",
        "major": b"0000000\0",
        "minor": b"0000000\0",
        "prefix": b"",
        "rest": b"",
        **fields,
    }
    widths = {"uname": 32, "gname": 32, "prefix": 155, "rest": 12, "mtime": 12}
    cells = {key: (value or b"").ljust(widths.get(key, 8), b"\0") for key, value in raw.items()}
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            cells["mode"],
            cells["uid"],
            cells["gid"],
            size if isinstance(size, bytes) else b"%011o\0" % size,
            cells["mtime"],
            b" " * 8,
            kind,
            link.ljust(100, b"\0"),
            cells["magic"],
            cells["uname"],
            cells["gname"],
            cells["major"],
            cells["minor"],
            cells["prefix"],
            cells["rest"],
        )
    )
    assert len(block) == BLOCK
    said = raw["checksum"] or b"%06o\0 " % sum(block)
    return block[:148] + said + block[156:]


def body(data: bytes) -> bytes:
    return data + padding(len(data))


def member(name: bytes = b"src/a", data: bytes = b"data\n", **fields: Any) -> bytes:
    return header(name, len(data), **fields) + body(data)


def pax(*records: tuple[bytes, bytes], raw: bytes | None = None, kind: bytes = b"x") -> bytes:
    data = b"".join(pax_record(*record) for record in records) if raw is None else raw
    return header(b"PaxHeaders.0/x", len(data), kind) + body(data)


def gnu(kind: bytes, data: bytes) -> bytes:
    return header(b"././@LongLink", len(data), kind, magic=b"ustar  \0") + body(data)


def base256(value: int, width: int) -> bytes:
    raw = value.to_bytes(width, "big", signed=True)
    return bytes([raw[0] | 0x80]) + raw[1:]


def only(data: bytes, **options: Any) -> Entry:
    [(entry, _)] = read_all(data + END, **options)
    return entry


# ---------------------------------------------------------------- what is taken


def test_a_file_and_all_its_fields() -> None:
    data = header(b"src/a", 5, uname=b"nb", gname=b"users") + body(b"hello") + END
    [(entry, content)] = read_all(data)
    assert content == b"hello"
    assert entry == Entry(
        "src/a",
        Kind.FILE,
        mode=0o644,
        uid=1000,
        gid=100,
        size=5,
        mtime_ns=1_700_000_000 * 10**9,
        uname="nb",
        gname="users",
    )


def test_kinds() -> None:
    data = b"".join(
        (
            header(b"src/", 0, b"5"),
            header(b"src/l", 0, b"2", b"../x/"),
            header(b"src/h", 0, b"1", b"src/a"),
            header(b"src/c", 0, b"3", major=b"0000001\0", minor=b"0000003\0"),
            header(b"src/b", 0, b"4", major=b"0000010\0", minor=b"0000000\0"),
            header(b"src/p", 0, b"6"),
            END,
        )
    )
    found = [(e.name, e.kind, e.link, e.major, e.minor) for e, _ in read_all(data)]
    assert found == [
        ("src", Kind.DIRECTORY, "", 0, 0),
        ("src/l", Kind.SYMLINK, "../x/", 0, 0),
        ("src/h", Kind.HARDLINK, "src/a", 0, 0),
        ("src/c", Kind.CHARACTER, "", 1, 3),
        ("src/b", Kind.BLOCK, "", 8, 0),
        ("src/p", Kind.FIFO, "", 0, 0),
    ]


def test_the_root_keeps_its_slash() -> None:
    assert only(header(b"/", 0, b"5")).name == "/"
    assert only(header(b"./", 0, b"5")).name == "."


def test_type_bits_in_the_mode_are_dropped() -> None:
    assert only(header(b"src/", 0, b"5", mode=b"0040755\0")).mode == 0o755
    assert only(header(mode=b"0104755\0")).mode == 0o4755


def test_prefix_and_long_names() -> None:
    assert only(header(b"a", prefix=b"src/" + b"d" * 100)).name == "src/" + "d" * 100 + "/a"
    long = b"src/" + b"n" * 250
    assert only(pax((b"path", long)) + header()).name == long.decode()
    assert only(gnu(b"L", long + b"\0") + header(magic=b"ustar  \0")).name == long.decode()
    linked = gnu(b"K", long + b"\0") + header(b"src/l", 0, b"2", b"src/nn")
    assert only(linked).link == long.decode()
    assert only(pax((b"linkpath", long)) + header(b"src/l", 0, b"2", b"t")).link == long.decode()


def test_bytes_that_are_not_utf8_survive() -> None:
    assert only(header(b"src/\xff\xfe")).name == "src/\udcff\udcfe"
    assert only(pax((b"path", b"src/\xff")) + header()).name == "src/\udcff"


def test_pax_wins_over_the_header() -> None:
    inner = member(b"src/smuggled", b"s" * 512)
    data = pax((b"size", b"1024")) + header(b"src/a", 0) + inner + member(b"src/b") + END
    found = read_all(data)
    assert [entry.name for entry, _ in found] == ["src/a", "src/b"]
    assert found[0][1] == inner[:1024]
    less = pax((b"size", b"5")) + header(b"src/a", 4096) + body(b"hello") + END
    assert read_all(less)[0][1] == b"hello"
    owner = only(
        pax((b"uid", b"3000000"), (b"gid", b"3000001"), (b"uname", "ü".encode()))
        + header(uid=b"0000000\0")
    )
    assert (owner.uid, owner.gid, owner.uname) == (3000000, 3000001, "ü")


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"0", 0),
        (b"1700000000", 1_700_000_000 * 10**9),
        (b"1.5", 1_500_000_000),
        (b"1.", 10**9),
        (b"-1.5", -1_500_000_000),
        (b"-0.25", -250_000_000),
        (b"1.0000000019", 10**9 + 1),
        (b"9" * 400, (1 << 40) * 10**9),
        (b"-" + b"9" * 5000, -(1 << 40) * 10**9),
    ],
)
def test_times(text: bytes, nanoseconds: int) -> None:
    assert only(pax((b"mtime", text)) + header()).mtime_ns == nanoseconds


def test_a_time_in_base_256() -> None:
    assert only(header(mtime=base256(-5, 12))).mtime_ns == -5 * 10**9
    assert only(header(mtime=base256(1 << 80, 12))).mtime_ns == (1 << 40) * 10**9


def test_capabilities() -> None:
    value = b"\x01\0\0\x02\x80\n=\0"
    data = pax((b"SCHILY.xattr.security.capability", value), (b"comment", b"no matter")) + header()
    assert only(data).xattrs == {"security.capability": value}


def test_content_need_not_be_read() -> None:
    data = member(b"src/a", b"a" * 3000) + member(b"src/b", b"b" * 700) + END
    reader = TarReader(io.BytesIO(data))
    assert [entry.name for entry in reader] == ["src/a", "src/b"]
    assert reader.complete
    assert reader.position == len(data)
    assert list(reader) == []


def test_content_is_read_once() -> None:
    reader = TarReader(io.BytesIO(member(data=b"x" * 1000) + END))
    for _ in reader:
        out = bytearray()
        assert reader.read(out.extend) == 1000
        assert reader.read(out.extend) == 0
        assert out == b"x" * 1000


def test_content_read_in_part_is_left_behind() -> None:
    data = member(b"src/a", b"a" * (3 * BUFFER)) + member(b"src/b", b"b") + END
    reader = TarReader(io.BytesIO(data))

    class Full(Exception):
        pass

    def write(piece: memoryview) -> None:
        raise Full

    names = []
    for entry in reader:
        names.append(entry.name)
        with pytest.raises(Full):
            reader.read(write)
    assert names == ["src/a", "src/b"]


@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 4096, BUFFER])
def test_any_size_of_pieces(step: int) -> None:
    content = random.Random(1).randbytes(5000)
    data = header(b"src/", 0, b"5") + member(b"src/a", content) + member(b"src/b", b"") + END
    reader = TarReader(Pieces(data[at : at + step] for at in range(0, len(data), step)))
    found = []
    for entry in reader:
        out = bytearray()
        reader.read(out.extend)
        found.append((entry.name, bytes(out)))
    assert found == [("src", b""), ("src/a", content), ("src/b", b"")]


def test_content_comes_in_great_pieces() -> None:
    sizes = []
    reader = TarReader(io.BytesIO(member(data=bytes(5 * BUFFER)) + END))
    for _ in reader:
        reader.read(lambda piece: sizes.append(len(piece)))
    assert len(sizes) == 6 and max(sizes) == BUFFER


# -------------------------------------------------------------- what is refused

STRICT: dict[str, bytes] = {
    "garbage": b"this is no archive" * 100,
    "checksum wrong": header(checksum=b"000001\0 "),
    "checksum empty": header(checksum=bytes(8)),
    "checksum signed": header(
        b"src/\xff", checksum=b"%06o\0 " % (checksum(header(b"src/\xff")) - 256)
    ),
    "size not octal": header(size=b"99999999999\0"),
    "size with a letter": header(size=b"0000000000x\0"),
    "size with a sign": header(size=b"-0000000005\0"),
    "size with a plus": header(size=b"+0000000005\0"),
    "size with an underscore": header(size=b"00000_00005\0"),
    "size with a prefix": header(size=b"0o000000005\0"),
    "size in two parts": header(size=b"00005\0" + b"00005\0"),
    "size in two parts by a space": header(size=b"00005 00005\0"),
    "size after spaces": header(size=b"          5\0"),
    "size empty": header(size=bytes(12)),
    "size of spaces": header(size=b" " * 12),
    "size negative": header(size=base256(-512, 12)),
    "size in base-256 with odd bits": header(size=b"\x81" + bytes(10) + b"\5"),
    "size minus one": header(size=base256(-1, 12)),
    "size over 63 bits": header(size=base256(1 << 63, 12)),
    "size over 64 bits": header(size=base256(1 << 64, 12)),
    "mode not octal": header(mode=b"000064x\0"),
    "mode negative": header(mode=base256(-1, 8)),
    "uid not octal": header(uid=b"00008888"),
    "uid negative": header(uid=base256(-1, 8)),
    "uid over 32 bits": header(uid=base256(1 << 40, 8)),
    "uid that means unchanged": header(uid=base256((1 << 32) - 1, 8)),
    "gid not octal": header(gid=b"nobody\0\0"),
    "mtime not octal": header(mtime=b"yesterday\0\0\0"),
    "device not octal": header(b"src/d", 0, b"3", major=b"first\0\0\0"),
    "device of a file not octal": header(major=b"0000009\0"),
    "device negative": header(b"src/d", 0, b"3", minor=base256(-1, 8)),
    "v7": header(magic=bytes(8)),
    "magic of no one": header(magic=b"ustar\x0001"),
    "star": header(rest=b"\0" * 8 + b"tar\0"),
    "old GNU extension": header(magic=b"ustar  \0", rest=b"\0\0\0\x01"),
    "GNU prefix": header(magic=b"ustar  \0", prefix=b"src"),
    "name empty": header(b""),
    "name empty with a prefix of slashes": header(b"", kind=b"2", link=b"/etc"),
    "name with a NUL": header(b"src/a\0/b"),
    "prefix with a NUL": header(b"a", prefix=b"src\0x"),
    "prefix after a NUL": header(b"a", prefix=b"\0src"),
    "owner with a NUL": header(uname=b"a\0b"),
    "target empty": header(b"src/l", 0, b"2"),
    "target of a hard link empty": header(b"src/l", 0, b"1"),
    "target with a NUL": header(b"src/l", 0, b"2", b"a\0b"),
    "directory with two slashes": header(b"src//", 0, b"5"),
    "directory of two slashes": header(b"//", 0, b"5"),
    "file with a slash": header(b"src/a/"),
    "link with a slash": header(b"src/l/", 0, b"2", b"a"),
    "directory with content": member(b"src/", kind=b"5"),
    "symlink with content": member(b"src/l", kind=b"2", link=b"a"),
    "hard link with content": member(b"src/l", kind=b"1", link=b"src/a"),
    "fifo with content": member(b"src/p", kind=b"6"),
    "device with content": member(b"src/d", kind=b"3"),
    "directory with PAX content": pax((b"size", b"512")) + header(b"src/", 0, b"5") + bytes(512),
    **{
        f"type {kind!r}": member(b"src/v", kind=kind)
        for kind in (
            b"\0",
            b"7",
            b"A",
            b"D",
            b"I",
            b"M",
            b"N",
            b"Q",
            b"S",
            b"V",
            b"X",
            b"Z",
            b"g",
            b" ",
        )
    },
    "PAX record past the end": pax(raw=b"999 path=src/x\n"),
    "PAX record too short": pax(raw=b"3 path=src/x\n"),
    "PAX record of nothing": pax(raw=b"0 path=src/x\n"),
    "PAX record of three": pax(raw=b"3 \n"),
    "PAX length negative": pax(raw=b"-15 path=src/x\n"),
    "PAX length with zeros": pax(raw=b"0015 path=src/x\n"),
    "PAX length empty": pax(raw=b" path=src/x\n"),
    "PAX length without end": pax(raw=b"9" * 600),
    "PAX length with a sign": pax(raw=b"+15 path=src/x\n"),
    "PAX record off by one": pax(raw=b"13 path=src/x\n" + b"9 comm=a\n"),
    "PAX newline missing": pax(raw=b"14 path=src/xx"),
    "PAX last newline missing": pax(raw=b"11 path=ab\n" + b"11 path=abc"),
    "PAX equals missing": pax(raw=b"12 path src\n"),
    "PAX keyword empty": pax(raw=b"9 =src/x\n"),
    "PAX NULs behind": pax(raw=b"14 path=src/x\n\0\0\0\0"),
    "PAX keyword twice": pax((b"path", b"src/a"), (b"path", b"src/b")),
    "PAX xattr twice": pax((b"SCHILY.xattr.user.a", b"1"), (b"SCHILY.xattr.user.a", b"2")),
    "PAX path with a NUL": pax((b"path", b"src/a\0/../x")),
    "PAX path empty": pax((b"path", b"")),
    "PAX size empty": pax((b"size", b"")),
    "PAX size negative": pax((b"size", b"-1")),
    "PAX size with a sign": pax((b"size", b"+1")),
    "PAX size with a space": pax((b"size", b" 1")),
    "PAX size in hexadecimal": pax((b"size", b"0x10")),
    "PAX size with a fraction": pax((b"size", b"1.5")),
    "PAX size too great": pax((b"size", b"9223372036854775808")),
    "PAX size of many digits": pax((b"size", b"9" * 5000)),
    "PAX size in other digits": pax((b"size", "١".encode())),
    "PAX uid negative": pax((b"uid", b"-1")),
    "PAX uid too great": pax((b"uid", b"4294967295")),
    "PAX gid a word": pax((b"gid", b"users")),
    "PAX mtime a word": pax((b"mtime", b"nan")),
    "PAX mtime with an exponent": pax((b"mtime", b"1e400")),
    "PAX mtime of two points": pax((b"mtime", b"1.2.3")),
    "PAX mtime of two signs": pax((b"mtime", b"--1")),
    "PAX xattr without a name": pax((b"SCHILY.xattr.", b"1")),
    "PAX sparse": pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")),
    "PAX sparse 0.1": pax((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.size", b"1")),
    "PAX sparse of star": pax((b"SCHILY.realsize", b"1")),
    "PAX twice": pax((b"path", b"src/a")) + pax((b"uid", b"1")),
    "PAX global": pax((b"comment", b"x"), kind=b"g"),
    "long name without a NUL": gnu(b"L", b"src/long"),
    "long name with more behind": gnu(b"L", b"src/long\0x\0"),
    "long name empty": gnu(b"L", b"\0"),
    "long name of nothing": gnu(b"L", b""),
    "long name twice": gnu(b"L", b"src/b\0") + gnu(b"L", b"src/c\0"),
    "long link twice": gnu(b"K", b"src/b\0") + gnu(b"K", b"src/c\0"),
    "long name and PAX name": gnu(b"L", b"src/b\0") + pax((b"path", b"src/c")),
    "PAX name and long name": pax((b"path", b"src/c")) + gnu(b"L", b"src/b\0"),
    "extended header of an odd owner": header(b"x", 14, b"x", uid=b"00/00000")
    + body(b"14 path=src/x\n"),
    "extended header of an odd time": header(b"x", 6, b"L", mtime=b"S0", magic=b"ustar  \0")
    + body(b"src/x\0"),
    "PAX huge": header(b"x", 1 << 30, b"x"),
    "PAX a byte over the limit": header(b"x", (1 << 20) + 1, b"x"),
    "long name huge": header(b"x", (1 << 33) - 1, b"L"),
    "extended header of negative size": header(b"x", base256(-512, 12), b"x"),
}


@pytest.mark.parametrize("case", sorted(STRICT))
def test_refused(case: str) -> None:
    data = STRICT[case] + member(b"src/z") + END
    with pytest.raises((UnsafeEntry, LimitExceeded)) as caught:
        read_all(header(b"src/", 0, b"5") + data)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("case", sorted(STRICT))
def test_lenient_ends_too(case: str) -> None:
    try:
        read_all(STRICT[case] + member(b"src/z") + END, lenient=True, max_bytes=1 << 20)
    except VolcopyError as error:
        assert str(error).isprintable()


def test_an_extended_header_without_a_member() -> None:
    for data in (pax((b"path", b"src/a")), gnu(b"L", b"src/a\0"), gnu(b"K", b"src/a\0")):
        with pytest.raises(UnsafeEntry, match=INVALID):
            read_all(data + END)
        with pytest.raises(CutStream):
            read_all(data, lenient=True)


def test_garbage_says_what_docker_says() -> None:
    with pytest.raises(UnsafeEntry, match=INVALID):
        read_all(b"garbage" * 1000)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_compressed_archive_is_named(lenient: bool, size: int) -> None:
    import bz2
    import lzma

    plain = member(data=random.Random(2).randbytes(size)) + END
    zstd = b"\x28\xb5\x2f\xfd" + plain
    for packed, name in (
        (gzip.compress(plain), "gzip"),
        (bz2.compress(plain), "bzip2"),
        (lzma.compress(plain), "xz"),
        (zstd, "zstd"),
        (zstd[:50], "zstd"),
    ):
        with pytest.raises(UnsafeEntry, match=rf"compressed \({name}\)"):
            read_all(packed, lenient=lenient)


def test_a_name_like_a_magic_number_is_a_name() -> None:
    assert only(header(b"BZh91AY")).name == "BZh91AY"
    assert compression(header(b"src")) == ""


def test_messages_show_no_controls() -> None:
    with pytest.raises(UnsafeEntry) as caught:
        read_all(pax((b"path", b"\x1b[2J\x07\xff"), (b"size", b"\x1b")) + header() + END)
    assert str(caught.value).isprintable()
    with pytest.raises(UnsafeEntry) as caught:
        read_all(member(b"a\x1b[2J") + header(b"b\nc", 0, b"\x07") + END)
    assert str(caught.value).isprintable()


# ------------------------------------------------------------------ the end mark


def archive() -> bytes:
    """Forty blocks."""
    parts = [header(b"src/", 0, b"5"), pax((b"path", b"src/" + b"n" * 120))]
    parts.append(member(b"src/n", b"A" * 3000))
    parts += [member(b"src/%d" % i, b"B" * 1100) for i in range(6)]
    data = b"".join(parts) + header(b"src/l", 0, b"2", b"a") + END
    assert len(data) // BLOCK >= 37
    return data


@pytest.mark.parametrize("off", [0, 1, 511])
def test_cut_anywhere(off: int) -> None:
    data = archive()
    for at in range(off, len(data), BLOCK):
        with pytest.raises(CutStream, match="unexpected EOF"):
            read_all(data[:at])
    read_all(data)


def test_a_cut_names_the_file() -> None:
    data = header(b"src/", 0, b"5") + member(b"src/data.bin", b"A" * 3000) + END
    with pytest.raises(CutStream, match=r'unexpected EOF: .* while "src/data.bin" was read'):
        read_all(data[:2000])
    reader = TarReader(io.BytesIO(data[:2000]))
    with pytest.raises(CutStream, match=r"src/data\.bin"):
        list(reader)


def test_a_cut_before_any_name() -> None:
    with pytest.raises(CutStream, match="unexpected EOF: the archive is empty"):
        read_all(b"")
    for data in (header()[:100], pax((b"comment", b"x" * 900))[:1000]):
        with pytest.raises(CutStream, match="unexpected EOF: the archive ended early"):
            read_all(data)
        with pytest.raises(CutStream, match="unexpected EOF: the archive ended early"):
            list(TarReader(Pieces(data[at : at + 512] for at in range(0, len(data), 512))))


def test_lenient_takes_an_archive_without_its_end() -> None:
    data = member(b"src/a")
    for end in (b"", bytes(512)):
        reader = TarReader(io.BytesIO(data + end), lenient=True)
        assert [entry.name for entry in reader] == ["src/a"]
        assert reader.complete is bool(end)
    assert read_all(b"", lenient=True) == []
    with pytest.raises(CutStream):
        read_all(data[:-1], lenient=True)


def test_behind_the_end_mark() -> None:
    data = member(b"src/a") + END
    assert len(read_all(data + bytes(9000))) == 1
    assert len(read_all(data + bytes(100))) == 1
    for more in (member(b"src/b") + END, b"x", bytes(100_000) + b"x"):
        with pytest.raises(UnsafeEntry, match="follows the end"):
            read_all(data + more)
        assert [entry.name for entry, _ in read_all(data + more, lenient=True)] == ["src/a"]
    with pytest.raises(UnsafeEntry):
        read_all(member(b"src/a") + bytes(512) + member(b"src/b") + END)


def test_zeros_without_end() -> None:
    def zeros() -> Iterator[bytes]:
        yield member(b"src/a") + END
        while True:
            yield bytes(1 << 16)

    with pytest.raises(LimitExceeded):
        list(TarReader(Pieces(zeros())))
    with pytest.raises(LimitExceeded):
        list(TarReader(Pieces(zeros()), lenient=True, max_bytes=1 << 20))


# ------------------------------------------------------------------------ limits


def test_limits() -> None:
    data = b"".join(member(b"src/%d" % i, b"x" * 100) for i in range(10)) + END
    assert len(read_all(data, max_entries=10, max_bytes=1000)) == 10
    with pytest.raises(LimitExceeded, match="more than 9 entries"):
        read_all(data, max_entries=9)
    with pytest.raises(LimitExceeded, match="more than 999 bytes"):
        read_all(data, max_bytes=999)


def test_depth() -> None:
    deep = b"/".join([b"d"] * 512)
    assert only(pax((b"path", deep)) + header()).name == deep.decode()
    with pytest.raises(LimitExceeded, match="512 levels"):
        only(pax((b"path", deep + b"/d")) + header())


def test_an_extended_header_of_the_greatest_size() -> None:
    value = b"v" * ((1 << 20) - len("1048576 SCHILY.xattr.user.a=\n"))
    data = pax((b"SCHILY.xattr.user.a", value)) + header()
    assert only(data).xattrs == {"user.a": value}


def test_memory_does_not_grow() -> None:
    import tracemalloc

    def members() -> Iterator[bytes]:
        for i in range(30):
            yield b"".join(
                pax((b"path", b"src/%d-%d" % (i, j))) + member(mtime=b"%011o\0" % (i * 100 + j))
                for j in range(50)
            )
        yield END

    tracemalloc.start()
    try:
        assert sum(1 for _ in TarReader(Pieces(members()))) == 1_500
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


# ----------------------------------------------------------------------- lenient


def test_lenient_old_headers() -> None:
    old = header(b"a", b"         3 \0", b"\0", magic=bytes(8), mode=b"   644 \0", uid=bytes(8))
    entry = only(old + body(b"abc"), lenient=True)
    assert (entry.name, entry.mode, entry.uid, entry.size) == ("a", 0o644, 0, 3)
    directory = header(b"d/", 0, b"\0", magic=bytes(8))
    assert only(directory, lenient=True).kind is Kind.DIRECTORY
    signed = header(b"\xff", checksum=b"%06o\0 " % (checksum(header(b"\xff")) - 256))
    assert only(signed, lenient=True).name == "\udcff"


def test_lenient_leaves_out_what_is_no_file() -> None:
    data = b"".join(
        (
            pax((b"comment", b"commit"), (b"path", b"../x"), kind=b"g"),
            header(b"label", 0, b"V"),
            member(b"a", b"abc", kind=b"7"),
            member(b"d/", b"Yname\0\0", kind=b"D"),
            header(b"h", 1234, b"1", b"a"),
            header(b"e/", 1234, b"5"),
            END,
        )
    )
    found = read_all(data, lenient=True)
    assert [(e.name, e.kind, e.size, c) for e, c in found] == [
        ("a", Kind.FILE, 3, b"abc"),
        ("d", Kind.DIRECTORY, 0, b""),
        ("h", Kind.HARDLINK, 0, b""),
        ("e", Kind.DIRECTORY, 0, b""),
    ]


def test_lenient_owner_out_of_range_is_nobody() -> None:
    assert only(header(uid=base256(-2, 8), gid=base256(1 << 40, 8)), lenient=True).uid == 65534


def test_lenient_refuses_what_docker_refuses() -> None:
    with pytest.raises(UnsafeEntry, match='unhandled tar header type 81: "q"'):
        only(header(b"q", 0, b"Q"), lenient=True)
    with pytest.raises(LimitExceeded):
        only(pax((b"comment", b"x")) * 65 + header(), lenient=True)


def sparse_1_0(text: bytes, stored: bytes, real: bytes = b"100000") -> bytes:
    records = (
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"s"),
        (b"GNU.sparse.realsize", real),
    )
    return pax(*records) + member(b"GNUSparseFile.0/s", body(text) + stored)


def test_lenient_sparse() -> None:
    data = sparse_1_0(b"2\n0\n3\n5000\n4\n", b"abcdefg") + member(b"z") + END
    (entry, content), (after, _) = read_all(data, lenient=True)
    assert (entry.name, entry.size, entry.sparse) == ("s", 100_000, [(0, 3), (5000, 4)])
    assert content == b"abcdefg" and after.name == "z"
    with pytest.raises(LimitExceeded):
        read_all(data, lenient=True, max_bytes=99_999)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (b"", b""),
        (b"x\n", b""),
        (b"-1\n", b""),
        (b"1\n0\n3\n", b"ab"),
        (b"1\n0\n3\n", b"abcd"),
        (b"1\n99998\n3\n", b"abc"),
        (b"2\n5\n3\n7\n3\n", b"abcdef"),
        (b"2\n5\n3\n0\n3\n", b"abcdef"),
        (b"9" * 15 + b"\n", b""),
        (b"999999999\n", b""),
        (b"1\n0\n" + b"9" * 480, b"abc"),
        (b"3\n0\n3\n", b"abc"),
    ],
)
def test_lenient_sparse_refused(text: bytes, stored: bytes) -> None:
    with pytest.raises(UnsafeEntry, match=INVALID):
        read_all(sparse_1_0(text, stored) + END, lenient=True)


# -------------------------------------------------------------------- the corpus


def corpus() -> Any:
    if not os.path.exists(CORPUS):
        pytest.skip("the hostile archives are not here")
    spec = importlib.util.spec_from_file_location("make_hostile_for_tar", CORPUS)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_corpus() -> None:
    """Cases of format, limits and cuts are settled here, the others must be readable."""
    hostile = corpus()
    elsewhere = {
        "name_empty",
        "name_nul_in_pax",
        "unknown_type",
    }  # names and types refused here, too
    wrong = []
    for name, case in hostile.CASES.items():
        try:
            reader = TarReader(Pieces(hostile.stream(name)), **case.get("limits", {}))
            for _ in reader:
                reader.read(len)
            refused = False
        except VolcopyError as error:
            refused = True
            assert str(error).isprintable()
        here = case["requirement"] in ("S10", "S11", "F3") or name in elsewhere
        may = {case["outcome"], *case["also_ok"]}
        if refused and ("reject" not in may or not here):
            wrong.append(f"{name} was refused")
        if not refused and here and may == {"reject"}:
            wrong.append(f"{name} was taken")
    assert not wrong


# ----------------------------------------------------------------- facts of format


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"0000644\0", 0o644),
        (b"00000644", 0o644),
        (b"000644 \0", 0o644),
        (b"0\0\0\0\0\0\0\0", 0),
        (base256(0, 8), 0),
        (base256(1 << 50, 8), 1 << 50),
        (base256(-1, 8), -1),
        (base256(-(1 << 55), 8), -(1 << 55)),
        (base256(1 << 80, 12), 1 << 80),
    ],
)
def test_numbers(raw: bytes, value: int) -> None:
    assert number(raw) == value
    assert number(raw, lenient=True) == value


def test_checksum_is_the_plain_sum() -> None:
    for block in (bytes(512), b"\xff" * 512, random.Random(3).randbytes(512)):
        assert checksum(block) == sum(block[:148] + block[156:]) + 256


@pytest.mark.parametrize("size", [*range(120), 985, 986, 987, 988, 989, 9980, 9981, 9990, 10_000])
def test_pax_records_count_themselves(size: int) -> None:
    record = pax_record(b"path", b"x" * size)
    assert int(record.split(b" ")[0]) == len(record)
    assert pax_records(record) == [(b"path", b"x" * size)]


def test_pax_time_of_nothing() -> None:
    for text in (b"", b"-", b".", b".5", b"1,5", b" 1", b"1 ", b"inf"):
        with pytest.raises(ValueError):
            pax_time(text)


def test_what_cannot_be_written() -> None:
    bad: list[Callable[[], Entry]] = [
        lambda: Entry("s", Kind.SOCKET),
        lambda: Entry("", Kind.FILE),
        lambda: Entry("", Kind.DIRECTORY),
        lambda: Entry("a/", Kind.FILE),
        lambda: Entry("a\0b", Kind.FILE),
        lambda: Entry("a\0b", Kind.DIRECTORY),
        lambda: Entry("l", Kind.SYMLINK),
        lambda: Entry("l", Kind.SYMLINK, link="a\0"),
        lambda: Entry("a", Kind.FILE, size=-1),
        lambda: Entry("a", Kind.FILE, uid=-1),
        lambda: Entry("a", Kind.FILE, xattrs={"user.a=b": b""}),
    ]
    for make in bad:
        with pytest.raises(UsageError):
            encode_entry(make())


PLAIN = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.HARDLINK: tarfile.LNKTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
}


def test_plain_entries_take_one_block() -> None:
    assert len(encode_entry(Entry("src/a", Kind.FILE, size=5, mtime_ns=10**18))) == 512
    assert len(encode_entry(Entry("src/" + "d" * 90 + "/" + "n" * 90, Kind.FILE))) == 512
    for name, link in (("a", "b"), ("d/" * 49 + "a", "l" * 100), ("a b\x7f", " ")):
        for kind, flag in PLAIN.items():
            target = link if kind in (Kind.HARDLINK, Kind.SYMLINK) else ""
            size = 5 if kind is Kind.FILE else 0
            entry = Entry(name, kind, 0o7755, 1000, 0o7777777, size, 10**18, target)
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid, info.size = 0o7755, 1000, 0o7777777, size
            info.type, info.linkname, info.mtime = flag, target, 10**9
            ours, theirs = encode_entry(entry), info.tobuf(tarfile.USTAR_FORMAT)
            assert (ours[:148], ours[156:329]) == (theirs[:148], theirs[156:329])
            assert tarfile.TarInfo.frombuf(ours, "ascii", "strict").devmajor == 0  # by its checksum
    assert encoded_length(Entry("src/a", Kind.FILE, size=513)) == 512 + 1024
    assert encoded_length(Entry("src/a", Kind.DIRECTORY, size=4096)) == 512
