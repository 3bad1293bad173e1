"""Running a program in a container, its streams over one connection.

The engine turns the connection of `exec start` into a raw stream: what we send is the program's
standard input, what comes back are frames of eight bytes (1 = output, 2 = errors, and the length)
with content (Docker API, "Stream format"). No terminal, no shell, working directory `/` whatever
the image says (CVE-2024-21626), and always a user named by us.

Output is read by a thread of its own where the program also has input, since a program whose output
nobody reads stops reading its input.
"""

from __future__ import annotations

import time

from jupyter_volcopy.core.engine import ExecResult
from jupyter_volcopy.core.json_text import parse, quoted
from jupyter_volcopy.errors import (
    AccessDenied,
    CutStream,
    EngineError,
    EngineStalled,
    LimitExceeded,
    VolcopyError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from jupyter_volcopy.core.docker_engine import DockerEngine
    from jupyter_volcopy.core.http import Body, Connection

__all__ = ["Program", "collect", "program_error", "run_program", "start_program"]

_ERRORS_KEPT = 64 * 1024

_PIPE = 4096  # bytes for which a pipe has room at first: sent without a thread


class Program:
    """A started program.

    Attributes:
        engine: that started it.
        server: how that names itself.
        connection: to send standard input on.
        started: False where the engine refused to start it: there is only an exit status.
        stderr: what came on standard error, its first 64 KiB.
    """

    started = True

    def __init__(
        self, engine: DockerEngine, exec_id: str, connection: Connection, body: Body, server: str
    ) -> None:
        self.connection = connection
        self.stderr = bytearray()
        self.engine = engine
        self.server = server
        self._id = exec_id
        self._body = body
        self._left = 0
        self._deadline, self._late = float("inf"), ""
        self._header = memoryview(bytearray(8))
        self._scrap = memoryview(bytearray(32 * 1024))

    def readinto(self, buffer: memoryview) -> int:
        """Some of standard output; 0 when the program closed it (or ended).

        Raises:
            CutStream, EngineStalled, EngineError: the stream broke.
        """
        while not self._left:
            kind = self._frame()
            if kind < 0:
                return 0
            if kind == 2:
                self._errors()
        count = self._body.readinto(buffer[: self._left])
        if not count:
            raise CutStream("the output of a program in the container was cut: unexpected EOF")
        self._left -= count
        return count

    def until(self, seconds: float, what: str) -> None:
        """Limit the time in which it may go on talking; for messages it is called `what`."""
        self._deadline = time.monotonic() + seconds
        self._late = f"a program in the container took longer than {seconds:.0f} s: {what}"

    def _frame(self) -> int:
        """Read the head of a frame; its kind, -1 at the end."""
        if time.monotonic() > self._deadline:
            raise EngineStalled(self._late)
        got = 0
        while got < 8:
            count = self._body.readinto(self._header[got:])
            if not count:
                if got:
                    raise CutStream("the output of a program in the container was cut")
                return -1
            got += count
        if self._header[0] > 2 or any(self._header[1:4]):
            raise EngineError("garbage from the engine within the output of a program")
        self._left = int.from_bytes(self._header[4:8], "big")
        return 2 if self._header[0] == 2 else 1

    def _errors(self) -> None:
        while self._left:
            count = self._body.readinto(self._scrap[: self._left])
            if not count:
                raise CutStream("the error output of a program in the container was cut")
            self._left -= count
            room = _ERRORS_KEPT - len(self.stderr)
            if room > 0:
                self.stderr += self._scrap[: min(count, room)]

    def drain(self) -> None:
        """Read to the end, keeping only the errors."""
        scrap = memoryview(bytearray(32 * 1024))
        while self.readinto(scrap):
            pass

    def exit_code(self) -> int:
        """The exit status, once the output has ended.

        Raises:
            EngineStalled: the engine does not say so within ten seconds.
        """
        deadline, pause = time.monotonic() + 10, 0.002
        while True:
            state = self.engine.json("GET", f"/exec/{self._id}/json")
            if not state.get("Running") and state.get("ExitCode") is not None:
                return int(state["ExitCode"])
            if time.monotonic() > deadline:
                raise EngineStalled("the engine does not say how a program in the container ended")
            time.sleep(pause)
            pause = min(pause * 2, 0.2)

    def settle(self, seconds: float) -> None:
        """Wait until it has its process, so that nothing of its container can hold it up (E12).

        Engines of 20.10 have gone past that when they answer; nothing else tells, but the version.

        Args:
            seconds: at most.
        """
        deadline = time.monotonic() + seconds
        while not self.server.startswith("Docker/20.") and time.monotonic() < deadline:
            state = self.engine.json("GET", f"/exec/{self._id}/json")
            if state.get("Pid") or state.get("ExitCode") is not None:
                break
            time.sleep(0.005)

    def errors(self) -> str:
        """Standard error as text."""
        return bytes(self.stderr).decode("utf-8", "surrogateescape").strip()

    def abort(self) -> None:
        """Break the connection, from any thread."""
        self.connection.abort()

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.close()


class _NotStarted(Program):
    """A program the engine refused to start: newer engines say so instead of streaming."""

    started = False

    def __init__(self, engine: DockerEngine, code: int, text: str) -> None:
        self.engine, self.server = engine, ""
        self.stderr = bytearray(text.encode("utf-8", "surrogateescape"))
        self._code = code

    def readinto(self, buffer: memoryview) -> int:
        return 0

    def settle(self, seconds: float) -> None:
        pass

    def exit_code(self) -> int:
        return self._code

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


def start_program(
    engine: DockerEngine, container: str, argv: Sequence[str], *, user: str, stdin: bool
) -> Program:
    """Start a program.

    Args:
        engine: to ask.
        container: id or exact name.
        argv: program and arguments, no shell.
        user: `uid` or `uid:gid`.
        stdin: it gets standard input (send on `connection`, then `end_of_input`).

    Raises:
        Conflict: the container is not running, or is paused.
    """
    from jupyter_volcopy.core.docker_engine import container_in_url, message_of

    order = (
        f'{{"AttachStdin":{str(stdin).lower()},"AttachStdout":true,"AttachStderr":true,"Tty":false,'
        f'"User":{quoted(user)},"WorkingDir":"/","Cmd":[{",".join(map(quoted, argv))}]}}'
    )
    target = f"/containers/{container_in_url(container)}/exec"
    head, answer = engine.call("POST", target, data=_bytes_of(order), wait=30.0)
    if head.status != 201:
        raise engine.fail(head, answer, "exec", container=container)
    server = head.headers.get("server", "")
    exec_id = str(parse(answer.decode("utf-8", "replace"))["Id"])
    connection = engine.connect()
    try:
        start = b'{"Detach":false,"Tty":false}'
        connection.start(
            f"POST /exec/{exec_id}/start HTTP/1.1\r\nHost: docker\r\n"
            "User-Agent: jupyter-volcopy\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(start)}\r\n\r\n".encode()
            + start
        )
        head, body = connection.head("POST", engine.timeouts.idle, "exec start")
        if head.status not in (101, 200):
            text = message_of(body.read(1 << 20))
            connection.close()
            low = text.lower()
            if "exec failed" in low or "executable file" in low or "no such file" in low:
                missing = "not found" in low or "no such file" in low
                return _NotStarted(engine, 127 if missing else 126, text)
            raise engine.fail(head, text.encode(), "exec start", container=container)
    except OSError as problem:
        connection.close()
        raise EngineError(f"error during connect: exec start: {problem}") from problem
    except BaseException:
        connection.close()
        raise
    return Program(engine, exec_id, connection, body, server)


def _bytes_of(order: str) -> bytes:
    """JSON with the arguments as UTF-8.

    Raises:
        EngineError: an argument is not UTF-8: JSON, and so the engine, cannot carry it.
    """
    try:
        return order.encode("utf-8")
    except UnicodeEncodeError:
        raise EngineError(
            "a name that is not UTF-8 cannot be given to a program in the container",
            hint="copy the directory that holds it",
        ) from None


def run_program(
    engine: DockerEngine, container: str, argv: Sequence[str], *, user: str, stdin: bytes
) -> ExecResult:
    """Run a program to its end and collect what it says; see `Engine.execute`."""
    program = start_program(engine, container, argv, user=user, stdin=bool(stdin))
    return collect(program, argv[0], stdin)


def collect(program: Program, what: str, stdin: bytes = b"") -> ExecResult:
    """Collect what a started program says, to its end; the program is closed.

    Args:
        program: of it, nothing has been read yet.
        what: it is called in messages.
        stdin: what it is given, if it was started with standard input.

    Raises:
        LimitExceeded, EngineStalled: it said too much, or took too long.
        CutStream, EngineError: the stream broke.
    """
    engine = program.engine
    if program.started:
        engine.hold(program.connection)
        program.until(engine.exec_seconds, what)
    feeder: Any = None
    try:
        if stdin and len(stdin) <= _PIPE and program.started:
            _feed(program.connection, stdin)
        elif stdin and program.started:
            import threading  # dear, and seldom needed

            feeder = threading.Thread(target=_feed, args=(program.connection, stdin), daemon=True)
            feeder.start()
        out = bytearray()
        buffer = memoryview(bytearray(64 * 1024))
        while True:
            count = program.readinto(buffer)
            if not count:
                if program.started and program.connection.aborted:
                    raise CutStream(f"the output of {what} in the container was cut")
                break
            out += buffer[:count]
            if len(out) > engine.exec_bytes:
                raise LimitExceeded(f"a program in the container said more than {len(out)} bytes")
    finally:
        program.abort()
        if feeder is not None:
            feeder.join()
        if program.started:
            engine.release(program.connection)
        program.close()
    code = program.exit_code()
    if code in (126, 127) and out.startswith(b"OCI runtime exec failed"):
        program.stderr += out  # never started: engines before 23 say so on standard output
        out.clear()
    return ExecResult(code, bytes(out), bytes(program.stderr))


def program_error(code: int, said: str, what: str) -> VolcopyError:
    """The error for a program of the container that failed.

    Args:
        code: its exit status.
        said: its standard error.
        what: what it was to do, for messages.

    Returns:
        An error to be raised; the program's own words are in it.
    """
    from jupyter_volcopy.core.answers import error_from_answer

    said = said.strip() or f"exit status {code}"
    if code in (126, 127) or "executable file not found" in said:
        return EngineError(
            f"no program in the container can be used for {what}: {said}",
            hint="`tar`, `find`, `mv` and their like are needed in the container for this",
        )
    if "ermission denied" in said or "peration not permitted" in said:
        return AccessDenied(f"{what}: {said}")
    return error_from_answer(500, f"{what}: {said}")


def _feed(connection: Connection, data: bytes) -> None:
    """Send standard input; a program that ends without reading it all is no failure."""
    view = memoryview(data)
    try:
        for start in range(0, len(view), 1 << 20):
            connection.send(view[start : start + (1 << 20)])
    except (OSError, EngineError):
        return
    connection.end_of_input()
