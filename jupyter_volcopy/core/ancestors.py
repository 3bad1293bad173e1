"""`--parents`: directories above the destination that are not there yet.

In a container they get the owner of the nearest one that is there, so that whoever owns the place
owns the way to it; here they are the caller's, as everything else. They are made as late as
possible; local ones go away again if the copy fails.
"""

from __future__ import annotations

import os
import time

from jupyter_volcopy.core.localfs import local_error
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.ownership import directory_owner
from jupyter_volcopy.core.paths import base_name, clean, encode, join, parent
from jupyter_volcopy.core.plan import Landing
from jupyter_volcopy.core.push import Item, send
from jupyter_volcopy.core.sides import local_path
from jupyter_volcopy.core.transfer import ROOT_USER, Place, Run
from jupyter_volcopy.errors import NoSuchPath, NotADirectory

__all__ = ["as_directory", "make", "make_local", "nearest", "undo"]

_SECOND = 1_000_000_000


def as_directory(landing: Landing, *, is_dir: bool, into_directory: bool) -> Landing:
    """`landing` as if the directory it names were there, where `--parents` will make it.

    Args:
        landing: what stands at the destination.
        is_dir: the source is a directory, which makes its own.
        into_directory: several sources.
    """
    if landing.exists or not (into_directory or (landing.ends_as_dir and not is_dir)):
        return landing
    return Landing(landing.path, True, True, True)


# -- here


def make_local(run: Run, directory: str) -> None:
    """Make `directory` and what is missing above it; `run.made` remembers what was made.

    Raises:
        NotADirectory: something else is in the way.
        LocalError: the disk refused.
    """
    path = clean(local_path(directory))
    missing = []
    while not os.path.lexists(encode(path)):
        missing.append(path)
        path = parent(path)
    if missing and not os.path.isdir(encode(path)):
        raise NotADirectory(f"mkdir {missing[-1]}: not a directory: {path!r}")
    for one in reversed(missing):
        try:
            os.mkdir(encode(one))
        except FileExistsError:
            continue
        except OSError as error:
            undo(run)
            raise local_error(error, "mkdir", one) from None
        run.made.append(one)


def undo(run: Run) -> None:
    """Remove the directories that were made, as far as they are empty."""
    while run.made:
        try:
            os.rmdir(encode(run.made.pop()))
        except OSError:
            continue


# -- in a container


def nearest(run: Run, destination: Place, directory: str) -> tuple[str, list[str]]:
    """The nearest directory that is there, links followed, and the names missing below it.

    Raises:
        NotADirectory: something else is in the way.
    """
    missing: list[str] = []
    at = directory
    while at != "/":
        live = destination.reach.is_live(at) and destination.container.running
        user = ROOT_USER if live else None
        try:
            found = run.engine.stat(destination.container.id, at, user=user)
        except (NoSuchPath, NotADirectory):
            missing.insert(0, base_name(at))
            at = parent(at)
            continue
        if found.kind is Kind.SYMLINK and found.link_target:
            at = clean(found.link_target)
            found = run.engine.stat(destination.container.id, at, user=user)
        if not found.is_dir:
            raise NotADirectory(
                f"extraction point is not a directory: {destination.container.name}:{at}",
                hint="a file is in the way of the directories to be made",
            )
        break
    return at, missing


def make(run: Run, destination: Place, directory: str) -> None:
    """Make what is missing of `directory` in the container, in any state."""
    at, missing = nearest(run, destination, directory)
    if not missing:
        return
    destination.reach.check_writable(join(at, missing[0]), destination.typed)
    live = destination.reach.is_live(at)
    uid, gid = directory_owner(run.engine, destination.container.id, at, live=live)
    now = int(time.time()) * _SECOND
    names = ["/".join(missing[: end + 1]) for end in range(len(missing))]
    items = [Item(Entry(name, Kind.DIRECTORY, 0o755, uid, gid, 0, now)) for name in names]
    send(
        run.engine,
        destination.container.id,
        at,
        items,
        journal=run.journal,
        live=live,
        staged=False,
        cancel=run.cancel,
    )
