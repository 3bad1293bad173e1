"""Hand out a file or directory to many containers; what somebody changed is never overwritten.

Nothing there: it is put there. The version handed out before: it is replaced. Anything else is
somebody's work: it stays, and the new version is put beside it. A second run does only what is
left. Examples:

  volcopy handout lab1/ --to group:stats101          through the Hub's service
  volcopy handout lab1/ --to 'jupyter-*' --into /home/{user}
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.control import Cancel, Meter

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "put files into many containers, edits kept"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `volcopy handout`."""
    from jupyter_volcopy.cli.many import add_limits

    parser.add_argument("source", metavar="SOURCE", help="local file or directory")
    parser.add_argument(
        "--to", action="append", required=True, metavar="WHO",
        help="all, group:NAME, user:NAME, USER/SERVER; without a Hub names of containers",
    )  # fmt: skip
    parser.add_argument(
        "--into", default="", metavar="DIR",
        help="existing directory there, with {user} and {server} (default: the working directory)",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true", help="replace also what somebody changed"
    )
    add_limits(parser)


def run(args: Namespace, door: Door) -> int:
    """Hand it out."""
    from jupyter_volcopy.cli.keeping import working

    return working(door, "volcopy", lambda meter, cancel: _run(args, door, meter, cancel))


def _run(args: Namespace, door: Door, meter: Meter, cancel: Cancel) -> int:
    from jupyter_volcopy.cli.many import goals, limits, remote, reported, say, status

    chosen = limits(args)
    service = remote(args, door)
    report: dict[str, Any]
    if service is None:
        from jupyter_volcopy.core.many_handout import hand_out

        engine = door.engine()
        report = hand_out(
            engine,
            args.source,
            goals(engine, args.to, args.name),
            args.into,
            limits=chosen,
            overwrite=args.overwrite,
            meter=meter,
            cancel=cancel,
        ).to_dict()
    else:
        import os
        import tempfile

        from jupyter_volcopy.core.many_local import pack
        from jupyter_volcopy.core.paths import base_name, clean

        path = clean(os.path.abspath(args.source))
        name = base_name(path)
        with tempfile.TemporaryDirectory(prefix="volcopy-") as room:
            pack(path, name, f"{room}/handout.tar")
            query = [("to", word) for word in args.to]
            query += [("into", args.into), ("name", name), ("overwrite", str(int(args.overwrite)))]
            query += [
                ("bytes", str(chosen.bytes)),
                ("entries", str(chosen.entries)),
                ("seconds", str(int(chosen.seconds) or 1)),
            ]
            with open(f"{room}/handout.tar", "rb") as body:
                started = service.call("PUT", "handouts", query, body)
        done = service.over(started["id"], meter, cancel)
        report = reported(done)
    say(door, report, as_json=args.json)
    return status(report)
