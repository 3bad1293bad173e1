"""A Jupyter server with only our extension, as a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


class RunningServer:
    """Started by `start`; `url` is where it listens, `token` what it wants.

    Args:
        directory: for its files; `root` in it is the root directory.
        settings: of `Volcopy`.
        server: of `ServerApp`.
    """

    def __init__(
        self, directory: Path, *, server: dict[str, Any] | None = None, **settings: Any
    ) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.token = secrets.token_hex(16)
        self.log = directory / "server.log"
        self.config = {
            "ServerApp": {
                "jpserver_extensions": {"jupyter_volcopy": True},
                "ip": "127.0.0.1",
                "port": 0,
                "port_retries": 0,
                "open_browser": False,
                "allow_root": True,
                "allow_unauthenticated_access": False,
                "root_dir": str(self.root),
                **(server or {}),
            },
            "IdentityProvider": {"token": self.token},
            "Volcopy": settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, **environment: str) -> RunningServer:
        """Start it, and wait until it answers."""
        config = self.directory / "config.json"
        config.write_text(json.dumps(self.config))
        env = {
            **os.environ,
            "HOME": str(self.directory),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "JUPYTER_CONFIG_DIR": str(self.directory / "jupyter"),
            "JUPYTER_DATA_DIR": str(self.directory / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.directory / "runtime"),
            "JUPYTER_NO_CONFIG": "0",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            **environment,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyter_server", f"--config={config}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=self.directory,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            for file in (self.directory / "runtime").glob("jpserver-*.json"):
                try:
                    self.url = json.loads(file.read_text())["url"]
                    self.get("status")
                    return self
                except (OSError, ValueError, KeyError):
                    continue
            time.sleep(0.1)
        self.stop()
        raise AssertionError(f"the server does not answer: {self.log.read_text()[-3000:]}")

    @property
    def api(self) -> str:
        """Base of the interface, with a slash."""
        return f"{self.url}volcopy/api/"

    def request(
        self, method: str, path: str, data: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, Any]:
        """Status, body and headers of one request."""
        made = urllib.request.Request(self.api + path, data=data, method=method)
        made.add_header("Authorization", f"token {self.token}")
        for name, value in headers.items():
            made.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(made, timeout=120) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read(), refused.headers

    def get(self, path: str) -> Any:
        """JSON of a GET."""
        status, body, _ = self.request("GET", path)
        if status != 200:
            raise OSError(f"{path}: {status} {body!r}")
        return json.loads(body)

    def post(self, path: str, value: Any) -> Any:
        """JSON of a POST."""
        status, body, _ = self.request("POST", path, json.dumps(value).encode())
        assert status < 300, body
        return json.loads(body) if body else None

    def memory(self) -> int:
        """Bytes of resident memory."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def kill(self) -> None:
        """As an out-of-memory killer does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)
        for file in (self.directory / "runtime").glob("jpserver-*"):
            file.unlink()

    def stop(self) -> None:
        """As it is meant to be stopped."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(60)
