"""Putting a rescue into a container: where it was, whose it was.

First every file is compared with its sha256 in the manifest: a rescue that is damaged, or has no
manifest, is refused as a whole. Then each mount of the container gets its part by one staged
archive, so every file there is the old or the whole new one. Directories that are only needed as
parents are made where they are missing and left alone where they are.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.endpoint import LocalPath, parse_endpoint
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.insight import advice, is_system
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.keep_manifest import DATA, MANIFEST, Manifest, Saved
from jupyter_volcopy.core.keep_sinks import volume_named
from jupyter_volcopy.core.localfs import Tree, local_stat
from jupyter_volcopy.core.model import Entry, Kind, Record
from jupyter_volcopy.core.paths import join, parent
from jupyter_volcopy.core.plan import Placement
from jupyter_volcopy.core.push import Item
from jupyter_volcopy.core.reach import Reach
from jupyter_volcopy.core.record import State, each
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.survey import Survey
from jupyter_volcopy.core.transfer import Place
from jupyter_volcopy.core.transfer_held import Held, deliver
from jupyter_volcopy.errors import NoSuchPath, SourceChanged, UsageError, VolcopyError

__all__ = ["Restored", "restore"]

_PIECE = 1 << 20
_LIMIT = 1 << 30  # bytes of a manifest
_SET_ID = 0o6000


class Restored(Record, State):
    """What a restore did.

    Attributes:
        source, container: as asked for.
        rescued: the container it came from.
        files, entries, bytes: put in place.
        replaced: files that were there before.
        checked: files whose sha256 was compared before.
        layer: paths that landed in the container's writable layer.
        warnings: what was not set, and what will be lost again.
    """

    source: str
    container: str
    rescued: str = ""
    files: int = 0
    entries: int = 0
    bytes: int = 0
    replaced: int = 0
    checked: int = 0
    layer: list[str] = each(factory=list)
    warnings: list[Note] = each(factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        out = Record.to_dict(self)
        out["warnings"] = [note.to_dict() for note in self.warnings]
        return out


def restore(
    engine: Engine,
    source: str,
    container: str,
    *,
    journal: Journal | None = None,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> Restored:
    """Put the rescue `source` into `container`.

    Args:
        engine: where the container lives (and the volume, if it is one).
        source: a directory, a tar, or `volume=NAME`, made by `rescue`.
        container: name or id, in any state.
        journal, meter, cancel: as everywhere.

    Raises:
        NoSuchPath: there is no rescue.
        SourceChanged: it is damaged; nothing was changed.
        Conflict, ReadOnlyTarget: the container cannot take it; nothing was changed.
        VolcopyError: the engine refused; every file there is the old or the whole new one.
    """
    meter, cancel = meter or Meter(), cancel or Cancel()
    target = engine.container(container)
    reach = Reach.of(engine, target)
    done = Restored(source, target.name)
    with _opened(engine, source, cancel) as held:
        done.rescued = held.manifest.container
        held.check(cancel)
        place = Place(target, reach, "/", f"{target.name}:/")
        wanted = _wanted(engine, place, held.manifest, done)
        for saved in wanted:
            reach.check_writable(saved.path, f"{target.name}:{saved.path}")
            if saved.kind is not Kind.DIRECTORY:
                reach.check_single_file(saved.path, f"{target.name}:{saved.path}")
        done.replaced = _survey(engine, place, wanted)
        meter.bytes_total = sum(saved.size for saved in wanted if saved.kind is Kind.FILE)
        meter.entries_total = len(wanted)
        for mount, part in _parts(reach, wanted):
            cancel.check()
            _send(engine, place, mount, part, held, journal or Journal(), meter, cancel)
    for saved in wanted:
        done.entries += 1
        if saved.kind in (Kind.FILE, Kind.HARDLINK):
            done.files += 1
            done.bytes += saved.size if saved.kind is Kind.FILE else 0
            done.checked += 1
        if saved.kind is not Kind.DIRECTORY and not reach.survives(saved.path):
            done.layer.append(saved.path)
    _say_layer(done)
    return done


def _wanted(engine: Engine, place: Place, manifest: Manifest, done: Restored) -> list[Saved]:
    """What is sent: the entries, without powers, and parents that are missing."""
    out: dict[str, Saved] = {}
    for saved in manifest.parents:
        if saved.path not in place.reach.mounts and not _there(engine, place, saved.path):
            out[saved.path] = saved
    for saved in manifest.entries:
        if saved.left_out:
            done.warnings.append(Note(saved.path, f"{saved.left_out}, not restored", "special"))
            continue
        if saved.kind is not Kind.DIRECTORY and saved.kind is not Kind.SYMLINK:
            if saved.mode & _SET_ID:
                done.warnings.append(Note(saved.path, "the set-id bit is not restored", "setuid"))
                saved.mode &= ~_SET_ID
            if saved.xattrs:
                text = f"{', '.join(sorted(saved.xattrs))} is not restored"
                done.warnings.append(Note(saved.path, text, "capability"))
        mount = place.reach.mounts.get(saved.path)
        if saved.kind is Kind.DIRECTORY and (
            (mount is not None and mount.type == "bind")
            or (saved.path in place.reach.mounts and place.container.read_only)
        ):
            text = "owner and mode of the mount itself are left as they are"
            done.warnings.append(Note(saved.path, text, "owner"))
            continue
        out[saved.path] = saved
    return [out[path] for path in sorted(out, key=_order)]


def _there(engine: Engine, place: Place, path: str) -> bool:
    if place.reach.is_live(path):
        return True
    try:
        engine.stat(place.container.id, path)
    except NoSuchPath:
        return False
    return True


def _survey(engine: Engine, place: Place, wanted: list[Saved]) -> int:
    """Conflicts with what is there, before anything is sent; the number of files replaced."""
    survey = Survey(engine, place, Placement("/", ""), known=None)
    survey.check(
        (saved.path[1:], saved.kind)
        for saved in wanted
        if saved.path != "/" and not place.reach.is_live(saved.path)
    )
    return survey.replaced


def _parts(reach: Reach, wanted: list[Saved]) -> list[tuple[str, list[Saved]]]:
    """What goes into each mount, outermost mounts first."""
    parts: dict[str, list[Saved]] = {}
    for saved in wanted:
        parts.setdefault(reach.holder(saved.path), []).append(saved)
    return sorted(parts.items(), key=lambda part: _order(part[0]))


def _send(
    engine: Engine,
    place: Place,
    mount: str,
    part: list[Saved],
    held: _Source,
    journal: Journal,
    meter: Meter,
    cancel: Cancel,
) -> None:
    inside = {saved.path for saved in part}
    prefix = len(mount.rstrip("/")) + 1

    def items() -> Iterator[Item]:
        for saved in part:
            entry = Entry(
                saved.path[prefix:],
                saved.kind,
                saved.mode,
                saved.uid,
                saved.gid,
                mtime_ns=saved.mtime * 1_000_000_000,
            )
            if saved.kind is Kind.SYMLINK:
                entry.link = saved.link
            if saved.kind is Kind.HARDLINK and saved.link in inside:
                entry.link = saved.link[prefix:]
            elif saved.has_content:
                entry.kind, entry.size = Kind.FILE, saved.size
                yield Item(entry, held.content(saved.path))
                continue
            yield Item(entry)

    deliver(
        engine,
        place.container.id,
        mount,
        items,
        journal=journal,
        has_files=any(saved.has_content for saved in part),
        live=mount in place.reach.live,
        meter=meter,
        cancel=cancel,
    )


def _say_layer(done: Restored) -> None:
    """Name the directories of the writable layer that got something, and what would keep them."""
    places: dict[str, int] = {}
    for path in done.layer:
        places[parent(path)] = places.get(parent(path), 0) + 1
    tops: dict[str, int] = {}
    for path in sorted(places, key=_order):
        top = next((top for top in tops if (path + "/").startswith(top + "/")), path)
        tops[top] = tops.get(top, 0) + places[path]
    for top, number in tops.items():
        flag = "" if is_system(top) else advice(top, directory=True)
        text = f"{number} of these lie in the writable layer: lost with the container" + (
            f"; docker run {flag} keeps them" if flag else ""
        )
        done.warnings.append(Note(top, text, "layer"))


def _order(path: str) -> list[bytes]:
    """Sorts parents before children, by bytes of name."""
    return [os.fsencode(part) for part in path.split("/")]


# -- where it comes from


class _Source(ABC):
    """A rescue that is read."""

    manifest: Manifest

    @abstractmethod
    def content(self, path: str) -> Callable[[], tuple[int, int]]:
        """Opens the content of a file: a descriptor of the caller's, and its offset."""

    @abstractmethod
    def hashes(self, cancel: Cancel) -> Callable[[str], tuple[str, int]]:
        """Sha256 and size of each file by its path; ("", -1) where there is none."""

    def check(self, cancel: Cancel) -> None:
        """Compare everything with the manifest.

        Raises:
            SourceChanged: something is missing or differs.
        """
        of = self.hashes(cancel)
        wrong = []
        for saved in self.manifest.entries:
            cancel.check()
            if saved.has_content and of(saved.path) != (saved.sha256, saved.size):
                wrong.append(saved.path)
        if wrong:
            shown = ", ".join(repr(path) for path in wrong[:3])
            raise SourceChanged(
                f"the rescue is damaged: {len(wrong)} files are missing or are not what the "
                f"manifest says: {shown}",
                hint="nothing was restored",
                entries=wrong[:100],
            )


