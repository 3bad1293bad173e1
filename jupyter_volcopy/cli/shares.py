"""Who shares what with whom: volumes and host folders that several containers see.

Drawn as a tree for each: the containers below the data, each with the path at which it sees them
and where that came from.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "draw which containers share which data"


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "-a", "--all", action="store_true", help="also what only one container uses"
    )


def run(args: Namespace, door: Door) -> int:
    """Answer."""
    from jupyter_volcopy.core.insight import draw, shares

    found = shares(door.engine(), alone=args.all)
    if args.json:
        door.json([share.to_dict() for share in found])
        return 0
    if not found:
        door.out("no two containers share a volume or a host folder")
        door.out("to share: docker run -v NAME:PATH for each, or --volumes-from CONTAINER")
    for line in draw(found):
        door.out(line)
    return 0
