r"""What we have put aside, so that a later run can remove what a killed one left (safety F1).

Temporaries are ours because they stand here, by name *and* inode, never because of how they are
called: a user's own `.volcopy-0123456789abcdef` is nobody's business.

One file per journal in `$XDG_STATE_HOME/jupyter-volcopy/journal` (else `~/.local/state/...`), held
with flock for as long as the process lives: whoever gets the lock knows that its owner is dead.
Lines are appended, fields separated by tabs (`\\`, `\t`, `\n` escaped)::

    L  number  time  directory  name  device  inode     a local temporary; 0 0: about to be made
    C  number  time  engine  container  directory  name one in a container
    D  number                                           it is gone, or has its final name

A journal that cannot be written is kept in memory: it never fails a copy.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from jupyter_volcopy.core.localfs import (
    DIRECTORY_FLAGS,
    Descent,
    file_user,
    open_named_directory,
)
from jupyter_volcopy.core.paths import decode, encode
from jupyter_volcopy.core.record import Value
from jupyter_volcopy.errors import VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Journal",
    "Leftover",
    "Token",
    "open_own_directory",
    "remove_tree",
    "state_directory",
]

_LINE_LIMIT = 64 * 1024  # bytes after which a journal without anything open starts anew


class Token(Value):
    """One thing put aside, as `Journal.done` wants it."""

    number: int


class Leftover(Value):
    """Something a dead process left.

    Attributes:
        kind: `local` or `container`.
        directory, name: where it lies.
        device, inode: of a local one, 0 where the process died while making it.
        engine, container: address and 64-hex id, of one in a container.
        time: seconds since 1970 when it was written down.
        journal, number: where it is written down.
    """

    kind: str
    directory: str
    name: str
    device: int = 0
    inode: int = 0
    engine: str = ""
    container: str = ""
    time: float = 0.0
    journal: str = ""
    number: int = 0


def state_directory() -> str:
    """Where the journals of this user lie (it may not be there yet)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):
        base = os.path.expanduser("~/.local/state")
    return base + "/jupyter-volcopy/journal"


def _escape(text: str) -> bytes:
    raw = encode(text)
    return raw.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\n", b"\\n")


def _plain(raw: bytes) -> str:
    if b"\\" in raw:
        pieces = raw.split(b"\\\\")
        raw = b"\\".join(p.replace(b"\\t", b"\t").replace(b"\\n", b"\n") for p in pieces)
    return decode(raw)


def remove_tree(directory: int, name: bytes) -> None:
    """Remove `name` in `directory` and everything below it, no link followed.

    Directories that may not be entered are made enterable first, where they are ours.

    Raises:
        OSError: something could not be removed; what could be is gone.
        Conflict: somebody moved a directory in it meanwhile.
    """
    info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(name, dir_fd=directory)
        return
    top = open_own_directory(directory, name)
    place = Descent(top, "the left tree")
    try:
        todo = [os.listdir(top)]
        path: list[bytes] = []
        while todo:
            if not todo[-1]:
                todo.pop()
                if path:
                    os.close(place.up())
                    os.rmdir(path.pop(), dir_fd=place.fd)
                continue
            raw = os.fsencode(todo[-1].pop())
            try:
                os.unlink(raw, dir_fd=place.fd)
                continue
            except IsADirectoryError:
                pass
            except PermissionError:  # POSIX allows EPERM for a directory
                if not stat.S_ISDIR(os.lstat(b"/proc/self/fd/%d/%b" % (place.fd, raw)).st_mode):
                    raise
            place.enter(open_own_directory(place.fd, raw))
            path.append(raw)
            todo.append(os.listdir(place.fd))
    finally:
        place.close()
        os.close(top)
    os.rmdir(name, dir_fd=directory)


def open_own_directory(directory: int, name: bytes) -> int:
    """A descriptor of the directory `name`, made 0700 first if it is ours and has less."""
    try:
        fd = os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
    except PermissionError:
        held = os.open(name, DIRECTORY_FLAGS | os.O_PATH, dir_fd=directory)
        try:
            os.chmod(f"/proc/self/fd/{held}", 0o700)
        finally:
            os.close(held)
        return os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
    try:
        mode = os.fstat(fd).st_mode
        if mode & 0o700 != 0o700 and file_user():
            os.fchmod(fd, stat.S_IMODE(mode) | 0o700)
    except OSError:
        pass  # not ours; what follows will say so
    return fd


