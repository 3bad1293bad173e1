"""One pull: a path of a container to a local path, or to a stream."""

from __future__ import annotations

from jupyter_volcopy.core.engine import CAN_CHANGE, ArchiveReader
from jupyter_volcopy.core.inventory import Inventory
from jupyter_volcopy.core.members import Members
from jupyter_volcopy.core.model import Entry, Kind, Stat
from jupyter_volcopy.core.ownership import pull_owner
from jupyter_volcopy.core.paths import base_name, clean, parent
from jupyter_volcopy.core.plan import Landing, Placement, Source, place
from jupyter_volcopy.core.pull import Incoming, receive
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.sides import container_source, local_landing, local_path
from jupyter_volcopy.core.stage import Stage
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.transfer import ROOM_MATTERS, ROOT_USER, Place, Run, twice
from jupyter_volcopy.errors import CutStream, NoSuchPath, TransferCancelled, VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, Literal, TypeAlias

    from jupyter_volcopy.core.again import LeftOut, Local
    from jupyter_volcopy.core.spool import Spool

__all__ = ["finish", "pull", "pull_stream"]

Wants: TypeAlias = "Callable[[str, Kind, int, int], str | None]"


def _open(run: Run, source: Place, path: str, live: bool) -> ArchiveReader:
    return run.engine.open_archive(source.container.id, path, live=live)


def _kind(found: Stat | None) -> Kind | None:
    return found.kind if found is not None else None


def pull(
    run: Run, source: Place, destination: str, *, into_directory: bool, wants: Wants | None
) -> None:
    """Copy one path of a container to the local path `destination`.

    Args:
        run: the transfer; its report is filled.
        source: the container's side.
        destination: local, as typed.
        into_directory: several sources: the destination must be a directory.
        wants: filter, see `receive`.

    Raises:
        VolcopyError: nothing at the destination was changed.
    """
    twice(run, lambda: _pull(run, source, destination, into_directory, wants))


def _pull(
    run: Run, source: Place, destination: str, into_directory: bool, wants: Wants | None
) -> None:
    """One try."""
    options = run.options
    if options.parents:
        from jupyter_volcopy.core.ancestors import make_local

        make_local(run, parent(clean(local_path(destination))))
    landing = local_landing(destination, follow=not options.safe)
    follow = options.follow_link or options.follow_all
    found_source, found = container_source(run.engine, source.container, source.path, follow=follow)
    plain = clean(found_source.path)
    source.reach.check_live(plain, source.typed)
    live = source.reach.is_live(plain) and source.container.running
    if found is None and source.container.running:
        found = run.engine.stat(source.container.id, plain, user=ROOT_USER if live else None)
        if found.kind is Kind.SYMLINK and plain != found_source.path and found.link_target:
            found = run.engine.stat(source.container.id, found.link_target)
    inventory = None
    if found is not None and found.is_dir and source.container.running:
        inventory = _inventory(
            run, source, found_source.path if found_source.path.endswith("/.") else plain
        )
    try:
        _read(
            run, source, destination, found_source, found, inventory, landing, into_directory, wants
        )
    finally:
        if inventory is not None:
            inventory.close()


def _inventory(run: Run, source: Place, path: str) -> Inventory | None:
    """What a directory holds, listed now or while its archive is read.

    None where only the archive itself could be read for it, which tells nothing more.
    """
    engine, container = run.engine, source.container.id
    first = run.options.update or run.list_first
    begin = None if first else getattr(engine, "list_beside", None)
    beside = begin(container, path) if begin is not None else None
    can_list = getattr(engine, "can_list", None)
    if beside is None and can_list is not None and not can_list(container):
        return None
    return Inventory(run, source, path, beside=beside)


