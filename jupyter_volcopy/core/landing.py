"""Putting a staged tree into an existing one: first look for conflicts everywhere, then rename.

The staged tree and the destination are walked side by side, by descriptor (`Descent`), in the order
of bytes. The looking pass changes nothing. The landing pass moves each staged file over its final
name with one rename(2), so every name holds old or new bytes and never a part; a directory that is
not there yet arrives whole, by one rename; one that is there gets mode and time when its contents
are in place (docker cp rules R17 to R19).

A mount inside the destination cannot be renamed into: there the file is copied beside its final
name first, then renamed.
"""

from __future__ import annotations

import errno
import os
import stat

from jupyter_volcopy.core.journal import Journal, Token, open_own_directory
from jupyter_volcopy.core.localfs import Descent, file_user, list_names, local_error
from jupyter_volcopy.core.paths import decode, encode
from jupyter_volcopy.core.record import State, each
from jupyter_volcopy.errors import Conflict, LocalPermission, PartialWrite, ReadOnlyTarget

__all__ = ["Landed", "Landing", "chmod_at", "lstat", "new_name", "place", "same_file"]

_COPY = 1024 * 1024


class Landed(State):
    """What a commit did.

    Attributes:
        created: files and links that were not there before.
        replaced: those that were.
        kept: paths below the top that were left as they are (`existing="keep"`).
    """

    created: int = 0
    replaced: int = 0
    kept: list[str] = each(factory=list)


