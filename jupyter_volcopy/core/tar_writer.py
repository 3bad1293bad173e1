"""Headers of archives we send: plain ustar where it can say it all, PAX records where it cannot.

This is what Go's writer makes, so engines read it as they read `docker cp`. Names that are not
UTF-8 go into GNU long-name members, since PAX text is UTF-8 by definition. For programs that skip
PAX (busybox), ``gnu=True`` writes long names and great numbers the GNU way.
"""

from __future__ import annotations

from zlib import adler32

from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import encode
from jupyter_volcopy.core.tar import (
    BLOCK,
    END,
    GNU_MAGIC,
    POSIX_MAGIC,
    padding,
    pax_record,
)
from jupyter_volcopy.errors import UsageError

__all__ = ["END", "encode_entry", "encoded_length", "padding"]

_TYPES = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}
_MAX_ID = 0o7777777
_MAX_LONG = 0o77777777777
_PLAIN = {b"0": False, b"1": True, b"2": True, b"5": False}  # kinds, and whether they have a target
_PLAIN_TAIL = POSIX_MAGIC + bytes(64) + b"0000000\0" * 2 + bytes(167)
_PLAIN_SUM = sum(_PLAIN_TAIL) + 8 * 32


def encode_entry(entry: Entry, *, gnu: bool = False) -> bytes:
    """The header of a member, with the extended headers it needs before it.

    Args:
        entry: what to say. `size` bytes of content and their `padding` have to follow for a file
            (holes as zeros: `sparse` is not written); nothing else has content.
        gnu: use GNU long names and base-256 numbers in place of PAX, except for xattrs and
            fractions of a second (these are dropped).

    Returns:
        A multiple of 512 bytes.

    Raises:
        UsageError: no archive can hold it (a socket, a NUL in a name, a negative size or owner).
    """
    kind = _TYPES.get(entry.kind, b"")
    name = encode(entry.name)
    seconds = entry.mtime_ns // 1_000_000_000
    if kind == b"5" and not name.endswith(b"/"):
        name += b"/"
    targeted = None if gnu else _PLAIN.get(kind)
    if targeted is not None:  # what nearly all are, at a fifth of the price
        link = encode(entry.link) if targeted else b""
        size = entry.size if kind == b"0" else 0
        text = name + link
        if (
            entry.name
            and (kind == b"5" or name[-1] != 47)
            and (link or not targeted)
            and len(name) <= 100
            and len(link) <= 100
            and text.isascii()
            and b"\0" not in text
            and 0 <= size <= _MAX_LONG
            and 0 <= entry.uid <= _MAX_ID
            and 0 <= entry.gid <= _MAX_ID
            and 0 <= seconds <= _MAX_LONG
            and seconds * 1_000_000_000 == entry.mtime_ns
            and not (entry.xattrs or entry.uname or entry.gname)
        ):
            head = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (
                name.ljust(100, b"\0"),
                entry.mode & 0o7777,
                entry.uid,
                entry.gid,
                size,
                seconds,
            )
            # adler32's low half is 1 + the sum of so few bytes
            total = (adler32(head) & 0xFFFF) + (adler32(link) & 0xFFFF) - 2 + kind[0] + _PLAIN_SUM
            return b"%b%06o\0 %b%b%b" % (
                head,
                total,
                kind,
                link.ljust(100, b"\0"),
                _PLAIN_TAIL,
            )
    if not kind:
        raise UsageError(f'a socket cannot be in an archive: "{entry.name}"')
    return _encode(entry, kind, name, seconds, gnu)


def encoded_length(entry: Entry, *, gnu: bool = False) -> int:
    """Bytes the member takes in the archive: headers, content and padding."""
    size = entry.size if entry.kind is Kind.FILE else 0
    return len(encode_entry(entry, gnu=gnu)) + size + -size % BLOCK


