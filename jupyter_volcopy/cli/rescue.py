"""Save exactly what a way of removing a container would lose, from a container in any state.

  volcopy rescue CONTAINER DIRECTORY     one that is not there yet, or is empty
  volcopy rescue CONTAINER NAME.tar      a plain tar
  volcopy rescue CONTAINER volume=NAME   a volume, made if there is none

In each lies data/PATH/IN/THE/CONTAINER and manifest.json: owner, mode, time and sha256 of every
path. Everything is read a second time and compared; nothing has its final name before. On disk,
root keeps owners and everybody else the data only; the manifest has them all. Set-id bits, devices
and pipes are recorded, not made. `volcopy restore` puts it into another container.

Ways of removal (--how): as for volcopy forecast, which lists what would be saved.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import show

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.control import Cancel, Meter

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "save what removing a container would lose"

_WAYS = ("rm", "rm-v", "auto-remove", "recreate", "prune", "spawner")


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of `volcopy rescue`."""
    parser.add_argument("container", metavar="CONTAINER", help="name or id")
    parser.add_argument("destination", metavar="DEST", help="DIRECTORY, NAME.tar or volume=NAME")
    parser.add_argument("--how", choices=_WAYS, default="rm", help="way of removal (rm)")
    parser.add_argument(
        "--no-caches", action="store_true", help="leave out caches (__pycache__, .cache ...)"
    )
    parser.add_argument(
        "--unknown",
        action="store_true",
        help="save, too, volumes of which it cannot be known whether they would be lost",
    )


def run(args: Namespace, door: Door) -> int:
    """Save it."""
    from jupyter_volcopy.cli.keeping import working

    return working(door, "volcopy", lambda meter, cancel: _rescue(args, door, meter, cancel))


def _rescue(args: Namespace, door: Door, meter: Meter, cancel: Cancel) -> int:
    from jupyter_volcopy.core.rescue import rescue
    from jupyter_volcopy.text import count, size

    done = rescue(
        door.engine(),
        args.container,
        args.destination,
        args.how,
        caches=not args.no_caches,
        unknown=args.unknown,
        meter=meter,
        cancel=cancel,
    )
    for note in done.failed:
        door.err(f"volcopy: not saved: {note}")
    if args.json:
        door.json(done.to_dict())
        return 0 if done.ok else 1
    for note in done.warnings:
        door.err(f"volcopy: warning: {note}")
    if done.created:
        door.out(show(f"made {args.destination}"))
    if not done.manifest.entries:
        door.out(show(f"{done.container}: this way of removal ({args.how}) would lose nothing"))
    door.out(
        show(
            f"saved in {args.destination}: {count(done.files, 'file')}, {size(done.bytes)}, "
            f"{count(done.verified, 'file')} read again and equal"
        )
    )
    door.out(show(f"to put it back: volcopy restore {args.destination} CONTAINER"))
    return 0 if done.ok else 1
