"""The magics `%dcp` and `%volcopy`: the two commands in a notebook.

Same parsers, same core. What differs is the surroundings: a line is split here instead of by a
shell, `{expression}` and `$name` are Python's, progress is one output updated in place, the result
is a value, faults are raised (without a traceback), and the stop button cancels.

Variables are put in *after* the line was split, so a value with blanks stays one argument; a list
or tuple that stands alone becomes several.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from IPython.core.magic import Magics, line_magic, magics_class, needs_local_scope, no_var_expand

from jupyter_volcopy.cli.dcp_arguments import Arguments, help_text, parse
from jupyter_volcopy.cli.door import Door
from jupyter_volcopy.cli.progress import LiveLine, Shown, Silent
from jupyter_volcopy.core.control import Cancel, Meter, Progress
from jupyter_volcopy.core.endpoint import LocalPath, parse_endpoint
from jupyter_volcopy.core.record import fields
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.errors import (
    PartialWrite,
    TransferCancelled,
    UsageError,
    VolcopyError,
    internal_error,
    show,
)
from jupyter_volcopy.text import (
    failure,
    plan_html,
    plan_lines,
    progress_text,
    report_html,
    report_lines,
    success,
)

__all__ = ["DcpMagics", "ShownPlan", "ShownReport", "load", "split", "unload"]

_MARK = 0x10F000  # private-use characters that stand for values while a line is split
_NAME = re.compile(r"\$(\$?)([^\W\d]\w*(?:\.[^\W\d]\w*)*)")
_PAIRS = {"{": "}", "[": "]", "(": ")"}


class ShownReport(Report):
    """A report as a notebook shows it."""

    __slots__ = ()

    @classmethod
    def of(cls, report: Report) -> ShownReport:
        """The same report, to be shown."""
        return cls(**{name: getattr(report, name) for name in fields(Report)})

    def _repr_html_(self) -> str:
        return report_html(self)

    def __repr__(self) -> str:
        return "\n".join(report_lines(self))


class ShownPlan:
    """A plan as a notebook shows it.

    Attributes:
        plan: the plan itself.
    """

    def __init__(self, plan: Any) -> None:
        self.plan = plan

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able data."""
        found: dict[str, Any] = self.plan.to_dict()
        return found

    def _repr_html_(self) -> str:
        return plan_html(self.plan)

    def __repr__(self) -> str:
        return "\n".join(plan_lines(self.plan))


class _LiveOutput:
    """Progress as one output of a cell, updated in place; short copies never show it."""

    period = 0.25

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, progress: Progress) -> None:
        """Rewrite the output."""
        if progress.seconds >= 0.4:
            self.say(progress_text(progress, 100))

    def say(self, line: str) -> None:
        """Put a line there."""
        from IPython import display as output

        display: Any = output.display
        bundle = {"text/plain": line}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def end(self) -> None:
        """Empty it."""
        if self._handle is not None:
            self.say("")

    def finish(self, line: str) -> None:
        """The last word, where anything was shown before."""
        if self._handle is not None:
            self.say(line)


def _evaluate(expression: str, names: Mapping[str, Any]) -> tuple[bool, Any]:
    """`{expression}` as IPython would expand it: (it has a value, the value)."""
    from contextlib import suppress

    from IPython.utils.text import FullEvalFormatter

    with suppress(Exception):  # with a format, as in {n:03d}, or no expression at all
        return True, eval(expression.strip(), dict(names))  # noqa: S307 - the user's own code
    try:
        return True, FullEvalFormatter().vformat("{" + expression + "}", (), dict(names))
    except Exception:
        return False, None  # left as it stands, as IPython does


