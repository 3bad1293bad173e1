"""The archive that goes into a container: staged, so that no half file gets a final name.

Every regular file is two entries: its content under one hidden name beside the destination, and a
hard link of the final name to it (design E7). The engine removes what is at a name before it makes
the entry, so the next file's content gets a new inode under the same hidden name, and a cut
anywhere leaves every final name with its old file or the whole new one.

**The seal.** The last entry is a symlink of the hidden name whose target is longer than any path
may be (PATH_MAX, 4096). The engine removes the hidden name, cannot make the link, and answers with
the target's text: nothing is left over, in any state and without a program in the container. The
target begins with a random token which nobody in the container can know, so the answer proves that
everything before was unpacked. Seen on engines 20.10.24, 26.1.5 and 28.5.2.

Two things the engine does only after the last entry never happen in a sealed push, so they are done
by entries: a directory is sent a second time after its content, which sets its time.
"""

from __future__ import annotations

import os

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.engine import ArchiveBody, Engine, FilePart
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.paths import join, one_top
from jupyter_volcopy.core.record import State, replace
from jupyter_volcopy.core.tar_writer import END, encode_entry, padding
from jupyter_volcopy.errors import (
    EngineError,
    EngineStalled,
    EngineUnreachable,
    NoSuchPath,
    NotFound,
    ReadOnlyTarget,
    VolcopyError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "Item",
    "PushBody",
    "clean_container",
    "hidden_name",
    "send",
    "send_new",
    "takes_far_links",
]

PACK = 256 * 1024
"""Headers and small files are packed into buffers of about this many bytes."""

SMALL = 64 * 1024
"""Files up to this size are read into the buffer; larger ones are sent from their descriptor."""

SET_ID = 0o6000


def hidden_name() -> str:
    """A new hidden name for staging; random, so that nobody can prepare it."""
    return ".volcopy-" + os.urandom(8).hex()


class Item(State):
    """One entry to send.

    Attributes:
        entry: its name is relative to the directory unpacked in.
        open: gives a descriptor (owned by the receiver) and the offset of the content; None for
            everything but regular files.
        sent: called when the content is out, with False if it was shorter than announced; answers
            whether the file may get its final name.
    """

    entry: Entry
    open: Callable[[], tuple[int, int]] | None = None
    sent: Callable[[bool], bool] | None = None

    def __init__(
        self,
        entry: Entry,
        open: Callable[[], tuple[int, int]] | None = None,
        sent: Callable[[bool], bool] | None = None,
    ) -> None:
        # by hand: three times as fast
        self.entry = entry
        self.open = open
        self.sent = sent


