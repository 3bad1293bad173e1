"""Whether an engine is on this machine: asked of the kernel, which knows who answers on a socket.

A socket file proves nothing: `ssh -L`, socat or a proxy puts another machine's engine behind one.
Names and ids that an engine tells prove nothing either, since machines are cloned. But the kernel
says which process listens, or wrote an answer. That process must be an engine, and its root
directory must be ours: then its containers are this kernel's and its paths are ours.

Only `_socket` is imported, as in `http`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
else:
    try:
        import _socket
    except ImportError:  # pragma: no cover - another interpreter than CPython
        import socket as _socket

__all__ = ["is_here"]

_ENGINES = (b"dockerd", b"podman")
_CREDENTIALS = 12  # bytes: process, user and group
_SCM_CREDENTIALS = 2
_SECONDS = 5.0


def is_here(address: str) -> bool:
    """Whether the engine at an address is proven to be a process of this machine, with our files.

    Args:
        address: as engines have it; only `unix://` can be proven.
    """
    if not address.startswith("unix://"):
        return False
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(_SECONDS)
        sock.connect(address[len("unix://") :])
        listens = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS)
        return _is_engine(listens) or _is_engine(_who_answers(sock))
    except (OSError, AttributeError):  # nobody there; or not Linux
        return False
    finally:
        sock.close()


def _who_answers(sock: _socket.socket) -> bytes:
    """Credentials of whoever writes: where systemd listens, the engine takes what comes."""
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
    sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
    _, told, _, _ = sock.recvmsg(1 << 12, _socket.CMSG_SPACE(_CREDENTIALS))
    for level, kind, data in told:
        if (level, kind) == (_socket.SOL_SOCKET, _SCM_CREDENTIALS):
            return data
    return bytes(_CREDENTIALS)


def _is_engine(credentials: bytes) -> bool:
    """Whether the process named is an engine whose root directory is ours."""
    import sys

    process = int.from_bytes(credentials[:4], sys.byteorder)
    if process <= 0:  # not seen from here: it lives among other processes than we do
        return False
    with open(f"/proc/{process}/comm", "rb") as file:
        if file.read().strip() not in _ENGINES:
            return False
    root = _root("self")
    return root is not None and root == _root(str(process))


def _root(process: str) -> tuple[bytes, bytes] | None:
    """Device of a process's root directory, and which directory of it."""
    found = None
    with open(f"/proc/{process}/mountinfo", "rb") as file:
        for line in file:
            fields = line.split(b" ", 5)
            if fields[4] == b"/":  # the last one covers those before it
                found = fields[2], fields[3]
    return found
