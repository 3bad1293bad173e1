"""The engine behind a service: `Engine` spoken as our REST interface.

For a container that has no socket: the Hub service (or somebody's Jupyter server) has it, decides
what we may, and does what we ask. The calls are those of the contract, so the same plan and
transfer code runs on it as on a socket; what the service makes of them is its own affair (it may
act as the container's user, and it never lets set-id bits, devices or capabilities pass).

The wire is the one of `http`: one connection for each archive, small calls share a few. An upload
announces itself (`Expect: 100-continue`), so a refusal comes before the first byte of it is sent.
The token comes from the environment, `VOLCOPY_TOKEN` or `JUPYTERHUB_API_TOKEN`, and travels in a
header only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from jupyter_volcopy.core.docker_engine import DockerArchive, container_in_url
from jupyter_volcopy.core.engine import ExecResult
from jupyter_volcopy.core.http import Connection, Dial, Head, Kept, Timeouts, dial_tcp
from jupyter_volcopy.core.model import Listing
from jupyter_volcopy.core.paths import encode
from jupyter_volcopy.core.service_facts import (
    from_change,
    from_container,
    from_entry,
    from_info,
    from_stat,
    from_volume,
)
from jupyter_volcopy.errors import (
    AccessDenied,
    CutStream,
    EngineError,
    EngineUnreachable,
    NoSuchVolume,
    UsageError,
    VolcopyError,
    error_from_dict,
)

if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import ArchiveBody, ArchiveReader
    from jupyter_volcopy.core.http import Body
    from jupyter_volcopy.core.model import Change, Container, EngineInfo, Stat, Volume

__all__ = ["ServiceEngine", "open_service", "service_meant"]

_JSON_LIMIT = 256 << 20
_PAGE = 20_000
_UPLOAD_ANSWER = 3600.0
_TOO_MANY = 429
_PATIENCE = 60.0
_VOLUME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def service_meant() -> str:
    """The address in `VOLCOPY_SERVICE_URL`, if nothing names an engine and no socket is there."""
    url = os.environ.get("VOLCOPY_SERVICE_URL", "")
    if not url:
        return ""
    from jupyter_volcopy.core.discovery import find_address

    address = find_address()[0]
    path = address.removeprefix("unix://")
    return "" if not path.startswith("/") or os.path.exists(path) else url


def open_service(url: str, *, token: str | None = None, idle: float = 60.0) -> ServiceEngine:
    """The engine behind a service. Nothing is connected yet.

    Args:
        url: of the service or of its interface: `http://HOST/services/volcopy/`, or of a Jupyter
            server with the extension: `http://HOST:8888/`.
        token: None: from the environment.
        idle: seconds without a byte after which a stream is given up.

    Raises:
        UsageError: no such address can be.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise UsageError(
            f"{parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()!r} is no address "
            "of a service",
            hint="write http://HOST:PORT/services/volcopy/",
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/api"):
        path += "/api" if path.endswith("/volcopy") else "/volcopy/api"
    if token is None:
        token = os.environ.get("VOLCOPY_TOKEN") or os.environ.get("JUPYTERHUB_API_TOKEN") or ""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("the token of the service is none: it has odd characters")
    dial: Dial
    if parts.scheme == "https":
        from jupyter_volcopy.core.transport import dial_tls

        dial = dial_tls(parts.hostname, port or 443, "", "", "", True)
    else:
        dial = dial_tcp(parts.hostname, port or 80)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    return ServiceEngine(
        dial, place, path, token, f"{parts.scheme}://{place}{path}", timeouts=Timeouts(idle=idle)
    )


class _Archive(DockerArchive):
    """An archive from the service, which says afterwards why it broke off."""

    def __init__(
        self,
        connection: Connection,
        body: Body,
        stat: Stat | None,
        why: Callable[[], VolcopyError | None],
    ) -> None:
        super().__init__(connection, body, stat)
        self._why = why

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of `buffer`; 0 at the end of the stream."""
        try:
            return super().readinto(buffer)
        except CutStream:
            reason = None if self._closed else self._why()
            if reason is None:
                raise
            raise reason from None


class ServiceEngine:
    """`Engine` over REST.

    Args:
        dial: makes a connection.
        host: for the `Host` header.
        base: path of the interface, without a slash at its end.
        token: of the caller, or "".
        address: for people and the journal.
        timeouts: limits in seconds.
    """

    local = False

    def __init__(
        self,
        dial: Dial,
        host: str,
        base: str,
        token: str,
        address: str,
        *,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.address = address
        self.timeouts = timeouts or Timeouts()
        self._dial = dial
        self._base = base
        self._headers = f"Host: {host}\r\nUser-Agent: jupyter-volcopy\r\n"
        if token:
            self._headers += f"Authorization: token {token}\r\n"
        self._kept = Kept()

    # --- calls

    def _connect(self) -> Connection:
        try:
            return Connection(self._dial(self.timeouts), self.timeouts)
        except EngineUnreachable as problem:
            raise EngineUnreachable(
                f"the service at {self.address} does not answer", hint=str(problem.__cause__ or "")
            ) from problem

    def _target(self, route: str, query: dict[str, Any]) -> str:
        chosen = {
            key: "1" if value is True else str(value)
            for key, value in query.items()
            if value is not None and value is not False
        }
        text = f"{self._base}/{route}"
        return f"{text}?{urlencode(chosen, errors='surrogateescape')}" if chosen else text

    def _request(self, method: str, target: str, *more: str) -> bytes:
        lines = "".join(f"{line}\r\n" for line in more)
        return f"{method} {target} HTTP/1.1\r\n{self._headers}{lines}\r\n".encode("ascii")

    def _call(
        self, method: str, route: str, query: dict[str, Any] | None = None, body: Any = None
    ) -> tuple[Head, Any]:
        """One small call; the answer's head and JSON.

        Raises:
            VolcopyError: what the service says, or that it says nothing.
        """
        import json

        target = self._target(route, query or {})
        what = f"{method} {route}"
        data = b"" if body is None else json.dumps(body).encode("ascii")
        more = [] if method in ("GET", "HEAD") else [f"Content-Length: {len(data)}"]
        if data:
            more.append("Content-Type: application/json")
        raw = self._request(method, target, *more) + data
        patience = _Patience()
        while True:
            connection = self._kept.take() or self._connect()
            again = connection.used > 0 and method in ("GET", "HEAD")
            done = False
            try:
                try:
                    connection.start(raw)
                except ConnectionError:
                    if again:
                        continue
                    # Refused before all of it was sent: the answer is waiting.
                try:
                    head, rest = connection.head(method, self.timeouts.long, what)
                except CutStream:
                    if again and connection.silent:
                        continue
                    raise
                answer = rest.read(_JSON_LIMIT)
                done = rest.reusable
            except OSError as problem:
                raise EngineError(f"error during {what}: {problem}") from problem
            finally:
                if done:
                    self._kept.give(connection)
                else:
                    connection.close()
            if head.status == _TOO_MANY and patience.again(head):
                continue
            if head.status >= 300:
                raise self._refusal(head, answer, what)
            return head, _parsed(answer, what)

    def _refusal(self, head: Head, answer: bytes, what: str) -> VolcopyError:
        """What an answer other than success means."""
        import json

        said: Any = None
        if "x-volcopy-error" in head.headers:
            import binascii

            try:
                answer = binascii.a2b_base64(head.headers["x-volcopy-error"])
            except ValueError:
                pass
        try:
            said = json.loads(answer)
        except ValueError:
            pass
        if isinstance(said, dict) and "code" in said:
            return error_from_dict(said)
        if head.status in (301, 302, 303, 307, 401, 403):
            return AccessDenied(
                f"the service at {self.address} does not know this token",
                hint="set VOLCOPY_TOKEN, or JUPYTERHUB_API_TOKEN as in a server of the Hub",
            )
        if head.status == 404:
            return EngineUnreachable(
                f"there is no volcopy service at {self.address}",
                hint="is the address right, and the extension enabled there?",
            )
        return EngineError(f"the service answered {what} with status {head.status}")

    # --- facts

    def info(self) -> EngineInfo:
        """Version and address of the engine, as far as the service tells them."""
        from jupyter_volcopy.core.record import replace

        found = from_info(self._call("GET", "status")[1]["exact"])
        return replace(found, address=found.address or self.address)

    def containers(self) -> list[Container]:
        """Those the service lets us see."""
        found = self._call("GET", "containers", {"exact": True})[1]["containers"]
        return [from_container(item["exact"]) for item in found]

    def container(self, name: str) -> Container:
        """One container; see `Engine.container`."""
        route = f"containers/{container_in_url(name)}"
        return from_container(self._call("GET", route, {"exact": True})[1]["exact"])

    def image(self, name: str) -> dict[str, Any]:
        """What an image declares; the service keeps its environment to itself."""
        found: dict[str, Any] = self._call("GET", "image", {"name": name})[1]
        return found

    def volumes(self) -> list[Volume]:
        """Those the service lets us see."""
        found = self._call("GET", "volumes", {"exact": True})[1]["volumes"]
        return [from_volume(item["exact"]) for item in found]

    def changes(self, container: str) -> list[Change]:
        """The writable layer."""
        route = f"containers/{container_in_url(container)}/changes"
        return [from_change(item) for item in self._call("GET", route)[1]["changes"]]

    # --- paths

    def stat(self, container: str, path: str, *, user: str | None = None) -> Stat:
        """What stands at `path`; see `Engine.stat`."""
        route = f"containers/{container_in_url(container)}/archive"
        head, _ = self._call("HEAD", route, {"path": path, "user": user})
        found = _stat(head)
        if found is None:
            raise EngineError("the service did not say what stands there")
        return found

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
        route = f"containers/{container_in_url(container)}/entries"
        query: dict[str, Any] = {
            "path": path,
            "recursive": recursive,
            "user": user,
            "budget": budget or 0,
        }
        entries: list[Any] = []
        while True:
            page = self._call("GET", route, {**query, "limit": most or _PAGE, "exact": True})[1]
            entries += [from_entry(item) for item in page["entries"]]
            if page["next"] and most is not None:
                return Listing(page["path"], tuple(entries), page["complete"], True, page["total"])
            if not page["next"]:
                return Listing(page["path"], tuple(entries), page["complete"])
            query = {"cursor": page["next"]}

    def open_archive(
        self, container: str, path: str, *, user: str | None = None, live: bool = False
    ) -> ArchiveReader:
        """The archive of `path`; see `Engine.open_archive`."""
        route = f"containers/{container_in_url(container)}/archive"
        target = self._target(route, {"path": path, "user": user, "live": live})
        what = "the archive"
        mark = os.urandom(16).hex()
        more = ("Connection: close", f"X-Volcopy-Request: {mark}")
        patience = _Patience()
        while True:
            connection = self._connect()
            try:
                try:
                    connection.start(self._request("GET", target, *more))
                    head, body = connection.head("GET", self.timeouts.long, what)
                except OSError as problem:
                    raise EngineError(f"error during {what}: {problem}") from problem
                if head.status == _TOO_MANY and patience.again(head):
                    connection.close()
                    continue
                if head.status != 200:
                    raise self._refusal(head, body.read(1 << 20), what)
                stat = _stat(head)
                break
            except BaseException:
                connection.close()
                raise
        return _Archive(connection, body, stat, lambda: self._late(mark))

    def _late(self, mark: str) -> VolcopyError | None:
        """Why an answer that was named `mark` broke off, if the service knows."""
        try:
            return error_from_dict(self._call("GET", f"errors/{mark}")[1])
        except VolcopyError:
            return None

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
        """Unpack `body` in `directory`; see `Engine.extract`."""
        route = f"containers/{container_in_url(container)}/archive"
        target = self._target(
            route,
            {
                "path": directory,
                "raw": True,
                "copy_uid_gid": copy_uid_gid,
                "user": user,
                "live": live,
            },
        )
        more = ["Connection: close", "Expect: 100-continue", "Content-Type: application/x-tar"]
        if body.seal is not None:
            more.append(f"X-Volcopy-Seal: {body.seal}")
        if body.length is None:
            more.append("Transfer-Encoding: chunked")
        else:
            more.append(f"Content-Length: {body.length}")
        patience = _Patience()
        while True:
            head, answer, begun = self._put(self._request("PUT", target, *more), body)
            if head.status != _TOO_MANY or begun or not patience.again(head):
                break
        if head.status >= 300:
            raise self._refusal(head, answer, "the upload")

    def _put(self, request: bytes, body: ArchiveBody) -> tuple[Head, bytes, bool]:
        """Send one archive and read the answer; any failure of ours breaks the connection.

        Returns:
            Head and body of the answer, and whether any of the archive was read.
        """
        from jupyter_volcopy.core.upload import send_archive

        what = "the upload"
        connection = self._connect()
        cancel = getattr(body, "cancel", None)
        broken: OSError | None = None
        try:
            with cancel.closing(connection.abort) if cancel is not None else nullcontext():
                try:
                    connection.start(request)
                    early = connection.may_go_on(self.timeouts.long, what)
                    if early is not None:
                        return early[0], early[1].read(1 << 20), False
                    send_archive(connection, body, chunked=body.length is None)
                except ConnectionError as problem:
                    broken = problem  # the service refused early: its answer says why
                try:
                    head, rest = connection.head("PUT", _UPLOAD_ANSWER, what)
                    return head, rest.read(1 << 20), True
                except CutStream as problem:
                    if cancel is not None:
                        cancel.check()
                    reason = f": {broken.strerror}" if broken is not None else ""
                    raise EngineError(
                        f"the service closed the connection during the upload{reason}"
                    ) from problem
        finally:
            connection.close()

    # --- the rest

    def execute(
        self, container: str, argv: Sequence[str], *, user: str | None = None, stdin: bytes = b""
    ) -> ExecResult:
        """Run a program, if the service allows it; see `Engine.execute`."""
        import binascii

        route = f"containers/{container_in_url(container)}/execute"
        wanted: dict[str, Any] = {
            "argv": list(argv),
            "stdin": binascii.b2a_base64(stdin, newline=False).decode("ascii"),
        }
        if user is not None:
            wanted["user"] = user
        found = self._call("POST", route, body=wanted)[1]
        return ExecResult(
            int(found["exit_code"]),
            binascii.a2b_base64(found["stdout"]),
            binascii.a2b_base64(found["stderr"]),
        )

    def json(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None
    ) -> Any:
        """The few calls for which the core has no method, as far as the service has them.

        Raises:
            AccessDenied: any other call.
        """
        if method == "GET" and path.startswith("/volumes/"):
            from urllib.parse import unquote

            name = unquote(path[len("/volumes/") :], errors="surrogateescape")
            return self._call("GET", f"volumes/{_volume_in_url(name)}")[1]["raw"]
        if method == "GET" and path == "/system/df":
            found = self._call("GET", "volumes", {"sizes": True})[1]["volumes"]
            return {
                "Volumes": [
                    {"Name": item["name"], "UsageData": {"Size": item.get("size", -1)}}
                    for item in found
                ]
            }
        raise AccessDenied(f"the service does not pass on {method} {path}")

    def volume(self, name: str, *, create: bool = False) -> AbstractContextManager[tuple[str, str]]:
        """`(container id, path)` of a volume; see `Engine.volume`. The service lends the helper."""
        return self._lease(name, create)

    @contextmanager
    def _lease(self, name: str, create: bool) -> Iterator[tuple[str, str]]:
        if create and (not name or not _VOLUME.issuperset(name)):
            raise UsageError(f"{name!r} cannot be the name of a volume")
        route = f"volumes/{_volume_in_url(name)}/lease"
        lease = self._call("POST", route, body={"create": create})[1]
        give_back = f"leases/{quote(str(lease['id']), safe='')}"
        try:
            yield str(lease["container"]), str(lease["path"])
        except BaseException:
            try:
                self._call("DELETE", give_back, {"failed": True})
            except VolcopyError:
                pass  # it runs out by itself; what went wrong before is to be told
            raise
        self._call("DELETE", give_back)

    def empty_volume(self, name: str) -> None:
        """Remove everything in a volume; see `Engine.empty_volume`."""
        self._call("POST", f"volumes/{_volume_in_url(name)}/empty", body={})

    def close(self) -> None:
        """Let go of every kept connection."""
        self._kept.close()


class _Patience:
    """How long an answer "too many" is waited out: the service says when to come again."""

    def __init__(self) -> None:
        self._end = time.monotonic() + _PATIENCE

    def again(self, head: Head) -> bool:
        """Wait a moment; False once it has taken too long."""
        if time.monotonic() > self._end:
            return False
        asked = head.headers.get("retry-after", "1")
        time.sleep(min(int(asked), 10) if asked.isdigit() else 1)
        return True


def _volume_in_url(name: str) -> str:
    """A volume's name as part of a URL; what cannot be one names nothing."""
    if not name or not _VOLUME.issuperset(name) or name in (".", ".."):
        raise NoSuchVolume(f"No such volume: {name}", volume=name)
    return quote(encode(name), safe="")


def _stat(head: Head) -> Stat | None:
    text = head.headers.get("x-volcopy-stat")
    if not text:
        return None
    import binascii
    import json

    try:
        return from_stat(json.loads(binascii.a2b_base64(text)))
    except (ValueError, KeyError, TypeError) as problem:
        raise EngineError("the service said something unreadable about a path") from problem


def _parsed(answer: bytes, what: str) -> Any:
    if not answer.strip():
        return None
    import json

    try:
        return json.loads(answer)
    except ValueError as problem:
        raise EngineError(
            f"the service answered {what} with something that is not JSON",
            hint="is the address really that of a volcopy service?",
        ) from problem
