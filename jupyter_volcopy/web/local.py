"""Local paths of requests: only below one directory, reached by descriptor.

A request may name files of the server only below its root directory. The path is cleaned by name,
its directories are opened one below the other without following any link, and what the core gets is
`/proc/self/fd/N/NAME`: the directory that was found, whatever its name means later (safety S12,
S21). Names that begin with a dot follow the server's own rule for hidden files. What is said to
people afterwards names the path as the request did, never the host's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from jupyter_volcopy.core.endpoint import LocalPath
from jupyter_volcopy.core.localfs import Tree
from jupyter_volcopy.core.paths import base_name, clean, clean_keeping_end, decode, encode, join
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.core.report import Note, Report
from jupyter_volcopy.errors import AccessDenied, Conflict, LocalError, NoSuchPath, VolcopyError

__all__ = ["LocalRoot", "Names"]


class Names:
    """Inner names and what people call them: `say` puts the latter for the former."""

    def __init__(self) -> None:
        self._pairs: list[tuple[str, str]] = []

    def add(self, inner: str, shown: str) -> None:
        """From now on `inner` is said as `shown`."""
        self._pairs.append((inner, shown))
        self._pairs.sort(key=lambda pair: -len(pair[0]))

    def say(self, text: str) -> str:
        """A text as people may read it."""
        for inner, shown in self._pairs:
            text = text.replace(inner, shown)
        return text

    def value(self, value: Any) -> Any:
        """The same for every text in a JSON-able value."""
        if isinstance(value, str):
            return self.say(value)
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

    def error(self, error: VolcopyError) -> VolcopyError:
        """The same error, its texts as people may read them."""
        error.message = self.say(error.message)
        error.hint = self.say(error.hint)
        error.context = {key: self.value(item) for key, item in error.context.items()}
        error.args = (error.message,)
        return error

    def report(self, report: Report) -> Report:
        """The same report, its texts as people may read them."""
        report.sources = [self.say(item) for item in report.sources]
        report.destination = self.say(report.destination)
        report.landed = [self.say(item) for item in report.landed]
        for notes in (report.skipped, report.warnings, report.failed):
            notes[:] = [self._note(note) for note in notes]
        return report

    def _note(self, note: Note) -> Note:
        return replace(note, path=self.say(note.path), text=self.say(note.text))


class LocalRoot:
    """The directory below which requests may name local files.

    Args:
        path: of the directory; links that lead there are resolved once.
        hidden: whether names that begin with a dot may be named; asked each time.
    """

    def __init__(self, path: str, hidden: Callable[[], bool]) -> None:
        self.path = decode(os.path.realpath(encode(path)))
        self.hidden = hidden

    def relative(self, endpoint: LocalPath) -> str:
        """The path below the root, "" for the root itself, a trailing `/` or `/.` kept.

        Raises:
            AccessDenied: outside of the root.
            NoSuchPath: hidden.
        """
        typed = endpoint.path
        if "\0" in typed:
            raise NoSuchPath(f"no such file or directory: {typed}")
        full = clean_keeping_end(typed if typed.startswith("/") else join(self.path, typed))
        plain, top = clean(full), self.path.rstrip("/")
        if plain != self.path and not plain.startswith(top + "/"):
            raise AccessDenied(
                f"{typed} is outside of the directory of this server",
                hint="name a path below it, relative to it",
            )
        if plain == self.path:
            return ""
        if not self.hidden() and any(
            part.startswith(".") for part in plain[len(top) + 1 :].split("/")
        ):
            raise NoSuchPath(f"{typed}: no such file or directory", hint="hidden files are off")
        return full[len(top) + 1 :]

    def hold(
        self, endpoint: LocalPath, stack: ExitStack, names: Names, *, source: bool
    ) -> LocalPath:
        """The same place, held by descriptor until `stack` is left.

        Args:
            endpoint: as the request named it.
            stack: the descriptors live as long as it does.
            names: learns how to call what is held.
            source: it is to be read; a missing directory is then an error at once.

        Raises:
            AccessDenied, NoSuchPath, NotADirectory, LocalPermission: as it says.
        """
        rel = self.relative(endpoint)
        plain = rel.removesuffix("/.").rstrip("/") if rel else ""
        if not plain:
            if self.path == "/":
                return LocalPath("/.")
            fd = self._directory(os.path.dirname(self.path) or "/", "", stack)
            held = f"/proc/self/fd/{fd}"
            names.add(join(held, base_name(self.path)), ".")
            names.add(held, "..")
            return LocalPath(join(held, base_name(self.path)) + "/.")
        above, _, name = plain.rpartition("/")
        if not source:
            above, name = self._existing(above, name, stack)
        fd = self._directory(self.path, above, stack, shown=names)
        held = f"/proc/self/fd/{fd}"
        names.add(held, above or ".")
        end = rel[len(plain) :]
        if end == "/" and source and not self._is_dir(fd, name):
            raise NoSuchPath(f"{endpoint.path}: no such directory")
        if end == "/" and source:
            end = ""
        return LocalPath(join(held, name) + end)

    def _existing(self, above: str, name: str, stack: ExitStack) -> tuple[str, str]:
        """The deepest directory on the way that is there, and the rest of the path."""
        with Tree.open(self.path) as tree:
            while above:
                try:
                    os.close(tree.open_dir(above))
                    break
                except NoSuchPath:
                    above, _, last = above.rpartition("/")
                    name = f"{last}/{name}"
                except VolcopyError as error:
                    raise self._shown(error, above) from None
        return above, name

    def _directory(self, top: str, rel: str, stack: ExitStack, shown: Names | None = None) -> int:
        try:
            with Tree.open(top) as tree:
                fd = tree.open_dir(rel)
        except VolcopyError as error:
            raise self._shown(error, rel) from None
        stack.callback(os.close, fd)
        return fd

    def _shown(self, error: VolcopyError, rel: str) -> VolcopyError:
        if type(error) is LocalError:  # what the kernel says of a link where none may be
            return Conflict(
                f"{rel}: there is a link on the way", hint="links are not followed here"
            )
        names = Names()
        names.add(self.path.rstrip("/") + "/", "./")
        names.add(self.path, ".")
        return names.error(error)

    @staticmethod
    def _is_dir(fd: int, name: str) -> bool:
        import stat

        try:
            found = os.stat(encode(name), dir_fd=fd, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode)
