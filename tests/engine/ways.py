"""Ways to the engine under test: a TLS front and a real sshd, both on this machine's loopback only."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jupyter_volcopy.core.discovery import find_address
from jupyter_volcopy.core.transport import _Secured, _Tls
from tests.conftest import free_port, wait_for

SSHD = "/usr/sbin/sshd"


def engine_socket() -> str:
    """Path of the socket of the engine under test."""
    address, _ = find_address()
    path = address.removeprefix("unix://")
    if not path.startswith("/") or not os.path.exists(path):
        pytest.skip("the engine under test is not behind a socket of this machine")
    return path


def make_certificates(folder: Path) -> None:
    """An authority, a certificate for localhost and one for a client (`ca`, `cert`, `key.pem`)."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl")

    def run(*args: str) -> None:
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "rsa:2048", "-nodes")
    ca = ("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    run("req", "-x509", *key, *ca)
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    for name in ("server", "client"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        run("req", *key, *files, "-subj", f"/CN={name}")
        run(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            *signed,
            "-extfile",
            "names",
            "-out",
            f"{name}.pem",
        )
    shutil.copy(folder / "client.pem", folder / "cert.pem")
    shutil.copy(folder / "client.key", folder / "key.pem")


@contextmanager
def tls_front(folder: Path, behind: str) -> Iterator[int]:
    """A TLS front of a socket, as `dockerd --tlsverify` is one; gives its port.

    Args:
        folder: see `make_certificates`.
        behind: path of the engine's socket.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve(raw: socket.socket) -> None:
        try:
            raw.settimeout(60)
            front = _Tls(raw, context, "")
        except OSError:
            raw.close()
            return
        near, far = socket.socketpair()
        _Secured(near, far, front, "")
        with near, socket.socket(socket.AF_UNIX) as there:
            there.connect(behind)
            up = threading.Thread(target=copy, args=(near, there), daemon=True)
            up.start()
            copy(there, near)
            up.join(60)

    def accept() -> None:
        while True:
            try:
                raw, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(raw,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


@contextmanager
def ssh_server(folder: Path, behind: str) -> Iterator[str]:
    """A real sshd with keys of its own; gives the PATH on which `ssh` knows them, and the host.

    Args:
        folder: an empty directory.
        behind: path of the engine's socket, found there as `DOCKER_HOST`.
    """
    if not os.access(SSHD, os.X_OK) or not shutil.which("ssh") or os.geteuid():
        pytest.skip("needs root and an openssh-server (scripts/test --all-engines gets one)")
    docker = shutil.which("docker")
    assert docker
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n"
        f'SetEnv DOCKER_HOST=unix://{behind} "PATH={Path(docker).parent}:/usr/bin:/bin"\n'
    )
    public = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {public}")
    (folder / "ssh_config").write_text(
        f"Host engine-host\nHostName 127.0.0.1\nPort {port}\nUser root\nIdentityFile {folder}/user\n"
        f"IdentitiesOnly yes\nUserKnownHostsFile {folder}/known\nStrictHostKeyChecking yes\n"
        f"HostKeyAlias [127.0.0.1]:{port}\n"
    )
    bin = folder / "bin"
    bin.mkdir()
    (bin / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    (bin / "ssh").chmod(0o755)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def listening() -> bool:
        if process.poll() is not None:
            pytest.skip(f"sshd does not run here: {(folder / 'log').read_text()[-500:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(listening, "sshd")
        yield f"{bin}:{os.environ['PATH']}"
    finally:
        process.terminate()
        process.wait(30)


FORWARDER = Path(__file__).with_name("forwarder.py")


@contextmanager
def elsewhere(folder: Path, behind: str, name: str = "dockerd") -> Iterator[str]:
    """A socket of an engine that is not here: its process has processes, mounts and a root of its own.

    Args:
        folder: an empty directory.
        behind: path of the engine's socket.
        name: what the process calls itself.
    """
    if os.geteuid():
        pytest.skip("only root can be elsewhere")
    root, path = folder / "root", folder / "s"
    root.mkdir()
    (root / "engine").touch()
    script = 'mount --bind "$1" "$1"; mount --bind "$2" "$1/engine"; shift 2; exec "$@"'
    own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, "sh"]
    serve = [sys.executable, str(FORWARDER), str(path), str(root), name]
    process = subprocess.Popen(
        [*own, str(root), behind, *serve],
        start_new_session=True,
    )

    def listening() -> bool:
        assert process.poll() is None, "the forwarder ended"
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(path)) == 0

    try:
        wait_for(listening, "the forwarder")
        yield f"unix://{path}"
    finally:
        process.kill()
        process.wait(30)


class Forwarder:
    """A socket before the engine's, which goes away and comes back as an engine does.

    Args:
        path: of the socket made here.
        behind: path of the engine's socket.
    """

    def __init__(self, path: Path, behind: str) -> None:
        self.path, self.behind = path, behind
        self.moved = 0  # bytes since `slowly`
        self._slow = False
        self._server: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """Be there."""
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(self.path))
        server.listen(64)
        self._server = server
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def slowly(self) -> None:
        """Carry a megabyte and some more of what comes, and then wait until gone."""
        self.moved, self._slow = 0, True

    def stop(self) -> None:
        """Be gone: no socket, and every connection is broken."""
        server, self._server = self._server, None
        if server is None:
            return
        self._slow = False
        self.path.unlink()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        with self._lock:
            opened, self._open = self._open, []
        for sock in opened:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self.behind)
            with self._lock:
                if self._server is not server:
                    near.close()
                    far.close()
                    return
                self._open += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
                self.moved += len(data)
                if self._slow and self.moved > 2 << 20:
                    wait_for(lambda: not self._slow, "the end", 120)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # One side is gone, so the other must hear of it: an engine whose archive nobody reads any
            # more would hold the container.
            for sock in (source, target):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
