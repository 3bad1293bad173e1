"""The contract of `Engine`: what it says of containers, images, volumes and single paths."""

from __future__ import annotations

import os
import socket

import pytest

from jupyter_volcopy.core.discovery import find_address, open_engine
from jupyter_volcopy.core.http import Timeouts
from jupyter_volcopy.core.model import Kind
from jupyter_volcopy.core.service_engine import ServiceEngine
from jupyter_volcopy.errors import (
    AccessDenied,
    EngineError,
    EngineUnreachable,
    NoSuchContainer,
    NoSuchPath,
    NotFound,
    UsageError,
)
from tests.engine.conftest import file_entry, landed, plain

STATES = ["created", "running", "paused", "stopped"]


def test_info(engine, docker):
    info = engine.info()
    assert info.version == docker("version", "-f", "{{.Server.Version}}")
    assert info.api_version and info.address


def test_container_by_name_id_and_prefix(engine, docker, container):
    name = container("created", "--label", "a=b", "-u", "1000", "--tmpfs", "/scratch")
    found = engine.container(name)
    assert (found.name, found.state, found.user) == (name, "created", "1000")
    assert found.labels["a"] == "b" and found.tmpfs == ("/scratch",)
    assert found.id == docker.inspect(name)["Id"]
    assert engine.container(found.id) == found
    assert engine.container(found.id[:20]).id == found.id
    listed = {item.id: item for item in engine.containers()}[found.id]
    assert (listed.name, listed.state) == (name, "created")
    assert "env" not in found.to_dict()


def test_exact_name_wins_over_id_prefix(engine, docker, container):
    first = docker.inspect(container("created"))["Id"]
    second = container("created")
    docker("rename", second, first[:10])  # a name that is also the start of another's id
    try:
        assert engine.container(first[:10]).id != first
    finally:
        docker("rename", first[:10], second)


@pytest.mark.parametrize("name", ["no-such-one", "", "..", "a/b", "a?b", "ä", "x" * 300, "a\nb"])
def test_no_such_container(engine, name):
    for call in (
        lambda: engine.container(name),
        lambda: engine.stat(name, "/"),
        lambda: engine.open_archive(name, "/"),
        lambda: engine.extract(name, "/", plain()),
        lambda: engine.changes(name),
        lambda: engine.execute(name, ["true"]),
        lambda: engine.list_dir(name, "/"),
    ):
        with pytest.raises(NoSuchContainer, match="No such container"):
            call()


def test_part_of_a_name_names_nothing(engine, container):
    name = container("created")
    with pytest.raises(NoSuchContainer):
        engine.container(name[:-1])


def test_image(engine, image):
    assert engine.image(image)["Id"].startswith("sha256:")
    with pytest.raises(NotFound):
        engine.image("volcopy-no-such-image")


def test_volumes_say_who_uses_them(engine, container, volume):
    name = volume("--label", "x=y")
    user = container("created", "-v", f"{name}:/data:ro")
    found = {item.name: item for item in engine.volumes()}[name]
    assert found.labels == {"x": "y"} and not found.anonymous
    (use,) = found.used_by
    assert (use.container, use.state, use.target, use.read_only) == (user, "created", "/data", True)
    (mount,) = engine.container(user).mounts
    assert (mount.type, mount.name, mount.target, mount.read_only) == (
        "volume",
        name,
        "/data",
        True,
    )


def test_changes(engine, container):
    name = container("created")
    engine.extract(name, "/tmp", plain(file_entry("new", b"x")))
    assert ("A", "/tmp/new") in [(item.kind, item.path) for item in engine.changes(name)]


