"""Engines behind TLS and ssh: the same calls, and the same promises of a copy, by another way."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.http import Timeouts
from jupyter_volcopy.core.transport import dial_tls
from jupyter_volcopy.errors import EngineUnreachable
from tests.conftest import Command, wait_for
from tests.engine.conftest import content, file_entry, plain, read_all
from tests.engine.ways import engine_socket, make_certificates, ssh_server, tls_front
from tests.faults.scene import hidden_here

MEGA = 1 << 20
NAMES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH")


def _all_calls(engine: Any, container: Any) -> None:
    name = container()
    data = os.urandom(3_000_000)
    engine.extract(name, "/tmp", plain(file_entry("f", data)))
    assert engine.stat(name, "/tmp/f").size == len(data)
    assert content(read_all(engine.open_archive(name, "/tmp/f")), "f") == data
    assert engine.execute(name, ["cat"], stdin=data).stdout == data
    archive = engine.open_archive(name, "/tmp/f")
    archive.readinto(memoryview(bytearray(100)))
    archive.close()
    assert engine.container(name).running
    assert [entry.name for entry in engine.list_dir(name, "/tmp").entries] == ["f"]
    assert not engine.info().local  # never taken for one on this machine
    engine.close()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "tls"
    folder.mkdir()
    make_certificates(folder)
    return folder


@pytest.fixture
def tls_port(certificates: Path, docker: Any) -> Iterator[int]:
    with tls_front(certificates, engine_socket()) as port:
        yield port


def _tls(port: int, certificates: Path | str) -> dict[str, str]:
    return {
        "DOCKER_HOST": f"tcp://localhost:{port}",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(certificates),
        "DOCKER_CONTEXT": "",
        # as on many company machines: it must not override the engine's own authority
        "REQUESTS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt",
        "CURL_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt",
    }


def _opened(env: dict[str, str]) -> Any:
    """The engine which that environment means; the fixture's docker command keeps its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        return open_engine()


def test_tls(certificates: Path, tls_port: int, container: Any) -> None:
    _all_calls(_opened(_tls(tls_port, certificates)), container)


