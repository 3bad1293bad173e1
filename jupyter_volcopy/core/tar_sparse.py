"""Sparse files in people's archives: which runs of the file the archive holds.

GNU tar has written four forms: old GNU (type ``S``, the map in the header and in blocks after it)
and PAX 0.0, 0.1 (the map in records) and 1.0 (the map before the content). All end as a list of
`(offset, length)`; the member's content is those runs one after the other. Engines send none of
them, so only the lenient reader comes here. Source: the GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jupyter_volcopy.core.tar import BLOCK, number

__all__ = ["MAX_RUNS", "checked", "old_map", "pax_map", "read_map"]

MAX_RUNS = 1 << 18
"""Most runs of one file: more would only serve to fill memory."""

_Runs = list[tuple[int, int]]


def checked(runs: Iterable[tuple[int, int]], real: int, stored: int) -> _Runs:
    """The runs without empty ones, if they fit together.

    Args:
        runs: as the archive says.
        real: length of the file, bytes.
        stored: bytes of content the archive holds.

    Raises:
        ValueError: they overlap, go back, leave the file, or are not what is stored.
    """
    out: _Runs = []
    end = total = 0
    for offset, length in runs:
        if offset < end or length < 0 or offset + length > real:
            raise ValueError("a sparse map that does not fit the file")
        end = offset + length
        total += length
        if length:
            out.append((offset, length))
    if total != stored:
        raise ValueError("a sparse map that does not fit the content")
    return out


def old_map(header: bytes, block: Callable[[], bytes]) -> tuple[_Runs, int]:
    """The map and real length of an old GNU sparse member (type ``S``).

    Args:
        header: its 512 bytes.
        block: gives the next block of the archive.

    Raises:
        ValueError: it is not well-formed.
    """
    runs: _Runs = []
    real = number(header[483:495], lenient=True)
    _structs(header, 386, 4, runs)
    more = header[482]
    while more:
        following = block()
        _structs(following, 0, 21, runs)
        more = following[504]
        if len(runs) > MAX_RUNS:
            raise ValueError("a sparse map of too many runs")
    return runs, real


def _structs(block: bytes, at: int, count: int, runs: _Runs) -> None:
    for start in range(at, at + 24 * count, 24):
        if not block[start + 12]:
            return
        runs.append(
            (
                number(block[start : start + 12], lenient=True),
                number(block[start + 12 : start + 24], lenient=True),
            )
        )


def pax_map(records: list[tuple[bytes, bytes]]) -> _Runs | None:
    """The map that stands in PAX records (0.0 and 0.1); None for 1.0, whose content begins with it.

    Raises:
        ValueError: it is not well-formed.
    """
    pax = dict(records)
    if b"GNU.sparse.major" in pax or b"GNU.sparse.minor" in pax:
        version = pax.get(b"GNU.sparse.major"), pax.get(b"GNU.sparse.minor")
        if version == (b"1", b"0"):
            return None
        if version not in ((b"0", b"0"), (b"0", b"1")):
            raise ValueError("a sparse format that is not known")
    if b"GNU.sparse.map" in pax:
        text = pax[b"GNU.sparse.map"]
        numbers = [_decimal(part) for part in text.split(b",")] if text else []
    else:
        numbers = []
        wanted = b"GNU.sparse.offset"
        for key, value in records:
            if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                if key != wanted:
                    raise ValueError("a sparse map out of order")
                numbers.append(_decimal(value))
                wanted = (
                    b"GNU.sparse.numbytes"
                    if wanted == b"GNU.sparse.offset"
                    else b"GNU.sparse.offset"
                )
    if len(numbers) % 2:
        raise ValueError("a sparse map that ends early")
    runs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if b"GNU.sparse.numblocks" in pax and _decimal(pax[b"GNU.sparse.numblocks"]) != len(runs):
        raise ValueError("a sparse map of a wrong length")
    return runs


def read_map(stored: int, block: Callable[[], bytes]) -> tuple[_Runs, int]:
    """The map that stands before the content (1.0).

    Args:
        stored: bytes of content announced, the map included.
        block: gives the next block of the archive.

    Returns:
        The runs, and the bytes the map took.

    Raises:
        ValueError: it is not well-formed.
    """
    numbers: list[int] = []
    wanted = 1
    used = 0
    rest = b""
    while len(numbers) < wanted:
        if used + BLOCK > stored:
            raise ValueError("a sparse map that ends early")
        *lines, rest = (rest + block()).split(b"\n")
        used += BLOCK
        for line in lines[: wanted - len(numbers)] if numbers else lines:
            numbers.append(_decimal(line))
            if len(numbers) == 1:
                if numbers[0] > MAX_RUNS:
                    raise ValueError("a sparse map of too many runs")
                wanted = 1 + 2 * numbers[0]
            if len(numbers) == wanted:
                break
        if len(numbers) < wanted and len(rest) > 20:
            raise ValueError("a sparse map with something that is not a number")
    return list(zip(numbers[1::2], numbers[2::2], strict=True)), used


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise ValueError("a sparse map with something that is not a number")
    return int(text)
