"""The mount points that a Dockerfile's VOLUME lines, or an image, declare.

FILE is a Dockerfile, a directory that holds one, or - for standard input; anything else is the name
of an image. Says what a container of it would keep, and warns of RUN lines whose writes the classic
builder drops because the path was declared before them.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jupyter_volcopy.errors import (
    EngineUnreachable,
    LocalError,
    NotFound,
    UsageError,
    VolcopyError,
    show,
)

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.dockerfile import DockerfileReport

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "the mount points a Dockerfile or image declares"

_MOST = 4 << 20


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("file", metavar="FILE|IMAGE", nargs="?", default=".", help="default: .")
    parser.add_argument("--target", default="", metavar="STAGE", help="as docker build --target")
    parser.add_argument(
        "--build-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="as docker build --build-arg",
    )


def _read(name: str, door: Door) -> tuple[str, str] | None:
    """Name and text of the Dockerfile, or None if that is no file here."""
    import os

    if name == "-":
        raw = door.binary_input().read(_MOST + 1)
        return _decoded("standard input", raw)
    path = os.path.join(name, "Dockerfile") if os.path.isdir(name) else name
    if not os.path.exists(path) and path == name:
        return None
    try:
        with open(path, "rb") as file:
            return _decoded(path, file.read(_MOST + 1))
    except OSError as problem:
        raise LocalError(f"{path}: {problem.strerror}") from problem


def _decoded(name: str, raw: bytes) -> tuple[str, str]:
    if len(raw) > _MOST:
        raise UsageError(f"{name} is larger than 4 MiB: no Dockerfile")
    return name, raw.decode("utf-8", "surrogateescape")


def _answer(args: Namespace, door: Door) -> DockerfileReport:
    from jupyter_volcopy.core.dockerfile import image_report, read_dockerfile

    found = _read(args.file, door)
    if found is None:
        try:
            return image_report(args.file, door.engine().image(args.file))
        except VolcopyError as problem:
            if isinstance(problem, EngineUnreachable):
                raise
            raise NotFound(
                f"{args.file} is neither a file here nor an image on the engine",
                hint="the path of a Dockerfile, or a name of `docker images`",
            ) from problem

    def lookup(image: str) -> Mapping[str, Any] | None:
        try:
            return door.engine().image(image).get("Config") or {}
        except VolcopyError:
            return None  # no such image here, or no engine: the report says so

    given = dict(item.partition("=")[::2] for item in args.build_arg)
    return read_dockerfile(
        found[1], name=found[0], target=args.target, build_args=given, lookup=lookup
    )


def run(args: Namespace, door: Door) -> int:
    """Answer."""
    from jupyter_volcopy.text import table

    report = _answer(args, door)
    if args.json:
        door.json(report.to_dict())
        return 0
    if report.volumes:
        rows = [[item.path, item.origin] for item in report.volumes]
        for line in table(rows, ["MOUNT POINT", "DECLARED BY"]):
            door.out(line)
    for sentence in report.keeps():
        door.out(show(sentence))
    if report.onbuild:
        door.out(show("images built FROM it declare, too: " + " ".join(report.onbuild)))
    for warning in report.warnings:
        where = f"line {warning.line}: " if warning.line else ""
        door.err(show(f"warning: {where}{warning.message}"))
    return 0
