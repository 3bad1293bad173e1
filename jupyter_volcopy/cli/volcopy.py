"""The command `volcopy`: everything that is not a copy, by sub-command.

`COMMANDS` names the modules of this package that are commands. Each has a `SUMMARY` (one line for
the help), `add_arguments(parser)` and `run(args, door) -> exit status`; a fault is raised as one of
`errors`. The options common to all (`--json`, `--host`, `--context`, `--service`) are added here,
and may also stand before the command's name.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from textwrap import wrap
from types import ModuleType
from typing import NoReturn, TextIO

from jupyter_volcopy.cli.door import Door
from jupyter_volcopy.errors import BadOption, UsageError, VolcopyError, internal_error

__all__ = ["COMMANDS", "CommandParser", "command_parser", "main", "run"]

_PACKAGE = "jupyter_volcopy.cli"
_NAMES = (
    "ps",
    "ls",
    "mounts",
    "volumes",
    "shares",
    "forecast",
    "rescue",
    "restore",
    "keep",
    "volume",
    "dockerfile",
    "handout",
    "collect",
    "service",
    "clean",
    "completion",
)

COMMANDS: dict[str, str] = {
    name: f"{_PACKAGE}.{name}" for name in _NAMES if find_spec(f"{_PACKAGE}.{name}") is not None
}
"""Sub-command to module, in the order of the help; those of this installation."""

_WITH_VALUE = ("-H", "--host", "--context", "--service", "--access")


class _Finished(Exception):
    """The parser said all there is to say (`--help`)."""


class CommandParser(ArgumentParser):
    """An argument parser that raises our errors, and writes to a door instead of the process.

    Attributes:
        out: where the help goes; None means standard output.
    """

    out: TextIO | None = None

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the arguments."""
        raise BadOption(message, hint=f"see `{self.prog} --help`")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the parsing, never the process."""
        raise _Finished(message or "")

    def print_help(self, file: object = None) -> None:
        """Write the help where results go."""
        print(self.format_help().rstrip("\n"), file=self.out or sys.stdout)


def _module(name: str) -> ModuleType:
    module = COMMANDS.get(name)
    if module is None:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, 1)
        raise UsageError(
            f"volcopy has no command {name!r}",
            hint=f"did you mean `volcopy {near[0]}`?" if near else "see `volcopy --help`",
        )
    return import_module(module)


def _narrow(text: str) -> str:
    """Paragraphs wrapped to 79 columns; indented lines stay as they are."""
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        kept = paragraph.startswith(" ")
        lines += ["", *(paragraph.split("\n") if kept else wrap(paragraph, 79))]
    return "\n".join(lines[1:])


def command_parser(name: str) -> CommandParser:
    """The parser of one sub-command, common options included.

    Raises:
        UsageError: there is no such command.
    """
    module = _module(name)
    parser = CommandParser(
        prog=f"volcopy {name}",
        description=_narrow(module.__doc__ or module.SUMMARY),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    common = parser.add_argument_group("common options")
    common.add_argument("--json", action="store_true", help="one JSON value on standard output")
    common.add_argument("-H", "--host", default="", metavar="ADDRESS", help="address of the engine")
    common.add_argument("--context", default="", metavar="NAME", help="Docker context to use")
    common.add_argument(
        "--access", default="", choices=("api", "direct", "auto"), help="as for dcp"
    )
    common.add_argument("--service", default="", metavar="URL", help="go through this Hub service")
    return parser


def _help() -> str:
    """The page of `volcopy --help`."""
    lines = [
        "Usage:  volcopy COMMAND [OPTIONS] [ARGUMENTS]",
        "",
        "What is in containers and volumes, what of it is kept, and what would be lost.",
        "To copy, use the command dcp.",
        "",
        "Commands",
    ]
    lines += [f"  {name:<12}{import_module(module).SUMMARY}" for name, module in COMMANDS.items()]
    lines += [
        "",
        "Options of all commands",
        "  --json               one JSON value on standard output",
        "  -H, --host ADDRESS   address of the engine, as for docker -H",
        "  --context NAME       Docker context to use",
        "  --access HOW         api, direct or auto, as for dcp",
        "  --service URL        go through the Hub service at this address",
        "  -h, --help           help, also of a command",
        "  --version            show the version",
    ]
    return "\n".join(lines)


def _split(words: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """Options before the command's name, the name ("" if there is none), what follows it."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in _WITH_VALUE else 1
    return list(words[:at]), words[at] if at < len(words) else "", list(words[at + 1 :])


def run(words: Sequence[str], door: Door) -> int:
    """Run one command line through a door.

    Args:
        words: arguments without `volcopy` itself.
        door: where words go; its engine's address is set from the options.

    Returns:
        The exit status.

    Raises:
        VolcopyError: what went wrong, unsaid.
    """
    before, name, rest = _split(words)
    if "--version" in before:
        from jupyter_volcopy._version import __version__

        door.out(f"volcopy {__version__}")
        return 0
    wanted = "-h" in before or "--help" in before
    if not name and before and not wanted:
        raise BadOption(
            f"{' '.join(before)}: there is no command after it, or no such option",
            hint="see `volcopy --help`",
        )
    if not name or name == "help" or wanted:
        if rest and name == "help":
            return run([rest[0], "--help"], door)
        door.out(_help())
        return 0 if name or before else 1
    parser = command_parser(name)
    parser.out = door.stdout
    try:
        args: Namespace = parser.parse_args([*before, *rest])
    except _Finished:
        return 0
    if args.host and args.context:
        raise UsageError("conflicting options: specify either --host or --context, not both")
    door.address, door.context, door.service = args.host, args.context, args.service
    door.access = args.access
    door.several = door.several or any(word.startswith("engine=") for word in rest)
    status: int = _module(name).run(args, door)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run `volcopy`.

    Args:
        argv: arguments without the command's name; None for those of the process.

    Returns:
        The exit status.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    with Door() as door:
        try:
            return run(words, door)
        except VolcopyError as error:
            return door.fail("volcopy", error, json="--json" in words)
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            # the reader of our output is gone; nothing more can be said to it
            sys.stdout = None
            return 1
        except Exception as error:  # a fault of ours: said in words, never as a traceback
            return door.fail("volcopy", internal_error(error), json="--json" in words)


if __name__ == "__main__":
    sys.exit(main())
