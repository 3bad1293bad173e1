"""gzip, bzip2 and xz as people's tools write them: several streams, zeros behind, cut, broken."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator

import pytest

from jupyter_volcopy.core.compressed import HEAD, unpacked
from jupyter_volcopy.errors import CutStream

PLAIN = bytes(range(256)) * 9000
BOTH = pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
Pack = Callable[[bytes], bytes]


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(HEAD, len(data), size))


def whole(data: bytes) -> bytes:
    return b"".join(unpacked(data[:HEAD], pieces(data)))


@BOTH
def test_one_and_several_streams(pack: Pack) -> None:
    assert whole(pack(PLAIN)) == PLAIN
    assert whole(pack(PLAIN) + pack(b"more") + pack(b"")) == PLAIN + b"more"
    assert whole(pack(PLAIN) + bytes(5000)) == PLAIN


def test_plain_is_passed_on() -> None:
    assert whole(PLAIN) == PLAIN
    assert whole(b"") == b""


@BOTH
def test_cut_broken_and_followed(pack: Pack) -> None:
    packed = pack(PLAIN)
    for bad in (
        packed[: len(packed) // 2],
        packed[:-1],
        packed[:HEAD],
        packed + b"something else",
        packed + bytes(300) + b"x",
        packed[:30] + b"\xff" * 100 + packed[130:],
    ):
        with pytest.raises(CutStream):
            whole(bad)


@BOTH
def test_a_bomb_comes_in_pieces(pack: Pack) -> None:
    packed = pack(bytes(64 << 20))
    sizes = [len(piece) for piece in unpacked(packed[:HEAD], iter([packed[HEAD:]]))]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 1 << 20
