"""The archive of a name that is not UTF-8, where the engine cannot make one.

Engines before 23 hand the name to a process of theirs as JSON, which cannot carry such bytes: with
status 200 they send an empty archive, or one with another name. A directory's *contents* they can
send (its path goes another way), so the same archive is made here: of a directory from its
contents, of anything else from the contents of the directory it lies in, all other names passed
over. That reads more than it needs, but is right on every engine.
"""

from __future__ import annotations

import _thread
import os
import threading
from typing import TYPE_CHECKING

from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.paths import base_name, join, parent
from jupyter_volcopy.errors import CutStream, EngineError, VolcopyError

if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import ArchiveReader, Engine
    from jupyter_volcopy.core.model import Entry, Stat

__all__ = ["RenamedArchive", "is_odd", "open_odd"]


def is_odd(path: str) -> bool:
    """Whether the last name of `path` is not UTF-8 (and the path does not ask for contents)."""
    if path.isascii() or path.endswith("/."):
        return False
    try:
        base_name(path).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def open_odd(engine: Engine, container: str, path: str) -> RenamedArchive:
    """The archive of `path` in the engine's shape.

    Args:
        engine: to ask.
        container: id or exact name.
        path: absolute; its last name is not UTF-8.

    Raises:
        NoSuchPath, NoSuchContainer: as it says.
    """
    stat = engine.stat(container, path)
    if path.endswith("/") and stat.kind is Kind.SYMLINK:
        stat = engine.stat(container, stat.link_target)
    path = path.rstrip("/")
    if stat.kind is Kind.DIRECTORY:
        source = engine.open_archive(container, join(path, "."))
        return RenamedArchive(source, stat, base_name(path), "")
    source = engine.open_archive(container, join(parent(path), "."))
    return RenamedArchive(source, stat, base_name(path), base_name(path))


class RenamedArchive:
    """An archive made of another one's entries, in a thread that reads no faster than we are read.

    Args:
        source: an archive of `directory/.`.
        stat: of the path asked for.
        base: first component of the names here.
        only: the one name wanted of the source; empty: all, below `base`.
    """

    def __init__(self, source: ArchiveReader, stat: Stat | None, base: str, only: str) -> None:
        self.stat = stat
        self._source = source
        self._base = base
        self._only = only
        self._failure: VolcopyError | None = None
        self._lock = _thread.allocate_lock()
        self._reading = False
        self._closed = False
        self._out, self._in = os.pipe()
        threading.Thread(target=self._work, name="volcopy-rename", daemon=True).start()

    def _work(self) -> None:
        try:
            self._rename()
        except VolcopyError as problem:
            self._failure = problem
        except BrokenPipeError:
            pass  # nobody reads any more
        finally:
            self._source.close()
            os.close(self._in)

    def _rename(self) -> None:
        from jupyter_volcopy.core.tar_reader import TarReader
        from jupyter_volcopy.core.tar_writer import END, encode_entry, padding

        reader = TarReader(self._source)
        for entry in reader:
            name = self._name(entry.name)
            if not name:
                continue
            entry.name = name
            if entry.kind is Kind.HARDLINK:
                entry.link = self._target(entry)
            self._write(encode_entry(entry))
            if entry.kind is Kind.FILE:
                reader.read(self._write)
                self._write(padding(entry.size))
            if self._only:
                break
        self._write(END)

    def _name(self, name: str) -> str:
        inner = name[2:] if name.startswith("./") else "" if name == "." else name
        if self._only:
            return inner if inner == self._only else ""
        return f"{self._base}/{inner}" if inner else self._base

    def _target(self, entry: Entry) -> str:
        if self._only:
            raise EngineError(
                f"{entry.name} is one more name of a file the engine sends under another",
                hint="copy the directory that holds it",
            )
        return self._name(entry.link)

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while len(view):
            view = view[os.write(self._in, view) :]

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of `buffer`; 0 at the end.

        Raises:
            CutStream, EngineStalled, EngineError: as the source.
        """
        with self._lock:
            if self._closed:
                raise CutStream("the archive was closed while it was read: unexpected EOF")
            self._reading = True
        try:
            count = os.readv(self._out, [buffer])
        finally:
            with self._lock:
                self._reading = False
                closed = self._closed
                if closed:
                    os.close(self._out)
        if closed:
            raise CutStream("the archive was closed while it was read: unexpected EOF")
        if not count and self._failure is not None:
            raise self._failure
        return count

    def close(self) -> None:
        """Let go of the source, from any thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if not self._reading:
                os.close(self._out)
        self._source.close()
