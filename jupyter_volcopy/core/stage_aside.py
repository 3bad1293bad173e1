"""One temporary of ours: a file, or a private directory, beside where it will go.

It is written into the journal before it is made and completed with its inode after, so a process
killed at any moment leaves nothing that a later run cannot tell from a stranger's (safety F1).
"""

from __future__ import annotations

import os
import stat

from jupyter_volcopy.core.journal import Journal, remove_tree
from jupyter_volcopy.core.landing import new_name
from jupyter_volcopy.core.localfs import DIRECTORY_FLAGS
from jupyter_volcopy.errors import VolcopyError

__all__ = ["FILE_FLAGS", "Aside"]

FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""How every file of ours is made: new, whatever stands in the way is an error."""


class Aside:
    """A temporary in the directory `at`.

    Attributes:
        at: descriptor of the directory it lies in; becomes ours to close.
        path: of that directory.
        name: of the temporary there, empty once it is gone or has its final name.
        fd: descriptor of it (of a file only until the caller closed it).
        is_dir: whether it is a directory.

    Raises:
        OSError: it cannot be made there; nothing is left, and `at` is still the caller's.
    """

    def __init__(self, at: int, path: str, journal: Journal, *, is_dir: bool) -> None:
        self.at = at
        self.path = path
        self.is_dir = is_dir
        self._journal = journal
        before = os.fstat(at)
        text = new_name()
        self.name = text.encode("ascii")
        self._token = journal.local(path, text)
        self.fd = -1
        try:
            if is_dir:
                os.mkdir(self.name, 0o700, dir_fd=at)
                self.fd = os.open(self.name, DIRECTORY_FLAGS, dir_fd=at)
            else:
                self.fd = os.open(self.name, FILE_FLAGS, 0o600, dir_fd=at)
            info = os.fstat(self.fd)
            self._inode = (info.st_dev, info.st_ino)
            journal.made(self._token, path, text, info.st_dev, info.st_ino)
            self._times = (before.st_atime_ns, before.st_mtime_ns, os.fstat(at).st_mtime_ns)
        except BaseException:
            if self.fd >= 0:
                os.close(self.fd)
            try:
                (os.rmdir if is_dir else os.unlink)(self.name, dir_fd=at)
            except FileNotFoundError:
                self.landed()
            except OSError:
                pass  # it stays in the journal
            else:
                self.landed()
            raise

    def landed(self) -> None:
        """It has its final name, or is gone."""
        if self.name:
            self.name = b""
            self._journal.done(self._token)

    def restore_time(self) -> None:
        """Undo what making and removing it did to the time of its directory."""
        try:
            os.utime(self.at, ns=self._times[:2])
        except OSError:
            pass

    def remove(self) -> None:
        """Remove it and all in it. What cannot be removed stays in the journal."""
        if not self.name:
            return
        try:
            alone = os.fstat(self.at).st_mtime_ns == self._times[2]
            info = os.stat(self.name, dir_fd=self.at, follow_symlinks=False)
            if (info.st_dev, info.st_ino) == self._inode:
                if self.is_dir:
                    os.fchmod(self.fd, stat.S_IRWXU)
                remove_tree(self.at, self.name)
                if alone:  # nobody else changed the directory since
                    self.restore_time()
        except FileNotFoundError:
            pass
        except (OSError, VolcopyError):
            return
        self.landed()

    def close(self) -> None:
        """Let go of the descriptors."""
        if self.is_dir and self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        if self.at >= 0:
            os.close(self.at)
            self.at = -1
