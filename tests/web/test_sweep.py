"""What a killed server left is removed by the next one: in containers, of every engine it has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT, wait_for
from tests.engine.ways import engine_socket
from tests.web.running import RunningServer

COPY = """
import json, os, signal, sys, threading, time
from jupyter_volcopy.config import Volcopy
from jupyter_volcopy.core.control import Meter
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.guard import Guarded
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.policy import Rules, User

engine = Volcopy(engines=json.loads(sys.argv[1])).make_engine()
copier = Copier(Guarded(engine, User("a"), Rules(trusted=True)), journal=Journal())
meter = Meter()

def kill():
    while not meter.bytes > 20 << 20:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=kill, daemon=True).start()
copier.copy(sys.argv[2], sys.argv[3], meter=meter)
"""


@pytest.mark.parametrize("where", ["usual", "far"])
def test_left_in_a_container(docker, container, tmp_path, where):
    """A copy by a server with two engines is killed; the far one may be another machine's."""
    name = container()
    server = RunningServer(tmp_path)
    (tmp_path / "far.sock").symlink_to(engine_socket())
    engines = {"far": f"unix://{tmp_path}/far.sock"}
    server.config["Volcopy"] = {"engines": engines}
    big = tmp_path / "big"
    big.write_bytes(b"")
    os.truncate(big, 8 << 30)
    target = f"{'engine=far/' if where == 'far' else ''}{name}:/tmp/new"
    done = subprocess.run(
        [sys.executable, "-c", COPY, json.dumps(engines), str(big), target],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr

    def left() -> list[str]:
        return docker.sh(name, "ls -A /tmp").split()

    assert [one.startswith(".volcopy-") for one in left()] == [True]
    server.start()
    try:
        wait_for(lambda: left() == [], "the sweep", timeout=120)
    finally:
        server.stop()


def test_left_helpers(docker, volume, tmp_path):
    """A helper container for a volume goes with the next server, too, and the volume stays."""
    name = volume()
    server = RunningServer(tmp_path, requests_per_second=0).start()
    try:
        lease = server.post(f"volumes/{name}/lease", {})
        server.kill()
        assert docker.inspect(lease["container"])["Id"] == lease["container"]
        server.start()
        wait_for(
            lambda: docker.raw("inspect", lease["container"]).returncode, "the sweep", timeout=120
        )
        assert docker.inspect(name, "volume")["Name"] == name
    finally:
        server.stop()
