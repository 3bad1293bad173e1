"""A process in the container swaps a directory for a link while it is copied (S13, S16).

The swapping is done with renameat2(EXCHANGE) on the container's own root, as the fastest process in
it would. Pulled: nothing is written outside of the destination here, each pull is whole or refused.
Pushed: nothing here is touched, nobody's file in the container changes hands, a static link is never
gone through.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.cli import dcp as dcp_module
from tests.conftest import Command, wait_for
from tests.faults.scene import answers, hidden_here, hidden_inside
from tests.unit.local_setup import look, needs_root

PULLS = int(os.environ.get("VOLCOPY_TEST_RACES", "10"))
FILES = 60

pytestmark = [needs_root, pytest.mark.timeout(400)]


@contextmanager
def swapping(docker: Any, name: str, directory: str, tmp_path: Path) -> Iterator[Any]:
    """`sub` and `evil` in a directory of the container are swapped; yields how often so far."""
    pid = docker.inspect(name)["State"]["Pid"]
    root = f"/proc/{pid}/root{directory}"
    if not os.path.isdir(root):
        pytest.skip("the engine's containers are not on this machine")
    script = os.path.join(os.path.dirname(__file__), "swapper.py")
    counter, stop = tmp_path / "swaps", tmp_path / "stop"
    process = subprocess.Popen(
        [sys.executable, script, "0", root, "sub", "evil", str(counter), str(stop)]
    )

    def swaps() -> int:
        assert process.poll() is None, "the swapper ended by itself"
        return int(counter.read_text() or 0) if counter.exists() else 0

    try:
        wait_for(swaps, "the first swap")
        yield swaps
        stop.write_bytes(b"")
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.usefixtures("each_access")
def test_nothing_outside_is_written(
    docker: Any, container: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    (outside / "f0").write_bytes(b"mine")
    (outside / "below" / "y").write_bytes(b"mine")
    name = container()
    docker.sh(
        name,
        "mkdir -p /t/sub/below; i=0;"
        f"while [ $i -lt {FILES} ]; do head -c 3000 /dev/zero | tr '\\0' t >/t/sub/f$i; i=$((i+1)); done;"
        f"echo theirs >/t/sub/below/y; ln -s {outside} /t/evil; echo last >/t/z",
    )
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = look(str(outside))
    whole = refused = 0
    with swapping(docker, name, "/t", tmp_path) as swaps:
        for turn in range(PULLS):
            # into a new directory, and into one that has been there before
            target = f"new{turn}" if turn % 2 else "old"
            code = dcp_module.main(["-q", f"{name}:/t/.", target])
            assert look(str(outside)) == before, f"pull {turn} wrote outside"
            if code:
                refused += 1  # or what did not come is named
                assert "dcp: " in capsys.readouterr().err
                continue
            whole += 1
            got = here / target
            assert (got / "z").read_bytes() == b"last\n"
            real = [p for p in (got / "sub", got / "evil") if p.is_dir() and not p.is_symlink()]
            for top in real:
                assert {p.name for p in top.iterdir()} == {f"f{n}" for n in range(FILES)} | {
                    "below"
                }
                assert all(len((top / f"f{n}").read_bytes()) == 3000 for n in range(FILES))
            # Each name is looked at once: between the two looks both may have been the link.
            names = [got / "sub", got / "evil"]
            assert real or all(p.is_symlink() for p in names), (
                "files are missing, and the status was 0"
            )
        assert swaps() > 0
    assert "Traceback" not in capsys.readouterr().err
    assert whole + refused == PULLS
    assert hidden_here(here) == []
    answers(docker, name)
    # left in peace it is whole
    assert dcp_module.main(["-q", f"{name}:/t/.", "peace"]) == 0


@pytest.mark.usefixtures("each_access")
def test_a_link_in_the_container_is_not_gone_through(
    docker: Any, container: Any, dcp: Command, tmp_path: Path
) -> None:
    """`l -> /etc` stands there, a tree with `l/x` is pushed: refused, nothing changed (S16)."""
    name = container()
    docker.sh(name, "mkdir -p /w/t; ln -s /etc /w/t/l; echo old >/w/t/f")
    (tmp_path / "t" / "l").mkdir(parents=True)
    (tmp_path / "t" / "l" / "passwd").write_bytes(b"evil")
    (tmp_path / "t" / "f").write_bytes(b"new")
    before = docker.read(name, "/etc/passwd")
    for argv in (["t", f"{name}:/w/"], ["t/.", f"{name}:/w/t"]):
        done = dcp(*argv)
        assert done.code == 1 and "l" in done.err
        assert docker.read(name, "/etc/passwd") == before
        assert docker.read(name, "/w/t/f") == b"old\n"
    assert hidden_inside(docker, name, "/", "-xdev") == []


@pytest.mark.usefixtures("each_access")
def test_pushes_into_a_place_that_is_swapped(
    docker: Any,
    container: Any,
    volcopy: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    host = tmp_path / "outside"
    host.mkdir()
    (host / "x").write_bytes(b"mine")
    name = container()
    docker.sh(
        name,
        f"mkdir -p /w/sub {host} /other; echo theirs >/w/sub/x;"
        f"ln -s {host} /w/evil; echo keep >{host}/keep; chmod 600 {host}/keep;"
        f"chown 1234:1234 {host}/keep; cp -a {host}/keep /other/keep; chown -R 1000:100 /w",
    )
    here = tmp_path / "here"
    (here / "src" / "sub").mkdir(parents=True)
    for n in range(20):
        (here / "src" / "sub" / f"n{n}").write_bytes(b"pushed")
    monkeypatch.chdir(here)
    before = look(str(host))
    facts = f"stat -c '%n %u:%g %a %s' {host}/keep /other/keep; cat {host}/keep /other/keep"
    theirs = docker.sh(name, facts)
    with swapping(docker, name, "/w", tmp_path) as swaps:
        for turn in range(PULLS // 2):
            code = dcp_module.main(["-q", "src/.", f"{name}:/w"])
            assert code in (0, 1, 5), code
            assert look(str(host)) == before, f"push {turn} wrote on this machine"
            assert docker.sh(name, facts) == theirs
        assert swaps() > 0
    assert "Traceback" not in capsys.readouterr().err
    answers(docker, name)
    volcopy("clean").ok()
    assert hidden_inside(docker, name, "/", "-xdev") == []
    assert dcp_module.main(["-q", "src/sub/.", f"{name}:/w/peace"]) == 0
    assert docker.sh(name, "cat /w/peace/n19") == "pushed"
