"""An archive that is all here, in an unlinked file: looked at, compared, sent on.

The engine's stream holds the container's lock, so it is taken in first and at full speed (design
E1). What was written somewhere is then read a second time and compared with it, file by file.
`FinalFile` is the way out: a local file that gets its name when it is whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import chain
from types import TracebackType
from typing import IO

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.engine import ArchiveReader, Engine
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.landing import new_name
from jupyter_volcopy.core.localfs import local_error
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import clean, encode, is_plain, parent
from jupyter_volcopy.core.plan import leaves
from jupyter_volcopy.core.pull import reading
from jupyter_volcopy.core.push import SET_ID, Item, send
from jupyter_volcopy.core.record import Value
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.errors import (
    DestinationExists,
    LocalError,
    NoSpace,
    NoSuchPath,
    PartialWrite,
    UnsafeEntry,
)

__all__ = [
    "Fact",
    "FileSource",
    "FinalFile",
    "Held",
    "below",
    "compare",
    "deliver",
    "fill",
    "hash_of",
    "write_all",
]

_PIECE = 1 << 20


class FileSource:
    """A byte source over an open file, read from its start without moving its position."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of `buffer`; 0 at the end."""
        count = os.preadv(self._fd, [buffer], self._at)
        self._at += count
        return count


class Fact(Value):
    """What one member must be when it is read again.

    Attributes:
        kind: what it is.
        size: bytes of content; of a hard link those of the file it is.
        sha256: of the content of a file, else "".
        mode, uid, gid: as in the archive.
        link: target of a symlink, verbatim.
    """

    kind: Kind
    size: int = 0
    sha256: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    link: str = ""


def below(name: str, top: str = ".") -> str:
    """A member's name as a path below the archive's top; "" is the top.

    Args:
        name: as in the archive.
        top: first component of every name; `.` also takes names without it.

    Raises:
        UnsafeEntry: it is not below it, or not plain.
    """
    rel = name
    if rel == top:
        return ""
    if rel.startswith(top + "/"):
        rel = rel[len(top) + 1 :]
    elif top != ".":
        raise UnsafeEntry(f"refused: the archive holds {name!r}, which is not below {top!r}")
    if not rel:
        return ""
    if not is_plain(rel):
        raise UnsafeEntry(f"refused: the archive holds the name {name!r}", path=name)
    return rel


class Held:
    """An archive in an unlinked file.

    Args:
        file: the whole archive.
        top: first component of its names, see `below`.
        lenient: read what people's tars hold, not only what engines send.

    Attributes:
        leave_out: paths below the top that are passed over everywhere, or None.
    """

    leave_out: Callable[[str], bool] | None = None

    def __init__(self, file: IO[bytes], *, top: str = ".", lenient: bool = False) -> None:
        self.file = file
        self._top = top
        self._lenient = lenient

    @classmethod
    def of(cls, reader: ArchiveReader, cancel: Cancel, *, top: str = ".") -> Held:
        """All of an engine's stream, at the engine's pace.

        Raises:
            NoSpace: there is no room for it in the directory for temporary files.
        """
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        buffer = memoryview(bytearray(_PIECE))

        def step() -> Iterator[None]:
            while count := reader.readinto(buffer):
                write_all(file.fileno(), buffer[:count])
                yield

        try:
            reading(reader, cancel, step)
        except BaseException:
            file.close()
            raise
        return cls(file, top=top)

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def walk(self) -> Iterator[tuple[Entry, int, TarReader]]:
        """Entries, the offset of their content, and the reader that stands there.

        Names, and links of hard links, are paths below the top.

        Raises:
            UnsafeEntry, CutStream: it is no sound archive.
        """
        tar = TarReader(FileSource(self.file.fileno()), lenient=self._lenient)
        for entry in tar:
            entry.name = below(entry.name, self._top)
            if self.leave_out is not None and self.leave_out(entry.name):
                continue
            if entry.kind is Kind.HARDLINK:
                entry.link = below(entry.link, self._top)
            yield entry, tar.position, tar

    def facts(self) -> dict[str, Fact]:
        """Every member by its path below the top; contents hashed.

        Raises:
            UnsafeEntry, CutStream: it is no sound archive.
        """
        found: dict[str, Fact] = {}
        for entry, _, tar in self.walk():
            kind, digest, size = entry.kind, "", entry.size
            if kind is Kind.FILE:
                digest = hash_of(entry, tar)
            elif kind is Kind.HARDLINK:
                first = found.get(entry.link)
                if first is None:
                    raise UnsafeEntry(f"refused: {entry.name!r} is a link to nothing before it")
                found[entry.name] = first
                continue
            if kind is Kind.SYMLINK:  # its mode means nothing, and archives differ in it
                found[entry.name] = Fact(kind, 0, "", 0, entry.uid, entry.gid, entry.link)
                continue
            found[entry.name] = Fact(kind, size, digest, entry.mode, entry.uid, entry.gid)
        return found

    def items(self, name: Callable[[Entry], str | None]) -> Iterator[Item]:
        """What is to be sent, contents from the file.

        Args:
            name: the name to send it under, relative to where it is unpacked; None leaves it out.
                It may change the entry.
        """
        fd = self.file.fileno()
        for entry, offset, _ in self.walk():
            new = name(entry)
            if new is None:
                continue
            entry.name = new
            if entry.kind is not Kind.FILE:
                yield Item(entry)
            elif entry.sparse is not None:
                yield _filled(fd, entry, offset)
            else:
                yield Item(entry, _at(fd, offset))


