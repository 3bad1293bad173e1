"""Local files, reached by descriptor.

The directory a caller names is opened once (through links, if it was named so: it is the caller's
own). Everything below is reached relative to that descriptor, one component at a time with
`O_NOFOLLOW`, or with openat2(RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS): whoever swaps a directory
for a link while we work makes us fail, never go elsewhere (safety section 2, S3, S12).

`Descent` is a position in such a tree. It keeps the descriptors of the deepest few levels; the
ones above are found again by opening `..` and comparing device and inode with what was there on
the way down, so neither depth nor a directory moved meanwhile can lead astray.

Names are `bytes` towards the kernel, whatever the locale; `str` with surrogates towards callers.
"""

from __future__ import annotations

import _thread
import errno
import os
import stat

from jupyter_volcopy.core.model import Kind, Stat
from jupyter_volcopy.core.paths import base_name, decode, encode
from jupyter_volcopy.core.record import State
from jupyter_volcopy.errors import (
    Busy,
    Conflict,
    IsADirectory,
    LocalError,
    LocalPermission,
    NoSpace,
    NoSuchPath,
    NotADirectory,
    ReadOnlyTarget,
    UnsafeEntry,
    VolcopyError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = [
    "DIRECTORY_FLAGS",
    "Descent",
    "Tree",
    "TreeEntry",
    "acting",
    "components",
    "file_user",
    "kind_of",
    "list_names",
    "local_error",
    "local_stat",
    "open_named_directory",
]

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory below another is opened: never through a link."""

_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KEEP = 12  # descriptors a Descent holds; two of them and a copy fit under `ulimit -n 64`
_PARENTS = 32  # parent directories a Tree keeps open

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
}


class _Acting(_thread._local):
    """Whose rights this thread has taken on (`fs_user`), and how often."""

    user = -1
    depth = 0


acting = _Acting()


def file_user() -> int:
    """The user whose rights count when this thread reaches a file."""
    return acting.user if acting.user >= 0 else os.geteuid()


def kind_of(mode: int) -> Kind:
    """What `st_mode` says a name is."""
    return _KINDS.get(stat.S_IFMT(mode), Kind.FILE)


def local_error(error: OSError, call: str, path: str) -> VolcopyError:
    """`error` as one of ours, worded as docker cp words it: `open PATH: permission denied`.

    Args:
        error: what the kernel said.
        call: the system call, a word.
        path: what it was about, as the caller knows it.
    """
    code = error.errno or 0
    reason = os.strerror(code) if code else str(error)
    text = f"{call} {path}: {reason[:1].lower()}{reason[1:]}"
    if code == errno.EAGAIN or code == errno.EBUSY:
        return Busy(text, path=path)
    if code in (errno.EACCES, errno.EPERM):
        return LocalPermission(text, path=path)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(text, hint="make room there, then run it again", path=path)
    if code == errno.EROFS:
        return ReadOnlyTarget(text, path=path)
    if code == errno.ENOENT:
        return NoSuchPath(text, path=path)
    if code == errno.ENOTDIR:
        return NotADirectory(text, path=path)
    if code == errno.EISDIR:
        return IsADirectory(text, path=path)
    if code == errno.ENAMETOOLONG:
        return LocalError(text, hint="this disk does not hold names that long", path=path)
    if code == errno.EMFILE:
        return LocalError(text, hint="raise the limit of open files (ulimit -n)", path=path)
    return LocalError(text, path=path)


def components(rel: str) -> list[bytes]:
    """The components of a relative path, as bytes; empty for "".

    Raises:
        UnsafeEntry: it is absolute, or holds an empty, `.` or `..` component, or a NUL.
    """
    if not rel:
        return []
    parts = encode(rel).split(b"/")
    for part in parts:
        if part in (b"", b".", b"..") or b"\0" in part:
            raise UnsafeEntry(f'"{rel}" is not a plain relative name', path=rel)
    return parts


def list_names(fd: int) -> list[bytes]:
    """The names in the directory `fd`, in the order of their bytes."""
    return sorted(map(os.fsencode, os.listdir(fd)))


def open_named_directory(path: str, *, follow: bool = True) -> int:
    """A descriptor of the directory at `path`, whatever links lead there unless not `follow`.

    A directory that may be entered but not read gives an O_PATH descriptor.

    Raises:
        NoSuchPath, NotADirectory, LocalPermission, LocalError: as the kernel says.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    name = encode(path)
    try:
        try:
            return os.open(name, flags)
        except PermissionError:
            return os.open(name, flags | os.O_PATH)
    except ValueError:
        raise UnsafeEntry(f'"{path}" holds a NUL byte') from None
    except OSError as error:
        raise local_error(error, "open", path) from None


class Descent:
    """A position in a tree of directories, held by descriptor.

    Args:
        fd: descriptor of the root; stays the caller's, is not closed here.
        path: how errors call the root.
    """

    __slots__ = ("_frames", "_open", "path")

    def __init__(self, fd: int, path: str) -> None:
        self.path = path
        self._frames: list[tuple[int, int, int]] = [(fd, 0, 0)]  # descriptor or -1, device, inode
        self._open = 0

    @property
    def fd(self) -> int:
        """Descriptor of the directory we are in."""
        return self._frames[-1][0]

    @property
    def depth(self) -> int:
        """Levels below the root."""
        return len(self._frames) - 1

    def down(self, name: bytes) -> None:
        """Enter the directory `name`; a link or anything else there is an OSError."""
        self.enter(os.open(name, DIRECTORY_FLAGS, dir_fd=self.fd))

    def enter(self, fd: int) -> None:
        """Go on in the directory `fd`, which becomes ours to close."""
        self._frames.append((fd, 0, 0))
        self._open += 1
        if self._open > _KEEP:
            index = len(self._frames) - self._open
            old = self._frames[index][0]
            info = os.fstat(old)
            self._frames[index] = (-1, info.st_dev, info.st_ino)
            os.close(old)
            self._open -= 1

    def up(self) -> int:
        """Leave for the parent; returns the left directory's descriptor, for the caller to close.

        Raises:
            Conflict: the directory was moved meanwhile.
        """
        parent, device, inode = self._frames[-2]
        left = self.fd
        if parent < 0:
            parent = os.open(b"..", DIRECTORY_FLAGS, dir_fd=left)
            info = os.fstat(parent)
            if (info.st_dev, info.st_ino) != (device, inode):
                os.close(parent)
                raise Conflict(f"{self.path}: a directory in it was moved while it was used")
            self._frames[-2] = (parent, 0, 0)
            self._open += 1
        self._frames.pop()
        self._open -= 1
        return left

    def close(self) -> None:
        """Close every descriptor of ours."""
        while len(self._frames) > 1:
            fd = self._frames.pop()[0]
            if fd >= 0:
                os.close(fd)
        self._open = 0


class TreeEntry(State):
    """One name found by `Tree.walk`.

    Attributes:
        rel: path below the tree, "" for its top.
        stat: of the name itself, or None where `error` says why there is none.
        kind: what it is.
        link: text of a symlink.
        error: why it, or (of a directory) what is in it, could not be read.
        at, raw: the directory it is in, open until the walk goes on, and its name there; -1 where
            it must be found anew.
    """

    rel: str
    stat: os.stat_result | None
    kind: Kind
    link: str = ""
    error: VolcopyError | None = None
    at: int = -1
    raw: bytes = b""

    def __init__(
        self,
        rel: str,
        stat: os.stat_result | None,
        kind: Kind,
        link: str = "",
        error: VolcopyError | None = None,
        at: int = -1,
        raw: bytes = b"",
    ) -> None:
        # by hand: three times as fast
        self.rel = rel
        self.stat = stat
        self.kind = kind
        self.link = link
        self.error = error
        self.at = at
        self.raw = raw


class Tree:
    """A local directory held by descriptor, to be read; no link below it is ever followed."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self._parents: dict[str, int] = {}

    @classmethod
    def open(cls, path: str, *, follow: bool = True) -> Tree:
        """The directory at `path`.

        Args:
            path: as the caller named it.
            follow: the last component may be a link.

        Raises:
            NoSuchPath, NotADirectory, LocalPermission, LocalError: as the kernel says.
        """
        return cls(open_named_directory(path, follow=follow), path)

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every descriptor. May be called twice."""
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _shown(self, rel: str) -> str:
        return self.path.rstrip("/") + "/" + rel if rel else self.path

    def _parent(self, rel: str) -> int:
        """Descriptor (ours, cached) of the directory `rel`."""
        if not rel:
            return self.fd
        fd = self._parents.pop(rel, -1)
        if fd < 0:
            fd = self._descend(rel)
            if len(self._parents) >= _PARENTS:
                os.close(self._parents.pop(next(iter(self._parents))))
        self._parents[rel] = fd  # last used stands last
        return fd

    def _descend(self, rel: str) -> int:
        above, _, name = rel.rpartition("/")
        if above in self._parents or not above:
            return os.open(encode(name), DIRECTORY_FLAGS, dir_fd=self._parents.get(above, self.fd))
        from jupyter_volcopy.core import kernel

        rules = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
        try:
            return kernel.openat2(self.fd, encode(rel), DIRECTORY_FLAGS, resolve=rules)
        except kernel.NotAvailable:
            fd = os.dup(self.fd)
            for part in components(rel):
                try:
                    below = os.open(part, DIRECTORY_FLAGS, dir_fd=fd)
                finally:
                    os.close(fd)
                fd = below
            return fd

    def _at(self, rel: str) -> tuple[int, bytes]:
        """Descriptor of the directory that holds `rel`, and its name there; "" is `.`."""
        parts = components(rel)
        if not parts:
            return self.fd, b"."
        return self._parent(rel.rpartition("/")[0]), parts[-1]

    def stat(self, rel: str = "") -> os.stat_result:
        """Of the name itself, a link not followed; "" is the directory.

        Raises:
            NoSuchPath, NotADirectory, LocalPermission, LocalError: as the kernel says.
        """
        try:
            fd, name = self._at(rel)
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            raise local_error(error, "lstat", self._shown(rel)) from None

    def read_link(self, rel: str) -> str:
        """The text of a symlink, verbatim."""
        try:
            fd, name = self._at(rel)
            return decode(os.readlink(name, dir_fd=fd))
        except OSError as error:
            raise local_error(error, "readlink", self._shown(rel)) from None

    def open_file(self, rel: str) -> int:
        """A descriptor to read the regular file `rel`, the caller's to close.

        Never waits (a pipe that took the file's place is refused) and never follows a link.

        Raises:
            Conflict: it is something else now.
            NoSuchPath, LocalPermission, LocalError: as the kernel says.
        """
        try:
            return self._open_at(*self._at(rel))[0]
        except Conflict:
            raise Conflict(f"{self._shown(rel)} is not a regular file (any more)") from None
        except OSError as error:
            raise local_error(error, "open", self._shown(rel)) from None

    def open_entry(self, item: TreeEntry) -> tuple[int, os.stat_result]:
        """As `open_file`, of a file that a walk is at, and what the kernel says of it."""
        try:
            if item.at < 0:
                return self._open_at(*self._at(item.rel))
            return self._open_at(item.at, item.raw)
        except Conflict:
            raise Conflict(f"{self._shown(item.rel)} is not a regular file (any more)") from None
        except OSError as error:
            raise local_error(error, "open", self._shown(item.rel)) from None

    def _open_at(self, at: int, name: bytes) -> tuple[int, os.stat_result]:
        """Open a regular file and nothing else, without waiting or following."""
        try:
            fd = os.open(name, _FILE_FLAGS, dir_fd=at)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise Conflict("not a regular file") from None
            raise
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise Conflict("not a regular file")
        except BaseException:
            os.close(fd)
            raise
        return fd, info

    def open_dir(self, rel: str = "") -> int:
        """A descriptor of the directory `rel`, the caller's to close.

        Raises:
            NoSuchPath, NotADirectory, LocalPermission, LocalError: as the kernel says.
        """
        try:
            components(rel)
            return os.dup(self._parent(rel))
        except OSError as error:
            raise local_error(error, "open", self._shown(rel)) from None

    def xattr(self, where: str | int, name: str) -> bytes | None:
        """The extended attribute `name` of a path below or a descriptor, None if there is none."""
        try:
            if isinstance(where, int):
                return os.getxattr(where, name)
            fd, last = self._at(where)
            return os.getxattr(b"/proc/self/fd/%d/%b" % (fd, last), name, follow_symlinks=False)
        except OSError:
            return None

    def walk(self, rel: str = "") -> Iterator[TreeEntry]:
        """`rel` and everything below, parents first, each directory in the order of bytes.

        What cannot be read is yielded with its `error`, not raised. After a directory was yielded,
        the caller may set its `kind` to something else: then it is not entered.

        Raises:
            NoSuchPath, NotADirectory, LocalPermission, LocalError: `rel` itself is not to be had.
        """
        info = self.stat(rel)
        top = TreeEntry(rel, info, kind_of(info.st_mode))
        if top.kind is Kind.SYMLINK:
            top.link = self.read_link(rel)
        if top.kind is not Kind.DIRECTORY:
            yield top
            return
        root, inside = -1, []
        try:
            root = os.dup(self._parent(rel))
            inside = list_names(root)[::-1]
        except OSError as error:
            if error.errno == errno.EBADF:  # an O_PATH descriptor: it may be entered, not read
                error = PermissionError(errno.EACCES, "")
            top.error = local_error(error, "open", self._shown(rel))
        try:
            yield top
            if inside and top.kind is Kind.DIRECTORY:
                yield from self._below(root, rel, inside)
        finally:
            if root >= 0:
                os.close(root)

    def _look(self, at: int, raw: bytes) -> os.stat_result:
        """What a name is that a walk has come to."""
        return os.stat(raw, dir_fd=at, follow_symlinks=False)

    def _below(self, root: int, rel: str, inside: list[bytes]) -> Iterator[TreeEntry]:
        place = Descent(root, self._shown(rel))
        try:
            yield from self._levels(place, rel + "/" if rel else "", inside)
        finally:
            place.close()

    def _levels(self, place: Descent, prefix: str, inside: list[bytes]) -> Iterator[TreeEntry]:
        names = [inside]  # of each level, those still to come, the next one last
        prefixes = [prefix]
        while names:
            if not names[-1]:
                names.pop()
                prefixes.pop()
                if names:
                    os.close(place.up())
                continue
            raw = names[-1].pop()
            at = place.fd
            item = TreeEntry(prefixes[-1] + decode(raw), None, Kind.FILE, "", None, at, raw)
            try:
                info = self._look(at, raw)
                item.stat, item.kind = info, kind_of(info.st_mode)
                if item.kind is Kind.SYMLINK:
                    item.link = decode(os.readlink(raw, dir_fd=at))
            except OSError as error:
                item.error = local_error(error, "lstat", self._shown(item.rel))
            if item.kind is not Kind.DIRECTORY:
                yield item
                item.at = -1
                continue
            # opened before it is yielded, so that one that cannot be read says so at once
            fd, inside = -1, []
            try:
                fd = os.open(raw, DIRECTORY_FLAGS, dir_fd=place.fd)
                inside = list_names(fd)[::-1]
            except OSError as error:
                item.error = local_error(error, "open", self._shown(item.rel))
            try:
                yield item
            except BaseException:
                if fd >= 0:
                    os.close(fd)
                raise
            if fd < 0:
                continue
            if item.kind is not Kind.DIRECTORY or not inside:
                os.close(fd)
                continue
            place.enter(fd)
            names.append(inside)
            prefixes.append(item.rel + "/")


def local_stat(path: str, *, follow: bool = False) -> Stat | None:
    """What stands at `path`, or None if nothing does.

    Args:
        path: as the caller named it.
        follow: look through a link at the end.

    Raises:
        LocalPermission, NotADirectory, LocalError: it cannot be told.
    """
    name = encode(path)
    try:
        info = os.stat(name, follow_symlinks=follow)
        link = decode(os.readlink(name)) if stat.S_ISLNK(info.st_mode) else ""
    except FileNotFoundError:
        return None
    except ValueError:
        raise UnsafeEntry(f'"{path}" holds a NUL byte') from None
    except OSError as error:
        raise local_error(error, "stat" if follow else "lstat", path) from None
    return Stat(
        name=base_name(path),
        kind=kind_of(info.st_mode),
        mode=stat.S_IMODE(info.st_mode),
        size=info.st_size,
        mtime_ns=info.st_mtime_ns,
        link_target=link,
        uid=info.st_uid,
        gid=info.st_gid,
    )
