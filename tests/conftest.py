"""What every test on a real engine shares: containers, volumes, images and the commands themselves.

Everything a test makes carries `PREFIX`, a name of this process, and is removed when the test ends. At the end
of the session nothing of that name may be left. HOME and the state directory are fresh for every test.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PREFIX = f"volcopy-test-{os.urandom(4).hex()}"
HELPER_LABEL = "jupyter-volcopy.helper"
IMAGE = "volcopy-test-image"
EMPTY_IMAGE = "volcopy-test-empty"
CREATED_ONLY = bool(os.environ.get("VOLCOPY_TEST_CREATED_ONLY"))
"""The engine under test starts no containers here (podman): tests of running ones are skipped."""

ACCESS = os.environ.get("VOLCOPY_TEST_ACCESS", "")
"""How containers are reached where a test does not say: `api`, `auto`; "": as by default."""

# HOME changes below, but the engine stays the one of the person who runs the tests.
if "DOCKER_CONFIG" not in os.environ and (Path.home() / ".docker").is_dir():
    os.environ["DOCKER_CONFIG"] = str(Path.home() / ".docker")


class DockerError(Exception):
    """The docker command failed; the text is what it said."""


class Docker:
    """The docker command: `docker("ps", "-a")` returns what it printed."""

    def raw(
        self, *args: str, stdin: bytes | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it and return the finished process, whatever its exit status."""
        return subprocess.run(
            ["docker", *args],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def bytes(self, *args: str, stdin: bytes | None = None, timeout: float = 120) -> bytes:
        """Run it and return its output as it is."""
        done = self.raw(*args, stdin=stdin, timeout=timeout)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise DockerError(f"docker {' '.join(args)}: exit {done.returncode}: {said}")
        return done.stdout

    def __call__(self, *args: str, stdin: bytes | None = None, timeout: float = 120) -> str:
        """Run it and return its output as text, without the last newline."""
        out = self.bytes(*args, stdin=stdin, timeout=timeout)
        return out.decode("utf-8", "surrogateescape").removesuffix("\n")

    def inspect(self, name: str, kind: str = "container") -> dict[str, Any]:
        """The raw inspect of a container (or `volume`, `image`)."""
        found: dict[str, Any] = json.loads(self(kind, "inspect", name))[0]
        return found

    def sh(self, name: str, script: str, *, user: str = "0:0") -> str:
        """Run a shell script in a running container."""
        return self("exec", "-u", user, name, "sh", "-c", script)

    def read(self, name: str, path: str) -> bytes:
        """The bytes of a file in a running container."""
        return self.bytes("exec", "-u", "0:0", name, "cat", path)

    def write(self, name: str, path: str, data: bytes) -> None:
        """Make a file in a running container."""
        self.bytes(
            "exec", "-i", "-u", "0:0", name, "sh", "-c", 'cat > "$1"', "sh", path, stdin=data
        )


def comes(condition: Callable[[], Any], timeout: float = 60) -> Any:
    """Poll until `condition()` is true, at most so many seconds; its last value."""
    end = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() <= end:
        time.sleep(0.02)
    return value


def wait_for(condition: Callable[[], Any], what: str = "it", timeout: float = 60) -> Any:
    """Poll until `condition()` is true and return its value; fail after `timeout` seconds."""
    value = comes(condition, timeout)
    if not value:
        pytest.fail(f"waited {timeout:g} s for {what}")
    return value


_ports_given: set[int] = set()


def free_port(address: str = "127.0.0.1") -> int:
    """A port for a server that cannot be told to choose one by itself.

    Outside of the range the kernel gives ports from, and each worker has its own ones: nobody takes it
    between now and the server's start.
    """
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    end = ephemeral if ephemeral > 15_000 else 65_536  # where all are the kernel's, any will do
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for port in random.sample(range(10_000 + worker, end, workers), 1000):
        with socket.socket() as one:
            try:
                one.bind((address, port))
            except OSError:
                continue
        if port not in _ports_given:
            _ports_given.add(port)
            return port
    pytest.fail(f"no free port at {address}")


def _engine_answers() -> bool:
    if not shutil.which("docker"):
        return False
    try:
        return Docker().raw("version", "-f", "{{.Server.Version}}", timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """The docker command on the real engine; at the end nothing of ours may be left there."""
    if not _engine_answers():
        reason = "no Docker engine answers (scripts/engine gets one)"
        if os.environ.get("VOLCOPY_TEST_ENGINE") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    run = Docker()
    yield run

    def left(*listing: str) -> list[str]:
        return run(*listing, "--filter", f"name={PREFIX}").split()

    # what the engine is removing by itself (`--rm`) is not left
    comes(lambda: not left("ps", "-aq") and not left("volume", "ls", "-q"), 20)
    containers, volumes = left("ps", "-aq"), left("volume", "ls", "-q")
    if containers or volumes:
        shown = run("ps", "-a", "--filter", f"name={PREFIX}")
        if containers:
            run.raw("rm", "-fv", *containers)
        if volumes:
            run.raw("volume", "rm", "-f", *volumes)
        pytest.fail(f"left on the engine after the tests:\n{shown}\nvolumes: {volumes}")


def _script(*args: str) -> str:
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "image"), *args],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"scripts/image {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def image(docker: Docker) -> str:
    """Name of the busybox image (users root and nb, uid 1000)."""
    return _script(IMAGE)