def hash_of(entry: Entry, tar: TarReader) -> str:
    """Sha256 of the current entry's content, holes as zeros."""
    digest = sha256()
    if entry.sparse is None:
        tar.read(digest.update)
        return digest.hexdigest()
    data = bytearray()
    tar.read(data.extend)
    full, at = bytearray(entry.size), 0
    for start, length in entry.sparse:
        full[start : start + length] = data[at : at + length]
        at += length
    digest.update(full)
    return digest.hexdigest()


def _at(fd: int, offset: int) -> Callable[[], tuple[int, int]]:
    return lambda: (os.dup(fd), offset)


def _filled(source: int, entry: Entry, offset: int) -> Item:
    """A sparse file with its holes filled: the engine is sent plain files only."""
    runs = entry.sparse or []
    entry.sparse = None

    def full() -> tuple[int, int]:
        with tempfile.TemporaryFile() as file:
            out = os.dup(file.fileno())
        os.ftruncate(out, entry.size)
        at = offset
        for start, length in runs:
            done = 0
            while done < length:
                piece = os.pread(source, min(_PIECE, length - done), at)
                os.pwrite(out, piece, start + done)
                done += len(piece)
                at += len(piece)
        return out, 0

    return Item(entry, full)


def write_all(fd: int, piece: memoryview | bytes) -> None:
    """All of `piece` to `fd`.

    Raises:
        NoSpace: there is no room.
    """
    piece = memoryview(piece)
    try:
        while piece:
            piece = piece[os.write(fd, piece) :]
    except OSError as error:
        raise NoSpace(
            f"no room to hold the archive: {error.strerror}", hint="set TMPDIR to a larger disk"
        ) from None


