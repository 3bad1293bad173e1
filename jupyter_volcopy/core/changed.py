"""A second look at what was read, before anything of it is visible (safety F12, case O15).

The engine says nothing when a file changes under its hands: what comes is a mixture. So size and
time of every file large enough to be caught in the middle are asked for again once the stream has
ended. What only grew is a sound prefix, and that is said. What changed otherwise is read once more;
if it changes then, too, it does not get its name, unless that was asked for (`--inconsistent`).
"""

from __future__ import annotations

import os
import stat as stat_bits

from jupyter_volcopy.core.engine import CAN_CHANGE
from jupyter_volcopy.core.here import is_here
from jupyter_volcopy.core.model import Kind, Stat
from jupyter_volcopy.core.paths import encode, join
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.transfer import ROOT_USER, Place, Run
from jupyter_volcopy.errors import NotFound, SourceChanged, VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jupyter_volcopy.core.inventory import Inventory
    from jupyter_volcopy.core.localfs import Tree
    from jupyter_volcopy.core.plan import Placement
    from jupyter_volcopy.core.pull import Incoming
    from jupyter_volcopy.core.stage import Stage

__all__ = ["look_again", "look_again_below", "refuse_below"]

_MANY = 200  # files asked for one by one
_SECOND = 1_000_000_000
_TICK = 10_000_000  # nanoseconds by which the kernel's time of a file may lie behind the clock
_HINT = "copy again when nobody writes there, or take it as it is with --inconsistent"


def _stat(run: Run, source: Place, path: str) -> Stat | None:
    live = source.reach.is_live(path)
    try:
        found = run.engine.stat(source.container.id, path, user=ROOT_USER if live else None)
    except NotFound:
        return None
    return found if found.kind is Kind.FILE else None


def _grew(path: str, size: int) -> Note:
    return Note(path, f"grew while it was read; its first {size} bytes were copied", "grew")


def look_again(run: Run, source: Place, path: str, before: Stat, into: Incoming) -> None:
    """A single file that was read to its end.

    Args:
        run: the transfer.
        source: the container's side.
        path: absolute, links resolved.
        before: what the engine said of it when it began to read.
        into: gets the notes.

    Raises:
        SourceChanged: it did not only grow.
    """
    if before.size < CAN_CHANGE or not source.container.running:
        return
    after = _stat(run, source, path)
    if after is None or (after.size, after.mtime_ns) == (before.size, before.mtime_ns):
        return  # one that was removed or replaced by something else was read from what was open
    if after.size > before.size:
        into.warnings.append(_grew(source.typed, before.size))
    elif run.options.inconsistent:
        into.warnings.append(Note(source.typed, "changed while it was read", "changed"))
    else:
        raise SourceChanged(f"{source.typed}: changed while it was read", hint=_HINT)


def _changed_below(
    run: Run, source: Place, plain: str, inventory: Inventory, into: Incoming
) -> dict[str, tuple[int, Stat]]:
    """Files of a directory that changed since it was listed, or since they began to be read.

    What was listed may be newer than what was read (`Inventory.beside`), and a header knows whole
    seconds only: so both are looked at.

    Args:
        run: the transfer.
        source: the container's side.
        plain: the directory.
        inventory: the listing.
        into: what was read.

    Returns:
        By path below the directory: size then, and what stands there now.
    """
    listed = {
        item.name: (item.size, item.mtime_ns)
        for item in inventory.entries
        if item.kind is Kind.FILE and item.size >= CAN_CHANGE and item.name in (into.seen or ())
    }
    names = [*dict.fromkeys((*listed, *into.large))]
    since = inventory.began - _TICK if names and is_here(run.engine.address) else None

    def differs(name: str, size: int, when: int) -> bool:
        known = (into.large.get(name), listed.get(name))
        return any(it and (it[0] != size or _later(it[1], when, since)) for it in known)

    if len(names) > _MANY:
        listing = run.engine.list_dir(source.container.id, plain, recursive=True)
        now = {item.name: (item.size, item.mtime_ns) for item in listing.entries}
        names = [name for name in names if name in now and differs(name, *now[name])][:_MANY]
    found: dict[str, tuple[int, Stat]] = {}
    for name in names:
        after = _stat(run, source, join(plain, name))
        if after is not None and differs(name, after.size, after.mtime_ns):
            size, _ = into.large.get(name) or listed[name]
            found[name] = size, after
    return found


