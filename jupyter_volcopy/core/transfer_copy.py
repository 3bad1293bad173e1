"""An archive that is already a stream, into a container: from another container, or from `-`.

It is taken in completely first, into an unlinked file: the engine's stream of the source never
waits for anything (design E1, E2), and names, links and conflicts are looked at before the first
byte is sent. Then it is sent staged, contents straight from that file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, BinaryIO

from jupyter_volcopy.core.again import LeftOut, Standing
from jupyter_volcopy.core.ancestors import as_directory, make
from jupyter_volcopy.core.changed import look_again, refuse_below
from jupyter_volcopy.core.compressed import HEAD, unpacked
from jupyter_volcopy.core.engine import ArchiveReader
from jupyter_volcopy.core.inventory import Inventory
from jupyter_volcopy.core.members import Members, bad_link
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.ownership import push_owner
from jupyter_volcopy.core.paths import base_name, clean, join
from jupyter_volcopy.core.plan import Landing, Placement, Source, leaves, place
from jupyter_volcopy.core.pull import Incoming, reading
from jupyter_volcopy.core.push import Item
from jupyter_volcopy.core.reach import below
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.room import check
from jupyter_volcopy.core.sides import container_source
from jupyter_volcopy.core.survey import Survey
from jupyter_volcopy.core.transfer import ROOM_MATTERS, ROOT_USER, Place, Run, twice
from jupyter_volcopy.core.transfer_push import (
    far_links,
    land,
    send_parts,
    sweep_container,
)
from jupyter_volcopy.core.transfer_taken import LEFT_OUT, Taken
from jupyter_volcopy.core.verify import verify_arrived
from jupyter_volcopy.errors import (
    CutStream,
    LimitExceeded,
    NoSpace,
    NotADirectory,
    UnsafeEntry,
    UsageError,
)

__all__ = ["copy", "push_stream", "stream_landing"]

Wants = Callable[[str, Kind, int, int], "str | None"]
BLOCK = 1 << 20
SPECIAL = (Kind.CHARACTER, Kind.BLOCK, Kind.FIFO)


def _take(run: Run, reader: ArchiveReader, file: IO[bytes]) -> None:
    """The whole stream into `file`, at the engine's speed."""
    buffer = memoryview(bytearray(BLOCK))

    def step() -> Iterator[None]:
        total = 0
        while count := reader.readinto(buffer):
            _write(file, buffer[:count])
            total += count
            _limit(run, total)
            yield

    reading(reader, run.cancel, step)


def _write(file: IO[bytes], piece: memoryview) -> None:
    try:
        while piece:
            piece = piece[os.write(file.fileno(), piece) :]
    except OSError as error:
        raise NoSpace(
            f"no room to hold the archive: {error.strerror}", hint="set TMPDIR to a larger disk"
        ) from None


def copy(
    run: Run, source: Place, destination: Place, *, into_directory: bool, wants: Wants | None
) -> None:
    """Copy between two containers, or within one.

    Raises:
        VolcopyError: every file at the destination is the old or the whole new one.
    """
    twice(run, lambda: _copy(run, source, destination, into_directory, wants))


