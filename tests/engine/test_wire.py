"""The HTTP below `DockerEngine`: a double of an engine that speaks on a real socket, and lies."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from jupyter_volcopy.core.answers import error_from_answer, without_host_paths
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.docker_facts import stat_from_header
from jupyter_volcopy.core.http import Timeouts
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.errors import (
    Busy,
    Conflict,
    CutStream,
    EngineError,
    EngineStalled,
    EngineTooOld,
    NoSpace,
    NoSuchContainer,
    NoSuchPath,
    NoSuchVolume,
    NotADirectory,
    NotFound,
    ReadOnlyTarget,
)
from tests.engine.conftest import Body, read_all

STAT = base64.b64encode(
    json.dumps(
        {"name": "f", "size": 3, "mode": 420, "mtime": "2024-01-02T03:04:05.5Z", "linkTarget": ""}
    ).encode()
).decode()
OK = f"HTTP/1.1 200 OK\r\nX-Docker-Container-Path-Stat: {STAT}\r\n".encode()


class Double:
    """Answers each connection by the next of `scripts`, then closes it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.requests: list[bytes] = []
        self.scripts: list[Callable[[socket.socket], None]] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen(16)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def engine(self, **limits: float) -> DockerEngine:
        return open_engine(f"unix://{self.path}", timeouts=Timeouts(**{"answer": 60, **limits}))

    def say(self, *answers: bytes) -> None:
        """One connection that answers its requests in turn."""

        def script(peer: socket.socket) -> None:
            for answer in answers:
                self.requests.append(request(peer))
                peer.sendall(answer)

        self.scripts.append(script)

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            with peer:
                try:
                    if self.scripts:
                        self.scripts.pop(0)(peer)
                except OSError:
                    pass

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)


