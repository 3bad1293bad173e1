"""Saving exactly what a way of removal would lose, from a container in any state.

The forecast says what is lost; here it is read through the archive API (so no program in the
container is needed, memory apart), written aside, read a second time and compared, and only then
given its name. See `keep_manifest` for what a rescue looks like. A rescue is always safe: set-id
bits, devices, pipes and capabilities are recorded, not made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from time import time
from typing import Any

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.engine import ArchiveReader, Engine
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.keep_manifest import DATA, Manifest, Saved
from jupyter_volcopy.core.keep_sinks import Sink, sink_for
from jupyter_volcopy.core.members import Members
from jupyter_volcopy.core.model import Container, Entry, Kind, Record, when
from jupyter_volcopy.core.paths import base_name, clean, join, parent
from jupyter_volcopy.core.plan import Placement
from jupyter_volcopy.core.pull import reading
from jupyter_volcopy.core.record import State, each, replace
from jupyter_volcopy.core.removal import Forecast, Item, forecast
from jupyter_volcopy.core.report import Note, Report
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.errors import NotFound, VolcopyError, show

__all__ = ["RescueReport", "Rescued", "rescue"]

SPECIAL = (Kind.CHARACTER, Kind.BLOCK, Kind.FIFO)
SET_ID = 0o6000


class Rescued(Record, State):
    """What a rescue did.

    Attributes:
        container, how, destination: what was asked for.
        manifest: what lies there now.
        files, bytes: saved.
        verified: files that were read a second time and were equal.
        created: the volume was made for it.
        warnings: worth knowing: powers that are only recorded, what is not known.
        failed: would be lost, and could not be saved.
    """

    container: str
    how: str
    destination: str
    manifest: Manifest
    files: int = 0
    bytes: int = 0
    verified: int = 0
    created: bool = False
    warnings: list[Note] = each(factory=list)
    failed: list[Note] = each(factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that would be lost is saved."""
        return not self.failed

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it; the entries are in the manifest."""
        return {
            "ok": self.ok,
            "container": self.container,
            "how": self.how,
            "destination": self.destination,
            "entries": len(self.manifest.entries),
            "files": self.files,
            "bytes": self.bytes,
            "verified": self.verified,
            "created": self.created,
            "unknown": self.manifest.unknown,
            "warnings": [note.to_dict() for note in self.warnings],
            "failed": [note.to_dict() for note in self.failed],
        }

    def report(self) -> RescueReport:
        """The same as the report of a transfer."""
        return RescueReport(
            "pull",
            [f"{self.container}:/"],
            self.destination,
            landed=[self.destination],
            files=self.files,
            entries=len(self.manifest.entries),
            bytes=self.bytes,
            created=self.files,
            warnings=self.warnings,
            failed=self.failed,
            verified=self.verified,
            rescued=self,
        )


class RescueReport(Report):
    """A `Report` of a rescue, with what the rescue says itself."""

    rescued: Rescued | None = None

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        assert self.rescued is not None
        said = {"container": show(self.rescued.container), "how": self.rescued.how}
        unknown = self.rescued.manifest.unknown
        return {**Report.to_dict(self), "rescue": {**said, "unknown": unknown}}


def rescue(
    engine: Engine,
    container: str,
    destination: str,
    how: str = "rm",
    *,
    caches: bool = True,
    unknown: bool = False,
    journal: Journal | None = None,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> Rescued:
    """Save what removing `container` in a certain way would lose.

    Args:
        engine: where it lives.
        container: name or id, in any state.
        destination: a directory that is not there yet (or is empty), a file `NAME.tar`, or
            `volume=NAME`; such a volume is made if there is none, and must be empty.
        how: one of `removal.WAYS`.
        caches: save caches, too.
        unknown: save, too, volumes of which it cannot be known whether they are lost.
        journal, meter, cancel: as everywhere.

    Raises:
        DestinationExists: there is something.
        PartialWrite: read a second time, something differs.
        VolcopyError: nothing has the final name.
    """
    meter, cancel = meter or Meter(), cancel or Cancel()
    found = forecast(engine, container, how, caches=caches)
    inspected = engine.container(found.id)
    manifest = Manifest(
        found.container, found.id, inspected.image, how, when(time()), deleted=found.deleted
    )
    done = Rescued(found.container, how, destination, manifest)
    items = list(found.lost)
    if unknown:
        items += found.unknown
    else:
        manifest.unknown = [item.to_dict() for item in found.unknown]
        for item in found.unknown:
            text = f"not saved: {item.why}; --unknown saves it"
            done.warnings.append(Note(item.volume or item.path, text, "unknown"))
    with sink_for(engine, destination, journal or Journal(), cancel) as sink:
        meter.bytes_total = sum(item.bytes or 0 for item in items)
        collector = _Collector(engine, inspected, found, sink, done, meter, cancel)
        collector.run(items)
        done.warnings += sink.notes
        manifest.missing = list(done.failed)
        done.verified = sink.check(manifest.entries)
        cancel.check()
        sink.commit(manifest.encode())
        done.created = sink.created
    return done


class _Collector:
    """Reads what is lost, part by part, into a sink."""

    def __init__(
        self,
        engine: Engine,
        container: Container,
        found: Forecast,
        sink: Sink,
        done: Rescued,
        meter: Meter,
        cancel: Cancel,
    ) -> None:
        self._engine = engine
        self._id = container.id
        self._targets = [clean(mount.target) for mount in container.mounts]
        self._targets += [clean(target) for target in container.tmpfs]
        self._found = found
        self._sink = sink
        self._done = done
        self._meter = meter
        self._cancel = cancel
        self._saved: dict[str, Saved] = {}
        self._parents: dict[str, Saved] = {}
        self._directories = {"/"}  # those the sink has
        self._orphans: list[tuple[str, str]] = []  # hard links whose first name is not in here

    def run(self, items: list[Item]) -> None:
        """Everything; the manifest gets entries and parents."""
        layer: list[Item] = []
        memory: dict[str, list[Item]] = {}
        volumes: dict[str, Item] = {}
        for item in items:
            if item.volume:
                if item.volume in volumes:
                    text = f"the same volume as at {volumes[item.volume].target}: saved once"
                    self._done.warnings.append(Note(item.target, text, "twice"))
                volumes.setdefault(item.volume, item)
            elif item.kind == "tmpfs" or not item.target:
                if item.kind == "tmpfs":
                    memory[item.target] = []  # nobody could look into it: all of it
                elif item.kind == Kind.SOCKET.value:
                    text = "a socket: there is nothing in it to be saved"
                    self._done.warnings.append(Note(item.path, text, "socket"))
                else:
                    layer.append(item)
            elif item.kind in ("bind", "named", "anonymous"):
                self._fail(item.path, "not saved: this kind of mount cannot be read by itself")
            else:
                memory.setdefault(item.target, []).append(item)
        for top, wanted in self._groups(layer):
            self._part(self._id, top, top, wanted)
        for target, inside in sorted(memory.items()):
            known = {i.path for i in inside if i.kind != Kind.SOCKET.value}
            self._part(self._id, target + "/.", target, known if inside else None, live=True)
        for name, item in sorted(volumes.items()):
            self._volume(name, item)
        manifest = self._done.manifest
        manifest.entries = [self._saved[path] for path in sorted(self._saved, key=_order)]
        manifest.parents = [self._parents[path] for path in sorted(self._parents, key=_order)]

    def _fail(self, path: str, text: str) -> None:
        self._done.failed.append(Note(path, text, "unreadable"))

    def _groups(self, items: list[Item]) -> Iterator[tuple[str, set[str]]]:
        """The layer's paths by archive: below a directory that is itself new, one for all.

        No archive is asked for that would bring what lies in a mount.
        """
        added = set()
        if len(items) > 1:
            added = {c.path for c in self._engine.changes(self._id) if c.kind == "A"}
        groups: dict[str, set[str]] = {}
        for item in items:
            top = item.path
            above = parent(top)
            while above in added and not self._holds_mount(above):
                top, above = above, parent(above)
            groups.setdefault(top, set()).add(item.path)
        yield from sorted(groups.items(), key=lambda group: _order(group[0]))

    def _holds_mount(self, path: str) -> bool:
        return any((target + "/").startswith(path.rstrip("/") + "/") for target in self._targets)

    def _volume(self, name: str, item: Item) -> None:
        """A whole volume, through a helper: it is the volume's own files, nothing mounted in it."""
        try:
            with self._engine.volume(name) as (helper, path):
                self._part(helper, path + "/.", item.target, None, volume=name)
        except NotFound:
            self._fail(item.target, f"volume {name} is gone")

    def _part(
        self,
        container: str,
        path: str,
        base: str,
        wanted: set[str] | None,
        *,
        volume: str = "",
        live: bool = False,
    ) -> None:
        """One archive into the sink; what was wanted and did not come is named."""
        self._above(base)
        try:
            reader = self._engine.open_archive(container, path, live=live)
        except NotFound:
            for missing in sorted(wanted or {base}):
                self._fail(missing, "vanished before it could be saved")
            return
        except VolcopyError as error:
            if not live:
                raise
            for missing in sorted(wanted or {base}):
                self._fail(missing, f"lies in memory and cannot be read: {error.message}")
            return
        self._read(reader, "." if path.endswith("/.") else base_name(path), base, wanted, volume)
        orphans, self._orphans = self._orphans, []
        for orphan, volume_of in orphans:
            if volume_of:
                inside = path[:-2] + orphan[len(base.rstrip("/")) :]
                self._single(container, inside, orphan, volume_of)
            else:
                self._single(container, orphan, orphan, "", live=live)
        for missing in sorted((wanted or set()) - set(self._saved)):
            self._fail(missing, "vanished, or could not be read")

    def _single(
        self, container: str, path: str, name: str, volume: str, *, live: bool = False
    ) -> None:
        """One file by itself: then the engine does not send it as a hard link."""
        try:
            reader = self._engine.open_archive(container, path, live=live)
        except NotFound:
            return
        self._read(reader, base_name(path), name, {name}, volume)

    def _read(
        self, reader: ArchiveReader, top: str, base: str, wanted: set[str] | None, volume: str
    ) -> None:
        above = _over(wanted or set())
        members = Members(top, Placement("/", ""), None, keep_links=True)
        tar = TarReader(reader)

        def step() -> Iterator[None]:
            for entry in tar:
                rel = members.admit(entry)
                assert rel is not None
                path = join(base, rel) if rel else base
                if entry.kind is Kind.HARDLINK:
                    entry.link = join(base, entry.link) if entry.link else base
                self._meter.current = path
                if wanted is None or path in wanted:
                    self._entry(entry, path, tar, volume)
                elif entry.kind is Kind.DIRECTORY and path in above:
                    # a new directory of the layer; the root of a mount is no data
                    self._directory(entry, path, volume, is_parent=path in self._targets)
                yield

        reading(reader, self._cancel, step)

    def _entry(self, entry: Entry, path: str, tar: TarReader, volume: str) -> None:
        """One path that is to be saved."""
        if entry.kind is Kind.DIRECTORY:
            self._directory(entry, path, volume)
            return
        saved = Saved.of(path, entry, volume=volume)
        if entry.kind in SPECIAL:
            saved.left_out = f"a {entry.kind.value}: recorded, not saved"
            self._done.warnings.append(Note(path, saved.left_out, "special"))
            self._saved[path] = saved
            return
        if entry.kind is Kind.HARDLINK:
            first = self._saved.get(entry.link)
            if first is None or first.kind is not Kind.FILE:
                self._orphans.append((path, volume))
                return
            saved.size, saved.sha256, saved.link = first.size, first.sha256, first.path
            saved.mode, saved.xattrs = first.mode, dict(first.xattrs)
        if saved.kind is Kind.FILE and saved.mode & SET_ID:
            text = "has a set-id bit: recorded, not set here"
            self._done.warnings.append(Note(path, text, "setuid"))
        if entry.xattrs:
            text = f"has {', '.join(sorted(entry.xattrs))}: recorded, not set here"
            self._done.warnings.append(Note(path, text, "capability"))
        digest = sha256()

        def content(write: Callable[[memoryview], object]) -> int:
            def piece(data: memoryview) -> None:
                digest.update(data)
                write(data)
                self._meter.bytes += len(data)
                if self._cancel.asked:
                    self._cancel.check()

            return tar.read(piece)

        self._sink.add(_tame(entry, path), content if entry.kind is Kind.FILE else None)
        if entry.kind is Kind.FILE:
            saved.sha256 = digest.hexdigest()
            self._done.files += 1
            self._done.bytes += entry.size
        self._meter.entries += 1
        self._saved[path] = saved

    def _directory(self, entry: Entry, path: str, volume: str, *, is_parent: bool = False) -> None:
        saved = Saved.of(path, entry, volume=volume)
        if is_parent:
            self._parents.setdefault(path, saved)
        else:
            self._parents.pop(path, None)
            self._saved[path] = saved
        if path not in self._directories:
            self._directories.add(path)
            self._sink.add(_tame(entry, path), None)

    def _above(self, base: str) -> None:
        """Directories above `base` which the sink does not have yet.

        Asked before the archive is opened: while one is open, the engine holds the container.
        """
        for path in _ancestors(base):
            if path not in self._directories:
                self._directory(self._head(path), path, "", is_parent=True)

    def _head(self, path: str) -> Entry:
        """What a directory is, from the first header of its archive."""
        try:
            reader = self._engine.open_archive(self._id, path)
            try:
                for entry in TarReader(reader):
                    if entry.kind is Kind.DIRECTORY:
                        return entry
                    break
            finally:
                reader.close()
        except VolcopyError:
            pass  # in memory, or gone: what is below it is saved all the same
        return Entry("", Kind.DIRECTORY, 0o755, mtime_ns=0)


def _tame(entry: Entry, path: str) -> Entry:
    """The entry as a rescue holds it: named by its path, no power in it."""
    mode = entry.mode & (0o1777 if entry.kind is Kind.DIRECTORY else 0o777)
    name = DATA + path if path != "/" else DATA
    link = DATA + entry.link if entry.kind is Kind.HARDLINK else entry.link
    return replace(entry, name=name, mode=mode, link=link, xattrs={}, uname="", gname="")


def _order(path: str) -> list[bytes]:
    """Sorts parents before children, by bytes of name."""
    return [os.fsencode(part) for part in path.split("/")]


def _ancestors(path: str) -> list[str]:
    """The directories above `path`, outermost first, without `/`."""
    out = []
    path = parent(path)
    while path != "/":
        out.append(path)
        path = parent(path)
    return out[::-1]


def _over(paths: set[str]) -> set[str]:
    """Every directory above any of `paths`."""
    return {above for path in paths for above in _ancestors(path)}
