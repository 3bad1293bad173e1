"""What already stands where a push will land: conflicts before the first byte (rule R18, B8)."""

from __future__ import annotations

from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.paths import base_name, join
from jupyter_volcopy.core.plan import Placement
from jupyter_volcopy.core.transfer import ROOT_USER, Place
from jupyter_volcopy.errors import Conflict, EngineError, NoSuchPath, NotADirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Survey"]

STATS = 100
"""Names asked for one by one (0.7 ms each) before directories are listed (85 ms each)."""

STATS_STOPPED = 2000
"""The same where no program can list, and the whole archive would have to be read."""

LISTINGS = 16
"""Directories listed one by one at most; after that the whole tree is listed at once."""


class Survey:
    """Looks at the destination as far as a copy meets it.

    Args:
        engine: whose container it is.
        destination: the container's side.
        placement: where the top lands.
        known: False: nothing is there; True: a file is there; None: look.

    Attributes:
        replaced: non-directories that stand where something is sent.
        freed: bytes of those, as far as they were looked at.
    """

    def __init__(
        self, engine: Engine, destination: Place, placement: Placement, *, known: bool | None
    ) -> None:
        self._engine = engine
        self._destination = destination
        self._placement = placement
        self._known = known
        self._kinds: dict[str, dict[str, Kind]] = {}
        self._stats: dict[str, Kind | None] = {}
        self._whole: dict[str, Kind] | None = None
        self._adopted: dict[str, Kind] | None = None
        self._live = destination.reach.is_live(placement.path)
        self._user = ROOT_USER if self._live else None
        self._sizes: dict[str, int] = {}
        self.replaced = 0
        self.freed = 0

    def adopt(self, kinds: dict[str, Kind], sizes: dict[str, int]) -> None:
        """Take what is known of every name that may be met, and look no more."""
        self._adopted = kinds
        self._sizes = sizes

    def check(self, names: Iterable[tuple[str, Kind]]) -> None:
        """Compare every name that will be sent with what is there.

        Args:
            names: relative to the placement's directory, parents first.

        Raises:
            Conflict: a directory would replace something else, or the other way round.
        """
        top = self._placement.name
        if top and self.kind(top) is None:
            return
        for name, kind in names:
            found = self.kind(name)
            if found is None:
                continue
            path = join(self._placement.directory, name)
            if kind is Kind.DIRECTORY and found is not Kind.DIRECTORY:
                raise Conflict(
                    f'cannot overwrite non-directory "{path}" with directory '
                    f'"{self._placement.directory}"',
                    hint="nothing was changed; remove it or choose another name",
                )
            if kind is not Kind.DIRECTORY and found is Kind.DIRECTORY:
                raise Conflict(
                    f'cannot overwrite directory "{path}" with non-directory '
                    f'"{self._placement.directory}"',
                    hint="nothing was changed; remove it or choose another name",
                )
            if kind is not Kind.DIRECTORY:
                self.replaced += 1
                self.freed += self._sizes.get(name, 0)

    def kind(self, name: str) -> Kind | None:
        """What stands at `name` (relative to the placement's directory); None: nothing."""
        if self._adopted is not None:
            return self._adopted.get(name)
        if self._known is False:
            return None
        top = self._placement.name
        directory = name.rpartition("/")[0]
        if name != top and directory != top and self.kind(directory) is not Kind.DIRECTORY:
            return None
        if name != top and top and self.kind(top) is not Kind.DIRECTORY:
            return None
        if name in self._stats:
            return self._stats[name]
        running = self._destination.container.running
        if name == top or (
            not self._live and len(self._stats) < (STATS if running else STATS_STOPPED)
        ):
            self._stats[name] = found = self._stat(name)
            return found
        if not running or (directory not in self._kinds and len(self._kinds) >= LISTINGS):
            return self._from_whole(name)
        kinds = self._kinds.get(directory)
        if kinds is None:
            kinds = self._list(directory)
            self._kinds[directory] = kinds
        return kinds.get(base_name(name))

    def _stat(self, name: str) -> Kind | None:
        path = join(self._placement.directory, name)
        try:
            found = self._engine.stat(self._destination.container.id, path, user=self._user)
            self._sizes[name] = found.size if found.kind is Kind.FILE else 0
            return found.kind
        except NoSuchPath:
            return None
        except EngineError as error:
            if "too many links" in error.message:
                return Kind.SYMLINK
            raise

    def _from_whole(self, name: str) -> Kind | None:
        if self._whole is None:
            self._whole = self._list(self._placement.name, recursive=True)
        top = self._placement.name
        return self._whole.get(name[len(top) + 1 :] if top else name)

    def _list(self, name: str, *, recursive: bool = False) -> dict[str, Kind]:
        path = join(self._placement.directory, name).rstrip("/") or "/"
        try:
            listing = self._engine.list_dir(
                self._destination.container.id, path, recursive=recursive, user=self._user
            )
        except (NoSuchPath, NotADirectory):
            return {}
        prefix = name + "/" if name else ""
        for item in listing.entries:
            if item.kind is Kind.FILE:
                self._sizes[prefix + item.name] = item.size
        return {item.name: item.kind for item in listing.entries}
