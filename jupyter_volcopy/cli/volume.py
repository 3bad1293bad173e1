"""Whole volumes: out to a tar, in from one, one into another, emptied.

Owners, modes and times are kept, those of the volume's root too, and everything written is read a
second time and compared. A volume is reached without any container of yours: a link in it leads to
no other container's files. `volcopy volumes` lists them; single files are copied with dcp, as
volume=NAME:PATH. A misspelt name is an error and makes nothing.

  volcopy volume export NAME FILE.tar|-
  volcopy volume import FILE.tar|- NAME [--create]
  volcopy volume clone NAME NEW
  volcopy volume empty NAME [--yes]
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import NoSuchPath, NoSuchVolume, UsageError, show

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.control import Cancel, Meter
    from jupyter_volcopy.core.volumes import Moved

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "export, import, clone or empty a whole volume"


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of `volcopy volume`."""
    # One flat parser: sub-parsers would not take the common options behind their arguments.
    parser.add_argument("action", choices=("export", "import", "clone", "empty"))
    parser.add_argument("names", nargs="+", metavar="NAME|FILE", help="as shown above")
    parser.add_argument("--create", action="store_true", help="import: make the volume if needed")
    parser.add_argument("-y", "--yes", action="store_true", help="empty: do not ask")


def run(args: Namespace, door: Door) -> int:
    """Do one of the four."""
    wanted = 1 if args.action == "empty" else 2
    if len(args.names) != wanted:
        raise UsageError(
            f"volcopy volume {args.action} takes {wanted} "
            f"{'name' if wanted == 1 else 'names'}, not {len(args.names)}",
            hint="see `volcopy volume --help`",
        )
    if args.create and args.action != "import":
        raise UsageError(f"--create means nothing to {args.action}")
    from jupyter_volcopy.cli.keeping import working

    action = {"export": _export, "import": _import, "clone": _clone, "empty": _empty}[args.action]
    return working(door, "volcopy", lambda meter, cancel: action(args, door, meter, cancel))


def _say(door: Door, args: Namespace, done: Moved, *, quiet: bool = False) -> int:
    from jupyter_volcopy.text import count, size

    for note in done.warnings:
        door.err(f"volcopy: warning: {note}")
    if args.json:
        door.json(done.to_dict())
    elif not quiet:
        checked = f", {count(done.verified, 'file')} read again and equal" if done.verified else ""
        made = f" (volume {done.destination.removeprefix('volume=')} made)" if done.created else ""
        door.out(
            show(
                f"{done.source} -> {done.destination}: {count(done.files, 'file')}, "
                f"{size(done.bytes)}{checked}{made}"
            )
        )
    return 0


def _export(args: Namespace, door: Door, meter: Meter, cancel: Cancel) -> int:
    from jupyter_volcopy.core.journal import Journal
    from jupyter_volcopy.core.transfer_held import FinalFile
    from jupyter_volcopy.core.volumes import exists, export_volume

    name, path = args.names
    engine = door.engine()
    if path == "-":
        if args.json:
            raise UsageError("both --json and the archive want standard output", hint="choose one")
        out = door.binary_output(cancel)
        done = export_volume(engine, name, out.write, meter=meter, cancel=cancel)
        return _say(door, args, done, quiet=True)
    if not exists(engine, name):
        raise NoSuchVolume(f"No such volume: {name}", hint="`volcopy volumes` lists them")
    with FinalFile(path, Journal(), replace=True) as file:
        done = export_volume(engine, name, file.write, meter=meter, cancel=cancel)
        file.commit()
    done.destination = path
    return _say(door, args, done)


def _import(args: Namespace, door: Door, meter: Meter, cancel: Cancel) -> int:
    from jupyter_volcopy.core.volumes import import_volume

    path, name = args.names
    engine = door.engine()
    if path == "-":
        stream = door.binary_input(cancel)
        done = import_volume(engine, stream, name, create=args.create, meter=meter, cancel=cancel)
        return _say(door, args, done)
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise NoSuchPath(f"open {path}: {(error.strerror or '').lower()}") from None
    with file:
        done = import_volume(engine, file, name, create=args.create, meter=meter, cancel=cancel)
    done.source = path
    return _say(door, args, done)


def _clone(args: Namespace, door: Door, meter: Meter, cancel: Cancel) -> int:
    from jupyter_volcopy.core.volumes import clone_volume

    source, target = args.names
    done = clone_volume(door.engine(), source, target, meter=meter, cancel=cancel)
    return _say(door, args, done)


def _empty(args: Namespace, door: Door, meter: Meter, cancel: Cancel) -> int:
    from jupyter_volcopy.cli.keeping import agreed
    from jupyter_volcopy.core.volumes import exists, users
    from jupyter_volcopy.text import count

    name = args.names[0]
    engine = door.engine()
    if not exists(engine, name):
        raise NoSuchVolume(f"No such volume: {name}", hint="`volcopy volumes` lists them")
    used = users(engine, name)
    with engine.volume(name) as (container, path):
        number = len(engine.list_dir(container, path, recursive=True).entries)
    if not number:
        if args.json:
            door.json({"volume": name, "removed": 0})
        else:
            door.out(f"volume {name} is empty")
        return 0
    by = f", used by {', '.join(used)}" if used else ""
    agreed(
        door, args.yes, f"remove {count(number, 'entry', 'entries')} of volume {name}{by}?", cancel
    )
    cancel.check()
    engine.empty_volume(name)
    if args.json:
        door.json({"volume": name, "removed": number})
    else:
        door.out(f"{count(number, 'entry', 'entries')} removed from volume {name}")
    return 0
