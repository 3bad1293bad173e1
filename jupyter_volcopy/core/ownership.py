"""Whose the copied files are, where `docker cp`'s answer is not wanted.

Into a container: numbers, names looked up in it, `container` (the user Jupyter runs as there), or
`directory` (the owner of the directory it lands in). Out of one: a local user, or the container's
numbers. Nothing asked: the rules R40 to R42.
"""

from __future__ import annotations

import os

from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.options import CopyOptions
from jupyter_volcopy.core.paths import join
from jupyter_volcopy.core.plan import Landing
from jupyter_volcopy.core.report import Note, Report
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.transfer import ROOT_USER, Place, Run
from jupyter_volcopy.errors import CutStream, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

__all__ = ["directory_owner", "pull_owner", "push_owner"]

_MAX_ID = (1 << 32) - 2


def push_owner(
    run: Run, destination: Place, directory: str, landing: Landing | None = None
) -> tuple[int, int] | None:
    """Uid and gid of everything pushed, or None to keep the numbers of the source.

    Args:
        run: the transfer; its options `chown` and `safe` count.
        destination: the container's side.
        directory: absolute: where the top lands.
        landing: what was seen at the destination.

    Raises:
        UsageError, NotFound: no such owner.
    """
    options = run.options
    spec = options.chown or ("directory" if options.safe else "")
    if not spec:
        return None
    if spec != "directory":
        from jupyter_volcopy.core.owners import lookup

        return lookup(run.engine, destination.container.id, spec)
    if landing is not None and landing.owner and landing.is_dir and landing.path == directory:
        return landing.owner
    if options.parents:
        from jupyter_volcopy.core.ancestors import nearest

        directory, _ = nearest(run, destination, directory)
    live = destination.reach.is_live(directory)
    return directory_owner(run.engine, destination.container.id, directory, live=live)


def directory_owner(
    engine: Engine, container: str, directory: str, *, live: bool = False
) -> tuple[int, int]:
    """Uid and gid of a directory: from the first header of its archive, in any state.

    Where a program looks, as the user of the container, it has told already.
    """
    found = engine.stat(container, join(directory, "."), user=ROOT_USER if live else None)
    if found.uid is not None and found.gid is not None:
        return found.uid, found.gid
    path = directory if directory != "/" else "/."
    reader = engine.open_archive(container, path, live=live)
    try:
        for entry in TarReader(reader, lenient=True):
            return entry.uid, entry.gid
    finally:
        reader.close()
    raise CutStream(f"unexpected EOF: the archive of {directory} is empty")


def pull_owner(
    options: CopyOptions, report: Report | None = None
) -> tuple[int, int] | Literal["keep"] | None:
    """Uid and gid of everything pulled, `keep` for the container's numbers, None for the caller.

    Only root can give files away: for others it is None whatever they ask for, with a note.

    Args:
        options: `chown`, `numeric_owner`.
        report: where the note goes, once.

    Raises:
        UsageError: no such local user.
    """
    if not options.chown and not options.numeric_owner:
        return None
    if os.geteuid() != 0:
        note = Note(
            "", f"the files belong to uid {os.geteuid()}: only root can give them away", "owner"
        )
        if report is not None and note not in report.warnings:
            report.warnings.append(note)
        return None
    if not options.chown:
        return "keep"
    import grp
    import pwd

    user, colon, group = options.chown.partition(":")
    try:
        uid = _number(user)
        gid = uid
        if uid is None:
            found = pwd.getpwnam(user)
            uid, gid = found.pw_uid, found.pw_gid
        elif not colon:
            try:
                gid = pwd.getpwuid(uid).pw_gid
            except KeyError:
                pass  # nobody has that number: the same number
        if colon:
            gid = _number(group)
            gid = grp.getgrnam(group).gr_gid if gid is None else gid
    except KeyError:
        raise UsageError(
            f"no user or group {options.chown!r} on this machine",
            hint="write numbers, UID or UID:GID",
        ) from None
    assert gid is not None
    return uid, gid


def _number(text: str) -> int | None:
    """A user's or group's number; None for a name.

    Raises:
        KeyError: a number nobody can have.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 10 or int(text) > _MAX_ID:
        raise KeyError(text)
    return int(text)
