"""What is at the destination already: for `--update`, `--no-clobber` and `--backup`.

Two entries count as the same when kind, size, mode and modification time (whole seconds: all that
an archive carries) are, and the text of a link; with `--checksum` contents are compared in place of
times. `Standing` looks in a container, by listing it (a program lists where one can, else the
headers of its archive are read); `Local` looks here. `LeftOut` is what a stream of entries is held
against: filters and sameness, and which hard links lost what they point to.
"""

from __future__ import annotations

import hashlib
import os
import stat as stat_bits
from collections.abc import Callable, Iterable, Iterator

from jupyter_volcopy.core.localfs import kind_of
from jupyter_volcopy.core.model import Entry, Kind, ListedEntry
from jupyter_volcopy.core.options import CopyOptions
from jupyter_volcopy.core.paths import base_name, decode, encode, join
from jupyter_volcopy.core.plan import Placement
from jupyter_volcopy.core.push import Item
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.transfer import ROOT_USER, Place, Run
from jupyter_volcopy.errors import Conflict, EngineError, NoSuchPath, NotADirectory

__all__ = [
    "EQUAL",
    "EXISTS",
    "LeftOut",
    "Local",
    "Standing",
    "container_digests",
    "file_digest",
    "same",
]

_SECOND = 1_000_000_000
_TOPS = 32  # names listed one by one where contents are merged into a directory
_BLOCK = 1 << 20

EQUAL = "the same already (--update)"
EXISTS = "exists already (--no-clobber)"


def file_digest(fd: int, offset: int = 0, size: int | None = None) -> bytes:
    """SHA-256 of an open file, or of `size` bytes of it from `offset`."""
    digest = hashlib.sha256()
    left = -1 if size is None else size
    while left:
        piece = os.pread(fd, _BLOCK if left < 0 else min(left, _BLOCK), offset)
        if not piece:
            break
        digest.update(piece)
        offset += len(piece)
        if left > 0:
            left -= len(piece)
    return digest.digest()


def container_digests(
    run: Run, place: Place, path: str, wanted: Callable[[str], bool] | None = None
) -> dict[str, bytes]:
    """SHA-256 of every file of a tree in a container, read as an archive, in any state.

    Args:
        run: the transfer.
        place: the container's side.
        path: absolute, cleaned; a `/.` at the end follows a link.
        wanted: which paths below it to hash; None: all.

    Returns:
        Digest by path below it; "" is a file named by `path` itself.
    """
    live = place.reach.is_live(path.removesuffix("/.") or "/") and place.container.running
    found: dict[str, bytes] = {}
    reader = run.engine.open_archive(place.container.id, path, live=live)
    try:
        with run.cancel.closing(reader.close):
            tar = TarReader(reader)
            top = None
            for entry in tar:
                run.cancel.check()
                if top is None:
                    top = entry.name
                rel = entry.name[len(top) :].lstrip("/")
                if entry.kind is Kind.HARDLINK:
                    first = entry.link[len(top) :].lstrip("/")
                    if first in found:
                        found[rel] = found[first]
                elif entry.kind is Kind.FILE and (wanted is None or wanted(rel)):
                    digest = hashlib.sha256()
                    tar.read(digest.update)
                    found[rel] = digest.digest()
    finally:
        reader.close()
    return found


def same(
    options: CopyOptions,
    entry: Entry,
    there: ListedEntry,
    *,
    owner: tuple[int, int] | None,
    digests: Callable[[], bool] | None,
) -> bool:
    """Whether `entry` need not be copied, since `there` is the same.

    Args:
        options: `safe`, `checksum`.
        entry: what would be copied; of a hard link, with the size of its file.
        there: what stands at the destination.
        owner: the owner it has to have, or None where that does not count.
        digests: with `checksum`: whether the contents are the same; asked last.
    """
    kind = Kind.FILE if entry.kind is Kind.HARDLINK else entry.kind
    if kind is not there.kind:
        return False
    if owner is not None and owner != (there.uid, there.gid):
        return False
    if kind is Kind.SYMLINK:
        return entry.link == there.link_target
    mode = entry.mode & (0o777 if options.safe else 0o7777)
    if mode != there.mode:
        return False
    if kind is Kind.FIFO:
        return True
    stamp = max(0, entry.mtime_ns) // _SECOND
    if kind is Kind.DIRECTORY:
        return stamp == there.mtime_ns // _SECOND
    if kind is not Kind.FILE or entry.size != there.size:
        return False
    if digests is not None:
        return digests()
    return stamp == there.mtime_ns // _SECOND


