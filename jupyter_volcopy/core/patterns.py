r"""Patterns of names, expanded as a shell does, but where the files are.

`*` and `?` stop at a slash, `[...]` is a set (`[!...]` its opposite), a backslash takes the next
character as it is; names that begin with a dot are only matched by a component that begins with
one; `**` is nothing special. A name that exists as it is typed always wins over the pattern. In a
container the directories are listed through the engine, in any state and without a shell; links to
directories in the middle lead where they lead for a process of the container.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.model import Container, Kind
from jupyter_volcopy.core.paths import clean, decode, encode, join
from jupyter_volcopy.core.reach import Reach
from jupyter_volcopy.errors import AccessDenied, NoSuchPath, NotADirectory

__all__ = ["expand", "expand_local", "is_pattern", "matcher"]

_AS_ROOT = "0:0"


def is_pattern(text: str) -> bool:
    """Whether `text` holds anything that a shell would expand."""
    return "*" in text or "?" in text or "[" in text


def matcher(component: str) -> Callable[[str], bool]:
    """What tells whether a name matches one component of a pattern.

    Between two `*` everything has a fixed length, so the first place that fits is as good as any:
    no name of a container, whatever it is, takes longer than its length times the pattern's.
    """
    runs: list[list[str]] = [[]]  # what stands between the stars, a character each
    at = 0
    while at < len(component):
        char = component[at]
        at += 1
        if char == "*":
            runs.append([])
        elif char == "?":
            runs[-1].append(".")
        elif char == "\\" and at < len(component):
            runs[-1].append(re.escape(component[at]))
            at += 1
        elif char == "[":
            start = at + (component[at : at + 1] in ("!", "^"))
            end = component.find("]", start + 1)
            if end < 0:
                runs[-1].append(r"\[")
            else:
                runs[-1].append(_set(component[start:end], start > at))
                at = end + 1
        else:
            runs[-1].append(re.escape(char))
    first, *middle = [re.compile("".join(run), re.DOTALL) for run in runs]
    dots = component.startswith((".", "\\."))

    def matches(name: str) -> bool:
        if name.startswith(".") and not dots:
            return False
        if not middle:
            return first.fullmatch(name) is not None
        found = first.match(name)
        for run in middle[:-1]:
            found = run.search(name, found.end()) if found else None
        last = len(name) - len(runs[-1])
        return found is not None and found.end() <= last and bool(middle[-1].match(name, last))

    return matches


def _set(inner: str, opposite: bool) -> str:
    """`[...]` as a regular expression; a range the wrong way round matches nothing, as in sh."""
    parts: list[str] = []
    at = 0
    while at < len(inner):
        if inner[at + 1 : at + 2] == "-" and at + 2 < len(inner):
            low, high = inner[at], inner[at + 2]
            if low <= high:
                parts.append(f"{re.escape(low)}-{re.escape(high)}")
            at += 3
        else:
            if inner[at] == "\\" and at + 1 < len(inner):
                at += 1
            parts.append(re.escape(inner[at]))
            at += 1
    if not parts:
        return "." if opposite else r"(?!)"
    return f"[{'^' if opposite else ''}{''.join(parts)}]"


def _unescaped(component: str) -> str:
    return re.sub(r"\\(.)", r"\1", component, flags=re.DOTALL)


def expand(
    engine: Engine, container: Container, reach: Reach, path: str, *, below: str = ""
) -> list[str]:
    """The paths of a container that `path` means, in the order of their bytes.

    Args:
        engine: whose container it is.
        container: inspected, in any state.
        reach: its mounts.
        path: as typed; relative means below `/`. A trailing `/` or `/.` is kept.
        below: where a volume is mounted: taken as it is, the pattern begins after it.

    Raises:
        NoSuchPath: nothing there is called so, and nothing matches.
    """

    def exists(at: str) -> bool:
        live = reach.is_live(at) and container.running
        try:
            engine.stat(container.id, at, user=_AS_ROOT if live else None)
        except (NoSuchPath, NotADirectory):
            return False
        return True

    def is_directory(at: str) -> bool:
        live = reach.is_live(at) and container.running
        user = _AS_ROOT if live else None
        found = engine.stat(container.id, at, user=user)
        if found.kind is Kind.SYMLINK and found.link_target:
            try:
                found = engine.stat(container.id, found.link_target, user=user)
            except (NoSuchPath, NotADirectory):
                return False
        return found.is_dir

    def names(at: str) -> list[tuple[str, Kind]]:
        live = reach.is_live(at) and container.running
        try:
            listing = engine.list_dir(container.id, at, user=_AS_ROOT if live else None)
        except (NoSuchPath, NotADirectory, AccessDenied):
            return []
        return [(item.name, item.kind) for item in listing.entries]

    rest = path[len(below) :] if below else path
    head, end = _split_end(rest)
    plain = join(below, clean(head)) if below else clean(head)
    if exists(plain):
        return [path]
    reach.check_live(plain, f"{container.name}:{path}")
    found = _walk(below or "/", clean(head).split("/")[1:], exists, names)
    if end:
        found = [at for at in found if is_directory(at)]
    if not found:
        raise NoSuchPath(
            f"Could not find the file {path} in container {container.name}: nothing there matches",
            hint="patterns are expanded in the container; `*` does not match names that begin "
            "with a dot",
            path=path,
        )
    return [item + end for item in found]


def expand_local(path: str) -> list[str]:
    """The local paths that `path` means, relative if it is; for doors without a shell of their own.

    Raises:
        NoSuchPath: nothing here is called so, and nothing matches.
    """
    if os.path.lexists(encode(path)):
        return [path]
    head, end = _split_end(path)
    start = "/" if head.startswith("/") else "."

    def exists(at: str) -> bool:
        return os.path.lexists(encode(at))

    def names(at: str) -> list[tuple[str, Kind]]:
        try:
            found = os.listdir(encode(at))
        except OSError:
            return []
        return [
            (
                decode(name),
                Kind.DIRECTORY if os.path.isdir(os.path.join(encode(at), name)) else Kind.FILE,
            )
            for name in found
        ]

    parts = [part for part in head.split("/") if part not in ("", ".")]
    found = _walk(start, parts, exists, names)
    if end:
        found = [at for at in found if os.path.isdir(encode(at))]
    if not found:
        full = clean(path if path.startswith("/") else join(os.getcwd(), path))
        raise NoSuchPath(
            f"lstat {full}: no such file or directory: nothing matches",
            hint="`*` does not match names that begin with a dot",
            path=path,
        )
    return [item + end for item in found]


def _split_end(path: str) -> tuple[str, str]:
    """A path without its trailing `/` or `/.`, and that."""
    bare = path
    while bare.endswith(("/", "/.")):
        bare = bare.removesuffix(".").rstrip("/")
    if not bare or bare == path:
        return path, ""
    return bare, "/." if path.rstrip("/").endswith("/.") else "/"


def _walk(
    start: str,
    parts: list[str],
    exists: Callable[[str], bool],
    names: Callable[[str], list[tuple[str, Kind]]],
) -> list[str]:
    """Every existing path that the components match, below `start`."""
    level = [start]
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if not is_pattern(part):
            level = [join(at, _unescaped(part) if "\\" in part else part) for at in level]
            if last:
                level = [at for at in level if exists(at)]
            continue
        match = matcher(part)
        level = [
            join(at, name)
            for at in level
            for name, kind in names(at)
            if match(name) and (last or kind in (Kind.DIRECTORY, Kind.SYMLINK))
        ]
    return sorted(level, key=encode)
