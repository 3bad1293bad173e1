"""Bodies out: the engine at its own speed, the client at the client's, a spool between.

`Outflow` is one download. A thread reads the engine's stream as fast as it comes and puts it into a
`Spool`, so the container's lock is free as soon as the engine has sent everything (design E1,
safety F11); the response is written from the spool as the client takes it. A client that goes away
closes the spool, and with it the engine's stream. Where something fails after the first byte, the
connection is broken without a proper end, so that nobody takes a part for the whole.

`EventStream` writes Server-Sent Events.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from jupyter_volcopy.core.engine import ArchiveReader
from jupyter_volcopy.core.spool import Spool
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.errors import CutStream, TransferCancelled, VolcopyError
from jupyter_volcopy.web.bridge import Bridge

__all__ = ["ArchivePump", "EventStream", "FilePump", "Outflow", "Pump", "Write", "break_off"]

_PIECE = 256 * 1024
_BLOCK = 1 << 20
_TAIL = 1024
_WAIT = 0.5


Write = Callable[[memoryview], object]
"""Takes a piece of a stream."""


class Pump(Protocol):
    """The engine's side of a download."""

    def __call__(self, write: Write) -> None:
        """Hand everything to `write`, then return; in a thread of its own."""
        ...

    def close(self) -> None:
        """Let go of the stream; from any thread, any number of times."""
        ...


class ArchivePump:
    """A whole archive. One that ends without its end mark was cut."""

    def __init__(self, reader: ArchiveReader) -> None:
        self._reader = reader

    def __call__(self, write: Write) -> None:
        """See `Pump`."""
        buffer = memoryview(bytearray(_BLOCK))
        tail = b""
        while count := self._reader.readinto(buffer):
            write(buffer[:count])
            tail = (tail + bytes(buffer[max(0, count - _TAIL) : count]))[-_TAIL:]
        if len(tail) < _TAIL or any(tail):
            raise CutStream("unexpected EOF: the archive ended without its end mark")

    def close(self) -> None:
        """See `Pump`."""
        self._reader.close()


class _Enough(Exception):
    """Everything that was wanted was read."""


class FilePump:
    """The content of the one file in an archive, or a part of it.

    Args:
        reader: an archive whose first member has been read by `tar`.
        tar: stands at the content.
        start, end: first byte wanted, and the one after the last.
        size: of the file.
    """

    def __init__(
        self, reader: ArchiveReader, tar: TarReader, start: int, end: int, size: int
    ) -> None:
        self._reader = reader
        self._tar = tar
        self._start, self._end, self._size = start, end, size

    def __call__(self, write: Write) -> None:
        """See `Pump`."""
        at = 0

        def part(piece: memoryview) -> None:
            nonlocal at
            low, high = max(self._start - at, 0), min(self._end - at, len(piece))
            at += len(piece)
            if low < high:
                write(piece[low:high])
            if at >= self._end and self._end < self._size:
                raise _Enough

        if self._start >= self._end:
            return
        try:
            self._tar.read(part)
        except _Enough:
            return
        if at < self._end:
            raise CutStream("unexpected EOF: the file ended early")

    def close(self) -> None:
        """See `Pump`."""
        self._reader.close()


class Outflow:
    """One download.

    Args:
        bridge: the way to threads.
        spool: between the two sides; closed here.
        stack: what has to live as long as the engine's stream (a helper container ...).

    Attributes:
        sent: bytes given to the client.
    """

    def __init__(self, bridge: Bridge, spool: Spool, stack: ExitStack | None = None) -> None:
        self.sent = 0
        self._bridge = bridge
        self._spool = spool
        self._stack = stack or ExitStack()
        self._lock = threading.Lock()
        self._source: Pump | None = None
        self._stopped = False

    def begin(self, source: Pump) -> None:
        """Take over `source`; reading begins at once, in a thread."""
        with self._lock:
            self._source = source
            stopped = self._stopped
        if stopped:
            source.close()
        threading.Thread(target=self._pump, name="volcopy-download", daemon=True).start()

    def _pump(self) -> None:
        source, spool = self._source, self._spool
        assert source is not None
        try:
            with self._stack:
                try:
                    source(spool.write)
                finally:
                    source.close()
            spool.end()
        except VolcopyError as error:
            spool.fail(error)
        except BaseException:
            spool.fail(VolcopyError("internal error, see the log of the server"))
            raise

    def stop(self) -> None:
        """The client is gone: end both sides. From any thread, any number of times."""
        with self._lock:
            self._stopped = True
            source = self._source
        self._spool.close()
        if source is not None:
            source.close()

    async def first(self, buffer: memoryview) -> int:
        """Some bytes as they come; 0 at the end.

        Raises:
            VolcopyError: what the engine's side met.
        """
        return await self._bridge.in_stream(self._spool.readinto, buffer)

    async def send(self, handler: RequestHandler, idle: float) -> None:
        """Write everything as the client takes it.

        Args:
            handler: whose response it is; its headers are set.
            idle: seconds in which the client must take something.

        Raises:
            VolcopyError: something failed, with nothing written yet if `sent` is 0.
            StreamClosedError: the client is gone, or took nothing for too long.
        """
        buffer = memoryview(bytearray(_PIECE))
        waiting = time.monotonic() + _WAIT
        pending = 0
        try:
            while count := await self.first(buffer):
                handler.write(bytes(buffer[:count]))
                pending += count
                # what fails early can still be answered properly
                if not self.sent and pending < _PIECE and time.monotonic() < waiting:
                    continue
                self.sent += pending
                pending = 0
                try:
                    await asyncio.wait_for(handler.flush(), idle)
                except asyncio.TimeoutError:
                    raise StreamClosedError() from None
            self.sent += pending
        except TransferCancelled:
            raise StreamClosedError() from None
        finally:
            self._bridge.aside(self.stop)


def break_off(handler: RequestHandler) -> None:
    """End a response in the middle, so that its reader cannot take it for whole."""
    try:
        handler.detach().close()
    except Exception:  # noqa: S110 - it is closed already
        pass


class EventStream:
    """Server-Sent Events on one response (HTML standard, section 9.2).

    Args:
        handler: whose response it is.
        idle: seconds in which the client must take what was written.
    """

    def __init__(self, handler: RequestHandler, idle: float) -> None:
        self._handler = handler
        self._idle = idle

    async def event(self, name: str, value: bytes) -> None:
        """Send one event with a value that is JSON already."""
        await self._write(b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), value))

    async def comment(self, text: str) -> None:
        """Send a comment line, which keeps proxies from closing the connection."""
        await self._write(b": %b\n\n" % text.encode("ascii"))

    async def _write(self, data: bytes) -> None:
        self._handler.write(data)
        try:
            await asyncio.wait_for(self._handler.flush(), self._idle)
        except asyncio.TimeoutError:
            raise StreamClosedError() from None