class _Directory(_Source):
    """A rescue in a local directory."""

    def __init__(self, tree: Tree, path: str) -> None:
        self._tree = tree
        try:
            fd = tree.open_file(MANIFEST)
        except NoSuchPath:
            raise _no_rescue(path) from None
        with os.fdopen(fd, "rb") as file:
            self.manifest = Manifest.decode(file.read(_LIMIT), join(path, MANIFEST))

    def content(self, path: str) -> Callable[[], tuple[int, int]]:
        """From its file."""
        return lambda: (self._tree.open_file(DATA + path), 0)

    def hashes(self, cancel: Cancel) -> Callable[[str], tuple[str, int]]:
        """File by file."""

        def of(path: str) -> tuple[str, int]:
            try:
                fd = self._tree.open_file(DATA + path)
            except VolcopyError:
                return "", -1
            digest, size = sha256(), 0
            with os.fdopen(fd, "rb", buffering=0) as file:
                while piece := file.read(_PIECE):
                    cancel.check()
                    digest.update(piece)
                    size += len(piece)
            return digest.hexdigest(), size

        return of


class _Archive(_Source):
    """A rescue in a tar."""

    def __init__(self, held: Held, path: str) -> None:
        self._held = held
        self._at: dict[str, int] = {}
        manifest: bytes | None = None
        for entry, offset, tar in held.walk():
            if entry.kind is Kind.FILE:
                self._at[entry.name] = offset
            elif entry.kind is Kind.HARDLINK and entry.link in self._at:
                self._at[entry.name] = self._at[entry.link]
            if entry.name == MANIFEST and entry.kind is Kind.FILE and entry.size < _LIMIT:
                data = bytearray()
                tar.read(data.extend)
                manifest = bytes(data)
        if manifest is None:
            raise _no_rescue(path)
        self.manifest = Manifest.decode(manifest, f"{path}: {MANIFEST}")

    def content(self, path: str) -> Callable[[], tuple[int, int]]:
        """From its place in the tar."""
        return lambda: (os.dup(self._held.file.fileno()), self._at[DATA + path])

    def hashes(self, cancel: Cancel) -> Callable[[str], tuple[str, int]]:
        """All at once."""
        facts = self._held.facts()

        def of(path: str) -> tuple[str, int]:
            fact = facts.get(DATA + path)
            return (fact.sha256, fact.size) if fact is not None else ("", -1)

        return of


def _no_rescue(path: str) -> NoSuchPath:
    return NoSuchPath(
        f"{path} is no rescue: there is no {MANIFEST} in it",
        hint="`volcopy rescue` makes one; one that was not finished has none",
    )


@contextmanager
def _opened(engine: Engine, source: str, cancel: Cancel) -> Iterator[_Source]:
    """The rescue, while the block runs."""
    volume = volume_named(source)
    if volume:
        with engine.volume(volume) as (container, path):
            held = Held.of(engine.open_archive(container, path + "/."), cancel)
        with held:
            yield _Archive(held, f"volume {volume}")
        return
    if not source or not isinstance(parse_endpoint(source), LocalPath):
        raise UsageError(f"{source!r} is no rescue", hint="name a directory, a tar, or volume=NAME")
    found = local_stat(source, follow=True)
    if found is None:
        raise NoSuchPath(f"lstat {source}: no such file or directory")
    if found.is_dir:
        with Tree.open(source) as tree:
            yield _Directory(tree, source)
        return
    try:
        file = open(source, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise NoSuchPath(f"open {source}: {(error.strerror or '').lower()}") from None
    with file:
        yield _Archive(Held(file, lenient=True), source)
