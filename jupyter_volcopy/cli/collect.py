r"""Collect a path out of many containers, each user's in a directory of their own.

What is collected lands in INTO/USER/TIME-HASH/; what has not changed since the last time is not
collected again. Example:

  volcopy collect '/home/{user}/lab1/answer.ipynb' \
      --from group:stats101 --into submissions/
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.cli.many import Remote
    from jupyter_volcopy.core.control import Cancel, Meter

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "copy a path out of many containers"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `volcopy collect`."""
    from jupyter_volcopy.cli.many import add_limits

    parser.add_argument("path", metavar="PATH", help="absolute there, with {user} and {server}")
    parser.add_argument(
        "--from", dest="whose", action="append", metavar="WHO",
        help="all, group:NAME, user:NAME, USER/SERVER; without a Hub names of containers "
        "(default: all, without a Hub all that fit --name)",
    )  # fmt: skip
    parser.add_argument("--into", required=True, metavar="DIR", help="local directory")
    add_limits(parser)


def run(args: Namespace, door: Door) -> int:
    """Collect it."""
    from jupyter_volcopy.cli.keeping import working

    return working(door, "volcopy", lambda meter, cancel: _run(args, door, meter, cancel))


def _run(args: Namespace, door: Door, meter: Meter, cancel: Cancel) -> int:
    from jupyter_volcopy.cli.many import goals, limits, remote, say, status

    service = remote(args, door)
    report: dict[str, Any]
    if service is None:
        from jupyter_volcopy.core.many_collect import collect

        engine = door.engine()
        whose = args.whose or [args.name.replace("{username}", "*")]
        report = collect(
            engine,
            args.path,
            goals(engine, whose, args.name),
            args.into,
            limits=limits(args),
            meter=meter,
            cancel=cancel,
        ).to_dict()
    else:
        report = _through(service, args, meter, cancel)
    say(door, report, as_json=args.json)
    return status(report)


def _through(service: Remote, args: Namespace, meter: Meter, cancel: Cancel) -> dict[str, Any]:
    """Collected by the service, brought here, and put beside what is here already."""
    import os
    import tempfile

    from jupyter_volcopy.cli.many import limits, reported
    from jupyter_volcopy.core.localfs import local_error
    from jupyter_volcopy.core.many_collect import known_in, remember
    from jupyter_volcopy.core.many_local import land

    chosen = limits(args)
    try:
        os.makedirs(args.into, exist_ok=True)
    except OSError as error:
        raise local_error(error, "make", args.into) from None
    known = known_in(args.into)
    started = service.call(
        "POST",
        "collections",
        body={
            "path": args.path,
            "from": args.whose or ["all"],
            "known": known,
            "limits": {
                "bytes": chosen.bytes,
                "entries": chosen.entries,
                "seconds": int(chosen.seconds) or 1,
            },
        },
    )
    report = reported(service.over(started["id"], meter, cancel))
    with tempfile.TemporaryDirectory(prefix=".volcopy-", dir=args.into) as room:
        archive = f"{room}/submissions.tar"
        service.call("GET", f"collections/{started['id']}", into=archive)
        with open(archive, "rb", buffering=0) as file:
            top = land(file, room, "submissions", max_bytes=1 << 50, max_entries=50_000_000)
        for item in report["outcomes"]:
            folder = item.get("folder")
            if folder is not None:
                target = os.path.join(args.into, folder)
                try:
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.rename(os.path.join(top, folder), target)
                except OSError as error:
                    raise local_error(error, "make", target) from None
            if "known" in item:
                known[f"{item['label']}\0{args.path}"] = item["known"]
    remember(args.into, known)
    return report