def deliver(
    engine: Engine,
    container: str,
    root: str,
    items: Callable[[], Iterator[Item]],
    *,
    journal: Journal,
    has_files: bool,
    live: bool = False,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> None:
    """Everything below a mount's target (or `/`), the target's own attributes included.

    The engine refuses a relative link that leads out of the directory it unpacks in (rule R34). A
    volume may hold such links, so they, and the target itself, are sent by an archive for `/`.

    Args:
        engine: where the container is.
        container: id.
        root: the directory, a mount of its own or `/`.
        items: gives what is to be sent, names relative to `root`, "" for itself; called twice.
        journal: for the hidden name.
        has_files: there are regular files among them.
        live: only a process in the container sees `root`.
        meter, cancel: see `control`.

    Raises:
        VolcopyError: the engine refused; what came before it is there.
    """
    late: set[str] = set()
    above: set[str] = set()

    def first() -> Iterator[Item]:
        for item in items():
            entry = item.entry
            leads_out = entry.kind is Kind.SYMLINK and not entry.link.startswith("/")
            if not live and (
                (leads_out and leaves(root, entry.name, entry.link))
                or (entry.kind is Kind.HARDLINK and entry.link in late)
            ):
                late.add(entry.name)
                up = entry.name.rpartition("/")[0]
                while up and up not in above:
                    above.add(up)
                    up = up.rpartition("/")[0]
            elif entry.name:
                if entry.kind is Kind.HARDLINK and entry.mode & SET_ID and root != "/":
                    # found from `/` the engine sets the mode again (see `push`)
                    entry.link = "../" * root.count("/") + f"{root.strip('/')}/{entry.link}"
                yield item

    send(
        engine,
        container,
        root,
        first(),
        journal=journal,
        staged=has_files,
        live=live,
        meter=meter,
        cancel=cancel,
    )
    if root == "/":
        return
    top = root.strip("/")

    def again() -> Iterator[Item]:
        for item in items():
            entry = item.entry
            if entry.name and entry.name not in late and entry.name not in above:
                continue
            entry.name = f"{top}/{entry.name}" if entry.name else top
            if entry.kind is Kind.HARDLINK:
                entry.link = f"{top}/{entry.link}"
            yield item

    body = again()
    one = next(body, None)
    if one is not None:
        send(engine, container, "/", chain((one,), body), journal=journal, staged=False)


def fill(
    engine: Engine,
    place: tuple[str, str],
    held: Held,
    *,
    journal: Journal,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> None:
    """Everything held into a directory that is a mount of its own, the top's attributes included.

    Args:
        engine: where the container is.
        place: container id and the mount's target.
        held: what to put there.
        journal: for the hidden name.
        meter, cancel: see `control`.

    Raises:
        VolcopyError: the engine refused; what came before it is there.
    """
    container, root = place
    has_files = False
    for entry, _, _ in held.walk():
        has_files = has_files or entry.kind is Kind.FILE
        if not entry.name and entry.kind is not Kind.DIRECTORY:
            raise UnsafeEntry("refused: the archive's top is no directory")
    deliver(
        engine,
        container,
        root,
        lambda: held.items(lambda entry: entry.name),
        journal=journal,
        has_files=has_files,
        meter=meter,
        cancel=cancel,
    )


def compare(
    engine: Engine,
    place: tuple[str, str],
    wanted: dict[str, Fact],
    *,
    what: str,
    cancel: Cancel | None = None,
) -> int:
    """Read a directory a second time and compare everything with what was to be there.

    Args:
        engine: where the container is.
        place: container id and directory.
        wanted: by path below it.
        what: how messages call the place.
        cancel: see `control`.

    Returns:
        The number of files whose contents were compared.

    Raises:
        PartialWrite: something is missing or differs; the first ones are named.
    """
    container, root = place
    reader = engine.open_archive(container, root + "/.")
    with Held.of(reader, cancel or Cancel()) as held:
        found = held.facts()
    wrong = [name or "." for name, fact in wanted.items() if found.get(name) != fact]
    if wrong:
        shown = ", ".join(repr(name) for name in wrong[:5])
        raise PartialWrite(
            f"{what} was read again, and {len(wrong)} entries are not as they were sent: {shown}",
            hint="something else writes there, or the disk is not sound",
            entries=wrong[:100],
        )
    return len({id(fact) for fact in wanted.values() if fact.kind is Kind.FILE})


class FinalFile:
    """A local file that is written aside and gets its name when it is whole.

    Args:
        path: its final name.
        journal: where the temporary is written down.
        replace: an existing file of that name is replaced.

    Raises:
        NoSuchPath: its directory is not there.
        DestinationExists: there is a file, and it is not to be replaced; or a directory.
        LocalError: it cannot be made.
    """

    def __init__(self, path: str, journal: Journal, *, replace: bool) -> None:
        self.path = os.path.abspath(path)
        self._replace = replace
        self._directory = parent(clean(self.path))
        if not os.path.isdir(encode(self._directory)):
            raise NoSuchPath(
                f'invalid output path: directory "{self._directory}" does not exist',
                hint="make it first",
            )
        self._refuse()
        journal.sweep_local(self._directory)
        self._journal = journal
        self._name = new_name()
        self._temp = f"{self._directory.rstrip('/')}/{self._name}"
        token = journal.local(self._directory, self._name)
        self._token = token
        try:
            self.fd = os.open(
                encode(self._temp),
                os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
        except OSError as error:
            journal.done(token)
            raise local_error(error, "open", self.path) from None
        info = os.fstat(self.fd)
        journal.made(token, self._directory, self._name, info.st_dev, info.st_ino)

    def _refuse(self) -> None:
        there = os.path.lexists(encode(self.path))
        if there and (not self._replace or os.path.isdir(encode(self.path))):
            raise DestinationExists(
                f"{self.path} is there already", hint="choose another name, or remove it first"
            )

    def __enter__(self) -> FinalFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def write(self, piece: memoryview | bytes) -> None:
        """Append to it.

        Raises:
            NoSpace: the disk is full.
        """
        view = memoryview(piece)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError as error:
            raise local_error(error, "write", self.path) from None

    def commit(self) -> None:
        """On disk, and under its final name.

        Raises:
            DestinationExists: somebody made it meanwhile.
        """
        try:
            os.fsync(self.fd)
            if self._replace:
                os.rename(encode(self._temp), encode(self.path))
            else:
                self._link()
        except FileExistsError:
            self._refuse()
            raise LocalError(f"{self.path} cannot be made") from None
        except OSError as error:
            raise local_error(error, "rename", self.path) from None
        self._journal.done(self._token)
        self._close()

    def _link(self) -> None:
        """The final name, never over another file."""
        try:
            os.link(encode(self._temp), encode(self.path))
        except PermissionError:  # no hard links on this disk
            self._refuse()
            os.rename(encode(self._temp), encode(self.path))
            return
        os.unlink(encode(self._temp))

    def abort(self) -> None:
        """Remove it, unless it has its name. Safe to call at any time."""
        if self.fd < 0:
            return
        try:
            os.unlink(encode(self._temp))
        except OSError:
            pass
        self._journal.done(self._token)
        self._close()

    def _close(self) -> None:
        os.close(self.fd)
        self.fd = -1
