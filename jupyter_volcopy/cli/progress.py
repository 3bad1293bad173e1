"""The progress of a copy as it is shown while it runs.

Progress is read, never pushed: whoever waits for the copy samples its `Meter` and hands the
snapshot to one of these. `LiveLine` rewrites one line of a terminal, `PlainLines` writes a line
every few seconds (for logs), `Silent` shows nothing. The magic has its own for notebooks.
"""

from __future__ import annotations

from jupyter_volcopy.text import progress_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TextIO

    from jupyter_volcopy.core.control import Progress
else:
    Protocol = object

__all__ = ["LiveLine", "PlainLines", "Shown", "Silent"]


class Shown(Protocol):
    """Somewhere a copy's progress is shown."""

    period: float
    """Seconds between two samples."""

    def draw(self, progress: Progress) -> None:
        """Show what was done by now."""
        ...

    def end(self) -> None:
        """Leave no trace of an unfinished line."""
        ...


class Silent:
    """Shows nothing."""

    period = 0.25

    def draw(self, progress: Progress) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class LiveLine:
    """One line of a terminal, rewritten in place; short copies never show it.

    Args:
        stream: the terminal.
    """

    period = 0.1

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = False

    def draw(self, progress: Progress) -> None:
        """Rewrite the line."""
        if progress.seconds < 0.3:
            return
        import os

        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            columns = 80
        line = progress_text(progress, max(20, columns - 1))
        self._drawn = True
        self._write(f"\r{line}\x1b[K")

    def end(self) -> None:
        """Remove the line."""
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, UnicodeError):
            pass  # a terminal that went away must not end the copy


class PlainLines:
    """A line every few seconds.

    Args:
        stream: where they go.
        every: seconds between two lines.
    """

    period = 0.25

    def __init__(self, stream: TextIO, every: float = 5.0) -> None:
        self._stream = stream
        self._every = every
        self._next = every

    def draw(self, progress: Progress) -> None:
        """Write a line when it is time."""
        if progress.seconds < self._next:
            return
        self._next = progress.seconds + self._every
        try:
            self._stream.write(progress_text(progress, 200) + "\n")
            self._stream.flush()
        except (OSError, UnicodeError):
            pass  # as above

    def end(self) -> None:
        """Nothing: every line is whole."""