def _later(listed: int, now: int, since: int | None) -> bool:
    """Whether a file was written after it was listed, as far as its time tells.

    Args:
        listed: its time in nanoseconds then.
        now: its time in nanoseconds; some programs tell whole seconds only.
        since: when the listing began, by our clock; None where the engine's is another.
    """
    if listed % _SECOND and now % _SECOND:
        return now != listed
    seconds = (now // _SECOND, (now + _SECOND // 2) // _SECOND)  # podman's archives round it
    return listed // _SECOND not in seconds or (since is not None and since <= now)


def look_again_below(
    run: Run,
    source: Place,
    plain: str,
    inventory: Inventory,
    stage: Stage,
    placement: Placement,
    into: Incoming,
) -> None:
    """The files of a directory that was read to its end; what changed is read once more.

    Args:
        run: the transfer.
        source: the container's side.
        plain: the directory, absolute.
        inventory: what it held before.
        stage: where it is written aside.
        placement: where its top lands.
        into: gets the notes.

    Raises:
        SourceChanged: one changed, and it cannot be taken out of what is staged.
    """
    changed = _changed_below(run, source, plain, inventory, into)
    if not changed:
        return
    from jupyter_volcopy.core.single import Fetcher

    fetcher = Fetcher(run, source, stage, placement, into)
    for rel, (size, after) in changed.items():
        with stage.staged() as tree:
            there = _staged(tree, rel)
            if there is None:
                continue  # left out
            if after.size > size >= there:
                into.warnings.append(_grew(rel, there))
                continue
            if run.options.inconsistent:
                into.warnings.append(Note(rel, "changed while it was read", "changed"))
                continue
            _withdraw(tree, rel, into)
        if not fetcher.fetch(join(plain, rel), rel):
            continue
        again = _stat(run, source, join(plain, rel))
        if again is None or (again.size, again.mtime_ns) == (after.size, after.mtime_ns):
            continue
        if again.size > after.size:
            into.warnings.append(_grew(rel, after.size))
            continue
        with stage.staged() as tree:
            _withdraw(tree, rel, into)
        into.failed.append(Note(rel, "changed while it was read", "changed"))


def refuse_below(run: Run, source: Place, plain: str, inventory: Inventory, into: Incoming) -> None:
    """The files of a directory that was taken in and is to be sent on as it is.

    Args:
        run: the transfer.
        source: the container's side.
        plain: the directory, absolute.
        inventory: what it held before.
        into: gets the notes.

    Raises:
        SourceChanged: one did not only grow.
    """
    for rel, (size, after) in _changed_below(run, source, plain, inventory, into).items():
        if after.size > size:
            into.warnings.append(_grew(rel, size))
        elif run.options.inconsistent:
            into.warnings.append(Note(rel, "changed while it was read", "changed"))
        else:
            raise SourceChanged(f"{rel}: changed while it was read", hint=_HINT, path=rel)


def _staged(tree: Tree, rel: str) -> int | None:
    """Bytes of a staged file, None where there is none."""
    try:
        info = tree.stat(rel)
    except VolcopyError:
        return None
    return info.st_size if stat_bits.S_ISREG(info.st_mode) else None


def _withdraw(tree: Tree, rel: str, into: Incoming) -> None:
    """Take a file out of what is staged; its directory keeps its time."""
    above, _, name = rel.rpartition("/")
    try:
        fd = tree.open_dir(above)
        try:
            info = os.fstat(fd)
            size = os.stat(encode(name), dir_fd=fd, follow_symlinks=False).st_size
            os.unlink(encode(name), dir_fd=fd)
            os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
        finally:
            os.close(fd)
    except (OSError, VolcopyError):
        raise SourceChanged(f"{rel}: changed while it was read", hint=_HINT, path=rel) from None
    into.entries -= 1
    into.files -= 1
    into.bytes -= size
    if into.written is not None and rel in into.written:
        into.written.remove(rel)
