"""The writable layer of a container, file by file: what was written outside every mount.

The engine's diff says which paths were added (A), changed (C) or deleted (D), without size or
time, and with noise: every directory above a change, the mount points it made itself. Here each
file gets its size and time from the engine (no program in the container is needed), and what is
not data is left out:

- directories that are listed because something in them changed (an added empty one is named);
- mount points, and directories that exist only to hold one;
- the engine's own files (`/etc/hosts`, `/dev` and the like);
- by wish, caches.

What lies in volumes and binds is never in here: the diff does not see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jupyter_volcopy.core.model import Change, Kind, ListedEntry, path_fields, when
from jupyter_volcopy.core.paths import base_name, clean, encode, join, parent
from jupyter_volcopy.core.record import State, Value, each
from jupyter_volcopy.errors import NotFound, VolcopyError

if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import Engine

__all__ = ["Layer", "LayerEntry", "is_cache", "layer", "tidy"]

_ENGINE_FILES = frozenset(
    ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/.dockerenv")
)
_INIT = "/sbin/docker-init"  # where `--init` mounts the engine's own program
_ENGINE_TREES = ("/dev", "/proc", "/sys")
_CACHES = frozenset(
    ("__pycache__", ".cache", ".npm", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".yarn")
)
_CACHE_TREES = ("/var/cache", "/var/lib/apt/lists", "/var/lib/apk")
_MANY = 300  # below one added directory: from here one listing is cheaper than single questions


class LayerEntry(Value):
    """One file, link or empty directory that exists only in this container.

    Attributes:
        path: absolute.
        change: `A` added, `C` changed.
        kind: what it is; None where it could not be asked (it vanished meanwhile).
        bytes: of its content; None where unknown.
        mtime_ns: nanoseconds since 1970; None where unknown.
        mode: permission bits.
    """

    path: str
    change: str
    kind: Kind | None = None
    bytes: int | None = None
    mtime_ns: int | None = None
    mode: int = 0

    @property
    def modified(self) -> str:
        """RFC 3339 in UTC, or ""."""
        return "" if self.mtime_ns is None else when(self.mtime_ns // 1_000_000_000)

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            **path_fields("path", self.path),
            "change": {"A": "added", "C": "changed"}.get(self.change, self.change),
            "kind": self.kind.value if self.kind else "",
            "bytes": self.bytes,
            "modified": self.modified,
        }


class Layer(State):
    """What a writable layer holds.

    Attributes:
        entries: sorted by path.
        deleted: paths of the image that were deleted, the topmost of each tree.
        caches: how many entries were left out as caches.
    """

    entries: list[LayerEntry] = each(factory=list)
    deleted: list[str] = each(factory=list)
    caches: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            "entries": [entry.to_dict() for entry in self.entries],
            "deleted": [path_fields("path", path)["path"] for path in self.deleted],
            "caches": self.caches,
        }


def is_cache(path: str) -> bool:
    """Whether a path lies in a cache that programs fill again by themselves."""
    if any(path == tree or path.startswith(tree + "/") for tree in _CACHE_TREES):
        return True
    return path.endswith(".pyc") or not _CACHES.isdisjoint(path.split("/"))


def _of_engine(path: str) -> bool:
    return path in _ENGINE_FILES or any(
        path == tree or path.startswith(tree + "/") for tree in _ENGINE_TREES
    )


def tidy(changes: Iterable[Change], targets: Iterable[str]) -> tuple[list[Change], list[str]]:
    """The diff without noise, and the deleted paths.

    Directories that hold other changes are left out; a changed directory that holds none cannot be
    told from a file here and stays.

    Args:
        changes: the engine's diff.
        targets: mount points of the container.
    """
    mounted = {clean(target) for target in targets} | {_INIT}
    above = {"/"}
    for target in mounted:
        while target != "/":
            target = parent(target)
            above.add(target)
    live: list[Change] = []
    gone: list[str] = []
    for change in changes:
        path = change.path
        if path in mounted or _of_engine(path):
            continue
        if change.kind == "D":
            gone.append(path)
        else:
            live.append(change)
    holding = set()
    for change in live:
        # what only leads to a mount point counts for nothing
        if change.path in above:
            continue
        path = parent(change.path)
        while path not in holding and path != "/":
            holding.add(path)
            path = parent(path)
    holding.update(parent(path) for path in gone)
    kept = [c for c in live if c.path not in holding and c.path not in above]
    deleted = set(gone)
    return kept, sorted(path for path in deleted if parent(path) not in deleted)


def layer(engine: Engine, container: str, targets: Iterable[str], *, caches: bool = True) -> Layer:
    """The writable layer of a container in any state.

    Args:
        engine: where the container lives.
        container: id.
        targets: its mount points.
        caches: list caches too.

    Raises:
        NoSuchContainer, EngineError: as the engine says.
    """
    changes = engine.changes(container)
    kept, deleted = tidy(changes, targets)
    out = Layer(deleted=deleted)
    if not caches:
        before = len(kept)
        kept = [change for change in kept if not is_cache(change.path)]
        out.caches = before - len(kept)
    known = _listed(engine, container, changes, kept)
    for change in kept:
        entry = known.get(change.path) or _asked(engine, container, change)
        if change.kind == "C" and entry.kind is Kind.DIRECTORY:
            continue  # only its time or mode: no data in it
        out.entries.append(entry)
    out.entries.sort(key=lambda entry: encode(entry.path))
    return out


def _asked(engine: Engine, container: str, change: Change) -> LayerEntry:
    """One question to the engine about one path."""
    if "\ufffd" in change.path:
        return _unsayable(engine, container, change)
    try:
        stat = engine.stat(container, change.path)
    except NotFound:
        return LayerEntry(change.path, change.kind)
    size = stat.size if stat.kind is Kind.FILE else 0
    return LayerEntry(change.path, change.kind, stat.kind, size, stat.mtime_ns, stat.mode)


def _unsayable(engine: Engine, container: str, change: Change) -> LayerEntry:
    """A name that JSON cannot carry: the diff shows it mangled, the listing knows it."""
    directory = parent(change.path)
    try:
        if "\ufffd" in directory:
            return LayerEntry(change.path, change.kind)
        listing = engine.list_dir(container, directory)
    except VolcopyError:
        return LayerEntry(change.path, change.kind)
    wanted = _mangled(base_name(change.path))
    for entry in listing.entries:
        plain = encode(entry.name).decode("utf-8", "replace")
        if plain != entry.name and _mangled(plain) == wanted:
            return _entry(directory, entry, change.kind)
    return LayerEntry(change.path, change.kind)


def _mangled(name: str) -> str:
    """Go and Python put a different number of marks for bytes that are not UTF-8."""
    return re.sub("\ufffd+", "\ufffd", name)


def _entry(directory: str, entry: ListedEntry, kind: str) -> LayerEntry:
    size = entry.size if entry.kind in (Kind.FILE, Kind.HARDLINK) else 0
    return LayerEntry(
        join(directory, entry.name), kind, entry.kind, size, entry.mtime_ns, entry.mode
    )


def _listed(
    engine: Engine, container: str, changes: Iterable[Change], kept: list[Change]
) -> dict[str, LayerEntry]:
    """Entries below big added directories, by one listing each."""
    if len(kept) < _MANY:
        return {}
    added = {change.path for change in changes if change.kind == "A"}
    tops: dict[str, int] = {}
    for change in kept:
        top, path = "", change.path
        while path in added:
            top, path = path, parent(path)
        if top and top != change.path:
            tops[top] = tops.get(top, 0) + 1
    kinds = {change.path: change.kind for change in kept}
    found: dict[str, LayerEntry] = {}
    for top, number in tops.items():
        if number < _MANY:
            continue
        try:
            listing = engine.list_dir(container, top, recursive=True)
        except VolcopyError:
            continue  # each path is then asked for by itself
        for item in listing.entries:
            path = join(top, item.name)
            if path in kinds:
                found[path] = _entry(top, item, kinds[path])
    return found