def _read(
    run: Run,
    source: Place,
    destination: str,
    found_source: Source,
    found: Stat | None,
    inventory: Inventory | None,
    landing: Landing,
    into_directory: bool,
    wants: Wants | None,
) -> None:
    """Read the archive, and what it lacks, and let it become visible."""
    options = run.options
    plain = clean(found_source.path)
    live = source.reach.is_live(plain) and source.container.running
    if options.update and inventory is not None and found is not None and not options.follow_all:
        from jupyter_volcopy.core.transfer_again import pull_changed

        known = Source(found_source.path, found_source.name, True, found_source.contents)
        placement = _place(known, landing, destination, into_directory, run)
        if pull_changed(run, source, known, found, inventory, placement, wants):
            return
    digests = _digests(run, source, found_source.path)  # before: an open archive blocks others
    reader = _open(run, source, found_source.path, live)
    try:
        kind = _kind(reader.stat) or _kind(found)
        is_dir = _is_dir(found_source, kind, reader.stat)
        known = Source(found_source.path, found_source.name, is_dir, found_source.contents)
        placement = _place(known, landing, destination, into_directory, run)
        if not options.update:
            _check_room(placement.directory, inventory, reader)
    except BaseException:
        reader.close()
        raise
    if kind is Kind.SOCKET:
        reader.close()
        run.report.warnings.append(
            Note(source.typed, "a socket: sockets cannot be copied", "socket")
        )
        return
    local = _local(run, placement, digests) if options.update else None
    if local is not None and kind is Kind.FILE:
        run.sure()
        if _is_same(run, local, reader.stat):
            reader.close()
            return
    incoming = Incoming(
        seen=set() if inventory is not None else None, written=[] if options.verify else None
    )
    stage = Stage(
        placement.directory,
        placement.name,
        safe=options.safe,
        owner=pull_owner(options, run.report),
        journal=run.journal,
        durable=options.durable,
        merge_top=not placement.name,
    )
    try:
        nested = source.reach.live_below(plain) if is_dir and source.container.running else []
        inner = {target[len(plain.rstrip("/")) + 1 :] for target in nested}
        left = None
        if wants is not None or local is not None:
            from jupyter_volcopy.core.again import LeftOut

            left = LeftOut(wants, local)
        _receive(run, reader, stage, found_source, placement, is_dir, left, inner, incoming)
        for target, rel in zip(nested, sorted(inner), strict=True):
            left = LeftOut(wants, local, rel) if left is not None else None
            _receive_mount(run, source, stage, target, rel, placement, left, incoming)
        if incoming.later or incoming.links:
            from jupyter_volcopy.core.single import Fetcher

            fetcher = Fetcher(run, source, stage, placement, incoming, wants)
            fetcher.later(plain)
            fetcher.follow(plain)
        if inventory is not None and incoming.seen is not None:
            inventory.settle()
            inventory.believe(incoming.seen)
            inventory.adopt(reader)
            from jupyter_volcopy.core.changed import look_again_below

            inventory.compare(incoming.seen, incoming)
            look_again_below(run, source, plain, inventory, stage, placement, incoming)
        elif reader.stat is not None and reader.stat.size >= CAN_CHANGE and kind is Kind.FILE:
            from jupyter_volcopy.core.changed import look_again

            look_again(run, source, plain, reader.stat, incoming)
        if not incoming.entries:
            if incoming.failed or incoming.skipped:
                run.sure()
                stage.abort()
                _say(run, stage, incoming)
                return
            raise CutStream(f"unexpected EOF: the archive of {source.typed} is empty")
        finish(run, stage, placement, incoming)
    except BaseException:
        stage.abort()
        if inventory is not None and not run.cancel.asked:
            inventory.refused()
        raise
    if options.verify:
        from jupyter_volcopy.core.verify import verify_pull

        verify_pull(run, source, found_source.path, placement, incoming.written or [])


def finish(run: Run, stage: Stage, placement: Placement, incoming: Incoming) -> None:
    """Let what was written aside become visible, and say what was done.

    Raises:
        VolcopyError: nothing at the destination was changed; the stage is still to be aborted.
    """
    options = run.options
    run.cancel.check()
    existing: Literal["replace", "keep", "backup"] = "replace"
    if options.backup or options.no_clobber:
        existing = "keep" if options.no_clobber else "backup"
    stage.check(existing=existing)
    run.sure()
    landed = stage.commit(existing=existing)
    run.report.created += landed.created
    run.report.replaced += landed.replaced
    for name in landed.kept:
        shown = name or placement.name
        run.report.skipped.append(Note(shown, "exists already (--no-clobber)", "exists"))
    if incoming.written is not None and landed.kept:
        kept = set(landed.kept)
        incoming.written = [name for name in incoming.written if name not in kept]
    run.report.landed.append(placement.path)
    _say(run, stage, incoming)


