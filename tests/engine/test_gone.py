"""An engine that goes away and comes back: every door says so, and works again without a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_volcopy import VolcopyPanel
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.engines import Engines
from jupyter_volcopy.errors import CutStream, EngineUnreachable
from tests.conftest import ROOT, Command, free_port, wait_for
from tests.engine.conftest import file_entry, plain, read_all
from tests.engine.ways import Forwarder, engine_socket
from tests.hub.test_hub_users import FakeHub
from tests.notebook.kernel import running_kernel
from tests.web.running import RunningServer


@pytest.fixture
def forward(docker: Any, tmp_path: Path) -> Iterator[Forwarder]:
    made = Forwarder(tmp_path / "e.sock", engine_socket())
    made.start()
    yield made
    made.stop()


def test_in_the_core(forward: Forwarder, container: Any, tmp_path: Path) -> None:
    name = container("created")
    with open_engine(f"unix://{forward.path}") as engine:
        engine.extract(name, "/tmp", plain(file_entry("f", b"x" * 3_000_000)))
        archive = engine.open_archive(name, "/tmp/f")
        forward.stop()
        try:
            assert len(read_all(archive)) < 3_000_000  # whoever reads the tar misses its end
        except CutStream:
            pass
        for _ in range(3):
            with pytest.raises(EngineUnreachable, match="Cannot connect to the Docker daemon"):
                engine.container(name)
        with pytest.raises(EngineUnreachable):
            Copier(engine).copy(f"{name}:/tmp/f", str(tmp_path / "f"))
        assert not (tmp_path / "f").exists()
        forward.start()
        assert engine.container(name).name == name
        assert Copier(engine).copy(f"{name}:/tmp/f", str(tmp_path / "f")).ok


def test_one_of_several(forward: Forwarder, container: Any) -> None:
    name = container("created")
    with open_engine() as usual:
        both = Engines(usual, lambda _: open_engine(f"unix://{forward.path}"), listed=["far"])
        far = f"engine=far/{name}"
        assert both.container(far).name == far
        forward.stop()
        with pytest.raises(EngineUnreachable):
            both.container(far)
        assert name in [one.name for one in both.containers()]  # the usual one is still there
        forward.start()
        assert both.container(far).name == far
        both.close()


def test_in_a_command(forward: Forwarder, container: Any, dcp: Command, volcopy: Command) -> None:
    name = container("created")
    env = {"DOCKER_HOST": f"unix://{forward.path}", "DOCKER_CONTEXT": ""}
    dcp(f"{name}:/etc", "one", env=env).ok()
    forward.stop()
    for ran in (dcp(f"{name}:/etc", "two", env=env), volcopy("ps", env=env)):
        assert ran.code == 7 and "Cannot connect to the Docker daemon" in ran.err
    forward.start()
    dcp(f"{name}:/etc", "two", env=env).ok()


@pytest.mark.timeout(300)
def test_in_a_server(forward: Forwarder, container: Any, tmp_path: Path) -> None:
    name = container("created")
    server = RunningServer(
        tmp_path / "server", engine_url=f"unix://{forward.path}", requests_per_second=0
    )
    server.start()
    try:

        def names() -> list[str]:
            return [one["name"] for one in _listed(server)]

        assert name in names()
        forward.stop()
        for path in ("containers", f"containers/{name}", f"containers/{name}/entries?path=/etc"):
            status, body, _ = server.request("GET", path)
            assert status == 503, body
            assert "Cannot connect to the Docker daemon" in json.loads(body)["message"]
        forward.start()
        assert name in names()
        assert server.request("GET", f"containers/{name}/entries?path=/etc")[0] == 200
        order = {"source": f"{name}:/etc", "destination": "got"}
        forward.stop()
        status, body, _ = server.request("POST", "transfers", json.dumps(order).encode())
        if status == 201:  # begun, and then it fails with a sentence
            ident = json.loads(body)["id"]
            found = wait_for(lambda: _ended(server, ident), "the end of the transfer")
            assert found["state"] == "failed", found
        else:
            assert status == 503, body
        forward.start()
        status, body, _ = server.request("POST", "transfers", json.dumps(order).encode())
        assert status == 201, body
        ident = json.loads(body)["id"]
        found = wait_for(lambda: _ended(server, ident), "the end of the transfer")
        assert found["state"] == "done", found
    finally:
        server.stop()


@pytest.mark.timeout(300)
def test_in_a_kernel(forward: Forwarder, container: Any, tmp_path: Path) -> None:
    """The same kernel goes on; `%dcp` and `%volcopy` are cells that fail with the sentence."""
    name = container("created")
    env = {"DOCKER_HOST": f"unix://{forward.path}", "DOCKER_CONTEXT": ""}
    with running_kernel(tmp_path, **env) as kernel:

        def problem(line: str) -> str:
            said = [out for out in kernel.run(line) if out["type"] == "error"]
            return said[0]["evalue"] if said else ""

        assert problem(f"%dcp {name}:/etc one") == ""
        forward.stop()
        for line in (f"%dcp {name}:/etc two", "%volcopy ps"):
            assert "Cannot connect to the Docker daemon" in problem(line)
        assert not (tmp_path / "work" / "two").exists()
        forward.start()
        assert problem(f"%dcp {name}:/etc two") == "" and problem("%volcopy ps") == ""
        assert (tmp_path / "work" / "two").is_dir()


def test_in_the_panel(forward: Forwarder, container: Any, tmp_path: Path) -> None:
    name = container("running")
    panel = VolcopyPanel(address=f"unix://{forward.path}", container=name, path="/etc")
    try:
        assert panel.wait(60)

        def shown() -> list[str]:
            return [row.entry.name for row in panel._list.children]

        def said() -> str:
            lost = panel._without.layout.display is None
            assert (panel._work.layout.display == "none") is lost  # no files of what is not there
            return panel._nothing.value if lost else panel._message.value

        before = shown()
        assert "passwd" in before
        forward.stop()
        for press in (panel._up_button, panel._again_button, panel._retry_button):
            press.click()
            assert panel.wait(60)
            assert "Cannot connect to the Docker daemon" in said()
        panel.selection = ["passwd"]
        transfer = panel.pull(str(tmp_path))
        assert panel.wait(60) and transfer.state == "failed"
        assert isinstance(transfer.error, EngineUnreachable)
        forward.start()
        panel._retry_button.click()
        assert panel.wait(60)
        assert "Cannot connect" not in said()
        panel.path = "/etc"
        assert panel.wait(60)
        assert shown() == before
        panel.selection = ["passwd"]
        transfer = panel.pull(str(tmp_path))
        assert panel.wait(60) and transfer.state == "done", transfer.error
    finally:
        panel.close()


class Events:
    """The events of a server, read as they come."""

    def __init__(self, server: RunningServer) -> None:
        request = urllib.request.Request(f"{server.api}events")
        request.add_header("Authorization", f"token {server.token}")
        self._answer = urllib.request.urlopen(request, timeout=120)
        self.seen: list[dict[str, Any]] = []
        self.over = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for line in self._answer:
                if line.startswith(b"data: "):
                    self.seen.append(json.loads(line[6:]))
        except (OSError, HTTPException):
            pass  # a server that ends breaks it off
        finally:
            self.over = True

    def of(self, ident: str, *states: str) -> dict[str, Any] | None:
        """The event by which a transfer came to one of these states."""
        found = (one for one in list(self.seen) if one["id"] == ident and one["state"] in states)
        return next(found, None)


@pytest.mark.timeout(300)
def test_in_a_stream_of_events(
    forward: Forwarder, container: Any, docker: Any, tmp_path: Path
) -> None:
    """It goes on; a transfer cut in the middle fails with a sentence, and nothing half has its name."""
    name = container("running")
    docker.sh(name, "yes what was there | head -c 40000000 >/big")
    server = RunningServer(
        tmp_path / "server", engine_url=f"unix://{forward.path}", requests_per_second=0
    ).start()
    try:
        events = Events(server)
        order = {"source": f"{name}:/big", "destination": "got"}
        forward.slowly()
        ident = server.post("transfers", order)["id"]
        wait_for(lambda: events.of(ident, "running"), "its beginning")
        wait_for(lambda: forward.moved > 1 << 20, "its first bytes")
        forward.stop()
        found = wait_for(lambda: events.of(ident, "failed", "done"), "the end of the transfer")
        assert found["state"] == "failed" and found["error"]["message"], found
        assert list(server.root.iterdir()) == [] and not events.over
        forward.start()
        ident = server.post("transfers", order)["id"]
        found = wait_for(lambda: events.of(ident, "failed", "done"), "the end of the next")
        assert found["state"] == "done" and not events.over, found
        assert (server.root / "got").stat().st_size == 40_000_000
    finally:
        server.stop()


@pytest.mark.timeout(300)
def test_in_the_service_of_a_hub(
    forward: Forwarder, hub: KnownHub, container: Any, tmp_path: Path
) -> None:
    name = container("created")
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JUPYTERHUB_API_TOKEN": "of-the-service",
        "JUPYTERHUB_API_URL": hub.url,
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_SERVICE_NAME": "volcopy",
        "JUPYTERHUB_SERVICE_PREFIX": "/services/volcopy/",
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}",
        "JUPYTERHUB_CLIENT_ID": "service-volcopy",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": '["access:services!service=volcopy"]',
        "VOLCOPY_REQUESTS_PER_SECOND": "0",
    }
    url = f"http://127.0.0.1:{port}/services/volcopy/api/"

    def ask(path: str) -> tuple[int, str]:
        try:
            answer = requests.get(url + path, headers={"Authorization": "token x"}, timeout=60)
        except requests.RequestException:
            return 0, ""
        return answer.status_code, answer.text

    serve = [sys.executable, "-m", "jupyter_volcopy", "service"]
    process = subprocess.Popen(
        [*serve, "--set", f"engine_url=unix://{forward.path}"],
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: ask("containers")[0] == 200 or process.poll(), "the service", 120)
        entries = f"containers/{name}/entries?path=/etc"
        assert ask(entries)[0] == 200, ask(entries)
        for _ in range(2):
            forward.stop()
            for path in ("containers", f"containers/{name}", entries, "status"):
                status, text = ask(path)
                assert status == 503 and "Cannot connect to the Docker daemon" in text, (path, text)
            forward.start()
            for path in ("containers", f"containers/{name}", entries, "status"):
                assert ask(path)[0] == 200, (path, ask(path))
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(60)


class KnownHub(FakeHub):
    """Knows whoever asks as an administrator."""

    def answer(self, path: str) -> Any:
        """What is said to a GET."""
        if "/users?" in path:
            return super().answer(path)
        scopes = ["access:services!service=volcopy", "custom:volcopy:admin"]
        return {"kind": "user", "name": "boss", "admin": True, "groups": [], "scopes": scopes}


@pytest.fixture
def hub() -> Iterator[KnownHub]:
    made = KnownHub()
    yield made
    made.close()


def _listed(server: RunningServer) -> list[dict[str, Any]]:
    found = server.get("containers")
    return found if isinstance(found, list) else found["containers"]


def _ended(server: RunningServer, ident: str) -> dict[str, Any] | None:
    found = server.get(f"transfers/{ident}")
    return found if found["state"] in ("done", "failed", "cancelled") else None
