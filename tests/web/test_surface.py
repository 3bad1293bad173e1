"""A server needs little of an engine: it works behind a socket that lets only these calls through."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, wait_for
from tests.engine.ways import engine_socket
from tests.web.running import RunningServer

TABLE = (ROOT / "docs" / "rest.md").read_text().partition("## What it needs of an engine")[2]
NEEDED = [
    (method, re.compile("/v[0-9.]+" + re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + "|" +
                        re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))))
    for method, path in re.findall(r"`([A-Z]+) (/\S+?)`", TABLE.partition("\n## ")[0])
]  # fmt: skip
REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.[01]\r\n")


class Filter:
    """A socket before the engine's: a request that is not needed breaks its connection."""

    def __init__(self, path: Path) -> None:
        self.seen: set[str] = set()
        self.refused: list[str] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self._server.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        engine = socket.socket(socket.AF_UNIX)
        engine.connect(engine_socket())
        back = threading.Thread(target=self._back, args=(engine, client), daemon=True)
        back.start()
        with client, engine:
            try:
                while data := client.recv(1 << 20):
                    begun = REQUEST.match(data)
                    if begun and not self._allowed(begun[1].decode(), begun[2].decode()):
                        return
                    engine.sendall(data)
                engine.shutdown(socket.SHUT_WR)
            except OSError:
                return
            back.join()

    @staticmethod
    def _back(engine: socket.socket, client: socket.socket) -> None:
        try:
            while data := engine.recv(1 << 20):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            try:
                engine.shutdown(socket.SHUT_RDWR)  # whoever asked is gone
            except OSError:
                pass

    def _allowed(self, method: str, target: str) -> bool:
        path = target.partition("?")[0]
        for known, pattern in NEEDED:
            if known == method and pattern.fullmatch(path):
                self.seen.add(f"{method} {pattern.pattern}")
                return True
        self.refused.append(f"{method} {path}")
        return False

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def filtered(tmp_path: Path) -> Iterator[Filter]:
    made = Filter(tmp_path / "filter.sock")
    yield made
    made.close()


def test_nothing_else_is_asked(filtered, container, volume, docker, tmp_path):
    """Looking, files, archives, transfers both ways, volumes and a rescue (safety S40)."""
    kept = volume()
    name, other = container("running", "-v", f"{kept}:/data"), container("created")
    docker.sh(name, "mkdir /d; echo text > /d/f; echo lost > /tmp/lost")
    server = RunningServer(
        tmp_path, engine_url=f"unix://{tmp_path}/filter.sock", requests_per_second=0
    ).start()

    def ended(path: str, order: dict) -> dict:
        ident = server.post(path, order)["id"]

        def over() -> dict | None:
            found = server.get(f"transfers/{ident}")
            return found if found["state"] in ("done", "failed", "cancelled") else None

        return wait_for(over, "the transfer")

    try:
        for path in (
            "status", "containers", "volumes", "shares", f"volumes/{kept}",
            f"containers/{name}", f"containers/{name}/mounts", f"containers/{name}/changes",
            f"containers/{name}/forecast", f"containers/{name}/entries?path=/d",
            f"containers/{other}/entries?path=/etc", f"volumes/{kept}/entries?path=/",
        ):  # fmt: skip
            server.get(path)
        assert server.request("GET", f"containers/{name}/file?path=/d/f")[1] == b"text\n"
        assert server.request("PUT", f"containers/{other}/file?path=/new", b"new")[0] == 201
        assert server.request("GET", f"containers/{name}/archive?path=/d")[0] == 200
        os.mkdir(server.root / "up")
        (server.root / "up" / "a").write_text("a")
        for source, destination in (
            (f"{name}:/d", "."),
            ("up", f"{name}:/tmp"),
            (f"{name}:/d", f"{other}:/again"),
            (f"{name}:/d/f", f"volume={kept}:/f"),
        ):
            done = ended("transfers", {"source": source, "destination": destination})
            assert done["state"] == "done", done
        done = ended(f"containers/{name}/rescue", {"destination": "saved"})
        assert done["state"] == "done", done
        assert json.loads((server.root / "saved" / "manifest.json").read_text())["entries"]
    finally:
        server.stop()
    assert not set(filtered.refused), set(filtered.refused)
    needed = {f"{method} {pattern.pattern}" for method, pattern in NEEDED}
    # of images only those go that an earlier helper left
    needed = {one for one in needed if not one.startswith("DELETE") or "images" not in one}
    assert needed - filtered.seen == set(), "the table names what nothing here uses"
