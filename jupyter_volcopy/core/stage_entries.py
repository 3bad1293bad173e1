"""How entries of an archive are made in a private directory, and what is said of them.

A directory is left, and then given its mode, owner and time, as soon as the archive goes on
elsewhere: memory does not grow with the archive. While it is being filled it has mode 0700, and
the set-gid bit if it will have it, so that what is made in it gets the group it would have got in
place (docker cp rule R42), and modes like 0555 or 0000 work for everybody.
"""

from __future__ import annotations

import os
import stat

from jupyter_volcopy.core.content import Content, FileContent
from jupyter_volcopy.core.journal import open_own_directory
from jupyter_volcopy.core.landing import chmod_at
from jupyter_volcopy.core.localfs import DIRECTORY_FLAGS, Descent
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import encode
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.stage_aside import FILE_FLAGS
from jupyter_volcopy.errors import CutStream, NoSpace, UnsafeEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

__all__ = ["Entries", "Making", "Read", "stamp"]

Read: TypeAlias = "Callable[[Callable[[memoryview], object]], int] | FileContent"
"""Hands the content of an entry to a function, piece by piece; returns the number of bytes."""

_NOTES = 10_000  # an archive must not fill the memory with what is to be said of it
_LARGE = 1 << 20  # bytes from which a file is asked for room before its first byte
_CAPABILITY = "security.capability"
_SECOND = 1_000_000_000
_LATEST = (1 << 62) // _SECOND * _SECOND
_CREATED = 0o600
_HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def stamp(entry: Entry) -> int:
    """Time of modification as docker cp leaves it: whole seconds, nothing before 1970 (R44)."""
    when = entry.mtime_ns
    return 0 if when <= 0 else min(when - when % _SECOND, _LATEST)