class PushBody:
    """The archive of `items`, for `Engine.extract`.

    Args:
        items: parents before children; read once, lazily.
        directory: the directory it is unpacked in, absolute.
        staged: content under a hidden name and sealed; False where the way of unpacking stages by
            itself (`live`).
        hidden: the hidden name.
        meter, cancel: counted into; looked at between entries.

    Attributes:
        whole: everything lies under a hidden name until all of it is there: a file that may not get
            its name is left out, or, where it is out already, `spoiled` is set.
        only, holds_directory: see `ArchiveBody`.
    """

    whole = False
    only: str | None = None
    holds_directory = False
    spoiled = False
    length: int | None = None
    left = False

    over_directories = False
    """An entry may take the place of a directory, which goes with all that is in it."""

    def __init__(
        self,
        items: Iterable[Item],
        directory: str,
        *,
        staged: bool,
        hidden: str = "",
        meter: Meter | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.items = items
        self._directory = directory
        self._staged = staged
        self.hidden = hidden or hidden_name()
        self.meter = meter or Meter()
        self.cancel = cancel or Cancel()
        self.seal: str | None = os.urandom(16).hex() if staged else None
        self.stopped = False
        self.shown: tuple[str, str] | None = None  # a hidden beginning of names, and what it means
        self.powers: list[Entry] = []  # files with set-id bits, which the links did not set

    def unstage(self) -> None:
        """Before it is read: for a way of unpacking that stages by itself (`Guarded`)."""
        self._staged, self.seal = False, None

    def __iter__(self) -> Iterator[bytes | bytearray | memoryview | FilePart]:
        meter, cancel = self.meter, self.cancel
        buffer = bytearray()
        opened: list[Entry] = []  # directories whose content is being sent, outermost first
        for item in self.items:
            if cancel.asked:
                self.stopped = True
                if item.open is not None:
                    os.close(item.open()[0])
                break
            entry = item.entry
            self.only = one_top(self.only, entry.name)
            self.holds_directory = self.holds_directory or entry.kind is Kind.DIRECTORY
            meter.current = entry.name.replace(*self.shown, 1) if self.shown else entry.name
            while opened and not entry.name.startswith(opened[-1].name + "/"):
                buffer += encode_entry(opened.pop())
            if entry.kind is Kind.DIRECTORY:
                opened.append(entry)
                buffer += encode_entry(entry)
            elif item.open is None:
                buffer += encode_entry(entry)
            else:
                fd, offset = item.open()
                try:
                    # only now: `open` may have brought the entry up to date
                    start = len(buffer)
                    buffer += self._header(entry)
                    if entry.size <= SMALL:
                        whole = self._read(fd, offset, entry.size, buffer)
                        meter.bytes += entry.size
                    else:
                        yield buffer
                        buffer, start = bytearray(), -1
                        part = FilePart(fd, offset, entry.size, meter)
                        yield part
                        whole = not part.short
                    buffer += padding(entry.size)
                    may = item.sent(whole) if item.sent is not None else whole
                finally:
                    os.close(fd)
                if may:
                    if self._staged:
                        buffer += self._link(entry)
                elif self.whole:
                    if start < 0:
                        self.spoiled = True
                    else:
                        del buffer[start:]
            meter.entries += 1
            if len(buffer) >= PACK:
                yield buffer
                buffer = bytearray()
        while opened:
            buffer += encode_entry(opened.pop())
        if self.seal is not None:
            target = self.seal + "x" * 5000
            buffer += encode_entry(Entry(self.hidden, Kind.SYMLINK, mode=0o777, link=target))
        yield bytes(buffer) + END

    def _header(self, entry: Entry) -> bytes:
        """What comes before the content of a file."""
        if not self._staged:
            return encode_entry(entry)
        name, entry.name = entry.name, self.hidden
        header = encode_entry(entry)
        entry.name = name
        return header

    def _link(self, entry: Entry) -> bytes:
        """What gives a staged file, which is out, its final name; the entry becomes that."""
        if entry.mode & SET_ID and self._directory != "/":
            self.powers.append(replace(entry))
        entry.kind, entry.size, entry.link = Kind.HARDLINK, 0, self.hidden
        return encode_entry(entry)

    @staticmethod
    def _read(fd: int, offset: int, size: int, buffer: bytearray) -> bool:
        """Append `size` bytes of the file, zeros where it ends early; whether it was whole."""
        left = size
        while left:
            try:
                piece = os.pread(fd, left, offset)
            except OSError:
                piece = b""
            if not piece:
                buffer += bytes(left)
                return False
            buffer += piece
            offset += len(piece)
            left -= len(piece)
        return True


def send(
    engine: Engine,
    container: str,
    directory: str,
    items: Iterable[Item],
    *,
    journal: Journal,
    live: bool = False,
    staged: bool = True,
    copy_uid_gid: bool = False,
    user: str | None = None,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> str:
    """Unpack `items` in `directory` of the container, nothing half-written under a final name.

    Args:
        engine: whose container it is.
        container: 64-hex id.
        directory: absolute, existing, links resolved.
        items: see `Item`.
        journal: the hidden name is written down there until it is gone.
        live: through a program in the container (tmpfs).
        staged: False for items without any regular file: there is nothing to hide.
        copy_uid_gid: docker cp's `-a`.
        user: with that user's rights.
        meter, cancel: see `control`.

    Returns:
        The hidden name's path where it is left: only engines that are not Docker leave it.

    Raises:
        TransferCancelled: what was sent before is complete, the rest untouched.
        VolcopyError: the engine's refusal; the hidden name is removed.
    """
    cancel = cancel or Cancel()
    stages = getattr(engine, "stages", None)
    by_itself = stages is not None and stages(container, directory, copy_uid_gid=copy_uid_gid)
    through_program = live or user is not None or by_itself
    hidden = hidden_name()
    body = PushBody(
        items,
        directory,
        staged=staged and not through_program,
        hidden=hidden,
        meter=meter,
        cancel=cancel,
    )
    try:
        if body.seal is None:
            _extract(engine, container, directory, body, copy_uid_gid, user, live)
        else:
            token = journal.container(_address(engine, container), container, directory, hidden)
            try:
                _extract(engine, container, directory, body, copy_uid_gid, user, live)
            except BaseException:
                if _cleaned(engine, container, directory, hidden):
                    journal.done(token)
                raise
            if not body.left:
                journal.done(token)
            if body.powers:
                _set_powers(engine, container, directory, body.powers, journal, copy_uid_gid)
    finally:
        # Left in the middle, they hold directories open for as long as the error is.
        close = getattr(items, "close", None)
        if close is not None:
            close()
    if body.stopped:
        cancel.check()
    return join(directory, hidden) if body.left else ""


def _address(engine: Engine, container: str) -> str:
    address_of = getattr(engine, "address_of", None)  # of several engines
    return engine.address if address_of is None else str(address_of(container))


def send_new(
    engine: Engine,
    container: str,
    directory: str,
    name: str,
    items: Iterable[Item],
    *,
    journal: Journal,
    copy_uid_gid: bool = False,
    meter: Meter | None = None,
    cancel: Cancel | None = None,
) -> bool:
    """Unpack the new directory `name` under a hidden name, and give it its own by one rename.

    For trees of many files in a running container: a program started costs less than a second
    entry for each of them.

    Args:
        engine, container, directory, items, journal, copy_uid_gid, meter, cancel: as for `send`;
            every name of the items is `name` or below it.
        name: nothing has it yet.

    Returns:
        Whether it was done. If not, nothing of it is there, and `send` does it.

    Raises:
        TransferCancelled: nothing of it is there.
        VolcopyError: the engine's refusal; the same.
    """
    from jupyter_volcopy.core.renaming import Rename

    cancel = cancel or Cancel()
    hidden = hidden_name()
    under = (_below(item, len(name), hidden) for item in items)
    # sealed under a name of its own: the proof that everything was unpacked (design E8)
    body = PushBody(under, directory, staged=False, meter=meter, cancel=cancel)
    body.seal, body.whole = os.urandom(16).hex(), True
    body.shown = (hidden, name)
    token = journal.container(_address(engine, container), container, directory, hidden)
    there = False
    rename = Rename(engine, container, join(directory, hidden), join(directory, name))
    try:
        _extract(engine, container, directory, body, copy_uid_gid, None, False)
        if not (body.stopped or body.spoiled):
            there = rename.done()
    finally:
        rename.close()
        if there or _cleaned(engine, container, directory, hidden):
            journal.done(token)
        under.close()
        close = getattr(items, "close", None)
        if close is not None:
            close()
    if body.stopped:
        cancel.check()
    return there


def _below(item: Item, strip: int, hidden: str) -> Item:
    entry = item.entry
    entry.name = hidden + entry.name[strip:]
    if entry.kind is Kind.HARDLINK:
        entry.link = hidden + entry.link[strip:]
    return item


def _set_powers(
    engine: Engine,
    container: str,
    directory: str,
    entries: list[Entry],
    journal: Journal,
    copy_uid_gid: bool,
) -> None:
    """Set the set-id bits of files that are in place.

    Engines before 28 set a hard link's owner always, which clears these bits, and its mode only
    where they find the link's text as a path from `/` (moby `handleLChmod`); newer ones set it.
    Which it is, the first file tells. If they are not set, each file is given one more name, a
    hidden one, by a link unpacked in `/`, whose text is such a path; the mode of both is one. A
    read-only root takes no archive: then the link climbs to the root and comes down again.

    Raises:
        VolcopyError: the engine refused; the files are in place without these bits.
    """
    first = engine.stat(container, join(directory, entries[0].name))
    if not entries[0].mode & SET_ID & ~first.mode:
        return
    inner = directory.strip("/")
    hidden = hidden_name()

    def body(start: str, above: str) -> PushBody:
        names = f"{inner}/" if start == "/" else ""
        links = [
            Item(
                replace(
                    entry,
                    name=names + hidden,
                    kind=Kind.HARDLINK,
                    size=0,
                    link=f"{above}{inner}/{entry.name}",
                )
            )
            for entry in entries
        ]
        return PushBody(links, start, staged=True, hidden=names + hidden)

    token = journal.container(_address(engine, container), container, directory, hidden)
    try:
        try:
            _extract(engine, container, "/", body("/", ""), copy_uid_gid, None, False)
        except ReadOnlyTarget:
            above = "../" * directory.count("/")
            _extract(
                engine, container, directory, body(directory, above), copy_uid_gid, None, False
            )
    except VolcopyError:
        if _cleaned(engine, container, directory, hidden):
            journal.done(token)
        raise
    journal.done(token)


def _extract(
    engine: Engine,
    container: str,
    directory: str,
    body: ArchiveBody,
    copy_uid_gid: bool,
    user: str | None,
    live: bool,
) -> None:
    try:
        engine.extract(container, directory, body, copy_uid_gid=copy_uid_gid, user=user, live=live)
    except NoSuchPath as error:
        if not error.hint:
            error.hint = f"make the directory {directory} first, or use --parents"
        raise


class _Question:
    """An archive of one link that leads out, of a name that no file system can hold."""

    seal: str | None = None
    length: int | None = None
    left = False

    def __iter__(self) -> Iterator[bytes]:
        yield encode_entry(Entry("x" * 300, Kind.SYMLINK, mode=0o777, link="..")) + END


def takes_far_links(engine: Engine, container: str, directory: str) -> bool:
    """Whether the engine unpacks relative links that lead out of `directory` (design E11).

    One that refuses them says so before it makes the link; one that does not fails at its name.
    So the question makes nothing, whatever the answer.

    Args:
        engine: asked.
        container: id.
        directory: absolute, existing, not the root (nothing leads out of that).

    Raises:
        EngineUnreachable, EngineStalled: it does not answer.
    """
    try:
        engine.extract(container, directory, _Question())
    except (EngineUnreachable, EngineStalled):
        raise
    except VolcopyError as error:
        return "file name too long" in error.message
    return False


def clean_container(engine: Engine, container: str, directory: str, name: str) -> None:
    """Remove a hidden name of ours from a container, in any state, without a program in it.

    Args:
        engine: whose container it is.
        container: id or name.
        directory: absolute, existing.
        name: the hidden name, as the journal knows it; of a file, or of a directory with contents.

    Raises:
        VolcopyError: the engine did not do it.
    """
    body = PushBody((), directory, staged=True, hidden=name)
    body.over_directories = True
    engine.extract(container, directory, body)
    if body.left:
        raise EngineError(
            f"{join(directory, name)} cannot be removed while the container does not run"
        )


def _cleaned(engine: Engine, container: str, directory: str, name: str) -> bool:
    """Clean up after a failure, whose own error is the one to be told; whether it was done."""
    try:
        clean_container(engine, container, directory, name)
    except NotFound:
        return True  # no such directory any more, or no such container
    except VolcopyError:
        return False
    return True
