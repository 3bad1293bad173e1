"""An archive that comes out of a container, written below a local directory.

Everything is written aside first (`Stage`); only when the archive was read to its end mark, its
names were found to be what was asked for and nothing at the destination stands in the way does any
of it become visible. The engine's stream is read at the speed of the local disk and of nothing
slower, since it holds the container's lock.
"""

from __future__ import annotations

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.engine import CAN_CHANGE, ArchiveReader
from jupyter_volcopy.core.members import Members
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.record import State, each
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.stage import Stage
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.errors import SourceChanged, TransferCancelled, VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_volcopy.core.again import LeftOut
    from jupyter_volcopy.core.stage_entries import Read

__all__ = ["Incoming", "reading", "receive"]


class Incoming(State):
    """What one archive brought.

    Attributes:
        files, entries, bytes: what was written aside.
        skipped, warnings, failed: by name.
        seen: every path below the top, if it was to be remembered; a directory's with a slash, too.
        large: size and time of those files that can be caught in the middle, as their headers said.
        written: paths of files written aside, if they were to be remembered.
        later: hard links (path, path of the first name) whose first name was left out.
        links: links that are to be followed, not yet written.
    """

    files: int = 0
    entries: int = 0
    bytes: int = 0
    skipped: list[Note] = each(factory=list)
    warnings: list[Note] = each(factory=list)
    failed: list[Note] = each(factory=list)
    seen: set[str] | None = None
    large: dict[str, tuple[int, int]] = each(factory=dict)
    written: list[str] | None = None
    later: list[tuple[str, str]] = each(factory=list)
    links: list[tuple[str, Entry]] = each(factory=list)

    def remember(self, path: str, entry: Entry) -> None:
        """Note in `seen`, if it is kept, that a path below the top came, and as what."""
        if self.seen is not None:
            self.seen.add(path)
            if entry.kind is Kind.DIRECTORY:
                self.seen.add(path + "/")
            elif entry.size >= CAN_CHANGE:
                self.large[path] = entry.size, entry.mtime_ns

    def take(self, part: Incoming, below: str) -> None:
        """Take in what an archive of its own brought to `below`; its links are not taken."""
        for name in ("files", "entries", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.skipped.extend(part.skipped)
        self.warnings.extend(part.warnings)
        self.failed.extend(part.failed)
        if self.seen is not None and part.seen is not None:
            self.seen.update(f"{below}/{path}" if path else below for path in part.seen)
            self.large.update((f"{below}/{path}", found) for path, found in part.large.items())
        if self.written is not None and part.written is not None:
            self.written.extend(f"{below}/{path}" if path else below for path in part.written)
        self.later.extend((f"{below}/{rel}", f"{below}/{link}") for rel, link in part.later)


def reading(reader: ArchiveReader, cancel: Cancel, step: Callable[[], Iterator[None]]) -> None:
    """Run `step` to its end with `reader` open; a cancel closes the reader, the end always does.

    A stream that breaks because somebody cancelled is a cancel, not a fault.
    """
    try:
        with cancel.closing(reader.close):
            for _ in step():
                if cancel.asked:
                    cancel.check()
    except VolcopyError as error:
        if cancel.asked and not isinstance(error, TransferCancelled):
            raise TransferCancelled("cancelled") from None
        raise
    finally:
        reader.close()


def receive(
    reader: ArchiveReader,
    stage: Stage,
    members: Members,
    *,
    below: str = "",
    pick: str = "",
    left: LeftOut | None = None,
    follow: bool = False,
    hidden: Callable[[str], bool] | None = None,
    max_entries: int | None = None,
    max_bytes: int | None = None,
    meter: Meter,
    cancel: Cancel,
    into: Incoming,
) -> None:
    """Write one archive aside.

    Args:
        reader: the engine's stream; closed at the end.
        stage: where it is written; nothing is visible until its `commit`.
        members: what its names may be.
        below: path of the stage's tree at which the archive's top belongs (a mount's own archive).
        pick: only this entry of the archive's top, which becomes the stage's top.
        left: says what is left out, and why.
        follow: links are not written but remembered, to be followed.
        hidden: paths below the top that a process in the container cannot see (they lie beneath a
            mount): left out, the mount's own archive brings what is there.
        max_entries, max_bytes: limits.
        meter, cancel, into: counted into, looked at, filled.

    Raises:
        UnsafeEntry, CutStream, LimitExceeded, LocalError, EngineError: nothing is visible.
    """
    limited = max_entries is not None or max_bytes is not None
    if getattr(reader, "parsed", False) and not limited:
        tar: TarReader = reader  # type: ignore[assignment]
    else:
        tar = TarReader(reader, max_entries=max_entries, max_bytes=max_bytes)

    def counted(write: Callable[[memoryview], object]) -> int:
        def count(piece: memoryview) -> None:
            write(piece)
            meter.bytes += len(piece)
            if cancel.asked:
                cancel.check()

        return tar.read(count)

    def moved(count: int) -> None:
        meter.bytes += count
        cancel.check()

    content = getattr(tar, "content", None)  # it may lie in a file that is open here

    def entries() -> Iterator[None]:
        for entry in tar:
            meter.current = entry.name
            rel = members.admit(entry)
            if rel is None:
                if into.seen is not None:
                    into.seen.add(members.below(entry.name))
                yield
                continue
            if hidden is not None and rel and hidden(rel):
                yield
                continue
            if pick:
                if rel != pick and not rel.startswith(pick + "/"):
                    yield
                    continue
                rel = rel[len(pick) + 1 :]
                if entry.kind is Kind.HARDLINK:
                    entry.link = entry.link[len(pick) + 1 :]
            into.remember(rel, entry)
            if left is not None:
                note = left.why(entry, rel)
                if note is not None:
                    if note.text:
                        into.skipped.append(note)
                    yield
                    continue
                if entry.kind is Kind.HARDLINK and left.missing(entry.link):
                    into.later.append((rel, entry.link))
                    yield
                    continue
            if follow and entry.kind is Kind.SYMLINK:
                into.links.append((rel, entry))
                yield
                continue
            file = content(moved) if content is not None else None
            _put(stage, entry, rel, below, file or counted)
            if file is not None and file.short:
                raise SourceChanged(
                    f"{entry.name}: became shorter while it was read: unexpected EOF",
                    hint="copy again when nobody writes there",
                )
            into.entries += 1
            meter.entries += 1
            if entry.kind is Kind.FILE:
                into.files += 1
                into.bytes += entry.size
                if into.written is not None:
                    into.written.append(rel)
            yield

    reading(reader, cancel, entries)
    into.warnings.extend(note for note in members.notes if not follow or note.code != "link")


def _put(
    stage: Stage,
    entry: Entry,
    rel: str,
    below: str,
    read: Read,
) -> None:
    if below:
        if entry.kind is Kind.HARDLINK:
            entry.link = f"{below}/{entry.link}" if entry.link else below
        if not rel:
            return  # the mount point itself came with the archive around it
        rel = f"{below}/{rel}"
    stage.add(entry, rel, read if entry.kind is Kind.FILE else None)
