"""Reaching files with the rights of a container's user, in one thread, for as long as it takes.

The kernel keeps rights for each thread (credentials(7)). Taken on are the user and group for files
(setfsuid(2), setfsgid(2)) and the groups; and no capability is in effect, so that neither a mode
nor a quota nor the room kept for root is passed over. The real and effective ids stay ours: nobody
of that user can signal or trace us.

What is not the container's business (the source of a push, the journal, the engine) is done with
our own rights in between (`ours`). Nothing is imported with a user's rights: they need not read
where we are installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from jupyter_volcopy.core import kernel
from jupyter_volcopy.core.localfs import acting
from jupyter_volcopy.errors import VolcopyError

__all__ = ["FsUser", "fs_user"]

_T = TypeVar("_T")


class FsUser:
    """A user, as whom files are reached within `with`; may be entered again within itself.

    Args:
        uid, gid: of the user, not root.
        groups: more groups.

    Raises:
        NotAvailable: this process may not, or the calls are not known on this machine.
    """

    def __init__(self, uid: int, gid: int, groups: Sequence[int] = ()) -> None:
        if uid <= 0 or os.geteuid() or acting.depth:
            raise kernel.NotAvailable("setfsuid")
        self.uid = uid
        self._theirs = kernel.Rights(uid, gid, groups, power=False)
        self._own = kernel.Rights(0, os.getegid(), os.getgroups(), power=True)
        with self:  # it works, or is not begun with
            pass

    def __enter__(self) -> FsUser:
        if not acting.depth:
            self._take()
        elif acting.user != self.uid:
            raise RuntimeError("a thread acts as one user at a time")
        acting.depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        acting.depth -= 1
        if not acting.depth:
            self._give_back()

    def _take(self) -> None:
        try:
            self._theirs.take()
            acting.user = self.uid
        except BaseException:
            self._give_back()
            raise

    def _give_back(self) -> None:
        acting.user = -1
        self._own.take()

    def ours(self) -> _Ours:
        """Our own rights again, within `with`; nothing where they are in effect anyway."""
        return _Ours(self)

    def inside(self, items: Iterable[_T]) -> Iterator[_T]:
        """`items`, each made with the user's rights."""
        return _each(self, items)

    def outside(self, items: Iterable[_T]) -> Iterator[_T]:
        """`items`, each made with our own rights."""
        return _each(self.ours(), items)


def _each(rights: FsUser | _Ours, items: Iterable[_T]) -> Iterator[_T]:
    with rights:
        made = iter(items)
    try:
        while True:
            with rights:
                try:
                    item = next(made)
                except StopIteration:
                    return
            yield item
    finally:
        close = getattr(made, "close", None)
        if close is not None:
            close()


class _Ours:
    """See `FsUser.ours`."""

    def __init__(self, user: FsUser) -> None:
        self._user = user
        self._depth = 0

    def __enter__(self) -> None:
        self._depth, acting.depth = acting.depth, 0
        if self._depth:
            self._user._give_back()

    def __exit__(self, *_: object) -> None:
        acting.depth = self._depth
        if self._depth:
            self._user._take()


def fs_user(engine: Any, root: Any, spec: str) -> FsUser | None:
    """As whom the engine would run a program for `spec` in a container, or None where it must say.

    Args:
        engine: reads the container's own passwd and group, where they count.
        root: of the container, with its `GroupAdd`.
        spec: `uid` or `uid:gid`.

    What counts is moby's `getUser` (daemon/oci_linux.go): with a group, only that one; without,
    the group of passwd and those that name the user; in both cases what `--group-add` adds. It
    reads the files of the root file system, and not what is mounted over them.
    """
    container = root.container
    user, colon, group = spec.partition(":")
    added = (container.raw.get("HostConfig") or {}).get("GroupAdd") or ()
    if container.raw.get("AppArmorProfile") not in (None, "", "unconfined", "docker-default"):
        return None  # it may forbid what the user's rights allow
    numbers = [user, *([group] if colon else []), *map(str, added)]
    if not all(one.isascii() and one.isdigit() and len(one) <= 10 for one in numbers):
        return None
    uid, gid, more = int(user), int(group) if colon else 0, [int(str(one)) for one in added]
    try:
        if not colon:
            from jupyter_volcopy.core.owners import read_owners

            if any(root.is_mounted_over(path) for path in ("/etc/passwd", "/etc/group")):
                return None
            owners = read_owners(engine, container.id)
            account = owners.account_of(uid)
            if account is not None:
                gid, more = account.gid, [*owners.groups_of(account.name), *more]
        return FsUser(uid, gid, more)
    except (OSError, OverflowError, VolcopyError, kernel.NotAvailable):
        return None