@pytest.fixture(scope="session")
def empty_image(docker: Docker) -> str:
    """Name of an image without any program: its containers can only be created."""
    return _script("--empty", EMPTY_IMAGE)


@pytest.fixture(scope="session")
def busybox() -> str:
    """Path of a static busybox on this machine."""
    return _script("--busybox")


@pytest.fixture
def volume(docker: Docker) -> Iterator[Callable[..., str]]:
    """`volume(*create_args) -> name`; removed at the end, helpers that still hold it are an error."""
    made: list[str] = []

    def make(*args: str) -> str:
        name = f"{PREFIX}-v{os.urandom(3).hex()}"
        made.append(name)
        docker("volume", "create", *args, name)
        return name

    yield make
    held = []
    for name in made:
        users = ("ps", "-aq", "--filter", f"volume={name}")
        comes(lambda users=users: not docker(*users), 20)  # one may be on its way out
        left = docker(*users).split()
        held += left
        if left:
            docker.raw("rm", "-f", *left)
        docker.raw("volume", "rm", "-f", name)
    assert not held, f"containers {held} still used the test's volumes: a helper was left behind"


@pytest.fixture
def container(
    docker: Docker,
    volume: Callable[..., str],  # only so that containers go before the volumes they use
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., str]]:
    """`container(state, *run_args, image=…, command=…, name=…) -> name`, removed at the end with its volumes.

    States: running, created, stopped, paused. `run_args` are `docker create`'s options. Without a network
    unless they name one.
    """
    made: list[str] = []

    def make(
        state: str = "running",
        *run_args: str,
        image: str = "",
        command: Sequence[str] = ("sleep", "100000"),
        name: str = "",
    ) -> str:
        if CREATED_ONLY and state != "created":
            pytest.skip("this engine starts no containers here")
        image = image or request.getfixturevalue("image")
        name = f"{PREFIX}-{name or 'c'}{os.urandom(3).hex()}"
        made.append(name)
        network = [] if any(a.startswith("--net") for a in run_args) else ["--network", "none"]
        docker("create", "--name", name, *network, *run_args, image, *command)
        if state in ("running", "paused", "stopped"):
            docker("start", name)
        if state == "paused":
            docker("pause", name)
        elif state == "stopped":
            docker("kill", name)
            docker("wait", name)
        elif state not in ("running", "created"):
            raise ValueError(state)
        return name

    yield make
    if made:
        docker.raw("rm", "-fv", *made)


@dataclass
class Ran:
    """A finished command: exit status, output and errors (also as bytes)."""

    code: int
    out_bytes: bytes
    err_bytes: bytes

    @property
    def out(self) -> str:
        return self.out_bytes.decode("utf-8", "surrogateescape")

    @property
    def err(self) -> str:
        return self.err_bytes.decode("utf-8", "surrogateescape")

    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out_bytes)

    def ok(self) -> Ran:
        """Itself, once it is sure that the exit status was 0."""
        assert self.code == 0, f"exit {self.code}\nout: {self.out}\nerr: {self.err}"
        return self


def command_line(name: str) -> list[str]:
    """How `dcp` or `volcopy` is started: the console script of this environment, else the module."""
    script = Path(sys.executable).parent / name
    if script.is_file() and os.access(script, os.X_OK):
        return [str(script)]
    return [sys.executable, "-m", f"jupyter_volcopy.cli.{name}"]