class Making:
    """With what rights and metadata entries are made, and the notes on them.

    Args:
        top: path of the top, for errors and notes.
        safe: no power travels.
        owner: of everything made; None: as the kernel does it; "keep": the archive's numbers.
    """

    def __init__(self, top: str, *, safe: bool, owner: tuple[int, int] | str | None) -> None:
        self.top = top
        self.safe = safe
        self._owner = owner
        self.notes: list[Note] = []
        self._more = 0
        self._skipped: set[str] = set()

    def shown(self, rel: str) -> str:
        """The path of an entry, for people."""
        return f"{self.top.rstrip('/')}/{rel}" if rel else self.top

    def note(self, rel: str, text: str, code: str) -> None:
        """Remember what is to be said of an entry."""
        if len(self.notes) < _NOTES:
            self.notes.append(Note(self.shown(rel), text, code))
            return
        self._more += 1
        self.notes[-1] = Note("", f"and {self._more + 1} more", "more")

    def skip(self, rel: str, reason: str, code: str) -> None:
        """Leave an entry out; hard links to it will be left out too."""
        self._skipped.add(rel)
        self.note(rel, reason, code)

    def mode(self, entry: Entry) -> int:
        """The mode it gets."""
        return entry.mode & (0o777 if self.safe else 0o7777)

    def owner(self, entry: Entry) -> tuple[int, int] | None:
        """The owner it gets, or None where the kernel decides."""
        if self._owner is None or isinstance(self._owner, str):
            return (entry.uid, entry.gid) if self._owner == "keep" else None
        return self._owner

    def refused(self, entry: Entry, rel: str) -> bool:
        """Whether the entry is not to be made; it is noted then."""
        kind = entry.kind
        if kind is Kind.SOCKET:
            self.skip(rel, "a socket is not copied", "socket")
            return True
        if kind is Kind.FIFO and self.safe:
            self.skip(rel, "a pipe is left out", "special")
            return True
        if kind is Kind.HARDLINK and entry.link in self._skipped:
            self.skip(rel, "a hard link to something left out", "special")
            return True
        if kind in (Kind.CHARACTER, Kind.BLOCK):
            if self.safe:
                self.skip(rel, f"a {kind.value} is left out", "special")
                return True
            self.note(rel, f"is a {kind.value} ({entry.major}, {entry.minor})", "special")
        return False

    def need(self, fd: int, size: int) -> None:
        """Make sure that `size` bytes fit on the disk that holds `fd`.

        Raises:
            NoSpace: they do not.
        """
        disk = os.fstatvfs(fd)
        room = disk.f_bavail * disk.f_frsize
        if disk.f_blocks and size > room:
            raise NoSpace(
                f"write {self.top}: no space left on device: {size} bytes needed, {room} free",
                hint="make room there, then run it again",
                path=self.top,
            )

    def fill(self, fd: int, entry: Entry, rel: str, read: Read | None) -> None:
        """Content, then owner, mode, capability and time: the order in which they stay."""
        if entry.size >= _LARGE and entry.sparse is None:
            self.need(fd, entry.size)
        if isinstance(read, FileContent):
            read.into(fd)
        elif entry.size:
            content = Content(fd, entry)
            if not content.take(read if read is not None else _nothing):
                path = self.shown(rel)
                raise CutStream(
                    f"unexpected EOF: {path}: {content.taken} of {content.due} bytes came",
                    path=path,
                )
        owner = self.owner(entry)
        if owner is not None:
            os.fchown(fd, *owner)
        if entry.mode & 0o6000:
            word = "setuid" if entry.mode & stat.S_ISUID else "setgid"
            text = f"the {word} bit was removed" if self.safe else f"has the {word} bit"
            self.note(rel, text, word)
        mode = self.mode(entry)
        if mode != _CREATED:
            os.fchmod(fd, mode)
        if entry.xattrs:
            self._capability(fd, entry, rel)
        when = stamp(entry)
        os.utime(fd, ns=(when, when))

    def _capability(self, fd: int, entry: Entry, rel: str) -> None:
        value = entry.xattrs.get(_CAPABILITY)
        if value is None:
            return
        text = "has a file capability"
        if self.safe:
            text = "the file capability was left out"
        else:
            try:
                os.setxattr(fd, _CAPABILITY, value)
            except OSError as error:
                reason = os.strerror(error.errno or 0).lower()
                text = f"the file capability could not be set: {reason}"
        self.note(rel, text, "capability")

    def special(self, entry: Entry, at: int, raw: bytes) -> None:
        """Make a link, pipe or device named `raw` in our private directory `at`."""
        kind = entry.kind
        if kind is Kind.SYMLINK:
            os.symlink(encode(entry.link), raw, dir_fd=at)
        elif kind is Kind.FIFO:
            os.mkfifo(raw, 0o600, dir_fd=at)
        else:
            form = stat.S_IFCHR if kind is Kind.CHARACTER else stat.S_IFBLK
            os.mknod(raw, form | 0o600, os.makedev(entry.major, entry.minor), dir_fd=at)
        owner = self.owner(entry)
        if owner is not None:
            os.chown(raw, *owner, dir_fd=at, follow_symlinks=False)
        if kind is not Kind.SYMLINK:
            chmod_at(at, raw, self.mode(entry))
        when = stamp(entry)
        os.utime(raw, ns=(when, when), dir_fd=at, follow_symlinks=False)


def _nothing(write: Callable[[memoryview], object]) -> int:
    return 0


