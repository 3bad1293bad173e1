"""Standard input and output for an archive, which a cancel can end.

Unbuffered, and never waiting where nobody looks at the cancel: a command that reads from an idle
pipe still ends at once on Ctrl-C. What a write says it has written, it has.
"""

from __future__ import annotations

import io
import os
import select
from typing import TYPE_CHECKING

from jupyter_volcopy.core.control import Cancel
from jupyter_volcopy.errors import LocalError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["StandardInput", "StandardOutput"]

_PERIOD = 0.1  # seconds between two looks at the cancel
_PIECE = 1 << 16  # bytes of one write: what a pipe holds


class StandardInput(io.RawIOBase):
    """An archive coming in.

    Args:
        fd: descriptor to read from; it is not closed.
        cancel: looked at while waiting.
    """

    def __init__(self, fd: int, cancel: Cancel | None = None) -> None:
        self._fd = fd
        self._cancel = cancel or Cancel()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill some of `buffer`; 0 at the end.

        Raises:
            TransferCancelled: somebody cancelled.
            LocalError: it cannot be read.
        """
        try:
            while not select.select([self._fd], [], [], _PERIOD)[0]:
                self._cancel.check()
            return os.readv(self._fd, [buffer])
        except OSError as error:
            raise LocalError(f"read standard input: {error.strerror}") from error


class StandardOutput(io.RawIOBase):
    """An archive going out.

    Args:
        fd: descriptor to write to; it is not closed.
        cancel: looked at while waiting.
    """

    def __init__(self, fd: int, cancel: Cancel | None = None) -> None:
        self._fd = fd
        self._cancel = cancel or Cancel()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Write all of `data`.

        Raises:
            TransferCancelled: somebody cancelled.
            LocalError: it cannot be written.
        """
        view = memoryview(data).cast("B")
        left = view
        try:
            while left:
                while not select.select([], [self._fd], [], _PERIOD)[1]:
                    self._cancel.check()
                left = left[os.write(self._fd, left[:_PIECE]) :]
        except OSError as error:
            raise LocalError(
                f"write standard output: {error.strerror}", hint="the archive there is not complete"
            ) from error
        return len(view)
