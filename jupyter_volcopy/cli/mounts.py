"""Every place of a container at which data can lie outside the container itself.

One line for each mount: what it is, where it came from (a flag of `docker run`, a VOLUME line of
the image, --volumes-from another container), which other containers see the same data, and what
covers what. Everything not listed is the container's writable layer and goes with it.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import show

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "where a container's data lie, and who else sees them"


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("container", metavar="CONTAINER", help="name or id")
    parser.add_argument("-s", "--size", action="store_true", help="measure each place")


def run(args: Namespace, door: Door) -> int:
    """Answer."""
    from jupyter_volcopy.core.insight import mounts
    from jupyter_volcopy.text import size, table

    found = mounts(door.engine(), args.container, sizes=args.size)
    if args.json:
        door.json([place.to_dict() for place in found])
        return 0
    if not found:
        door.out(
            show(
                f"{args.container} has no mounts: all it writes is gone when it is removed; "
                "docker run -v NAME:PATH would keep PATH"
            )
        )
        return 0
    headers = ["TARGET", "KIND", "FROM", "SOURCE", "MODE", "SHARED WITH"]
    if args.size:
        headers.insert(5, "SIZE")
    rows = []
    for place in found:
        row = [
            place.target,
            f"{place.kind} (one file)" if place.single_file else place.kind,
            place.origin,
            place.volume or place.source or "-",
            "ro" if place.read_only else "rw",
            ", ".join(place.shared_with) or "-",
        ]
        if args.size:
            row.insert(5, "?" if place.size is None else size(place.size))
        rows.append(row)
    for line in table(rows, headers, right="SIZE"):
        door.out(line)
    for place in found:
        for other in place.hides:
            if other == place.target:
                door.out(show(f"{place.target}: the {place.kind} covers another mount there"))
            else:
                door.out(show(f"{place.target} covers a part of {other}, which is another mount"))
    for place in found:
        if place.keep:
            door.out(show(f"{place.target}: {place.why}; docker run {place.keep} would keep it"))
    return 0
