"""Plans, free space (case O14), --verify, --pause."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.docker_engine import DockerEngine
from jupyter_volcopy.errors import NoSpace, VolcopyError
from tests.choice.conftest import fill, local_texts, make, texts
from tests.conftest import Command, Docker

TREE = {"t/a": "a", "t/d/b": "bb", "t/x.tmp": "x"}


def test_plan_says_what_the_copy_then_does(
    docker: Docker, some_state: str, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    root = make(tmp_path / "src", TREE)
    source, place = str(root / "t"), f"{some_state}:/data"
    fill(docker, some_state, make(tmp_path / "fill", {"data/old": "o"}))

    def agree(src: str, dst: str, **options: Any) -> Any:
        (step,) = copier.plan(src, dst, **options).steps
        report = copier.copy(src, dst, **options)
        assert (step.created, step.replaced) == (report.created, report.replaced)
        assert (step.files, step.bytes) == (report.files, report.bytes)
        assert {note.path for note in step.skips} >= {note.path for note in report.skipped}
        assert report.landed[0].endswith(step.destination.rpartition(":")[2])
        return step

    step = agree(source, place, exclude=["*.tmp"])
    assert (step.action, step.nests, step.lost) == ("create", True, True)
    assert step.creates == ("/data/t/a", "/data/t/d/b")
    assert [note.path for note in step.skips] == ["x.tmp"]
    step = agree(source, place)
    assert (step.action, step.created, step.replaced) == ("merge", 1, 2)
    step = agree(source + "/.", f"{place}/t", update=True)
    assert (step.action, step.files) == ("contents", 0)
    out = tmp_path / "out"
    step = agree(f"{some_state}:/data", str(out))
    assert (step.action, step.nests, step.lost) == ("create", False, False)
    assert step.free and step.fits
    step = agree(f"{some_state}:/data/.", str(out), exclude=["old"])
    assert (step.action, step.replaced) == ("contents", 3)
    other = container("created")
    step = agree(f"{some_state}:/data", f"{other}:/tmp")
    assert (step.action, step.nests, step.lost) == ("create", True, True)
    step = agree(f"{some_state}:/data/old", f"{other}:/tmp/data/old")
    assert step.action == "replace"
    with pytest.raises(VolcopyError):
        copier.plan(f"{some_state}:/none", str(out))


def test_plan_of_the_command(
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    dcp: Command,
    tmp_path: Path,
) -> None:
    held = volume()
    name = container("running", "-v", f"{held}:/kept")
    make(tmp_path / "src", TREE)
    said = dcp("--plan", "src/t", f"{name}:/data").ok()
    assert "will be created" in said.out
    assert "lost when the container is removed" in said.out
    said = dcp("--plan", "src/t", f"{name}:/kept").ok()
    assert "lands inside the existing directory" in said.out
    assert "lost" not in said.out
    plan = dcp("--plan", "--json", "src/t/a", "src/t/d", f"{name}:/kept").ok().json()
    assert [step["action"] for step in plan["steps"]] == ["create", "create"]
    plan = dcp("--plan", "--json", "src/t", f"volume={held}:/").ok().json()
    assert plan["steps"][0]["destination"] == f"volume={held}:/t"
    assert plan["steps"][0]["creates"][0] == {"path": "/t/a"}
    assert not plan["steps"][0]["lost_with_container"]
    assert plan["steps"][0]["free"] > 0
    assert docker.sh(name, "ls /kept; ls -d /data 2>/dev/null || true") == ""
    assert dcp("--plan", "src/none", f"{name}:/kept").code == 1


def test_no_room_in_the_container_is_known_first(
    docker: Docker,
    container: Callable[..., str],
    volume: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = volume("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m")
    name = container("running", "-v", f"{tiny}:/tiny", "--tmpfs", "/fast:size=1m")
    docker.write(name, "/tiny/three", b"OLD")
    docker.write(name, "/fast/three", b"OLD")
    make(tmp_path, {"three": b"3" * 3_000_000, "many/a": b"a" * 700_000, "many/b": b"b" * 700_000})
    sent: list[str] = []
    extract = DockerEngine.extract

    def counting(engine: Any, container: str, directory: str, body: Any, **more: Any) -> None:
        sent.append(directory)
        extract(engine, container, directory, body, **more)

    monkeypatch.setattr(DockerEngine, "extract", counting)
    for where in ("/tiny/three", "/fast/three"):
        with pytest.raises(NoSpace) as caught:
            copier.copy(str(tmp_path / "three"), f"{name}:{where}")
        assert "3000000 bytes are needed" in caught.value.message
        assert "are free" in caught.value.message
        assert docker.read(name, where) == b"OLD"
    with pytest.raises(NoSpace):
        copier.copy(str(tmp_path / "many"), f"{name}:/tiny/")
    assert sent == []
    plan = copier.plan(str(tmp_path / "three"), f"{name}:/tiny/three")
    assert plan.steps[0].fits is False
    # what fits is copied, also where it takes the place of something
    docker.write(name, "/tiny/big", b"o" * 700_000)
    with pytest.raises(NoSpace):
        copier.copy(str(tmp_path / "many/a"), f"{name}:/tiny/other")
    docker.sh(name, "rm /tiny/big")
    assert copier.copy(str(tmp_path / "many/a"), f"{name}:/tiny/a").ok


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_no_room_here_is_known_first(
    docker: Docker, container: Callable[..., str], copier: Copier, tmp_path: Path
) -> None:
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount here")
    try:
        (disk / "three").write_text("OLD")
        files = {"three": b"3" * 3_000_000, "d/a": b"a" * 700_000, "d/b": b"c" * 710_000}
        root = make(tmp_path / "src", files)
        for state in ("running", "stopped"):
            name = container(state)
            fill(docker, name, root)
            for source in ("/three", "/d") if state == "running" else ("/three",):
                with pytest.raises(NoSpace) as caught:
                    copier.copy(f"{name}:{source}", str(disk))
                assert "bytes are needed" in caught.value.message
                assert "are free" in caught.value.message
        assert local_texts(disk) == {"three": "OLD"}
        assert os.listdir(disk) == ["three"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_verify(
    docker: Docker,
    any_state: str,
    container: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
) -> None:
    root = make(tmp_path / "src", TREE)
    os.link(root / "t/a", root / "t/hard")
    report = copier.copy(str(root / "t"), f"{any_state}:/t", verify=True)
    assert report.ok
    assert report.verified == 4
    report = copier.copy(str(root / "t/a"), f"{any_state}:/a", verify=True)
    assert report.verified == 1
    report = copier.copy(f"{any_state}:/t", str(tmp_path / "out"), verify=True, exclude=["*.tmp"])
    assert report.ok
    assert report.verified in (2, 3)  # a second name may be counted with its file
    other = container("created")
    report = copier.copy(f"{any_state}:/t", f"{other}:/t", verify=True)
    assert report.ok
    assert report.verified == 4


def test_verify_finds_what_differs(
    docker: Docker,
    container: Callable[..., str],
    copier: Copier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody writes in between: named, and a failure."""
    name = container("running", "--tmpfs", "/fast")
    root = make(tmp_path / "src", TREE)
    extract = DockerEngine.extract

    def and_then(engine: Any, container: str, directory: str, body: Any, **more: Any) -> None:
        extract(engine, container, directory, body, **more)
        docker.sh(name, "for f in /t/a /fast/t/a; do [ ! -e $f ] || echo Z > $f; done")

    monkeypatch.setattr(DockerEngine, "extract", and_then)
    for where in ("/", "/fast/"):
        report = copier.copy(str(root / "t"), f"{name}:{where}", verify=True)
        assert not report.ok
        assert [(note.path, note.code) for note in report.failed] == [("t/a", "verify")]


def test_pause_and_durable(
    docker: Docker, container: Callable[..., str], dcp: Command, tmp_path: Path
) -> None:
    name = container("running", "--tmpfs", "/fast")
    fill(docker, name, make(tmp_path / "src", TREE))
    docker.write(name, "/fast/f", b"f")
    dcp("--pause", f"{name}:/t", "out").ok()
    assert local_texts(tmp_path / "out") == {"a": "a", "d/b": "bb", "x.tmp": "x"}
    until = str(int(time.time()) + 1)
    events = docker("events", "--since", "0", "--until", until, "--filter", f"container={name}",
                    "--format", "{{json .Action}}")  # fmt: skip
    actions = [json.loads(line) for line in events.splitlines()]
    assert actions.count("pause") == actions.count("unpause") == 1
    assert docker.inspect(name)["State"]["Status"] == "running"
    dcp("--pause", f"{name}:/none", "out2")
    assert docker.inspect(name)["State"]["Status"] == "running"
    said = dcp("--pause", f"{name}:/fast/f", "f").ok()
    assert "not paused" in said.err
    dcp("--durable", "out/a", f"{name}:/tmp/").ok()
    assert texts(docker, name, "/tmp/a") == {"a": "a"}
