"""What the contract tests share: the engine under test, and archives made by hand."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.engine import Engine, FilePart
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.service_engine import ServiceEngine, open_service
from jupyter_volcopy.core.tar_writer import END, encode_entry, padding
from tests.web.running import RunningServer


def _docker_engine(request: pytest.FixtureRequest) -> Engine:
    return open_engine()


def _service_engine(request: pytest.FixtureRequest) -> Engine:
    server = request.getfixturevalue("contract_server")
    return open_service(server.url, token=server.token)


def _direct_service_engine(request: pytest.FixtureRequest) -> Engine:
    server = request.getfixturevalue("direct_contract_server")
    return open_service(server.url, token=server.token)


# An implementation of `Engine` is added here by a name and a function that makes one; the tests
# that take `engine` then run on it too.
ENGINES: dict[str, Callable[[pytest.FixtureRequest], Engine]] = {
    "docker": _docker_engine,
    "service": _service_engine,
    "service-direct": _direct_service_engine,
}


def landed(engine: Engine, mode: int) -> int:
    """Permission bits as they land: a service lets no set-id bits pass, whatever is asked."""
    return mode & 0o1777 if isinstance(engine, ServiceEngine) else mode


@pytest.fixture(scope="session")
def contract_server(
    docker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A Jupyter server with our extension, through which the contract is tested, too."""
    yield from _serving(tmp_path_factory, "api")


@pytest.fixture(scope="session")
def direct_contract_server(
    docker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Another one, which reaches running containers directly where that is possible."""
    yield from _serving(tmp_path_factory, "auto")


def _serving(made: pytest.TempPathFactory, access: str) -> Iterator[RunningServer]:
    server = RunningServer(made.mktemp("server"), allow_execute=True, requests_per_second=0)
    yield server.start(VOLCOPY_ACCESS=access)
    server.stop()


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, docker: Any) -> Iterator[Engine]:
    """Each implementation of `Engine` in turn."""
    made = ENGINES[request.param](request)
    yield made
    made.close()


class Body:
    """An archive to be pushed: pieces, and what `ArchiveBody` says of them."""

    def __init__(self, *pieces: Any, seal: str | None = None, length: int | None = None) -> None:
        self.pieces = pieces
        self.seal = seal
        self.length = length
        self.hidden, self.left = ".volcopy-seal", False

    def __iter__(self) -> Iterator[Any]:
        for piece in self.pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


def file_entry(name: str, data: bytes, **more: Any) -> bytes:
    """One regular file of an archive, with its content."""
    head = encode_entry(Entry(name, Kind.FILE, size=len(data), **more))
    pad = padding(len(data))
    return head + data + (pad if isinstance(pad, bytes) else bytes(pad))


def part_entry(name: str, fd: int, size: int, **more: Any) -> list[Any]:
    """One regular file of an archive whose content comes from an open file."""
    pad = padding(size)
    part = FilePart(fd, 0, size)
    head = encode_entry(Entry(name, Kind.FILE, size=size, **more))
    return [head, part, pad if isinstance(pad, bytes) else bytes(pad)]


def sealed(name: str, data: bytes, token: str, hidden: str = ".volcopy-seal") -> Body:
    """A file put in place by a link, then a last entry that cannot be made."""
    return Body(
        file_entry(hidden, data),
        encode_entry(Entry(name, Kind.HARDLINK, link=hidden)),
        encode_entry(Entry(hidden, Kind.SYMLINK, link=token + "x" * 5000)),
        END,
        seal=token,
    )


def plain(*entries: bytes) -> Body:
    """An archive of ready entries with its end."""
    return Body(*entries, END)


def read_all(archive: Any) -> bytes:
    """Everything of an archive; closed."""
    out = bytearray()
    buffer = memoryview(bytearray(1 << 16))
    try:
        while count := archive.readinto(buffer):
            out += buffer[:count]
    finally:
        archive.close()
    return bytes(out)


def members(raw: bytes) -> dict[str, tarfile.TarInfo]:
    """The members of an archive by name, read by Python's own tarfile."""
    with tarfile.open(
        fileobj=BytesIO(raw), mode="r:", encoding="utf-8", errors="surrogateescape"
    ) as tar:
        return {member.name: member for member in tar.getmembers()}


def content(raw: bytes, name: str) -> bytes:
    """One file of an archive."""
    with tarfile.open(fileobj=BytesIO(raw), mode="r:") as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


@pytest.fixture(scope="session")
def gnu_image(docker: Any) -> Iterator[str]:
    """An image with this machine's GNU programs instead of busybox's."""
    programs = ["sh", "sleep", "find", "tar", "stat", "mv", "rm", "mkdir", "chmod", "readlink"]
    libraries: set[str] = set()
    for name in programs:
        path = f"/usr/bin/{name}" if os.path.exists(f"/usr/bin/{name}") else f"/bin/{name}"
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if name in ("find", "tar") and "GNU" not in said.stdout:
            pytest.skip("this machine has no GNU find and tar")
        libraries.add(path)
        linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        for word in linked.stdout.split():
            if word.startswith("/"):
                libraries.add(word)
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
        for name, text in (
            ("passwd", "root:x:0:0::/:\nnb:x:1000:100::/:\n"),
            ("group", "users:x:100:\n"),
        ):
            info = tarfile.TarInfo(f"etc/{name}")
            info.size = len(text)
            tar.addfile(info, BytesIO(text.encode()))
        for path in sorted(libraries):
            target = path.lstrip("/")
            with open(os.path.realpath(path), "rb") as file:
                data = file.read()
            for place in {target, target.removeprefix("usr/")}:
                info = tarfile.TarInfo(place)
                info.size, info.mode = len(data), 0o755
                tar.addfile(info, BytesIO(data))
    name = f"volcopy-test-gnu-{os.urandom(4).hex()}"
    docker("import", "-c", "ENV PATH=/bin:/usr/bin", "-", name, stdin=out.getvalue())
    yield name
    said = b""
    for _ in range(20):  # the engine may still be removing a container of it
        done = docker.raw("rmi", "-f", name)
        said = done.stderr
        if not done.returncode or b"No such image" in said:
            return
    pytest.fail(f"the image {name} is left: {said!r}")
