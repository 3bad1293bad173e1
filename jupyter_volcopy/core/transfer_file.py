"""One file that somebody sent us, put into a container under a name of its own.

The content lies in an open file of ours already, whole, so that the engine gets it in one go and a
slow sender never holds the container's lock (design E1). From there it is an ordinary push.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from jupyter_volcopy.core.model import Entry, Kind, Stat
from jupyter_volcopy.core.ownership import push_owner
from jupyter_volcopy.core.paths import base_name, clean
from jupyter_volcopy.core.plan import Source, place
from jupyter_volcopy.core.push import Item
from jupyter_volcopy.core.room import check as check_room
from jupyter_volcopy.core.transfer import ROOT_USER, Place, Run, twice
from jupyter_volcopy.core.transfer_push import land, send_parts, sweep_container
from jupyter_volcopy.errors import IsADirectory, NoSuchPath, NotADirectory, Precondition

__all__ = ["put_file"]

_MODE = 0o644


def put_file(run: Run, destination: Place, fd: int, size: int, *, exclusive: bool = False) -> None:
    """Put a file at exactly `destination`; a file that is there keeps its permission bits.

    Args:
        run: the transfer; its report is filled.
        destination: the container's side; the path is the file's.
        fd: of an open file with the content; stays the caller's.
        size: bytes of it.
        exclusive: there must not be anything yet.

    Raises:
        IsADirectory, NotADirectory: a directory is there, or was meant.
        Precondition: something is there, with `exclusive`.
        VolcopyError: the old file is whole.
    """
    twice(run, lambda: _put(run, destination, fd, size, exclusive))


def _put(run: Run, destination: Place, fd: int, size: int, exclusive: bool) -> None:
    landing = land(run, destination, into_directory=False)
    if landing.is_dir:
        raise IsADirectory(f"{destination.typed} is a directory", hint="name a file in it")
    if landing.ends_as_dir:
        raise NotADirectory(f"not a directory: {destination.typed!r}")
    if landing.exists and exclusive:
        raise Precondition(f"{destination.typed} is there already")
    name = base_name(clean(landing.path))
    placement = place(Source(landing.path, name, False), landing, destination.typed)
    reach = destination.reach
    reach.check_writable(placement.path, destination.typed)
    user = ROOT_USER if reach.is_live(placement.path) else None
    before: Stat | None = None
    if landing.exists:
        try:
            before = run.engine.stat(destination.container.id, placement.path, user=user)
        except NoSuchPath:
            pass
    old = before if before is not None and before.kind is Kind.FILE else None
    check_room(run, destination, placement.path, size, size, replaced=int(old is not None), freed=0)
    uid, gid = push_owner(run, destination, placement.directory) or (0, 0)
    sweep_container(run, destination)

    def items(part: Callable[[str], bool] | None) -> Iterator[Item]:
        if part is None or part(placement.name):
            entry = Entry(
                placement.name,
                Kind.FILE,
                mode=old.mode & 0o777 if old is not None else _MODE,
                uid=uid,
                gid=gid,
                size=size,
                mtime_ns=time.time_ns() // 10**9 * 10**9,
            )
            yield Item(entry, lambda: (os.dup(fd), 0))

    run.meter.entries_total, run.meter.bytes_total = 1, size
    send_parts(run, destination, placement, items, has_files=True, top=Kind.FILE, merges=False)
    report = run.report
    report.files += 1
    report.entries += 1
    report.bytes += size
    report.created += before is None
    report.replaced += before is not None
    report.landed.append(f"{destination.container.name}:{placement.path}")
