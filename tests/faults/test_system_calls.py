"""Every single system call of a copy fails once (F5): the disk's error, a quota, a name that is gone.

A real disk cannot be made to fail at the n-th call, so the calls of our own modules are counted and one of
them answers with an error; the rest is real. Whichever it is: each file is old or new, what is refused is
said in a sentence, and the next run goes as if nothing had been, and leaves nothing of ours behind.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_volcopy.cli.dcp import main
from tests.faults.double import EngineDouble
from tests.faults.scene import LINE_NEW, LINE_OLD, content, hidden_here, judge, sums

CALLS = (
    "chmod", "chown", "copy_file_range", "fchmod", "fchown", "fdatasync", "fstat", "fsync", "ftruncate",
    "getxattr", "lchown", "link", "listdir", "listxattr", "lseek", "lstat", "makedirs", "mkdir", "mknod", "open",
    "posix_fallocate", "posix_fadvise", "pread", "preadv", "pwrite", "pwritev", "read", "readlink", "readv", "rename",
    "replace", "rmdir", "scandir", "sendfile", "setxattr", "splice", "stat", "statvfs", "symlink", "truncate",
    "unlink", "utime", "write", "writev",
)  # fmt: skip
MOST = 400
"""No copy here takes as many calls; else it would not be at its end."""


class Failing:
    """The n-th call that one of our modules makes of `CALLS` fails, once.

    Attributes:
        hit: which call it was, and of which module; "" while it has not come to it.
    """

    def __init__(self, number: int, code: int) -> None:
        self.left, self.code, self.hit = number, code, ""

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.startswith("jupyter_volcopy."):
                self.left -= 1
                if self.left == 0:
                    self.hit = f"{name} in {caller}"
                    raise OSError(self.code, os.strerror(self.code))
            return real(*args, **kwargs)

        return call


def run(number: int, code: int, *arguments: str) -> tuple[int, str, str]:
    """`dcp` in this process with the n-th call failing (0: none): exit status, what was said, which call."""
    failing = Failing(number, code)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, failing.wrap(name, getattr(os, name)))
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            status = main([*arguments])
    return status, said.getvalue(), failing.hit


@pytest.fixture
def place(tmp_path: Path, double: EngineDouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, value in double.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VOLCOPY_IDLE_TIMEOUT", "20")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield here


def each_call(
    arguments: tuple[str, ...],
    code: int,
    prepare: Callable[[], object],
    look: Callable[[], dict[str, str]],
    left: Callable[[], list[str]],
) -> int:
    """Run it once for each of its calls, that one failing; returns how many there were."""
    prepare()
    old = look()
    status, said, _ = run(0, code, *arguments)
    assert status == 0, said
    new = look()
    assert new != old
    for number in range(1, MOST):
        prepare()
        status, said, hit = run(number, code, *arguments)
        if not hit:
            return number - 1
        where = f"{os.strerror(code)} at call {number}, {hit}: exit {status}: {said}"
        assert "Traceback" not in said and "internal error" not in said, where
        try:
            outcome = judge(look(), old, new)
        except AssertionError as error:
            raise AssertionError(f"{where}\n{error}") from None
        if status == 0:
            assert outcome == "new", f"success was said of less than all: {where}"
        else:
            assert said.strip(), where
        status, said, _ = run(0, code, *arguments)
        assert status == 0, f"{where}\nand then: {said}"
        assert look() == new, where
        assert left() == [], f"left behind: {where}"
    pytest.fail("it does not come to an end")


ERRORS = [errno.EIO, errno.EDQUOT, errno.ENOENT]


WAYS = [
    *[(code, ()) for code in ERRORS],
    *[(errno.EIO, (o,)) for o in ("--safe", "--durable", "--update", "--parents", "-a")],
]


@pytest.mark.parametrize(("code", "options"), WAYS)
@pytest.mark.parametrize("what", ["file", "tree", "tree/s"])
def test_pull(
    what: str, code: int, options: tuple[str, ...], place: Path, double: EngineDouble
) -> None:
    size = 300_000
    double.put("/data/file", content(LINE_NEW, size))
    for name, length in (("a", 10), ("s/b", size), ("s/new", 5), ("z", 0)):
        double.put(f"/data/tree/{name}", content(LINE_NEW, length))
    double.put("/data/tree/s/link", kind="link", target="b")

    def prepare() -> None:
        shutil.rmtree(place)
        (place / "tree" / "s").mkdir(parents=True)
        os.chdir(place)
        (place / "file").write_bytes(content(LINE_OLD, 100_000))
        for name in ("tree/a", "tree/s/b", "tree/keep"):
            (place / name).write_bytes(content(LINE_OLD, 1000))

    count = each_call(
        (*options, f"{double.name}:/data/{what}", "."),
        code,
        prepare,
        lambda: sums(place),
        lambda: hidden_here(place),
    )
    assert count > 10


@pytest.mark.parametrize(("code", "options"), [*WAYS, (errno.EIO, ("--follow-all",))])
@pytest.mark.parametrize("what", ["file", "tree", "tree/s"])
def test_push(
    what: str, code: int, options: tuple[str, ...], place: Path, double: EngineDouble
) -> None:
    size = 300_000
    (place / "file").write_bytes(content(LINE_NEW, size))
    (place / "tree" / "s").mkdir(parents=True)
    for name, length in (("a", 10), ("s/b", size), ("s/new", 5), ("z", 0)):
        (place / "tree" / name).write_bytes(content(LINE_NEW, length))
    (place / "tree" / "s" / "link").symlink_to("b")

    def prepare() -> None:
        for path in [p for p in double.tree if p.startswith("/data/")]:
            del double.tree[path]
        double.mkdir("/data/tree/s")
        double.put("/data/file", content(LINE_OLD, 100_000))
        for name in ("tree/a", "tree/s/b", "tree/keep"):
            double.put(f"/data/{name}", content(LINE_OLD, 1000))

    def look() -> dict[str, str]:
        return {path: node.data.hex() for path, node in double.tree.items() if node.kind == "file"}

    def left() -> list[str]:
        return [path for path in double.tree if ".volcopy-" in path]

    count = each_call((*options, what, f"{double.name}:/data/"), code, prepare, look, left)
    assert count > 10


@pytest.mark.parametrize("code", [errno.EIO])
@pytest.mark.parametrize("what", ["file", "tree"])
@pytest.mark.parametrize("push", [False, True], ids=["pull", "push"])
def test_directly(
    push: bool,
    what: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    docker: Any,
    container: Any,
) -> None:
    """The same where the engine is gone past (root on its host)."""
    if os.geteuid():
        pytest.skip("direct access is root's")
    name = container()
    inside = Path(f"/proc/{docker.inspect(name)['State']['Pid']}/root/data")
    here = tmp_path / "here"
    source, target = (here, inside) if push else (inside, here)

    def fill(top: Path, line: bytes) -> None:
        shutil.rmtree(top, ignore_errors=True)
        (top / "tree" / "s").mkdir(parents=True)
        (top / "file").write_bytes(content(line, 100_000))
        for path, length in (("a", 10), ("s/b", 70_000)):
            (top / "tree" / path).write_bytes(content(line, length))

    def prepare() -> None:
        fill(target, LINE_OLD)
        (target / "tree" / "keep").write_bytes(b"kept")
        os.chdir(here)

    here.mkdir()
    fill(source, LINE_NEW)
    (source / "tree" / "s" / "new").write_bytes(b"new")
    monkeypatch.chdir(here)
    ends = (what, f"{name}:/data") if push else (f"{name}:/data/{what}", ".")
    count = each_call(
        ("--access", "direct", *ends),
        code,
        prepare,
        lambda: sums(target),
        lambda: hidden_here(target),
    )
    assert count > 10
