"""Fuzzing the tar reader.

    python tests/fuzz/fuzz_tar.py -max_total_time=600 tests/fuzz/corpus

needs atheris (any libFuzzer option works). `check` is the target; `test_fuzz_short.py` runs it over the
kept corpus without atheris. A strict reader that accepts an archive promises that it has one
meaning, so `check` compares it with the lenient reader, with the standard library's reader and with
what our writer makes of its entries.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import warnings

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.tar import END, padding
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.tar_writer import encode_entry
from jupyter_volcopy.errors import VolcopyError

MAX_BYTES = 1 << 22

KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.FIFOTYPE: Kind.FIFO,
}


def read_all(data: bytes, *, lenient: bool = False, **limits: int) -> list[tuple[Entry, bytes]]:
    """Every entry of an archive with its content."""
    found = []
    reader = TarReader(io.BytesIO(data), lenient=lenient, **limits)
    for entry in reader:
        content = bytearray()
        count = reader.read(content.extend)
        assert count == len(content)
        found.append((entry, bytes(content)))
    assert reader.complete or lenient
    assert reader.position <= len(data)
    return found


def attempt(data: bytes, *, lenient: bool) -> list[tuple[Entry, bytes]] | None:
    """`read_all`, or None where the archive is refused; anything but a clean error escapes."""
    try:
        return read_all(data, lenient=lenient, max_entries=5000, max_bytes=MAX_BYTES)
    except VolcopyError as error:
        text = str(error)
        assert text and text == "".join(c for c in text if c.isprintable() or c == " "), text
        return None


def check(data: bytes) -> bool:
    """Read `data` in every way and compare; returns whether the strict reader took it."""
    loose = attempt(data, lenient=True)
    for entry, content in loose or ():
        assert entry.name and "\0" not in entry.name
        assert 0 <= entry.size <= MAX_BYTES
        assert 0 <= entry.mode <= 0o7777
        assert 0 <= entry.uid < 1 << 32
        assert 0 <= entry.gid < 1 << 32
        if entry.sparse is None:
            assert len(content) == entry.size
        else:
            end = 0
            for offset, length in entry.sparse:
                assert offset >= end and length > 0
                end = offset + length
            assert end <= entry.size
            assert len(content) == sum(length for _, length in entry.sparse)
    strict = attempt(data, lenient=False)
    if strict is None:
        return False
    assert loose == strict, "the two ways to read differ"
    assert all(entry.sparse is None for entry, _ in strict)
    assert all(entry.kind is Kind.FILE or not content for entry, content in strict)
    _same_as_tarfile(data, strict)
    _same_when_written(strict)
    return True


def _same_as_tarfile(data: bytes, entries: list[tuple[Entry, bytes]]) -> None:
    """The standard library's reader finds the same names, kinds and contents."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with tarfile.open(
                fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as archive:
                members = archive.getmembers()
        except (tarfile.TarError, ValueError, OverflowError):
            return  # it gives up on some numbers that are well-formed
    assert len(members) == len(entries)
    for member, (entry, content) in zip(members, entries, strict=True):
        assert member.name.rstrip("/") == entry.name.rstrip("/"), (member.name, entry.name)
        assert KINDS[member.type] is entry.kind
        assert member.size == entry.size
        if entry.kind is Kind.FILE:
            assert data[member.offset_data :][: member.size] == content
        if entry.link:
            assert member.linkname.rstrip("/") == entry.link.rstrip("/")


def _same_when_written(entries: list[tuple[Entry, bytes]]) -> None:
    """What our writer makes of the entries reads as the same entries."""
    if any("=" in xattr or "\0" in xattr for entry, _ in entries for xattr in entry.xattrs):
        return
    parts = []
    for entry, content in entries:
        parts += [encode_entry(entry), content, padding(len(content))]
    again = read_all(b"".join((*parts, END)))
    assert again == entries


def main() -> None:
    """Run libFuzzer."""
    import atheris

    atheris.instrument_func(check)
    for name in ("tar", "tar_reader", "tar_sparse"):
        module = sys.modules.get(f"jupyter_volcopy.core.{name}")
        for item in list(vars(module).values()) if module else ():
            if getattr(item, "__module__", "") != f"jupyter_volcopy.core.{name}":
                continue
            for function in [item, *vars(item).values()] if isinstance(item, type) else [item]:
                if hasattr(function, "__code__"):
                    atheris.instrument_func(function)
    atheris.Setup(sys.argv, lambda data: check(repair(data)) and None)
    atheris.Fuzz()


def repair(data: bytes) -> bytes:
    """`data` with right checksums where a header stands, so that mutations get past them.

    A header's last byte tells: 0xff there leaves the checksum as it is.
    """
    out = bytearray(data)
    at = 0
    while at + 512 <= len(out):
        block = out[at : at + 512]
        if any(block) and block[511] != 0xFF:
            out[at + 148 : at + 156] = b"        "
            total = sum(out[at : at + 512])
            out[at + 148 : at + 156] = b"%06o\0 " % total
        size = bytes(block[124:135])
        length = int(size, 8) if size.isdigit() and b"8" not in size and b"9" not in size else 0
        at += 512 + length + -length % 512
    return bytes(out)


if __name__ == "__main__":
    from jupyter_volcopy.core import tar_sparse  # noqa: F401  (loaded to be instrumented)

    main()
