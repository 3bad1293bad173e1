"""The forecast is equal to what then happens: each way of removal, each kind of mount, done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_volcopy.core.discovery import open_engine
from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.core.removal import WAYS, Forecast, forecast
from jupyter_volcopy.errors import NoSuchContainer, UsageError
from tests.conftest import PREFIX, Docker, comes, wait_for
from tests.engine.ways import Forwarder, engine_socket
from tests.insight.conftest import exists, volumes_of

LABEL = f"{PREFIX}=1"
WRITTEN = "mine"


def by_volume(found: Forecast) -> dict[str, str]:
    out = {}
    for word in ("lost", "kept", "unknown"):
        for item in getattr(found, word):
            if item.volume:
                assert item.volume not in out, "in two lists"
                out[item.volume] = word
    return out


class Scene:
    """One container with every kind of mount, a file in each, and another that gave it some."""

    def __init__(
        self,
        docker: Docker,
        container: Callable[..., str],
        volume: Callable[..., str],
        build_image: Callable[[str], str],
        nameless: list[str],
        tmp_path: Path,
        *extra: str,
    ) -> None:
        self.docker = docker
        self.host = tmp_path / "host"
        self.host.mkdir()
        self.device = tmp_path / "device"
        self.device.mkdir()
        self.single = tmp_path / "single"
        self.single.write_text("one\n")
        self.named = volume("--label", LABEL)
        self.inherited_named = volume("--label", LABEL)
        self.over = volume(
            "--label", LABEL, "-o", "type=none", "-o", "o=bind", "-o", f"device={self.device}"
        )
        self.hand = os.urandom(32).hex()
        docker("volume", "create", "--label", LABEL, self.hand)
        maker = container("created", "-v", "/re")
        self.again = volumes_of(docker, maker)["/re"]
        docker("rm", maker)
        nameless += [self.hand, self.again]
        giver_image = build_image("VOLUME /given")
        self.giver = container(
            "running", "-v", f"{self.inherited_named}:/given-named", image=giver_image
        )
        self.image = build_image('VOLUME ["/image"]')
        self.flags = [
            *("-v", f"{self.host}:/bind"),
            *("-v", f"{self.single}:/single"),
            *("-v", f"{self.named}:/named"),
            *("-v", f"{self.over}:/over"),
            *("-v", f"{self.hand}:/hand"),
            *("-v", f"{self.again}:/again"),
            *("-v", "/anonymous"),
            *("--mount", f"type=volume,dst=/labelled,volume-label={LABEL}"),
            *("--tmpfs", "/memory"),
            *("--volumes-from", self.giver),
        ]
        self.name = container("running", *self.flags, *extra, image=self.image)
        self.volumes = volumes_of(docker, self.name)
        nameless += self.volumes.values()
        self.targets = [*self.volumes, "/bind"]
        for target in self.targets:
            docker.write(self.name, f"{target}/{WRITTEN}", target.encode())
        docker.write(self.name, "/memory/m", b"12345")
        docker.sh(self.name, "mkdir -p /home/nb/empty && echo hello > /home/nb/w && rm /bin/awk")

    def in_volume(self, name: str) -> bool:
        """Whether our file is in a volume."""
        if not exists(self.docker, name):
            return False
        peek = f"{PREFIX}-peek{os.urandom(3).hex()}"
        self.docker(
            "create", "--name", peek, "--network", "none", "-v", f"{name}:/v", "volcopy-test-image"
        )
        try:
            return self.docker.raw("cp", f"{peek}:/v/{WRITTEN}", "-").returncode == 0
        finally:
            self.docker("rm", peek)

    def check_files(self, found: Forecast) -> None:
        """The files that are lost however it is removed."""
        files = {item.path: item for item in found.lost if item.path}
        assert set(files) == {"/home/nb/w", "/home/nb/empty", "/memory/m"}
        assert files["/home/nb/w"].bytes == 6
        assert files["/home/nb/w"].modified.endswith("Z")
        assert "-v home-nb:/home/nb" in files["/home/nb/w"].flag
        assert files["/memory/m"].bytes == 5
        assert found.deleted == ["/bin/awk"]
        kept = {item.path for item in found.kept if item.path}
        assert kept == {"/bind", "/single"}

    def check_host(self) -> None:
        assert (self.host / WRITTEN).read_text() == "/bind"
        assert (self.device / WRITTEN).read_text() == "/over"
        assert self.single.read_text() == "one\n"


Make = Callable[..., Scene]


@pytest.fixture
def scene(
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    build_image: Callable[[str], str],
    nameless: list[str],
    tmp_path: Path,
) -> Make:
    return lambda *extra: Scene(docker, container, volume, build_image, nameless, tmp_path, *extra)


@pytest.mark.parametrize("how", ["rm", "rm-v", "auto-remove", "spawner"])
def test_equal_to_what_happens(how: str, scene: Make, engine: DockerEngine, docker: Docker) -> None:
    made = scene(*(["--rm"] if how == "auto-remove" else []))
    found = forecast(engine, made.name, how)
    made.check_files(found)
    answer = by_volume(found)
    assert set(answer) == set(made.volumes.values())
    if how == "auto-remove":
        docker("kill", made.name)
        wait_for(lambda: docker.raw("inspect", made.name).returncode != 0, "the removal")
    else:
        docker("rm", "-f", *([] if how == "rm" else ["-v"]), made.name)
    happened = {
        name: "kept"
        if wait_for_end(docker, name, answer[name]) and made.in_volume(name)
        else "lost"
        for name in answer
    }
    assert answer == happened
    if how != "rm":
        assert {t for t, name in made.volumes.items() if answer[name] == "lost"} == {
            "/anonymous",
            "/labelled",
            "/image",
        }
    made.check_host()


def wait_for_end(docker: Docker, volume: str, expected: str) -> bool:
    """Whether the volume is there; one that should go is given time to."""
    if expected == "lost":
        comes(lambda: not exists(docker, volume))
    return exists(docker, volume)


def test_recreate(scene: Make, engine: DockerEngine, docker: Docker, nameless: list[str]) -> None:
    made = scene()
    found = forecast(engine, made.name, "recreate")
    made.check_files(found)
    answer = by_volume(found)
    assert set(answer) == set(made.volumes.values())
    docker("rm", "-f", made.name)
    docker(
        *("run", "-d", "--name", made.name, "--network", "none"),
        *made.flags,
        made.image,
        *("sleep", "100000"),
    )
    nameless += volumes_of(docker, made.name).values()
    happened = {
        name: (
            "kept"
            if docker.raw("exec", made.name, "cat", f"{target}/{WRITTEN}").returncode == 0
            else "lost"
        )
        for target, name in made.volumes.items()
    }
    assert answer == happened
    lost = {item.volume: item for item in found.lost if item.volume}
    assert f"-v {made.volumes['/image']}:/image" == lost[made.volumes["/image"]].flag
    assert docker.raw("exec", made.name, "cat", "/home/nb/w").returncode != 0
    assert docker.raw("exec", made.name, "test", "-L", "/bin/awk").returncode == 0
    made.check_host()


def test_prune(scene: Make, engine: DockerEngine, docker: Docker) -> None:
    made = scene()
    found = forecast(engine, made.name, "prune")
    made.check_files(found)
    answer = by_volume(found)
    assert set(answer) == set(made.volumes.values())
    docker("rm", "-f", made.name)
    # Only what carries our label, since the engine is not ours alone; VOLCOPY_TEST_PRUNE=all says it is.
    everything = os.environ.get("VOLCOPY_TEST_PRUNE") == "all"
    docker("volume", "prune", "-f", *([] if everything else ["--filter", f"label={LABEL}"]))
    labelled = {made.named, made.inherited_named, made.over, made.hand, made.volumes["/labelled"]}
    names = set(answer) if everything else labelled
    happened = {name: "kept" if made.in_volume(name) else "lost" for name in names}
    assert {name: answer[name] for name in names} == happened
    assert answer[made.over] == answer[made.inherited_named] == "kept"
    assert answer[made.volumes["/anonymous"]] == answer[made.volumes["/image"]] == "lost"
    made.check_host()


def test_the_last_heir(
    engine: DockerEngine,
    docker: Docker,
    container: Callable[..., str],
    nameless: list[str],
    tmp_path: Path,
) -> None:
    hand = os.urandom(32).hex()
    giver = container("created", "-v", "/a", "-v", f"{hand}:/b")
    nameless += volumes_of(docker, giver).values()
    first = container("created", "--volumes-from", giver)
    heir = container("created", "--volumes-from", f"{first}:ro")
    volumes = volumes_of(docker, heir)
    assert by_volume(forecast(engine, giver, "rm-v")) == dict.fromkeys(volumes.values(), "kept")
    docker("rm", "-v", giver)
    docker("rm", "-v", first)
    # from afar nobody can say; beside the engine its own file can be read
    forward = Forwarder(tmp_path / "e.sock", engine_socket())
    forward.start()
    with open_engine(f"unix://{forward.path}") as behind:
        far = by_volume(forecast(behind, heir, "rm-v"))
    forward.stop()
    assert far == dict.fromkeys(volumes.values(), "unknown")
    near = by_volume(forecast(engine, heir, "rm-v"))
    docker("rm", "-v", heir)
    happened = {name: "kept" if exists(docker, name) else "lost" for name in volumes.values()}
    assert happened == {volumes["/a"]: "lost", volumes["/b"]: "kept"}
    assert near in (happened, far)


@pytest.mark.parametrize("state", ["created", "stopped", "paused"])
def test_states_without_a_program(
    state: str, engine: DockerEngine, docker: Docker, container: Callable[..., str]
) -> None:
    name = container(state, "--tmpfs", "/memory", "-v", "/v")
    docker.raw("cp", "-", f"{name}:/srv", stdin=_tar({"w": b"written", "d/x": b"deep"}))
    found = forecast(engine, name, "rm-v")
    files = {item.path: item.bytes for item in found.lost if item.path}
    memory = files.pop("/memory", 0)
    assert files == {"/srv/w": 7, "/srv/d/x": 4}
    assert memory is None if state == "paused" else memory == 0
    assert [item.target for item in found.lost if item.volume] == ["/v"]


def _tar(files: dict[str, bytes]) -> bytes:
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_a_volume_in_memory(
    engine: DockerEngine, docker: Docker, container: Callable[..., str], volume: Callable[..., str]
) -> None:
    name = volume("-o", "type=tmpfs", "-o", "device=tmpfs")
    one = container("running", "-v", f"{name}:/m")
    docker.write(one, "/m/f", b"x")
    assert by_volume(forecast(engine, one, "rm")) == {name: "lost"}
    other = container("running", "-v", f"{name}:/m")
    assert by_volume(forecast(engine, one, "rm")) == {name: "kept"}
    docker("rm", "-f", one)
    assert docker.read(other, "/m/f") == b"x"
    docker("rm", "-f", other)
    last = container("running", "-v", f"{name}:/m")
    assert docker.raw("exec", last, "cat", "/m/f").returncode != 0


def test_ways(engine: DockerEngine) -> None:
    assert WAYS == ("rm", "rm-v", "auto-remove", "recreate", "prune", "spawner")
    with pytest.raises(UsageError, match="burn"):
        forecast(engine, "x", "burn")
    with pytest.raises(NoSuchContainer):
        forecast(engine, f"{PREFIX}-nobody")