def _say(run: Run, stage: Stage, incoming: Incoming) -> None:
    report = run.report
    report.files += incoming.files
    report.entries += incoming.entries
    report.bytes += incoming.bytes
    report.skipped.extend(incoming.skipped)
    report.warnings.extend(incoming.warnings)
    report.warnings.extend(stage.notes)
    report.failed.extend(incoming.failed)


def _is_dir(source: Source, kind: Kind | None, of_reader: Stat | None) -> bool:
    if kind is Kind.DIRECTORY:
        return True
    if kind is Kind.SYMLINK and source.path.endswith(("/", "/.")):
        return True  # the engine follows it (rule R30)
    return kind is None and (of_reader is None) and source.is_dir


def _digests(run: Run, source: Place, path: str) -> dict[str, bytes] | None:
    """What every file of the source holds, for `--update --checksum`."""
    if not run.options.update or not run.options.checksum:
        return None
    from jupyter_volcopy.core.again import container_digests

    return container_digests(run, source, path)


def _local(run: Run, placement: Placement, digests: dict[str, bytes] | None) -> Local:
    """What stands here, for `--update`."""
    from jupyter_volcopy.core.again import Local

    return Local(
        run.options,
        placement.path,
        merge_top=not placement.name,
        owner=pull_owner(run.options),
        digests=digests,
    )


def _is_same(run: Run, local: Local, found: Stat | None) -> bool:
    """Whether a single file need not be read at all."""
    if found is None or run.options.numeric_owner:
        return False
    from jupyter_volcopy.core.again import EQUAL

    entry = Entry(found.name, Kind.FILE, found.mode, 0, 0, found.size, found.mtime_ns)
    if not local.same(entry, ""):
        return False
    run.report.skipped.append(Note(found.name, EQUAL, "equal"))
    return True


def _check_room(directory: str, inventory: Inventory | None, reader: ArchiveReader) -> None:
    """Refuse what cannot fit, before the first byte (case O14)."""
    if inventory is not None:
        inventory.check_room(directory, reader.close)
        return
    found = reader.stat
    needed = found.size if found is not None and found.kind is Kind.FILE else 0
    if needed >= ROOM_MATTERS:
        from jupyter_volcopy.core.room import check_local

        check_local(directory, needed)


def _place(
    source: Source, landing: Landing, typed: str, into_directory: bool, run: Run
) -> Placement:
    if run.options.parents:
        from jupyter_volcopy.core.ancestors import as_directory, make_local

        there = as_directory(landing, is_dir=source.is_dir, into_directory=into_directory)
        if there is not landing:
            make_local(run, there.path)
            landing = there
    if into_directory and not landing.is_dir:
        raise NoSuchPath(
            f"several sources need an existing directory, {typed!r} is none",
            hint="make it first",
        )
    return place(source, landing, typed)


def _receive(
    run: Run,
    reader: ArchiveReader,
    stage: Stage,
    source: Source,
    placement: Placement,
    is_dir: bool,
    left: LeftOut | None,
    inner: set[str],
    incoming: Incoming,
) -> None:
    options = run.options
    plain = clean(source.path)
    top = "." if source.path.endswith("/.") else base_name(plain)
    prefixes = tuple(rel + "/" for rel in inner)

    def hidden(rel: str) -> bool:
        return rel.startswith(prefixes)

    members = Members(
        top,
        placement,
        is_dir,
        keep_links=options.keep_links or options.follow_all,
        skip_bad_links=options.skip_bad_links,
    )
    receive(
        reader,
        stage,
        members,
        left=left,
        follow=options.follow_all,
        hidden=hidden if prefixes else None,
        max_entries=options.max_entries,
        max_bytes=options.max_bytes,
        meter=run.meter,
        cancel=run.cancel,
        into=incoming,
    )


