"""Where a rescue is written: a directory, a tar, or a volume. Nothing has its name before the end.

A sink takes entries named `data/...`, parents first; then everything is read a second time and
compared; then the manifest is added and the whole gets its name. A volume gets the manifest last:
`restore` takes nothing without one.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from types import TracebackType

from jupyter_volcopy.core.control import Cancel
from jupyter_volcopy.core.endpoint import LocalPath, VolumePath, parse_endpoint
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.keep_manifest import DATA, MANIFEST, Saved
from jupyter_volcopy.core.localfs import local_stat
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import base_name, clean, parent
from jupyter_volcopy.core.push import Item, send
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.stage import Stage
from jupyter_volcopy.core.tar_writer import END, encode_entry, padding
from jupyter_volcopy.core.transfer_held import (
    FinalFile,
    Held,
    compare,
    fill,
    write_all,
)
from jupyter_volcopy.core.volumes import exists, is_empty
from jupyter_volcopy.errors import (
    DestinationExists,
    NoSuchPath,
    NotADirectory,
    PartialWrite,
    UsageError,
    VolcopyError,
)

__all__ = ["Sink", "sink_for", "volume_named"]

Read = Callable[[Callable[[memoryview], object]], int]
_PIECE = 1 << 20


class Sink(ABC):
    """A rescue while it is written.

    Attributes:
        created: a volume was made for it.
        notes: said by the place itself.
    """

    created = False

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    @abstractmethod
    def add(self, entry: Entry, read: Read | None) -> None:
        """One entry, named `data/...`; its directory was added before."""

    @abstractmethod
    def check(self, entries: Iterable[Saved]) -> int:
        """Read everything a second time; returns the number of files compared.

        Raises:
            PartialWrite: something differs.
        """

    @abstractmethod
    def commit(self, manifest: bytes) -> None:
        """Add the manifest, and give the whole its name."""

    @abstractmethod
    def abort(self) -> None:
        """Remove everything, unless it was committed. May be called at any time."""


def volume_named(text: str) -> str:
    """The volume that `volume=NAME` (or `volume=NAME:/`) names; "" for anything else.

    Raises:
        UsageError: a path inside of a volume.
    """
    if not text.startswith("volume="):
        return ""
    endpoint = parse_endpoint(text if ":" in text else text + ":/")
    if not isinstance(endpoint, VolumePath):
        return ""
    if clean(endpoint.path) != "/":
        raise UsageError(f"{text!r}: a rescue takes a whole volume", hint="write volume=NAME")
    return endpoint.volume


def sink_for(engine: Engine, destination: str, journal: Journal, cancel: Cancel) -> Sink:
    """The sink that `destination` names.

    Raises:
        UsageError: it names no place for a rescue.
        DestinationExists, NoSuchPath: what is there, or not there.
    """
    volume = volume_named(destination)
    if volume:
        return _VolumeSink(engine, volume, journal, cancel)
    if not destination or not isinstance(parse_endpoint(destination), LocalPath):
        raise UsageError(
            f"{destination!r} is no place for a rescue",
            hint="name a directory, a file NAME.tar, or volume=NAME",
        )
    if destination.endswith((".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")):
        raise UsageError(f"{destination!r}: a rescue is a plain tar", hint="name it NAME.tar")
    if destination.endswith(".tar"):
        return _TarSink(FinalFile(destination, journal, replace=False))
    return _DirectorySink(destination, journal)


class _DirectorySink(Sink):
    """A directory on this machine, only its owner may enter it.

    Root keeps the numeric owners; anybody else can keep the data only, and can read all of it.
    """

    def __init__(self, path: str, journal: Journal) -> None:
        super().__init__()
        path = clean(os.path.abspath(path))
        if path == "/":
            raise UsageError("/ is no place for a rescue")
        found = local_stat(path)
        if found is not None and not found.is_dir:
            raise NotADirectory(f"not a directory: {path!r}", hint="choose another name")
        if found is not None and os.listdir(path):
            raise DestinationExists(
                f"{path} is not empty", hint="name a directory that is not there yet"
            )
        if local_stat(parent(path), follow=True) is None:
            raise NoSuchPath(
                f'invalid output path: directory "{parent(path)}" does not exist',
                hint="make it first",
            )
        self._root = os.geteuid() == 0
        self._stage = Stage(
            parent(path),
            base_name(path),
            safe=True,
            owner="keep" if self._root else None,
            journal=journal,
            durable=True,
        )
        if not self._root:
            text = "owners are only in the manifest: only root can set them"
            self.notes.append(Note(path, text, "owner"))
        now = Entry("", Kind.DIRECTORY, 0o700, os.geteuid(), os.getegid(), mtime_ns=_now())
        self._stage.add(now, "")
        data = Entry(DATA, Kind.DIRECTORY, 0o755, os.geteuid(), os.getegid(), mtime_ns=_now())
        self._stage.add(data, DATA)

    def add(self, entry: Entry, read: Read | None) -> None:
        """Into the staged tree."""
        if not self._root and entry.kind in (Kind.DIRECTORY, Kind.FILE):
            entry.mode |= 0o700 if entry.kind is Kind.DIRECTORY else 0o600
        self._stage.add(entry, entry.name, read)

    def check(self, entries: Iterable[Saved]) -> int:
        """From the disk."""
        wrong, good = [], 0
        with self._stage.staged() as tree:
            for saved in entries:
                if not saved.has_content:
                    continue
                try:
                    fd = tree.open_file(DATA + saved.path)
                except VolcopyError:
                    wrong.append(saved.path)
                    continue
                try:
                    same = _hash(fd) == saved.sha256
                finally:
                    os.close(fd)
                if same:
                    good += saved.kind is Kind.FILE
                else:
                    wrong.append(saved.path)
        _refuse(wrong)
        return good

    def commit(self, manifest: bytes) -> None:
        """One rename, where the directory is new."""
        size = len(manifest)
        entry = Entry(MANIFEST, Kind.FILE, 0o600, os.geteuid(), os.getegid(), size, _now())

        def read(write: Callable[[memoryview], object]) -> int:
            write(memoryview(manifest))
            return size

        self._stage.add(entry, MANIFEST, read)
        self._stage.check()
        self._stage.commit()

    def abort(self) -> None:
        """Nothing stays."""
        self._stage.abort()


class _TarSink(Sink):
    """A tar: `data/...`, then `manifest.json`."""

    def __init__(self, file: FinalFile) -> None:
        super().__init__()
        self._file = file
        self.add(Entry(DATA, Kind.DIRECTORY, 0o755, mtime_ns=_now()), None)

    def add(self, entry: Entry, read: Read | None) -> None:
        """Header and content."""
        self._file.write(encode_entry(entry))
        if read is not None:
            read(self._file.write)
            self._file.write(padding(entry.size))

    def check(self, entries: Iterable[Saved]) -> int:
        """From the disk."""
        self._file.write(END)
        return _check_tar(self._file.fd, entries)

    def commit(self, manifest: bytes) -> None:
        """The manifest in place of the end mark, a new end mark, the name."""
        os.lseek(self._file.fd, -len(END), os.SEEK_END)
        entry = Entry(MANIFEST, Kind.FILE, 0o600, size=len(manifest), mtime_ns=_now())
        self._file.write(encode_entry(entry) + manifest + padding(len(manifest)) + END)
        self._file.commit()

    def abort(self) -> None:
        """Nothing stays."""
        self._file.abort()


class _VolumeSink(Sink):
    """A volume, its owners kept. First everything is taken in here, then sent."""

    def __init__(self, engine: Engine, name: str, journal: Journal, cancel: Cancel) -> None:
        super().__init__()
        self._engine = engine
        self._name = name
        self._journal = journal
        self._cancel = cancel
        self._stack = ExitStack()
        self._filled = self._done = False
        make = not exists(engine, name)
        try:
            self._place = self._stack.enter_context(
                engine.volume(name, create=True) if make else engine.volume(name)
            )
            if not make and not is_empty(engine, self._place):
                raise DestinationExists(
                    f"volume {name} is not empty",
                    hint="name another one; one that is not there is made",
                )
            self._file = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        self.created = make
        self.add(Entry(DATA, Kind.DIRECTORY, 0o755, mtime_ns=_now()), None)

    def _write(self, piece: memoryview | bytes) -> None:
        write_all(self._file.fileno(), piece)

    def add(self, entry: Entry, read: Read | None) -> None:
        """Into the file."""
        self._write(encode_entry(entry))
        if read is not None:
            read(self._write)
            self._write(padding(entry.size))

    def check(self, entries: Iterable[Saved]) -> int:
        """Send it, and read it back from the volume."""
        self._write(END)
        good = _check_tar(self._file.fileno(), entries)
        held = Held(self._file)
        self._filled = True
        fill(self._engine, self._place, held, journal=self._journal, cancel=self._cancel)
        what = f"volume {self._name}"
        compare(self._engine, self._place, held.facts(), what=what, cancel=self._cancel)
        return good

    def commit(self, manifest: bytes) -> None:
        """The manifest makes it a rescue."""

        def opened() -> tuple[int, int]:
            with tempfile.TemporaryFile() as file:
                write_all(file.fileno(), manifest)
                return os.dup(file.fileno()), 0

        container, root = self._place
        entry = Entry(MANIFEST, Kind.FILE, 0o600, size=len(manifest), mtime_ns=_now())
        items: Iterator[Item] = iter((Item(entry, opened),))
        send(self._engine, container, root, items, journal=self._journal)
        self._done = True
        self._stack.close()

    def abort(self) -> None:
        """A volume that was made goes, one that was empty is empty again."""
        if self._done:
            return
        self._done = True
        error = PartialWrite("not committed")
        try:
            self._stack.__exit__(type(error), error, None)
        finally:
            if self._filled and not self.created:
                self._engine.empty_volume(self._name)


def _check_tar(fd: int, entries: Iterable[Saved]) -> int:
    with os.fdopen(os.dup(fd), "rb") as file:
        facts = Held(file).facts()
    wrong, good = [], 0
    for saved in entries:
        if saved.has_content:
            fact = facts.get(DATA + saved.path)
            if fact is None or fact.sha256 != saved.sha256:
                wrong.append(saved.path)
            else:
                good += saved.kind is Kind.FILE
    _refuse(wrong)
    return good


def _refuse(wrong: list[str]) -> None:
    if wrong:
        raise PartialWrite(
            f"{len(wrong)} files were read a second time and differ, the first is {wrong[0]!r}",
            hint="the disk is not sound; nothing was kept",
            entries=wrong[:100],
        )


def _hash(fd: int) -> str:
    digest = sha256()
    while piece := os.read(fd, _PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _now() -> int:
    from time import time

    return int(time()) * 1_000_000_000
