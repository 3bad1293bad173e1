"""No room, here or there: the old file stays, the space is given back, the numbers are said (F5, F6, O14)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.faults.double import EngineDouble
from tests.faults.scene import (
    LINE_NEW,
    LINE_OLD,
    MEGA,
    answers,
    content,
    hidden_here,
    hidden_inside,
)

OLD = content(LINE_OLD, 100_000)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB, with an old file and an old tree on it."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "volcopy-test", str(place)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    (place / "f").write_bytes(OLD)
    (place / "t" / "s").mkdir(parents=True)
    (place / "t" / "a").write_bytes(OLD)
    (place / "t" / "s" / "b").write_bytes(OLD)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def used(place: Path) -> int:
    room = os.statvfs(place)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def check(place: Path, before: int, done: Any) -> None:
    """Everything is as it was, and the sentence says what is the matter."""
    assert done.code == 1, done.err
    assert "no space left on device" in done.err.lower(), done.err
    assert "Traceback" not in done.err
    assert (place / "f").read_bytes() == OLD
    assert (place / "t" / "a").read_bytes() == OLD
    assert (place / "t" / "s" / "b").read_bytes() == OLD
    assert sorted(os.listdir(place)) == ["f", "t"]
    assert hidden_here(place) == []
    assert used(place) <= before + 64 * 1024, "the space was not given back"


@pytest.mark.usefixtures("each_access")
def test_a_file_onto_a_full_disk(small: Path, docker: Any, container: Any, dcp: Command) -> None:
    """It is known before the first byte: needed and free bytes are said."""
    name = container()
    docker.sh(name, f"yes | head -c {20 * MEGA} >/big")
    before = used(small)
    for target in ("f", "new", "t/a"):
        done = dcp(f"{name}:/big", target, cwd=small)
        check(small, before, done)
        assert str(20 * MEGA) in done.err
        answers(docker, name)


@pytest.mark.parametrize("state", ["running", "stopped"])
@pytest.mark.usefixtures("each_access")
def test_a_tree_onto_a_full_disk(
    state: str, small: Path, docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """Of a stopped container nobody knows the size before: the disk says it in the middle."""
    name = container(state)
    source = tmp_path / "src"
    (source / "s").mkdir(parents=True)
    for n in range(30):
        (source / "s" / f"f{n}").write_bytes(content(LINE_NEW, 300_000))
    (source / "a").write_bytes(b"new")
    docker("cp", "-q", f"{source}/.", f"{name}:/srv")
    before = used(small)
    for target in ("t", "new"):
        check(small, before, dcp(f"{name}:/srv/.", target, cwd=small))


def test_the_engine_lies_about_the_size(small: Path, double: EngineDouble, dcp: Command) -> None:
    """Said to be small, it is not: found out in the middle, and given back."""
    double.put("/big", content(LINE_NEW, 6 * MEGA))
    double.stats["/big"] = {"size": 10}
    before = used(small)
    check(small, before, dcp("double:/big", "f", cwd=small, env=double.env))


def test_as_json(small: Path, docker: Any, container: Any, dcp: Command) -> None:
    name = container()
    docker.sh(name, f"yes | head -c {20 * MEGA} >/big")
    done = dcp("--json", f"{name}:/big", "f", cwd=small)
    assert done.code == 1 and done.json()["code"] == "no-space" and done.json()["ok"] is False


def test_no_room_to_hold_an_archive(
    small: Path, double: EngineDouble, dcp: Command, tmp_path: Path
) -> None:
    """A copy between containers is held in a temporary file: no room there is a sentence too."""
    double.put("/big", content(LINE_NEW, 6 * MEGA))
    double.mkdir("/out")
    env = {**double.env, "TMPDIR": str(small)}
    done = dcp("double:/big", "double:/out/big", cwd=tmp_path, env=env)
    assert done.code == 1 and "room" in done.err and "TMPDIR" in done.err
    assert double.names("/out") == []
    assert sorted(os.listdir(small)) == ["f", "t"]


def test_a_journal_on_a_full_disk_fails_no_copy(
    small: Path, docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    name = container()
    docker.write(name, "/f", b"new")
    with (small / "fill").open("wb") as file, pytest.raises(OSError):
        while True:
            file.write(bytes(100_000))
            file.flush()
    dcp(f"{name}:/f", "f", cwd=tmp_path, env={"XDG_STATE_HOME": str(small / "state")}).ok()
    assert (tmp_path / "f").read_bytes() == b"new"


@pytest.mark.usefixtures("each_access")
def test_a_read_only_directory_in_the_middle(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """Found before anything changes: the files beside it stay as they were (F5)."""
    name = container()
    docker.sh(name, "mkdir -p /t/m /t/z; for f in a m/b z/c; do echo new >/t/$f; done")
    for rel in ("a", "m/b", "z/c"):
        path = tmp_path / "t" / rel
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old\n")
    middle = str(tmp_path / "t" / "m")
    done = subprocess.run(["mount", "--bind", middle, middle], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", middle], check=True)
        done = dcp(f"{name}:/t/.", "t")
        assert done.code == 1 and "m" in done.err
        for rel in ("a", "m/b", "z/c"):
            assert (tmp_path / "t" / rel).read_text() == "old\n"
        assert hidden_here(tmp_path) == []
    finally:
        subprocess.run(["umount", middle], check=True)


# ------------------------------------------------------------------------------ in the container


@pytest.fixture
def tiny(docker: Any, container: Any, volume: Any) -> str:
    """A running container with a volume of 2 MiB at /tiny, that holds `f` = OLD and `t/a` = OLD."""
    disk = volume("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=2m")
    name: str = container("running", "-v", f"{disk}:/tiny")
    docker.write(name, "/tiny/f", OLD)
    docker.sh(name, "mkdir /tiny/t && cp /tiny/f /tiny/t/a")
    return name


def inside(docker: Any, name: str) -> tuple[bytes, bytes, list[str], int]:
    """What is on the small volume, and how much is used."""
    room = int(docker.sh(name, "df -P -k /tiny | tail -1").split()[2])
    names = docker.sh(name, "cd /tiny && find . -type f | sort").split()
    return docker.read(name, "/tiny/f"), docker.read(name, "/tiny/t/a"), names, room


@pytest.mark.usefixtures("each_access")
def test_a_file_onto_a_full_volume(tiny: str, docker: Any, dcp: Command, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(content(LINE_NEW, 3 * MEGA))
    before = inside(docker, tiny)
    for target in ("f", "new", "t/a"):
        done = dcp("big", f"{tiny}:/tiny/{target}")
        assert done.code == 1 and "no space left on device" in done.err.lower(), done.err
        assert inside(docker, tiny) == before
        answers(docker, tiny)


@pytest.mark.usefixtures("each_access")
def test_a_tree_onto_a_full_volume(tiny: str, docker: Any, dcp: Command, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for n in range(12):
        (tmp_path / "t" / f"f{n:02}").write_bytes(content(LINE_NEW, 300_000))
    before = inside(docker, tiny)
    done = dcp("t", f"{tiny}:/tiny/")
    assert done.code == 1 and "no space left on device" in done.err.lower(), done.err
    assert hidden_inside(docker, tiny, "/tiny") == []
    after = inside(docker, tiny)
    if os.path.ismount(
        docker.inspect(tiny)["Mounts"][0]["Source"]
    ):  # asked before anything is sent
        assert after == before
        return
    assert after[:2] == before[:2]
    for path in set(after[2]) - set(before[2]):  # files of it that fitted are whole
        assert docker.read(tiny, f"/tiny/{path}") == content(LINE_NEW, 300_000)


@pytest.mark.parametrize("tree", [False, True], ids=["file", "tree"])
@pytest.mark.usefixtures("each_access")
def test_found_out_in_the_middle(
    tree: bool, tiny: str, docker: Any, dcp: Command, volcopy: Command, tmp_path: Path
) -> None:
    """Too small to be worth a look before: the engine itself runs out of room."""
    docker.sh(tiny, "dd if=/dev/zero of=/tiny/fill bs=1k >/dev/null 2>&1; true")
    docker.sh(tiny, "truncate -s -40960 /tiny/fill; sync")
    before = inside(docker, tiny)
    new = content(LINE_NEW, 60_000)
    if tree:
        (tmp_path / "t").mkdir()
        for n in range(4):
            (tmp_path / "t" / f"n{n}").write_bytes(content(LINE_NEW, 15_000))
        done = dcp("t", f"{tiny}:/tiny/")
    else:
        (tmp_path / "f").write_bytes(new)
        done = dcp("f", f"{tiny}:/tiny/f")
    assert done.code == 1 and "no space left on device" in done.err.lower(), done.err
    volcopy("clean").ok()
    assert hidden_inside(docker, tiny, "/tiny") == []
    after = inside(docker, tiny)
    assert after[:2] == before[:2]
    if tree:  # files of it that fitted are whole
        arrived = sorted(set(after[2]) - set(before[2]))
        for path in arrived:
            assert docker.read(tiny, f"/tiny/{path}") == content(LINE_NEW, 15_000)
    else:
        assert after == before
    answers(docker, tiny)
    # with room again the same command finishes it
    docker.sh(tiny, "rm /tiny/fill")
    dcp(*(("t", f"{tiny}:/tiny/") if tree else ("f", f"{tiny}:/tiny/f"))).ok()
    assert docker.read(tiny, "/tiny/t/n3" if tree else "/tiny/f")[:100] == new[:100]
