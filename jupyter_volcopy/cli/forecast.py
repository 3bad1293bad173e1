"""What removing a container would lose, and what would be kept: file by file, volume by volume.

Ways of removal (--how): rm, rm-v (docker rm -v), auto-remove (the end of docker run --rm),
recreate (removed and run again from the same image with the same flags), prune (removed, then
docker volume prune), spawner (JupyterHub's DockerSpawner with remove = True). Nothing is removed.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import show

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.removal import Item

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "what removing a container would lose, and how to keep it"

_WAYS = ("rm", "rm-v", "auto-remove", "recreate", "prune", "spawner")
_SHOWN = 200


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("container", metavar="CONTAINER", help="name or id")
    parser.add_argument("--how", choices=_WAYS, default="rm", help="way of removal (rm)")
    parser.add_argument(
        "--no-caches", action="store_true", help="leave out caches (__pycache__, .cache ...)"
    )
    parser.add_argument("--all", action="store_true", help=f"list more than {_SHOWN} files, too")


def _lines(items: list[Item], most: int) -> list[str]:
    from jupyter_volcopy.text import size, table

    rows = [
        [
            "?" if item.bytes is None else size(item.bytes),
            item.modified.replace("T", " ").rstrip("Z")[:16] or "-",
            f"volume {item.volume} at {item.target}" if item.volume else item.path,
        ]
        for item in items[:most]
    ]
    lines = table(rows, ["SIZE", "MODIFIED", "WHAT"], right="SIZE")
    return ["  " + line for line in lines]


def run(args: Namespace, door: Door) -> int:
    """Answer."""
    from jupyter_volcopy.core.insight import is_system
    from jupyter_volcopy.core.removal import command, forecast
    from jupyter_volcopy.text import count, size

    found = forecast(door.engine(), args.container, args.how, caches=not args.no_caches)
    if args.json:
        door.json(found.to_dict())
        return 0
    door.out(show(command(found)))
    most = len(found.lost) if args.all else _SHOWN
    if found.lost:
        door.out(f"would lose {count(len(found.lost), 'thing')}, {size(found.bytes_lost)}:")
        for line in _lines(found.lost, most):
            door.out(line)
        if len(found.lost) > most:
            door.out(f"  and {len(found.lost) - most} more (--all lists them)")
        reasons = dict.fromkeys(item.why for item in found.lost)
        for why in reasons:
            door.out(show(f"  {why}"))
    else:
        door.out("would lose no file that can be seen")
    if found.caches:
        door.out(f"and {count(found.caches, 'file')} in caches, not listed")
    for title, items in (("cannot be known", found.unknown), ("would keep", found.kept)):
        if items:
            door.out(f"{title}:")
        for item in items:
            what = f"volume {item.volume} at {item.target}" if item.volume else item.path
            door.out(show(f"  {what}: {item.why}"))
    if found.deleted:
        number = count(len(found.deleted), "path")
        door.out(f"{number} of the image, deleted here, would be there again in a new container")
    flags = found.flags()
    if flags:
        door.out(show(f"would have been kept by: docker run {' '.join(flags)} ..."))
    if any(is_system(item.path) for item in found.lost):
        door.out("programs and settings are better made by the image: a line in its Dockerfile")
    if found.lost or found.unknown:
        door.out(
            show(f"to save it now: volcopy rescue {found.container} DIRECTORY --how {args.how}")
        )
    return 0
