"""What stands at the two sides of a copy, asked before anything is moved.

Local paths are made absolute and cleaned lexically, as the reference does (rule R7); which links
are followed is R30 to R32. Everything found here is a fact of one moment: whoever writes later
works by descriptor and refuses what changed in between.
"""

from __future__ import annotations

import os

from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.localfs import local_stat
from jupyter_volcopy.core.model import Container, Kind, Stat
from jupyter_volcopy.core.paths import base_name, clean, clean_keeping_end, join, parent
from jupyter_volcopy.core.plan import Landing, Source
from jupyter_volcopy.core.record import Value
from jupyter_volcopy.errors import (
    Conflict,
    EngineError,
    LocalError,
    NoSuchPath,
    NotADirectory,
    UsageError,
)

__all__ = [
    "ContainerSide",
    "container_landing",
    "container_source",
    "local_landing",
    "local_path",
    "local_source",
]

LINKS = 10
"""How many links the reference follows at a local destination (moby `CopyInfoDestinationPath`)."""

_DANGLING = 'cannot overwrite non-directory "{}" with a directory: it is a link to nothing'


def local_path(path: str) -> str:
    """`path` absolute and cleaned, a trailing `/` or `/.` kept."""
    if not path.startswith("/"):
        try:
            path = join(os.getcwd(), path)
        except FileNotFoundError:
            raise NoSuchPath(
                f"{path}: the working directory is gone", hint="cd to a directory that is there"
            ) from None
    return clean_keeping_end(path)


def _real(path: str, shown: str) -> str:
    """`path` with every link resolved; it must exist.

    What lies in a directory that the caller holds by descriptor (`/proc/self/fd/N/NAME`) is left
    as it is: its name may mean something else by now (safety section 2).
    """
    if path.startswith("/proc/self/fd/"):
        return path if "/" in path[14:] else path + "/."
    try:
        return os.path.realpath(path, strict=True)
    except OSError as error:
        if error.errno == 40:  # ELOOP
            raise LocalError(f"EvalSymlinks: too many links: {shown!r}") from None
        if isinstance(error, FileNotFoundError):
            raise NoSuchPath(
                f"lstat {error.filename or shown}: no such file or directory",
                hint="nothing of that name is here",
            ) from None
        raise LocalError(f"lstat {shown}: {error.strerror}") from None


def local_source(typed: str, *, follow: bool) -> tuple[Source, Stat]:
    """The local source `typed` (rules R15, R16, R20, R30).

    Args:
        typed: as it was typed; relative to the working directory.
        follow: `-L`: follow it if it is a link itself.

    Raises:
        UsageError: empty.
        NoSuchPath: not there, or a followed link leads nowhere.
        NotADirectory: `file/`.
    """
    if not typed:
        raise UsageError("source can not be empty")
    path = local_path(typed)
    contents = path.endswith("/.") or path == "/"
    as_dir = contents or path.endswith("/")
    plain = clean(path)
    name = base_name(plain)
    if as_dir or follow:
        resolved = _real(plain, plain)
    else:
        resolved = join(_real(parent(plain), plain), name) if plain != "/" else "/"
    found = local_stat(resolved)
    if found is None:
        raise NoSuchPath(
            f"lstat {plain}: no such file or directory", hint="nothing of that name is here"
        )
    if as_dir and not found.is_dir:
        raise NotADirectory(f"not a directory: {typed!r}")
    return Source(resolved, name, found.is_dir, contents), found


def local_landing(typed: str, *, follow: bool = True) -> Landing:
    """What stands at the local destination `typed` (rules R14, R32, R50).

    Args:
        typed: as it was typed.
        follow: whether the named destination is followed if it is a link (README 3).

    Raises:
        UsageError: empty.
        NoSuchPath: its parent is not there.
        Conflict: a device, or a chain of links.
    """
    if not typed:
        raise UsageError("destination can not be empty")
    path = local_path(typed)
    plain = clean(path)
    above = parent(plain)
    if not os.path.exists(above):
        raise NoSuchPath(
            f'invalid output path: directory "{above}" does not exist',
            hint="make it first, or use --parents",
        )
    as_dir = path.endswith(("/", "/."))
    for _ in range(LINKS + 2):
        found = local_stat(plain)
        if found is None or found.kind is not Kind.SYMLINK or not follow:
            break
        link = found.link_target
        plain = clean(link if link.startswith("/") else join(parent(plain), link))
    else:
        raise Conflict(f"stat {typed}: too many levels of symbolic links")
    if found is None:
        if as_dir and plain != clean(path):
            raise Conflict(_DANGLING.format(clean(path)))
        holder = local_stat(parent(plain), follow=True)
        if holder is None or not holder.is_dir:
            raise NoSuchPath(
                f"the link {typed!r} leads to {plain!r}, whose directory is not there",
            )
        return Landing(plain, False, False, as_dir, path.endswith("/."))
    if found.kind in (Kind.CHARACTER, Kind.BLOCK, Kind.SOCKET):
        raise Conflict(
            f'invalid output path: "{typed}" must be a directory or a regular file: got a device'
        )
    if as_dir and not found.is_dir:
        raise NotADirectory(f"stat {typed}: not a directory")
    return Landing(plain, True, found.is_dir, as_dir)


