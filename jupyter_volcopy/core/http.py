"""HTTP to the engine over a socket of our own: just what the Docker API needs, read strictly.

The archive calls decide how fast and how safe a copy is, and no general client does them well: it
is slow to import, reads in small pieces, adds `Accept-Encoding`, or hides a cut. Here one
`Connection` sends a request and reads the head of the answer; a `Body` then yields the content
straight into the caller's buffer. What does not look like HTTP is an `EngineError`, an end before
the promised one is a `CutStream`, silence beyond a limit is an `EngineStalled`: nothing is guessed.

Only `_socket` is imported (`socket` costs the start of a command several milliseconds).
"""

from __future__ import annotations

import os

from jupyter_volcopy.errors import CutStream, EngineError, EngineStalled, EngineUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable
    from typing import Any, TypeAlias
else:
    try:
        import _socket
    except ImportError:  # pragma: no cover - another interpreter than CPython
        import socket as _socket

__all__ = ["Body", "Connection", "Dial", "Head", "Kept", "Timeouts", "dial_tcp", "dial_unix"]

Dial: TypeAlias = "Callable[[Timeouts], Any]"
"""Something that returns a new connected socket (`_socket.socket` or one like it)."""

_HEAD_LIMIT = 64 * 1024
_HEADERS_LIMIT = 100
_PIECE = 64 * 1024
_KEPT = 4


class Timeouts:
    """How long to wait for the engine, in seconds.

    Args:
        connect: for a connection.
        answer: for the first byte of an answer to a small call or the start of an archive.
        idle: for the next byte of a body, in or out.
        long: for the answer to calls that change something (create, commit, stop).
    """

    __slots__ = ("answer", "connect", "idle", "long")

    def __init__(
        self, connect: float = 5.0, answer: float = 30.0, idle: float = 60.0, long: float = 300.0
    ) -> None:
        self.connect = connect
        self.answer = answer
        self.idle = idle
        self.long = long


class Head:
    """Status line and headers of an answer; header names in lower case."""

    __slots__ = ("headers", "keep", "status")

    def __init__(self, status: int, headers: dict[str, str], keep: bool) -> None:
        self.status = status
        self.headers = headers
        self.keep = keep  # the connection can be used again after the body


def dial_unix(path: str) -> Dial:
    """A way to connect to the engine's socket file."""

    def dial(timeouts: Timeouts) -> Any:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.settimeout(timeouts.connect)
            sock.connect(path)
        except OSError as problem:
            sock.close()
            raise _unreachable(f"unix://{path}", problem) from problem
        return sock

    return dial


def dial_tcp(host: str, port: int) -> Dial:
    """A way to connect to an engine over plain TCP."""

    def dial(timeouts: Timeouts) -> Any:
        import socket  # resolving names needs the full module

        try:
            sock = socket.create_connection((host, port), timeouts.connect)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as problem:
            raise _unreachable(f"tcp://{host}:{port}", problem) from problem
        return sock

    return dial


def _unreachable(where: str, problem: OSError) -> EngineUnreachable:
    """What a failed connect means, in docker's own words."""
    if isinstance(problem, PermissionError):
        return EngineUnreachable(
            f"permission denied while trying to connect to the Docker daemon socket at {where}",
            hint="ask to be in the group that owns the socket, or name another engine",
        )
    return EngineUnreachable(
        f"Cannot connect to the Docker daemon at {where}. Is the docker daemon running?"
        f" ({problem.strerror or problem})",
        hint="start the engine, or name it with DOCKER_HOST or a docker context",
    )


