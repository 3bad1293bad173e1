"""The world changes in the middle: the source here, the source there, the container itself (F8, F12, O15).

What happens here is made to happen at an exact moment: the engine double calls back once so many
bytes came. What happens in a container is done by a process in it, or by `docker`, at a random
moment; then "it was done already" is as good an answer as any.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.cli import dcp as dcp_module
from tests.conftest import Command, wait_for
from tests.faults.double import EngineDouble, Fault
from tests.faults.scene import (
    LINE_NEW,
    LINE_OLD,
    MEGA,
    answers,
    content,
    hidden_here,
    hidden_inside,
    judge,
    sums,
    sums_inside,
)

pytestmark = pytest.mark.timeout(300)

SIZE = 6 * MEGA  # more than a socket holds: the end is not read yet when the start has come


# ------------------------------------------------------------------- the source here, on the double


@pytest.fixture
def here(double: EngineDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for key, value in double.env.items():
        monkeypatch.setenv(key, value)
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    double.put("/out/old", b"OLD")
    yield place


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more" * 1000)


def _shrink(path: Path) -> None:
    os.truncate(path, 2 * MEGA)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(SIZE - 1000)
        file.write(b"X" * 1000)
    os.utime(path, (1, 1))


@pytest.mark.parametrize(
    ("change", "code", "arrives", "says"),
    [
        (_append, 0, "prefix", "grew"),
        (_shrink, 1, "old", "shorter"),
        (_overwrite, 1, "old", "changed while it was read"),
        (Path.unlink, 0, "prefix", ""),
    ],
    ids=["grows", "shrinks", "is overwritten", "is removed"],
)
def test_a_file_that_is_pushed(
    change: Callable[[Path], object],
    code: int,
    arrives: str,
    says: str,
    here: Path,
    double: EngineDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = content(LINE_NEW, SIZE)
    source = here / "f"
    source.write_bytes(data)
    os.utime(source, (1_600_000_000, 1_600_000_000))
    double.faults["put"] = Fault(at=MEGA, during=lambda: change(source))
    assert dcp_module.main(["f", "double:/out/old"]) == code
    said = capsys.readouterr().err
    assert says in said
    assert not says or "f" in said
    assert double.read("/out/old") == (data if arrives == "prefix" else b"OLD")
    assert not [p for p in double.tree if ".volcopy-" in p]


def test_inconsistent_is_taken_when_asked_for(here: Path, double: EngineDouble) -> None:
    (here / "f").write_bytes(content(LINE_NEW, SIZE))
    double.faults["put"] = Fault(at=MEGA, during=lambda: _overwrite(here / "f"))
    assert dcp_module.main(["--inconsistent", "f", "double:/out/old"]) == 0
    assert len(double.read("/out/old")) == SIZE


def _lose_file(top: Path) -> None:
    (top / "z").unlink()


def _lose_directory(top: Path) -> None:
    (top / "y" / "f").unlink()
    (top / "y").rmdir()


def _becomes_link(top: Path) -> None:
    (top / "z").unlink()
    (top / "z").symlink_to("/etc/passwd")


@pytest.mark.parametrize("change", [_lose_file, _lose_directory, _becomes_link])
def test_a_tree_that_is_pushed(
    change: Callable[[Path], object],
    here: Path,
    double: EngineDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What vanishes is named or is not missed; everything else arrives; nothing follows a link."""
    top = here / "t"
    (top / "y").mkdir(parents=True)
    (top / "a").write_bytes(content(LINE_NEW, SIZE))
    (top / "y" / "f").write_bytes(b"f")
    (top / "z").write_bytes(b"z")
    double.faults["put"] = Fault(at=MEGA, during=lambda: change(top))
    code = dcp_module.main(["t", "double:/out/"])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(double.read("/out/t/a")) == SIZE
    names = set(double.names("/out/t"))
    if change is _lose_file:
        assert (code == 1 and "z" in said) or "z" not in names
        assert double.read("/out/t/y/f") == b"f"
    elif change is _lose_directory:
        assert code == 1 or "y" not in names
        assert double.read("/out/t/z") == b"z"
    else:
        node = double.tree.get("/out/t/z")
        assert node is None or node.kind == "link"
    assert not [p for p in double.tree if ".volcopy-" in p]


