"""Completion for shells: options, container names, paths inside a container.

To have it, put one of these lines where your shell starts:

    bash  ~/.bashrc                  eval "$(volcopy completion bash)"
    zsh   ~/.zshrc, after compinit   eval "$(volcopy completion zsh)"
    fish  config.fish                volcopy completion fish | source
"""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jupyter_volcopy.core.endpoint import ContainerPath, VolumePath, parse_endpoint
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.paths import clean, join
from jupyter_volcopy.errors import UsageError, VolcopyError, show

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door

__all__ = ["SUMMARY", "add_arguments", "candidates", "escape", "run", "split_line"]

SUMMARY = "completion for bash, zsh and fish"

_PATIENCE = 3.0  # seconds; a key was pressed, and somebody waits
_BUDGET = 4 << 20  # bytes of archive to read for one listing
_SPECIAL = re.compile(r"""([^\w./:=@%+,~-])""")

_BASH = """\
_volcopy_complete() {
  local IFS=$'\\n'
  COMPREPLY=($(volcopy completion --breaks "$COMP_WORDBREAKS" \\
    --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
}
complete -o nospace -F _volcopy_complete dcp volcopy
"""

_ZSH = """\
_volcopy_complete() {
  local -a found
  found=("${(@f)$(volcopy completion --line "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
  (( ${#found} )) && [[ -n $found[1] ]] && compadd -Q -S '' -- "${found[@]}"
}
compdef _volcopy_complete dcp volcopy
"""

_FISH = """\
function __volcopy_complete
  volcopy completion --plain --line (commandline -cp) 2>/dev/null
end
complete -c dcp -f -a '(__volcopy_complete)'
complete -c volcopy -f -a '(__volcopy_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of `volcopy completion`."""
    parser.add_argument("shell", nargs="?", choices=sorted(_SCRIPTS), help="print its script")
    scripts = parser.add_argument_group("used by the scripts")
    scripts.add_argument("--line", metavar="TEXT", help="print what may follow this line")
    scripts.add_argument("--breaks", default="", metavar="CHARS", help="where the shell cuts words")
    scripts.add_argument("--plain", action="store_true", help="without escapes")


def run(args: Namespace, door: Door) -> int:
    """Print a script, or what completes a line."""
    if args.shell:
        door.out(_SCRIPTS[args.shell].rstrip("\n"))
        return 0
    if args.line is None:
        raise UsageError("which shell?", hint="volcopy completion bash, zsh or fish")
    words, quoted = split_line(args.line)
    found = candidates(words, door)
    plain = args.plain or quoted
    cut = 0
    for char in ":=":
        if char in args.breaks:
            cut = max(cut, words[-1].rfind(char) + 1 if words else 0)
    for word in found:
        text = word[cut:]
        if not plain:
            text = escape(text)
        done = not word.endswith(("/", ":", "="))
        door.out(text + " " if done and not args.plain and not quoted else text)
    return 0


def escape(word: str) -> str:
    """`word` so that a shell takes it as one word."""
    return _SPECIAL.sub(r"\\\1", word)


def split_line(line: str) -> tuple[list[str], bool]:
    """The words of an unfinished command line, and whether its last one has an open quote.

    Words before the command's name (`sudo`, a pipe) are left out; the last word is the one that is
    being typed, empty after a blank.
    """
    words, word, quote, started, at = [], "", "", False, 0
    while at < len(line):
        char = line[at]
        at += 1
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and line[at : at + 1] in ('"', "\\"):
                word += line[at]
                at += 1
            else:
                word += char
        elif char in "'\"":
            quote, started = char, True
        elif char == "\\" and at < len(line):
            word += line[at]
            at, started = at + 1, True
        elif char.isspace():
            if word or started:
                words.append(word)
            word, started = "", False
        else:
            word += char
    words.append(word)
    for index in range(len(words) - 2, -1, -1):
        if words[index].lstrip("%!").rpartition("/")[2] in ("dcp", "volcopy"):
            words[index] = words[index].lstrip("%!").rpartition("/")[2]
            return words[index:], bool(quote)
    return words, bool(quote)


def candidates(words: list[str], door: Door) -> list[str]:
    """What the last of `words` may become; whole words, unescaped.

    Args:
        words: the command's name, its arguments so far, the word being typed.
        door: whose engine is asked.
    """
    if len(words) < 2:
        return []
    word, before = words[-1], words[-2]
    if words[0] == "dcp":
        return _for_dcp(word, before, "--" in words[1:-1], door)
    return _for_volcopy(words, door)