def _copy(
    run: Run, source: Place, destination: Place, into_directory: bool, wants: Wants | None
) -> None:
    """One try."""
    options = run.options
    if options.follow_all:
        raise UsageError(
            "--follow-all does not work between containers",
            hint="copy to this machine first, then on",
        )
    landing = land(run, destination, into_directory=into_directory)
    found_source, found = container_source(
        run.engine, source.container, source.path, follow=options.follow_link
    )
    plain = clean(found_source.path)
    source.reach.check_live(plain, source.typed)
    live = source.reach.is_live(plain) and source.container.running
    found = found or run.engine.stat(source.container.id, plain, user=ROOT_USER if live else None)
    is_dir = found.is_dir or (
        found.kind is Kind.SYMLINK and found_source.path.endswith(("/", "/."))
    )
    if found.kind is Kind.SOCKET:
        run.report.warnings.append(
            Note(source.typed, "a socket: sockets cannot be copied", "socket")
        )
        return
    known = Source(found_source.path, found_source.name, is_dir, found_source.contents)
    if options.parents:
        landing = as_directory(landing, is_dir=is_dir, into_directory=into_directory)
    placement = place(known, landing, destination.typed)
    destination.reach.check_writable(placement.path, destination.typed)
    same = source.container.id == destination.container.id
    if same and is_dir and (placement.path + "/").startswith(plain.rstrip("/") + "/"):
        raise UsageError(
            f"cannot copy {source.typed} into itself", hint="choose a destination outside of it"
        )
    inventory = None
    incoming = Incoming(seen=set())
    if is_dir and source.container.running:
        path = found_source.path if found_source.path.endswith("/.") else plain
        inventory = Inventory(run, source, path)
    owner = push_owner(run, destination, placement.directory)
    standing: Standing | None = None
    stands = landing.exists and Standing.wanted(options)
    listed = inventory is not None and inventory.complete
    if stands and listed and options.update and not options.checksum:
        assert inventory is not None
        top = Entry("", found.kind, found.mode, 0, 0, found.size, found.mtime_ns)
        standing = _unchanged(run, destination, placement, inventory, top, wants, owner)
        if standing is None:
            return
    with tempfile.TemporaryFile() as file:
        _take(run, run.engine.open_archive(source.container.id, found_source.path, live=live), file)
        run.meter.bytes = 0
        members_of = _members(run, found_source, placement, is_dir, wants, incoming)
        taken = Taken(
            file,
            lambda: members_of(True),
            run,
            owner=owner,
            lenient=False,
        )
        names = taken.check()
        if inventory is not None and incoming.seen is not None:
            inventory.compare(incoming.seen, incoming)
            _name_mounts(source.reach.live_below(plain), plain, incoming)
            refuse_below(run, source, plain, inventory, incoming)
        elif found.kind is Kind.FILE:
            look_again(run, source, plain, found, incoming)
        if not names and not incoming.skipped:
            raise CutStream(f"unexpected EOF: the archive of {source.typed} is empty")
        survey = Survey(
            run.engine,
            destination,
            placement,
            known=None if landing.is_dir else landing.exists,
        )
        again = Taken(file, lambda: members_of(False), run, owner=owner, lenient=False)
        if stands:
            if standing is None:
                tops = [(name, kind) for name, kind in names if name and "/" not in name]
                standing = Standing(run, destination, placement, owner=owner, tops=tops)
            taken = Taken(
                file, lambda: members_of(False), run, owner=owner, lenient=False, standing=standing
            )
            names = taken.check()
            incoming.skipped.extend(taken.skipped)
            again = Taken(
                file, lambda: members_of(False), run, owner=owner, lenient=False, standing=standing
            )
            survey.adopt(standing.kinds(), standing.sizes())
            standing.check_backups(names)
        survey.check(names)
        if taken.bytes >= ROOM_MATTERS:
            check(
                run,
                destination,
                placement.path,
                taken.bytes,
                taken.largest,
                replaced=survey.replaced,
                freed=survey.freed,
            )
        if not names or (standing is not None and not standing.changed):
            run.report.skipped.extend(incoming.skipped)
            run.report.warnings.extend(incoming.warnings)
            run.report.failed.extend(incoming.failed)
            return
        run.meter.entries_total, run.meter.bytes_total = taken.entries, taken.bytes
        sweep_container(run, destination)
        if options.parents:
            make(run, destination, placement.directory)
        send_parts(
            run,
            destination,
            placement,
            again.items,
            has_files=taken.files > 0,
            top=Kind.DIRECTORY if is_dir else found.kind,
            merges=is_dir and survey.kind(placement.name) is Kind.DIRECTORY,
        )
        if options.verify:
            verify_arrived(run, destination, placement, _digests_of(again, names))
    report = run.report
    report.files += taken.files
    report.entries += taken.entries
    report.bytes += taken.bytes
    report.replaced += survey.replaced
    report.created += max(0, taken.files - survey.replaced)
    report.skipped.extend(incoming.skipped)
    report.warnings.extend(incoming.warnings)
    report.failed.extend(incoming.failed)
    report.landed.append(f"{destination.container.name}:{placement.path}")


def _name_mounts(targets: list[str], plain: str, incoming: Incoming) -> None:
    """Say once for each mount in memory that it did not come, instead of for each path in it."""
    for target in targets:
        rel = target[len(plain.rstrip("/")) + 1 :]
        kept = [item for item in incoming.failed if not below(item.path, rel)]
        if len(kept) < len(incoming.failed):
            text = "is mounted in memory, and is not copied along: copy it by itself"
            incoming.failed[:] = [*kept, Note(rel, text, "hidden")]


def _digests_of(taken: Taken, names: list[tuple[str, Kind]]) -> dict[str, bytes | None]:
    sent = {name for name, kind in names if kind is not Kind.DIRECTORY}
    return {name: digest for name, digest in taken.digests().items() if name in sent}