class Command:
    """A command of ours as a real process, in the test's directory."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory
        self.argv = command_line(name)

    def start(
        self,
        *args: str,
        cwd: str | os.PathLike[str] | None = None,
        env: dict[str, str] | None = None,
        **popen: Any,
    ) -> subprocess.Popen[bytes]:
        """Start it and return the process (a session of its own, so that signals reach just it)."""
        full = {**os.environ, **(env or {})}
        full["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), full.get("PYTHONPATH", "")]))
        for stream in ("stdin", "stdout", "stderr"):
            popen.setdefault(stream, subprocess.DEVNULL if stream == "stdin" else subprocess.PIPE)
        popen.setdefault("start_new_session", True)
        return subprocess.Popen([*self.argv, *args], cwd=cwd or self.directory, env=full, **popen)

    def __call__(
        self,
        *args: str,
        cwd: str | os.PathLike[str] | None = None,
        env: dict[str, str] | None = None,
        stdin: bytes | None = None,
        timeout: float = 120,
        **popen: Any,
    ) -> Ran:
        """Run it to its end; a run of more than `timeout` seconds fails the test."""
        if stdin is not None:
            popen["stdin"] = subprocess.PIPE
        with self.start(*args, cwd=cwd, env=env, **popen) as process:
            try:
                out, err = process.communicate(stdin, timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                pytest.fail(
                    f"{self.name} {' '.join(args)} ran for more than {timeout:g} s: {err!r}"
                )
        return Ran(process.returncode, out or b"", err or b"")


@pytest.fixture
def dcp(tmp_path: Path) -> Command:
    """`dcp(*args, cwd=…, env=…, stdin=…) -> Ran`: the command as a real process; `dcp.start(…)` for signals."""
    return Command("dcp", tmp_path)


@pytest.fixture
def volcopy(tmp_path: Path) -> Command:
    """`volcopy(*args, …) -> Ran`: the other command, likewise."""
    return Command("volcopy", tmp_path)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh HOME and state directory for each test (the journal of staged files lies there)."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("XDG_STATE_HOME", str(path / "state"))
    for name in [*os.environ]:
        if name.startswith("VOLCOPY_") and not name.startswith("VOLCOPY_TEST_"):
            monkeypatch.delenv(name)
    if ACCESS:
        monkeypatch.setenv("VOLCOPY_ACCESS", ACCESS)
    return path


@pytest.fixture(params=["api", "auto"])
def each_access(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test is run twice: through the engine, and directly where that can be."""
    way: str = request.param
    monkeypatch.setenv("VOLCOPY_ACCESS", way)
    return way


LONGEST = (
    *(
        "hub/test_hub.py",
        "faults/test_interrupts.py",
        "faults/test_changing.py",
        "ui/test_panel.py",
    ),
    *(
        "hub/test_page.py",
        "faults/test_system_calls.py",
        "ui/test_wheel.py",
        "choice/test_again.py",
    ),
    *("conformance/test_conformance_one.py", "conformance/test_conformance_two.py"),
    *("conformance/test_conformance_three.py", "cases/test_O24.py", "faults/test_full_disk.py"),
    *("rescue/test_rescue.py", "ui/test_states.py", "engine/test_gone.py", "hub/test_keeping.py"),
    *("engine/test_engines.py", "faults/test_race_direct.py", "faults/test_race_container.py"),
    *("notebook/test_magic.py", "engine/test_programs.py", "web/test_streams.py"),
    *("faults/test_engine_restart.py", "ui_panel/test_panel.py", "engine/test_transports.py"),
    *("rescue/test_volumes.py", "faults/test_hostile.py", "faults/test_faults.py"),
)
"""Files that take the longest, these first: the workers of `scripts/test` take a file each, and end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; what uses the engine is marked so: `-m "not engine"` runs without one."""
    turns = {ROOT / "tests" / name: turn for turn, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path, len(turns)))
    for item in items:
        if "docker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.engine)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failure on the engine shows our containers there."""
    report = yield
    if report.failed and "docker" in getattr(item, "fixturenames", ()):
        try:
            done = Docker().raw("ps", "-a", "--filter", f"name={PREFIX}", timeout=30)
            report.sections.append(("our containers", done.stdout.decode("utf-8", "replace")))
        except (OSError, subprocess.TimeoutExpired):
            pass
    return report
