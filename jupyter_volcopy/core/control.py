"""Progress that is read, and cancel that is asked for.

One thread moves a transfer and writes plain integers into its `Meter`; anybody may take a
`snapshot()` at any time. Nobody is called back and nothing is locked in the copy loop.
"""

from __future__ import annotations

import _thread
import time

from jupyter_volcopy.core.record import Value
from jupyter_volcopy.errors import TransferCancelled, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["Cancel", "Contexts", "Meter", "Progress"]


class Progress(Value):
    """What a transfer had done at one moment.

    Attributes:
        entries, entries_total: files, directories and links moved; the total, or None if unknown.
        bytes, bytes_total: bytes of file contents moved; the total, or None if unknown.
        current: the name being moved.
        seconds: since the start, by the monotonic clock.
    """

    entries: int
    entries_total: int | None
    bytes: int
    bytes_total: int | None
    current: str
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes a second since the start."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds left at this rate, or None where it cannot be said."""
        if self.bytes_total is None or self.rate <= 0:
            return None
        return max(0.0, (self.bytes_total - self.bytes) / self.rate)

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            "entries": self.entries,
            "entries_total": self.entries_total,
            "bytes": self.bytes,
            "bytes_total": self.bytes_total,
            "current": show(self.current),
            "seconds": round(self.seconds, 3),
        }


class Meter:
    """Counters of one transfer, written by the thread that moves it."""

    __slots__ = ("bytes", "bytes_total", "current", "entries", "entries_total", "started")

    def __init__(self) -> None:
        self.entries = 0
        self.entries_total: int | None = None
        self.bytes = 0
        self.bytes_total: int | None = None
        self.current = ""
        self.started = time.monotonic()

    def snapshot(self) -> Progress:
        """The counters as they are now."""
        return Progress(
            self.entries,
            self.entries_total,
            self.bytes,
            self.bytes_total,
            self.current,
            time.monotonic() - self.started,
        )


class Cancel:
    """A token the transfer looks at; `cancel()` may come from any thread or a signal handler.

    Attributes:
        asked: True once somebody cancelled.
        cut: True once it has to stop at once, in the middle of an entry.
    """

    def __init__(self) -> None:
        self.asked = False
        self.cut = False
        self._lock = _thread.RLock()  # a signal may come while this very thread holds it
        self._closers: list[Callable[[], None]] = []

    def cancel(self, *, now: bool = False) -> None:
        """Ask the transfer to stop; with `now`, or the second time, blocked streams are closed."""
        with self._lock:
            cut = now or self.asked
            self.asked = True
            self.cut = self.cut or cut
            closers = list(self._closers) if self.cut else []
        for close in closers:
            close()

    def check(self) -> None:
        """Raise `TransferCancelled` if somebody asked."""
        if self.asked:
            raise TransferCancelled("cancelled")

    def closing(self, close: Callable[[], None]) -> AbstractContextManager[None]:
        """Within the block, a cut calls `close`.

        It is called by the cancelling thread, which may be this very one in a signal handler: it
        must not wait for a lock that the work holds.
        """
        return _Closing(self, close)


class _Closing:
    """The block of one `Cancel.closing`."""

    __slots__ = ("_cancel", "_close")

    def __init__(self, cancel: Cancel, close: Callable[[], None]) -> None:
        self._cancel = cancel
        self._close = close

    def __enter__(self) -> None:
        cancel = self._cancel
        with cancel._lock:
            cancel._closers.append(self._close)
            cut = cancel.cut
        if cut:
            self._close()

    def __exit__(self, *_: object) -> None:
        with self._cancel._lock:
            self._cancel._closers.remove(self._close)


class Contexts:
    """Contexts that are entered as they come up and all left at the end, the last one first.

    As `contextlib.ExitStack`, whose import costs more than all else here; none may swallow errors.
    """

    def __init__(self) -> None:
        self._entered: list[AbstractContextManager[Any]] = []

    def enter(self, context: AbstractContextManager[T]) -> T:
        """Enter `context`; it is left with this one."""
        found = context.__enter__()
        self._entered.append(context)
        return found

    def __enter__(self) -> Contexts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raised: BaseException | None = None
        while self._entered:
            try:
                self._entered.pop().__exit__(kind, error, trace)
            except BaseException as new:  # the others are left all the same
                if new is not error:
                    raised, kind, error, trace = new, type(new), new, new.__traceback__
        if raised is not None:
            raise raised