@pytest.mark.parametrize("farewell", [True, False])
def test_what_comes_over_tls_after_our_end_of_input_is_whole(
    certificates: Path, farewell: bool
) -> None:
    """Our half is closed while much of the engine's is on its way; an end it did not say is a cut."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    data = os.urandom(8 * MEGA)
    heard = []

    def engine() -> None:
        near = server.accept()[0]
        with context.wrap_socket(near, server_side=True, suppress_ragged_eofs=False) as peer:
            peer.sendall(data)
            heard.append(peer.recv(100))
            if farewell:
                peer.unwrap()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=engine)
        thread.start()
        port = server.getsockname()[1]
        dial = dial_tls("localhost", port, str(certificates / "ca.pem"), "", "", True)
        sock = dial(Timeouts())
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        assert poll.poll(60_000)  # it has begun, and most of it waits
        sock.send(b"all of it")
        sock.shutdown(socket.SHUT_WR)
        got = bytearray()
        buffer = memoryview(bytearray(1 << 16))
        sock.settimeout(60)
        try:
            while count := sock.recv_into(buffer):
                got += buffer[:count]
            cut = False
        except ConnectionResetError:
            cut = True
        sock.close()
        thread.join(60)
    assert heard == [b"all of it"]
    assert cut is not farewell
    assert bytes(got) == data if farewell else data.startswith(got)


def test_tls_of_a_stranger_is_refused(tls_port: int, tmp_path: Path) -> None:
    empty = tmp_path / "nothing"
    empty.mkdir()
    with pytest.raises(EngineUnreachable, match="Cannot connect to the Docker daemon"):
        _opened(_tls(tls_port, empty)).info()


def test_tls_without_a_certificate_of_ours_is_refused(
    certificates: Path, tls_port: int, dcp: Command
) -> None:
    for name in ("cert.pem", "key.pem"):
        (certificates / name).unlink()
    ran = dcp("any:/etc", ".", env=_tls(tls_port, certificates))
    assert ran.code == 7 and "Traceback" not in ran.err, ran.err


def test_ssh_by_a_stand_in(
    docker: Any, container: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in for ssh that runs the command here: what goes over the wire is docker's own
    # dial-stdio, only the wire is short.
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "ssh"
    script.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nexec "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    _all_calls(open_engine("ssh://me@somewhere"), container)
    script.write_text("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    with pytest.raises(EngineUnreachable, match="publickey"):
        open_engine("ssh://me@somewhere").info()


@pytest.fixture(params=["unix", "tls", "ssh", "tls-context", "ssh-context"])
def way(
    request: pytest.FixtureRequest, docker: Any, tmp_path: Path
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Options and environment with which the commands reach the engine under test."""
    path = engine_socket()
    folder = tmp_path / "way"
    folder.mkdir()
    kind, _, by_context = request.param.partition("-")
    env = dict.fromkeys(NAMES, "")
    if kind == "unix":
        yield ["-H", f"unix://{path}"], env
        return
    config = {"DOCKER_CONFIG": str(tmp_path / "config")}

    def context(endpoint: str) -> list[str]:
        done = subprocess.run(
            ["docker", "context", "create", "far", "--docker", endpoint],
            env={**os.environ, **env, **config},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return ["--context", "far"]

    if kind == "tls":
        make_certificates(folder)
        with tls_front(folder, path) as port:
            if by_context:
                files = ",".join(f"{w}={folder}/{w}.pem" for w in ("ca", "cert", "key"))
                yield context(f"host=tcp://127.0.0.1:{port},{files}"), {**env, **config}
            else:
                yield [], {**env, **_tls(port, folder)}
        return
    with ssh_server(folder, path) as search:
        if by_context:
            options = context("host=ssh://root@engine-host")
            yield options, {**env, **config, "PATH": search}
        else:
            yield [], {**env, "PATH": search, "DOCKER_HOST": "ssh://root@engine-host"}


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _inside(docker: Any, name: str, path: str) -> str:
    return str(docker("exec", name, "sha256sum", path)).split()[0]


@pytest.mark.timeout(400)
def test_copies_by_every_way(
    way: Any, docker: Any, container: Any, dcp: Command, volcopy: Command, tmp_path: Path
) -> None:
    options, env = way
    name = container()
    big = os.urandom(MEGA) * 24
    tree = tmp_path / "tree"
    (tree / "中 文").mkdir(parents=True)
    (tree / "big").write_bytes(big)
    (tree / "中 文" / "small").write_bytes(b"small")
    dcp(*options, "tree", f"{name}:/tmp/", env=env, timeout=180).ok()
    assert _inside(docker, name, "/tmp/tree/big") == _sha(tree / "big")
    dcp(*options, f"{name}:/tmp/tree", "back", env=env, timeout=180).ok()
    assert _sha(tmp_path / "back" / "big") == _sha(tree / "big")
    assert (tmp_path / "back" / "中 文" / "small").read_bytes() == b"small"
    dcp(*options, f"{name}:/tmp/tree/big", f"{name}:/tmp/again", env=env, timeout=180).ok()
    assert _inside(docker, name, "/tmp/again") == _sha(tree / "big")
    out = dcp(*options, f"{name}:/tmp/tree/big", "-", env=env, timeout=180).ok().out_bytes
    assert content(out, "big") == big
    listed = volcopy("ls", *options, "--json", f"{name}:/tmp", env=env).ok().json()
    assert "again" in str(listed)
    missing = dcp(*options, f"{name}:/no/such", ".", env=env)
    assert missing.code == 1 and "Could not find the file /no/such" in missing.err


@pytest.mark.timeout(400)
def test_cancelled_by_every_way(
    way: Any, docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """A copy that is interrupted leaves the old file or the whole new one, and nothing of ours."""
    options, env = way
    name = container()
    docker.sh(name, f"yes new | head -c {60 * MEGA} >/big; echo old >/old")
    want = _inside(docker, name, "/big")
    (tmp_path / "f").write_bytes(b"old\n")
    with dcp.start(*options, f"{name}:/big", "f", env=env) as process:
        wait_for(lambda: hidden_here(tmp_path) or process.poll() is not None, "its beginning", 120)
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        said = process.stderr.read()
    assert code in (0, 130), said
    assert _sha(tmp_path / "f") == want if code == 0 else (tmp_path / "f").read_bytes() == b"old\n"
    assert hidden_here(tmp_path) == []

    (tmp_path / "big").write_bytes(b"new\n" * (15 * MEGA))
    want = _sha(tmp_path / "big")

    def begun() -> bool:
        found = docker.sh(name, "ls -a /")
        return ".volcopy-" in found or process.poll() is not None

    with dcp.start(*options, "big", f"{name}:/old", env=env) as process:
        wait_for(begun, "its beginning", 120)
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        said = process.stderr.read()
    assert code in (0, 130), said
    now = docker.read(name, "/old")
    # who breaks a connection cannot know whether the other end had all of it already
    assert hashlib.sha256(now).hexdigest() == want or (code == 130 and now == b"old\n")
    wait_for(lambda: ".volcopy-" not in docker.sh(name, "ls -a /"), "nothing of ours left", 60)
