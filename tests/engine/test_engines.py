"""Several engines: their names, the spelling `engine=NAME/CONTAINER:PATH`, copies between two of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from jupyter_volcopy.config import Volcopy
from jupyter_volcopy.core.endpoint import (
    ContainerPath,
    LocalPath,
    VolumePath,
    parse_endpoint,
    split_engine,
)
from jupyter_volcopy.core.engines import Engines, open_named
from jupyter_volcopy.errors import NoSuchContainer, UsageError
from tests.conftest import IMAGE, PREFIX, Command, Docker, wait_for
from tests.engine.ways import Forwarder, engine_socket
from tests.notebook.kernel import running_kernel
from tests.web.running import RunningServer

SECOND = os.environ.get("VOLCOPY_TEST_SECOND", "")
"""Address of another engine, with the tests' image; else the same one by another name."""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("engine=far/web:/etc", ContainerPath),
        ("engine=far/web:", ContainerPath),
        ("engine=far/volume=data:/x:y", VolumePath),
        ("./engine=far/web:/etc", LocalPath),
        ("/engine=far/web:/etc", LocalPath),
    ],
)
def test_spelling_round_trips(text: str, kind: type) -> None:
    found = parse_endpoint(text)
    assert isinstance(found, kind) and str(found) == text
    assert parse_endpoint(str(found)) == found


@pytest.mark.parametrize(
    "text", ["engine=far:/x", "engine=far/web", "engine=/web:/x", "engine=far/a/b:/x", "engine=:/"]
)
def test_what_names_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="another engine"):
        parse_endpoint(text)


def test_split() -> None:
    assert split_engine("engine=far/web") == ("far", "web")
    assert split_engine("web") == ("", "web")


def test_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with pytest.raises(UsageError, match="no engine is called 'far'"):
        open_named("far")
    (tmp_path / "jupyter-volcopy").mkdir()
    file = tmp_path / "jupyter-volcopy" / "engines.json"
    file.write_text('{"far": "tcp://10.0.0.9:2375", "odd": 7}')
    assert open_named("far").address == "tcp://10.0.0.9:2375"
    with pytest.raises(UsageError, match="'odd'"):
        open_named("odd")
    file.write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        open_named("far")
    monkeypatch.setenv("VOLCOPY_ENGINES", '{"far": {"address": "unix:///far.sock"}}')
    assert open_named("far").address == "unix:///far.sock"