def new_name() -> str:
    """A name for a temporary that nobody has: the journal, not the form, makes it ours."""
    return f".volcopy-{os.urandom(8).hex()}"


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both are the same inode."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def lstat(fd: int, name: bytes) -> os.stat_result | None:
    """What stands at `name` in the directory `fd`, not followed; None if nothing does."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def place(
    source: int,
    old: bytes,
    target: int,
    new: bytes,
    *,
    staged: os.stat_result,
    there: os.stat_result | None,
    existing: str,
    journal: Journal,
    path: str,
) -> str:
    """Give the staged file `old` its final name by one rename.

    Args:
        source: descriptor of the directory `old` lies in.
        old: the staged name.
        target: descriptor of the directory it goes to.
        new: the final name.
        staged: lstat of the staged name.
        there: lstat of the final name, None if nothing has it.
        existing: `replace`, `keep` or `backup`.
        journal: where a temporary made here is written down.
        path: how errors and the journal call the directory `target`.

    Returns:
        `created`, `replaced` or `kept`.

    Raises:
        OSError: nothing was changed.
    """
    if there is not None and same_file(staged, there):
        os.unlink(old, dir_fd=source)  # rename(2) of two links of one inode does nothing
        return "replaced"
    if existing == "keep":
        if there is None and _link_new(source, old, target, new, journal, path):
            return "created"
        os.unlink(old, dir_fd=source)
        return "kept"
    if existing == "backup" and there is not None:
        _keep_backup(target, new)
    try:
        os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(source, old, staged, target, new, journal, path)
    return "created" if there is None else "replaced"


def _link_new(
    source: int, old: bytes, target: int, new: bytes, journal: Journal, path: str
) -> bool:
    """Move without ever replacing; False if the name is taken."""
    try:
        os.link(old, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno == errno.EXDEV:
            staged = os.stat(old, dir_fd=source, follow_symlinks=False)
            _copy_across(source, old, staged, target, new, journal, path)
            return True
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)  # no hard links on this disk
        return True
    os.unlink(old, dir_fd=source)
    return True


def _keep_backup(target: int, name: bytes) -> None:
    """Give what stands at `name` the name `name~` too, without a moment in which `name` is gone."""
    spare = encode(new_name())
    backup = name + b"~"
    try:
        os.link(name, spare, src_dir_fd=target, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        os.rename(name, backup, src_dir_fd=target, dst_dir_fd=target)
        return
    try:
        os.rename(spare, backup, src_dir_fd=target, dst_dir_fd=target)
    finally:
        try:  # still there after a failure, or if the backup was this very inode already
            os.unlink(spare, dir_fd=target)
        except FileNotFoundError:
            pass


def _copy_across(
    source: int,
    old: bytes,
    staged: os.stat_result,
    target: int,
    new: bytes,
    journal: Journal,
    path: str,
) -> None:
    """Copy a staged file to another file system, beside its final name, and rename it there."""
    name = new_name()
    raw = encode(name)
    token: Token = journal.local(path, name)
    times = (staged.st_atime_ns, staged.st_mtime_ns)
    mode = staged.st_mode
    try:
        if stat.S_ISREG(mode):
            _copy_file(source, old, staged, target, raw)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(old, dir_fd=source), raw, dir_fd=target)
            os.chown(raw, staged.st_uid, staged.st_gid, dir_fd=target, follow_symlinks=False)
            os.utime(raw, ns=times, dir_fd=target, follow_symlinks=False)
        else:
            os.mknod(raw, stat.S_IFMT(mode) | 0o600, staged.st_rdev, dir_fd=target)
            os.chown(raw, staged.st_uid, staged.st_gid, dir_fd=target, follow_symlinks=False)
            chmod_at(target, raw, stat.S_IMODE(mode))
            os.utime(raw, ns=times, dir_fd=target, follow_symlinks=False)
        os.rename(raw, new, src_dir_fd=target, dst_dir_fd=target)
    except BaseException:
        try:
            os.unlink(raw, dir_fd=target)
        except OSError:
            pass
        raise
    finally:
        journal.done(token)
    os.unlink(old, dir_fd=source)


def _copy_file(source: int, old: bytes, staged: os.stat_result, target: int, new: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    into = os.open(new, flags, 0o600, dir_fd=target)
    try:
        try:
            out = os.open(old, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        except PermissionError:  # staged with a mode of its own, and we are not root
            chmod_at(source, old, 0o600)
            out = os.open(old, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            while True:
                piece = os.read(out, _COPY)
                if not piece:
                    break
                view = memoryview(piece)
                while view:
                    view = view[os.write(into, view) :]
            try:
                power = os.getxattr(out, "security.capability")
            except OSError:
                power = b""
        finally:
            os.close(out)
        os.fchown(into, staged.st_uid, staged.st_gid)
        os.fchmod(into, stat.S_IMODE(staged.st_mode))
        if power:
            os.setxattr(into, "security.capability", power)
        os.utime(into, ns=(staged.st_atime_ns, staged.st_mtime_ns))
    finally:
        os.close(into)


def chmod_at(directory: int, name: bytes, mode: int) -> None:
    """Set the mode of `name` itself; a link there is not followed but refused."""
    held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{held}", mode)
    finally:
        os.close(held)


class _Level(State):
    """One directory that stands on both sides.

    Attributes:
        names: those still to come, the next one last.
        rel: path below the top, "" for the top.
        staged, there: both directories as they were before we entered them.
        group: what a new file in it belongs to, None where nothing is to be done about it.
        made: it was made by this landing (a mount was in the way of a rename).
    """

    names: list[bytes]
    rel: str
    staged: os.stat_result
    there: os.stat_result
    group: int | None = None
    made: bool = False


class Landing:
    """One staged directory and the existing one it goes into.

    Args:
        stage: descriptor of the staged directory.
        target: descriptor of the existing one.
        path: path of `target`, for errors.
        destination: how docker cp's texts call the directory the copy was unpacked in.
        safe: an existing directory keeps its own set-id and sticky bits.
        owned: the staged owners are meant; existing directories get them too.
        journal: for temporaries on other mounts.
        keep_top: the existing directory keeps its mode, owner (`dir/.` into DIR).
        yielding: existing directories of others keep their mode and time, too.
    """

    def __init__(
        self,
        stage: int,
        target: int,
        *,
        path: str,
        destination: str,
        safe: bool,
        owned: bool,
        journal: Journal,
        keep_top: bool,
        yielding: bool = False,
    ) -> None:
        self._stage = stage
        self._target = target
        self._path = path
        self._destination = destination
        self._safe = safe
        self._owned = owned
        self._journal = journal
        self._keep_top = keep_top
        self._yielding = yielding
        self._user = file_user()
        self.landed = Landed()
        self.touched = False
        """Whether a name in the top directory itself was made or replaced."""
        self._placed = 0

    def _shown(self, rel: str) -> str:
        return f"{self._path.rstrip('/')}/{rel}" if rel else self._path

    def check(self, top: os.stat_result, existing: str) -> None:
        """Look for what would stop the landing.

        Args:
            top: mode, owner and time that the top is to get.
            existing: as for `run`.

        Raises:
            Conflict, LocalPermission, ReadOnlyTarget: as it says; nothing was changed.
        """
        try:
            self._walk(top, existing, act=False)
        except OSError as error:
            raise local_error(error, "open", error.filename or self._path) from None

    def run(self, top: os.stat_result, existing: str, total: int) -> Landed:
        """Land everything.

        Args:
            top: as for `check`.
            existing: what happens to files that are there: `replace`, `keep`, `backup`.
            total: number of staged files, for the error.

        Raises:
            PartialWrite: stopped in the middle; every name holds its old or its new content.
            Conflict, LocalPermission, LocalError: stopped before anything was placed.
        """
        try:
            self._walk(top, existing, act=True)
        except OSError as error:
            name = error.filename
            where = decode(os.fsencode(name)) if isinstance(name, str | bytes) else self._path
            ours = local_error(error, "rename", where)
            if not self._placed:
                raise ours from None
            raise PartialWrite(
                f"{ours.message}; {self._placed} names are in their place, the rest is not",
                hint=ours.hint or "every file is whole, old or new; run it again to finish",
                arrived=self._placed,
                total=total,
                failed=where,
            ) from None
        return self.landed

    def _enter(self, level: _Level, fd: int, there: int, *, act: bool) -> None:
        """Fill a fresh level, once both sides are open."""
        level.names = list_names(fd)[::-1]
        top = not level.rel
        keeps = top and self._keep_top
        if not self._owned:
            own = level.there if (keeps or self._safe) else level.staged
            if own.st_mode & stat.S_ISGID:
                level.group = level.there.st_gid
        if act:
            return
        shown = self._shown(level.rel)
        if level.names and not os.access(b".", os.W_OK | os.X_OK, dir_fd=there, effective_ids=True):
            if os.fstatvfs(there).f_flag & os.ST_RDONLY:
                raise ReadOnlyTarget(f"open {shown}: read-only file system", path=shown)
            raise LocalPermission(f"open {shown}: permission denied", path=shown)
        if self._user and level.there.st_uid != self._user and not (keeps or self._yielding):
            # docker cp gives an existing directory the mode of the source's, or fails
            raise LocalPermission(f"chmod {shown}: operation not permitted", path=shown)

    def _walk(self, top: os.stat_result, existing: str, *, act: bool) -> None:
        source = Descent(self._stage, self._path)
        target = Descent(self._target, self._path)
        levels = [_Level([], "", top, os.fstat(self._target))]
        try:
            self._enter(levels[0], source.fd, target.fd, act=act)
            while True:
                level = levels[-1]
                if level.names:
                    self._one(level, source, target, levels, existing, act=act)
                    continue
                levels.pop()
                if not levels:
                    break
                self._leave(level, source, target, act=act)
        finally:
            while len(levels) > 1:  # stopped in the middle: give back what was opened up
                level = levels.pop()
                try:
                    left = target.up()
                except (OSError, Conflict):
                    break
                try:
                    if level.there.st_mode & 0o700 != 0o700 and self._user:
                        os.fchmod(left, stat.S_IMODE(level.there.st_mode))
                except OSError:
                    pass
                finally:
                    os.close(left)
            source.close()
            target.close()

    def _leave(self, level: _Level, source: Descent, target: Descent, *, act: bool) -> None:
        name = encode(level.rel.rpartition("/")[2])
        staged, there = source.up(), target.up()
        try:
            if act:
                self.finish(there, level.staged, level.there, made=level.made)
                os.rmdir(name, dir_fd=source.fd)
            elif self._user:
                for fd, info in ((staged, level.staged), (there, level.there)):
                    if info.st_mode & 0o700 != 0o700 and info.st_uid == self._user:
                        os.fchmod(fd, stat.S_IMODE(info.st_mode))
        finally:
            os.close(staged)
            os.close(there)

    def finish(
        self, fd: int, staged: os.stat_result, there: os.stat_result, *, made: bool = False
    ) -> None:
        """Give an existing directory the mode, time and (where meant) owner of the staged one."""
        if self._yielding and there.st_uid != self._user and not made:
            return
        if self._owned:
            os.fchown(fd, staged.st_uid, staged.st_gid)
        mode = stat.S_IMODE(staged.st_mode)
        if self._safe and not made:
            mode = mode & 0o777 | there.st_mode & 0o7000
        os.fchmod(fd, mode)
        os.utime(fd, ns=(staged.st_mtime_ns, staged.st_mtime_ns))

    def _one(
        self,
        level: _Level,
        source: Descent,
        target: Descent,
        levels: list[_Level],
        existing: str,
        *,
        act: bool,
    ) -> None:
        raw = level.names.pop()
        rel = f"{level.rel}/{decode(raw)}" if level.rel else decode(raw)
        try:
            staged = os.stat(raw, dir_fd=source.fd, follow_symlinks=False)
            there = lstat(target.fd, raw)
            if stat.S_ISDIR(staged.st_mode):
                made = False
                if there is None:
                    if not act or self._move(level, source.fd, target.fd, raw, staged):
                        return
                    there, made = os.stat(raw, dir_fd=target.fd, follow_symlinks=False), True
                if not stat.S_ISDIR(there.st_mode):
                    raise Conflict(
                        f'cannot overwrite non-directory "{self._shown(rel)}" '
                        f'with directory "{self._destination}"',
                        path=self._shown(rel),
                    )
                source.enter(open_own_directory(source.fd, raw))
                try:
                    below = open_own_directory(target.fd, raw)
                except BaseException:
                    os.close(source.up())
                    raise
                target.enter(below)
                inside = _Level([], rel, staged, there, made=made)
                levels.append(inside)
                self._enter(inside, source.fd, target.fd, act=act)
                return
            self._refuse_directory(there, rel)
            if existing == "backup" and there is not None:
                self._refuse_directory(lstat(target.fd, raw + b"~"), rel + "~")
            if not act:
                return
            if level.group is not None and staged.st_gid != level.group:
                _regroup(source.fd, raw, staged, level.group)
            done = place(
                source.fd,
                raw,
                target.fd,
                raw,
                staged=staged,
                there=there,
                existing=existing,
                journal=self._journal,
                path=self._shown(level.rel),
            )
        except OSError as error:
            error.filename = self._shown(rel)
            raise
        if done == "kept":
            self.landed.kept.append(rel)
            return
        if done == "created":
            self.landed.created += 1
        else:
            self.landed.replaced += 1
        self._placed += 1
        if not level.rel:
            self.touched = True

    def _refuse_directory(self, there: os.stat_result | None, rel: str) -> None:
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise Conflict(
                f'cannot overwrite directory "{self._shown(rel)}" '
                f'with non-directory "{self._destination}"',
                path=self._shown(rel),
            )

    def _move(
        self, level: _Level, source: int, target: int, raw: bytes, staged: os.stat_result
    ) -> bool:
        """Move a whole staged directory; False if it must be made in place (another mount)."""
        held = -1
        try:
            if level.group is not None and staged.st_gid != level.group:
                _regroup(source, raw, staged, level.group)
            if self._user and staged.st_mode & 0o700 != 0o700:
                held = open_own_directory(source, raw)  # moving one rewrites its `..`
            try:
                # of a directory, rename(2) can replace nothing but an empty one
                os.rename(raw, raw, src_dir_fd=source, dst_dir_fd=target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                os.mkdir(raw, 0o700, dir_fd=target)
                return False
            finally:
                if held >= 0:
                    os.fchmod(held, stat.S_IMODE(staged.st_mode))
        finally:
            if held >= 0:
                os.close(held)
        self._placed += 1
        if not level.rel:
            self.touched = True
        return True


def _regroup(directory: int, name: bytes, staged: os.stat_result, group: int) -> None:
    """Give a staged name the group that making it in its final directory would have given (R42)."""
    try:
        os.chown(name, -1, group, dir_fd=directory, follow_symlinks=False)
        if staged.st_mode & 0o6000 and not stat.S_ISLNK(staged.st_mode):
            chmod_at(directory, name, stat.S_IMODE(staged.st_mode))  # chown clears them
    except PermissionError:
        pass  # not a member; the kernel would have allowed it only for a file made there
