"""Put what `volcopy rescue` saved into another container: where it was, whose it was.

  volcopy restore DIRECTORY|NAME.tar|volume=NAME CONTAINER

Every file is first compared with its sha256 in the manifest; a damaged rescue is refused as a
whole. The container may be in any state. Files that are there are replaced, each by one step.
Set-id bits, devices and pipes are not restored, and named. What lands in the container's writable
layer, and so will be lost with it, is said.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import show

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.control import Cancel, Meter

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "put a rescue into another container"


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of `volcopy restore`."""
    parser.add_argument("source", metavar="SOURCE", help="DIRECTORY, NAME.tar or volume=NAME")
    parser.add_argument("container", metavar="CONTAINER", help="name or id")


def run(args: Namespace, door: Door) -> int:
    """Put it back."""
    from jupyter_volcopy.cli.keeping import working

    return working(door, "volcopy", lambda meter, cancel: _restore(args, door, meter, cancel))


def _restore(args: Namespace, door: Door, meter: Meter, cancel: Cancel) -> int:
    from jupyter_volcopy.core.restore import restore
    from jupyter_volcopy.text import count, size

    done = restore(door.engine(), args.source, args.container, meter=meter, cancel=cancel)
    if args.json:
        door.json(done.to_dict())
        return 0
    for note in done.warnings:
        door.err(f"volcopy: warning: {note}")
    door.out(
        show(
            f"restored into {done.container} what was saved of {done.rescued}: "
            f"{count(done.files, 'file')}, {size(done.bytes)}, checked before; "
            f"{count(done.replaced, 'file')} replaced"
        )
    )
    return 0