class Connection:
    """One connection to the engine. Used by one thread at a time; `abort` by any.

    Args:
        sock: a connected stream socket.
        timeouts: the limits.

    Attributes:
        silent: nothing of the current answer has come yet.
        used: requests sent so far.
        aborted: somebody broke it: no reason to try again.
    """

    def __init__(self, sock: Any, timeouts: Timeouts) -> None:
        self._sock = sock
        self._timeouts = timeouts
        self._pending = b""
        self._at = 0
        self.silent = True
        self.used = 0
        self.aborted = False

    # --- sending

    def start(self, head: bytes) -> None:
        """Send the head of a request; `silent` is reset."""
        self.silent = True
        self.used += 1
        self._sock.settimeout(self._timeouts.idle)
        self.send(head)

    def send(self, data: Any) -> None:
        """Send all of `data`.

        Raises:
            EngineStalled: nothing moved for the idle limit.
            ConnectionError: the engine closed its side; an answer may be waiting.
        """
        sock = self._sock
        try:
            sent = sock.send(data)
            if sent == len(data):
                return
            with memoryview(data) as view:
                while sent < len(view):
                    sent += sock.send(view[sent:])
        except TimeoutError:
            raise EngineStalled(
                f"the engine took no data for {self._timeouts.idle:.0f} s while it was sent some"
            ) from None

    def send_file(self, fd: int, offset: int, size: int, meter: Any = None) -> int:
        """Send `size` bytes of an open file without copying them through Python where possible.

        Args:
            fd: descriptor of a regular file.
            offset: first byte, counted from the start of the file.
            size: bytes.
            meter: its attribute `bytes` grows as they go.

        Returns:
            Bytes sent: fewer where the file ended early, or could not be read further.

        Raises:
            EngineStalled, ConnectionError: as `send`.
        """
        out = self._sock.fileno()
        left = size
        while left:
            try:
                sent = os.sendfile(out, fd, offset, min(left, 1 << 23))
            except BlockingIOError:
                self._wait_writable()
                continue
            except ConnectionError:
                raise
            except OSError:  # not for such files or sockets, or whose fault it is will show
                return size - left + self._send_read(fd, offset, left, meter)
            if not sent:
                break
            offset += sent
            left -= sent
            if meter is not None:
                meter.bytes += sent
        return size - left

    def _send_read(self, fd: int, offset: int, left: int, meter: Any) -> int:
        total = 0
        while total < left:
            try:
                data = os.pread(fd, min(left - total, 1 << 18), offset + total)
            except OSError:
                break
            if not data:
                break
            self.send(data)
            total += len(data)
            if meter is not None:
                meter.bytes += len(data)
        return total

    def _wait_writable(self) -> None:
        import select

        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLOUT)
        if not poll.poll(self._timeouts.idle * 1000):
            raise EngineStalled(
                f"the engine took no data for {self._timeouts.idle:.0f} s while it was sent a file"
            )

    def end_of_input(self) -> None:
        """Close our direction only (end of a program's standard input)."""
        try:
            self._sock.shutdown(_socket.SHUT_WR)
        except OSError:
            pass

    # --- receiving

    def readinto(self, view: memoryview, what: str = "the answer") -> int:
        """Some bytes as they come; 0 when the engine closed its side."""
        if self._at < len(self._pending):
            piece = self._pending[self._at : self._at + len(view)]
            view[: len(piece)] = piece
            self._at += len(piece)
            return len(piece)
        try:
            count: int = self._sock.recv_into(view)
        except TimeoutError:
            limit = self._sock.gettimeout() or 0.0
            raise EngineStalled(
                f"nothing came from the engine for {limit:.0f} s while reading {what}",
                hint="another copy may hold the container; try again when it is done",
            ) from None
        except OSError as problem:
            raise CutStream(
                f"the connection to the engine broke while reading {what}: "
                f"unexpected EOF ({problem.strerror or problem})"
            ) from problem
        if count:
            self.silent = False
        return count

    def _more(self, what: str) -> bool:
        """Receive into the pending buffer; False at the end."""
        buffer = bytearray(_PIECE)
        rest = self._pending[self._at :]
        self._pending, self._at = b"", 0
        count = self.readinto(memoryview(buffer), what)
        self._pending = rest + bytes(buffer[:count])
        return count > 0

    def line(self, limit: int, what: str) -> bytes:
        """One line ended by CR LF, without it."""
        while True:
            end = self._pending.find(b"\r\n", self._at, self._at + limit + 2)
            if end >= 0:
                found = self._pending[self._at : end]
                self._at = end + 2
                return found
            if len(self._pending) - self._at > limit + 1:
                raise EngineError(f"garbage from the engine: a line of {what} without an end")
            if not self._more(what):
                raise CutStream(f"the connection ended within {what}: unexpected EOF")

    def may_go_on(self, wait: float, what: str) -> tuple[Head, Body] | None:
        """After `Expect: 100-continue`: None once the body may be sent, else the refusal.

        Args:
            wait: seconds until the first byte.
            what: the call, for messages.

        Raises:
            EngineError, CutStream, EngineStalled: no proper answer came.
        """
        self._sock.settimeout(wait)
        head, length = self._head(what)
        self._sock.settimeout(self._timeouts.idle)
        return None if head.status == 100 else (head, Body(self, head, length, what))

    def head(self, method: str, wait: float, what: str) -> tuple[Head, Body]:
        """The head of the answer, and its body to be read.

        Args:
            method: of the request.
            wait: seconds until the first byte.
            what: the call, for messages.

        Raises:
            EngineError, CutStream, EngineStalled: no proper answer came.
        """
        self._sock.settimeout(wait)
        for _ in range(8):
            head, length = self._head(what)
            if head.status >= 200 or head.status == 101:
                break
        else:
            raise EngineError(f"the engine never came to an answer for {what}")
        self._sock.settimeout(self._timeouts.idle)
        if method == "HEAD" or head.status in (204, 304):
            length = 0
        elif head.status == 101:
            length = None
        return head, Body(self, head, length, what)

    def _head(self, what: str) -> tuple[Head, int | None]:
        """One head; the length is -1 for chunks, None for "to the end of the connection"."""
        while True:
            end = self._pending.find(b"\r\n\r\n", self._at)
            if end >= 0:
                raw = self._pending[self._at : end]
                self._at = end + 4
                break
            known = self._pending[self._at :]
            if len(known) > _HEAD_LIMIT or (known and not b"HTTP/1.".startswith(known[:7])):
                raise _garbage(what, known)
            if not self._more(what):
                if not known:
                    raise CutStream(f"the engine closed the connection instead of answering {what}")
                raise CutStream(f"the connection ended within the answer to {what}: unexpected EOF")
        if len(raw) > _HEAD_LIMIT:
            raise _garbage(what, raw)
        lines = raw.split(b"\r\n")
        status = lines[0]
        if (
            not status.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
            or not status[9:12].isdigit()
            or status[12:13] not in (b" ", b"")
            or len(lines) > _HEADERS_LIMIT
        ):
            raise _garbage(what, raw)
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not name or name.strip() != name or b"\r" in line or b"\n" in line:
                raise _garbage(what, line)
            key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
            if key == "transfer-encoding" and key in headers:
                raise _garbage(what, raw)
            if key == "content-length" and headers.get(key, text) != text:
                raise _garbage(what, raw)
            headers[key] = text
        length: int | None = None
        coding = headers.get("transfer-encoding", "").lower()
        if coding:
            if coding != "chunked" or "content-length" in headers:
                raise _garbage(what, raw)
            length = -1
        elif "content-length" in headers:
            digits = headers["content-length"]
            if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
                raise _garbage(what, raw)
            length = int(digits)
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding not in ("", "identity"):
            raise EngineError(f"the engine compressed its answer to {what} ({encoding}) unasked")
        keep = (
            status.startswith(b"HTTP/1.1")
            and length is not None
            and "close" not in headers.get("connection", "").lower()
        )
        return Head(int(status[9:12]), headers, keep), length

    # --- the end

    def idle_and_open(self) -> bool:
        """Whether it could be used for another request: nothing to read, not closed."""
        if self._at < len(self._pending):
            return False
        import select

        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        return not poll.poll(0)

    def abort(self) -> None:
        """Break the connection from any thread: whoever reads or writes it sees the end."""
        self.aborted = True
        try:
            self._sock.shutdown(_socket.SHUT_RDWR)
        except (OSError, ValueError):
            pass

    def close(self) -> None:
        """Break and release it; only by the thread that uses it."""
        self.abort()
        self._sock.close()


