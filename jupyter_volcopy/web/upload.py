"""What somebody uploads: kept in a nameless file until it is whole, then handed on in one go.

A browser may be slow or go away; until the last byte is here the engine is not asked for anything,
so no container waits for anybody (design E1, safety F11).

`SafeArchive` is the body of the engine's own archive call as `ServiceEngine` makes it: an archive
that was staged (and maybe sealed) by the client's core. It is read here by the strict reader before
the engine sees a byte, and written anew: plain relative names, no set-id bits, no devices, no
attributes but `user.` ones (safety S8, S16). The same bytes are never trusted to mean the same to
two readers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.engine import FilePart
from jupyter_volcopy.core.localfs import local_error
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import clean, encode, join, one_top
from jupyter_volcopy.core.push import Item
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.tar_writer import END, encode_entry, padding
from jupyter_volcopy.errors import LimitExceeded, UnsafeEntry

__all__ = ["SafeArchive", "Upload", "too_long"]

_SPECIAL = frozenset((Kind.CHARACTER, Kind.BLOCK, Kind.SOCKET, Kind.FIFO))
_PACK = 256 * 1024
_SMALL = 64 * 1024


class Upload:
    """A nameless file that grows.

    Args:
        directory: where; "" for the system's temporary directory.
        limit: bytes at most.

    Attributes:
        fd: its descriptor.
        size: bytes so far.
    """

    def __init__(self, directory: str, limit: int) -> None:
        if not directory:
            import tempfile

            directory = tempfile.gettempdir()
        self.limit = limit
        self.size = 0
        self._at = 0
        self._lock = threading.Lock()
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            try:
                self.fd = os.open(encode(directory), flags | os.O_TMPFILE, 0o600)
            except OSError:  # a file system without O_TMPFILE
                path = encode(f"{directory}/.volcopy-{os.urandom(8).hex()}")
                self.fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                os.unlink(path)
        except OSError as error:
            raise local_error(error, "open", "a temporary file of the server") from None

    def write(self, data: bytes | bytearray) -> None:
        """Append.

        Raises:
            LimitExceeded: more than may be.
            NoSpace: the server's disk is full.
        """
        if self.size + len(data) > self.limit:
            raise too_long(self.limit)
        view = memoryview(data)
        done = 0
        with self._lock:
            try:
                while done < len(view):
                    done += os.pwrite(self.fd, view[done:], self.size + done)
            except OSError as error:
                raise local_error(error, "write", "a temporary file of the server") from None
            self.size += len(data)

    def readinto(self, buffer: memoryview) -> int:
        """Read on; who has the same descriptor may read elsewhere meanwhile."""
        count = os.preadv(self.fd, [buffer], self._at)
        self._at += count
        return count

    def rewind(self) -> None:
        """Stand at the beginning again."""
        self._at = 0
        os.lseek(self.fd, 0, os.SEEK_SET)

    def close(self) -> None:
        """Let go of it, and of its space: of a large one that takes time. Any thread may."""
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1


def too_long(limit: int) -> LimitExceeded:
    """The error for an upload of more than `limit` bytes."""
    return LimitExceeded(
        f"an upload may have {limit} bytes at most",
        hint="start a transfer instead, or ask for a higher upload_limit",
        limit=limit,
    )


class SafeArchive:
    """An uploaded archive as an `ArchiveBody`; see the module.

    Args:
        upload: whole.
        directory: it is unpacked in, absolute.
        seal: text of the seal that its last entry carries, or None.
        max_entries: how many it may have.

    Attributes:
        only, holds_directory: see `ArchiveBody`.

    Raises:
        UnsafeEntry, CutStream, LimitExceeded: it is no archive that may be unpacked.
    """

    length: int | None = None
    only: str | None = None
    holds_directory = False

    def __init__(
        self, upload: Upload, directory: str, seal: str | None, *, max_entries: int | None = None
    ) -> None:
        self.seal = seal
        self._upload = upload
        self._directory = directory
        self._max_entries = max_entries
        self._hidden = ""
        self._staged = seal is not None
        self._odd = False  # of a shape that `items` cannot have
        self.meter, self.cancel = Meter(), Cancel()
        names: set[str] = set()
        made: dict[str, Kind] = {}
        twice: set[str] = set()
        last: Entry | None = None
        for entry, _ in self._entries():
            self._check(entry, names)
            name = _bare(entry.name)
            above = name.rpartition("/")[0]
            if name in made and not made[name] is entry.kind is Kind.DIRECTORY:
                twice.add(entry.name)
            late = above and made.get(above) is not Kind.DIRECTORY
            self._odd = self._odd or bool(late) or entry.sparse is not None
            made[name] = entry.kind
            last = entry
        # Without the seal's entry the engine would answer 200, which `Engine.extract` refuses.
        if last is not None and self._is_seal(last):
            self._hidden = last.name
        self._odd = self._odd or bool(twice - {self._hidden})

    def _entries(self) -> Iterator[tuple[Entry, int]]:
        """The entries and where their content begins."""
        self._upload.rewind()
        reader = TarReader(self._upload, max_entries=self._max_entries)
        for entry in reader:
            yield entry, reader.position

    def _is_seal(self, entry: Entry) -> bool:
        return (
            self.seal is not None
            and entry.kind is Kind.SYMLINK
            and bool(self.seal)
            and entry.link.startswith(self.seal)
        )

    def _check(self, entry: Entry, names: set[str]) -> None:
        if entry.name not in (".", "./") and not _plain(entry.name):
            raise UnsafeEntry(
                f"refused: the archive holds the name {entry.name!r}",
                hint="only names below the directory are unpacked",
            )
        if entry.kind is Kind.HARDLINK and self._target(entry) not in names:
            raise UnsafeEntry(
                f"refused: the hard link {entry.name!r} leads to {entry.link!r}, "
                "which did not come before it"
            )
        if entry.kind is Kind.FILE:
            names.add(entry.name)

    def _target(self, entry: Entry) -> str:
        """What a hard link means, below the directory (a client of ours may write it from `/`)."""
        if _plain(entry.link):
            return entry.link
        prefix = self._directory.rstrip("/") + "/"
        full = clean(join(self._directory, entry.link))
        return full[len(prefix) :] if full.startswith(prefix) else ""

    def unstage(self) -> None:
        """Before it is read: for a way of unpacking that stages by itself (`Guarded`)."""
        self._staged, self.seal = False, None

    @property
    def items(self) -> Iterator[Item] | None:
        """The same for a way of unpacking that needs no archive.

        None where it holds holes, a name twice, or names below directories that do not come before.
        """
        return None if self._odd else self._items()

    def _items(self) -> Iterator[Item]:
        for safe, offset in self._safe_entries():
            safe.name = _bare(safe.name)
            if safe.name in ("", "."):
                continue
            if safe.kind is Kind.HARDLINK:
                safe.link = _bare(safe.link)
            if safe.kind is Kind.FILE:
                yield Item(safe, self._at(offset))
            else:
                yield Item(safe)

    def _at(self, offset: int) -> Callable[[], tuple[int, int]]:
        return lambda: (os.dup(self._upload.fd), offset)

    def __iter__(self) -> Iterator[bytes | bytearray | memoryview | FilePart]:
        buffer = bytearray()
        self.only = None
        for safe, offset in self._safe_entries():
            self.only = one_top(self.only, safe.name.removesuffix("/"))
            self.holds_directory = self.holds_directory or safe.kind is Kind.DIRECTORY
            buffer += encode_entry(safe)
            if safe.kind is not Kind.FILE:
                continue
            if safe.size > _SMALL:
                yield bytes(buffer)
                buffer.clear()
                yield FilePart(self._upload.fd, offset, safe.size)
            elif safe.size:
                buffer += os.pread(self._upload.fd, safe.size, offset)
            buffer += padding(safe.size)
            if len(buffer) >= _PACK:
                yield bytes(buffer)
                buffer.clear()
        yield bytes(buffer) + END

    def _safe_entries(self) -> Iterator[tuple[Entry, int]]:
        """What is unpacked, and where its content begins."""
        content: dict[str, tuple[Entry, int]] = {}
        for entry, offset in self._entries():
            if entry.kind in _SPECIAL:
                continue
            safe = self._safe(entry)
            if self._hidden and not self._staged and entry.name == self._hidden:
                if entry.kind is Kind.FILE:
                    content[entry.name] = (safe, offset)
                continue
            if entry.kind is Kind.HARDLINK:
                target = self._target(entry)
                if target in content:
                    first, offset = content[target]
                    safe = replace(first, name=entry.name)
                else:
                    safe.link = target
            yield safe, offset

    def _safe(self, entry: Entry) -> Entry:
        """Without power."""
        kept = 0o1777 if entry.kind is Kind.DIRECTORY else 0o777
        return replace(
            entry,
            mode=entry.mode & kept,
            xattrs={k: v for k, v in entry.xattrs.items() if k.startswith("user.")},
        )


def _bare(name: str) -> str:
    return name.removeprefix("./").removesuffix("/")


def _plain(name: str) -> bool:
    path = _bare(name)
    return not path.startswith("/") and all(part not in ("", ".", "..") for part in path.split("/"))
