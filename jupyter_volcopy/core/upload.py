"""An archive on its way into a container: the body of one PUT.

Small buffers are gathered, so that headers and small files do not cost a system call each; a large
file is one chunk of HTTP and goes from the file to the socket inside the kernel (sendfile). The
size in a tar header is a promise made before the file was read: a file that ends early is filled up
with zero bytes and marked, one that grew is cut. Where the *maker* of the body fails, the caller
breaks the connection, so the engine never sees a clean end of something incomplete.
"""

from __future__ import annotations

from jupyter_volcopy.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import ArchiveBody, FilePart
    from jupyter_volcopy.core.http import Connection

__all__ = ["send_archive", "send_part"]

_GATHER = 256 * 1024
_ZEROS = bytes(64 * 1024)


def send_archive(connection: Connection, body: ArchiveBody, *, chunked: bool) -> None:
    """Send all of `body`.

    Args:
        connection: ready for it: the head of a request was sent, or a program reads it.
        body: read once.
        chunked: in chunks of HTTP, else as it is.

    Raises:
        ConnectionError: the engine closed its side; its answer may be waiting.
        EngineStalled: it took nothing for the idle limit.
        EngineError: the body is not as long as it said.
    """
    total = 0
    gathered = bytearray()

    def flush() -> None:
        if gathered:
            connection.send(
                b"%x\r\n%b\r\n" % (len(gathered), bytes(gathered)) if chunked else gathered
            )
            gathered.clear()

    for item in body:
        if isinstance(item, (bytes, bytearray, memoryview)):
            size = len(item)
            total += size
            if size >= _GATHER:
                flush()
                if chunked:
                    connection.send(b"%x\r\n" % size)
                connection.send(item)
                if chunked:
                    gathered += b"\r\n"
                    _send_raw(connection, gathered)
            else:
                gathered += item
                if len(gathered) >= _GATHER:
                    flush()
            continue
        total += item.size
        if not item.size:
            continue
        if chunked:
            start = b"%x\r\n%b\r\n" % (len(gathered), bytes(gathered)) if gathered else b""
            connection.send(start + b"%x\r\n" % item.size)
        elif gathered:
            connection.send(gathered)
        gathered.clear()
        send_part(connection, item)
        if chunked:
            connection.send(b"\r\n")
    flush()
    if body.length is not None and total != body.length:
        raise EngineError(f"an archive of {body.length} bytes was announced, it has {total}")
    if chunked:
        connection.send(b"0\r\n\r\n")


def _send_raw(connection: Connection, data: bytearray) -> None:
    connection.send(data)
    data.clear()


def send_part(connection: Connection, part: FilePart) -> None:
    """Send exactly `part.size` bytes of its file; what is missing are zero bytes, and `short`."""
    sent = connection.send_file(part.fd, part.offset, part.size, part.meter)
    missing = part.size - sent
    if missing:
        part.short = True
    while missing:
        connection.send(_ZEROS[:missing])
        missing -= min(missing, len(_ZEROS))
