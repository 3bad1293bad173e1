"""A FIFO on disk between a fast writer and a reader who may be slow.

An open archive holds its container's lock (design E1, safety F11), so the engine's side of a stream
must never wait for a slow peer. The writing thread therefore never waits: what the reader has not
taken yet stays in memory (some MiB), then in an unlinked temporary file, and at the limit the
writer gets `NoSpace`. The file is emptied whenever the reader has caught up.

One thread writes, one reads; `fail` and `close` may come from any.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from jupyter_volcopy.core.localfs import local_error
from jupyter_volcopy.core.paths import encode
from jupyter_volcopy.errors import NoSpace, TransferCancelled

__all__ = ["Spool"]

_MEMORY = 8 * 1024 * 1024
_LIMIT = 20 * 1024**3


class Spool:
    """Bytes on their way from one thread to another.

    Args:
        limit: bytes that may wait, in memory and on disk together.
        memory: bytes of them that may wait in memory.
        directory: where the temporary file goes; None: `$VOLCOPY_SPOOL_DIR`, else the system's.
    """

    def __init__(
        self, limit: int = _LIMIT, *, memory: int = _MEMORY, directory: str | None = None
    ) -> None:
        self.limit = limit
        self._memory = memory
        self._directory = directory
        self._changed = threading.Condition()
        self._pieces: deque[memoryview] = deque()  # older than anything in the file
        self._held = 0  # bytes in them
        self._fd = -1
        self._end = 0  # of what is in the file
        self._start = 0  # of what the reader has not taken from it
        self._writing = False
        self._reading = False
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    @property
    def waiting(self) -> int:
        """Bytes written and not yet read."""
        return self._held + self._end - self._start

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append a copy of `data`; never waits for the reader.

        Raises:
            NoSpace: more is waiting than the limit allows, or the disk is full.
            TransferCancelled: the reader closed the spool.
            VolcopyError: what `fail` was told.
        """
        view = memoryview(data)
        size = len(view)
        if not size:
            return
        with self._changed:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise TransferCancelled("nobody reads any more")
            to_file = self._end > 0 or self._held + size > self._memory
            # the file gives its space back only when it was read to its end
            if self._held + self._end + size > self.limit:
                raise self._full()
            if not to_file:
                self._pieces.append(memoryview(bytes(view)))
                self._held += size
                self._changed.notify_all()
                return
            self._writing = True
        try:
            if self._fd < 0:
                self._fd = self._open()
            done = 0
            while done < size:
                done += os.pwrite(self._fd, view[done:], self._end + done)
        except OSError as error:
            raise local_error(error, "write", "the temporary file of the spool") from None
        else:
            with self._changed:
                self._end += size
        finally:
            with self._changed:
                self._writing = False
                self._release()
                self._changed.notify_all()

    def _full(self) -> NoSpace:
        return NoSpace(
            f"no space left on device: {self.limit} bytes wait for a reader who is too slow",
            hint="read faster, or raise the limit of the spool",
        )

    def _open(self) -> int:
        """A file without a name."""
        directory = self._directory or os.environ.get("VOLCOPY_SPOOL_DIR")
        if not directory:
            import tempfile

            directory = tempfile.gettempdir()
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(encode(directory), flags | os.O_TMPFILE, 0o600)
        except OSError:  # a file system without O_TMPFILE
            path = encode(f"{directory}/.volcopy-{os.urandom(8).hex()}")
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            os.unlink(path)
            return fd

    def end(self) -> None:
        """Nothing more comes: the reader gets what is left, then 0."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Nothing more comes: the reader gets what is left, then `error` (a cancel at once)."""
        with self._changed:
            if (self._error is None and not self._ended) or isinstance(error, TransferCancelled):
                self._error = error
            self._changed.notify_all()

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of `buffer`, waiting until there is something; returns bytes, 0 at the end.

        Raises:
            VolcopyError: what `fail` was told, after what came before it.
            TransferCancelled: the spool was closed.
        """
        size = len(buffer)
        with self._changed:
            while True:
                if self._closed:
                    raise TransferCancelled("the spool was closed")
                if isinstance(self._error, TransferCancelled):
                    raise self._error
                if self._pieces:
                    return self._from_memory(buffer, size)
                if self._start < self._end:
                    break
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return 0
                self._changed.wait()
            count = min(size, self._end - self._start)
            self._reading = True
        try:
            got = os.preadv(self._fd, [buffer[:count]], self._start)
        except OSError as error:
            raise local_error(error, "read", "the temporary file of the spool") from None
        else:
            with self._changed:
                self._start += got
            return got
        finally:
            with self._changed:
                self._reading = False
                self._release()

    def _from_memory(self, buffer: memoryview, size: int) -> int:
        piece = self._pieces[0]
        count = min(size, len(piece))
        buffer[:count] = piece[:count]
        if count == len(piece):
            self._pieces.popleft()
        else:
            self._pieces[0] = piece[count:]
        self._held -= count
        return count

    def _release(self) -> None:
        """Give disk space back, once all of the file was read and nobody is at it."""
        if self._fd < 0 or self._writing or self._reading:
            return
        if self._closed:
            os.close(self._fd)
            self._fd = -1
        elif self._start and self._start == self._end:
            os.ftruncate(self._fd, 0)
            self._start = self._end = 0

    def close(self) -> None:
        """Let go of everything; a writer or reader who comes now is told so. Any thread may."""
        with self._changed:
            self._closed = True
            self._pieces.clear()
            self._held = 0
            self._release()
            self._changed.notify_all()
