"""What an archive holds, written aside, then put in place: never half-written.

Until `commit()` nothing stands under a final name. A single file is written to a temporary beside
its final name and renamed. A directory is built in a private directory (0700) on the same disk: a
new one gets its name by one renameat2(RENAME_NOREPLACE), one that goes into an existing directory
is merged by one rename per file (`landing`), after the whole destination was searched for
conflicts. `abort()` removes everything and leaves the destination as it was, its time included.

The staged tree is its own book-keeping (`stage_entries`): modes, owners and times are read back
from the disk when it lands. So memory does not grow with the archive.

Everything is relative to descriptors; nothing below the destination is ever reached through a link.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from jupyter_volcopy.core.journal import Journal, open_own_directory
from jupyter_volcopy.core.landing import Landed, Landing, lstat, place
from jupyter_volcopy.core.localfs import (
    DIRECTORY_FLAGS,
    Tree,
    file_user,
    local_error,
    open_named_directory,
)
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import encode
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.stage_aside import Aside
from jupyter_volcopy.core.stage_entries import Entries, Making, Read, stamp
from jupyter_volcopy.errors import Busy, Conflict, UnsafeEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Landed", "Stage"]

_LOCK_WAIT = 60.0  # seconds a second writer waits; the lock is held for the landing only
_CALLS = {
    Kind.DIRECTORY: "mkdir",
    Kind.SYMLINK: "symlink",
    Kind.HARDLINK: "link",
    Kind.FIFO: "mkfifo",
    Kind.CHARACTER: "mknod",
    Kind.BLOCK: "mknod",
}


class Stage:
    """One source's entries on their way to one name in one directory.

    Args:
        directory: the existing directory it lands in, as the caller named it.
        name: the final name of the top there (unused with `merge_top`).
        safe: no power travels: set-id and sticky bits, capabilities, devices and pipes left out.
        owner: user and group id of everything made; None: the caller, as the kernel does it;
            "keep": the numbers in the archive.
        journal: where temporaries are written down.
        durable: on disk before it counts as done.
        merge_top: the contents of the top go into `directory` itself.
        at: descriptor of `directory`, which is then only a name for errors; becomes ours.
        yielding: see `Landing`.

    Raises:
        NoSuchPath, NotADirectory, LocalPermission, LocalError: `directory` is not to be had.
    """

    def __init__(
        self,
        directory: str,
        name: str,
        *,
        safe: bool,
        owner: tuple[int, int] | str | None,
        journal: Journal,
        durable: bool = False,
        merge_top: bool = False,
        at: int = -1,
        yielding: bool = False,
    ) -> None:
        if not merge_top and (name in ("", ".", "..") or "/" in name or "\0" in name):
            raise UnsafeEntry(f'"{name}" is not the name of a file')
        self.path = directory
        self.name = name
        self._raw = encode(name)
        top = directory if merge_top else f"{directory.rstrip('/')}/{name}"
        self._making = Making(top, safe=safe, owner=owner)
        self._owned = owner is not None
        self._safe = safe
        self._journal = journal
        self._durable = durable
        self._merge_top = merge_top
        self._yielding = yielding

        self._top: Entry | None = None
        self._aside: Aside | None = None
        self._entries: Entries | None = None  # None where the top is not a directory
        self._locks: list[int] = []
        self._checked = ""  # what the last check was made for
        self._target = -1  # the existing directory the tree is merged into
        self._target_mode = -1  # of it, where we had to open it up
        self.fd = at if at >= 0 else open_named_directory(directory)
        try:
            journal.sweep_local(directory)
        except BaseException:
            self.close()
            raise

    @property
    def notes(self) -> list[Note]:
        """What is to be said of entries: power that came along or was taken, things left out."""
        return self._making.notes

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    # ------------------------------------------------------------------ filling

    def need(self, size: int) -> None:
        """Make sure that `size` bytes fit, before the first one is written.

        Raises:
            NoSpace: they do not.
        """
        self._making.need(self._aside.at if self._aside is not None else self.fd, size)

    def skip(self, rel: str, reason: str, code: str = "special") -> None:
        """Leave the entry `rel` out, and say so; hard links to it are left out with it.

        Args:
            rel: path below the top.
            reason: a few words for a person.
            code: a word for machines.
        """
        self._making.skip(rel, reason, code)

    def add(self, entry: Entry, rel: str, read: Read | None = None) -> None:
        """Stage one entry.

        Args:
            entry: what it is; of a hard link, `link` is the path below the top of an earlier one.
            rel: path below the top, "" for the top itself; its parent must have come before.
            read: hands over the content of a regular file.

        Raises:
            UnsafeEntry: no parent, a name twice, a name that is not plain.
            CutStream: the content has another length than the entry says.
            NoSpace, LocalPermission, LocalError: the disk refused; nothing is under a final name.
        """
        try:
            if not rel:
                self._add_top(entry, read)
                return
            if self._entries is None:
                if not self._merge_top:
                    raise UnsafeEntry("the archive does not begin with its top", path=rel)
                self._begin_tree(entry)
                assert self._entries is not None
            self._entries.add(entry, rel, read)
        except FileExistsError:
            raise UnsafeEntry(
                f'"{rel}" comes twice in the archive, or differs from another name only in case',
                path=rel,
            ) from None
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            call = "write" if full else _CALLS.get(entry.kind, "open")
            raise local_error(error, call, self._making.shown(rel)) from None

    def _add_top(self, entry: Entry, read: Read | None) -> None:
        if self._top is not None:
            raise UnsafeEntry("the archive holds its top twice")
        if entry.kind is Kind.HARDLINK:
            raise UnsafeEntry("the archive begins with a hard link", path=entry.link)
        if entry.kind is Kind.DIRECTORY:
            if self._entries is None:
                self._begin_tree(entry)
            self._top = entry
            return
        if self._merge_top:
            raise UnsafeEntry(f"{self.path}: the top of the archive is not a directory")
        if self._making.refused(entry, ""):
            return
        self._top = entry
        # what has no descriptor of its own is made where nobody else can reach it
        inside = entry.kind is not Kind.FILE
        aside = self._aside = self._put_aside(os.dup(self.fd), self.path, is_dir=inside)
        if inside:
            os.fchmod(aside.fd, 0o700 | os.fstat(self.fd).st_mode & stat.S_ISGID)
            self._making.special(entry, aside.fd, b"top")
            return
        try:
            self._making.fill(aside.fd, entry, "", read)
            if self._durable:
                os.fsync(aside.fd)
        finally:
            os.close(aside.fd)

    def _put_aside(self, at: int, path: str, *, is_dir: bool) -> Aside:
        if path != self.path:  # the directory that is merged into
            self._journal.sweep_local(path)
        try:
            return Aside(at, path, self._journal, is_dir=is_dir)
        except BaseException:
            os.close(at)
            raise

    def _begin_tree(self, entry: Entry) -> None:
        """Make our private directory, on the disk where it will land."""
        group_bit = 0 if self._safe else entry.mode & stat.S_ISGID
        there = -1
        if self._merge_top:
            group_bit = os.fstat(self.fd).st_mode & stat.S_ISGID
        else:
            try:  # best inside the existing one: that may be a mount, or all we may write to
                there = os.open(self._raw, DIRECTORY_FLAGS, dir_fd=self.fd)
            except OSError:
                pass
        aside = None
        if there >= 0:
            try:
                aside = self._put_aside(there, self._making.top, is_dir=True)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
                there = -1  # closed
        if aside is None:
            aside = self._put_aside(os.dup(self.fd), self.path, is_dir=True)
        self._aside = aside
        if group_bit and aside.at == there:
            try:  # so that the group of what is made inside is the one it would get in place
                os.fchown(aside.fd, -1, os.fstat(aside.at).st_gid)
            except PermissionError:
                pass
        os.fchmod(aside.fd, 0o700 | group_bit)
        self._entries = Entries(aside.fd, self._making)

    def staged(self) -> Tree:
        """The staged directory, to be read back before it lands; the caller's to close.

        Raises:
            UnsafeEntry: the top is no directory, or nothing was staged.
        """
        if self._entries is None or self._aside is None:
            raise UnsafeEntry("there is no staged directory to read back")
        return Tree(os.dup(self._aside.fd), self._making.top)

    # ------------------------------------------------------------------ landing

    def check(self, *, existing: str = "replace") -> None:
        """Look for conflicts with what is there, all of them before anything changes.

        From here to `commit` or `abort` the destination is locked against other copies of ours.

        Args:
            existing: what `commit` will be asked for.

        Raises:
            Conflict: with docker cp's text; nothing was changed.
            Busy: another copy holds the destination.
            LocalPermission, ReadOnlyTarget: a directory below cannot be written.
        """
        if self._aside is None:
            return
        try:
            if self._entries is not None:
                self._entries.finish()
            self._look(existing)
        except OSError as error:
            raise local_error(error, "lstat", self._making.top) from None
        self._checked = existing

    def _look(self, existing: str) -> None:
        self._let_go_of_target()
        if self._entries is None:  # one file, link, pipe or device
            self._lock(self.fd)
            self._refuse_directory(self._raw)
            if existing == "backup":
                self._refuse_directory(self._raw + b"~")
            return
        if self._merge_top:
            self._target = os.dup(self.fd)
        elif not self._open_target():
            self._lock(self.fd)
            if not self._open_target():  # who held the lock may have made it
                return
            self._unlock()
        self._lock(self._target)
        self._landing().check(self._final(), existing)

    def _open_target(self) -> bool:
        """Open the existing directory of our final name; False if nothing has that name."""
        info = lstat(self.fd, self._raw)
        if info is None:
            return False
        if not stat.S_ISDIR(info.st_mode):  # a link to a directory is none (R18)
            raise Conflict(
                f'cannot overwrite non-directory "{self._making.top}" with directory "{self.path}"',
                path=self._making.top,
            )
        user = file_user()
        if user and info.st_uid == user and info.st_mode & 0o700 != 0o700:
            self._target_mode = stat.S_IMODE(info.st_mode)
        self._target = open_own_directory(self.fd, self._raw)
        return True

    def _let_go_of_target(self) -> None:
        """Close the existing directory, with the mode it had."""
        if self._target < 0:
            return
        if self._target_mode >= 0:
            try:
                os.fchmod(self._target, self._target_mode)
            except OSError:
                pass
        os.close(self._target)
        self._target = self._target_mode = -1

    def _refuse_directory(self, raw: bytes) -> None:
        info = lstat(self.fd, raw)
        if info is not None and stat.S_ISDIR(info.st_mode):
            shown = self._making.top + ("~" if raw != self._raw else "")
            raise Conflict(
                f'cannot overwrite directory "{shown}" with non-directory "{self.path}"',
                path=shown,
            )

    def _final(self) -> os.stat_result:
        """Mode, owner and time that the top is to get, as one stat result."""
        assert self._aside is not None
        now = list(os.fstat(self._aside.fd))
        top = self._top or Entry("", Kind.DIRECTORY, 0o755, mtime_ns=time.time_ns())
        now[stat.ST_MODE] = stat.S_IFDIR | self._making.mode(top)
        owner = self._making.owner(top)
        if owner is not None:
            now[stat.ST_UID], now[stat.ST_GID] = owner
        when = stamp(top) // 1_000_000_000
        now[stat.ST_MTIME] = when
        extra = {"st_mtime_ns": when * 1_000_000_000}
        return os.stat_result(now, extra)

    def _landing(self) -> Landing:
        assert self._aside is not None
        return Landing(
            self._aside.fd,
            self._target,
            path=self._making.top,
            destination=self.path,
            safe=self._safe,
            owned=self._owned,
            journal=self._journal,
            keep_top=self._merge_top,
            yielding=self._yielding,
        )

    def _lock(self, fd: int) -> None:
        """Lock `fd` until we are done; file systems that cannot do without."""
        if self._yielding:
            return  # whoever may open it could hold it against us; a rename does without
        import fcntl

        held = os.dup(fd)
        # a dup shares the lock of its original, which we close with everything else
        self._locks.append(held)
        deadline = time.monotonic() + _LOCK_WAIT
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Busy(
                        f"{self._making.top}: another copy is writing there{_holder(held)}",
                        hint="wait until it is done, then run it again",
                        path=self._making.top,
                    ) from None
                time.sleep(0.02)
            except OSError:
                return  # NFS, or a directory that may not be read: rename alone has to do

    def _unlock(self) -> None:
        for fd in self._locks:
            try:
                import fcntl

                fcntl.flock(fd, fcntl.LOCK_UN)
            except OSError:
                pass
            os.close(fd)
        self._locks.clear()

    def commit(self, *, existing: str = "replace") -> Landed:
        """Give everything its final name.

        Args:
            existing: files that are there: replaced; left alone; or kept as NAME~ and replaced.

        Returns:
            What was created, replaced, kept.

        Raises:
            Conflict, Busy, LocalPermission, ReadOnlyTarget: as `check`; nothing was changed.
            PartialWrite: a merge stopped in the middle; every file is whole, old or new.
        """
        if self._aside is None:
            self.close()
            return Landed()
        try:
            if self._checked != existing:
                self.check(existing=existing)
            if self._durable and self._entries is not None:
                from jupyter_volcopy.core import kernel

                kernel.syncfs(self._aside.fd)
            for _ in range(8):
                landed = self._land(self._aside, existing)
                if landed is not None:
                    break
                self.check(existing=existing)  # somebody made the name meanwhile
            else:
                raise Busy(f"{self._making.top}: it is changed by somebody else all the time")
        except OSError as error:
            self.abort()
            raise local_error(error, "rename", self._making.top) from None
        except BaseException:
            self.abort()
            raise
        try:
            if self._durable:
                self._sync_names()
        finally:
            self.close()
        return landed

    def _sync_names(self) -> None:
        """The new names on disk too (safety F25)."""
        try:
            if self._entries is None:
                os.fsync(self.fd)
            else:
                from jupyter_volcopy.core import kernel

                kernel.syncfs(self.fd)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.EINVAL):  # a directory we may not read
                raise local_error(error, "fsync", self._making.top) from None

    def _land(self, aside: Aside, existing: str) -> Landed | None:
        if self._entries is None:
            return self._land_single(aside, existing)
        if self._target < 0:
            return self._land_new(aside, self._entries.files)
        return self._land_merge(aside, self._entries.files, existing)

    def _land_single(self, aside: Aside, existing: str) -> Landed:
        source, old = (aside.fd, b"top") if aside.is_dir else (self.fd, aside.name)
        done = place(
            source,
            old,
            self.fd,
            self._raw,
            staged=os.stat(old, dir_fd=source, follow_symlinks=False),
            there=lstat(self.fd, self._raw),
            existing=existing,
            journal=self._journal,
            path=self.path,
        )
        if aside.is_dir:
            os.rmdir(aside.name, dir_fd=self.fd)
        aside.landed()
        return Landed(
            created=int(done == "created"),
            replaced=int(done == "replaced"),
            kept=[""] if done == "kept" else [],
        )

    def _land_new(self, aside: Aside, files: int) -> Landed | None:
        """One rename; None if the name is there now."""
        from jupyter_volcopy.core import kernel

        if aside.path != self.path:  # it was to be merged, and what it was to go into is gone
            raise Busy(f"{self._making.top}: somebody removed it meanwhile")
        final = self._final()
        if self._owned:
            os.fchown(aside.fd, final.st_uid, final.st_gid)
        os.fchmod(aside.fd, stat.S_IMODE(final.st_mode))
        os.utime(aside.fd, ns=(final.st_mtime_ns, final.st_mtime_ns))
        try:
            try:
                kernel.renameat2(self.fd, aside.name, self.fd, self._raw, kernel.RENAME_NOREPLACE)
            except kernel.NotAvailable:
                # of a directory, rename(2) can replace nothing but an empty directory
                os.rename(aside.name, self._raw, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            os.fchmod(aside.fd, 0o700)
            return None
        aside.landed()
        return Landed(created=files)

    def _land_merge(self, aside: Aside, files: int, existing: str) -> Landed:
        before = os.fstat(self._target)
        landing = self._landing()
        final = self._final()
        landed = landing.run(final, existing, files)
        os.rmdir(aside.name, dir_fd=aside.at)
        if self._merge_top:
            if not landing.touched:
                aside.restore_time()
        else:
            landing.finish(self._target, final, before)
            self._target_mode = -1
            if aside.path == self.path:  # staged beside it, where nothing else changed
                aside.restore_time()
        aside.landed()
        landed.created = files - landed.replaced - len(landed.kept)
        return landed

    # ------------------------------------------------------------------ ending

    def abort(self) -> None:
        """Remove everything of ours; the destination is as it was. Safe to call at any time."""
        if self._entries is not None:
            self._entries.close()
        if self._aside is not None:
            self._aside.remove()
        self.close()

    def close(self) -> None:
        """Let go of every descriptor and lock; without `commit` or `abort` temporaries stay."""
        if self._entries is not None:
            self._entries.close()
        self._let_go_of_target()
        self._unlock()
        if self._aside is not None:
            self._aside.close()
            self._aside = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _holder(fd: int) -> str:
    """Who holds the lock on `fd`, as far as /proc/locks tells: ` (process 123)`."""
    info = os.fstat(fd)
    inode = b":%d" % info.st_ino
    device = b"%02x:%02x" % (os.major(info.st_dev), os.minor(info.st_dev))
    try:
        with open("/proc/locks", "rb") as lines:
            for line in lines:
                fields = line.split()
                if len(fields) > 5 and fields[1] == b"FLOCK" and fields[5] == device + inode:
                    return f" (process {int(fields[4])})"
    except (OSError, ValueError):
        pass
    return ""