def _garbage(what: str, raw: bytes) -> EngineError:
    shown = raw[:60].decode("latin-1")
    return EngineError(
        f"garbage from the engine instead of an HTTP answer to {what}: {shown!r}",
        hint="is the address really that of a Docker engine?",
    )


class Body:
    """The content of an answer.

    Attributes:
        ended: the proper end was reached.
    """

    def __init__(self, connection: Connection, head: Head, length: int | None, what: str) -> None:
        self._connection = connection
        self._keep = head.keep
        self._what = what
        self._chunked = length == -1
        self._left: int | None = 0 if self._chunked else length
        self._first = True
        self.ended = length == 0

    def readinto(self, view: memoryview) -> int:
        """Fill some of `view`; 0 at the proper end.

        Raises:
            CutStream: the connection ended before.
            EngineStalled: nothing came for the idle limit.
            EngineError: not HTTP.
        """
        if self.ended or not len(view):
            return 0
        if self._chunked and not self._left and not self._chunk():
            return 0
        left = self._left
        if left is None:
            count = self._connection.readinto(view, self._what)
            self.ended = not count
            return count
        count = self._connection.readinto(view[:left] if len(view) > left else view, self._what)
        if not count:
            raise CutStream(
                f"unexpected EOF: the connection to the engine ended while reading {self._what}"
            )
        self._left = left = left - count
        if not left and not self._chunked:
            self.ended = True
        return count

    def _chunk(self) -> bool:
        """Read the head of the next chunk; False at the last."""
        connection, what = self._connection, f"the chunks of {self._what}"
        if not self._first and connection.line(0, what):
            raise EngineError(f"garbage from the engine: {what} do not fit together")
        self._first = False
        digits = connection.line(1024, what).partition(b";")[0].strip()
        if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise EngineError(f"garbage from the engine: {digits[:20]!r} as the size of a chunk")
        self._left = int(digits, 16)
        if self._left:
            return True
        for _ in range(_HEADERS_LIMIT):
            if not connection.line(8192, what):
                self.ended = True
                return False
        raise EngineError(f"garbage from the engine: {what} never end")

    def read(self, limit: int) -> bytes:
        """All of it.

        Args:
            limit: bytes at most.

        Raises:
            EngineError: it is longer.
        """
        out = bytearray()
        buffer = memoryview(bytearray(_PIECE))
        while True:
            count = self.readinto(buffer)
            if not count:
                return bytes(out)
            out += buffer[:count]
            if len(out) > limit:
                raise EngineError(
                    f"the engine's answer to {self._what} is longer than {limit} bytes"
                )

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request now."""
        return self.ended and self._keep


class Kept:
    """A few connections kept open between small calls; from any thread."""

    def __init__(self) -> None:
        import _thread

        self._lock = _thread.RLock()  # a signal may come while this very thread holds it
        self._connections: list[Connection] = []

    def take(self) -> Connection | None:
        """One that is still open, or None."""
        while True:
            with self._lock:
                if not self._connections:
                    return None
                connection = self._connections.pop()
            if connection.idle_and_open():
                return connection
            connection.close()

    def give(self, connection: Connection) -> None:
        """Keep it for the next call, or close it where there are enough."""
        with self._lock:
            if len(self._connections) < _KEPT:
                self._connections.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Let go of all of them."""
        with self._lock:
            kept, self._connections = self._connections, []
        for connection in kept:
            connection.close()
