"""The content of one staged file: written as it comes, runs of zeros left as holes (safety S14)."""

from __future__ import annotations

import os

from jupyter_volcopy.core.model import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Content", "FileContent"]

_BLOCK = 64 * 1024
_ZEROS = bytes(_BLOCK)

_STEP = 8 << 20  # bytes copied by one call: between two looks at a cancel


class FileContent:
    """Content that lies in an open file; `into` copies it inside the kernel.

    Args:
        fd: descriptor of a regular file; `offset` bytes of it are skipped.
        size: bytes that are due.
        moved: called with the bytes copied since the last call; may raise.

    Attributes:
        short: the file ended early; the rest was filled with zeros.
    """

    __slots__ = ("fd", "moved", "offset", "short", "size")

    def __init__(self, fd: int, offset: int, size: int, moved: Callable[[int], None]) -> None:
        self.fd = fd
        self.offset = offset
        self.size = size
        self.moved = moved
        self.short = False

    def into(self, out: int) -> None:
        """Copy it to the empty file `out`, holes as holes."""
        at, size = 0, self.size
        if size <= _BLOCK:  # in one go: no room for a hole worth keeping
            at = os.sendfile(out, self.fd, self.offset, size)
            if at == size:
                self.moved(size)
                return
            os.lseek(out, 0, os.SEEK_SET)
            at = 0
        while at < size:
            try:
                data = os.lseek(self.fd, self.offset + at, os.SEEK_DATA) - self.offset
                hole = os.lseek(self.fd, self.offset + data, os.SEEK_HOLE) - self.offset
            except OSError as error:
                if error.errno == 6:  # ENXIO: nothing but a hole from here, or the end
                    break
                data, hole = at, size
            if data >= size:
                self.moved(size - at)
                break
            self.moved(data - at)
            at = self._run(out, data, min(hole, size))
            if at < min(hole, size):
                break
        os.ftruncate(out, size)
        self.short = os.fstat(self.fd).st_size < self.offset + size

    def _run(self, out: int, at: int, end: int) -> int:
        """Copy from `at` to `end`; returns how far it came."""
        os.lseek(out, at, os.SEEK_SET)
        while at < end:
            count = os.sendfile(out, self.fd, self.offset + at, min(end - at, _STEP))
            if not count:
                break
            at += count
            self.moved(count)
        return at


class Content:
    """Writes the content of `entry` to `fd`.

    Args:
        fd: an empty file, open for writing.
        entry: its size, and data runs if it is sparse.

    Attributes:
        due, taken: bytes that are to come, and that came.
    """

    __slots__ = ("_fd", "_runs", "_seeked", "_size", "due", "offset", "taken")

    def __init__(self, fd: int, entry: Entry) -> None:
        self._fd = fd
        self._size = self.due = entry.size
        self._runs: list[tuple[int, int]] | None = None
        self._seeked = False  # the file position is not at `offset`
        self.offset = 0
        self.taken = 0
        if entry.sparse is not None:
            self._runs = list(reversed(entry.sparse))
            self.due = sum(length for _, length in entry.sparse)

    def take(self, read: Callable[[Callable[[memoryview], object]], int]) -> bool:
        """Let `read` hand over all of it; whether it was all, and no more.

        Raises:
            OSError: the disk refused.
        """
        read(self.write if self._runs is None else self._write_runs)
        if self.taken != self.due:
            return False
        if self._seeked or self._runs is not None:
            os.ftruncate(self._fd, self._size)
        return True

    def write(self, piece: memoryview) -> None:
        """The next piece of the file."""
        size = len(piece)
        self.taken += size
        if size < _BLOCK:
            self._put(piece)
            return
        start = 0  # of what is not yet written
        at = -self.offset % _BLOCK  # blocks are those of the file, not of the piece
        while at + _BLOCK <= size:
            end = at + _BLOCK
            # three looks tell nearly all data from zeros without touching the rest
            zero = not (piece[at] or piece[end - 1] or piece[at + _BLOCK // 2])
            if zero and bytes(piece[at:end]) == _ZEROS:
                if start < at:
                    self._put(piece[start:at])
                self.offset += _BLOCK
                self._seeked = True
                start = end
            at = end
        if start < size:
            self._put(piece[start:])

    def _put(self, piece: memoryview) -> None:
        fd = self._fd
        if self._seeked:
            os.lseek(fd, self.offset, os.SEEK_SET)
        done = os.write(fd, piece)
        self.offset += done
        while done < len(piece):
            more = os.write(fd, piece[done:])
            done += more
            self.offset += more

    def _write_runs(self, piece: memoryview) -> None:
        self.taken += len(piece)
        assert self._runs is not None
        while len(piece):
            if not self._runs:
                return  # too much came; `take` sees it
            offset, length = self._runs.pop()
            part = piece[:length]
            done = 0
            while done < len(part):
                done += os.pwrite(self._fd, part[done:], offset + done)
            if len(part) < length:
                self._runs.append((offset + len(part), length - len(part)))
            piece = piece[len(part) :]
