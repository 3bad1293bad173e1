"""Keep a directory of a container: a volume with a name, the data in it, and how to use it.

  volcopy keep CONTAINER:PATH [--volume NAME] [--recreate [--yes]]

Makes the volume, copies the directory into it (owners kept, read a second time and compared), and
prints the docker run, compose and DockerSpawner lines that use it. The container stays as it is.

With --recreate it is stopped and made again from its own configuration with the volume there; the
old one keeps another name until the new one runs, and if anything fails, everything is as before.
Only for containers that you run yourself: those of compose, swarm or JupyterHub are refused.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import UsageError, show

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.control import Cancel, Meter

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "put a directory of a container into a volume that stays"


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of `volcopy keep`."""
    parser.add_argument("place", metavar="CONTAINER:PATH", help="a directory in a container")
    parser.add_argument("--volume", default="", metavar="NAME", help="name of the volume")
    parser.add_argument(
        "--recreate", action="store_true", help="make the container again with the volume"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(args: Namespace, door: Door) -> int:
    """Keep it."""
    from jupyter_volcopy.cli.keeping import working

    if args.yes and not args.recreate:
        raise UsageError("--yes means nothing without --recreate")
    return working(door, "volcopy", lambda meter, cancel: _keep(args, door, meter, cancel))


def _keep(args: Namespace, door: Door, meter: Meter, cancel: Cancel) -> int:
    from jupyter_volcopy.cli.keeping import agreed
    from jupyter_volcopy.core.keep import keep, named, wish
    from jupyter_volcopy.core.keep_recreate import recreate, refuse
    from jupyter_volcopy.text import count, size

    engine = door.engine()
    container, path = named(args.place)
    if args.recreate:
        refuse(engine.container(container))
        wanted = wish(engine, container, path, args.volume)
        name = wanted.container.name
        state = ", which runs, is stopped and" if wanted.container.running else " is"
        question = f"{name}{state} made again with volume {wanted.volume} at {wanted.path}?"
        agreed(door, args.yes, question, cancel)
        done = recreate(engine, wanted, meter=meter, cancel=cancel)
    else:
        done = keep(engine, container, path, args.volume, meter=meter, cancel=cancel)
    if args.json:
        door.json(done.to_dict())
        return 0
    for note in done.warnings:
        door.err(f"volcopy: warning: {note}")
    made = "made volume" if done.created else "volume"
    door.out(
        show(
            f"{made} {done.volume}: {count(done.files, 'file')}, {size(done.bytes)}, "
            f"{count(done.verified, 'file')} read again and equal"
        )
    )
    if done.recreated:
        door.out(show(f"{done.container} was made again, with {done.volume} at {done.path}"))
    for title, key in (
        ("docker run", "run"),
        ("compose.yaml", "compose"),
        ("jupyterhub_config.py", "spawner"),
    ):
        door.out("")
        door.out(f"# {title}")
        for line in done.lines[key].split("\n"):
            door.out(show(line))
    return 0
