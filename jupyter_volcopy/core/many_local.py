"""A local tree as one archive, and back: between a command and the service that works for it."""

from __future__ import annotations

import tarfile

from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.localfs import local_error
from jupyter_volcopy.core.members import Members
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.plan import Placement
from jupyter_volcopy.core.stage import Stage
from jupyter_volcopy.core.tar_reader import ByteSource, TarReader
from jupyter_volcopy.errors import UsageError

__all__ = ["land", "pack"]


def pack(path: str, name: str, archive: str) -> None:
    """Write a local file or directory into an archive.

    Args:
        path: of the file or directory; links in it stay links.
        name: how its top is called in the archive.
        archive: local path of the archive; must not be there.

    Raises:
        LocalError: something cannot be read or written.
    """

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    try:
        with tarfile.open(
            archive, "x:", format=tarfile.PAX_FORMAT, errors="surrogateescape"
        ) as tar:
            tar.add(path, name, filter=plain)
    except OSError as error:
        raise local_error(error, "pack", path) from None


def land(source: ByteSource, directory: str, name: str, *, max_bytes: int, max_entries: int) -> str:
    """Unpack an archive with one top into a local directory, safely and all or nothing.

    Args:
        source: the archive.
        directory: existing.
        name: the archive's top; also its name there, which must not be taken.
        max_bytes, max_entries: of content.

    Returns:
        The path it landed at.

    Raises:
        UnsafeEntry, LimitExceeded, CutStream: it is no archive that may be unpacked.
        UsageError: there is nothing in it.
    """
    journal = Journal()
    members = Members(name, Placement(directory, name), None, keep_links=True)
    stage = Stage(directory, name, safe=True, owner=None, journal=journal)
    try:
        with stage:
            archive = TarReader(source, lenient=True, max_bytes=max_bytes, max_entries=max_entries)
            empty = True
            for entry in archive:
                entry.name = entry.name.rstrip("/")
                rel = members.admit(entry)
                if rel is None:
                    continue
                stage.add(entry, rel, archive.read if entry.kind is Kind.FILE else None)
                empty = False
            if empty:
                raise UsageError("the archive is empty")
            stage.check()
            stage.commit(existing="replace")
    finally:
        journal.close()
    return f"{directory.rstrip('/')}/{name}"
