"""What is in a directory of a container or volume, like `ls -l`.

Works in every state, and without any program in the container. A link to a directory is followed;
a path that is no directory is shown as the one line it is.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from jupyter_volcopy.core.endpoint import ContainerPath, VolumePath, parse_endpoint
from jupyter_volcopy.core.model import Kind, ListedEntry, Listing, path_fields
from jupyter_volcopy.core.owners import read_owners
from jupyter_volcopy.core.paths import base_name, clean, join
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.errors import NotADirectory, UsageError, show
from jupyter_volcopy.text import local_time, mode_text, size, table

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.engine import Engine

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "list a directory of a container or volume"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `volcopy ls`."""
    parser.add_argument("place", metavar="CONTAINER:PATH", help="or volume=NAME:PATH")
    parser.add_argument("-R", "--recursive", action="store_true", help="the whole tree below it")
    parser.add_argument("--human", action="store_true", help="sizes as 1.2 MB instead of bytes")
    parser.add_argument("-1", "--names", action="store_true", help="only the names, one a line")


def _place(text: str) -> ContainerPath | VolumePath:
    place = parse_endpoint(text)
    if not isinstance(place, (ContainerPath, VolumePath)):
        raise UsageError(
            f"{text!r} names no container", hint="write CONTAINER:PATH or volume=NAME:PATH"
        )
    if isinstance(place, VolumePath):
        return VolumePath(place.volume, place.path or "/")
    return ContainerPath(place.container, place.path or "/")


def _one(place: ContainerPath | VolumePath, door: Door) -> ListedEntry:
    """What stands at the place itself."""
    engine = door.engine()
    path = clean("/" + place.path)
    if isinstance(place, ContainerPath):
        return _headed(engine, engine.container(place.container).id, path)
    with engine.volume(place.volume) as (container, root):
        return _headed(engine, container, join(root, path))


def _headed(engine: Engine, container: str, path: str) -> ListedEntry:
    """From the first header of its archive, which says whose it is; the content is not read."""
    archive = engine.open_archive(container, path)
    try:
        entry = next(iter(TarReader(archive)))
    finally:
        archive.close()
    owners = read_owners(engine, container)
    return ListedEntry(
        name=base_name(path),
        kind=entry.kind,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        link_target=entry.link,
        owner=owners.user(entry.uid),
        group=owners.group(entry.gid),
    )


def _owner(name: str, number: int) -> str:
    return name or (str(number) if number >= 0 else "?")


def _row(entry: ListedEntry, human: bool) -> tuple[str, ...]:
    amount = size(entry.size) if human else str(entry.size)
    if entry.kind is not Kind.FILE:
        amount = "-"
    arrow = f" -> {show(entry.link_target)}" if entry.kind is Kind.SYMLINK else ""
    return (
        mode_text(entry.kind.value, entry.mode),
        _owner(entry.owner, entry.uid),
        _owner(entry.group, entry.gid),
        amount,
        local_time(entry.mtime_ns / 1e9),
        show(entry.name) + arrow,
    )


def run(args: Namespace, door: Door) -> int:
    """List one place."""
    place = _place(args.place)
    try:
        listing = door.copier().list_dir(place, recursive=args.recursive)
    except NotADirectory:
        if place.path.endswith(("/", "/.")):
            raise
        listing = Listing(place.path, (_one(place, door),))
    if args.json:
        door.json(
            {
                **path_fields("path", listing.path),
                "complete": listing.complete,
                "entries": [entry.to_dict() for entry in listing.entries],
            }
        )
    elif args.names:
        for entry in listing.entries:
            door.out(show(entry.name))
    elif listing.entries:
        rows = [_row(entry, args.human) for entry in listing.entries]
        headers = ("MODE", "OWNER", "GROUP", "SIZE", "MODIFIED", "NAME")
        for line in table(rows, headers, right="SIZE"):
            door.out(line)
    if not listing.complete:
        door.err("volcopy: the listing is not complete")
        return 1
    return 0
