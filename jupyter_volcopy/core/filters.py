"""What is left out of a copy on request: patterns, sizes, times, a `.dockerignore`.

`--exclude` and `--include` are lines as in a `.gitignore` (library pathspec), relative to the
source. What an include matches stays, whatever excludes it; with includes and no excludes, only
what they match is copied. Directories that are excluded are not entered, unless an include with a
path of its own leads into them. A `.dockerignore` has Docker's rules, which are others: patterns
are anchored at the top, `*` stops at a slash, and of several that match the last one counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from jupyter_volcopy.core.endpoint import Endpoint, LocalPath
from jupyter_volcopy.core.model import Kind, when
from jupyter_volcopy.core.options import CopyOptions
from jupyter_volcopy.core.paths import clean, decode
from jupyter_volcopy.errors import BadOption, LocalError, NoSuchPath, UsageError

__all__ = ["DockerIgnore", "Wants", "wants"]

Wants = Callable[[str, Kind, int, int], "str | None"]
"""Called with the path below the source, kind, bytes and mtime (ns); a text says why it is left
out."""

_SECOND = 1_000_000_000

_STARS = 3
"""Wildcards of a kind in a pattern where a copy is done for others."""


def wants(options: CopyOptions, source: Endpoint) -> Wants:
    """The filter that the options ask for.

    Args:
        options: what was asked for.
        source: whose `.dockerignore` counts.

    Raises:
        UsageError: `dockerignore` of a source that is not local.
        NoSuchPath, LocalError: a file of patterns cannot be read.
        BadOption: a pattern that is none.
    """
    tests: list[Wants] = [_hidden] if options.no_hidden else []
    lines = list(options.exclude)
    if options.exclude_from:
        lines += _read(options.exclude_from, "--exclude-from").split("\n")
    if options.safe:
        _check_cost(lines, "--exclude")
        _check_cost(options.include, "--include")
    if lines or options.include:
        tests.append(_patterns(lines, list(options.include)))
    if options.dockerignore:
        ignore = _dockerignore(source, safe=options.safe)
        if ignore is not None:
            tests.append(ignore)
    if options.max_size is not None:
        tests.append(_larger(options.max_size))
    if options.newer is not None:
        tests.append(_older(options.newer))

    def test(rel: str, kind: Kind, size: int, mtime_ns: int) -> str | None:
        for one in tests:
            why = one(rel, kind, size, mtime_ns)
            if why is not None:
                return why
        return None

    return test


def _hidden(rel: str, _kind: Kind, _size: int, _mtime_ns: int) -> str | None:
    return "hidden" if rel.startswith(".") or "/." in rel else None


def _read(path: str, what: str) -> str:
    try:
        with open(os.fsencode(path), "rb") as file:
            return decode(file.read()).replace("\r\n", "\n")
    except FileNotFoundError:
        raise NoSuchPath(f"{what}: {path}: no such file or directory", path=path) from None
    except OSError as error:
        raise LocalError(f"{what}: {path}: {error.strerror}", path=path) from None


def _check_cost(lines: Iterable[str], option: str) -> None:
    """Refuse patterns with which a hostile name could keep a server busy for minutes (S11).

    They become regular expressions, and each further `*` multiplies the tries by the name's length.

    Raises:
        BadOption: naming the pattern.
    """
    for line in lines:
        parts = line.split("/")
        if parts.count("**") > _STARS or any(
            part != "**" and part.count("*") > _STARS for part in parts
        ):
            raise BadOption(
                f"{option}: {line!r} has too many `*`",
                hint=f"at most {_STARS} in a name, and {_STARS} `**`, where it is done for others",
            )


def _spec(lines: Iterable[str], option: str) -> Any:
    from pathspec import PathSpec

    lines = list(lines)
    try:
        try:
            return PathSpec.from_lines("gitignore", lines)
        except (KeyError, LookupError):  # the name of older versions
            return PathSpec.from_lines("gitwildmatch", lines)
    except ValueError as error:
        raise BadOption(f"{option}: not a pattern as in .gitignore: {error}") from None


def _patterns(exclude: list[str], include: list[str]) -> Wants:
    left_out = _spec(exclude, "--exclude")
    kept = _spec(include, "--include")
    any_exclude = any(line.strip() and not line.startswith("#") for line in exclude)
    # where an include leads into a directory by name, that directory has to be entered
    ways = [line.lstrip("/") for line in include if "/" in line.rstrip("/")]

    def test(rel: str, kind: Kind, _size: int, _mtime_ns: int) -> str | None:
        name = rel + "/" if kind is Kind.DIRECTORY else rel
        if include and kept.match_file(name):
            return None
        if not any_exclude:
            if include and kind is not Kind.DIRECTORY:
                return "not among --include"
            return None
        if not left_out.match_file(name):
            return None
        if kind is Kind.DIRECTORY and any(_leads(way, rel) for way in ways):
            return None
        return "excluded"

    return test


def _leads(way: str, rel: str) -> bool:
    """Whether the pattern `way` may match something below the directory `rel`."""
    if way.startswith("**/"):
        return True
    return way.startswith(rel + "/")


def _larger(limit: int) -> Wants:
    def test(_rel: str, kind: Kind, size: int, _mtime_ns: int) -> str | None:
        if kind is Kind.FILE and size > limit:
            return f"{size} bytes, more than {limit} (--max-size)"
        return None

    return test


def _older(seconds: float) -> Wants:
    limit = int(seconds * _SECOND)

    def test(_rel: str, kind: Kind, _size: int, mtime_ns: int) -> str | None:
        if kind is Kind.FILE and mtime_ns <= limit:
            return f"not modified since {when(seconds)} (--newer)"
        return None

    return test


# -- .dockerignore


def _dockerignore(source: Endpoint, *, safe: bool = False) -> Wants | None:
    if not isinstance(source, LocalPath):
        raise UsageError(
            f"--dockerignore: {source} is not a local directory",
            hint="use --exclude-from with a local file of patterns",
        )
    path = os.path.join(source.path, ".dockerignore")
    if not os.path.isfile(os.fsencode(path)):
        return None
    text = _read(path, "--dockerignore")
    if safe:
        _check_cost(text.split("\n"), ".dockerignore")
    return DockerIgnore(text).why


class DockerIgnore:
    """The rules of one `.dockerignore` (docs.docker.com, "Build context", and moby/patternmatcher).

    Args:
        text: the file's content.

    Raises:
        BadOption: a pattern that Docker refuses, too.
    """

    def __init__(self, text: str) -> None:
        import re

        self._rules: list[tuple[bool, str, Any]] = []
        for line in text.removeprefix("\ufeff").split("\n"):
            if line.startswith("#"):
                continue
            pattern = line.strip()
            again = pattern.startswith("!")
            if again:
                pattern = pattern[1:].strip()
            if not pattern:
                if again:
                    raise BadOption('.dockerignore: illegal exclusion pattern: "!"')
                continue
            plain = clean(pattern)[1:]
            if not plain:
                continue
            try:
                self._rules.append((again, plain, re.compile(_docker_regex(plain), re.DOTALL)))
            except (re.error, ValueError):
                raise BadOption(f".dockerignore: syntax error in pattern: {line}") from None
        self._again = [plain for again, plain, _ in self._rules if again]

    def ignored(self, path: str) -> bool:
        """Whether the last rule that matches `path`, or a directory it lies in, leaves it out."""
        parts = path.split("/")
        names = ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
        ignored = False
        for again, _, regex in self._rules:
            if again == ignored and any(regex.fullmatch(name) for name in names):
                ignored = not again
        return ignored

    def why(self, rel: str, kind: Kind, _size: int, _mtime_ns: int) -> str | None:
        """As a filter; a directory is entered all the same if a `!` rule may match below it."""
        if not self.ignored(rel):
            return None
        if kind is Kind.DIRECTORY and any(
            way.startswith(rel + "/") or "*" in way.split("/")[0] for way in self._again
        ):
            return None
        return "excluded (.dockerignore)"


def _docker_regex(pattern: str) -> str:
    """A pattern of a `.dockerignore` as a regular expression; `**` crosses slashes."""
    import re

    out = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if pattern[at : at + 1] == "*":
                at += 1
                if pattern[at : at + 1] == "/":
                    at += 1
                    out.append("(?:.*/)?")
                else:
                    out.append(".*")
            else:
                out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "\\":
            if at >= len(pattern):
                raise ValueError(pattern)
            out.append(re.escape(pattern[at]))
            at += 1
        elif char == "[":
            end = pattern.find("]", at + (pattern[at : at + 1] == "^") + 1)
            if end < 0:
                raise ValueError(pattern)
            out.append("[" + pattern[at:end].replace("[", r"\[") + "]")
            at = end + 1
        else:
            out.append(re.escape(char))
    return "".join(out)