def _closing(line: str, start: int) -> int:
    """Index of the brace that closes the one at `start`, or -1."""
    open_ones: list[str] = []
    quote = ""
    at = start
    while at < len(line):
        char = line[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char in _PAIRS:
            open_ones.append(_PAIRS[char])
        elif open_ones and char == open_ones[-1]:
            open_ones.pop()
            if not open_ones:
                return at
        at += 1
    return -1


def _marked(line: str, names: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The line with a mark in the place of every variable, and the variables' values."""
    values: list[Any] = []
    out: list[str] = []

    def mark(value: Any) -> None:
        out.append(chr(_MARK + len(values)))
        values.append(value)

    quote = ""
    at = 0
    while at < len(line):
        char = line[at]
        if char == "\\" and quote != "'":
            out.append(line[at : at + 2])
            at += 2
            continue
        if char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        elif line[at : at + 2] in ("{{", "}}"):
            at += 1
        elif char == "{":
            end = _closing(line, at)
            known, value = _evaluate(line[at + 1 : end], names) if end > 0 else (False, None)
            if known:
                mark(value)
                at = end + 1
                continue
        elif char == "$" and quote != "'":
            found = _NAME.match(line, at)
            if found and found.group(1):
                out.append("$" + found.group(2))
                at = found.end()
                continue
            name = found.group(2) if found else ""
            while name:  # of `$name.ipynb` as much as has a value
                known, value = _evaluate(name, names)
                if known:
                    break
                name = name.rpartition(".")[0]
            if name:
                mark(value)
                at += 1 + len(name)
                continue
        out.append(char)
        at += 1
    return "".join(out), values


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def split(line: str, names: Mapping[str, Any]) -> list[str]:
    """The arguments on a magic's line.

    Args:
        line: what stands after the magic's name.
        names: variables by name.

    Raises:
        UsageError: a quote is not closed.
    """
    marked, values = _marked(line, names)
    try:
        tokens = shlex.split(marked)
    except ValueError as error:
        raise UsageError(
            f"cannot split the line: {error}".lower(), hint="close the quote, or write \\' for one"
        ) from None
    words: list[str] = []
    for token in tokens:
        first = ord(token) - _MARK if len(token) == 1 else -1
        if 0 <= first < len(values) and isinstance(values[first], (list, tuple)):
            words += [_as_text(item) for item in values[first]]
            continue
        pieces = []
        for char in token:
            index = ord(char) - _MARK
            pieces.append(_as_text(values[index]) if 0 <= index < len(values) else char)
        words.append("".join(pieces))
    return words


def _as_a_shell(arguments: Arguments) -> None:
    """What a shell would have done to local paths: `~`, and patterns that match something."""
    import glob

    paths: list[str] = []
    for at, text in enumerate(arguments.paths):
        if text == "-" or not isinstance(parse_endpoint(text), LocalPath):
            paths.append(text)
            continue
        if text == "~" or text.startswith("~/"):
            text = os.path.expanduser(text)
        found: list[str] = []
        source = at < len(arguments.paths) - 1
        if source and any(char in text for char in "*?[") and not os.path.lexists(text):
            found = sorted(glob.glob(text))
        paths += found or [text]
    arguments.paths = paths


@magics_class
class DcpMagics(Magics):
    """`%dcp` and `%volcopy`."""

    @no_var_expand
    @needs_local_scope
    @line_magic
    def dcp(
        self, line: str, local_ns: dict[str, Any] | None = None
    ) -> ShownReport | ShownPlan | None:
        """Copy files between containers, volumes and this machine; `%dcp --help` says how.

        Returns the report of the copy (with `--plan`, the plan). A fault is raised.
        """
        arguments = parse(split(line, self._names(local_ns)))
        if arguments.help:
            print(help_text().rstrip("\n"))
            return None
        if arguments.version:
            from jupyter_volcopy._version import __version__

            print(f"dcp {__version__}")
            return None
        _as_a_shell(arguments)
        with Door(
            address=arguments.host,
            context=arguments.context,
            service=arguments.service,
            notebook=True,
        ) as door:
            try:
                return self._copy(arguments, door)
            except VolcopyError:
                raise
            except Exception as error:
                raise internal_error(error) from None

    @no_var_expand
    @needs_local_scope
    @line_magic
    def volcopy(self, line: str, local_ns: dict[str, Any] | None = None) -> None:
        """Everything about containers and volumes that is no copy; `%volcopy --help` lists it."""
        from jupyter_volcopy.cli.volcopy import run

        words = split(line, self._names(local_ns)) or ["--help"]
        with Door(notebook=True) as door:
            try:
                status = run(words, door)
            except KeyboardInterrupt:
                raise TransferCancelled("cancelled") from None
            except VolcopyError:
                raise
            except Exception as error:
                raise internal_error(error) from None
        if status:
            raise VolcopyError(f"volcopy ended with status {status}", hint="see what it said above")

    def _names(self, local: dict[str, Any] | None) -> dict[str, Any]:
        assert self.shell is not None
        return {**self.shell.user_ns, **(local or {})}

    def _copy(self, arguments: Arguments, door: Door) -> ShownReport | ShownPlan | None:
        from jupyter_volcopy.cli.copying import Work, copying, planning, wait

        meter, cancel = Meter(), Cancel()
        if arguments.plan:
            plan = wait(Work(planning(arguments, door)), cancel, meter, Silent())
            if arguments.json:
                door.json(plan.to_dict())
                return None
            return ShownPlan(plan)
        call = copying(arguments, door, meter, cancel)
        shown: Shown = Silent()
        if not arguments.quiet and arguments.progress != "none":
            in_notebook = getattr(self.shell, "kernel", None) is not None
            shown = _LiveOutput() if in_notebook else LiveLine(sys.stderr)
        report: Report = wait(Work(call), cancel, meter, shown)
        if arguments.json:
            door.json(report.to_dict())
        else:
            for note in report.warnings:
                door.err(f"dcp: warning: {note}")
        if not report.ok:
            raise _incomplete(report)
        if isinstance(shown, _LiveOutput):
            shown.finish(success(report))
        return None if arguments.json else ShownReport.of(report)


def _incomplete(report: Report) -> PartialWrite:
    """The fault of a copy of which something did not arrive."""
    named = "; ".join(str(note) for note in report.failed[:5])
    more = f"; and {len(report.failed) - 5} more" if len(report.failed) > 5 else ""
    return PartialWrite(f"{failure(report)}: {named}{more}", report=report.to_dict())


def _complete(_shell: Any, event: Any) -> list[str]:
    """What completes the word at the cursor (IPython's hook `complete_command`)."""
    from jupyter_volcopy.cli.completion import candidates, escape, split_line

    words, quoted = split_line(event.text_until_cursor.rpartition("\n")[2])
    if len(words) < 2:
        return []
    with Door(notebook=True) as door:
        found = candidates(words, door)
    typed = len(words[-1])
    tails = [word[typed:] for word in found if show(word) == word]
    return [event.symbol + (tail if quoted else escape(tail)) for tail in tails]


def load(shell: Any) -> None:
    """Register the magics and their completion with an IPython shell."""
    shell.register_magics(DcpMagics)
    for name in ("dcp", "volcopy"):
        shell.set_hook("complete_command", _complete, str_key=f"%{name}")


def unload(shell: Any) -> None:
    """Take the magics and their completion away from an IPython shell."""
    strings = shell.strdispatchers["complete_command"].strs
    for name in ("dcp", "volcopy"):
        shell.magics_manager.magics["line"].pop(name, None)
        strings.pop(f"%{name}", None)
