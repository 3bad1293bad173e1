"""A pull that fetches only what changed: `--update` from a running container.

A program in the container lists the tree; what is the same here is not asked for. A few files that
changed are fetched one by one, since each costs a call; of many the whole archive is read, and what
is the same is passed over there.
"""

from __future__ import annotations

from collections.abc import Callable

from jupyter_volcopy.core.again import LeftOut, Local, container_digests
from jupyter_volcopy.core.changed import look_again_below
from jupyter_volcopy.core.inventory import Inventory
from jupyter_volcopy.core.model import Entry, Kind, Stat
from jupyter_volcopy.core.ownership import directory_owner, pull_owner
from jupyter_volcopy.core.paths import clean, join
from jupyter_volcopy.core.plan import Placement, Source
from jupyter_volcopy.core.pull import Incoming
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.room import check_local
from jupyter_volcopy.core.single import Fetcher
from jupyter_volcopy.core.stage import Stage
from jupyter_volcopy.core.transfer import Place, Run
from jupyter_volcopy.core.transfer_pull import finish

__all__ = ["pull_changed"]

_FEW = 8  # files always fetched one by one
_CALL = 0.06  # seconds for the archive of one file, measured
_ENTRY = 0.0002  # seconds for one member of a large archive
_RATE = 300e6  # bytes a second of either


def _few(changed: list[Entry], inventory: Inventory) -> bool:
    if len(changed) <= _FEW:
        return True
    single = len(changed) * _CALL + sum(entry.size for entry in changed) / _RATE
    everything = sum(item.size for item in inventory.entries)
    return single < len(inventory.entries) * _ENTRY + everything / _RATE


def pull_changed(
    run: Run,
    source: Place,
    known: Source,
    found: Stat,
    inventory: Inventory,
    placement: Placement,
    wants: Callable[[str, Kind, int, int], str | None] | None,
) -> bool:
    """Fetch what is not the same here, if that is little.

    Args:
        run: the transfer; its report is filled.
        source: the container's side.
        known: the directory that is copied.
        found: its stat.
        inventory: everything in it.
        placement: where it lands.
        wants: filter.

    Returns:
        False, and nothing was done, where the whole archive is the better way.

    Raises:
        VolcopyError: nothing at the destination was changed.
    """
    options = run.options
    plain = clean(known.path)
    if plain == "/" or not inventory.complete:
        return False  # the kernel's own trees are in the listing; what is not cannot be fetched
    digests = container_digests(run, source, known.path) if options.checksum else None
    owner = pull_owner(options, run.report)
    local = Local(
        options, placement.path, merge_top=not placement.name, owner=owner, digests=digests
    )
    left = LeftOut(wants, local)
    incoming = Incoming(written=[] if options.verify else None)
    uid, gid = found.uid or 0, found.gid or 0
    if owner == "keep" and found.uid is None:
        uid, gid = directory_owner(run.engine, source.container.id, plain)
    top = Entry("", Kind.DIRECTORY, found.mode, uid, gid, 0, found.mtime_ns)
    directories: dict[str, Entry] = {"": top}
    needed: set[str] = set() if local.same(top, "") else {""}
    changed: list[Entry] = []
    for item in inventory.entries:
        size = item.size if item.kind is Kind.FILE else 0
        entry = Entry(
            item.name, item.kind, item.mode, item.uid, item.gid, size, item.mtime_ns,
            item.link_target,
        )  # fmt: skip
        note = left.why(entry, item.name)
        if note is not None:
            if note.text:
                incoming.skipped.append(note)
        elif item.kind is Kind.DIRECTORY:
            directories[item.name] = entry
            if not local.same(entry, item.name):
                needed.add(item.name)
        elif item.kind is Kind.SOCKET:
            incoming.warnings.append(
                Note(item.name, "a socket: sockets cannot be copied", "socket")
            )
        else:
            changed.append(entry)
    if not _few(changed, inventory):
        return False
    for entry in changed:
        above = entry.name.rpartition("/")[0]
        while above not in needed:
            needed.add(above)
            above = above.rpartition("/")[0]
    report = run.report
    if not changed and not needed:
        run.sure()
        report.skipped.extend(incoming.skipped)
        report.warnings.extend(incoming.warnings)
        report.landed.append(placement.path)
        return True
    for name in [*needed]:
        while name:
            name = name.rpartition("/")[0]
            needed.add(name)
    check_local(placement.directory, sum(entry.size for entry in changed))
    run.meter.entries_total = len(changed) + len(needed)
    run.meter.bytes_total = sum(entry.size for entry in changed)
    stage = Stage(
        placement.directory,
        placement.name,
        safe=options.safe,
        owner=owner,
        journal=run.journal,
        durable=options.durable,
        merge_top=not placement.name,
    )
    try:
        for name in sorted(needed):
            stage.add(directories[name], name)
            incoming.entries += 1
        fetcher = Fetcher(run, source, stage, placement, incoming)
        fetched = {
            entry.name for entry in changed if fetcher.fetch(join(plain, entry.name), entry.name)
        }
        incoming.seen = fetched
        look_again_below(run, source, plain, inventory, stage, placement, incoming)
        finish(run, stage, placement, incoming)
    except BaseException:
        stage.abort()
        raise
    if options.verify:
        from jupyter_volcopy.core.verify import verify_pull

        verify_pull(run, source, known.path, placement, incoming.written or [])
    return True