class Entries:
    """The tree below the private directory `fd`, while it is being made.

    Attributes:
        files: files, links, pipes and devices made so far.
    """

    def __init__(self, fd: int, making: Making) -> None:
        self._making = making
        self._place = Descent(fd, making.top)
        self._levels: list[tuple[str, int, int, int, int]] = []  # name, mode, time, uid, gid
        self._parent = ""  # path of the directory we are in
        self.files = 0

    def add(self, entry: Entry, rel: str, read: Read | None) -> None:
        """Make one entry below the top; as `Stage.add`.

        Raises:
            UnsafeEntry: as `Stage.add`.
            OSError: the disk refused.
        """
        parent, _, name = rel.rpartition("/")
        if parent != self._parent:
            self._go(parent)
        if name in ("", ".", "..") or "\0" in name or rel[0] == "/":
            raise UnsafeEntry(f'"{rel}" is not a plain relative name', path=rel)
        kind, at, raw = entry.kind, self._place.fd, encode(name)
        if kind is Kind.FILE:
            fd = os.open(raw, FILE_FLAGS, 0o600, dir_fd=at)
            try:
                self._making.fill(fd, entry, rel, read)
            finally:
                os.close(fd)
        elif kind is Kind.DIRECTORY:
            self._directory(entry, name)
            return
        elif self._making.refused(entry, rel):
            return
        elif kind is Kind.HARDLINK:
            self._link(entry.link, raw, rel)
        else:
            self._making.special(entry, at, raw)
        self.files += 1

    def _directory(self, entry: Entry, name: str) -> None:
        at, raw = self._place.fd, encode(name)
        try:
            os.mkdir(raw, 0o700, dir_fd=at)
            fd = os.open(raw, DIRECTORY_FLAGS, dir_fd=at)
        except FileExistsError:  # what is mounted on a staged directory comes after it
            if not stat.S_ISDIR(os.stat(raw, dir_fd=at, follow_symlinks=False).st_mode):
                raise
            fd = open_own_directory(at, raw)
        mode = self._making.mode(entry)
        user, group = self._making.owner(entry) or (-1, -1)
        self._enter(fd, (name, mode, stamp(entry), user, group))

    def _enter(self, fd: int, level: tuple[str, int, int, int, int]) -> None:
        self._place.enter(fd)
        self._levels.append(level)
        self._parent = f"{self._parent}/{level[0]}" if self._parent else level[0]
        os.fchmod(fd, 0o700 | level[1] & stat.S_ISGID)

    def _leave(self) -> None:
        """Leave a directory: now it gets its owner, mode and time."""
        _, mode, when, user, group = self._levels.pop()
        self._parent = self._parent.rpartition("/")[0]
        fd = self._place.up()
        try:
            if user >= 0 or group >= 0:
                os.fchown(fd, user, group)
            os.fchmod(fd, mode)
            os.utime(fd, ns=(when, when))
        finally:
            os.close(fd)

    def _go(self, parent: str) -> None:
        """Be in the staged directory `parent`: leave others, enter it (again)."""
        wanted = parent.split("/") if parent else []
        common = 0
        for level, name in zip(self._levels, wanted, strict=False):
            if level[0] != name:
                break
            common += 1
        while len(self._levels) > common:
            self._leave()
        for name in wanted[common:]:
            if name in ("", ".", "..") or "\0" in name:
                raise UnsafeEntry(f'"{parent}" is not a plain relative name', path=parent)
            raw, at = encode(name), self._place.fd
            try:
                info = os.stat(raw, dir_fd=at, follow_symlinks=False)
            except FileNotFoundError:
                info = None
            if info is None or not stat.S_ISDIR(info.st_mode):
                raise UnsafeEntry(
                    f'"{parent}" has contents in the archive but is not a directory in it',
                    path=parent,
                )
            mode = stat.S_IMODE(info.st_mode)
            self._enter(open_own_directory(at, raw), (name, mode, info.st_mtime_ns, -1, -1))

    def _link(self, earlier: str, raw: bytes, rel: str) -> None:
        """Make a hard link to something made before; a link or pipe is linked itself."""
        parent, _, last = earlier.rpartition("/")
        wrong = f'invalid hardlink "{rel}" -> "{earlier}"'
        if last in ("", ".", "..") or "\0" in last:
            raise UnsafeEntry(wrong, path=rel)
        home = self._parent
        try:
            if parent != home:
                self._go(parent)
            held = os.open(encode(last), _HOLD, dir_fd=self._place.fd)
        except (FileNotFoundError, UnsafeEntry):
            raise UnsafeEntry(f"{wrong}: not in the archive before it", path=rel) from None
        try:
            if stat.S_ISDIR(os.fstat(held).st_mode):
                raise UnsafeEntry(f"{wrong}: a directory", path=rel)
            self._go(home)
            # the descriptor is the file itself: nothing is looked up by name, nothing followed
            os.link(f"/proc/self/fd/{held}", raw, dst_dir_fd=self._place.fd)
        finally:
            os.close(held)

    def finish(self) -> None:
        """Nothing more comes: leave every directory."""
        while self._levels:
            self._leave()

    def close(self) -> None:
        """Let go of every descriptor."""
        self._place.close()
        self._levels.clear()
