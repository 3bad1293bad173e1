"""A push into a container by descriptor: staged beside where it lands, then given its names.

See `direct` for the whole.
"""

from __future__ import annotations

import errno
import os
import stat as bits

from jupyter_volcopy.core.content import FileContent
from jupyter_volcopy.core.direct_root import OwnRights
from jupyter_volcopy.core.engine import FilePart
from jupyter_volcopy.core.journal import remove_tree
from jupyter_volcopy.core.localfs import Tree
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import encode, join
from jupyter_volcopy.core.stage import Stage
from jupyter_volcopy.errors import Busy, NotADirectory, VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jupyter_volcopy.core.direct_root import Root
    from jupyter_volcopy.core.fs_user import FsUser
    from jupyter_volcopy.core.journal import Journal, Token

__all__ = ["InsideJournal", "extract_at", "remove_left"]


class InsideJournal:
    """The journal, for a stage that lies in a container."""

    def __init__(
        self,
        journal: Journal,
        engine: str,
        container: str,
        directory: str,
        rights: OwnRights | FsUser,
    ) -> None:
        self._journal = journal
        self._where = engine, container, directory
        self._rights = rights

    def local(self, directory: str, name: str, device: int = 0, inode: int = 0) -> Token:
        """A temporary is about to be made in the container."""
        with self._rights.ours():
            return self._journal.container(*self._where, name)

    def made(self, *_: object) -> None:
        """Nothing: a name in a container is known without its inode."""

    def done(self, token: Token) -> None:
        """It is gone, or has its final name."""
        with self._rights.ours():
            self._journal.done(token)

    def sweep_local(self, directory: str | None = None) -> list[str]:
        """Nothing: what was left in containers is swept by `transfer_push`."""
        return []


def extract_at(
    fd: int, directory: str, body: Any, journal: Any, confirm: Callable[[], None], root: Root
) -> None:
    """Stage the items of a push in the directory `fd` (which is closed) and let them land.

    Args:
        fd, directory: where, open and by its path in the container, links resolved.
        body: has the items.
        journal: of the container.
        confirm: called before they land; what it raises ends it.
        root: of the container; with its rights all is done there.
    """
    with root.rights:
        _extract(fd, directory, body, journal, confirm, root)


def _extract(
    fd: int, directory: str, body: Any, journal: Any, confirm: Callable[[], None], root: Root
) -> None:
    rights = root.rights
    user = not isinstance(rights, OwnRights)
    stage = Stage(
        directory,
        "",
        safe=False,
        owner=None if user else "keep",
        journal=journal,
        merge_top=True,
        at=fd,
        yielding=user,
    )
    meter, cancel = body.meter, body.cancel
    there = Tree(os.dup(stage.fd), directory)
    staged = {""}  # directories
    try:
        for item in rights.outside(body.items):
            entry = item.entry
            meter.current = entry.name
            _add_parents(stage, there, entry.name, staged)
            if entry.kind is Kind.DIRECTORY:
                staged.add(entry.name)
            elif join(directory, entry.name) in root.mounted:
                path = join(directory, entry.name)
                raise Busy(f"{path}: device or resource busy: something is mounted there")
            if item.open is None:
                cancel.check()
                stage.add(entry, entry.name)
            else:
                with rights.ours():
                    source, offset = item.open()
                part = FilePart(source, offset, 0)
                try:
                    cancel.check()
                    part.size = item.entry.size
                    _add_file(stage, item.entry, part, meter, cancel)
                    with rights.ours():
                        may = item.sent(not part.short) if item.sent is not None else not part.short
                finally:
                    os.close(part.fd)
                if not may:
                    _withdraw(stage, entry.name)
            meter.entries += 1
        stage.check()
        with rights.ours():
            confirm()
        stage.commit()
    except BaseException:
        stage.abort()
        raise
    finally:
        there.close()


def _add_parents(stage: Stage, there: Tree, name: str, staged: set[str]) -> None:
    """Stage directories that are there already and in which something lands, as they are."""
    above = name.rpartition("/")[0]
    if above in staged:
        return
    _add_parents(stage, there, above, staged)
    info = there.stat(above)
    if not bits.S_ISDIR(info.st_mode):
        raise NotADirectory(f"not a directory: {above!r} below {there.path}")
    mode = bits.S_IMODE(info.st_mode)
    time = info.st_mtime_ns
    stage.add(Entry(above, Kind.DIRECTORY, mode, info.st_uid, info.st_gid, 0, time), above)
    staged.add(above)


def _add_file(stage: Stage, entry: Entry, part: FilePart, meter: Any, cancel: Any) -> None:
    def moved(count: int) -> None:
        meter.bytes += count
        cancel.check()

    content = FileContent(part.fd, part.offset, part.size, moved)
    stage.add(entry, entry.name, content)
    part.short = content.short


def _withdraw(stage: Stage, name: str) -> None:
    """Take out of a stage a file that may not get its name."""
    above, _, last = name.rpartition("/")
    with stage.staged() as tree:
        fd = tree.open_dir(above)
        try:
            info = os.fstat(fd)
            os.unlink(encode(last), dir_fd=fd)
            os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
        finally:
            os.close(fd)


def remove_left(root: Root, directory: str, hidden: str) -> bool:
    """Remove what a killed push left, as far as the rights in effect allow; whether it is gone.

    A file is left to the engine, where that is asked next: not as a user.
    """
    try:
        fd = root.open_directory(root.resolve(directory, follow=True))
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    try:
        info = os.stat(encode(hidden), dir_fd=fd, follow_symlinks=False)
        if bits.S_ISDIR(info.st_mode) or not isinstance(root.rights, OwnRights):
            remove_tree(fd, encode(hidden))
            return True
        return False
    except FileNotFoundError:
        return True
    except (OSError, VolcopyError):
        return False
    finally:
        os.close(fd)