def _receive_mount(
    run: Run,
    source: Place,
    stage: Stage,
    target: str,
    rel: str,
    placement: Placement,
    left: LeftOut | None,
    incoming: Incoming,
) -> None:
    """What lies in a mount which the archive API does not see, below the copied tree."""
    options = run.options
    try:
        reader = _open(run, source, target + "/.", True)
    except VolcopyError as error:
        incoming.failed.append(
            Note(rel, f"is mounted in memory and was not copied: {error.message}", "hidden")
        )
        return
    within = Placement(placement.directory, "/".join(p for p in (placement.name, rel) if p))
    members = Members(
        ".",
        within,
        True,
        keep_links=options.keep_links,
        skip_bad_links=options.skip_bad_links,
    )
    part = Incoming(
        seen=set() if incoming.seen is not None else None,
        written=[] if incoming.written is not None else None,
    )
    receive(
        reader,
        stage,
        members,
        below=rel,
        left=left,
        max_entries=options.max_entries,
        max_bytes=options.max_bytes,
        meter=run.meter,
        cancel=run.cancel,
        into=part,
    )
    incoming.take(part, rel)


# -- to a stream


class _Tee:
    """A byte source that also writes all it gives to a stream."""

    def __init__(self, spool: Spool, out: BinaryIO) -> None:
        self._spool = spool
        self._out = out

    def readinto(self, buffer: memoryview) -> int:
        count = self._spool.readinto(buffer)
        if count:
            self._out.write(buffer[:count])
        return count


def pull_stream(run: Run, source: Place, out: BinaryIO) -> None:
    """Write the engine's archive of one path to `out`, unchanged (rule R60).

    The engine is read at full speed into a spool, whatever the pace of `out` (design E1). The
    archive is read along: one without its proper end is a failure.

    Raises:
        CutStream: the archive ended before its end; what came before was written.
    """
    import threading

    from jupyter_volcopy.core.spool import Spool

    options = run.options
    typed = source.path if source.path.startswith("/") else "/" + source.path
    found_source, _ = container_source(
        run.engine, source.container, source.path, follow=options.follow_link
    )
    plain = clean(found_source.path)
    source.reach.check_live(plain, source.typed)
    live = source.reach.is_live(plain) and source.container.running
    path = "/" if plain == "/" and not typed.endswith("/.") else found_source.path
    reader = _open(run, source, path, live)
    if reader.stat is not None and reader.stat.kind is Kind.SOCKET:
        run.report.warnings.append(
            Note(source.typed, "a socket: sockets cannot be copied", "socket")
        )
    if reader.stat is not None and reader.stat.is_dir and source.container.running:
        run.report.warnings += [
            Note(
                target, "is mounted in memory, and not in the archive: copy it by itself", "hidden"
            )
            for target in source.reach.live_below(plain)
        ]
    spool = Spool()

    def fill() -> None:
        buffer = memoryview(bytearray(1 << 20))
        try:
            while count := reader.readinto(buffer):
                spool.write(buffer[:count])
            spool.end()
        except BaseException as error:  # handed over to the reading side, which raises it
            spool.fail(error)
        finally:
            reader.close()

    thread = threading.Thread(target=fill, name="volcopy-spool", daemon=True)
    thread.start()

    def close() -> None:
        reader.close()
        spool.fail(TransferCancelled("cancelled"))

    try:
        with run.cancel.closing(close):
            tar = TarReader(_Tee(spool, out), lenient=True)
            for entry in tar:
                run.meter.entries += 1
                run.meter.bytes += entry.size
                run.meter.current = entry.name
                run.cancel.check()
                run.report.entries += 1
                run.report.files += entry.kind is Kind.FILE
                run.report.bytes += entry.size
            out.flush()
            if not tar.complete:
                raise CutStream(f"unexpected EOF: the archive of {source.typed} has no end mark")
    finally:
        reader.close()
        thread.join(5)
        spool.close()
    run.report.landed.append("-")