def request(peer: socket.socket) -> bytes:
    """The head of one request, and the body of a chunked one."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        if not piece:
            return data
        data += piece
    if b"chunked" in data:
        while not data.endswith(b"0\r\n\r\n"):
            piece = peer.recv(65536)
            if not piece:
                break
            data += piece
    return data


@pytest.fixture
def double(tmp_path) -> Iterator[Double]:
    made = Double(str(tmp_path / "engine.sock"))
    yield made
    made.close()


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"\r\n" + b"tar",
        OK + b"Content-Length: 3\r\n\r\ntar",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nt\r\n2;x=y\r\nar\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\ntar",
    ],
)
def test_every_framing(double, answer):
    double.say(answer)
    archive = double.engine().open_archive("c", "/f")
    assert archive.stat is not None and archive.stat.size == 3
    assert read_all(archive) == b"tar"
    assert b" HTTP/1.0\r\n" in double.requests[0]
    assert b"ccept-Encoding" not in double.requests[0]


def test_answers_in_single_bytes(double):
    def script(peer):
        request(peer)
        for byte in OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\ntar\r\n0\r\n\r\n":
            peer.sendall(bytes([byte]))

    double.scripts.append(script)
    assert read_all(double.engine().open_archive("c", "/f")) == b"tar"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        OK,
        OK + b"Content-Length: 9\r\n\r\ntar",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\ntar",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\ntar\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\ntar\r\n0\r\n",
    ],
)
def test_every_cut(double, answer):
    double.say(answer)
    with pytest.raises(CutStream):
        read_all(double.engine().open_archive("c", "/f"))


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-3\r\ntar\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\ntarXX0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 2000,
        b"HTTP/1.1 200 OK\r\nX-Docker-Container-Path-Stat: !!!\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\n\r\n" * 20,
    ],
)
def test_garbage(double, answer):
    double.say(answer)
    with pytest.raises(EngineError):
        read_all(double.engine().open_archive("c", "/f"))


def test_silence_ends_in_an_error(double):
    done = threading.Event()

    def silent(peer):
        request(peer)
        done.wait(60)

    def stuck(peer):
        request(peer)
        peer.sendall(OK + b"Content-Length: 9\r\n\r\nt")
        done.wait(60)

    try:
        double.scripts.append(silent)
        with pytest.raises(EngineStalled):
            double.engine(answer=0.2).stat("c", "/f")
        done.set()
        done.clear()
        double.scripts.append(stuck)
        archive = double.engine(idle=0.2).open_archive("c", "/f")
        with pytest.raises(EngineStalled, match="nothing came"):
            read_all(archive)
    finally:
        done.set()


def test_an_engine_that_takes_nothing(double):
    done = threading.Event()

    def deaf(peer):
        done.wait(60)

    double.scripts.append(deaf)
    try:
        with pytest.raises(EngineStalled, match="took no data"):
            double.engine(idle=0.3).extract("c", "/f", Body(*[bytes(1 << 20)] * 64))
    finally:
        done.set()


def test_a_kept_connection_that_was_closed_is_replaced(double):
    listing = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[]\n"
    for _ in range(3):  # each connection answers once and closes, though it said to keep it
        double.say(listing)
    engine = double.engine()
    for _ in range(3):
        assert engine.containers() == []
    engine.close()


def test_one_connection_serves_many_calls(double):
    listing = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[]\n"
    double.say(*[listing] * 5)
    engine = double.engine()
    for _ in range(5):
        assert engine.containers() == []
    engine.close()
    assert len(double.requests) == 5


def test_nothing_is_sent_twice(double):
    for _ in range(3):
        double.say(b"")
    with pytest.raises(EngineError):
        double.engine().json("POST", "/containers/c/start")
    with pytest.raises(EngineError):
        double.engine().extract("c", "/", Body(b"x"))
    assert len(double.requests) == 2


def test_an_early_refusal_is_heard(double):
    text = b'{"message":"write /x: no space left on device"}'

    def refuse(peer):
        peer.recv(1000)
        peer.sendall(b"HTTP/1.1 500 E\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    double.scripts.append(refuse)
    with pytest.raises(NoSpace):
        double.engine().extract("c", "/", Body(*[bytes(1 << 20)] * 64))


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (404, "No such container: x", NoSuchContainer),
        (404, "Could not find the file /a in container x", NoSuchPath),
        (404, "get x: no such volume", NoSuchVolume),
        (404, "No such image: x", NotFound),
        (404, "page not found", EngineTooOld),
        (409, "Container x is not running", Conflict),
        (400, "container rootfs is marked read-only", ReadOnlyTarget),
        (403, "mounted volume is marked read-only", ReadOnlyTarget),
        (500, "write /a: no space left on device", NoSpace),
        (500, "extraction point is not a directory", NotADirectory),
        (400, "extraction point is not a directory", NotADirectory),
        (500, 'cannot overwrite directory "/a" with non-directory "b"', Conflict),
        (500, "unlinkat /etc/hosts: device or resource busy", Busy),
        (500, "something else", EngineError),
        (503, "", EngineError),
    ],
)
def test_refusals(status, text, kind):
    error = error_from_answer(status, text, "a call", container="x")
    assert type(error) is kind
    assert text in error.message


def test_host_paths_are_taken_out():
    digest = "0123456789abcdef" * 4
    for root in (
        f"/var/lib/docker/overlay2/{digest}/merged",
        f"/data/my docker/overlay2/{digest}/merged".replace(" ", ""),
        f"/var/lib/docker/rootfs/overlayfs/{digest}",
        f"/var/lib/docker/btrfs/subvolumes/{digest}",
        "/var/lib/docker/volumes/work/_data",
    ):
        said = without_host_paths(f'open {root}/etc/hosts: busy, "{root}/a b": x {root}: y')
        assert said == 'open /etc/hosts: busy, "/a b": x : y', root
    kept = "open /home/overlay2/x: no"
    assert without_host_paths(kept) == kept


def test_stat_header():
    def header(**more):
        fields = {"name": "x", "size": 1, "mode": 0, "mtime": "1970-01-01T00:00:00Z", **more}
        return base64.b64encode(json.dumps(fields).encode()).decode()

    for bit, kind in ((31, Kind.DIRECTORY), (27, Kind.SYMLINK), (25, Kind.FIFO), (24, Kind.SOCKET)):
        assert stat_from_header(header(mode=1 << bit), "/x").kind is kind
    assert stat_from_header(header(mode=1 << 26), "/x").kind is Kind.BLOCK
    assert stat_from_header(header(mode=1 << 26 | 1 << 21), "/x").kind is Kind.CHARACTER
    full = stat_from_header(header(mode=1 << 23 | 1 << 22 | 1 << 20 | 0o755), "/x")
    assert full.mode == 0o7755
    for text, expected in (
        ("1970-01-01T00:00:01.000000002Z", 1_000_000_002),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000_000),
    ):
        assert stat_from_header(header(mtime=text), "/x").mtime_ns == expected
    with pytest.raises(EngineError):
        stat_from_header("e30=", "/x")