class Standing:
    """What stands in a container where something is pushed.

    Args:
        run: the transfer; its options say what is to be left out.
        destination: the container's side.
        placement: where the top lands.
        owner: owner of everything sent, or None.
        tops: names (relative to the placement's directory) of what is sent, and whether they are
            directories: the source itself, or what is in it if its contents are merged.

    Attributes:
        changed: something is there to be sent, as far as `leave` was asked.
    """

    def __init__(
        self,
        run: Run,
        destination: Place,
        placement: Placement,
        *,
        owner: tuple[int, int] | None,
        tops: Iterable[tuple[str, Kind]],
    ) -> None:
        self._run = run
        self._destination = destination
        self._placement = placement
        self._owner = owner
        self._live = destination.reach.is_live(placement.path)
        self._user = ROOT_USER if self._live and destination.container.running else None
        self._there: dict[str, ListedEntry] = {}
        self._decided: dict[str, Note | None] = {}
        self._digests: dict[str, bytes] | None = None
        self.changed = False
        names = list(tops)
        if len(names) > _TOPS and not placement.name:
            self._list("")
        else:
            for name, kind in names:
                self._look(name, kind)

    @staticmethod
    def wanted(options: CopyOptions) -> bool:
        """Whether the options need to know what stands there."""
        return options.update or options.no_clobber or options.backup

    def kinds(self) -> dict[str, Kind]:
        """Every name that stands there, as far as the copy may meet it."""
        return {name: item.kind for name, item in self._there.items()}

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that stands there."""
        return {name: i.size for name, i in self._there.items() if i.kind is Kind.FILE}

    def _look(self, name: str, kind: Kind) -> None:
        engine, identity = self._run.engine, self._destination.container.id
        path = join(self._placement.directory, name) if name else self._placement.directory
        try:
            found = engine.stat(identity, path, user=self._user)
        except (NoSuchPath, NotADirectory):
            return
        except EngineError as error:
            if "too many links" not in error.message:
                raise
            self._there[name] = ListedEntry(name, Kind.SYMLINK, 0, 0, 0, 0, 0)
            return
        options = self._run.options
        facts = ListedEntry(
            name,
            found.kind,
            found.mode,
            -1 if found.uid is None else found.uid,
            -1 if found.gid is None else found.gid,
            found.size,
            found.mtime_ns,
        )
        if found.is_dir:
            self._there[name] = facts
            if kind is Kind.DIRECTORY:
                self._list(name)
            return
        needs_owner = options.backup or self._owner is not None
        if not self._live and (needs_owner or found.kind is Kind.SYMLINK):
            reader = engine.open_archive(identity, path)
            try:
                for entry in TarReader(reader):
                    facts = ListedEntry(
                        name,
                        entry.kind,
                        entry.mode,
                        entry.uid,
                        entry.gid,
                        entry.size,
                        entry.mtime_ns,
                        entry.link,
                    )
                    break
            finally:
                reader.close()
        self._there[name] = facts

    def _list(self, name: str) -> None:
        path = join(self._placement.directory, name) if name else self._placement.directory
        try:
            listing = self._run.engine.list_dir(
                self._destination.container.id, path, recursive=True, user=self._user
            )
        except (NoSuchPath, NotADirectory):
            return
        options = self._run.options
        if not listing.complete and (options.no_clobber or options.backup):
            raise EngineError(
                f"{path} could not be listed completely, so it is not known what must be kept",
                hint="nothing was changed; try again when nobody removes files there",
            )
        for item in listing.entries:
            self._there[f"{name}/{item.name}" if name else item.name] = item

    def leave(self, entry: Entry, digest: Callable[[], bytes]) -> Note | None:
        """Why `entry` is not sent; None if it is. Its name is relative to the directory.

        Args:
            entry: of a hard link, with the size of its file.
            digest: SHA-256 of its content here; only called with `--checksum`.
        """
        name = entry.name
        if name in self._decided:
            return self._decided[name]
        note = self._decide(entry, digest)
        self._decided[name] = note
        return note

    def _decide(self, entry: Entry, digest: Callable[[], bytes]) -> Note | None:
        options = self._run.options
        there = self._there.get(entry.name)
        if there is None:
            self.changed = True
            return None
        owner = self._owner if there.uid >= 0 else None
        if entry.kind is Kind.DIRECTORY:
            if not same(options, entry, there, owner=owner, digests=None):
                self.changed = True
            return None
        if options.no_clobber and there.kind is not Kind.DIRECTORY:
            return Note(entry.name, EXISTS, "exists")

        def digests() -> bool:
            return digest() == self._digest(entry.name)

        compare = digests if options.checksum else None
        if options.update and same(options, entry, there, owner=owner, digests=compare):
            return Note(entry.name, EQUAL, "equal")
        self.changed = True
        return None

    def _digest(self, name: str) -> bytes | None:
        if self._digests is None:
            top = self._placement.name
            path = self._placement.path
            found = container_digests(self._run, self._destination, path if top else path + "/.")
            self._digests = {
                "/".join(part for part in (top, rel) if part): digest
                for rel, digest in found.items()
            }
        return self._digests.get(name)

    def backup(self, name: str) -> Iterator[Item]:
        """What keeps the file that stands at `name` as NAME~: a hard link to it.

        Raises:
            Conflict: NAME~ is a directory.
        """
        there = self._there.get(name)
        if not self._run.options.backup or there is None or there.kind is Kind.DIRECTORY:
            return
        kept = name + "~"
        directory = self._placement.directory
        if self._live or self._destination.reach.is_live(join(directory, name)):
            self._backup_inside(join(directory, name))
            return
        yield Item(
            Entry(
                kept,
                Kind.HARDLINK,
                there.mode,
                max(0, there.uid),
                max(0, there.gid),
                0,
                there.mtime_ns // _SECOND * _SECOND,
                name,
            )
        )

    def check_backups(self, names: Iterable[tuple[str, Kind]]) -> None:
        """Refuse, before anything is sent, what cannot be kept.

        Raises:
            Conflict: NAME~ is a directory.
        """
        if not self._run.options.backup:
            return
        for name, kind in names:
            there = self._there.get(name)
            if kind is Kind.DIRECTORY or there is None or there.kind is Kind.DIRECTORY:
                continue
            kept = self._there.get(name + "~")
            if kept is None and name == self._placement.name:
                self._look(name + "~", Kind.FILE)
                kept = self._there.get(name + "~")
            if kept is not None and kept.kind is Kind.DIRECTORY:
                path = join(self._placement.directory, name + "~")
                raise Conflict(
                    f'cannot overwrite directory "{path}" with the backup of "{name}"',
                    hint="nothing was changed; remove it or leave out --backup",
                    path=path,
                )

    def _backup_inside(self, path: str) -> None:
        done = self._run.engine.execute(
            self._destination.container.id, ["ln", "-f", path, path + "~"]
        )
        if done.exit_code:
            said = decode(done.stderr).strip() or f"exit status {done.exit_code}"
            raise Conflict(f"{path} could not be kept as {path}~: {said}", path=path)


class Local:
    """What stands here where something is pulled.

    Args:
        options: what was asked for.
        path: the final path of the top.
        merge_top: the top is an existing directory that keeps its own mode and time.
        owner: as for `Stage`.
        digests: SHA-256 of the container's files, with `checksum`.
    """

    def __init__(
        self,
        options: CopyOptions,
        path: str,
        *,
        merge_top: bool,
        owner: tuple[int, int] | str | None,
        digests: dict[str, bytes] | None = None,
    ) -> None:
        self._options = options
        self._path = path
        self._merge_top = merge_top
        self._owner = owner
        self._digests = digests

    def same(self, entry: Entry, rel: str) -> bool:
        """Whether `entry`, at `rel` below the top, is the same as what stands there.

        Args:
            entry: of a hard link, with the size of its file.
            rel: path below the top; "" is the top itself.
        """
        if not rel and self._merge_top and entry.kind is Kind.DIRECTORY:
            return True
        path = encode(join(self._path, rel) if rel else self._path)
        try:
            info = os.lstat(path)
            kind = kind_of(info.st_mode)
            link = decode(os.readlink(path)) if kind is Kind.SYMLINK else ""
        except (OSError, ValueError):
            return False
        there = ListedEntry(
            rel,
            kind,
            stat_bits.S_IMODE(info.st_mode),
            info.st_uid,
            info.st_gid,
            info.st_size,
            info.st_mtime_ns,
            link,
        )
        owner: tuple[int, int] | None = None
        if self._owner == "keep":
            owner = (entry.uid, entry.gid)
        elif isinstance(self._owner, tuple):
            owner = self._owner

        def digests() -> bool:
            theirs = (self._digests or {}).get(rel)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                return False
            try:
                return theirs is not None and file_digest(fd) == theirs
            finally:
                os.close(fd)

        compare = digests if self._options.checksum else None
        return same(self._options, entry, there, owner=owner, digests=compare)


class LeftOut:
    """Which entries of an archive are left out, and why.

    Args:
        wants: filter, or None.
        local: with `update`: what stands here, or None.
        below: path of the whole at which this archive's top belongs.
    """

    def __init__(
        self,
        wants: Callable[[str, Kind, int, int], str | None] | None,
        local: Local | None = None,
        below: str = "",
    ) -> None:
        self._prefix = below + "/" if below else ""
        self._wants = wants
        self._local = local
        self._files: dict[str, tuple[int, int]] = {}
        self._gone: set[str] = set()
        self._inside = ""

    def why(self, entry: Entry, rel: str) -> Note | None:
        """Why the entry at `rel` is left out; None where it stays.

        A directory that is left out takes everything below it along; that is not said again: the
        note then has no text.
        """
        size, mtime = entry.size, entry.mtime_ns
        kind = entry.kind
        if kind is Kind.FILE:
            self._files[rel] = size, mtime
        elif kind is Kind.HARDLINK and entry.link in self._files:
            kind = Kind.FILE
            size, mtime = self._files[entry.link]
        if self._inside and rel.startswith(self._inside):
            self._gone.add(rel)
            return Note(rel, "", "filtered")
        asked = rel or (base_name(entry.name) if kind is not Kind.DIRECTORY else "")
        if asked and self._wants is not None:
            why = self._wants(self._prefix + asked, kind, size, mtime)
            if why is not None:
                self._gone.add(rel)
                if kind is Kind.DIRECTORY:
                    self._inside = rel + "/"
                return Note(self._prefix + asked, why, "filtered")
        if self._local is not None and kind is not Kind.DIRECTORY:
            seen = entry
            if entry.kind is Kind.HARDLINK:
                seen = Entry(
                    entry.name, kind, entry.mode, entry.uid, entry.gid, size, mtime, entry.link
                )
            if self._local.same(seen, self._prefix + rel):
                self._gone.add(rel)
                return Note(self._prefix + rel, EQUAL, "equal")
        return None

    def missing(self, link: str) -> bool:
        """Whether what a hard link points to was left out, so that it cannot be linked to."""
        return link in self._gone
