"""The contract between the core and Docker.

Everything the core wants from Docker goes through `Engine`: `DockerEngine` speaks to a socket,
`ServiceEngine` to the Hub service, `Guarded` asks the policy and passes on. All calls block and are
thread-safe; every failure is one of `errors`.

**An open archive stream holds the container's lock** (moby#46782): until it is read or closed,
inspect, stop and exec of that container wait. So nobody reads an archive at a slow peer's pace, and
nobody calls the engine about a container whose stream is open.
"""

from __future__ import annotations

from jupyter_volcopy.core.model import Change, Container, EngineInfo, Listing, Stat, Volume
from jupyter_volcopy.core.record import State, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["CAN_CHANGE", "ArchiveBody", "ArchiveReader", "Engine", "ExecResult", "FilePart"]

CAN_CHANGE = 256 << 10
"""Bytes from which a file can be caught in the middle: smaller ones are read in one go."""


class ArchiveReader(Protocol):
    """An archive coming out of a container."""

    stat: Stat | None
    """Of the path asked for, from the same answer (None where the way has none)."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of `buffer`; returns the number of bytes, 0 at the clean end of the stream.

        Raises:
            CutStream: the connection ended where it should not.
            EngineStalled: nothing came for the idle limit.
        """
        ...

    def close(self) -> None:
        """Let go of the stream, and so of the container's lock. From any thread."""
        ...


class FilePart(State):
    """Content of an open file, to be sent without passing through Python (sendfile) if possible.

    Whoever sends it must send exactly `size` bytes; if the file ends early, it is padded with
    zero bytes and `short` is set, so that the maker of the body can leave out the final name.

    Attributes:
        fd: open descriptor; `offset` bytes are skipped first.
        meter: object with an int attribute `bytes` to which sent bytes are added, or None.
    """

    fd: int
    offset: int
    size: int
    meter: Any = None
    short: bool = False


class ArchiveBody(Protocol):
    """An archive going into a container: an iterable of buffers and file parts, read once.

    Attributes:
        length: exact bytes of it all where known, else None (sent chunked).
        seal: a random text which the engine's failure answer must contain for the push to count as
            done (see `push`: the last entry cannot be made, which removes the hidden name); None
            where a plain 200 means done.

    It may have an attribute `only`: the name of the one entry in which all of it is, or which is
    all of it, "" where there is no such; None until it was read. And `holds_directory`: whether
    there is a directory in it.
    """

    length: int | None
    seal: str | None

    def __iter__(self) -> Iterator[bytes | bytearray | memoryview | FilePart]: ...


class ExecResult(Value):
    """What a program run in a container said: exit status, standard output, standard error."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Engine(Protocol):
    """What the core needs of Docker. `container` arguments are 64-hex ids or exact names."""

    address: str
    """As configured, without secrets: what the journal knows the engine by."""

    def info(self) -> EngineInfo:
        """Version and address of the engine."""
        ...

    def containers(self) -> list[Container]:
        """All containers in every state, in one call; without env, pid, started, raw."""
        ...

    def container(self, name: str) -> Container:
        """One container by exact name, id or unique id prefix, with everything inspect says.

        Raises:
            NoSuchContainer: none of that name.
        """
        ...

    def image(self, name: str) -> dict[str, Any]:
        """The raw inspect of an image (NotFound where there is none)."""
        ...

    def volumes(self) -> list[Volume]:
        """All volumes, with who uses them."""
        ...

    def changes(self, container: str) -> list[Change]:
        """The writable layer (docker diff)."""
        ...

    def stat(self, container: str, path: str, *, user: str | None = None) -> Stat:
        """What stands at `path` (its last link not followed).

        Raises:
            NoSuchContainer, NoSuchPath: as it says.
        """
        ...

    def list_dir(
        self,
        container: str,
        path: str,
        *,
        recursive: bool = False,
        user: str | None = None,
        budget: int | None = None,
        most: int | None = None,
    ) -> Listing:
        """The entries of a directory (below it, with `recursive`; names are then paths below it).

        Args:
            container: id or exact name.
            path: absolute; a link to a directory is followed.
            recursive: the whole tree, links never followed.
            user: list with that user's rights.
            budget: bytes of archive to read at most where no program lists; None: read to the end.
            most: the first so many by name are enough, where that is quicker; not with `recursive`.

        Raises:
            NotADirectory, NoSuchPath, NoSuchContainer: as it says.
        """
        ...

    def open_archive(
        self, container: str, path: str, *, user: str | None = None, live: bool = False
    ) -> ArchiveReader:
        """The archive of `path`, first component its base name (`.` for `path/.`).

        Args:
            container: id or exact name.
            path: absolute, cleaned, a trailing `/` or `/.` kept.
            user: read with that user's rights (through a program in the container).
            live: read as a process in the container sees it, as root: tmpfs and mounts made inside
                are seen (through `tar` run in the container).
        """
        ...

    def extract(
        self,
        container: str,
        directory: str,
        body: ArchiveBody,
        *,
        copy_uid_gid: bool = False,
        user: str | None = None,
        live: bool = False,
    ) -> None:
        """Unpack `body` in `directory` (`noOverwriteDirNonDir` always set).

        Args:
            container: id or exact name.
            directory: absolute; must exist.
            body: plain tar, never compressed (CVE-2026-41567).
            copy_uid_gid: docker cp's `-a`.
            user: write with that user's rights (through a program in the container).
            live: write where a process in the container sees it (tmpfs), as root.

        Raises:
            ReadOnlyTarget, NoSpace, Conflict, NoSuchPath: as the engine's answer says.
            EngineError: any other refusal, with the engine's text.
        """
        ...

    def execute(
        self, container: str, argv: Sequence[str], *, user: str | None = None, stdin: bytes = b""
    ) -> ExecResult:
        """Run a program in a running container: no shell, no tty, working directory `/`.

        Args:
            container: id or exact name.
            argv: program and arguments; a missing program gives exit code 126 or 127.
            user: `uid` or `uid:gid`; None is root (`0:0`).
            stdin: written to it, then closed.

        Raises:
            Conflict: the container is not running.
            EngineStalled: it took longer than the limit.
        """
        ...

    def json(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None
    ) -> Any:
        """One JSON call of the Docker API for which there is no method above (create, remove ...).

        Raises:
            NotFound, Conflict, EngineError: from the status of the answer.
        """
        ...

    def volume(self, name: str, *, create: bool = False) -> AbstractContextManager[tuple[str, str]]:
        """`(container id, path)` at which the volume can be reached by the calls above.

        In a helper that is created from an empty image, never started, and removed at the end: a
        link in the volume leads nowhere but into the volume. A volume that does not exist is only
        created if asked.

        Args:
            name: of the volume.
            create: make the volume, which must not exist; it is removed again if the block fails,
                or by the next call if the process dies in it.

        Raises:
            NoSuchVolume: none of that name.
            DestinationExists: with `create`, there is one.
            UsageError: with `create`, no volume can have that name.
        """
        ...

    def empty_volume(self, name: str) -> None:
        """Remove everything in a volume, whoever uses it; its root keeps its owner and mode.

        Raises:
            NoSuchVolume: none of that name.
            EngineError: something is left.
        """
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...
