"""`--follow-all`: a tree in which every link is what it leads to.

`FollowedTree` is a local `Tree` that shows links as the files and directories they lead to. A link
that leads nowhere, or to a directory we are in already, stays a link: nothing is entered without
end. `follow_links` does the same for what was pulled: the engine says where a link leads, within
the container's root, and what stands there is fetched.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from jupyter_volcopy.core.localfs import (
    Tree,
    TreeEntry,
    kind_of,
    local_error,
    open_named_directory,
)
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.paths import decode, encode, join
from jupyter_volcopy.errors import VolcopyError

__all__ = ["FollowedTree", "is_loop"]

_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_KEPT = 16  # directories that links lead to, kept open


def is_loop(target: str, positions: tuple[str, ...]) -> bool:
    """Whether entering `target` would come by one of these directories again."""
    prefix = target.rstrip("/") + "/"
    return any(position == target or (position + "/").startswith(prefix) for position in positions)


class FollowedTree(Tree):
    """A local directory in which links are followed, also out of it."""

    def __init__(self, fd: int, path: str) -> None:
        super().__init__(fd, path)
        self._files: dict[str, str] = {}
        self._directories: dict[str, str] = {}
        self._trees: dict[str, Tree] = {}

    @classmethod
    def open(cls, path: str, *, follow: bool = True) -> FollowedTree:
        """As `Tree.open`."""
        return cls(open_named_directory(path, follow=follow), path)

    def close(self) -> None:
        """Let go of every descriptor."""
        for tree in self._trees.values():
            tree.close()
        self._trees.clear()
        super().close()

    def walk(self, rel: str = "") -> Iterator[TreeEntry]:
        """As `Tree.walk`, links followed."""
        real = decode(os.path.realpath(encode(self.path)))
        for item in super().walk(rel):
            yield from self._one(item, item.rel, join(real, item.rel), ())

    def _one(
        self, item: TreeEntry, shown: str, real: str, positions: tuple[str, ...]
    ) -> Iterator[TreeEntry]:
        """An entry under the name `shown`; of a link what it leads to."""
        item.rel = shown
        if item.kind is not Kind.SYMLINK:
            yield item
            return
        try:
            info = os.stat(encode(real))
            target = decode(os.path.realpath(encode(real)))
        except OSError as error:
            if error.errno not in _LEADS_NOWHERE:
                item.error = local_error(error, "stat", self._shown(shown))
            yield item
            return
        if not stat.S_ISDIR(info.st_mode):
            if stat.S_ISREG(info.st_mode):
                self._files[shown] = target
            yield TreeEntry(shown, info, kind_of(info.st_mode))
            return
        here = (*positions, real.rpartition("/")[0] or "/")
        if is_loop(target, here):
            yield item
            return
        self._directories[shown] = target
        try:
            tree = Tree.open(target)
        except VolcopyError as error:
            yield TreeEntry(shown, info, Kind.DIRECTORY, error=error)
            return
        with tree:
            for inner in tree.walk():
                name = f"{shown}/{inner.rel}" if inner.rel else shown
                yield from self._one(inner, name, join(target, inner.rel), here)

    def open_file(self, rel: str) -> int:
        """As `Tree.open_file`, at the end of the links that were followed."""
        target = self._files.get(rel)
        if target is not None:
            directory, _, name = target.rpartition("/")
            return self._tree(directory or "/").open_file(name)
        at = rel
        while at:
            at = at.rpartition("/")[0]
            if at in self._directories:
                return self._tree(self._directories[at]).open_file(rel[len(at) + 1 :])
        return super().open_file(rel)

    def open_entry(self, item: TreeEntry) -> tuple[int, os.stat_result]:
        """As `Tree.open_entry`; what a link leads to is found by its name."""
        if item.at >= 0:
            return super().open_entry(item)
        fd = self.open_file(item.rel)
        try:
            return fd, os.fstat(fd)
        except OSError as error:
            os.close(fd)
            raise local_error(error, "open", self._shown(item.rel)) from None

    def _tree(self, path: str) -> Tree:
        tree = self._trees.pop(path, None)
        if tree is None:
            if len(self._trees) >= _KEPT:
                self._trees.pop(next(iter(self._trees))).close()
            tree = Tree.open(path)
        self._trees[path] = tree
        return tree