class ContainerSide(Value):
    """A container and a path in it, as the engine found them.

    Attributes:
        container: inspected once; its id is used from then on (safety S23).
        path: absolute, cleaned, end kept.
        stat: of the path itself; None where nothing is there.
    """

    container: Container
    path: str
    stat: Stat | None


def container_source(
    engine: Engine, container: Container, typed: str, *, follow: bool, user: str | None = None
) -> tuple[Source, Stat | None]:
    """The source `typed` in a container (rules R5, R20, R30, R31).

    A plain path is not asked for: the answer to the archive request says what it is, and saves a
    round trip. Then the stat is None and `is_dir` False, to be replaced by what the archive says.

    Raises:
        UsageError: an empty path.
        NoSuchPath: not there.
    """
    if not typed:
        raise UsageError("bad parameter: path cannot be empty", hint="write NAME:/path")
    path = clean_keeping_end(typed if typed.startswith("/") else "/" + typed)
    plain = clean(path)
    contents = path.endswith("/.") or plain == "/"
    name = base_name(plain)
    if not follow:
        return Source("/." if plain == "/" else path, name, False, contents), None
    found = engine.stat(container.id, plain, user=user)
    if found.kind is Kind.SYMLINK:
        if not found.link_target:
            raise NoSuchPath(f"Could not find the file {plain} in container {container.name}")
        target = engine.stat(container.id, found.link_target, user=user)
        if contents and target.is_dir:
            return Source(found.link_target.rstrip("/") + "/.", name, True, True), target
        return Source(found.link_target, name, target.is_dir, False), target
    return Source("/." if plain == "/" else path, name, found.is_dir, contents), found


def container_landing(
    engine: Engine,
    container: Container,
    typed: str,
    *,
    follow: bool = True,
    user: str | None = None,
) -> Landing:
    """What stands at the destination `typed` in a container (rules R5, R14, R32).

    Raises:
        UsageError: an empty path.
        Conflict: a device.
        NotADirectory: a file spelled with a trailing `/`.
        VolcopyError: what the engine says, except that nothing is there.
    """
    if not typed:
        raise UsageError(
            f"no such directory: {container.name}: is no path", hint=f"write {container.name}:/path"
        )
    path = clean_keeping_end(typed if typed.startswith("/") else "/" + typed)
    plain = clean(path)
    as_dir = path.endswith(("/", "/."))
    if plain == "/":
        return Landing("/", True, True, True)
    found = _stat(engine, container, plain, user)
    if found is not None and found.kind is Kind.SYMLINK and follow:
        target = found.link_target
        if target:
            plain = clean(target)
            followed = _stat(engine, container, plain, user)
            found = followed
    if found is None:
        if as_dir and plain != clean(path):
            raise Conflict(_DANGLING.format(clean(path)))
        return Landing(plain, False, False, as_dir, path.endswith("/."))
    if found.kind in (Kind.CHARACTER, Kind.BLOCK, Kind.SOCKET):
        raise Conflict(
            f'destination "{container.name}:{typed}" must be a directory or a regular file: '
            "got a device"
        )
    if as_dir and not found.is_dir:
        raise NotADirectory(
            f"no such directory: {container.name}:{typed}", hint="a file of that name is there"
        )
    owner = None if found.uid is None or found.gid is None else (found.uid, found.gid)
    return Landing(plain, True, found.is_dir, as_dir, owner=owner)


def _stat(engine: Engine, container: Container, path: str, user: str | None) -> Stat | None:
    try:
        return engine.stat(container.id, path, user=user)
    except NoSuchPath:
        return None
    except EngineError as error:
        if "too many links" in error.message:
            return None  # a link onto itself is simply replaced (rule R32)
        raise
