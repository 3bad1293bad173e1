"""What lies in a container, read below a directory that is held: stat, listing, archive.

`DirectArchive` gives the entries that the engine's archive of the same path would hold. Whoever
only wants them written takes them as they are; `readinto` gives them as a tar.
"""

from __future__ import annotations

import _thread
import errno
import os
import stat as bits

from jupyter_volcopy.core.content import FileContent
from jupyter_volcopy.core.direct_root import OwnRights, Root, close_fd
from jupyter_volcopy.core.engine import CAN_CHANGE
from jupyter_volcopy.core.localfs import (
    DIRECTORY_FLAGS,
    Tree,
    TreeEntry,
    kind_of,
    list_names,
    local_error,
)
from jupyter_volcopy.core.model import Entry, Kind, ListedEntry, Listing, Stat
from jupyter_volcopy.core.paths import base_name, clean, decode, encode, parent
from jupyter_volcopy.core.tar_writer import END, encode_entry, padding
from jupyter_volcopy.errors import (
    AccessDenied,
    Conflict,
    CutStream,
    LocalPermission,
    NoSuchPath,
    NotADirectory,
    SourceChanged,
    VolcopyError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from jupyter_volcopy.core.fs_user import FsUser

__all__ = ["DirectArchive", "DirectTree", "archive_at", "list_at", "measure_at", "stat_at"]

_BUFFER = 1 << 20
_DEEP = 100  # levels that are measured, each with a descriptor open
_SECOND = 1_000_000_000
_CAPABILITY = "security.capability"
_HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class DirectTree(Tree):
    """A directory of a container; files in it are opened only once they are known to be files.

    What a walk is at is held meanwhile: so it is looked at and opened with one look-up of its name.
    """

    _held = -1

    def close(self) -> None:
        """As `Tree.close`."""
        self._let_go()
        super().close()

    def _let_go(self) -> None:
        close_fd(self._held)
        self._held = -1

    def _look(self, at: int, raw: bytes) -> os.stat_result:
        self._let_go()
        self._held = held = os.open(raw, _HOLD, dir_fd=at)
        return os.fstat(held)

    def open_entry(self, item: TreeEntry) -> tuple[int, os.stat_result]:
        """As `Tree.open_entry`."""
        info = item.stat
        if self._held < 0 or item.at < 0 or info is None or not bits.S_ISREG(info.st_mode):
            return super().open_entry(item)
        try:
            return os.open(b"/proc/self/fd/%d" % self._held, _READ), info
        except OSError as error:
            raise local_error(error, "open", self._shown(item.rel)) from None

    def _open_at(self, at: int, name: bytes) -> tuple[int, os.stat_result]:
        """As `Tree._open_at`, and nothing but a regular file is ever opened: a device would act."""
        held = os.open(name, _HOLD, dir_fd=at)
        try:
            info = os.fstat(held)
            if not bits.S_ISREG(info.st_mode):
                raise Conflict("not a regular file")
            return os.open(b"/proc/self/fd/%d" % held, _READ), info
        finally:
            os.close(held)


class DirectArchive:
    """The entries of one path of a container, as the engine's archive of it has them.

    Args:
        tree: the directory that holds the path; closed with this.
        rel: of the path in it; "" for the directory itself.
        top: what the first component is called.
        stat: of the path.
        rights: with which it is read.

    Attributes:
        remarkable: what it left out, and files that can be caught in the middle, as they were when
            they were opened; names are below the top.
        unread: directories that came, but without what is in them.
    """

    parsed = True
    """It gives entries itself and need not be read as an archive."""

    def __init__(
        self, tree: Tree, rel: str, top: str, stat: Stat, rights: OwnRights | FsUser
    ) -> None:
        self.stat: Stat | None = stat
        self._rights = rights
        self._tree = tree
        self._rel = rel
        self._top = top
        self._buffer = memoryview(bytearray(_BUFFER))
        self._entry: Entry | None = None
        self._fd = -1
        self._running = False
        self._closed = False
        self.remarkable: list[ListedEntry] = []
        self.unread: list[str] = []
        self._denied = ""  # the first path that could not be read
        self._stream: Generator[memoryview | bytes, None, None] | None = None
        self._rest = memoryview(b"")
        self._reading = _thread.allocate_lock()  # while `_stream` runs

    def close(self) -> None:
        """Let go of it; from any thread: whoever reads it sees the end."""
        self._closed = True
        if self._reading.acquire(False):  # else the other thread will see, and close it itself
            try:
                if self._stream is not None:
                    self._stream.close()  # it holds this: left alone, it would stay for long
            finally:
                self._reading.release()
        if not self._running:
            self._let_go()

    def _let_go(self) -> None:
        close_fd(self._fd)
        self._fd = -1
        self._tree.close()

    def _check(self) -> None:
        if self._closed:
            raise CutStream("the archive was closed while it was read: unexpected EOF")

    def __iter__(self) -> Iterator[Entry]:
        """The entries, parents first; what cannot be read is left out, as by the engine."""
        self._check()
        self._running = True
        try:
            yield from self._rights.inside(self._entries())
        finally:
            self._running = False
            if self._closed:
                self._let_go()

    def _entries(self) -> Iterator[Entry]:
        cut = len(self._rel)
        firsts: dict[tuple[int, int], str] = {}
        for found in self._tree.walk(self._rel):
            self._check()
            info = found.stat
            if found.error is not None and found.kind is Kind.DIRECTORY:
                self.unread.append(self._below(found.rel))
                self._denied = self._denied or found.rel
            elif info is None or found.error is not None or found.kind is Kind.SOCKET:
                self._remark(found.rel, found.kind if found.error is None else Kind.FILE, info)
                self._deny(found, found.error)
                continue
            assert info is not None
            name = self._top + found.rel[cut:] if cut else f"{self._top}/{found.rel}".rstrip("/")
            mode = bits.S_IMODE(info.st_mode)
            entry = Entry(
                name, found.kind, mode, info.st_uid, info.st_gid, 0,
                info.st_mtime_ns // _SECOND * _SECOND, found.link,
            )  # fmt: skip
            if found.kind in (Kind.CHARACTER, Kind.BLOCK):
                entry.major, entry.minor = os.major(info.st_rdev), os.minor(info.st_rdev)
            if info.st_nlink > 1 and found.kind is not Kind.DIRECTORY:
                first = firsts.setdefault((info.st_dev, info.st_ino), name)
                if first != name:
                    entry.kind, entry.link = Kind.HARDLINK, first
            if entry.kind is not Kind.FILE:
                yield entry
                continue
            try:
                self._fd, info = self._tree.open_entry(found)
            except VolcopyError as error:
                firsts.pop((info.st_dev, info.st_ino), None)
                self._deny(found, error)
                self._remark(found.rel, Kind.FILE, None)
                continue
            try:
                entry.size = info.st_size
                if entry.size >= CAN_CHANGE:
                    self._remark(found.rel, Kind.FILE, info)
                try:
                    if os.listxattr(self._fd):
                        entry.xattrs[_CAPABILITY] = os.getxattr(self._fd, _CAPABILITY)
                except OSError:
                    pass
                self._entry = entry
                yield entry
            finally:
                self._entry = None
                close_fd(self._fd)
                self._fd = -1

    def _deny(self, found: TreeEntry, error: VolcopyError | None) -> None:
        if isinstance(error, LocalPermission):
            self._denied = self._denied or found.rel
            if found.rel == self._rel:  # all that was asked for
                self._refuse()

    def _refuse(self) -> None:
        """Say what a user may not read, as the user's own tar would."""
        if self._denied and not isinstance(self._rights, OwnRights):
            raise AccessDenied(f"reading {self._denied}: permission denied", path=self._denied)

    def _below(self, rel: str) -> str:
        return rel[len(self._rel) + 1 :] if self._rel else rel

    def _remark(self, rel: str, kind: Kind, info: os.stat_result | None) -> None:
        below = self._below(rel)
        size, when = (info.st_size, info.st_mtime_ns) if info is not None else (0, 0)
        self.remarkable.append(ListedEntry(below, kind, 0, 0, 0, size, when))

    def content(self, moved: Callable[[int], None]) -> FileContent | None:
        """The current entry's content as an open file, where that is worth it."""
        entry = self._entry
        if entry is None or not entry.size:
            return None
        return FileContent(self._fd, 0, entry.size, moved)

    def read(self, write: Callable[[memoryview], object]) -> int:
        """Hand the content of the current entry to `write`; see `TarReader.read`.

        Raises:
            SourceChanged: the file became shorter.
        """
        entry = self._entry
        if entry is None:
            return 0
        left, buffer = entry.size, self._buffer
        while left:
            self._check()
            count = os.readv(self._fd, [buffer[:left] if left < _BUFFER else buffer])
            if not count:
                raise SourceChanged(
                    f"{entry.name}: became shorter while it was read: unexpected EOF",
                    hint="copy again when nobody writes there",
                )
            write(buffer[:count])
            left -= count
        return entry.size

    def readinto(self, buffer: memoryview) -> int:
        """Some bytes of the same as a tar archive; 0 at its end."""
        while not len(self._rest):
            with self._reading:
                self._check()
                if self._stream is None:
                    self._stream = self._bytes()
                piece = next(self._stream, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _bytes(self) -> Generator[memoryview | bytes, None, None]:
        for entry in self:
            yield encode_entry(entry)
            if not entry.size:
                continue
            left = entry.size
            while left:
                count = os.readv(self._fd, [self._buffer[:left]])
                if not count:
                    raise SourceChanged(f"{entry.name}: became shorter while it was read")
                yield self._buffer[:count]
                left -= count
            yield padding(entry.size)
        self._refuse()  # an archive has no other place for it
        yield END


def stat_at(root: Root, path: str) -> Stat:
    """As `Engine.stat`; an OSError where there is nothing."""
    with root.rights:
        through = path.endswith(("/", "/."))
        real = root.resolve(path, follow=through)
        if root.in_kernel(real, above=False):
            raise OSError(errno.EPERM, "made by the kernel")
        info = root.stat(real)
        kind = kind_of(info.st_mode)
        if through and kind is not Kind.DIRECTORY:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        target = root.resolve(path, follow=True) if kind is Kind.SYMLINK else ""
    return _as_stat(info, base_name(clean(path)), target)


def _as_stat(info: os.stat_result, name: str, target: str = "") -> Stat:
    return Stat(
        name,
        kind_of(info.st_mode),
        bits.S_IMODE(info.st_mode),
        info.st_size,
        info.st_mtime_ns,
        target,
        info.st_uid,
        info.st_gid,
    )


def list_at(root: Root, real: str, path: str, recursive: bool, most: int | None) -> Listing:
    """As `Engine.list_dir`, of `real`, which is `path` with links resolved."""
    if not bits.S_ISDIR(root.stat(real).st_mode):
        raise NotADirectory(f"{path} is not a directory", path=path)
    entries, complete = [], True
    with Tree(root.open_directory(real), path) as tree:
        walk = tree.walk()
        names = list_names(tree.fd) if most is not None and not recursive else []
        more = most is not None and len(names) > most
        if more:
            walk = _each(tree, names[:most])
        for found in walk:
            if found.error is not None:
                if not found.rel:
                    raise found.error
                complete = False
            if not found.rel or found.stat is None:
                continue
            info = found.stat
            entries.append(
                ListedEntry(
                    found.rel,
                    found.kind,
                    bits.S_IMODE(info.st_mode),
                    info.st_uid,
                    info.st_gid,
                    info.st_size,
                    info.st_mtime_ns,
                    found.link,
                )
            )
            if not recursive and found.kind is Kind.DIRECTORY:
                found.kind = Kind.FILE  # not entered
    entries.sort(key=lambda item: encode(item.name))
    if more:
        return Listing(path, tuple(entries), more=True, total=len(names))
    return Listing(path, tuple(entries), complete=complete)


def _each(tree: Tree, names: list[bytes]) -> Iterator[TreeEntry]:
    for name in names:
        try:
            yield from tree.walk(decode(name))
        except NoSuchPath:
            pass  # it went meanwhile


def measure_at(fd: int) -> tuple[int, int]:
    """Entries and bytes in the directory `fd`, which is closed; what cannot be read counts not.

    Raises:
        RecursionError: it is deeper than is measured.
    """
    linked: set[tuple[int, int]] = set()

    def measure(fd: int, depth: int) -> tuple[int, int]:
        entries = size = 0
        below = []
        try:
            if depth > _DEEP:
                raise RecursionError
            with os.scandir(fd) as found:
                for item in found:
                    entries += 1
                    if item.is_dir(follow_symlinks=False):
                        below.append(item.name)
                    elif item.is_file(follow_symlinks=False):
                        info = item.stat(follow_symlinks=False)
                        if info.st_nlink > 1:
                            if (info.st_dev, info.st_ino) in linked:
                                continue
                            linked.add((info.st_dev, info.st_ino))
                        size += info.st_size
            for name in below:
                inner = measure(os.open(name, DIRECTORY_FLAGS, dir_fd=fd), depth + 1)
                entries += inner[0]
                size += inner[1]
        except OSError:
            pass  # the copy itself will say so
        finally:
            os.close(fd)
        return entries, size

    return measure(fd, 0)


def archive_at(root: Root, path: str) -> DirectArchive | None:
    """The archive of `path`, None where it is the engine's to give or to refuse."""
    plain = clean(path)
    contents = path.endswith("/.") or plain == "/"
    through = contents or path.endswith("/")
    real = root.resolve(plain, follow=through)
    if root.in_kernel(real, above=True):
        return None
    info = root.stat(real)
    if through and not bits.S_ISDIR(info.st_mode):
        return None
    named = root.resolve(plain, follow=False)
    shown = info if named == real else root.stat(named)
    target = real if bits.S_ISLNK(shown.st_mode) else ""
    if not through and bits.S_ISLNK(shown.st_mode):
        target = root.resolve(plain, follow=True)
    stat = _as_stat(shown, base_name(plain), target)
    if contents:
        tree = DirectTree(root.open_directory(real), real)
        return DirectArchive(tree, "", ".", stat, root.rights)
    tree = DirectTree(root.open_directory(parent(real), read=False), parent(real))
    return DirectArchive(tree, base_name(real), base_name(plain), stat, root.rights)
