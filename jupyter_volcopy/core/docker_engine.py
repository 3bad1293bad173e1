"""The engine behind a socket: `Engine` spoken as the Docker API.

Paths of the API are used without a version, so the engine answers in its own newest and no ping is
needed. Small calls share a few kept-alive connections. Each archive has a connection of its own:
out of a container by HTTP/1.0, since the engine then sends the plain tar to the end of the
connection instead of chunks (that the tar is whole is seen from its two zero blocks, by whoever
reads it); into a container in chunks or with the exact length.

Only a call that changes nothing is repeated, and only where a kept connection turned out to be
closed before the first byte of an answer.

What needs a program in the container (`user=`, `live=True`, listings of running ones) lives in
`execute`, `exec_archive`, `exec_extract` and `listing`, imported when asked for.
"""

from __future__ import annotations

from jupyter_volcopy.core.control import Cancel
from jupyter_volcopy.core.http import Connection, Dial, Head, Kept, Timeouts
from jupyter_volcopy.core.json_text import parse
from jupyter_volcopy.core.paths import query
from jupyter_volcopy.errors import (
    CutStream,
    EngineError,
    NoSuchContainer,
    VolcopyError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Protocol

    from jupyter_volcopy.core.engine import ArchiveBody, ArchiveReader, ExecResult
    from jupyter_volcopy.core.execute import Program
    from jupyter_volcopy.core.listing import Beside
    from jupyter_volcopy.core.model import Change, Container, EngineInfo, Listing, Stat, Volume
    from jupyter_volcopy.core.tar_reader import ByteSource

    class _Held(Protocol):
        def abort(self) -> None: ...
        def close(self) -> None: ...


__all__ = ["DockerArchive", "DockerEngine", "container_in_url", "message_of"]

_STAT = "x-docker-container-path-stat"
_ERROR_LIMIT = 1 << 20
_JSON_LIMIT = 256 << 20
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class DockerArchive:
    """An archive coming out of a container, that may be closed while another thread reads it.

    Args:
        connection: what it comes over, and nothing else does.
        body: gives the archive's bytes.
        stat: of the path asked for, as it was said with the archive.
    """

    def __init__(self, connection: _Held, body: ByteSource, stat: Stat | None) -> None:
        import _thread

        self.stat = stat
        self._connection = connection
        self._body = body
        self._lock = _thread.RLock()  # a signal may cut while this very thread holds it
        self._reading = False
        self._closed = False

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of `buffer`; 0 at the end of the stream.

        Raises:
            CutStream: the connection ended where it should not, or was closed.
            EngineStalled: nothing came for the idle limit.
        """
        with self._lock:
            if self._closed:
                raise CutStream("the archive was closed while it was read: unexpected EOF")
            self._reading = True
        try:
            count = self._body.readinto(buffer)
        finally:
            with self._lock:
                self._reading = False
                closed = self._closed
                if closed:
                    self._connection.close()
        if closed:
            raise CutStream("the archive was closed while it was read: unexpected EOF")
        return count

    def close(self) -> None:
        """Let go of the stream, and with it of the container's lock; from any thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # The descriptor stays ours until a reader in another thread has let go of it.
            if self._reading:
                self._connection.abort()
            else:
                self._connection.close()


class DockerEngine:
    """`Engine` over a socket.

    Args:
        dial: makes a connection (see `http.dial_unix`).
        address: for people, without secrets.
        access: see `CopyOptions`; holds where a copy says nothing.
        timeouts: limits in seconds.
        exec_seconds: longest run of a program whose output is collected.
        exec_bytes: longest such output.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        address: str = "",
        access: str = "",
        timeouts: Timeouts | None = None,
        exec_seconds: float = 120.0,
        exec_bytes: int = 256 << 20,
    ) -> None:
        import _thread

        self.address = address
        self.access = access
        self.timeouts = timeouts or Timeouts()
        self.exec_seconds = exec_seconds
        self.exec_bytes = exec_bytes
        self._dial = dial
        self._lock = _thread.RLock()  # a signal may cut while this very thread holds it
        self._kept = Kept()
        self._held: dict[Connection, int] = {}  # calls under way, and by which thread
        self._names: dict[str, str] = {}
        self.listers: dict[str, str] = {}  # how a container lists, found out once (see `listing`)

    # --- calls

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self._dial(self.timeouts), self.timeouts)

    def hold(self, connection: Connection) -> None:
        """The calling thread waits on it from now on, so `interrupt` breaks it."""
        import _thread

        with self._lock:
            self._held[connection] = _thread.get_ident()

    def release(self, connection: Connection) -> None:
        """Nobody waits on it any more."""
        with self._lock:
            self._held.pop(connection, None)

    def interrupt(self, thread: int) -> None:
        """Break the small calls and programs a thread waits for; from any thread.

        Args:
            thread: its identifier (`threading.get_ident`). Its archives are closed by `close`.
        """
        with self._lock:
            held = [connection for connection, who in self._held.items() if who == thread]
        for connection in held:
            connection.abort()

    def call(
        self,
        method: str,
        target: str,
        *,
        data: bytes | None = None,
        kind: str = "application/json",
        wait: float | None = None,
        limit: int = _JSON_LIMIT,
    ) -> tuple[Head, bytes]:
        """One call with a small body and a small answer.

        Args:
            method: of HTTP.
            target: path and query, percent-encoded.
            data: body of the request.
            kind: content type of `data`.
            wait: seconds until the first byte of the answer.
            limit: bytes of the answer at most.

        Returns:
            The head and the whole body, whatever the status.

        Raises:
            EngineUnreachable, EngineStalled, EngineError: no proper answer came.
        """
        what = f"{method} {target.partition('?')[0]}"
        request = f"{method} {target} HTTP/1.1\r\nHost: docker\r\nUser-Agent: jupyter-volcopy\r\n"
        if data is not None:
            request += f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
        elif method not in ("GET", "HEAD"):
            request += "Content-Length: 0\r\n"
        raw = (request + "\r\n").encode("ascii") + (data or b"")
        if wait is None:
            wait = self.timeouts.answer if method in ("GET", "HEAD") else self.timeouts.long
        while True:
            connection = self._kept.take() or self.connect()
            self.hold(connection)
            again = connection.used > 0 and method in ("GET", "HEAD")
            done = False
            try:
                try:
                    connection.start(raw)
                except ConnectionError:
                    if not again or connection.aborted:
                        raise
                    continue
                try:
                    head, body = connection.head(method, wait, what)
                except CutStream:
                    if again and connection.silent and not connection.aborted:
                        continue
                    raise
                answer = body.read(limit)
                done = body.reusable
                return head, answer
            except OSError as problem:
                raise EngineError(f"error during connect: {what}: {problem}") from problem
            finally:
                self.release(connection)
                if done:
                    self._kept.give(connection)
                else:
                    connection.close()

    def fail(
        self, head: Head, answer: bytes, what: str = "", *, container: str = "", path: str = ""
    ) -> VolcopyError:
        """The error for an answer that refuses; the container is named as people name it."""
        from jupyter_volcopy.core.answers import error_from_answer

        text = message_of(answer)
        name = self._names.get(container, container)
        if container and name != container:
            text = text.replace(container, name)
        return error_from_answer(head.status, text, what, container=name, path=path)

    def json(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None
    ) -> Any:
        """One JSON call; see `Engine.json`. `path` is percent-encoded by the caller if needed."""
        target = _target(path, query)
        data = None
        if body is not None:
            import json

            data = json.dumps(body).encode("ascii")
        slow = method == "GET" and (
            path.endswith(("/df", "/changes", "/top", "/history")) or "size" in (query or {})
        )
        head, answer = self.call(
            method, target, data=data, wait=self.timeouts.long if slow else None
        )
        if not 200 <= head.status < 300:
            raise self.fail(head, answer, f"{method} {path}")
        return _parsed(answer, f"{method} {path}")

    # --- facts

    def info(self) -> EngineInfo:
        """Version and address of the engine."""
        from jupyter_volcopy.core.docker_facts import info_from
        from jupyter_volcopy.core.here import is_here

        return info_from(
            _table(self.json("GET", "/version")),
            _table(self.json("GET", "/info")),
            address=self.address,
            local=is_here(self.address),
        )

    def containers(self) -> list[Container]:
        """All containers in every state, sorted by name."""
        from jupyter_volcopy.core.docker_facts import container_from_list

        found = [
            container_from_list(item)
            for item in self.json("GET", "/containers/json", {"all": "1"}) or ()
        ]
        self._names.update((item.id, item.name) for item in found)
        return sorted(found, key=lambda item: item.name)

    def container(self, name: str) -> Container:
        """One container; see `Engine.container`.

        The engine itself prefers an exact name to the prefix of an id; that its answer is about
        what was asked is checked here, since other engines are more generous.
        """
        from jupyter_volcopy.core.docker_facts import container_from_inspect

        plain = name[1:] if name.startswith("/") else name
        if not plain or not _NAME.issuperset(plain) or plain in (".", ".."):
            raise NoSuchContainer(f"No such container: {name}", container=name)
        head, answer = self.call("GET", f"/containers/{plain}/json")
        if head.status != 200:
            raise self.fail(head, answer, "inspect", container=name)
        found = container_from_inspect(_table(_parsed(answer, "inspect")))
        if not found.id or (found.name != plain and not found.id.startswith(plain)):
            raise NoSuchContainer(f"No such container: {name}", container=name)
        self._names[found.id] = found.name
        return found

    def image(self, name: str) -> dict[str, Any]:
        """The raw inspect of an image."""
        from urllib.parse import quote

        found: dict[str, Any] = _table(self.json("GET", f"/images/{quote(name, safe='/:@')}/json"))
        return found

    def volumes(self) -> list[Volume]:
        """All volumes, with who uses them."""
        from jupyter_volcopy.core.docker_facts import volumes_from

        return volumes_from(_table(self.json("GET", "/volumes")), self.containers())

    def changes(self, container: str) -> list[Change]:
        """The writable layer."""
        from jupyter_volcopy.core.docker_facts import changes_from
        from jupyter_volcopy.core.docker_names import mended

        head, answer = self.call(
            "GET", f"/containers/{container_in_url(container)}/changes", wait=self.timeouts.long
        )
        if head.status != 200:
            raise self.fail(head, answer, "diff", container=container)
        return mended(self, container, changes_from(_parsed(answer, "diff")))

    # --- paths

    def stat(self, container: str, path: str, *, user: str | None = None) -> Stat:
        """What stands at `path`; see `Engine.stat`."""
        if user is not None:
            from jupyter_volcopy.core.listing import stat_by_program

            return stat_by_program(self, container, path, user)
        from jupyter_volcopy.core.docker_facts import stat_from_header

        target = f"/containers/{container_in_url(container)}/archive?path={query(path)}"
        head, _ = self.call("HEAD", target)
        if head.status == 200 and _STAT in head.headers:
            return stat_from_header(head.headers[_STAT], path)
        if head.status == 404:
            found = self.container(container)
            from jupyter_volcopy.core.answers import missing_path

            raise missing_path(found.name, path)
        # An answer to HEAD has no text: the same question by GET has the same answer with one.
        archive = self.open_archive(container, path)
        archive.close()
        if archive.stat is None:
            raise EngineError(f"the engine answered HEAD archive with status {head.status}")
        return archive.stat

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
        """The entries of a directory; see `Engine.list_dir`."""
        from jupyter_volcopy.core.listing import list_directory

        return list_directory(
            self, container, path, recursive=recursive, user=user, budget=budget, most=most
        )

    def open_archive(
        self, container: str, path: str, *, user: str | None = None, live: bool = False
    ) -> ArchiveReader:
        """The archive of `path`; see `Engine.open_archive`."""
        if user is not None or live:
            from jupyter_volcopy.core.exec_archive import open_by_program

            return open_by_program(self, container, path, user or "0:0")
        if not path.isascii():
            from jupyter_volcopy.core.odd_archive import is_odd, open_odd

            if is_odd(path):
                return open_odd(self, container, path)
        return self._open(container, path)

    def _open(self, container: str, path: str) -> DockerArchive:
        target = f"/containers/{container_in_url(container)}/archive?path={query(path)}"
        what = "the archive"
        connection = self.connect()
        try:
            try:
                connection.start(
                    f"GET {target} HTTP/1.0\r\nHost: docker\r\n"
                    "User-Agent: jupyter-volcopy\r\n\r\n".encode("ascii")
                )
                head, body = connection.head("GET", self.timeouts.answer, what)
            except OSError as problem:
                raise EngineError(f"error during connect: {problem}") from problem
            if head.status != 200:
                answer = body.read(_ERROR_LIMIT)
                raise self.fail(head, answer, what, container=container, path=path)
            stat = None
            if _STAT in head.headers:
                from jupyter_volcopy.core.docker_facts import stat_from_header

                stat = stat_from_header(head.headers[_STAT], path)
        except BaseException:
            connection.close()
            raise
        return DockerArchive(connection, body, stat)

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
        """Unpack `body` in `directory`; see `Engine.extract`.

        A body with an attribute `cancel` (a `control.Cancel`) is broken off by its cut.
        """
        if user is not None or live:
            from jupyter_volcopy.core.exec_extract import extract_by_program

            extract_by_program(self, container, directory, body, user or "0:0")
            return
        target = (
            f"/containers/{container_in_url(container)}/archive?path={query(directory)}"
            + ("" if getattr(body, "over_directories", False) else "&noOverwriteDirNonDir=true")
            + ("&copyUIDGID=true" if copy_uid_gid else "")
        )
        framing = (
            "Transfer-Encoding: chunked"
            if body.length is None
            else f"Content-Length: {body.length}"
        )
        head, answer = self._put(target, framing, body)
        said = answer.decode("utf-8", "replace")
        if body.seal is None:
            if head.status == 200:
                return
        elif head.status == 200:
            raise EngineError(
                "the engine took an entry it could not make; the copy cannot be confirmed",
                hint="please report the engine and its version",
                engine_status=200,
            )
        elif body.seal in said:  # refused exactly at the last entry: all before it is in place
            if not head.headers.get("server", "").startswith("Docker/"):
                from jupyter_volcopy.core.docker_other import let_go

                let_go(self, container, directory, body)
            return
        raise self.fail(head, answer, "the upload", container=container, path=directory)

    def _put(self, target: str, framing: str, body: ArchiveBody) -> tuple[Head, bytes]:
        """Send one archive and read the answer; any failure of ours breaks the connection."""
        from jupyter_volcopy.core.upload import send_archive

        connection = self.connect()  # never a kept one: a body can be sent only once
        cancel = getattr(body, "cancel", None)
        broken: OSError | None = None
        try:
            with (cancel or Cancel()).closing(connection.abort):
                try:
                    connection.start(
                        f"PUT {target} HTTP/1.1\r\nHost: docker\r\nUser-Agent: jupyter-volcopy\r\n"
                        "Connection: close\r\n"
                        f"Content-Type: application/x-tar\r\n{framing}\r\n\r\n".encode("ascii")
                    )
                    send_archive(connection, body, chunked=body.length is None)
                except ConnectionError as problem:
                    broken = problem  # the engine refused early: its answer says why
                try:
                    wait = max(self.timeouts.answer, self.timeouts.idle)
                    head, rest = connection.head("PUT", wait, "the upload")
                    return head, rest.read(_ERROR_LIMIT)
                except CutStream as problem:
                    if cancel is not None:
                        cancel.check()
                    if broken is not None:
                        raise EngineError(
                            f"the engine closed the connection during the upload: {broken.strerror}"
                        ) from broken
                    raise EngineError(
                        "the engine closed the connection without an answer to the upload"
                    ) from problem
        finally:
            connection.close()

    def can_list(self, container: str) -> bool:
        """Whether a program in a running container can list its directories."""
        from jupyter_volcopy.core.listing import can_list

        return can_list(self, container)

    def list_beside(self, container: str, path: str) -> Beside | None:
        """Start listing a whole tree of a running container whose archive is read next.

        None where `list_dir` is to be asked.
        """
        from jupyter_volcopy.core.listing import list_beside

        return list_beside(self, container, path)

    def can_rename(self, container: str, path: str) -> bool:
        """Whether a program in a running container seems able to give a directory that name."""
        from jupyter_volcopy.core.listing import has_program

        return path.isprintable() and has_program(self, container, "mv") is not None

    # --- programs

    def start_program(
        self, container: str, argv: Sequence[str], *, user: str | None = None, stdin: bool = False
    ) -> Program:
        """Start a program in a running container, its streams attached (see `execute`)."""
        from jupyter_volcopy.core.execute import start_program

        return start_program(self, container, argv, user=user or "0:0", stdin=stdin)

    def execute(
        self, container: str, argv: Sequence[str], *, user: str | None = None, stdin: bytes = b""
    ) -> ExecResult:
        """Run a program in a running container; see `Engine.execute`."""
        from jupyter_volcopy.core.execute import run_program

        return run_program(self, container, argv, user=user or "0:0", stdin=stdin)

    # --- volumes and the end

    def volume(self, name: str, *, create: bool = False) -> AbstractContextManager[tuple[str, str]]:
        """`(container id, path)` of a volume; see `Engine.volume`."""
        from jupyter_volcopy.core.docker_volume import reach_volume

        return reach_volume(self, name, create=create)

    def empty_volume(self, name: str) -> None:
        """Remove everything in a volume; see `Engine.empty_volume`."""
        from jupyter_volcopy.core.docker_volume import empty_volume

        empty_volume(self, name)

    def close(self) -> None:
        """Let go of every kept connection; archives being read are their readers'."""
        self._kept.close()

    def __enter__(self) -> DockerEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def message_of(answer: bytes) -> str:
    """The text of a refusal: `message` of its JSON, else the body as it is."""
    text = answer.decode("utf-8", "replace")
    if text.startswith("{"):
        try:
            said = parse(text)
            return str(said.get("message") or said.get("cause") or text)
        except (ValueError, AttributeError):
            return text
    return text


def _parsed(answer: bytes, what: str) -> Any:
    if not answer.strip():
        return None
    try:
        return parse(answer.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as problem:
        raise EngineError(
            f"the engine answered {what} with something that is not JSON"
        ) from problem


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EngineError("the engine answered with something else than expected")
    return value


def _target(path: str, parts: dict[str, str] | None) -> str:
    if not parts:
        return path
    from urllib.parse import urlencode

    return f"{path}?{urlencode(parts, errors='surrogateescape')}"


def container_in_url(container: str) -> str:
    """A container's id or name as part of a URL; what cannot be one names nothing."""
    plain = container[1:] if container.startswith("/") else container
    if not plain or not _NAME.issuperset(plain) or plain in (".", ".."):
        raise NoSuchContainer(f"No such container: {container}", container=container)
    return plain
