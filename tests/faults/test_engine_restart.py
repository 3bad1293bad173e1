"""An engine of our own is killed and restarted in the middle of a copy (F9). Never a shared one.

It lives in a network namespace of its own: a second `dockerd --bridge=none` beside another would
take that one's bridge away.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import IMAGE, Command, Docker, wait_for
from tests.faults.scene import LINE_NEW, LINE_OLD, MEGA, content, hidden_here, judge, sums

pytestmark = pytest.mark.timeout(400)

BIG = 60 * MEGA
NAME = "volcopy-restart"


class OwnEngine:
    """A dockerd in a directory of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.socket = place / "s"
        self.env = {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONTEXT": ""}
        self.process: subprocess.Popen[bytes] | None = None

    def docker(self, *args: str, timeout: float = 120) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["docker", "-H", f"unix://{self.socket}", *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def ok(self, *args: str) -> str:
        done = self.docker(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def start(self) -> str:
        """Start it; a text says why it does not."""
        (self.place / "pid").unlink(missing_ok=True)
        # Its containerd dies with it. Where nobody reaps it, a zombie would be taken for a living one.
        for file in self.place.glob("exec/containerd/*.pid"):
            wait_for(lambda file=file: _is_dead(int(file.read_text())), "the end of containerd")
            file.unlink()
        argv = ["dockerd", "-H", f"unix://{self.socket}"]
        argv += ["--data-root", f"{self.place}/data", "--exec-root", f"{self.place}/exec"]
        argv += ["--pidfile", f"{self.place}/pid", "--bridge=none"]
        argv += ["--iptables=false", "--ip6tables=false", "--live-restore=false"]
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--net", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 180
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            if self.docker("version", timeout=60).returncode == 0:
                return ""
            time.sleep(0.1)
        return (self.place / "log").read_bytes()[-2000:].decode("utf-8", "replace")

    def stop(self, number: int) -> None:
        """End it. What it started outlives a SIGKILL, and is taken over by the next one."""
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.wait(timeout=90)
        self.process = None

    def end(self) -> None:
        """End it and everything it started: its own containerd and that one's shims."""
        if self.process is None:
            self.start()
        if self.process is not None:
            self.docker("rm", "-f", NAME)
        self.stop(signal.SIGTERM)
        for pid in self._children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _children(self) -> list[int]:
        """Processes that have our directory among their arguments."""
        found = []
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = line.read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.startswith(os.fsencode(f"{self.place}/exec/")) for word in words):
                found.append(int(line.parent.name))
        return found


def _is_dead(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


@pytest.fixture(scope="module")
def engine(docker: Docker, image: str) -> Iterator[OwnEngine]:
    if os.geteuid() or not shutil.which("dockerd") or not shutil.which("unshare"):
        pytest.skip("needs root, dockerd and unshare")
    place = Path(tempfile.mkdtemp(prefix="vr-"))
    own = OwnEngine(place)
    try:
        trouble = own.start()
        if trouble:
            pytest.skip(f"a second engine does not start here: {trouble}")
        saved = docker.bytes("save", image)
        loaded = subprocess.run(
            ["docker", "-H", f"unix://{own.socket}", "load"],
            input=saved,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert loaded.returncode == 0, loaded.stderr
        yield own
    finally:
        own.end()
        mounts = Path("/proc/self/mounts").read_text().split("\n")
        for line in mounts[::-1]:
            fields = line.split(" ")
            if len(fields) > 1 and fields[1].startswith(f"{place}/"):
                subprocess.run(["umount", "-l", fields[1]], check=False)
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("way", ["pull", "push"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "restarted"])
@pytest.mark.usefixtures("each_access")
def test_engine_in_the_middle(
    number: int, way: str, engine: OwnEngine, dcp: Command, volcopy: Command, tmp_path: Path
) -> None:
    engine.docker("rm", "-f", NAME)
    engine.ok(
        "run",
        "-d",
        "--stop-signal",
        "KILL",
        "--network",
        "none",
        "--name",
        NAME,
        IMAGE,
        "sleep",
        "100000",
    )
    (tmp_path / "old").write_bytes(content(LINE_OLD, BIG))
    (tmp_path / "new").write_bytes(content(LINE_NEW, BIG))
    old, new = sums(tmp_path / "old"), sums(tmp_path / "new")
    if way == "pull":
        engine.ok("cp", "-q", str(tmp_path / "new"), f"{NAME}:/f")
        shutil.copyfile(tmp_path / "old", tmp_path / "dst")
        argv = [f"{NAME}:/f", "dst"]
    else:
        engine.ok("cp", "-q", str(tmp_path / "old"), f"{NAME}:/f")
        argv = ["new", f"{NAME}:/f"]
    with dcp.start(*argv, env=engine.env) as process:
        time.sleep(0.12)  # not a wait: some moment in the middle
        engine.stop(number)
        code = process.wait(timeout=120)
        said = process.stderr.read().decode()
    assert "Traceback" not in said
    assert code in (0, 1, 7), said
    if way == "pull":
        assert judge(sums(tmp_path / "dst"), old, new) == ("old" if code else "new"), said
        assert hidden_here(tmp_path) == []
    # while it is gone: a sentence
    gone = dcp(*argv, env=engine.env)
    assert gone.code == 7 and "Cannot connect to the Docker daemon" in gone.err
    assert engine.start() == ""
    engine.docker("rm", "-f", "none")
    state = engine.ok("inspect", "-f", "{{.State.Running}}", NAME).strip()
    if state != "true":
        engine.ok("start", NAME)
    assert engine.docker("exec", NAME, "true").returncode == 0

    def inside() -> dict[str, str]:
        digest = engine.ok("exec", NAME, "sha256sum", "/f").split()[0]
        return {"": digest}

    if way == "push":
        assert judge(inside(), old, new) == "new" or code
    volcopy("clean", env=engine.env).ok()
    assert engine.ok("exec", NAME, "find", "/", "-xdev", "-name", ".volcopy-*") == ""
    # and the same command finishes it
    dcp(*argv, env=engine.env).ok()
    assert (sums(tmp_path / "dst") if way == "pull" else inside()) == new