def _for_dcp(word: str, before: str, ended: bool, door: Door) -> list[str]:
    from jupyter_volcopy.cli.dcp_arguments import OPTIONS

    if not ended:
        name, equals, value = word.partition("=")
        for option in OPTIONS:
            values = list(option.choices)
            if option.name == "chown":
                values = ["container", "directory"]
            if values and equals and name == f"--{option.name}":
                return [f"{name}={each}" for each in values if each.startswith(value)]
            if values and before == f"--{option.name}":
                return [each for each in values if each.startswith(word)]
        if word.startswith("-"):
            names = [f"--{option.name}" + ("=" if option.value else "") for option in OPTIONS]
            return [each for each in names if each.startswith(word)]
    return _places(word, door) + list(_local(word))


def _for_volcopy(words: list[str], door: Door) -> list[str]:
    from jupyter_volcopy.cli.volcopy import COMMANDS, command_parser

    word = words[-1]
    if len(words) == 2:
        return [name for name in COMMANDS if name.startswith(word)]
    command = words[1]
    if command not in COMMANDS:
        return []
    if word.startswith("-"):
        names = [
            name for action in command_parser(command)._actions for name in action.option_strings
        ]
        return sorted(name for name in names if name.startswith(word) and name.startswith("--"))
    if command == "completion":
        return [name for name in sorted(_SCRIPTS) if name.startswith(word)]
    if command in ("ls", "clean"):
        return _places(word, door) + (list(_local(word)) if command == "clean" else [])
    if ":" in word:
        return _places(word, door)
    return [name for name in _names(door) if name.startswith(word)]


def _patiently(call: Callable[[], list[str]]) -> list[str]:
    """The answer if it comes soon and without a fault, else nothing."""
    from jupyter_volcopy.cli.copying import Work

    work = Work(call)
    if not work.wait(_PATIENCE):
        return []
    try:
        found: list[str] = work.result()
    except VolcopyError:
        return []
    return found


def _names(door: Door) -> list[str]:
    return _patiently(lambda: sorted(item.name for item in door.engine().containers()))


def _places(word: str, door: Door) -> list[str]:
    """Containers, volumes once `volume=` is there, and paths in them."""
    if word.startswith("volume=") and ":" not in word:
        volumes = _patiently(lambda: sorted(item.name for item in door.engine().volumes()))
        return [f"volume={name}:" for name in volumes if f"volume={name}".startswith(word)]
    if ":" not in word:
        names = [f"{name}:" for name in _names(door)]
        return [name for name in [*names, "volume="] if name.startswith(word)]
    try:
        place = parse_endpoint(word)
    except UsageError:
        return []
    if not isinstance(place, (ContainerPath, VolumePath)):
        return []
    head = word[: len(word) - len(place.path)]
    directory, slash, start = place.path.rpartition("/")
    stem = head + (directory + slash if slash else "" if place.path else "/")

    def call() -> list[str]:
        found = _inside(place, clean("/" + directory), door)
        return [stem + name for name in found if name.startswith(start)]

    return _patiently(call)


def _inside(place: ContainerPath | VolumePath, directory: str, door: Door) -> list[str]:
    """Names in a directory of a container or volume that a line can hold, `/` after directories."""
    engine = door.engine()
    if isinstance(place, VolumePath):
        with engine.volume(place.volume) as (container, root):
            listing = engine.list_dir(container, join(root, directory), budget=_BUDGET)
    else:
        ident = engine.container(place.container).id
        listing = engine.list_dir(ident, directory, budget=_BUDGET)
    return [
        entry.name + ("/" if entry.kind is Kind.DIRECTORY else "")
        for entry in listing.entries
        if show(entry.name) == entry.name
    ]


def _local(word: str) -> Iterator[str]:
    """Local paths that begin like `word`."""
    if ":" in word and not word.startswith(("/", ".")):
        return
    directory, slash, start = word.rpartition("/")
    try:
        with os.scandir(os.path.expanduser(directory + slash) or ".") as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        name = entry.name
        hidden = name.startswith(".") and not start.startswith(".")
        if name.startswith(start) and not hidden and show(name) == name:
            prefix = "" if slash or ":" not in name else "./"
            yield prefix + directory + slash + name + ("/" if entry.is_dir() else "")