@pytest.mark.usefixtures("each_access")
def test_a_log_that_is_written_all_the_time(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """Appended to while it is pushed and pulled: a consistent prefix, exit status 0 (O15)."""
    name = container()
    line = "0123456789 a line of the log"
    log = tmp_path / "log"
    log.write_bytes((line + "\n").encode() * 200_000)
    first = log.stat().st_size
    writer = subprocess.Popen(["sh", "-c", f"while echo '{line}' >>log; do :; done"], cwd=tmp_path)
    try:
        for _ in range(3):
            dcp("log", f"{name}:/log").ok()
            found = docker.read(name, "/log")
            assert len(found) >= first
            assert log.read_bytes().startswith(found)
    finally:
        writer.kill()
        writer.wait()
    docker.sh(name, f"(while :; do echo '{line}' >>/log; done) >/dev/null 2>&1 &")
    for _ in range(3):
        done = dcp(f"{name}:/log", "pulled")
        assert done.code == 0, done.err
        found = (tmp_path / "pulled").read_bytes()
        assert len(found) >= first
        assert found.startswith(log.read_bytes()[:first])
        for part in found[-2000:].split(b"\n")[1:-1]:
            assert part.decode() == line


# -------------------------------------------------------------------- the source in the container


@pytest.mark.usefixtures("each_access")
def test_a_file_that_shrinks_while_it_is_pulled(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """Whole, or refused with the old file untouched: never a short file under its name."""
    name = container()
    size = 30 * MEGA
    docker.write(name, "/keep", content(LINE_NEW, size))
    docker.sh(
        name,
        f"(while :; do cp /keep /f; truncate -s {size // 3} /f; truncate -s {size} /f; done)"
        " >/dev/null 2>&1 &",
    )
    wait_for(lambda: docker.raw("exec", name, "test", "-s", "/f").returncode == 0, "the file")
    for turn in range(5):
        (tmp_path / "f").write_bytes(b"OLD")
        done = dcp(f"{name}:/f", "f")
        found = (tmp_path / "f").read_bytes()
        if done.code:
            assert found == b"OLD", done.err
            assert "f" in done.err and "Traceback" not in done.err
        else:
            assert len(found) in range(size + 1) and found != b"OLD", turn
        assert hidden_here(tmp_path) == []


@pytest.mark.usefixtures("each_access")
def test_files_that_come_and_go_while_a_tree_is_pulled(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """What was there all the time arrives; what vanished is named, and then the status is not 0."""
    name = container()
    docker.sh(
        name,
        "mkdir -p /t/s; i=0; while [ $i -lt 300 ]; do echo stays >/t/s/stay$i; i=$((i+1)); done;"
        "(while :; do i=0; while [ $i -lt 40 ]; do echo x >/t/s/go$i; i=$((i+1)); done;"
        " rm -f /t/s/go*; done) >/dev/null 2>&1 &",
    )
    for turn in range(6):
        done = dcp(f"{name}:/t/.", f"got{turn}")
        assert "Traceback" not in done.err
        got = tmp_path / f"got{turn}"
        if done.code == 0:
            stays = [p for p in (got / "s").iterdir() if p.name.startswith("stay")]
            assert len(stays) == 300
            assert all(p.read_text() == "stays\n" for p in stays)
        else:
            said = ("/go", "changed all the time", "unexpected EOF")
            assert any(words in done.err for words in said), done.err
        assert hidden_here(tmp_path) == []


@pytest.mark.usefixtures("each_access")
def test_a_file_that_is_overwritten_while_it_is_pulled(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """Either one content or the other, or it is said: never a silent mixture of both."""
    name = container()
    size = 40 * MEGA
    both = {content(LINE_OLD, size), content(LINE_NEW, size)}
    for word, line in (("one", LINE_OLD), ("two", LINE_NEW)):
        docker.write(name, f"/{word}", content(line, size))
    docker.sh(
        name,
        "cp /one /f; (while :; do dd if=/two of=/f bs=1M conv=notrunc;"
        " dd if=/one of=/f bs=1M conv=notrunc; done) >/dev/null 2>&1 &",
    )
    for _ in range(4):
        (tmp_path / "f").write_bytes(b"OLD")
        done = dcp(f"{name}:/f", "f")
        found = (tmp_path / "f").read_bytes()
        if done.code:
            assert found == b"OLD"
            assert "changed" in done.err and "f" in done.err
        else:
            assert found in both or "changed" in done.err, "a mixture, and nobody said so"


@pytest.mark.usefixtures("each_access")
def test_a_tree_with_a_file_that_is_overwritten_all_the_time(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """That file is named and does not get its name; everything else arrives."""
    name = container()
    size = 30 * MEGA
    docker.sh(
        name,
        "mkdir -p /t/s /out; echo stays >/t/stays; echo too >/t/s/too;"
        f"yes | head -c {size} >/t/s/busy; ln /t/s/busy /t/s/second;"
        "(while :; do echo x 1<>/t/s/busy; done) >/dev/null 2>&1 &",
    )
    for turn in range(20):  # now and then the writer may not get its turn in all that time
        done = dcp(f"{name}:/t", f"got{turn}")
        if done.code:
            break
        assert (tmp_path / f"got{turn}" / "s" / "busy").stat().st_size == size
    assert done.code == 1
    assert "s/busy: changed while it was read" in done.err or "s/second: changed" in done.err
    got = tmp_path / f"got{turn}"
    assert (got / "stays").read_text() == "stays\n" and (got / "s" / "too").read_text() == "too\n"
    assert not ((got / "s" / "busy").exists() and (got / "s" / "second").exists())
    done = dcp("--inconsistent", f"{name}:/t", "all").ok()
    assert (tmp_path / "all/s/busy").stat().st_size == size
    # between containers nothing is sent at all
    for _ in range(20):
        done = dcp(f"{name}:/t", f"{name}:/out/")
        if done.code:
            break
        docker.sh(name, "rm -r /out/t")
    assert done.code == 1 and "changed while it was read" in done.err
    assert sums_inside(docker, name, "/out") == {}
    dcp("--inconsistent", f"{name}:/t", f"{name}:/out/").ok()


# --------------------------------------------------------------------------- the container itself


def _host_kill(docker: Any, name: str) -> None:
    os.kill(docker.inspect(name)["State"]["Pid"], signal.SIGKILL)


EVENTS = {
    "stop": ["stop", "-t", "1"],
    "kill": ["kill"],
    "remove": ["rm", "-f"],
    "rename": ["rename"],
    "pause": ["pause"],
    "restart": ["restart", "-t", "1"],
    "kill from outside": [],
    "recreate": [],
}
BIG = 24 * MEGA


@pytest.fixture(scope="module")
def contents(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, str], dict[str, str]]:
    """A directory with large files `old` and `new`, and their sums."""
    top = tmp_path_factory.mktemp("contents")
    (top / "old").write_bytes(content(LINE_OLD, BIG))
    (top / "new").write_bytes(content(LINE_NEW, BIG))
    return top, sums(top / "old"), sums(top / "new")


@pytest.mark.parametrize("way", ["pull", "push"])
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.usefixtures("each_access")
def test_the_container_in_the_middle(
    event: str,
    way: str,
    docker: Any,
    container: Any,
    dcp: Command,
    volcopy: Command,
    tmp_path: Path,
    image: str,
    contents: tuple[Path, dict[str, str], dict[str, str]],
) -> None:
    chance = random.Random(f"{event} {way}")
    here, old, new = contents
    name = container()
    pid = docker.inspect(name)["State"]["Pid"]
    if way == "pull":
        docker("cp", "-q", str(here / "new"), f"{name}:/f")
        shutil.copyfile(here / "old", tmp_path / "dst")
        argv = [f"{name}:/f", "dst"]
    else:
        docker("cp", "-q", str(here / "old"), f"{name}:/f")
        argv = [str(here / "new"), f"{name}:/f"]
    again = f"{name}-again"
    acting: subprocess.Popen[bytes] | None = None
    try:
        with dcp.start(*argv) as process:
            # not a wait: a random moment
            time.sleep(chance.uniform(0.05, 0.4))
            if event == "kill from outside":
                os.kill(pid, signal.SIGKILL)
            elif event == "recreate":
                script = (
                    f"docker rm -f {name} >/dev/null;"
                    f" docker run -d --network none --name {name} {image} sleep 100000"
                )
                acting = subprocess.Popen(["sh", "-c", script], stdout=subprocess.DEVNULL)
            else:
                more = [again] if event == "rename" else []
                acting = subprocess.Popen(
                    ["docker", *EVENTS[event], name, *more],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            code = process.wait(timeout=120)
            said = process.stderr.read().decode()
        if acting is not None:
            acting.wait(timeout=120)
        assert "Traceback" not in said
        now = again if event == "rename" else name
        if event == "pause":
            docker("unpause", now)
        elif event in ("stop", "kill", "kill from outside"):
            wait_for(lambda: not docker.inspect(now)["State"]["Running"], "its end")
            docker("start", now)
        if way == "pull":
            found = judge(sums(tmp_path / "dst"), old, new)
            assert found == ("old" if code else "new"), said
        elif event == "recreate":
            # the new one of that name is not the one that was named
            assert sums_inside(docker, name, "/f") == {} or code == 0
        elif event != "remove":
            found = judge(sums_inside(docker, now, "/f"), old, new)
            assert found == "new" or code, said
        volcopy("clean").ok()
        assert hidden_here(tmp_path) == []
        if event != "remove":
            answers(docker, now)
            assert hidden_inside(docker, now, "/", "-xdev") == []
    finally:
        if event == "rename":
            docker.raw("rename", again, name)


# --------------------------------------------------------------------------- the listing

# What busybox tells of entries is asked after its walk: here it walked by while they were links.
LATE_FIND = """#!/bin/busybox sh
read left </times
case "$*" in
  *//d*)
    if [ $left -gt 0 ]; then
      echo $((left - 1)) >/times
      /bin/busybox find "$@" | /bin/busybox sed "s#^//d#//o#"
      exit
    fi ;;
esac
exec /bin/busybox find "$@"
"""


@pytest.mark.parametrize("times", [1, 1000])
def test_a_link_that_becomes_a_directory_while_it_is_listed(
    times: int, docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """It is listed again: after the archive, and up to three times before that is read anew.

    Where that happens each time, the status is not 0 and it says why.
    """
    name = container()
    docker.sh(name, f"mkdir -p /t/d; echo x >/t/d/file; rm /bin/find; echo {times} >/times")
    docker.write(name, "/find", LATE_FIND.encode())
    docker.sh(name, "chmod 755 /find; mv /find /bin/find")
    done = dcp("--access", "api", f"{name}:/t/.", "got")
    assert (tmp_path / "got" / "d" / "file").read_text() == "x\n"
    assert docker.sh(name, "cat /times") == ("0" if times == 1 else str(times - 4))
    if times == 1:
        assert done.code == 0, done.err
    else:
        assert done.code == 1
        assert f"{name}:/t/.: changed all the time while it was listed" in done.err
