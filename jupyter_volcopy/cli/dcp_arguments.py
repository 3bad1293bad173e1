"""The options of `dcp`, in one table: parsing, help and completion all read it.

The grammar is `docker cp`'s, which is Go's pflag (rule R1): options stand anywhere, `--` ends them,
short ones may be joined (`-aLq`), `--name=value` and `--name value` are the same, a switch takes
`=true` or `=false`, `-` alone is an argument. Own parser, because argparse has another grammar and
costs more than the rest of the start-up.
"""

from __future__ import annotations

from jupyter_volcopy.errors import BadOption, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = [
    "OPTIONS",
    "Arguments",
    "Option",
    "help_text",
    "parse",
    "parse_size",
    "parse_time",
]

_USAGE = "dcp [OPTIONS] SRC... DEST"

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def parse_size(text: str) -> int:
    """Bytes from `4096`, `10M`, `10MiB` (powers of 1024) or `10MB` (powers of 1000).

    Raises:
        ValueError: it is none of these.
    """
    digits = text.strip().upper()
    for suffix, base in (("IB", 1024), ("B", 1000), ("", 1024)):
        if not digits.endswith(suffix):
            continue
        number = digits[: len(digits) - len(suffix)]
        unit = number[-1:] if number[-1:].isalpha() else ""
        if unit not in _UNITS or (suffix == "IB" and not unit):
            break
        factor = _UNITS[unit] if base == 1024 else 1000 ** "KMGT".find(unit) * 1000 if unit else 1
        number = number[: len(number) - len(unit)]
        if not number.replace(".", "", 1).isdigit() or not number.isascii():
            break
        return int(float(number) * factor)
    raise ValueError("write a number of bytes, or one with k, M, G or T as in 10M")


def parse_time(text: str) -> float:
    """Seconds since 1970 from an age (`90s`, `30m`, `12h`, `2d`, `1w`), a date or RFC 3339 time.

    A date or time without zone is local time; `@1700000000` are seconds since 1970.

    Raises:
        ValueError: it is none of these.
    """
    text = text.strip()
    if text[:1] == "@":
        if text[1:].isdigit():
            return float(text[1:])
    elif text[-1:] in _SECONDS and text[:-1].replace(".", "", 1).isdecimal():
        import time

        return time.time() - float(text[:-1]) * _SECONDS[text[-1]]
    from datetime import datetime

    try:
        # Python 3.10 knows no Z
        return datetime.fromisoformat(
            text[:-1] + "+00:00" if text[-1:] in "Zz" else text
        ).timestamp()
    except ValueError:
        pass
    raise ValueError("write an age as in 2d or 12h, or a time as in 2025-05-31T18:00:00Z")


def _boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("write true or false")


