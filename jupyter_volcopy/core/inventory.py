"""What a running container's directory holds, so that nothing is left out silently (F12, B2)."""

from __future__ import annotations

import time

from jupyter_volcopy.core.engine import ArchiveReader
from jupyter_volcopy.core.model import Kind, ListedEntry, Listing
from jupyter_volcopy.core.paths import clean
from jupyter_volcopy.core.pull import Incoming
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.transfer import ROOM_MATTERS, Place, Run
from jupyter_volcopy.errors import NoSpace, SourceChanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_volcopy.core.listing import Beside

__all__ = ["Inventory"]

_LISTED = 3  # times a directory is listed that changes meanwhile


class Inventory:
    """What a running container's directory held just before it was read, or while it was.

    The engine leaves out silently what it cannot read or what vanished: the comparison names it.

    Where the directory is reached directly, who reads it knows that by itself (`adopt`), and it is
    only measured before. Else a program lists it, and with `beside` it may do so while the archive
    is read: then `settle` waits for it, and `close` must be called.

    Attributes:
        entries: what was listed.
        complete: False where the program that listed it failed on something: there may be more.
        raced: each time it was listed, something came or went meanwhile: there may be more.
        unread: directories that could not be read.
        began: time in nanoseconds before it was listed.
        beside: it was listed while the archive was read, or after it (`believe`).
    """

    def __init__(self, run: Run, source: Place, path: str, *, beside: Beside | None = None) -> None:
        self.began = time.time_ns()
        self.entries: tuple[ListedEntry, ...] = ()
        self.complete = True
        self.raced = False
        self.unread: list[str] = []
        self.beside = beside is not None
        self._run = run
        self._source = source
        self._path = clean(path)
        self._beside = beside
        self._least_bytes = -1  # that its files surely hold, once that is known
        self._room: tuple[str, int, Callable[[], None]] | None = None
        self._full: NoSpace | None = None
        if beside is not None and beside.begin(self._expect):
            return
        self.beside, self._beside = False, None
        measure = None if run.options.update else getattr(run.engine, "measure", None)
        found = measure(source.container.id, self._path) if measure is not None else None
        if found is None:
            self._list(_LISTED)
        else:
            run.meter.entries_total, run.meter.bytes_total = found[0] + 1, found[1]
            self._least_bytes = found[1]

    def _list(self, times: int) -> None:
        for _ in range(times):
            listing = self._run.engine.list_dir(
                self._source.container.id, self._path, recursive=True
            )
            if not listing.raced:
                break
            self._run.cancel.check()
        self._take(listing)
        self._expect(listing)

    def _take(self, listing: Listing) -> None:
        self.raced = listing.raced
        self.entries = listing.entries
        self.complete = listing.complete

    def _expect(self, listing: Listing) -> None:
        """Say how much is to come."""
        files = [item for item in listing.entries if item.kind is Kind.FILE]
        meter = self._run.meter
        meter.entries_total = len(listing.entries) + 1
        meter.bytes_total = sum(item.size for item in files)
        # what may be a second name of a file counts once
        self._least_bytes = sum(size for size, _ in {(item.size, item.mtime_ns) for item in files})
        self._look_for_room()

    def check_room(self, directory: str, stop: Callable[[], None]) -> None:
        """Refuse what cannot fit (case O14): now, or as soon as it is listed.

        Args:
            directory: where it is written.
            stop: ends the reading of the archive, from any thread; `refused` says why.

        Raises:
            NoSpace: nothing was written.
        """
        from jupyter_volcopy.core.room import local_free

        free = local_free(directory) if self._least_bytes < 0 or self._matters() else None
        if free is not None:
            self._room = directory, free, stop
            self._look_for_room()
        self.refused()

    def _matters(self) -> bool:
        return self._least_bytes >= ROOM_MATTERS

    def _look_for_room(self) -> None:
        if self._room is None or self._full is not None or not self._matters():
            return
        from jupyter_volcopy.core.room import too_little

        directory, free, stop = self._room
        if self._least_bytes > free:
            self._full = too_little(f"in {directory}", self._least_bytes, free)
            stop()

    def settle(self) -> None:
        """Wait until it is listed, once the archive has been read to its end: so it fitted.

        Raises:
            TransferCancelled: somebody did not want to wait.
        """
        if self._beside is None:
            return
        listing = self._beside.wait(self._run.cancel)
        self._beside = self._room = self._full = None
        if listing is not None and not listing.raced:
            self._take(listing)
            return
        self._run.cancel.check()
        self._list(1)

    def refused(self) -> None:
        """Raise what the archive was stopped for, if it was.

        Raises:
            NoSpace: it does not fit.
        """
        if self._full is not None:
            raise self._full

    def close(self) -> None:
        """Let go of a program that still lists."""
        beside, self._beside = self._beside, None
        if beside is not None:
            beside.abort()
            beside.wait()

    def adopt(self, reader: ArchiveReader) -> None:
        """Take what a reader found that looks at every name itself."""
        self.entries += tuple(getattr(reader, "remarkable", ()))
        self.unread += getattr(reader, "unread", ())

    def believe(self, seen: set[str]) -> None:
        """Take a listing that was made beside the archive for one made before it.

        Args:
            seen: paths the archives held.

        Raises:
            SourceChanged: it tells of something else, which may have come only after its directory
                was read, or may have been left out. Listed first (`Run.list_first`), that is clear.
        """
        if not self.beside:
            return
        missing = any(it.name not in seen and it.kind is not Kind.SOCKET for it in self.entries)
        if missing or self.raced or self._filled(seen):
            self._run.list_first = True
            raise SourceChanged(f"{self._source.typed}: changed while it was read")

    def compare(self, seen: set[str], into: Incoming) -> None:
        """Name what did not come.

        Args:
            seen: paths the archives held, whether they were wanted or not.
            into: gets the notes.
        """
        if self.raced:
            text = "changed all the time while it was listed: whether all of it came is not known"
            into.failed.append(Note(self._source.typed, text, "changed"))
        for name in self.unread:
            into.failed.append(Note(name, "the directory could not be read", "unreadable"))
        for name in self._filled(seen):
            text = "was listed as empty and did not come empty: whether all of it came is not known"
            into.failed.append(Note(name, text, "changed"))
        for item in self.entries:
            name, kind = item.name, item.kind
            if name in seen:
                if kind is Kind.SYMLINK and name + "/" in seen:  # perhaps without what is in it
                    text = "a link became a directory while it was read"
                    into.failed.append(Note(name, text, "changed"))
                continue
            if kind is Kind.SOCKET:
                into.warnings.append(Note(name, "a socket: sockets cannot be copied", "socket"))
            else:
                into.failed.append(
                    Note(name, "did not come: it vanished or could not be read", "vanished")
                )

    def _filled(self, seen: set[str]) -> list[str]:
        """Directories that were listed without anything in them, and came with something.

        busybox's `find` does not look into a link, and what it tells of it is asked later: when it
        has become a directory meanwhile, it seems empty.
        """
        empty = {item.name for item in self.entries if item.kind is Kind.DIRECTORY}
        empty -= {item.name.rpartition("/")[0] for item in self.entries}
        if not empty:
            return []
        return sorted(empty & {name.rpartition("/")[0] for name in seen if name[-1:] != "/"})
