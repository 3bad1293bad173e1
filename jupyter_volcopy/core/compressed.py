"""gzip, bzip2 and xz, unpacked piece by piece, for archives that people hand in (rule R62).

Each of the three may be several streams one after the other (pbzip2, pigz and `cat` make such
files). No answer is larger than one block, whatever a small input would become; an input that ends
in the middle of a stream is refused, as is anything but zeros behind the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jupyter_volcopy.errors import CutStream

__all__ = ["HEAD", "unpacked"]

HEAD = 6
"""Bytes from the beginning that tell what it is."""

_BLOCK = 1 << 20


class _Gzip:
    """zlib's decompressor with the methods of the two others."""

    def __init__(self) -> None:
        import zlib

        self._one = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._one.eof

    @property
    def needs_input(self) -> bool:
        return not self._one.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._one.unused_data

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._one.decompress(self._one.unconsumed_tail + data, limit)


def _decompressor(head: bytes) -> Any:
    """A decompressor for what begins so, or None."""
    if head.startswith(b"\x1f\x8b"):
        return _Gzip()
    if head.startswith(b"BZh"):
        import bz2

        return bz2.BZ2Decompressor()
    if head.startswith(b"\xfd7zXZ\x00"):
        import lzma

        return lzma.LZMADecompressor()
    return None


def unpacked(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The plain bytes of a stream.

    Args:
        head: its first bytes, `HEAD` or all there are.
        pieces: what follows.

    Raises:
        CutStream: it is broken, or ends too early.
    """
    one = _decompressor(head)
    if one is None:
        yield head
        yield from pieces
        return
    waiting = head
    while True:
        if one.eof:
            rest = one.unused_data + waiting
            while len(rest) < HEAD and (more := next(pieces, b"")):
                rest += more
            if not rest.strip(b"\0"):
                if any(piece.strip(b"\0") for piece in pieces):
                    raise CutStream("the compressed stream is broken: something follows its end")
                return
            one, waiting = _decompressor(rest[:HEAD]), rest
            if one is None:
                raise CutStream("the compressed stream is broken: something follows its end")
        if one.needs_input and not waiting:
            waiting = next(pieces, b"")
            if not waiting:
                raise CutStream("unexpected EOF: the compressed stream ended early")
        try:
            plain, waiting = one.decompress(waiting, _BLOCK), b""
        except Exception as error:  # each decompressor has a family of its own
            raise CutStream(f"unexpected EOF: the compressed stream is broken: {error}") from None
        if plain:
            yield plain
