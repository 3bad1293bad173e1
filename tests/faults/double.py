"""An engine double: speaks the Docker API over HTTP on a socket, and fails as it is told.

It holds one container (stopped, so that no program runs in it) whose paths are a small tree in memory::

    with EngineDouble() as engine:
        engine.put("/home/7/a.txt", b"hello")                 # what is there
        engine.archives["/home/7/src"] = tar_bytes            # what GET archive sends for a path
        engine.faults["get"] = Fault(cut_at=700)              # how one kind of call fails
        dcp(f"{engine.name}:/home/7/src", ".", env=engine.env)

- `env`: the environment that makes `dcp` speak to it (`DOCKER_HOST`); `address` is the same as an address.
- `archives[path]`: bytes, or a callable that returns an iterator of bytes (endless ones too). A path without
  one gets an archive made of the tree.
- `stats[path]`: what the stat header says instead of the truth: a dict with some of name, size, mode (a Go
  FileMode, see `go_mode`), mtime, linkTarget.
- `faults[step]`: a `Fault`. Steps: `ping`, `version`, `info`, `list`, `inspect`, `head`, `get`, `put`, `exec`,
  `volumes`, `other`, and `any` for all that have none of their own. `Fault(times=1)` fails once, then works.
- A push is unpacked as an engine does it, entry by entry as far as the bytes came, so `tree` shows what a cut
  push leaves: `engine.read(path)`, `engine.names(directory)`. `bodies` holds the raw archives received.
- `requests`: what was asked, as `(step, method, target)`; `open_streams`: archive streams that are open now.

Everything runs in threads of this process; leaving the block closes every connection.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import posixpath
import shutil
import socket
import stat
import tarfile
import tempfile
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

NAME = "double"
ID = "d0" * 32
MTIME = 1_700_000_000

GO_DIR, GO_LINK, GO_DEVICE, GO_FIFO, GO_SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24


def go_mode(kind: str, mode: int = 0o755) -> int:
    """The mode of a stat header: `kind` is file, dir, link, fifo or socket."""
    bits = {"file": 0, "dir": GO_DIR, "link": GO_LINK, "fifo": GO_FIFO, "socket": GO_SOCKET}
    return bits[kind] | mode


@dataclass
class Fault:
    """How an answer goes wrong. The default is: not at all.

    Attributes:
        cut_at: this many bytes of the body are sent, then the connection ends.
        clean: ... with a proper end as HTTP has it (the last chunk), so only the content tells.
        stall_at: after this many bytes of the body nothing more comes; the connection stays open.
        drip: pieces of so many bytes with so many seconds between them.
        status, text: answer with this status and message instead (the request's body is read first).
        raw: these bytes are the whole answer, instead of HTTP.
        length: announce this Content-Length, whatever is sent.
        head_cut: send so many bytes of the head of the answer, then close.
        silent: never answer.
        accept: of a request's body only this many bytes are read; then the connection is closed, or, with
            `status`, the answer comes early.
        at, during: `during()` is called once so many bytes of the body, in or out, have moved. It may change
            the world, and it may wait: the transfer stands still meanwhile.
        times: how many calls fail; then all is well. None: every one.
    """

    cut_at: int | None = None
    clean: bool = False
    stall_at: int | None = None
    drip: tuple[int, float] | None = None
    status: int | None = None
    text: str = ""
    raw: bytes | None = None
    length: int | None = None
    head_cut: int | None = None
    silent: bool = False
    accept: int | None = None
    at: int = 0
    during: Callable[[], object] | None = None
    times: int | None = None


@dataclass
class Node:
    """One thing in the double's container."""

    kind: str  # file, dir, link, fifo
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = MTIME
    target: str = ""


class _Gone(Exception):
    """The connection is over; nothing more to say."""


@dataclass
class _Request:
    method: str
    target: str
    version: str
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = True
    query: dict[str, str] = field(default_factory=dict)
    path: str = ""


class EngineDouble:
    """See the module's text.

    Args:
        name: of its one container.
        state: what inspect says: `exited`, `created`, or `running` (programs still cannot be run).
    """

    def __init__(self, name: str = NAME, state: str = "exited") -> None:
        self.name, self.state = name, state
        self.tree: dict[str, Node] = {"/": Node("dir", mode=0o755)}
        self.archives: dict[str, bytes | Callable[[], Iterator[bytes]]] = {}
        self.stats: dict[str, dict[str, Any]] = {}
        self.faults: dict[str, Fault] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.listed: list[dict[str, Any]] = []  # instead of its own entry in the list
        self.bodies: list[bytes] = []
        self.open_streams = 0
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        # Short (a socket's path has 107 bytes) and open to other users.
        self._directory = tempfile.mkdtemp(prefix="vd-")
        os.chmod(self._directory, 0o755)
        self.path = f"{self._directory}/s"
        self.address = f"unix://{self.path}"
        self.env = {"DOCKER_HOST": self.address, "DOCKER_CONTEXT": ""}

    # ------------------------------------------------------------ the container
    def put(self, path: str, data: bytes = b"", **node: Any) -> None:
        """Lay a file (or, by `kind=`, something else) into the container; parents are made."""
        self.mkdir(posixpath.dirname(path))
        self.tree[path] = Node(node.pop("kind", "file"), data, **node)

    def mkdir(self, path: str) -> None:
        """Make a directory and its parents."""
        parts = [p for p in path.split("/") if p]
        for n in range(len(parts) + 1):
            self.tree.setdefault("/" + "/".join(parts[:n]), Node("dir", mode=0o755))

    def read(self, path: str) -> bytes:
        """The bytes of a file in the container."""
        return self.tree[path].data

    def names(self, directory: str) -> list[str]:
        """The names in a directory, sorted."""
        below = directory.rstrip("/") + "/"
        return sorted(
            p.removeprefix(below)
            for p in self.tree
            if p.startswith(below) and p != below and "/" not in p.removeprefix(below)
        )

    def count(self, step: str) -> int:
        """How often a kind of call was made."""
        return sum(1 for request in self.requests if request[0] == step)

    # --------------------------------------------------------------- the server
    def __enter__(self) -> EngineDouble:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self._listener.listen(64)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it as a killed engine ends: every connection is cut, the socket is gone."""
        self._stop.set()
        with self._lock:
            sockets = [self._listener, *self._sockets]
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(20)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self, run: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock.makefile("rb") as reader:
                while self._one(sock, reader):
                    pass
        except (_Gone, OSError):
            pass  # the peer went away: allowed at any time
        except BaseException as problem:
            self.errors.append(problem)
        finally:
            with self._lock:
                self._sockets.discard(sock)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _one(self, sock: socket.socket, reader: io.BufferedReader) -> bool:
        """Answer one request; False when the connection is to be closed."""
        line = reader.readline(65537).decode("latin-1").strip()
        if not line:
            return False
        method, target, version = line.split(" ", 2)
        headers: dict[str, str] = {}
        while (text := reader.readline(65537).decode("latin-1").strip()) != "":
            key, _, value = text.partition(":")
            headers[key.strip().lower()] = value.strip()
        request = _Request(method, target, version, headers)
        split = urllib.parse.urlsplit(target)
        request.path = urllib.parse.unquote(split.path, errors="surrogateescape")
        request.query = dict(
            urllib.parse.parse_qsl(
                split.query, keep_blank_values=True, encoding="utf-8", errors="surrogateescape"
            )
        )
        step = self._step(request)
        with self._lock:
            self.requests.append((step, method, target))
            fault = self._fault(step)
        try:
            self._read_body(request, reader, fault)
        finally:
            if step == "put":
                self.bodies.append(request.body)
        if fault.accept is not None and fault.status is None:
            if step == "put":
                self._unpack(request, whole=False)
            raise _Gone
        if not request.whole:
            if step == "put":
                self._unpack(request, whole=False)
            raise _Gone
        if fault.raw is not None:
            sock.sendall(fault.raw)
            raise _Gone
        if fault.silent:
            self._stop.wait()
            raise _Gone
        if fault.status is not None:
            status, extra, body = fault.status, {}, _message(fault.text)
        else:
            status, extra, body = self._answer(step, request)
        if status >= 400:
            extra = {**extra, "Content-Type": "application/json"}
        self._send(sock, request, step, fault, status, extra, body)
        return request.version != "HTTP/1.0" and request.headers.get("connection") != "close"

    def _fault(self, step: str) -> Fault:
        fault = self.faults.get(step) or self.faults.get("any")
        if fault is None:
            return Fault()
        if fault.times is not None:
            if fault.times <= 0:
                return Fault()
            fault.times -= 1
        return fault

    @staticmethod
    def _during(fault: Fault, moved: int) -> None:
        if fault.during is not None and moved >= fault.at:
            run, fault.during = fault.during, None
            run()

    def _read_body(self, request: _Request, reader: io.BufferedReader, fault: Fault) -> None:
        limit = fault.accept
        parts: list[bytes] = []
        got = 0

        def take(size: int) -> bool:
            nonlocal got
            while size:
                want = size if limit is None else min(size, limit - got)
                if want <= 0:
                    return False
                piece = reader.read1(min(want, 1 << 16))  # type: ignore[attr-defined]
                if not piece:
                    request.whole = False
                    return False
                parts.append(piece)
                got += len(piece)
                size -= len(piece)
                self._during(fault, got)
            return True

        if request.headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                line = reader.readline(1024).strip()
                if not line:
                    request.whole = False
                    break
                size = int(line.split(b";")[0], 16)
                if size == 0:
                    reader.readline(1024)
                    break
                if not take(size):
                    break
                reader.readline(8)
        else:
            take(int(request.headers.get("content-length") or 0))
        request.body = b"".join(parts)

    def _send(
        self,
        sock: socket.socket,
        request: _Request,
        step: str,
        fault: Fault,
        status: int,
        extra: dict[str, str],
        body: bytes | Iterator[bytes],
    ) -> None:
        old = request.version == "HTTP/1.0"
        stream = not isinstance(body, bytes)
        headers = {
            "Api-Version": "1.41",
            "Server": "Docker/20.10.24 (linux)",
            "Ostype": "linux",
            **extra,
        }
        chunked = False
        if fault.length is not None:
            headers["Content-Length"] = str(fault.length)
        elif stream and not old:
            headers["Transfer-Encoding"] = "chunked"
            chunked = True
        elif isinstance(body, bytes) and request.method != "HEAD":
            headers["Content-Length"] = str(len(body))
        if old:
            headers["Connection"] = "close"
        lines = [f"{'HTTP/1.0' if old else 'HTTP/1.1'} {status} Text"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if fault.head_cut is not None:
            sock.sendall(head[: fault.head_cut])
            raise _Gone
        sock.sendall(head)
        if request.method == "HEAD":
            return
        with self._lock:
            self.open_streams += stream
        try:
            self._send_body(sock, fault, iter([body]) if isinstance(body, bytes) else body, chunked)
        finally:
            with self._lock:
                self.open_streams -= stream
        if fault.length is not None:
            raise _Gone

    def _send_body(
        self, sock: socket.socket, fault: Fault, pieces: Iterator[bytes], chunked: bool
    ) -> None:
        sent = 0

        def push(data: bytes) -> None:
            nonlocal sent
            if data:
                sock.sendall(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
                sent += len(data)
                self._during(fault, sent)

        step = fault.drip[0] if fault.drip else 1 << 16
        end = min((n for n in (fault.cut_at, fault.stall_at) if n is not None), default=None)
        done = False
        for piece in pieces:
            for at in range(0, len(piece), step):
                if self._stop.is_set():
                    raise _Gone
                part = piece[at : at + step]
                if end is not None and sent + len(part) >= end:
                    part, done = part[: end - sent], True
                push(part)
                if done:
                    break
                if fault.drip:
                    self._stop.wait(fault.drip[1])
            if done:
                break
        if fault.stall_at is not None and end == fault.stall_at:
            # Until the double ends, or the peer gives up and closes.
            sock.settimeout(0.1)
            while not self._stop.is_set():
                try:
                    if not sock.recv(1):
                        break
                except TimeoutError:
                    continue
            raise _Gone
        if fault.cut_at is not None and not fault.clean:
            raise _Gone
        if chunked:
            sock.sendall(b"0\r\n\r\n")

    # -------------------------------------------------------------- the answers
    @staticmethod
    def _parts(request: _Request) -> list[str]:
        parts = [p for p in request.path.split("/") if p]
        if parts and parts[0].startswith("v1."):
            parts = parts[1:]
        return parts

    def _step(self, request: _Request) -> str:
        match self._parts(request):
            case ["_ping"]:
                return "ping"
            case ["version"]:
                return "version"
            case ["info"]:
                return "info"
            case ["containers", "json"]:
                return "list"
            case ["containers", _, "json"]:
                return "inspect"
            case ["containers", _, "archive"]:
                return {"HEAD": "head", "GET": "get", "PUT": "put"}.get(request.method, "other")
            case ["containers", _, "exec"] | ["exec", *_]:
                return "exec"
            case ["volumes", *_]:
                return "volumes"
        return "other"

    def _known(self, name: str) -> bool:
        return name == self.name or ID.startswith(name)

    def _answer(
        self, step: str, request: _Request
    ) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        parts = self._parts(request)
        if step == "ping":
            return 200, {}, b"OK"
        if step == "version":
            return _json({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"})
        if step == "info":
            return _json(
                {
                    "ServerVersion": "20.10.24",
                    "Driver": "overlay2",
                    "DockerRootDir": "/nowhere",
                    "OperatingSystem": "double",
                    "SecurityOptions": [],
                }
            )
        if step == "volumes":
            if len(parts) > 1:
                return 404, {}, _message(f"get {parts[1]}: no such volume")
            return _json({"Volumes": [], "Warnings": None})
        if parts == ["images", "json"]:
            return _json([])
        if step == "list":
            return _json(self.listed or [self._listed()])
        if parts[0] != "containers" or len(parts) < 2:
            return 404, {}, _message("page not found")
        if not self._known(parts[1]):
            return 404, {}, _message(f"No such container: {parts[1]}")
        if step == "inspect":
            return _json(self._inspected())
        if step == "exec":
            return 409, {}, _message(f"Container {ID} is not running")
        if step in ("head", "get"):
            return self._archive(step, request)
        if step == "put":
            return self._unpack(request, whole=True)
        if parts[2:] == ["changes"]:
            return _json([])
        return 404, {}, _message("page not found")

    def _listed(self) -> dict[str, Any]:
        return {
            "Id": ID,
            "Names": [f"/{self.name}"],
            "Image": "double",
            "ImageID": f"sha256:{'e' * 64}",
            "Command": "none",
            "Created": MTIME,
            "State": self.state,
            "Status": self.state,
            "Labels": {},
            "Mounts": [],
            "HostConfig": {"NetworkMode": "none"},
            "NetworkSettings": {"Networks": {}},
            "Ports": [],
        }

    def _inspected(self) -> dict[str, Any]:
        return {
            "Id": ID,
            "Name": f"/{self.name}",
            "Created": "2024-01-01T00:00:00.000000000Z",
            "Image": f"sha256:{'e' * 64}",
            "State": {
                "Status": self.state,
                "Running": self.state == "running",
                "Paused": False,
                "Restarting": False,
                "Dead": False,
                "Pid": 0,
                "ExitCode": 0,
                "StartedAt": "2024-01-01T00:00:00.000000000Z",
                "FinishedAt": "2024-01-01T00:00:01.000000000Z",
            },
            "Driver": "overlay2",
            "GraphDriver": {"Name": "overlay2", "Data": {}},
            "Mounts": [],
            "Config": {"Image": "double", "User": "", "Env": [], "Labels": {}, "Volumes": None},
            "HostConfig": {
                "Binds": None,
                "Mounts": None,
                "Tmpfs": None,
                "VolumesFrom": None,
                "ReadonlyRootfs": False,
                "AutoRemove": False,
                "NetworkMode": "none",
            },
            "NetworkSettings": {"Networks": {}},
        }

    def _archive(
        self, step: str, request: _Request
    ) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        asked = request.query.get("path", "")
        plain = posixpath.normpath("/" + asked.lstrip("/"))
        node = self.tree.get(plain)
        archive = self.archives.get(asked, self.archives.get(plain))
        told = self.stats.get(asked, self.stats.get(plain))
        if node is None and archive is None and told is None:
            return 404, {}, _message(f"Could not find the file {asked} in container {self.name}")
        node = node or Node("dir" if archive is None else "file", mode=0o755)
        dotted = asked.rstrip("/").endswith("/.") or asked == "."
        truth = {
            "name": "." if dotted else posixpath.basename(plain) or "/",
            "size": len(node.data) if node.kind == "file" else 4096,
            "mode": go_mode(node.kind, node.mode),
            "mtime": "2023-11-14T22:13:20Z",
            "linkTarget": node.target
            and posixpath.normpath(posixpath.join(posixpath.dirname(plain), node.target)),
        }
        text = json.dumps({**truth, **(told or {})}).encode()
        extra = {
            "X-Docker-Container-Path-Stat": base64.b64encode(text).decode(),
            "Content-Type": "application/x-tar",
        }
        if step == "head":
            return 200, extra, b""
        if archive is None:
            archive = self._packed(plain, "." if dotted else posixpath.basename(plain))
        return 200, extra, archive() if callable(archive) else iter([archive])

    def _packed(self, path: str, base: str) -> bytes:
        out = io.BytesIO()
        below = path.rstrip("/") + "/"
        with tarfile.open(
            fileobj=out, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape"
        ) as tar:
            for name in sorted(p for p in self.tree if p == path or p.startswith(below)):
                node = self.tree[name]
                info = tarfile.TarInfo((base + name[len(path) :]) if name != path else base)
                info.mode, info.uid, info.gid, info.mtime = (
                    node.mode,
                    node.uid,
                    node.gid,
                    node.mtime,
                )
                info.type = {
                    "file": tarfile.REGTYPE,
                    "dir": tarfile.DIRTYPE,
                    "link": tarfile.SYMTYPE,
                    "fifo": tarfile.FIFOTYPE,
                }[node.kind]
                info.linkname = node.target
                info.size = len(node.data) if node.kind == "file" else 0
                tar.addfile(info, io.BytesIO(node.data) if node.kind == "file" else None)
        return out.getvalue()

    # ------------------------------------------------------------- what came in
    def _unpack(
        self, request: _Request, *, whole: bool
    ) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        """Unpack as moby's pkg/archive does: entry by entry, an old name removed before the new one is made."""
        asked = request.query.get("path", "")
        directory = posixpath.normpath("/" + asked.lstrip("/"))
        place = self.tree.get(directory)
        if place is None:
            return 404, {}, _message(f"Could not find the file {asked} in container {self.name}")
        if place.kind != "dir":
            return 500, {}, _message("extraction point is not a directory")
        with self._lock:
            text = self._apply(request.body, directory)
        if text:
            return 500, {}, _message(f"Error processing tar file(exit status 1): {text}")
        if not whole:
            return 500, {}, _message("unexpected EOF")
        return 200, {}, b""

    def _apply(self, data: bytes, directory: str) -> str:
        stream = io.BytesIO(data)
        try:
            tar = tarfile.open(fileobj=stream, mode="r:", errors="surrogateescape")  # noqa: SIM115
        except tarfile.TarError:
            return "" if not data.strip(b"\0") else "unexpected EOF"
        while True:
            try:
                info = tar.next()
            except tarfile.TarError as problem:
                return f"unexpected EOF ({problem})"
            if info is None:
                return ""
            path = posixpath.normpath(posixpath.join(directory, info.name.lstrip("/")))
            if path != directory and not path.startswith(directory.rstrip("/") + "/"):
                return f'"{info.name}" is outside of "{directory}"'
            old = self.tree.get(path)
            if old and old.kind == "dir" and not info.isdir():
                return f'cannot overwrite directory "{path}" with non-directory "{directory}"'
            if old and old.kind != "dir" and info.isdir():
                return f'cannot overwrite non-directory "{path}" with directory "{directory}"'
            if old and not info.isdir():
                del self.tree[path]
            self.mkdir(posixpath.dirname(path))
            facts: dict[str, Any] = {
                "mode": stat.S_IMODE(info.mode),
                "uid": info.uid,
                "gid": info.gid,
                "mtime": info.mtime,
            }
            if info.isdir():
                if path != directory:
                    self.tree[path] = Node("dir", **facts)
            elif info.issym():
                if len(os.fsencode(info.linkname)) >= 4096:
                    return f"symlink {info.linkname} {path}: file name too long"
                self.tree[path] = Node("link", target=info.linkname, **facts)
            elif info.islnk():
                target = posixpath.normpath(posixpath.join(directory, info.linkname))
                if target not in self.tree:
                    return f"link {target} {path}: no such file or directory"
                self.tree[path] = Node(self.tree[target].kind, self.tree[target].data, **facts)
            elif info.isreg():
                content = data[info.offset_data : info.offset_data + info.size]
                self.tree[path] = Node("file", content, **facts)
                if len(content) < info.size:
                    return "unexpected EOF"
            else:
                self.tree[path] = Node("fifo", **facts)


def _message(text: str) -> bytes:
    return json.dumps({"message": text}).encode()


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()
