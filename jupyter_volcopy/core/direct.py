"""A running container's files without the engine: as root on its host, through `/proc/PID/root`.

`DirectEngine` stands before an engine and answers for the containers it can prove to be what the
engine says they are; everything else it passes on. It speaks the same contract, so the rules of a
copy, its checks and its staging are the same code on both ways.

**Identity.** The process the engine names must be of the container's cgroup, in our own user
namespace, and its root must be the very overlay that inspect names. The root is opened once, and
held by descriptor until the copy ends. Just before anything lands, the process must still be
there, and the engine, asked again, must name the same process and start: else nothing of it counts,
and the copy is made anew through the engine.

**Nothing outside.** A path is resolved within that root by our own eyes, links and all, and then
opened again from the root, component by component, never through a link: who swaps a directory for
a link in between makes the copy fail. A file is held by `O_PATH` and looked at before it is opened,
so a pipe or a device is never touched. What the kernel makes (`/proc`, `/sys`, `/dev`) is not
reached this way. A push is staged (`Stage`) in a directory of its own beside where it lands.

**As a user.** What is asked for with a user's rights is done with them (`fs_user`), as a program
that the engine starts for that user would do it; where that cannot be, such a program does it.
"""

from __future__ import annotations

import errno
import os

from jupyter_volcopy.core.direct_archive import archive_at, list_at, measure_at, stat_at
from jupyter_volcopy.core.direct_root import Root, same, why_not
from jupyter_volcopy.core.localfs import local_error
from jupyter_volcopy.core.options import access_to
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.errors import (
    AccessDenied,
    Conflict,
    LocalPermission,
    NotFound,
    SourceChanged,
    UsageError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jupyter_volcopy.core.engine import ArchiveBody, ArchiveReader, Engine
    from jupyter_volcopy.core.journal import Journal
    from jupyter_volcopy.core.model import Container, Listing, Stat

__all__ = ["DirectEngine"]

_ROOT_USER = "0:0"


class DirectEngine:
    """An engine whose running containers are reached directly, where that is possible.

    Args:
        engine: knows the containers, and does all else.
        journal: where temporaries are written down.
        must: a container that cannot be reached directly is an error, not a matter for the engine.

    Attributes:
        names: a directory's listing tells the names of owners, too.
    """

    names = False

    def __init__(self, engine: Engine, journal: Journal, *, must: bool) -> None:
        self.address = engine.address
        self._engine: Any = engine
        self._journal: Any = journal
        self._must = must
        self._roots: dict[str, Root] = {}
        self._views: dict[tuple[str, str], Root | None] = {}  # of a container and a user

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def __enter__(self) -> DirectEngine:
        return self

    def __exit__(self, *_: object) -> None:
        while self._roots:
            self._let_go(next(iter(self._roots)))

    def _let_go(self, container: str) -> None:
        self._roots.pop(container).close()
        self._views = {key: view for key, view in self._views.items() if key[0] != container}

    def container(self, name: str) -> Container:
        """As `Engine.container`; from now on it is reached directly, if that is possible.

        Raises:
            Conflict: it is not, and must be.
        """
        found: Container = self._engine.container(name)
        if found.id in self._roots:
            return found
        reason = why_not(self._engine, found)
        if not reason:
            try:
                self._roots[found.id] = Root(found)
            except Conflict as error:
                reason = error.message
        if reason and self._must:
            raise Conflict(
                f"{name} cannot be reached directly: {reason}", hint="use --access auto or api"
            )
        return found

    def confirm(self) -> None:
        """See, before something lands, that containers are still what they were, or let them go.

        Raises:
            SourceChanged: it ended or was started anew; tried again, the copy asks the engine.
            Conflict: the same, where the engine must not be asked.
        """
        for root in [*self._roots.values()]:
            known = root.container
            try:
                if root.alive() and same(known, self._engine.container(known.id)):
                    continue
            except NotFound:
                pass
            self._let_go(known.id)
            text = f"{known.name} ended or was started anew while it was copied"
            if self._must:
                raise Conflict(text, hint="copy again")
            raise SourceChanged(text)

    @classmethod
    def of(cls, engine: Any, journal: Journal, *, access: str = "") -> DirectEngine | None:
        """Direct access to the containers of an engine; None where only that itself is asked.

        Args:
            engine: one engine, or a policy before one; None, too, where that is reached directly.
            journal: where temporaries are written down.
            access: as it was asked for; see `access_to`.

        Raises:
            UsageError: it must be direct, and the engine is a service, or several.
        """
        inner = getattr(engine, "inner", engine)
        if type(inner) is cls:
            return None
        access = access_to(inner, access)
        must = access == "direct"
        if access == "api" or (os.geteuid() and not must):
            return None
        from jupyter_volcopy.core.docker_engine import DockerEngine

        if type(inner) is DockerEngine:
            return cls(inner, journal, must=must)
        if must:
            raise UsageError(
                "direct access is only for one engine of this machine, without a service"
            )
        return None

    def under(self, engine: Any) -> Any:
        """Take the place of `engine`; the policy before that stays before it."""
        over = getattr(engine, "over", None)
        return over(self) if over is not None else self

    def _at(self, container: str, user: str | None) -> Root | None:
        """The root as it is to be reached for `user`, or None where that is the engine's matter."""
        root = self._roots.get(container)
        if root is None or user is None:
            return root
        if user == _ROOT_USER:  # ours are more than those of a root without its capabilities
            return None if (root.container.raw.get("HostConfig") or {}).get("CapDrop") else root
        if (container, user) not in self._views:
            from jupyter_volcopy.core.fs_user import fs_user

            rights = fs_user(self, root, user)
            self._views[container, user] = root.as_user(rights) if rights is not None else None
        return self._views[container, user]

    # -- the contract

    def stat(self, container: str, path: str, *, user: str | None = None) -> Stat:
        """As `Engine.stat`."""
        root = self._at(container, user)
        if root is not None and not root.in_kernel(path, above=False):
            try:
                return stat_at(root, path)
            except FileNotFoundError:
                if user is not None:  # the engine would start a program to say so
                    from jupyter_volcopy.core.answers import missing_path

                    raise missing_path(root.container.name, path) from None
            except OSError:
                pass  # the engine has the words for it
        found: Stat = self._engine.stat(container, path, user=user)
        return found

    def can_rename(self, container: str, path: str) -> bool:
        """No: where that is possible, `extract` does it by itself."""
        return container not in self._roots and bool(self._engine.can_rename(container, path))

    def can_list(self, container: str) -> bool:
        """As `DockerEngine.can_list`."""
        return container in self._roots or bool(self._engine.can_list(container))

    def list_beside(self, container: str, path: str) -> Any:
        """As `DockerEngine.list_beside`, where an archive is the engine's."""
        return None if container in self._roots else self._engine.list_beside(container, path)

    def measure(
        self, container: str, path: str, *, user: str | None = None
    ) -> tuple[int, int] | None:
        """Entries and bytes below a directory whose archive says itself what it leaves out.

        None where `open_archive` is the engine's, or it is too deep to be measured cheaply.
        """
        root = self._at(container, user)
        if root is None:
            return None
        try:
            with root.rights:
                real = root.resolve(path, follow=True)
                if root.in_kernel(real, above=True):
                    return None
                return measure_at(root.open_directory(real))
        except (OSError, RecursionError):
            return None

    def list_dir(
        self,
        container: str,
        path: str,
        *,
        recursive: bool = False,
        user: str | None = None,
        budget: int | None = None,
        most: int | None = None,
    ) -> Listing:
        """As `Engine.list_dir`; the names of owners where `names` asks for them."""
        root = self._at(container, user)
        if root is not None:
            listing = None
            try:
                with root.rights:
                    real = root.resolve(path, follow=True)
                    if not root.in_kernel(real, above=True):
                        listing = list_at(root, real, path, recursive, most)
            except OSError:
                pass
            if listing is not None:
                return self._named(container, listing) if self.names else listing
        found: Listing = self._engine.list_dir(
            container, path, recursive=recursive, user=user, budget=budget, most=most
        )
        return found

    def _named(self, container: str, listing: Listing) -> Listing:
        from jupyter_volcopy.core.listing import with_names

        return replace(listing, entries=with_names(self, container, listing.entries))

    def open_archive(
        self, container: str, path: str, *, user: str | None = None, live: bool = False
    ) -> ArchiveReader:
        """As `Engine.open_archive`."""
        root = self._at(container, user)
        if root is not None:
            try:
                with root.rights:
                    found = archive_at(root, path)
            except OSError:
                found = None
            if found is not None:
                return found
        reader: ArchiveReader = self._engine.open_archive(container, path, user=user, live=live)
        return reader

    def stages(self, container: str, directory: str, *, copy_uid_gid: bool) -> bool:
        """Whether `extract` of this container stages by itself."""
        root = self._roots.get(container)
        return root is not None and not copy_uid_gid and not root.in_kernel(directory, above=False)

    @staticmethod
    def _stages(body: ArchiveBody, copy_uid_gid: bool, user: str | None) -> bool:
        """Whether what a body is made of can be staged here."""
        items = getattr(body, "items", None)
        return items is not None and body.seal is None and (user is not None or not copy_uid_gid)

    def extract(
        self,
        container: str,
        directory: str,
        body: ArchiveBody,
        *,
        copy_uid_gid: bool = False,
        user: str | None = None,
        live: bool = False,
    ) -> None:
        """As `Engine.extract`; the items of a `PushBody` are staged and given their names here."""
        from jupyter_volcopy.core.direct_push import InsideJournal, extract_at, remove_left

        root = self._at(container, user)
        hidden = getattr(body, "hidden", "")
        if root is not None and hidden and getattr(body, "over_directories", False):
            with root.rights:
                gone = remove_left(root, directory, hidden)
            if user is not None and user != _ROOT_USER:
                if not gone:  # another one's; it stays in the journal
                    raise AccessDenied(f"{hidden} is left in {directory}: permission denied")
                return
        elif root is not None and self._stages(body, copy_uid_gid, user):
            try:
                with root.rights:
                    real = root.resolve(directory, follow=True)
                    ours = not root.in_kernel(real, above=False)
                    if user is not None and root.in_memory(real):
                        ours = False  # a program's memory counts as the container's, ours does not
                    if not ours and not live and user is None:
                        raise OSError(errno.EPERM, "made by the kernel")
                    fd = _open_target(root, real) if ours else -1
            except FileNotFoundError:
                from jupyter_volcopy.core.answers import missing_path

                raise missing_path(root.container.name, directory) from None
            except PermissionError:
                raise AccessDenied(
                    f"writing in {directory}: permission denied", container=root.container.name
                ) from None
            except OSError as error:  # not a matter for the engine: it would not stage this body
                raise local_error(error, "open", directory) from None
            if ours:
                inside = InsideJournal(
                    self._journal, self.address, container, directory, root.rights
                )
                try:
                    extract_at(fd, real, body, inside, self.confirm, root)
                except LocalPermission as error:
                    if user is None:
                        raise
                    raise AccessDenied(
                        f"writing in {directory}: {error.message}", container=root.container.name
                    ) from None
                return
            # /dev/shm and the like: by a program in the container, which stages by itself
        self._engine.extract(
            container, directory, body, copy_uid_gid=copy_uid_gid, user=user, live=live
        )


def _open_target(root: Root, path: str) -> int:
    """The directory that is written to; that one need not be allowed to read it."""
    try:
        return root.open_directory(path)
    except PermissionError:
        return root.open_directory(path, read=False)
