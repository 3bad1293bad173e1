"""Free space at a destination, where it can be known without trying (case O14).

Locally, and where the engine is on this machine (see `here`) and we are root, the kernel is asked
about the very file system; else a running container's own `df`, if the copy is large enough to be
worth the call. What cannot be known is not guessed: the copy then finds out itself, and nothing of
what was there is lost.
"""

from __future__ import annotations

import os

from jupyter_volcopy.core.here import is_here
from jupyter_volcopy.core.paths import encode, parent
from jupyter_volcopy.core.transfer import ROOM_MATTERS, Place, Run
from jupyter_volcopy.errors import NoSpace, VolcopyError

__all__ = ["check", "check_local", "container_free", "local_free", "too_little"]

_WORTH_A_CALL = 64 << 20  # bytes from which a program in the container is asked


def local_free(path: str) -> int | None:
    """Bytes free for us in the file system of `path` or of the nearest directory above it."""
    while True:
        try:
            room = os.statvfs(encode(path))
            return room.f_bavail * room.f_frsize if room.f_blocks else None
        except OSError:
            if path in ("/", ""):
                return None
            path = parent(path)


def container_free(run: Run, place: Place, path: str, *, ask: bool) -> int | None:
    """Bytes free at `path` of a container, or None where that cannot be known.

    Args:
        run: the transfer.
        place: the container's side.
        path: absolute; what of it is not there yet does not matter.
        ask: whether a program of the container may be run for it.
    """
    reach, container = place.reach, place.container
    holder = reach.holder(path)
    mount = reach.mounts.get(holder)
    live = reach.is_live(path)
    on_host = ""
    if mount is not None and mount.type == "volume" and mount.driver in ("", "local"):
        on_host = mount.source if container.running or not _by_options(run, mount.name) else ""
    elif holder == "/" and not live:
        driver = container.raw.get("GraphDriver") or {}
        on_host = str((driver.get("Data") or {}).get("UpperDir") or "")
    if on_host and os.geteuid() == 0 and is_here(run.engine.address):
        try:
            room = os.statvfs(encode(on_host))
            return room.f_bavail * room.f_frsize
        except OSError:
            pass  # the engine lives in another mount namespace
    if container.running and (ask or live):
        return _df(run, container.id, path)
    return None


def _by_options(run: Run, volume: str) -> bool:
    """Whether a volume is mounted only while it is used (NFS, tmpfs and the like)."""
    try:
        return any(item.name == volume and item.options for item in run.engine.volumes())
    except VolcopyError:
        return True


def _df(run: Run, container: str, path: str) -> int | None:
    """What `df -P` says of `path`, or of the nearest directory above it."""
    at = path
    for _ in range(64):
        try:
            done = run.engine.execute(container, ["df", "-P", "-k", at])
        except VolcopyError:
            return None
        if done.exit_code in (126, 127):
            return None
        lines = done.stdout.splitlines()
        if done.exit_code == 0 and len(lines) >= 2:
            fields = lines[-1].split()
            if len(fields) >= 6 and fields[1].isdigit() and int(fields[1]) and fields[3].isdigit():
                return int(fields[3]) * 1024
            return None
        if at == "/":
            return None
        at = parent(at)
    return None


def check(
    run: Run, place: Place, path: str, total: int, largest: int, *, replaced: int, freed: int
) -> None:
    """Refuse, before the first byte is sent, what cannot fit in the container.

    Args:
        run: the transfer.
        place: the container's side.
        path: where it lands.
        total: bytes of all files.
        largest: bytes of the largest: it needs that much beside the file it replaces.
        replaced: how many files are replaced.
        freed: bytes of those, where known.

    Raises:
        NoSpace: naming needed and free bytes.
    """
    needed = max(largest, total - freed) if replaced else total
    if needed < ROOM_MATTERS:
        return
    free = container_free(run, place, path, ask=needed >= _WORTH_A_CALL)
    if free is not None and needed > free:
        raise too_little(f"at {place.typed}", needed, free)


def check_local(path: str, needed: int) -> None:
    """Refuse, before the first byte is written, what cannot fit here.

    Args:
        path: the directory it lands in.
        needed: bytes that are surely needed.

    Raises:
        NoSpace: naming needed and free bytes.
    """
    if needed < ROOM_MATTERS:
        return
    free = local_free(path)
    if free is not None and needed > free:
        raise too_little(f"in {path}", needed, free)


def too_little(place: str, needed: int, free: int) -> NoSpace:
    """The error for what cannot fit: nothing is changed then.

    Args:
        place: where it was to land, for the message.
        needed, free: bytes.
    """
    return NoSpace(
        f"no space left on device: {needed} bytes are needed {place}, {free} are free",
        hint="nothing was changed; make room there, then run it again",
        needed=needed,
        free=free,
    )
