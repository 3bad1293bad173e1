"""What every command needs of the outside: the engine, and where its words go.

A command gets a `Door` and uses nothing else of its surroundings, so the same code runs in a
terminal (`dcp`, `volcopy`) and in a notebook (`%dcp`, `%volcopy`), where the magic injects its own
streams. The engine is opened by the first who asks.
"""

from __future__ import annotations

import errno
import os
import sys

from jupyter_volcopy.errors import LocalError, UsageError, VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, BinaryIO, TextIO

    from jupyter_volcopy.core.control import Cancel
    from jupyter_volcopy.core.copier import Copier
    from jupyter_volcopy.core.engine import Engine

__all__ = ["Door"]

_SERVICE = "VOLCOPY_SERVICE_URL"


class _Closed:
    """A stream that was closed before the command began."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """No."""
        return False

    def flush(self) -> None:
        """Nothing."""

    def write(self, _text: str) -> int:
        """Fail as writing there would."""
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class Door:
    """The way in of one command.

    Args:
        address: of the engine, as for `docker -H`; "" for what Docker itself would use.
        context: Docker context, "" for the current one.
        service: address of a Hub service to go through instead of an engine, or "" for what
            `VOLCOPY_SERVICE_URL` says where there is no engine.
        stdout, stderr: text streams; None means the process's own.
        notebook: whether this is a notebook, where no archive can come or go by standard streams.

    Attributes:
        several: something is on another engine, by `engine=NAME/...`; to be set before the engine
            is asked for.
    """

    def __init__(
        self,
        *,
        address: str = "",
        context: str = "",
        service: str = "",
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        notebook: bool = False,
    ) -> None:
        self.address = address
        self.context = context
        self.service = service
        self.access = ""
        self.notebook = notebook
        self.several = False
        self._stdout = stdout
        self._stderr = stderr
        self._engine: Engine | None = None
        self._copiers: list[Copier] = []

    def __enter__(self) -> Door:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def stdout(self) -> TextIO:
        """Where results go."""
        found: Any = self._stdout or sys.stdout or _Closed()
        return found  # type: ignore[no-any-return]

    @property
    def stderr(self) -> TextIO:
        """Where messages go."""
        found: Any = self._stderr or sys.stderr or _Closed()
        return found  # type: ignore[no-any-return]

    def engine(self) -> Engine:
        """The engine, opened by the first call.

        Raises:
            EngineUnreachable: no engine answers at the address.
            UsageError: no such context.
        """
        if self._engine is None:
            service = self.service
            if not service and not (self.address or self.context) and _SERVICE in os.environ:
                from jupyter_volcopy.core.service_engine import service_meant

                service = service_meant()
            if service:
                from jupyter_volcopy.core.service_engine import open_service

                self._engine = open_service(service)
            else:
                from jupyter_volcopy.core.discovery import open_engine

                opened = open_engine(self.address, self.context)
                opened.access = self.access or opened.access
                self._engine = opened
            if self.several:
                from jupyter_volcopy.core.engines import Engines, open_named

                self._engine = Engines(self._engine, open_named)
        assert self._engine is not None
        return self._engine

    def copier(self) -> Copier:
        """The facade of the core, on this door's engine."""
        from jupyter_volcopy.core.copier import Copier

        copier = Copier(self.engine())
        self._copiers.append(copier)
        return copier

    def binary_input(self, cancel: Cancel | None = None) -> BinaryIO:
        """Standard input for an archive; a cancel ends the waiting for it.

        Raises:
            UsageError: in a notebook, or where there is none.
        """
        if self.notebook or sys.stdin is None:
            raise UsageError("there is no standard input here for an archive", hint="name a path")
        from jupyter_volcopy.cli.streams import StandardInput

        found: Any = StandardInput(sys.stdin.fileno(), cancel)
        return found  # type: ignore[no-any-return]

    def binary_output(self, cancel: Cancel | None = None) -> BinaryIO:
        """Standard output for an archive; a cancel ends the waiting for its reader.

        Raises:
            UsageError: in a notebook, where there is none, or on a terminal.
        """
        if self.notebook or sys.stdout is None:
            raise UsageError("there is no standard output here for an archive", hint="name a path")
        if sys.stdout.isatty():
            raise UsageError(
                "an archive is not written to a terminal", hint="redirect it: dcp ... - > FILE.tar"
            )
        from jupyter_volcopy.cli.streams import StandardOutput

        found: Any = StandardOutput(sys.stdout.fileno(), cancel)
        return found  # type: ignore[no-any-return]

    def out(self, text: str) -> None:
        """One line of result, already escaped."""
        self._write(self.stdout, text)

    def err(self, text: str) -> None:
        """One line of message, already escaped; lost where there is nobody to read it."""
        try:
            self._write(self.stderr, text)
        except LocalError:
            pass

    def json(self, value: Any) -> None:
        """One JSON value as result: a line for programs, indented on a terminal."""
        import json

        stream = self.stdout
        plain = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
        indent = 2 if stream.isatty() else None
        self._write(stream, json.dumps(value, ensure_ascii=plain, indent=indent))

    def fail(self, command: str, error: VolcopyError, *, json: bool = False) -> int:
        """Say what went wrong: the message, then the hint; returns the exit status.

        Args:
            command: which command says it.
            error: what went wrong.
            json: say it as one JSON object on standard output too.
        """
        from jupyter_volcopy.text import error_lines

        message, *hint = error_lines(error)
        if json:
            try:
                self.json({"ok": False, **error.to_dict()})
            except LocalError:
                pass  # said below
        for line in (f"{command}: {message}", *hint):
            self.err(line)
        return error.exit_code

    def close(self) -> None:
        """Let go of the engine and of journals: what a copy could not clean up, others may."""
        while self._copiers:
            self._copiers.pop().journal.close()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _write(self, stream: TextIO, text: str) -> None:
        """A line on a stream, whatever its encoding can hold."""
        try:
            try:
                stream.write(text + "\n")
            except UnicodeEncodeError:
                encoding = stream.encoding or "ascii"
                stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            if not self.notebook:  # there, every flush is an output of its own
                stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise LocalError(f"write standard output: {error.strerror}") from None
