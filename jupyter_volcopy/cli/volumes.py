"""All volumes of the engine: named or not, which containers use them and how, and since when.

A volume that nobody uses is said to be so: `docker volume prune` may delete it.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import show

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "all volumes, and which containers use them"


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("-s", "--size", action="store_true", help="have the engine measure them")
    parser.add_argument("--unused", action="store_true", help="only those that nobody uses")


def run(args: Namespace, door: Door) -> int:
    """Answer."""
    from jupyter_volcopy.core.insight import volumes
    from jupyter_volcopy.text import size, table

    found = volumes(door.engine(), sizes=args.size)
    if args.unused:
        found = [facts for facts in found if not facts.volume.used_by]
    if args.json:
        door.json([facts.to_dict() for facts in found])
        return 0
    headers = ["VOLUME", "KIND", "CREATED", "USED BY", "AT", "MODE", "SINCE"]
    if args.size:
        headers.insert(3, "SIZE")
    rows = []
    for facts in found:
        volume = facts.volume
        head = [
            volume.name,
            "anonymous" if volume.anonymous else "named",
            _day(volume.created),
        ]
        if args.size:
            head.append("?" if volume.size is None else size(volume.size))
        if not volume.used_by:
            rows.append([*head, "nobody uses it", "", "", ""])
        for at, use in enumerate(volume.used_by):
            who = use.container if use.state == "running" else f"{use.container} ({use.state})"
            rows.append(
                [
                    *(head if at == 0 else [""] * len(head)),
                    who,
                    use.target,
                    "ro" if use.read_only else "rw",
                    _day(facts.since.get(use.container, "")),
                ]
            )
    for line in table(rows, headers, right="SIZE"):
        door.out(line)
    alone = [facts for facts in found if not facts.volume.used_by]
    if alone:
        door.out(show(f"to use one again: docker run {alone[0].flag} ..."))
    return 0


def _day(moment: str) -> str:
    """An RFC 3339 time, to the minute."""
    return moment[:16].replace("T", " ")
