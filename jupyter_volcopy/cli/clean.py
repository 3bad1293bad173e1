"""Remove what killed copies left behind.

Without an argument: everything the journal of this host knows of processes that are gone, here and
in containers. With a directory or a container: just there. Names that only look like ours
(`.volcopy-` and 16 hex digits) are listed and left alone: they may be somebody's own.
"""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jupyter_volcopy.core.endpoint import ContainerPath, LocalPath, parse_endpoint
from jupyter_volcopy.core.journal import Journal, Leftover
from jupyter_volcopy.core.paths import clean, decode, encode, join
from jupyter_volcopy.errors import (
    EngineUnreachable,
    NoSuchContainer,
    NoSuchPath,
    NotFound,
    UsageError,
    VolcopyError,
    show,
)

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.engine import Engine

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "remove what killed copies left behind"

_LIKE_OURS = re.compile(r"\.volcopy-[0-9a-f]{16}")


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of `volcopy clean`."""
    parser.add_argument(
        "place", nargs="?", metavar="DIR|CONTAINER[:DIR]", help="just there (and below)"
    )


class _Cleaning:
    """One run: what was removed, what could not be, what only looks like ours."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.journal = Journal()
        self.removed: list[str] = []
        self.failed: list[str] = []
        self.alike: list[str] = []
        self._others: dict[str, Engine] = {}

    def local(self, directory: str | None) -> None:
        """Sweep a directory and all below it, or everything."""
        if directory is None:
            self.removed += self.journal.sweep_local()
            self.failed += [
                f"{join(item.directory, item.name)}: could not be removed"
                for item in self.journal.leftovers()
                if item.kind == "local"
            ]
            return
        top = os.path.realpath(encode(directory))
        places = {
            os.path.realpath(encode(item.directory))
            for item in self.journal.leftovers()
            if item.kind == "local"
        }
        for place in sorted(places):
            if place == top or place.startswith(top.rstrip(b"/") + b"/"):
                self.removed += self.journal.sweep_local(decode(place))
        self.alike += _alike_below(directory)

    def containers(self, ident: str = "", directory: str = "/") -> None:
        """Sweep containers: all of them, or one from `directory` down."""
        below = directory.rstrip("/") + "/"
        for item in self.journal.leftovers():
            if item.kind != "container" or (ident and item.container != ident):
                continue
            if item.directory == directory or (item.directory + "/").startswith(below):
                self._one(item)

    def helpers(self) -> None:
        """Helper containers (and volumes they were filling) of processes that are gone."""
        from jupyter_volcopy.core.docker_engine import DockerEngine
        from jupyter_volcopy.core.docker_volume import sweep_helpers

        try:
            engine = self.door.engine()
            if isinstance(engine, DockerEngine):
                self.removed += sweep_helpers(engine)
        except EngineUnreachable:
            pass  # there is no engine here: what is local was cleaned

    def _one(self, item: Leftover) -> None:
        from jupyter_volcopy.core.push import clean_container

        path = f"{item.container[:12]}:{join(item.directory, item.name)}"
        try:
            engine = self._engine(item.engine)
            path = f"{engine.container(item.container).name}:{join(item.directory, item.name)}"
            clean_container(engine, item.container, item.directory, item.name)
            self.removed.append(path)
        except NotFound:
            pass  # the container or the directory is gone, and what we left with it
        except VolcopyError as error:
            self.failed.append(f"{path}: {error.message}")
            return
        self.journal.forget(item)

    def _engine(self, address: str) -> Engine:
        """The engine on which something was left; usually the door's."""
        engine = self.door.engine()
        if address in ("", engine.info().address):
            return engine
        if address not in self._others:
            from jupyter_volcopy.core.discovery import open_engine

            self._others[address] = open_engine(address)
        return self._others[address]

    def look(self, ident: str, name: str, directory: str) -> None:
        """Find names like ours in one directory of a container."""
        for entry in self.door.engine().list_dir(ident, directory).entries:
            if _LIKE_OURS.fullmatch(entry.name):
                self.alike.append(f"{name}:{join(directory, entry.name)}")

    def close(self) -> None:
        """Let go of engines opened on the way."""
        for engine in self._others.values():
            engine.close()


def _alike_below(directory: str) -> Iterator[str]:
    """Names like ours in a directory and all below it, links not followed."""
    for place, directories, files in os.walk(encode(directory)):
        for raw in sorted(directories + files):
            if _LIKE_OURS.fullmatch(decode(raw)):
                yield join(decode(place), decode(raw))


def run(args: Namespace, door: Door) -> int:
    """Clean one place, or all that is known."""
    cleaning = _Cleaning(door)
    try:
        if args.place is None:
            cleaning.local(None)
            cleaning.containers()
            cleaning.helpers()
        else:
            _there(args.place, cleaning, door)
    finally:
        cleaning.close()
    if args.json:
        door.json(
            {
                "removed": [show(path) for path in cleaning.removed],
                "failed": [show(text) for text in cleaning.failed],
                "looks_like_ours": [show(path) for path in cleaning.alike],
            }
        )
    else:
        for path in cleaning.removed:
            door.out(f"removed {show(path)}")
        for path in cleaning.alike:
            door.out(f"left alone, not in our journal: {show(path)}")
        if not (cleaning.removed or cleaning.alike or cleaning.failed):
            door.out("nothing of ours was left")
    for text in cleaning.failed:
        door.err(f"volcopy: not removed: {show(text)}")
    return 1 if cleaning.failed else 0


def _there(text: str, cleaning: _Cleaning, door: Door) -> None:
    """Clean one place as it was typed."""
    place = parse_endpoint(text)
    if isinstance(place, LocalPath):
        if os.path.isdir(encode(text)):
            cleaning.local(text)
            return
        if "/" in text or text.startswith("."):
            raise NoSuchPath(f"no such directory: {text}", hint="name a directory or a container")
        place = ContainerPath(text, "")
    if not isinstance(place, ContainerPath):
        raise UsageError(f"{text!r} is no place to clean", hint="name a directory or a container")
    try:
        container = door.engine().container(place.container)
    except (NoSuchContainer, EngineUnreachable) as error:
        if ":" in text:
            raise
        raise type(error)(
            error.message, hint="there is no directory of that name either", place=text
        ) from None
    directory = clean("/" + place.path)
    cleaning.containers(container.id, directory)
    if place.path:
        cleaning.look(container.id, container.name, directory)