def _encode(entry: Entry, kind: bytes, name: bytes, seconds: int, gnu: bool) -> bytes:
    link = encode(entry.link) if kind in b"12" else b""
    size = entry.size if kind == b"0" else 0
    uname, gname = encode(entry.uname), encode(entry.gname)
    if not entry.name or (kind != b"5" and name.endswith(b"/")):
        raise UsageError(f'an archive member needs a name: "{entry.name}"')
    if b"\0" in name or b"\0" in link or b"\0" in uname or b"\0" in gname:
        raise UsageError(f'a NUL cannot be in a name: "{entry.name}"')
    if kind in b"12" and not link:
        raise UsageError(f'a link needs a target: "{entry.name}"')
    if size < 0 or entry.uid < 0 or entry.gid < 0:
        raise UsageError(f'size and owner cannot be negative: "{entry.name}"')
    before = b""
    records: list[tuple[bytes, bytes]] = []
    prefix = b""
    gnu_member = gnu
    if len(name) > 100 and name.isascii() and not gnu:
        prefix, name = _split(name)
    for key, text, letter in ((b"path", name, b"L"), (b"linkpath", link, b"K")):
        if len(text) <= 100 and text.isascii():
            continue
        if gnu or not _is_utf8(text):
            gnu_member = True
            if len(text) > 100 or not gnu:
                before += _extended(letter, b"././@LongLink", text + b"\0", GNU_MAGIC)
        else:
            records.append((key, text))
    for key, text in ((b"uname", uname), (b"gname", gname)):
        if (len(text) > 32 or not text.isascii()) and not gnu:
            records.append((key, text))
    if not gnu:
        for key, value, most in (
            (b"size", size, _MAX_LONG),
            (b"uid", entry.uid, _MAX_ID),
            (b"gid", entry.gid, _MAX_ID),
        ):
            if value > most:
                records.append((key, b"%d" % value))
        if not 0 <= seconds <= _MAX_LONG or entry.mtime_ns % 1_000_000_000:
            records.append((b"mtime", _decimal(entry.mtime_ns)))
    for xattr, content in sorted(entry.xattrs.items()):
        attribute = encode(xattr)
        if not attribute or b"=" in attribute or b"\0" in attribute:
            raise UsageError(f'an archive cannot hold the attribute "{xattr}" of "{entry.name}"')
        records.append((b"SCHILY.xattr." + attribute, content))
    if records:
        data = b"".join(pax_record(key, value) for key, value in records)
        before = _extended(b"x", b"PaxHeaders.0/x", data, POSIX_MAGIC) + before
    if gnu_member and prefix:
        # GNU headers have no prefix: the link was long, the name goes the same way
        before += _extended(b"L", b"././@LongLink", prefix + b"/" + name + b"\0", GNU_MAGIC)
        prefix = b""
    return before + _header(
        name,
        kind,
        GNU_MAGIC if gnu_member else POSIX_MAGIC,
        mode=entry.mode & 0o7777,
        owner=(entry.uid, entry.gid),
        size=size,
        mtime=seconds,
        link=link,
        names=(uname, gname),
        device=(entry.major, entry.minor) if kind in b"34" else (0, 0),
        prefix=prefix,
        binary=gnu,
    )


def _header(
    name: bytes,
    kind: bytes,
    magic: bytes,
    *,
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    names: tuple[bytes, bytes] = (b"", b""),
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
    binary: bool = False,
) -> bytes:
    head = b"".join(
        (
            name[:100].ljust(100, b"\0"),
            _field(mode, 8, binary),
            _field(owner[0], 8, binary),
            _field(owner[1], 8, binary),
            _field(size, 12, binary),
            _field(mtime, 12, binary),
        )
    )
    tail = b"".join(
        (
            link[:100].ljust(100, b"\0"),
            magic,
            names[0][:32].ljust(32, b"\0"),
            names[1][:32].ljust(32, b"\0"),
            _field(device[0], 8, True),
            _field(device[1], 8, True),
            prefix.ljust(167, b"\0"),
        )
    )
    total = sum(head) + 8 * 32 + kind[0] + sum(tail)
    return b"%b%06o\0 %b%b" % (head, total, kind, tail)


def _extended(kind: bytes, name: bytes, data: bytes, magic: bytes) -> bytes:
    return _header(name, kind, magic, size=len(data)) + data + padding(len(data))


def _field(value: int, width: int, binary: bool) -> bytes:
    if 0 <= value < 1 << 3 * (width - 1):
        return b"%0*o\0" % (width - 1, value)
    if not binary:
        return b"0" * (width - 1) + b"\0"  # the PAX record says it
    raw = value.to_bytes(width, "big", signed=True)
    return bytes((raw[0] | 0x80,)) + raw[1:]


def _split(name: bytes) -> tuple[bytes, bytes]:
    """`name` as prefix and name of a ustar header; the prefix is empty where it does not fit."""
    if len(name) <= 256:
        # a directory's trailing slash is no place to split
        slash = name.find(b"/", len(name) - 101, len(name) - 1)
        if 0 < slash <= 155:
            return name[:slash], name[slash + 1 :]
    return b"", name


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decimal(nanoseconds: int) -> bytes:
    whole, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    text = b"%d.%09d" % (whole, fraction) if fraction else b"%d" % whole
    return (b"-" if nanoseconds < 0 else b"") + (text.rstrip(b"0") if fraction else text)