def _unchanged(
    run: Run,
    destination: Place,
    placement: Placement,
    inventory: Inventory,
    top: Entry,
    wants: Wants | None,
    owner: tuple[int, int] | None,
) -> Standing | None:
    """What stands there; None where all of it is the same: then nothing is read at all."""
    left = LeftOut(wants)
    skipped: list[Note] = []
    entries: list[Entry] = []
    if placement.name:
        entries.append(replace(top, name=placement.name))
    for item in inventory.entries:
        size = item.size if item.kind is Kind.FILE else 0
        entry = Entry(
            item.name, item.kind, item.mode, item.uid, item.gid, size, item.mtime_ns,
            item.link_target,
        )  # fmt: skip
        note = left.why(entry, item.name)
        if note is not None:
            if note.text:
                skipped.append(note)
        elif item.kind is not Kind.SOCKET:
            entry.name = "/".join(part for part in (placement.name, item.name) if part)
            entries.append(entry)
    tops = [(entry.name, entry.kind) for entry in entries if "/" not in entry.name]
    standing = Standing(run, destination, placement, owner=owner, tops=tops)
    for entry in entries:
        note = standing.leave(entry, lambda: b"")
        if note is not None:
            skipped.append(note)
    if standing.changed:
        return standing
    run.report.skipped.extend(skipped)
    return None


def _members(
    run: Run,
    source: Source,
    placement: Placement,
    is_dir: bool,
    wants: Wants | None,
    incoming: Incoming,
) -> Callable[[bool], Callable[[Entry], str | None]]:
    """Names of the members at the destination; with True, what is left out is noted."""
    options = run.options
    top = "." if source.path.endswith("/.") else base_name(clean(source.path))

    def make(first: bool) -> Callable[[Entry], str | None]:
        members = Members(
            top,
            placement,
            is_dir,
            keep_links=options.keep_links,
            skip_bad_links=options.skip_bad_links,
        )
        if first:
            members.notes = incoming.warnings
        left = LeftOut(wants) if wants is not None else None
        seen: set[str] = set()
        directories: set[str] = set()
        specials: set[str] = set()

        def name(entry: Entry) -> str | None:
            raw = entry.link
            rel = members.admit(entry)
            if rel is None:
                if first and incoming.seen is not None:
                    incoming.seen.add(members.below(entry.name))
                return None
            if rel in seen or (rel and rel.rpartition("/")[0] not in directories):
                raise UnsafeEntry(
                    f"refused: the archive holds {entry.name!r} twice, or in what is no directory"
                )
            seen.add(rel)
            if entry.kind is Kind.HARDLINK and (
                entry.link not in seen or entry.link in directories
            ):
                raise UnsafeEntry(
                    f"refused: the hard link {entry.name!r} is to what was not sent before"
                )
            if entry.kind is Kind.DIRECTORY:
                directories.add(rel)
            if first:
                incoming.remember(rel, entry)
            note = left.why(entry, rel) if left is not None else None
            if note is not None:
                if first and note.text:
                    incoming.skipped.append(note)
                return None
            if options.safe and entry.link in specials and entry.kind is Kind.HARDLINK:
                return None
            if options.safe and entry.kind in SPECIAL:
                specials.add(rel)
                if first:
                    text = f"a {entry.kind.value}: left out (--safe)"
                    incoming.warnings.append(Note(entry.name, text, "special"))
                return None
            if options.safe:
                entry.mode &= 0o1777 if entry.kind is Kind.DIRECTORY else 0o777
                entry.xattrs.clear()
            if entry.kind is Kind.HARDLINK:
                if left is not None and left.missing(entry.link):
                    entry.link = LEFT_OUT + raw
                    return "/".join(part for part in (placement.name, rel) if part)
                entry.link = "/".join(part for part in (placement.name, entry.link) if part)
            return "/".join(part for part in (placement.name, rel) if part) or None

        return name

    return make


# -- from standard input


def push_stream(run: Run, stream: BinaryIO, destination: Place) -> None:
    """Unpack a tar from `stream` in a directory of a container (rules R61 to R63).

    gzip, bzip2 and xz are unpacked here: the engine is only ever sent plain tar (CVE-2026-41567).

    Raises:
        NotADirectory: the destination is none.
        UnsafeEntry, CutStream: the stream is no tar, leaves the destination, or ends early.
    """
    landing = stream_landing(run, destination)
    placement = Placement(landing.path, "")
    with tempfile.TemporaryFile() as file:
        if not _take_stream(run, stream, file):
            run.report.warnings.append(Note("-", "standard input was empty: nothing done", "empty"))
            return
        owner = push_owner(run, destination, placement.directory)
        names = _stream_names(run, placement, far_links(run, destination, placement.directory))
        taken = Taken(file, lambda: names, run, owner=owner, lenient=True)
        survey = Survey(run.engine, destination, placement, known=None)
        survey.check(taken.check())
        run.meter.bytes = 0
        run.meter.entries_total, run.meter.bytes_total = taken.entries, taken.bytes
        sweep_container(run, destination)
        again = Taken(file, lambda: names, run, owner=owner, lenient=True)
        send_parts(
            run,
            destination,
            placement,
            lambda part: _times_last(again.items(part)),
            has_files=taken.files > 0,
            top=Kind.DIRECTORY,
            merges=False,
        )
    report = run.report
    report.files += taken.files
    report.entries += taken.entries
    report.bytes += taken.bytes
    report.replaced += survey.replaced
    report.created += max(0, taken.files - survey.replaced)
    report.landed.append(f"{destination.container.name}:{landing.path}")