@pytest.mark.parametrize("state", STATES)
def test_stat(engine, container, state):
    name = container(state)
    engine.extract(
        name,
        "/tmp",
        plain(file_entry("f", b"12345", mode=0o4751, mtime_ns=1_600_000_000 * 10**9)),
    )
    stat = engine.stat(name, "/tmp/f")
    assert (stat.name, stat.kind, stat.size) == ("f", Kind.FILE, 5)
    assert stat.mode == landed(engine, 0o4751)
    assert stat.mtime_ns == 1_600_000_000 * 10**9
    stat = engine.stat(name, "/tmp")
    assert (stat.kind, stat.mode) == (Kind.DIRECTORY, 0o1777)
    assert engine.stat(name, "/").kind is Kind.DIRECTORY
    with pytest.raises(NoSuchPath) as caught:
        engine.stat(name, "/no/such")
    assert f"Could not find the file /no/such in container {name}" in str(caught.value)


def test_stat_of_a_link_is_of_the_link(engine, docker, container):
    name = container()
    docker.sh(name, "ln -s tmp /link; ln -s /nowhere /dangling; mkfifo /pipe; mknod /dev0 c 1 3")
    stat = engine.stat(name, "/link")
    assert (stat.kind, stat.link_target) == (Kind.SYMLINK, "/tmp")
    assert engine.stat(name, "/dangling").kind is Kind.SYMLINK
    assert engine.stat(name, "/pipe").kind is Kind.FIFO
    assert engine.stat(name, "/dev0").kind is Kind.CHARACTER
    seen = engine.stat(name, "/link", user="0:0")
    assert (seen.kind, seen.link_target, seen.uid) == (Kind.SYMLINK, "/tmp", 0)


def test_json(engine, container):
    name = container("created")
    if isinstance(engine, ServiceEngine):
        with pytest.raises(AccessDenied):
            engine.json("POST", f"/containers/{name}/rename", {"name": name + "x"})
        return
    engine.json("POST", f"/containers/{name}/rename", {"name": name + "x"})
    try:
        assert engine.container(name + "x").name == name + "x"
    finally:
        engine.json("POST", f"/containers/{name}x/rename", {"name": name})
    with pytest.raises(NoSuchContainer):
        engine.json("POST", "/containers/no-such-one/start")


# --- finding the engine


def test_no_engine_says_docker_s_words(tmp_path):
    with pytest.raises(EngineUnreachable, match="Cannot connect to the Docker daemon at unix://"):
        open_engine(f"unix://{tmp_path}/none.sock").info()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        port = taken.getsockname()[1]
        with pytest.raises(
            EngineUnreachable, match="Cannot connect to the Docker daemon at tcp://"
        ):
            open_engine(f"tcp://127.0.0.1:{port}").info()


def test_something_else_than_an_engine(tmp_path):
    import threading

    path = str(tmp_path / "s")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(4)

    def answer() -> None:
        peer, _ = server.accept()
        peer.recv(4096)
        peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n")
        peer.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    with pytest.raises(EngineError, match="garbage"):
        open_engine(path, timeouts=Timeouts(answer=20)).info()
    thread.join(30)
    server.close()


def test_addresses(monkeypatch, tmp_path):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert find_address() == ("unix:///var/run/docker.sock", None)
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    assert find_address() == ("tcp://10.0.0.1:2375", None)
    assert find_address("unix:///x.sock")[0] == "unix:///x.sock"
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    address, tls = find_address()
    assert address == "tcp://10.0.0.1:2375" and tls is not None and tls.verify
    assert open_engine("ssh://me:secret@host:22").address == "ssh://me@host:22"
    for bad in ("ftp://x", "tcp://", "tcp://h:99999999", "ssh://-oProxyCommand=x", "nonsense"):
        with pytest.raises(UsageError):
            open_engine(bad)


def test_contexts(monkeypatch, tmp_path):
    import hashlib
    import json

    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    folder = tmp_path / "contexts" / "meta" / hashlib.sha256(b"far").hexdigest()
    os.makedirs(folder)
    meta = {"Name": "far", "Endpoints": {"docker": {"Host": "unix:///far.sock"}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    assert find_address("", "far") == ("unix:///far.sock", None)
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    assert find_address()[0] == "unix:///far.sock"
    with pytest.raises(UsageError, match="context not found"):
        find_address("", "nope")
