"""Handing out: one file or directory into many containers, and nobody's edits are ever overwritten.

What becomes of each file, compared with what is there (the rules of nbgitpuller):

- nothing there: it is put there, also where it was there before and was deleted;
- the same bytes: nothing is done;
- the bytes of any version that was ever handed out there: replaced by the new one;
- anything else is somebody's work: kept, and the new one is put beside it, its name with a few
  digits of its hash in it (`answer.new-1a2b3c4d.ipynb`), once.

So a second run does only what is left, and a run that was cut needs nothing but another. Which
bytes were ever handed out is remembered here, by the place, never in the containers.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.endpoint import ContainerPath, LocalPath
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.journal import state_directory
from jupyter_volcopy.core.localfs import Tree, local_error
from jupyter_volcopy.core.many import (
    Acting,
    File,
    Goal,
    Limits,
    ManyReport,
    Outcome,
    acting,
    filled,
    for_each,
    no_links,
)
from jupyter_volcopy.core.model import Container, Kind, ListedEntry
from jupyter_volcopy.core.paths import base_name, clean, decode, encode, join, parent
from jupyter_volcopy.core.record import Value
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.errors import (
    Conflict,
    LimitExceeded,
    NoSuchPath,
    UsageError,
    VolcopyError,
)

__all__ = ["hand_out"]

_BLOCK = 1 << 20
_WHOLE = 16 << 20  # a directory of so much more than is needed is still read in one go


class _Item(Value):
    """One file of the source. `rel` is below the place it goes to."""

    rel: str
    size: int
    sha256: str


class _Source:
    """What is handed out, looked at once and kept apart, so that all get the same.

    Attributes:
        name: of the top.
        items: files by their path, which begins with `name`.
        directories: paths of all directories.
        notes: what is left out.
    """

    def __init__(self, path: str, room: str, limits: Limits) -> None:
        self.name = base_name(clean(os.path.abspath(path)))
        self.items: dict[str, _Item] = {}
        self.directories: list[str] = []
        self.notes: list[Note] = []
        self._room = room
        self._lock = threading.Lock()
        self._sets: dict[tuple[str, ...], str] = {}
        self._modes: dict[str, tuple[int, int]] = {}
        size = 0
        top = parent(clean(os.path.abspath(path)))
        with Tree.open(top) as tree:
            for entry in tree.walk(self.name):
                if entry.error is not None:
                    raise entry.error
                assert entry.stat is not None
                if entry.kind is Kind.DIRECTORY:
                    self.directories.append(entry.rel)
                elif entry.kind is Kind.FILE:
                    size += entry.stat.st_size
                    if size > limits.bytes or len(self.items) >= limits.entries:
                        raise LimitExceeded(
                            f"{path} holds more than {limits.bytes} bytes or {limits.entries} "
                            "files",
                            hint="hand out less, or raise the limits",
                        )
                    self._keep(tree, entry.rel, entry.stat)
                else:
                    self.notes.append(
                        Note(entry.rel, f"a {entry.kind.value} is not handed out", "special")
                    )
        if not self.items and not self.directories:
            raise UsageError(f"nothing to hand out at {path}")

    def _keep(self, tree: Tree, rel: str, stat: os.stat_result) -> None:
        """Copy the bytes aside, under their hash."""
        digest = hashlib.sha256()
        temporary = os.path.join(self._room, "incoming")
        fd = tree.open_file(rel)
        try:
            size = 0
            with open(temporary, "wb") as out, open(fd, "rb", closefd=False) as source:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    out.write(block)
                    size += len(block)
                os.fchmod(out.fileno(), stat.st_mode & 0o777)
            os.utime(temporary, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
            name = digest.hexdigest()
            os.replace(temporary, os.path.join(self._room, f"{name}-{stat.st_mode & 0o777:o}"))
        except OSError as error:
            raise local_error(error, "write", "a temporary copy of what is handed out") from None
        finally:
            os.close(fd)
        self.items[rel] = _Item(rel, size, name)
        self._modes[rel] = stat.st_mode & 0o777, stat.st_mtime_ns

    def tree(self, wanted: dict[str, str], *, directories: bool) -> str:
        """A directory that holds `name` with just some files.

        Args:
            wanted: path in the container below its directory -> path of the item.
            directories: with all directories of the source, empty ones too.
        """
        key = (str(directories), *(f"{to}\0{rel}" for to, rel in sorted(wanted.items())))
        with self._lock:
            found = self._sets.get(key)
            if found is None:
                found = os.path.join(self._room, f"set{len(self._sets)}")
                self._make(found, wanted, directories)
                self._sets[key] = found
        return found

    def _make(self, top: str, wanted: dict[str, str], directories: bool) -> None:
        try:
            os.mkdir(top, 0o755)
            needed = {parent("/" + to).strip("/") for to in wanted}
            for rel in [*(self.directories if directories else ()), *sorted(needed)]:
                os.makedirs(encode(os.path.join(top, rel)), 0o755, exist_ok=True)
            for to, rel in wanted.items():
                mode, mtime = self._modes[rel]
                kept = os.path.join(self._room, f"{self.items[rel].sha256}-{mode:o}")
                target = encode(os.path.join(top, to))
                shutil.copyfile(kept, target)
                os.chmod(target, mode)
                os.utime(target, ns=(mtime, mtime))
        except OSError as error:
            raise local_error(error, "write", "a temporary copy of what is handed out") from None


class _Memory:
    """Which bytes were ever handed out at a place: path -> hashes, with their sizes."""

    def __init__(self, place: str, directory: str | None) -> None:
        base = directory or parent(state_directory()) + "/handout"
        name = hashlib.sha256(encode(place)).hexdigest()[:32]
        self._path = f"{base}/{name}.json"
        self.known: dict[str, dict[str, int]] = {}

    def learn(self, items: dict[str, _Item]) -> None:
        """Remember these, beside all before.

        Raises:
            LocalError: it cannot be written down; then nothing is handed out.
        """
        try:
            os.makedirs(encode(parent(self._path)), 0o700, exist_ok=True)
            fd = os.open(encode(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with open(fd, "r+", encoding="utf-8", errors="surrogateescape") as file:
                fcntl.flock(fd, fcntl.LOCK_EX)
                try:
                    known = json.loads(file.read() or "{}")["files"]
                except (ValueError, KeyError, TypeError):
                    known = {}
                for rel, item in items.items():
                    known.setdefault(rel, {})[item.sha256] = item.size
                file.seek(0)
                file.truncate()
                file.write(json.dumps({"files": known}))
        except OSError as error:
            raise local_error(error, "write", self._path) from None
        self.known = known


def hand_out(
    engine: Engine,
    source: str,
    goals: Sequence[Goal],
    into: str = "",
    *,
    limits: Limits | None = None,
    overwrite: bool = False,
    who: Acting | None = None,
    memory: str | None = None,
    room: str | None = None,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> ManyReport:
    """Put a local file or directory into many containers.

    Args:
        engine: with an administrator's rights.
        source: local path.
        goals: the containers.
        into: existing directory there, absolute, with `{user}` and `{server}`; "" for the working
            directory of each container.
        limits: for each container.
        overwrite: replace also what somebody changed.
        who: as whom to work in a container.
        memory: directory in which is remembered what was handed out; None: this user's state.
        room: directory for temporary copies; None: the system's.
        meter, cancel: to watch and to stop it.

    Raises:
        VolcopyError: nothing can be handed out at all.
    """
    limits = limits or Limits()
    for goal in goals[:1]:
        if into:
            filled(into, goal)  # what makes no sense is said before anything begins
    report = ManyReport("push", [source], into)
    cancel = cancel or Cancel()
    with tempfile.TemporaryDirectory(prefix="volcopy-handout-", dir=room) as temporary:
        what = _Source(source, temporary, limits)
        report.warnings += what.notes
        remembered = _Memory(join(into or "/~", what.name), memory)
        remembered.learn(what.items)

        def one(goal: Goal, outcome: Outcome, mine: Cancel) -> None:
            _One(engine, what, remembered, goal, outcome, mine, limits, overwrite).run(into, who)

        return for_each(goals, one, report, limits=limits, meter=meter or Meter(), cancel=cancel)


class _One:
    """Handing out to one container."""

    def __init__(
        self,
        engine: Engine,
        source: _Source,
        memory: _Memory,
        goal: Goal,
        outcome: Outcome,
        cancel: Cancel,
        limits: Limits,
        overwrite: bool,
    ) -> None:
        self.root = engine
        self.source = source
        self.memory = memory
        self.goal = goal
        self.outcome = outcome
        self.cancel = cancel
        self.limits = limits
        self.overwrite = overwrite

    def run(self, into: str, who: Acting | None) -> None:
        """Look, decide, put."""
        with acting(self.root, self.goal, who) as (self.engine, self.container, self.copier):
            self._run(into)

    def _run(self, into: str) -> None:
        directory = filled(into, self.goal) if into else _working_directory(self.container)
        top = join(directory, self.source.name)
        no_links(self.engine, self.container, top)
        there = self._there(directory, top)
        hashes = self._hashes(directory, top, there)
        fresh: dict[str, str] = {}
        newer: dict[str, str] = {}
        put: dict[str, File] = {}
        refused: list[str] = []
        for rel, item in self.source.items.items():
            found = there.get(rel)
            blocked = self._blocked(rel, there)
            if blocked or (found is not None and found.kind is not Kind.FILE):
                refused.append(blocked or rel)
                continue
            sha = hashes.get(rel, "")
            if found is None:
                fresh[rel] = rel
                put[rel] = File(rel, "new", item.sha256, item.size)
            elif sha == item.sha256:
                self.outcome.files.append(File(rel, "same", sha, item.size))
            elif self.overwrite or sha in self.memory.known.get(rel, {}):
                newer[rel] = rel
                put[rel] = File(rel, "replaced", item.sha256, item.size)
            else:
                self.outcome.files.append(File(join(directory, rel), "kept", sha, found.size))
                beside = _beside(rel, item.sha256)
                if beside not in there:
                    fresh[beside] = rel
                    put[beside] = File(beside, "beside", item.sha256, item.size)
        missing = any(rel not in there for rel in self.source.directories)
        if fresh or missing:
            self._put(self.source.tree(fresh, directories=missing), directory, no_clobber=True)
            self._done(put, fresh)
        if newer:
            self._put(self.source.tree(newer, directories=False), directory)
            self._done(put, newer)
        kept = any(item.action == "kept" for item in self.outcome.files)
        self.outcome.state = "kept" if kept else "done" if fresh or newer or missing else "same"
        if refused:
            raise Conflict(
                f"{join(directory, refused[0])} is in the way: it is not what is handed out there"
                + (f", and {len(refused) - 1} more" if len(refused) > 1 else ""),
                hint="everything else was handed out",
            )

    def _done(self, put: dict[str, File], names: dict[str, str]) -> None:
        """What arrived, and only that, counts."""
        for name in names:
            self.outcome.files.append(put[name])
            self.outcome.bytes += put[name].size

    def _blocked(self, rel: str, there: dict[str, ListedEntry]) -> str:
        """The path above `rel` at which there is something that is no directory."""
        above = parent("/" + rel).strip("/")
        while above:
            found = there.get(above)
            if found is not None:
                return "" if found.kind is Kind.DIRECTORY else above
            above = parent("/" + above).strip("/")
        return ""

    def _there(self, directory: str, top: str) -> dict[str, ListedEntry]:
        """What is there already, by paths below `directory`."""
        self.cancel.check()
        name = self.source.name
        try:
            stat = self.engine.stat(self.container.id, top)
        except NoSuchPath:
            return {}  # whether its directory is one, the copy sees
        own = ListedEntry(name, stat.kind, stat.mode, 0, 0, stat.size, stat.mtime_ns)
        if stat.kind is not Kind.DIRECTORY:
            return {name: own}
        listing = self.engine.list_dir(self.container.id, top, recursive=True)
        if len(listing.entries) > 20 * self.limits.entries:
            raise LimitExceeded(f"{top} there has {len(listing.entries)} entries")
        return {name: own, **{f"{name}/{item.name}": item for item in listing.entries}}

    def _hashes(self, directory: str, top: str, there: dict[str, ListedEntry]) -> dict[str, str]:
        """Hashes of those files there that may be ours: the others differ in size already."""
        wanted: dict[str, ListedEntry] = {}
        for rel, item in self.source.items.items():
            found = there.get(rel)
            if found is None or found.kind is not Kind.FILE:
                continue
            if found.size in (item.size, *self.memory.known.get(rel, {}).values()):
                wanted[rel] = found
        if not wanted:
            return {}
        size = sum(item.size for item in wanted.values())
        whole = sum(item.size for item in there.values() if item.kind is Kind.FILE)
        found_hashes: dict[str, str] = {}
        if whole <= 2 * size + _WHOLE and len(wanted) > 1:
            self._read(top, parent("/" + self.source.name).strip("/"), wanted, found_hashes)
        else:
            for rel in wanted:
                self._read(join(directory, rel), parent("/" + rel).strip("/"), wanted, found_hashes)
        return found_hashes

    def _read(
        self, path: str, above: str, wanted: dict[str, ListedEntry], into: dict[str, str]
    ) -> None:
        """Hash the wanted files in the archive of `path`."""
        self.cancel.check()
        reader = self.engine.open_archive(self.container.id, path)
        try:
            with self.cancel.closing(reader.close):
                archive = TarReader(
                    reader,
                    max_entries=20 * self.limits.entries,
                    max_bytes=2 * self.limits.bytes + _WHOLE,
                )
                for entry in archive:
                    rel = f"{above}/{entry.name}" if above else entry.name
                    if entry.kind is Kind.FILE and rel in wanted:
                        digest = hashlib.sha256()
                        archive.read(digest.update)
                        into[rel] = digest.hexdigest()
        except VolcopyError:
            self.cancel.check()
            raise
        finally:
            reader.close()

    def _put(self, tree: str, directory: str, no_clobber: bool = False) -> None:
        self.cancel.check()
        self.copier.copy(
            LocalPath(join(tree, self.source.name)),
            ContainerPath(self.container.id, directory.rstrip("/") + "/"),
            cancel=self.cancel,
            safe=True,
            verify=True,
            no_clobber=no_clobber,
        )


def _beside(rel: str, sha256: str) -> str:
    """The name beside an edited file: the ending stays, so that it opens as the file does."""
    above, slash, name = rel.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    room = 255 - len(encode(f".new-{sha256[:8]}{dot}{ending}"))
    stem = decode(encode(stem)[:room])
    return f"{above}{slash}{stem}.new-{sha256[:8]}{dot}{ending}"


def _working_directory(container: Container) -> str:
    config = container.raw.get("Config") or {}
    found = str(config.get("WorkingDir") or "")
    if not found.startswith("/") or clean(found) == "/":
        raise UsageError(
            f"{container.name} has no working directory of its own", hint="say into which directory"
        )
    return clean(found)