class Journal:
    """The journal of this process.

    Args:
        directory: where journals lie; None: the user's state directory.
    """

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory
        self._fd = -1
        self._path = ""
        self._off = False
        self._number = 0
        self._live: set[int] = set()
        self._size = 0

    @property
    def directory(self) -> str:
        """Where journals lie."""
        return self._directory if self._directory is not None else state_directory()

    @property
    def path(self) -> str:
        """The file of this journal; empty while it has none."""
        return self._path

    def _start(self) -> None:
        import fcntl

        try:
            os.makedirs(encode(self.directory), 0o700, exist_ok=True)
            path = f"{self.directory}/{os.getpid()}-{os.urandom(4).hex()}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
            self._fd = os.open(encode(path), flags | os.O_CLOEXEC, 0o600)
            self._path = path
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """Go on in memory: a full or read-only home must not fail a copy."""
        self._off = True
        self._let_go(remove=not self._size)  # where nothing stands in it

    def _let_go(self, *, remove: bool) -> None:
        if self._fd < 0:
            return
        if remove:
            try:
                os.unlink(encode(self._path))
            except OSError:
                pass
        os.close(self._fd)
        self._fd = -1

    def _append(self, *fields: bytes) -> None:
        if self._off:
            return
        if self._fd < 0:
            self._start()
            if self._off:
                return
        line = b"\t".join(fields) + b"\n"
        try:
            os.write(self._fd, line)
            self._size += len(line)
        except OSError:
            self._give_up()

    def _next(self) -> int:
        self._number += 1
        self._live.add(self._number)
        return self._number

    def local(self, directory: str, name: str, device: int = 0, inode: int = 0) -> Token:
        """Write down a local temporary.

        Args:
            directory: absolute path of the directory it lies in.
            name: its name there.
            device: of the temporary; 0 where it is about to be made (then call `made`).
            inode: likewise.
        """
        number = self._next()
        self._local(number, directory, name, device, inode)
        return Token(number)

    def _local(self, number: int, directory: str, name: str, device: int, inode: int) -> None:
        if directory.startswith("/proc/self/fd/"):  # held by descriptor: which one it is
            held, slash, rest = directory[14:].partition("/")
            directory = decode(os.readlink(b"/proc/self/fd/" + encode(held))) + slash + rest
        self._append(
            b"L",
            b"%d" % number,
            b"%d" % time.time(),
            _escape(os.path.abspath(directory)),
            _escape(name),
            b"%d" % device,
            b"%d" % inode,
        )

    def made(self, token: Token, directory: str, name: str, device: int, inode: int) -> None:
        """The temporary that `local` announced is there now, with this device and inode."""
        self._local(token.number, directory, name, device, inode)

    def container(self, engine: str, container: str, directory: str, name: str) -> Token:
        """Write down a temporary in a container.

        Args:
            engine: address of the engine.
            container: 64-hex id.
            directory: absolute path there.
            name: its name there.
        """
        number = self._next()
        self._append(
            b"C",
            b"%d" % number,
            b"%d" % time.time(),
            _escape(engine),
            _escape(container),
            _escape(directory),
            _escape(name),
        )
        return Token(number)

    def done(self, token: Token) -> None:
        """The temporary is gone, or has its final name."""
        if token.number not in self._live:
            return
        self._live.discard(token.number)
        self._append(b"D", b"%d" % token.number)
        if not self._live and self._fd >= 0 and self._size > _LINE_LIMIT:
            try:
                os.ftruncate(self._fd, 0)
                self._size = 0
            except OSError:
                self._give_up()

    def close(self) -> None:
        """End this journal; its file goes unless something in it is still open."""
        self._let_go(remove=not self._live)

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: S110 - the interpreter is going down
            pass

    @staticmethod
    def leftovers(directory: str | None = None) -> list[Leftover]:
        """What dead processes left, oldest first; a file in which nothing is left is removed.

        Args:
            directory: where journals lie; None: the user's state directory.
        """
        found: list[Leftover] = []
        for path, fd in _dead(directory if directory is not None else state_directory()):
            try:
                items = _read(path, fd)
                found.extend(items)
                if not items:
                    os.unlink(encode(path))
            except OSError:
                pass
            finally:
                os.close(fd)
        return sorted(found, key=lambda item: item.time)

    def sweep_local(self, directory: str | None = None) -> list[str]:
        """Remove local temporaries of dead processes.

        Args:
            directory: only those that lie in it; None: all.

        Returns:
            Paths that were removed.
        """
        removed: list[str] = []
        wanted = os.path.realpath(encode(directory)) if directory is not None else None
        for path, fd in _dead(self.directory):
            try:
                left = 0
                for item in _read(path, fd):
                    if item.kind != "local":
                        left += 1
                        continue
                    if wanted is not None and os.path.realpath(encode(item.directory)) != wanted:
                        left += 1
                        continue
                    gone, was_there = _remove(item)
                    if was_there and gone:
                        removed.append(f"{item.directory.rstrip('/')}/{item.name}")
                    if gone:
                        os.write(fd, b"D\t%d\n" % item.number)
                    else:
                        left += 1
                if not left:
                    os.unlink(encode(path))
            except OSError:
                pass
            finally:
                os.close(fd)
        return removed

    def forget(self, leftover: Leftover) -> None:
        """Strike out a leftover that somebody has dealt with (one in a container)."""
        for path, fd in _dead(self.directory):
            try:
                if path == leftover.journal:
                    os.write(fd, b"D\t%d\n" % leftover.number)
                    if not _read(path, fd):
                        os.unlink(encode(path))
            except OSError:
                pass
            finally:
                os.close(fd)