def _times_last(items: Iterable[Item]) -> Iterator[Item]:
    """The items, and at the end once more each directory that was entered again further on.

    An archive may come back to a directory; moby sets the times of directories last.
    """
    known: dict[str, Entry] = {}
    opened: list[str] = []
    late: set[str] = set()
    for item in items:
        name = item.entry.name
        while opened and not name.startswith(opened[-1] + "/"):
            opened.pop()
        up = name.rpartition("/")[0]
        while up and (not opened or up != opened[-1]):
            if up in known:
                late.add(up)
            up = up.rpartition("/")[0]
        if item.entry.kind is Kind.DIRECTORY:
            known[name] = replace(item.entry)
            opened.append(name)
        else:
            known.pop(name, None)
        yield item
    for name, entry in known.items():
        if name in late:
            yield Item(entry)


def _take_stream(run: Run, stream: BinaryIO, file: IO[bytes]) -> int:
    """All of `stream` into `file`, decompressed; returns the number of bytes."""
    head = b""
    while len(head) < HEAD and (piece := stream.read(HEAD - len(head))):
        head += piece
    total = 0
    for plain in unpacked(head, iter(lambda: stream.read(BLOCK) or b"", b"")):
        run.cancel.check()
        _write(file, memoryview(plain))
        total += len(plain)
        run.meter.bytes = total
        _limit(run, total)
    return total


def _limit(run: Run, total: int) -> None:
    """An end to what is held here, long before its contents are counted entry by entry."""
    limit = run.options.max_bytes
    if limit is not None and total > 2 * limit + (64 << 20):
        raise LimitExceeded(
            f"the archive holds more than {limit} bytes", hint="--max-bytes sets the limit"
        )


def stream_landing(run: Run, destination: Place) -> Landing:
    """Where an archive is unpacked.

    Raises:
        NotADirectory: the destination is none.
        VolcopyError: it cannot be reached or written.
    """
    landing = land(run, destination, into_directory=False)
    if not landing.is_dir:
        raise NotADirectory(
            f'destination "{destination.typed}" must be a directory',
            hint="a tar is unpacked in an existing directory",
        )
    destination.reach.check_writable(landing.path, destination.typed)
    return landing


def _stream_names(
    run: Run, placement: Placement, takes: Callable[[], bool]
) -> Callable[[Entry], str | None]:
    """Names of a person's tar below the destination, by the reference's rules (R61, R63)."""
    options = run.options
    directory = placement.directory
    far: set[str] = set()

    def inside(path: str, what: str) -> str:
        full = clean(join(directory, path))
        if path.startswith("/"):
            full = join(directory, clean(path)) if directory != "/" else clean(path)
        at = _normal(path)
        if at.startswith("../") or at == "..":
            raise UnsafeEntry(
                f'{what} "{path}" is outside of "{directory}"',
                hint="nothing was written",
            )
        return full[len(directory.rstrip("/")) + 1 :]

    def name(entry: Entry) -> str | None:
        rel = inside(entry.name, "the entry")
        if not rel:
            return None  # an entry for `.` changes nothing
        if entry.kind is Kind.HARDLINK:
            entry.link = inside(entry.link, "invalid hardlink: the target")
        above = rel.rpartition("/")[0] if far else ""
        while above and above not in far:
            above = above.rpartition("/")[0]
        if above:
            raise UnsafeEntry(
                f"the entry {entry.name!r} is below a link that leads out of the destination",
                hint="nothing was written",
            )
        if (
            entry.kind is Kind.SYMLINK
            and not entry.link.startswith("/")
            and leaves(directory, rel, entry.link)
        ):
            if not options.keep_links and not takes():
                raise bad_link(entry.name, entry.link)
            far.add(rel)
        if options.safe:
            if entry.kind in SPECIAL:
                run.report.warnings.append(
                    Note(entry.name, f"a {entry.kind.value}: left out (--safe)", "special")
                )
                return None
            entry.mode &= 0o1777 if entry.kind is Kind.DIRECTORY else 0o777
            entry.xattrs = {k: v for k, v in entry.xattrs.items() if k.startswith("user.")}
        return rel

    return name


def _normal(path: str) -> str:
    """A relative path cleaned lexically, leading `..` kept; absolute ones are below the root."""
    out: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and out and out[-1] != "..":
            out.pop()
        elif part == ".." and path.startswith("/"):
            continue
        else:
            out.append(part)
    return "/".join(out)
