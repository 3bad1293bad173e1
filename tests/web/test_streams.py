"""Slow, vanished and large: no container waits for anybody, memory stays flat, the loop goes on."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from urllib.parse import urlsplit

import pytest

from tests.conftest import wait_for
from tests.web.running import RunningServer

BIG = 256 << 20
GROWTH = 100 << 20


@pytest.fixture(scope="module")
def server(docker, tmp_path_factory):
    made = RunningServer(tmp_path_factory.mktemp("server"), max_streams_per_user=2)
    yield made.start()
    made.stop()


def big_file(docker, name: str, size: int = BIG) -> None:
    docker.sh(name, f"dd if=/dev/zero of=/big bs=1 count=1 seek={size - 1} 2>/dev/null")


def raw(server: RunningServer, method: str, path: str, *headers: str) -> socket.socket:
    """A connection on which one request was begun."""
    place = urlsplit(server.api)
    sock = socket.create_connection((place.hostname, place.port), 60)
    lines = [
        f"{method} {place.path}{path} HTTP/1.1",
        f"Host: {place.netloc}",
        f"Authorization: token {server.token}",
        *headers,
    ]
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return sock


def free_again(server: RunningServer, name: str) -> None:
    """Both places for streams are free."""
    held = [raw(server, "GET", f"containers/{name}/file?path=/etc/passwd") for _ in range(2)]
    for sock in held:
        sock.close()
    wait_for(
        lambda: server.request("GET", f"containers/{name}/file?path=/etc/passwd")[0] == 200,
        "a place for a stream",
    )


def test_a_slow_reader_holds_no_container(server, container, docker):
    name = container()
    big_file(docker, name)
    with raw(server, "GET", f"containers/{name}/file?path=/big") as sock:
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
        docker.sh(name, "true")  # would wait for ever if the stream were open
        assert docker.inspect(name)["State"]["Status"] == "running"
    free_again(server, name)


def test_a_reader_that_goes_away_frees_everything(server, container, docker):
    name = container()
    big_file(docker, name)
    for _ in range(4):
        sock = raw(server, "GET", f"containers/{name}/archive?path=/big")
        sock.close()
    for _ in range(2):
        with raw(server, "GET", f"containers/{name}/archive?path=/big") as sock:
            sock.recv(1000)
    docker.sh(name, "true")
    free_again(server, name)


def test_a_slow_sender_holds_no_container(server, container, docker):
    name = container()
    for route in ("file", "archive"):
        path = f"containers/{name}/{route}?path=/tmp/new"
        with raw(server, "PUT", path, "Content-Length: 50000000") as sock:
            sock.sendall(b"x" * 2_000_000)
            docker.sh(name, "true")
    free_again(server, name)
    assert docker.sh(name, "ls -A /tmp") == ""


def fetch(server: RunningServer, path: str, **headers: str) -> int:
    """Read a whole response, keeping nothing; its length."""
    place = urlsplit(server.api)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
    try:
        connection.request(
            "GET", place.path + path, headers={"Authorization": f"token {server.token}", **headers}
        )
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        total = 0
        while piece := answer.read(1 << 20):
            total += len(piece)
        return total
    finally:
        connection.close()


def send(server: RunningServer, path: str, pieces, size: int | None) -> tuple[int, bytes]:
    """Send a body, by its length or in chunks."""
    place = urlsplit(server.api)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=300)
    headers = {"Authorization": f"token {server.token}"}
    if size is not None:
        headers["Content-Length"] = str(size)
    try:
        connection.request(
            "PUT", place.path + path, body=pieces, headers=headers, encode_chunked=size is None
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def zeros(size: int):
    piece = bytes(1 << 20)
    for _ in range(size >> 20):
        yield piece


def test_memory_stays_flat(server, container, docker, tmp_path):
    name = container()
    big_file(docker, name)
    fetch(server, f"containers/{name}/file?path=/etc/passwd")
    before = server.memory()
    assert fetch(server, f"containers/{name}/file?path=/big") == BIG
    assert fetch(server, f"containers/{name}/archive?path=/big") > BIG
    after_out = server.memory()
    status, body = send(server, f"containers/{name}/file?path=/up1", zeros(BIG), BIG)
    assert status == 201, body
    from jupyter_volcopy.core.model import Entry, Kind
    from jupyter_volcopy.core.tar_writer import END, encode_entry

    def tar():
        yield encode_entry(Entry("up3", Kind.FILE, size=BIG))
        yield from zeros(BIG)
        yield END

    status, body = send(server, f"containers/{name}/archive?path=/tmp", tar(), None)
    assert status == 200, body
    growth = max(after_out, server.memory()) - before
    assert growth < GROWTH, f"{growth >> 20} MiB more"
    sizes = docker.sh(name, "stat -c %s /up1 /tmp/up3").split()
    assert sizes == [str(BIG)] * 2
    docker.sh(name, "rm /up1 /tmp/up3")


def test_a_download_that_fails_is_cut(docker, container, tmp_path):
    """Nobody takes a part for the whole, and the reason can be asked for."""
    name = container()
    big_file(docker, name)
    small = RunningServer(tmp_path, spool_limit=32 << 20).start()
    try:
        mark = "0123456789abcdef"
        path = f"containers/{name}/archive?path=/big"
        with raw(small, "GET", path, f"X-Volcopy-Request: {mark}") as sock:
            sock.recv(1)
            docker.sh(name, "true")
            wait_for(lambda: small.request("GET", "status")[0] == 200, "the server")
            answer = b""
            time.sleep(0)
            while piece := sock.recv(1 << 20):
                answer = (answer + piece)[-100:]
        assert not answer.endswith(b"0\r\n\r\n")
        status, body, _ = small.request("GET", f"errors/{mark}")
        assert status == 200 and json.loads(body)["code"] == "no-space"
        assert small.request("GET", f"errors/{mark}")[0] == 404  # told once
    finally:
        small.stop()


def test_killed_and_started_again(docker, container, volume, tmp_path):
    """Nothing half-written, nothing left, and the next server says what was cut (safety F15)."""
    name = container()
    big_file(docker, name, 2 << 30)
    server = RunningServer(tmp_path, max_transfers=5).start()
    try:
        (server.root / "old").mkdir()
        (server.root / "up").write_bytes(b"")
        os.truncate(server.root / "up", 2 << 30)
        begun = [
            server.post("transfers", {"source": f"{name}:/big", "destination": "new"}),
            server.post("transfers", {"source": f"{name}:/big", "destination": "old"}),
        ]
        wait_for(
            lambda: any(
                one["progress"]["bytes"] or one["state"] == "done"
                for one in server.get("transfers")["transfers"]
            ),
            "something to move",
        )
        server.kill()
        assert not (server.root / "new").exists() or (server.root / "new").stat().st_size == 2 << 30
        server.start()
        lost = {one["id"]: one for one in server.get("transfers")["transfers"]}
        for one in begun:
            if one["id"] in lost:  # else it was done before the kill
                assert lost[one["id"]]["state"] == "failed"
                assert lost[one["id"]]["error"]["code"] == "interrupted"
        assert lost
        wait_for(
            lambda: (
                not [file for file in server.root.rglob("*") if file.name.startswith(".volcopy-")]
            ),
            "the sweep",
        )
        docker.sh(name, "true")
    finally:
        server.stop()
