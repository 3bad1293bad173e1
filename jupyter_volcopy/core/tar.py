r"""What a tar archive is made of: numbers, header fields, checksums and PAX records.

An archive is a row of 512-byte blocks. A member is one header block, its content, and zeros up to
the next block; two zero blocks end the archive. Extended headers stand before the member they speak
of: PAX ``x`` (records ``LENGTH KEY=VALUE\n``), GNU ``L`` (long name) and ``K`` (long link).

`tar_reader` reads archives, `tar_writer` writes them; both know the layout only from here.
Sources: POSIX.1-2017 pax (ustar and pax interchange formats), the GNU tar manual ("Basic Tar
Format", "Storing Sparse Files").
"""

from __future__ import annotations

import struct
from zlib import adler32

__all__ = [
    "BLOCK",
    "BUFFER",
    "END",
    "FIELDS",
    "GNU_MAGIC",
    "MAX_DEPTH",
    "MAX_EXTENDED",
    "POSIX_MAGIC",
    "checksum",
    "compression",
    "number",
    "padding",
    "pax_record",
    "pax_records",
    "pax_time",
]

BLOCK = 512
BUFFER = 1 << 20
"""Bytes read at once; content is handed on in pieces of at most this size."""

END = bytes(2 * BLOCK)
"""The end mark."""

MAX_EXTENDED = 1 << 20
"""Longest extended header that is read, in bytes (safety S11)."""

MAX_DEPTH = 512
"""Most components of a name (safety S11)."""

POSIX_MAGIC = b"ustar\x0000"
GNU_MAGIC = b"ustar  \0"

FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
"""name, mode, uid, gid, size, mtime, checksum, type, link, magic+version, uname, gname, major,
minor, prefix, rest."""

_COMPRESSED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x9d", "compress"),
    (b"\x1f\xa0", "compress"),
    (b"\x89LZO\0", "lzop"),
    (b"LZIP", "lzip"),
    (b"\x5d\0\0", "lzma"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
)


def compression(start: bytes) -> str:
    """The name of the compression whose magic number `start` begins with, or empty.

    A plain archive may begin like one, too (its first name can be ``BZh``), so a reader asks only
    after the block turned out not to be a header.
    """
    for magic, name in _COMPRESSED:
        if start.startswith(magic):
            return name
    return ""


def padding(size: int) -> bytes:
    """The zeros that follow `size` bytes of content."""
    return bytes(-size % BLOCK)


def checksum(block: bytes) -> int:
    """The sum of a header's 512 bytes, its own checksum field counted as spaces."""
    # adler32's low half is 1 + the sum of the bytes modulo 65521; half a block stays below that.
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    return total - sum(block[148:156]) + 8 * 32


def number(raw: bytes, *, lenient: bool = False) -> int:
    """The value of a numeric field, octal or base-256.

    Args:
        raw: the whole field, 8 or 12 bytes.
        lenient: accept what old writers made: leading spaces, an empty field, anything behind the
            NUL that ends the digits.

    Raises:
        ValueError: it is not a number.
    """
    if raw[0] & 0x80:
        if not lenient and raw[0] not in (0x80, 0xFF):
            # no number needs the bits between; readers differ in what they make of them
            raise ValueError("a number out of range")
        value = int.from_bytes(raw, "big") - (1 << len(raw) * 8 - 1)
        return value - (1 << len(raw) * 8 - 1) if raw[0] & 0x40 else value
    if lenient:
        digits = raw.lstrip(b" \0").partition(b"\0")[0].rstrip(b" ")
        if not digits:
            return 0
    else:
        digits = raw.rstrip(b" \0")
    # int() alone would take signs, underscores, spaces and a prefix
    if not digits.isdigit():
        raise ValueError("not a number")
    return int(digits, 8)


def pax_record(key: bytes, value: bytes) -> bytes:
    """One PAX record; its length counts itself."""
    rest = len(key) + len(value) + 3
    size = rest + len(b"%d" % rest)
    size = rest + len(b"%d" % size)
    return b"%d %b=%b\n" % (size, key, value)


def pax_records(data: bytes, *, lenient: bool = False) -> list[tuple[bytes, bytes]]:
    """The records of a PAX extended header, in order.

    Args:
        data: the header's content.
        lenient: accept leading zeros in lengths and NULs behind the last record.

    Raises:
        ValueError: a record is not well-formed; the text says how.
    """
    records = []
    at, end = 0, len(data)
    while at < end:
        space = data.find(b" ", at, at + 12)
        length = data[at:space] if space > at else b""
        if not length.isdigit() or (length[0] == 48 and not lenient):
            if lenient and not data[at:].strip(b"\0"):
                break
            raise ValueError("a PAX record without a length")
        stop = at + int(length)
        if stop > end or stop < space + 2 or data[stop - 1] != 10:
            raise ValueError("a PAX record of a wrong length")
        key, equals, value = data[space + 1 : stop - 1].partition(b"=")
        if not equals or not key or b"\0" in key:
            raise ValueError("a PAX record without a keyword")
        records.append((key, value))
        at = stop
    return records


def pax_time(value: bytes) -> int:
    """A PAX time (decimal seconds, perhaps negative or with a fraction) in nanoseconds.

    Raises:
        ValueError: it is not a decimal number.
    """
    digits = value[1:] if value.startswith(b"-") else value
    whole, point, fraction = digits.partition(b".")
    if not whole.isdigit() or (point and fraction and not fraction.isdigit()):
        raise ValueError("not a time")
    if len(whole) > 20:  # far beyond what any file system holds, and int() refuses endless ones
        whole = whole.lstrip(b"0")[:20] or b"0"
    total = int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -total if digits is not value else total
