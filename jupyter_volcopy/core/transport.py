"""Engines behind TLS and ssh, as plain sockets.

Both end in one half of a socket pair, so that everything above sees the same kind of socket: it can
be read without copies, given files (sendfile), half closed, and broken from another thread. For TLS
a thread carries bytes between the other half and the TLS connection; for ssh the other half is
standard input and output of `ssh HOST docker system dial-stdio`, which is docker's own way.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import subprocess
import threading
from typing import Any

from jupyter_volcopy.core.http import Dial, Timeouts
from jupyter_volcopy.errors import EngineUnreachable, UsageError

__all__ = ["dial_ssh", "dial_tls"]

_PIECE = 1 << 20
_HELD = 4 << 20
_SNDBUFFORCE = 32  # Linux
_LAST_WORDS = 60.0  # seconds an engine that has said all may take to receive the rest


def dial_tls(host: str, port: int, ca: str, cert: str, key: str, verify: bool) -> Dial:
    """A way to connect to an engine over TLS.

    Args:
        host: name or address; the engine's certificate must be for it.
        port: of TCP.
        ca: file of the authority that signed the engine's certificate; empty: the system's.
        cert: file of our certificate, or empty.
        key: file of its key.
        verify: check the engine's certificate.

    Raises:
        UsageError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert:
            context.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as problem:
        raise UsageError(
            f"the TLS files for the engine cannot be used: {problem}",
            hint="look at DOCKER_CERT_PATH or the docker context",
        ) from problem

    where = f"tcp://{f'[{host}]' if ':' in host else host}:{port}"

    def dial(timeouts: Timeouts) -> Any:
        raw = None
        try:
            raw = socket.create_connection((host, port), timeouts.connect)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secure = _Tls(raw, context, host)
        except (OSError, ValueError) as problem:
            if raw is not None:
                raw.close()
            raise EngineUnreachable(
                f"Cannot connect to the Docker daemon at {where}. "
                f"Is the docker daemon running? ({problem})",
                hint="is its certificate signed by the authority given, and for this name?",
            ) from problem
        ours, theirs = _pair()
        return _Secured(ours, theirs, secure, where)

    return dial