def _dead(directory: str) -> Iterator[tuple[str, int]]:
    """Journals whose process is gone: path and locked descriptor, the caller's to close."""
    try:
        names = os.listdir(encode(directory))
    except OSError:
        return
    for raw in names:
        import fcntl

        path = directory + "/" + decode(raw)
        try:
            fd = os.open(encode(path), os.O_RDWR | os.O_NOFOLLOW | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            info = os.fstat(fd)
            # a fresh empty one may be between its creation and its lock
            young = info.st_size == 0 and time.time() - info.st_mtime < 60
            if not stat.S_ISREG(info.st_mode) or info.st_nlink == 0 or young:
                raise OSError(errno.EAGAIN, "not a dead journal")
        except OSError:
            os.close(fd)
            continue
        yield path, fd


def _read(path: str, fd: int) -> list[Leftover]:
    """What stands open in a journal. A torn last line is left out."""
    size = os.fstat(fd).st_size
    lines = os.pread(fd, size, 0).split(b"\n")[:-1]
    items: dict[int, Leftover] = {}
    for line in lines:
        fields = line.split(b"\t")
        try:
            number = int(fields[1])
            if fields[0] == b"D":
                items.pop(number, None)
            elif fields[0] == b"L" and len(fields) == 7:
                items[number] = Leftover(
                    "local",
                    _plain(fields[3]),
                    _plain(fields[4]),
                    int(fields[5]),
                    int(fields[6]),
                    time=float(fields[2]),
                    journal=path,
                    number=number,
                )
            elif fields[0] == b"C" and len(fields) == 7:
                items[number] = Leftover(
                    "container",
                    _plain(fields[5]),
                    _plain(fields[6]),
                    engine=_plain(fields[3]),
                    container=_plain(fields[4]),
                    time=float(fields[2]),
                    journal=path,
                    number=number,
                )
        except (ValueError, IndexError):
            continue
    return list(items.values())


def _remove(item: Leftover) -> tuple[bool, bool]:
    """Remove a local leftover: (it is gone or was never ours, it was there)."""
    try:
        directory = open_named_directory(item.directory)
    except VolcopyError:
        return not os.path.isdir(encode(item.directory)), False
    name = encode(item.name)
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if item.inode:
            ours = (info.st_dev, info.st_ino) == (item.device, item.inode)
        else:  # killed between the line and the making: our user's, and not older than the line
            ours = info.st_uid == os.geteuid() and info.st_ctime >= item.time - 2
        if not ours:
            return True, False
        remove_tree(directory, name)
        return True, True
    except FileNotFoundError:
        return True, False
    except (OSError, VolcopyError):
        return False, True
    finally:
        os.close(directory)