def _count(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value <= 0:
        raise ValueError("write a whole number above 0")
    return value


def _text(text: str) -> str:
    return text


class Option:
    """One option.

    Attributes:
        name: long name, without dashes; `field` is the same with `_`.
        short: one letter, or "".
        value: how its value is called in the help; "" for a switch.
        convert: text to value, raising ValueError with what to write instead.
        many: given several times, all values are kept.
        choices: the only values, or ().
        copying: it is a field of `CopyOptions`.
        group: heading in the help.
    """

    __slots__ = (
        "choices",
        "convert",
        "copying",
        "field",
        "group",
        "help",
        "many",
        "name",
        "short",
        "value",
    )

    def __init__(
        self,
        group: str,
        name: str,
        short: str,
        value: str,
        convert: Callable[[str], Any],
        help: str,
        *,
        many: bool = False,
        choices: tuple[str, ...] = (),
        copying: bool = True,
    ) -> None:
        self.group = group
        self.name = name
        self.field = name.replace("-", "_")
        self.short = short
        self.value = value
        self.convert = convert
        self.help = help
        self.many = many
        self.choices = choices
        self.copying = copying

    @property
    def spelled(self) -> str:
        """As docker writes an option in its messages: `-a, --archive`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


def _switch(group: str, name: str, short: str, help: str, *, copying: bool = True) -> Option:
    return Option(group, name, short, "", _boolean, help, copying=copying)


_AS_DOCKER = "As docker cp"
_WHAT = "What is copied"
_WHOSE = "Who owns it"
_HOW = "How it lands"
_SURE = "How sure"
_TALK = "What is said"
_ENGINE = "Which engine"

OPTIONS: tuple[Option, ...] = (
    _switch(
        _AS_DOCKER,
        "archive",
        "a",
        "archive mode: what goes into a container that was given a user belongs to that user",
    ),
    _switch(_AS_DOCKER, "follow-link", "L", "follow SRC if it is a symbolic link"),
    _switch(
        _AS_DOCKER,
        "quiet",
        "q",
        "no progress, no success line; the default where stdout is no terminal",
        copying=False,
    ),
    Option(
        _WHAT,
        "exclude",
        "",
        "PATTERN",
        _text,
        "leave out what matches (as in .gitignore); repeatable",
        many=True,
    ),
    Option(
        _WHAT,
        "include",
        "",
        "PATTERN",
        _text,
        "keep what matches though it is excluded; without an exclude: only what matches;"
        " repeatable",
        many=True,
    ),
    Option(_WHAT, "exclude-from", "", "FILE", _text, "file with more patterns to leave out"),
    _switch(_WHAT, "dockerignore", "", "honour the .dockerignore of a local source directory"),
    _switch(_WHAT, "no-hidden", "", "leave out names below SRC that begin with a dot"),
    Option(
        _WHAT, "max-size", "", "SIZE", parse_size, "leave out files larger than this, as in 10M"
    ),
    Option(
        _WHAT,
        "newer",
        "",
        "TIME",
        parse_time,
        "only files modified after this: an age as in 2d, or an RFC 3339 time",
    ),
    _switch(_WHAT, "update", "", "leave out what is already the same (kind, size, time, mode)"),
    _switch(_WHAT, "checksum", "", "with --update: compare the contents, not the times"),
    _switch(_WHAT, "follow-all", "", "follow every link, also inside the tree; safe with loops"),
    _switch(_WHAT, "keep-links", "", "copy relative links that leave the tree as they are"),
    _switch(_WHAT, "skip-bad-links", "", "leave such links out, with a warning"),
    Option(
        _WHOSE,
        "chown",
        "",
        "OWNER",
        _text,
        "UID[:GID], names (looked up inside the container), `container` (the user it runs as) or"
        " `directory` (the owner of the directory it lands in)",
    ),
    _switch(_WHOSE, "numeric-owner", "", "from a container: keep its numeric owners"),
    _switch(_HOW, "parents", "", "make missing parents of DEST"),
    _switch(_HOW, "no-clobber", "", "leave existing files alone"),
    _switch(_HOW, "backup", "", "keep a replaced file as NAME~"),
    _switch(
        _HOW,
        "safe",
        "",
        "no power travels: no set-id bits, devices, pipes or capabilities; DEST is not followed if"
        " it is a link",
    ),
    _switch(_HOW, "durable", "", "flush to disk before the copy counts as done"),
    _switch(_SURE, "strict", "", "anything left out is an error"),
    _switch(_SURE, "verify", "", "read back and compare the sha256 of every file"),
    _switch(_SURE, "inconsistent", "", "accept files that change while they are read"),
    _switch(_SURE, "pause", "", "pause a running container while it is read"),
    Option(
        _SURE, "max-entries", "", "N", _count, "refuse more files, directories and links than this"
    ),
    Option(_SURE, "max-bytes", "", "SIZE", parse_size, "refuse more bytes than this"),
    _switch(_TALK, "plan", "", "say what would be done, and do nothing", copying=False),
    _switch(
        _TALK,
        "json",
        "",
        "one JSON object on stdout: the report, the plan or the error",
        copying=False,
    ),
    Option(
        _TALK,
        "progress",
        "",
        "HOW",
        _text,
        "auto (a live line on a terminal), plain (a line every few seconds) or none",
        choices=("auto", "plain", "none"),
        copying=False,
    ),
    Option(
        _ENGINE,
        "host",
        "H",
        "ADDRESS",
        _text,
        "address of the engine, as for docker -H",
        copying=False,
    ),
    Option(_ENGINE, "context", "", "NAME", _text, "Docker context to use", copying=False),
    Option(
        _ENGINE,
        "service",
        "",
        "URL",
        _text,
        "copy through the Hub service at this address",
        copying=False,
    ),
    Option(
        _ENGINE,
        "access",
        "",
        "HOW",
        _text,
        "auto (the default: direct where it is safe), api (ask the engine) or direct (its files, "
        "as root on its host)",
        choices=("api", "direct", "auto"),
    ),
    _switch(_TALK, "help", "h", "show this", copying=False),
    _switch(_TALK, "version", "", "show the version", copying=False),
)

_BY_NAME = {option.name: option for option in OPTIONS}
_BY_SHORT = {option.short: option for option in OPTIONS if option.short}


class Arguments:
    """What was asked for.

    Attributes:
        paths: SRC... DEST, as typed.
        options: fields of `CopyOptions` that were given.
        quiet: None where nothing was said, else what was said.
        plan, json, help, version: switches.
        progress: `auto`, `plain` or `none`.
        host, context, service: which engine; "" where nothing was said.
    """

    __slots__ = (
        "context",
        "help",
        "host",
        "json",
        "options",
        "paths",
        "plan",
        "progress",
        "quiet",
        "service",
        "version",
    )

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.options: dict[str, Any] = {}
        self.quiet: bool | None = None
        self.plan = False
        self.json = False
        self.help = False
        self.version = False
        self.progress = "auto"
        self.host = ""
        self.context = ""
        self.service = ""

    @property
    def sources(self) -> list[str]:
        """All paths but the last."""
        return self.paths[:-1]

    @property
    def destination(self) -> str:
        """The last path."""
        return self.paths[-1]

    def _set(self, option: Option, text: str) -> None:
        try:
            value = option.convert(text)
            if option.choices and value not in option.choices:
                raise ValueError(f"write {', '.join(option.choices[:-1])} or {option.choices[-1]}")
        except ValueError as error:
            raise BadOption(
                f'invalid argument "{text}" for "{option.spelled}" flag', hint=str(error)
            ) from None
        if not option.copying:
            setattr(self, option.field, value)
        elif option.many:
            self.options.setdefault(option.field, []).append(value)
        else:
            self.options[option.field] = value


def _long(arguments: Arguments, text: str, rest: Sequence[str]) -> int:
    """Take one `--name`; returns how many of `rest` were its value."""
    name, equals, value = text[2:].partition("=")
    if not name or name[0] == "-":
        raise BadOption(f"bad flag syntax: {text}")
    option = _BY_NAME.get(name)
    if option is None:
        import difflib

        near = difflib.get_close_matches(name, _BY_NAME, 1)
        raise BadOption(
            f"unknown flag: --{name}",
            hint=f"did you mean --{near[0]}?" if near else "see `dcp --help`",
        )
    if equals or not option.value:
        arguments._set(option, value if equals else "true")
        return 0
    if not rest:
        raise BadOption(f"flag needs an argument: --{name}")
    arguments._set(option, rest[0])
    return 1


def _short(arguments: Arguments, text: str, rest: Sequence[str]) -> int:
    """Take one `-aLq`; returns how many of `rest` were the value of its last letter."""
    letters = text[1:]
    for at, letter in enumerate(letters):
        option = _BY_SHORT.get(letter)
        if option is None:
            raise BadOption(
                f"unknown shorthand flag: '{letter}' in -{letters[at:]}", hint="see `dcp --help`"
            )
        following = letters[at + 1 :]
        if following[:1] == "=":
            arguments._set(option, following[1:])
            return 0
        if not option.value:
            arguments._set(option, "true")
            continue
        if following:
            arguments._set(option, following)
            return 0
        if not rest:
            raise BadOption(f"flag needs an argument: '{letter}' in -{letters[at:]}")
        arguments._set(option, rest[0])
        return 1
    return 0


def parse(argv: Sequence[str]) -> Arguments:
    """The arguments of one command line, without the command's own name.

    Raises:
        BadOption: an unknown option, or a value it cannot have.
        UsageError: not at least a source and a destination.
    """
    arguments = Arguments()
    at = 0
    while at < len(argv):
        text = argv[at]
        at += 1
        if text == "--":
            arguments.paths += argv[at:]
            break
        if text[:2] == "--":
            at += _long(arguments, text, argv[at:])
        elif text[:1] == "-" and text != "-":
            at += _short(arguments, text, argv[at:])
        else:
            arguments.paths.append(text)
    if arguments.help or arguments.version:
        return arguments
    if len(arguments.paths) < 2:
        raise UsageError(
            "'dcp' requires 2 arguments or more: a source and a destination",
            hint=f"Usage:  {_USAGE}; see `dcp --help`",
        )
    if arguments.host and arguments.context:
        raise UsageError("conflicting options: specify either --host or --context, not both")
    return arguments


_HEAD = f"""\
Usage:  {_USAGE}
        dcp [OPTIONS] SRC... -     (tar archive to standard output)
        dcp [OPTIONS] - DEST       (tar archive from standard input)

Copy files between containers, volumes and this machine, as docker cp does,
but never half: a file appears whole or not at all, and whatever was left out
is named.

A path is one of
  PATH               here, if it starts with / or . or has no colon
  CONTAINER:PATH     in a container: running, paused, stopped or created
  volume=NAME:PATH   in a volume
  engine=NAME/CONTAINER:PATH, engine=NAME/volume=VOLUME:PATH
                     on another engine: of engines.json, or a docker context
  -                  a tar archive on standard input or output
"""

_TAIL = """\
Examples
  dcp lab:/home/nb/report.ipynb .            one file from the container lab
  dcp Dockerfile lab:/home/nb/               into it
  dcp 'lab:/home/nb/*.ipynb' notebooks/      a pattern, expanded there
  dcp a.csv b.csv lab:/data/ --chown container
  dcp lab:/work/. other:/work --update       from container to container, again
  dcp volume=home-1:/. backup/ --plan        what would be done
  dcp lab:/data - | tar t                    as a tar archive

Exit status
  0 all of it arrived        1 not all of it, or refused    4 not allowed
  5 the archive was unsafe   7 no engine answers            125 bad option
  129, 130, 143 by a signal: each file is the old one or the whole new one
"""


def help_text() -> str:
    """The page that `dcp --help` prints, at most 80 columns wide."""
    import textwrap

    groups: dict[str, list[Option]] = {}
    for option in OPTIONS:
        groups.setdefault(option.group, []).append(option)
    lines = [_HEAD]
    for group, options in groups.items():
        lines.append(group)
        for option in options:
            short = f"-{option.short}," if option.short else "   "
            head = f"  {short} --{option.name}" + (f" {option.value}" if option.value else "")
            wrapped = textwrap.wrap(option.help, 79 - 28)
            if len(head) > 26:
                lines.append(head)
                head = ""
            lines.append(f"{head:<28}{wrapped[0]}")
            lines += [" " * 28 + line for line in wrapped[1:]]
        lines.append("")
    lines.append(_TAIL)
    return "\n".join(lines)
