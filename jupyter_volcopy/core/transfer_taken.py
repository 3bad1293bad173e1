"""An archive that was taken in completely, as entries to be sent.

It is read from its unlinked file as often as is needed: once to be looked at, then once for every
archive that is made of it. Nothing of it is held in memory but what has to be.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import IO

from jupyter_volcopy.core.again import Standing, file_digest
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.push import Item
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.transfer import Run
from jupyter_volcopy.errors import CutStream

__all__ = ["LEFT_OUT", "Taken"]

_BLOCK = 1 << 20

LEFT_OUT = "\0"
"""Begins the link of a hard link to what was left out; no name holds it."""


class _File:
    """A byte source over a plain file, from its start."""

    def __init__(self, file: IO[bytes]) -> None:
        self._fd = file.fileno()
        self._at = 0

    def readinto(self, buffer: memoryview) -> int:
        count = os.preadv(self._fd, [buffer], self._at)
        self._at += count
        return count


class Taken:
    """An archive taken in completely.

    Args:
        names: makes, for each reading, what turns a member into its name at the destination,
            relative to the directory it is unpacked in; None leaves it out. It may change the
            entry. A hard link to what was left out gets the link `LEFT_OUT` and the name of that
            in the archive, and becomes a file here.
        lenient: read what people's tars hold, not only what engines send.
        standing: what stands at the destination already, if that counts.
    """

    def __init__(
        self,
        file: IO[bytes],
        names: Callable[[], Callable[[Entry], str | None]],
        run: Run,
        *,
        owner: tuple[int, int] | None,
        lenient: bool,
        standing: Standing | None = None,
    ) -> None:
        self._standing = standing
        self.skipped: list[Note] = []
        self.largest = 0
        self._file = file
        self._names = names
        self._run = run
        self._owner = owner
        self._lenient = lenient
        self.files = self.entries = self.bytes = 0

    def _entries(self) -> Iterator[tuple[Entry, int]]:
        options = self._run.options
        tar = TarReader(
            _File(self._file),
            lenient=self._lenient,
            max_entries=options.max_entries,
            max_bytes=options.max_bytes,
        )
        files: dict[str, tuple[Entry, int]] = {}  # those left out, whose links become files
        named: dict[str, tuple[Entry, int]] = {}  # the same by their names at the destination
        gone: set[str] = set()
        firsts: dict[str, str] = {}
        keeps = self._standing is not None or options.filtered
        self.skipped = []
        name_of = self._names()
        for entry in tar:
            offset = tar.position
            raw = entry.name
            name = name_of(entry)
            if keeps and entry.kind is Kind.FILE:
                files[raw] = replace(entry, name=name or raw), offset
                named[name or raw] = files[raw]
            if name is None:
                continue
            entry.name = name
            if self._owner is not None:
                entry.uid, entry.gid = self._owner
            if entry.kind is Kind.HARDLINK and entry.link.startswith(LEFT_OUT):
                first = entry.link[len(LEFT_OUT) :]
                if first in firsts:
                    entry.link = firsts[first]
                elif first in files:
                    entry, offset = _as_file(entry, *files[first])
                    firsts[first] = name
                else:
                    continue
            if self._standing is not None:
                note = self._leave(entry, offset, named)
                if note is not None:
                    self.skipped.append(note)
                    gone.add(name)
                    continue
                if entry.kind is Kind.HARDLINK and entry.link in gone and entry.link in named:
                    entry, offset = _as_file(entry, *named[entry.link])
            yield entry, offset

    def _leave(self, entry: Entry, offset: int, files: dict[str, tuple[Entry, int]]) -> Note | None:
        """Why an entry is not sent, since something stands there."""
        assert self._standing is not None
        fd = self._file.fileno()
        seen, at = entry, offset
        if entry.kind is Kind.HARDLINK:
            first, at = files.get(entry.link, (entry, offset))
            seen = replace(first, name=entry.name, mtime_ns=entry.mtime_ns)
        if seen.sparse is not None:
            return self._standing.leave(seen, lambda: b"")
        return self._standing.leave(seen, lambda: file_digest(fd, at, seen.size))

    def digests(self) -> dict[str, bytes | None]:
        """SHA-256 of every file that is sent, by its name at the destination."""
        found: dict[str, bytes | None] = {}
        fd = self._file.fileno()
        for entry, offset in self._entries():
            if entry.kind is Kind.FILE and entry.sparse is None:
                found[entry.name] = file_digest(fd, offset, entry.size)
            elif entry.kind is Kind.HARDLINK and entry.link in found:
                found[entry.name] = found[entry.link]
        return found

    def check(self) -> list[tuple[str, Kind]]:
        """Read every header once: totals, names and kinds for the survey.

        Raises:
            UnsafeEntry, CutStream, LimitExceeded, Conflict: nothing was sent.
        """
        names: list[tuple[str, Kind]] = []
        for entry, _offset in self._entries():
            names.append((entry.name, entry.kind))
            self.entries += 1
            if entry.kind is Kind.FILE:
                self.files += 1
                self.bytes += entry.size
                self.largest = max(self.largest, entry.size)
        return names

    @staticmethod
    def _at(fd: int, offset: int) -> Callable[[], tuple[int, int]]:
        return lambda: (os.dup(fd), offset)

    def items(self, part: Callable[[str], bool] | None = None) -> Iterator[Item]:
        """The entries to send, contents from the file."""
        fd = self._file.fileno()
        for entry, offset in self._entries():
            if part is not None and not part(entry.name):
                continue
            if self._standing is not None and entry.kind is not Kind.DIRECTORY:
                yield from self._standing.backup(entry.name)
            if entry.kind is Kind.FILE:
                if entry.sparse is not None:
                    yield self._sparse(entry, offset)
                else:
                    yield Item(entry, self._at(fd, offset))
            else:
                yield Item(entry)

    def _sparse(self, entry: Entry, offset: int) -> Item:
        """A sparse file, its holes filled: the engine is sent plain files only."""
        full = tempfile.TemporaryFile()  # noqa: SIM115 - the item owns a descriptor of it
        out = full.fileno()
        os.ftruncate(out, entry.size)
        for start, length in entry.sparse or ():
            done = 0
            while done < length:
                piece = os.pread(self._file.fileno(), min(_BLOCK, length - done), offset)
                if not piece:
                    raise CutStream(f"{entry.name}: unexpected EOF")
                os.pwrite(out, piece, start + done)
                done += len(piece)
                offset += len(piece)
        entry.sparse = None
        fd = os.dup(out)
        full.close()
        return Item(entry, lambda: (fd, 0))


def _as_file(link: Entry, first: Entry, offset: int) -> tuple[Entry, int]:
    """A hard link as the file it is, where its first name is left out."""
    return (
        replace(
            first, name=link.name, mode=link.mode, uid=link.uid, gid=link.gid,
            mtime_ns=link.mtime_ns,
        ),
        offset,
    )  # fmt: skip