def _pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that hold much between them: whoever carries needs to be woken less often."""
    ends = socket.socketpair()
    for end in ends:
        for option in (_SNDBUFFORCE, socket.SO_SNDBUF):
            try:
                end.setsockopt(socket.SOL_SOCKET, option, _HELD)
                break
            except OSError:
                pass  # only root may pass the system's limit
    return ends


class _Half:
    """Our half of a socket pair, the other half of which somebody carries to the engine."""

    def __init__(self, sock: socket.socket, where: str) -> None:
        self._sock = sock
        self._where = where
        self._heard = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _complaint(self) -> str:
        """Why nothing comes any more; empty where that is a proper end."""
        raise NotImplementedError

    def _lost(self, complaint: str) -> EngineUnreachable:
        raise NotImplementedError

    def recv_into(self, view: memoryview) -> int:
        try:
            count = self._sock.recv_into(view)
        except ConnectionError:
            count = 0
        if count:
            self._heard = True
            return count
        complaint = self._complaint()
        if not complaint:
            return 0
        if not self._heard:
            raise self._lost(complaint)
        raise ConnectionResetError(errno.ECONNRESET, complaint)

    def send(self, data: Any) -> int:
        try:
            return self._sock.send(data)
        except ConnectionError:
            if self._heard:
                raise
            complaint = self._complaint()
            if not complaint:
                raise
            raise self._lost(complaint) from None


class _Tls:
    """A TLS connection on a socket, with its records in memory between the two.

    What was received is in our hands before TLS sees it. So our farewell can be said at a moment
    when nothing is left unread: OpenSSL drops a connection on which it finds data of the other side
    while it says farewell, which is what the end of a program's standard input is here.

    Args:
        sock: connected, with a time limit.
        context: of TLS.
        host: whom the other side's certificate must name; empty: this is the engine's side.

    Raises:
        OSError: the two do not agree.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self.sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._in, self._out, server_side=not host, server_hostname=host or None
        )
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(self._out.read())
                self.receive()
                continue
            except ssl.SSLError:
                sock.sendall(self._out.read())  # they are told why
                raise
            break
        sock.setblocking(False)

    def receive(self) -> None:
        """Take what came."""
        raw = self.sock.recv(_PIECE)
        if raw:
            self._in.write(raw)
        else:
            self._in.write_eof()

    def plain(self) -> tuple[bytes, bool]:
        """All that can be read of what was received, and whether more may come.

        Raises:
            OSError: not TLS, or an end without a farewell.
        """
        found: list[bytes] = []
        try:
            while True:
                piece = self._tls.read(_PIECE)
                if not piece:
                    return b"".join(found), False
                found.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(found), True
        except ssl.SSLZeroReturnError:
            return b"".join(found), False

    def encrypt(self, data: bytes) -> None:
        """Add to what is to be sent."""
        while data:
            data = data[self._tls.write(data) :]

    def farewell(self) -> None:
        """Add to what is to be sent that no more follows. All that came must have been read."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # "want read": theirs comes when they have said all

    def unsent(self) -> bytes:
        """What is to be sent."""
        return self._out.read()


class _Secured(_Half):
    """The plain half of a TLS connection. An end that TLS did not announce is no end but a cut."""

    def __init__(
        self, ours: socket.socket, theirs: socket.socket, secure: _Tls, where: str
    ) -> None:
        super().__init__(ours, where)
        self._failed = ""
        threading.Thread(
            target=self._carry, args=(theirs, secure), name="volcopy-tls", daemon=True
        ).start()

    def _complaint(self) -> str:
        return self._failed

    def _lost(self, complaint: str) -> EngineUnreachable:
        return EngineUnreachable(
            f"Cannot connect to the Docker daemon at {self._where}: {complaint}",
            hint="does it know the authority that signed our certificate?",
        )

    def _carry(self, local: socket.socket, secure: _Tls) -> None:
        """Carry bytes both ways until both ended, or our side is gone."""
        local.setblocking(False)
        up, down = b"", b""  # encrypted, to the engine; plain, to us
        up_open = down_open = True
        told = said = False  # the end: to our side, to the engine
        try:
            while not (told and said and not up):
                moved = False
                if down_open and not down:
                    try:
                        secure.receive()
                        moved = True
                    except BlockingIOError:
                        pass
                    down, down_open = secure.plain()
                if down:
                    try:
                        down = down[local.send(down) :]
                        moved = True
                    except BlockingIOError:
                        pass
                if not (told or down_open or down):
                    local.shutdown(socket.SHUT_WR)
                    told = moved = True
                if up_open and not up:
                    try:
                        data = local.recv(_PIECE)
                        moved = True
                        up_open = bool(data)
                        secure.encrypt(data)
                    except BlockingIOError:
                        pass
                if not (said or up_open):
                    secure.farewell()
                    said = True
                up = up or secure.unsent()
                if up:
                    try:
                        up = up[secure.sock.send(up) :]
                        moved = True
                    except BlockingIOError:
                        pass
                    except ConnectionError:
                        # They take no more. What they said before that is still to be read.
                        up, up_open, said, moved = b"", False, True, True
                        local.shutdown(socket.SHUT_RD)
                if not moved and not _wait(local, secure.sock, up, up_open, down, down_open):
                    return
        except (OSError, ValueError) as problem:
            self._failed = f"the TLS connection was cut: {problem}"
        finally:
            local.close()
            secure.sock.close()


def _wait(
    local: socket.socket,
    far: socket.socket,
    up: bytes,
    up_open: bool,
    down: bytes,
    down_open: bool,
) -> bool:
    """Wait until something can move; False when our side was closed for good, or nothing will."""
    poll = select.poll()
    ended = not (down_open or down)  # the engine has said all; what we still have may go out
    near = (select.POLLIN if up_open and not up else 0) | (select.POLLOUT if down else 0)
    if near or not ended:
        poll.register(local, near)  # also without events it tells when our side is gone
    poll.register(
        far, (select.POLLIN if down_open and not down else 0) | (select.POLLOUT if up else 0)
    )
    events = dict(poll.poll(_LAST_WORDS * 1000 if ended else None))
    gone = events.get(local.fileno(), 0) & (select.POLLHUP | select.POLLERR)
    return bool(events) if ended else not gone


class _Tunnel(_Half):
    """A socket whose other end is a process; what the process complains of becomes the error."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes], where: str) -> None:
        super().__init__(sock, where)
        self._process = process
        self._said = bytearray()
        self._listener = threading.Thread(target=self._listen, name="volcopy-ssh", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        with stream:
            while piece := stream.read1(4096):  # type: ignore[attr-defined]
                if len(self._said) < 4096:
                    self._said += piece

    def _complaint(self) -> str:
        if self._heard:
            return ""  # ssh cannot tell an end from a cut: whoever reads knows what was to come
        self._listener.join(5)
        return self._said.decode("utf-8", "replace").strip() or "ssh ended without a word"

    def _lost(self, complaint: str) -> EngineUnreachable:
        return EngineUnreachable(
            f"Cannot connect to the Docker daemon at {self._where}: {complaint}",
            hint=f"does `ssh {self._where.removeprefix('ssh://')} docker version` work?",
        )

    def close(self) -> None:
        self._sock.close()
        process = self._process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __del__(self) -> None:
        try:
            self.close()
        except (OSError, AttributeError):
            pass


def dial_ssh(user: str, host: str, port: int, socket_path: str) -> Dial:
    """A way to connect to an engine over ssh.

    Args:
        user: on the host, or empty.
        host: as ssh knows it.
        port: 0: as ssh's configuration says.
        socket_path: the engine's socket there, or empty for its default.
    """

    def dial(timeouts: Timeouts) -> Any:
        argv = ["ssh", "-T", "-o", f"ConnectTimeout={max(1, round(timeouts.connect * 2))}"]
        if user:
            argv += ["-l", user]
        if port:
            argv += ["-p", str(port)]
        argv += ["--", host, "docker"]
        if socket_path:
            argv += ["--host", f"unix://{socket_path}"]
        argv += ["system", "dial-stdio"]
        ours, theirs = _pair()
        try:
            process = subprocess.Popen(
                argv,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us: the copy ends it in order
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as problem:
            ours.close()
            raise EngineUnreachable(
                f"Cannot connect to the Docker daemon at ssh://{host}: no ssh: {problem}"
            ) from problem
        finally:
            theirs.close()
        return _Tunnel(ours, process, f"ssh://{host}")

    return dial