class Far:
    """Containers on the other engine."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.made: list[str] = []

    def docker(self, *args: str) -> str:
        done = subprocess.run(
            ["docker", "-H", self.address, *args], capture_output=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def container(self) -> str:
        name = f"{PREFIX}-far{os.urandom(3).hex()}"
        self.docker(
            "run", "-d", "--network", "none", "-v", f"{name}:/data", "--name", name, IMAGE,
            "sleep", "100000",
        )  # fmt: skip
        self.made.append(name)
        return name


@pytest.fixture
def far(
    docker: Docker, image: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Far]:
    address = SECOND
    if not address:  # another address of the same engine
        (tmp_path / "far.sock").symlink_to(engine_socket())
        address = f"unix://{tmp_path}/far.sock"
    found = Far(address)
    monkeypatch.setenv("VOLCOPY_ENGINES", json.dumps({"far": address}))
    yield found
    for name in found.made:
        found.docker("rm", "-f", name)
        found.docker("volume", "rm", "-f", name)


def test_between_two_engines(
    far: Far, container: Any, dcp: Command, volcopy: Command, tmp_path: Path, docker: Docker
) -> None:
    near, there = container(), far.container()
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "中 文").write_bytes(b"abc\n")
    (tmp_path / "tree" / "big").write_bytes(os.urandom(1 << 20) * 5)
    dcp("tree", f"engine=far/{there}:/tmp/").ok()
    dcp(f"engine=far/{there}:/tmp/tree", f"{near}:/tmp/").ok()
    assert docker.read(near, "/tmp/tree/deep/中 文") == b"abc\n"
    report = dcp(f"{near}:/tmp/tree", f"engine=far/{there}:/again", "--json").ok().json()
    assert f"engine=far/{there}:/again" in json.dumps(report)
    dcp(f"engine=far/{there}:/again/big", ".").ok()
    assert (tmp_path / "big").read_bytes() == (tmp_path / "tree" / "big").read_bytes()
    dcp(f"engine=far/{there}:/again/big", f"engine=far/{there}:/third").ok()
    dcp("--plan", f"engine=far/{there}:/again", f"{near}:/x").ok()
    dcp("tree/big", f"engine=far/volume={there}:/f").ok()
    dcp(f"engine=far/volume={there}:/f", "back").ok()
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    listed = volcopy("ls", "--names", f"engine=far/{there}:/data").ok().out
    assert listed.split() == ["f"]
    shown = volcopy("mounts", f"engine=far/{there}", "--json").ok().json()
    assert "/data" in json.dumps(shown)
    missing = dcp(f"engine=far/{there}x:/f", ".")
    assert missing.code == 1 and f"No such container: engine=far/{there}x" in missing.err
    unknown = dcp("engine=nowhere/x:/f", ".", env={"DOCKER_CONFIG": str(tmp_path)})
    assert unknown.code == 1 and "no engine is called 'nowhere'" in unknown.err


class Between:
    """A large file on one engine, an old one on the other, and a slow way to the far one.

    Args:
        gone: the side that is on the far engine: `source` or `destination`.
        near, there: a container here, and one there.
    """

    def __init__(self, gone: str, near: str, there: str, far: Far, docker: Docker, at: Path):
        self.forward = Forwarder(at / "far-away.sock", far.address.removeprefix("unix://"))
        self.forward.start()
        self.spool = at / "spool"
        self.spool.mkdir()
        self.engines = {"far": f"unix://{self.forward.path}"}
        self.source, self.target = f"{near}:/big", f"engine=far/{there}:/data/old"
        if gone == "source":
            self.source, self.target = f"engine=far/{there}:/big", f"{near}:/data/old"
        new = "mkdir -p /data; yes new | head -c 40000000 >/big; echo old >/data/old"
        far.docker("exec", there, "sh", "-c", new)
        docker.sh(near, new)
        self._sh = (
            (lambda script: docker.sh(near, script))
            if gone == "source"
            else (lambda script: far.docker("exec", there, "sh", "-c", script))
        )

    def old(self) -> str:
        """How the file at the destination begins."""
        return self._sh("head -c 4 /data/old").strip()

    def beside(self) -> list[str]:
        """What lies at the destination, hidden names of ours too."""
        return sorted(self._sh("ls -A /data").split())


@pytest.fixture(params=["source", "destination"])
def between(
    request: pytest.FixtureRequest, far: Far, container: Any, docker: Docker, tmp_path: Path
) -> Iterator[Between]:
    """Either side on the engine that goes away."""
    made = Between(request.param, container(), far.container(), far, docker, tmp_path)
    yield made
    made.forward.stop()


@pytest.mark.timeout(300)
def test_one_of_the_two_goes_away_in_the_middle(
    between: Between, dcp: Command, volcopy: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing half: what was at the destination is there, whole, until the copy is made again."""
    monkeypatch.setenv("VOLCOPY_ENGINES", json.dumps(between.engines))
    monkeypatch.setenv("TMPDIR", str(between.spool))
    between.forward.slowly()
    with dcp.start(between.source, between.target) as process:
        wait_for(lambda: between.forward.moved > 2 << 20, "the middle of it")
        between.forward.stop()
        assert process.wait(120) in (1, 6, 7)
        said = process.stderr.read().decode()
    assert said and "Traceback" not in said
    assert between.old() == "old" and list(between.spool.iterdir()) == []
    between.forward.start()
    assert volcopy("clean").code == 0
    assert between.beside() == ["old"]
    dcp(between.source, between.target).ok()
    assert between.old() == "new" and between.beside() == ["old"]


