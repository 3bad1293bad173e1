"""A real JupyterHub with DockerSpawner and its proxy, on free ports of this machine, for the tests."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.conftest import PREFIX, ROOT, Docker, free_port

__all__ = ["PASSWORD", "Site", "script"]

PASSWORD = "the password of everybody in the tests"


def script(*args: str, timeout: float = 1500) -> str:
    """Run one of our scripts; the last line it says."""
    done = subprocess.run(
        ["bash", *args], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(args)}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


class Site:
    """One Hub.

    Args:
        docker: the engine's command.
        directory: for its state and log.
        settings: what `scripts/hub_config.py` reads from HUB_SETTINGS.
    """

    def __init__(self, docker: Docker, directory: Path, settings: dict[str, Any]) -> None:
        self.docker = docker
        self.directory = directory
        self.settings = settings
        self.prefix = f"{PREFIX}-h{secrets.token_hex(2)}"
        self.network = f"{self.prefix}-net"
        self.token = secrets.token_hex(16)
        self.log = directory / "hub.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.share = ""
        self.config = ROOT / "scripts/hub_config.py"
        self._tokens: dict[str, str] = {}
        self._containers: dict[tuple[str, str], str] = {}

    # --- beginning and end

    def start(self, image: str, proxy: str) -> None:
        """Start it and wait until it answers."""
        self.docker("network", "create", self.network)
        gateway = self.docker(
            "network", "inspect", self.network, "-f", "{{(index .IPAM.Config 0).Gateway}}"
        ).strip()
        ports = [free_port(address) for address in ("127.0.0.1", "127.0.0.1", gateway, gateway)]
        self.base = f"http://127.0.0.1:{ports[0]}"
        self.hub_api = f"{self.base}/hub/api"
        self.service_url = f"http://{gateway}:{ports[3]}/services/volcopy/"
        self.api = self.service_url + "api/"
        environment = {
            **os.environ,
            "HUB_STATE": str(self.directory),
            "HUB_GATEWAY": gateway,
            "HUB_PORTS": ",".join(map(str, ports)),
            "HUB_PROXY": proxy,
            "HUB_PASSWORD": PASSWORD,
            "HUB_IMAGE": image,
            "HUB_PREFIX": self.prefix,
            "HUB_NETWORK": self.network,
            "HUB_TEST_TOKEN": self.token,
            "HUB_SETTINGS": json.dumps(self.settings),
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(self.config)],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.until(lambda: self._answers(f"{self.hub_api}/"), "the Hub")
        self.until(lambda: self._answers(self.api + "status", 401), "the service")

    def until(self, condition: Any, what: str, timeout: float = 240) -> Any:
        """Wait for something of the Hub; fail at once when its process is gone."""

        def alive() -> Any:
            if self.process is not None and self.process.poll() is not None:
                pytest.fail(f"the Hub ended\n{self.said()}")
            return condition()

        end = time.monotonic() + timeout
        while True:
            found = alive()
            if found:
                return found
            if time.monotonic() > end:
                pytest.fail(f"waited {timeout:g} s for {what}\n{self.said()}")
            time.sleep(0.2)

    def said(self) -> str:
        """The end of the Hub's log."""
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else ""

    @staticmethod
    def _answers(url: str, status: int = 200) -> bool:
        try:
            return requests.get(url, timeout=10, allow_redirects=False).status_code == status
        except requests.RequestException:
            return False

    def stop(self) -> None:
        """End it and remove everything it made."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)
            try:
                os.killpg(process.pid, signal.SIGKILL)  # whoever of its session is left
            except ProcessLookupError:
                pass
        left = self.docker("ps", "-aq", "--filter", f"name={self.prefix}").split()
        if left:
            self.docker.raw("rm", "-fv", *left)
        volumes = self.docker("volume", "ls", "-q", "--filter", f"name={self.prefix}").split()
        if self.share:
            volumes.append(f"volcopy-share-{self.share}")
        if volumes:
            self.docker.raw("volume", "rm", "-f", *volumes)
        self.docker.raw("network", "rm", self.network)

    # --- the Hub

    def hub(self, method: str, path: str, body: Any = None, ok: tuple[int, ...] = ()) -> Any:
        """One call of the Hub's REST interface, as its tester."""
        answer = requests.request(
            method,
            self.hub_api + path,
            json=body,
            headers={"Authorization": f"token {self.token}"},
            timeout=300,
        )
        assert answer.ok or answer.status_code in ok, f"{method} {path}: {answer.text}"
        return answer.json() if answer.text else None

    def add(self, *names: str) -> None:
        """Make users."""
        for name in names:
            self.hub("POST", f"/users/{quote(name)}", ok=(409,))

    def token_of(self, user: str) -> str:
        """A token of a user with all their rights."""
        if user not in self._tokens:
            made = self.hub("POST", f"/users/{quote(user)}/tokens", {"note": "tests"})
            self._tokens[user] = made["token"]
        return self._tokens[user]

    def _server(self, user: str, server: str) -> dict[str, Any]:
        model = self.hub("GET", f"/users/{quote(user)}?include_stopped_servers=1")
        found: dict[str, Any] = model["servers"].get(server, {})
        return found

    def spawn(self, *servers: tuple[str, str]) -> None:
        """Start servers, each `(user, name)`, side by side, and wait for all."""
        for user, name in servers:
            path = f"/users/{quote(user)}/server" + (f"s/{quote(name)}" if name else "")
            self.hub("POST", path)
        for user, name in servers:
            self.until(lambda u=user, n=name: self._server(u, n).get("ready"), f"{user}/{name}")

    def halt(self, user: str, name: str = "") -> None:
        """Stop a server and wait."""
        path = f"/users/{quote(user)}/server" + (f"s/{quote(name)}" if name else "")
        self.hub("DELETE", path)
        self.until(
            lambda: (
                not self._server(user, name).get("ready")
                and not self._server(user, name).get("pending")
            ),
            f"the end of {user}/{name}",
        )

    def container(self, user: str, server: str = "") -> str:
        """The name of a server's container, as it is found on the engine, not asked of the Hub."""
        if (user, server) not in self._containers:
            self._containers[user, server] = self._find(user, server)
        return self._containers[user, server]

    def _find(self, user: str, server: str) -> str:
        names = self.docker(
            "ps", "-a", "--filter", f"name={self.prefix}", "--format", "{{.Names}}"
        ).split()
        wanted = [
            name
            for name in names
            if f"JUPYTERHUB_USER={user}\n" in (env := self._env(name))
            and f"JUPYTERHUB_SERVER_NAME={server}\n" in env
        ]
        assert len(wanted) == 1, (user, server, names)
        return wanted[0]

    def _env(self, name: str) -> str:
        return self.docker("inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", name)

    # --- the service

    def call(
        self, user: str | None, method: str, path: str, *, token: str = "", **keywords: Any
    ) -> requests.Response:
        """One call of the service's REST interface, by a user's token (None: by nobody)."""
        headers = keywords.pop("headers", {})
        if token or user is not None:
            headers["Authorization"] = f"token {token or self.token_of(str(user))}"
        return requests.request(
            method,
            self.api + path,
            headers=headers,
            timeout=120,
            allow_redirects=False,
            **keywords,
        )

    def transfer(self, user: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """Start a transfer and wait for its end."""
        answer = self.call(user, "POST", "transfers", json=wanted)
        assert answer.status_code == 201, answer.text
        return self.over(user, answer.json()["id"])

    def over(self, user: str, ident: str) -> dict[str, Any]:
        """A transfer, once it is over."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.call(user, "GET", f"transfers/{ident}").json()
            return found if found["state"] in ("done", "failed", "cancelled") else None

        found: dict[str, Any] = self.until(look, "the transfer")
        return found