@pytest.mark.timeout(300)
def test_one_of_the_two_goes_away_in_the_middle_of_a_transfer(
    between: Between, tmp_path: Path
) -> None:
    """The same through a server: it says so of the transfer, and goes on."""
    server = RunningServer(tmp_path / "server", engines=between.engines, requests_per_second=0)
    server.start(TMPDIR=str(between.spool))
    order = {"source": between.source, "destination": between.target}

    def ended(ident: str) -> Any:
        found = server.get(f"transfers/{ident}")
        return found if found["state"] in ("done", "failed", "cancelled") else None

    try:
        between.forward.slowly()
        ident = server.post("transfers", order)["id"]
        wait_for(lambda: between.forward.moved > 2 << 20, "the middle of it")
        between.forward.stop()
        found = wait_for(lambda: ended(ident), "the end of the transfer", 120)
        assert found["state"] == "failed" and found["error"]["message"], found
        assert "Traceback" not in json.dumps(found)
        assert between.old() == "old"
        assert list(between.spool.glob("*volcopy*")) == []

        # The one that is there still serves, the other is named, and it is back without a restart.
        near = (between.target if "engine=" in between.source else between.source).partition(":")[0]
        assert near in [one["name"] for one in server.get("containers")["containers"]]
        status, body, _ = server.request("POST", "transfers", json.dumps(order).encode())
        if status == 201:
            again = wait_for(lambda: ended(json.loads(body)["id"]), "the end of the second", 120)
            assert again["state"] == "failed", again
        else:
            assert status == 503 and json.loads(body)["message"], body
        between.forward.start()
        ident = server.post("transfers", order)["id"]
        found = wait_for(lambda: ended(ident), "the transfer after its return", 120)
        assert found["state"] == "done", found["error"]
        assert between.old() == "new" and between.beside() == ["old"]
        assert "Traceback" not in server.log.read_text()
    finally:
        server.stop()


@pytest.mark.timeout(300)
def test_in_a_kernel(far: Far, container: Any, docker: Docker, tmp_path: Path) -> None:
    near, there = container(), far.container()
    with running_kernel(tmp_path) as kernel:
        (tmp_path / "work" / "f").write_bytes(b"from here")
        cells = (
            f"%dcp f engine=far/{there}:/data/",
            f"%dcp engine=far/{there}:/data/f {near}:/tmp/f",
            f"%dcp {near}:/tmp/f engine=far/volume={there}:/g",
            f"%dcp engine=far/{there}:/data/g back",
            f"%volcopy ls --names engine=far/{there}:/data",
        )
        said = [out for line in cells for out in kernel.run(line)]
        assert not [out for out in said if out["type"] == "error"], said
        assert [out["text"].split() for out in said if out["type"] == "stream"][-1] == ["f", "g"]
        assert (tmp_path / "work" / "back").read_bytes() == b"from here"
        assert docker.read(near, "/tmp/f") == b"from here"


def test_never_local(far: Far, container: Any) -> None:
    from jupyter_volcopy.core.discovery import open_engine

    with open_engine() as usual:
        both = Engines(usual, open_named)
        found = both.container(f"engine=far/{far.container()}")
        assert not both.info().local
        assert not both.address.startswith("unix:")
        assert both.address_of(found.id) == far.address
        both.close()


def test_configured_for_a_server(far: Far, container: Any) -> None:
    near, there = container("created"), far.container()
    engine = Volcopy(engines={"far": far.address}).make_engine()
    names = [one.name for one in engine.containers()]
    assert near in names and f"engine=far/{there}" in names
    assert engine.stat(f"engine=far/{there}", "/tmp").is_dir
    with pytest.raises(NoSuchContainer):  # not by a docker context: only what the site names
        engine.container("engine=default/x")
    engine.close()
    gone = Volcopy(engines={"gone": "unix:///no/such.sock"}).make_engine()
    assert near in [one.name for one in gone.containers()]  # the others are still listed
    gone.close()


@pytest.mark.timeout(300)
def test_through_a_server(far: Far, container: Any, docker: Docker, tmp_path: Path) -> None:
    near, there = container(), far.container()
    far.docker("exec", there, "sh", "-c", "echo far >/tmp/f")
    server = RunningServer(tmp_path / "server", engines={"far": far.address}, requests_per_second=0)
    server.start()
    try:
        listed = json.dumps(server.get("containers"))
        assert f"engine=far/{there}" in listed and near in listed
        quoted = quote(f"engine=far/{there}", safe="")
        assert server.request("GET", f"containers/{quoted}/file?path=/tmp/f")[1] == b"far\n"
        assert '"f"' in json.dumps(server.get(f"containers/{quoted}/entries?path=/tmp"))
        order = {"source": f"engine=far/{there}:/tmp/f", "destination": f"{near}:/tmp/g"}
        status, body, _ = server.request("POST", "transfers", json.dumps(order).encode())
        assert status == 201, body
        ident = json.loads(body)["id"]

        def ended() -> Any:
            found = server.get(f"transfers/{ident}")
            return found if found["state"] in ("done", "failed", "cancelled") else None

        found = wait_for(ended, "the transfer")
        assert found["state"] == "done", found["error"]
        assert docker.read(near, "/tmp/g") == b"far\n"
        status, body, _ = server.request("GET", "containers/engine%3Dother%2Fx/entries?path=/")
        assert status == 404, body
    finally:
        server.stop()
