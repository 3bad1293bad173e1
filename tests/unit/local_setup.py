"""What the tests of local files share: entries, a look at a tree, work done as another user."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Entry, Kind
from jupyter_volcopy.core.stage import Stage
from tests.conftest import wait_for

OLD = 1_000_000_000
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as several users")


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """After the block no more is open than before; what earlier tests left may be closed meanwhile."""

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    gc.collect()
    before = opened()
    yield
    wait_for(lambda: opened() <= before, "the descriptors to be closed", 10)


def D(name: str, mode: int = 0o755, mtime: float = OLD, **kw: object) -> tuple[str, Entry, None]:
    return name, Entry(name, Kind.DIRECTORY, mode, mtime_ns=int(mtime * 10**9), **kw), None


def F(
    name: str, data: bytes = b"hello\n", mode: int = 0o644, mtime: float = OLD, **kw: object
) -> tuple[str, Entry, bytes]:
    return (
        name,
        Entry(name, Kind.FILE, mode, size=len(data), mtime_ns=int(mtime * 10**9), **kw),
        data,
    )


def L(name: str, target: str, mtime: float = OLD) -> tuple[str, Entry, None]:
    return name, Entry(name, Kind.SYMLINK, 0o777, link=target, mtime_ns=int(mtime * 10**9)), None


def H(name: str, target: str) -> tuple[str, Entry, None]:
    return name, Entry(name, Kind.HARDLINK, link=target), None


def P(name: str, mode: int = 0o644) -> tuple[str, Entry, None]:
    return name, Entry(name, Kind.FIFO, mode, mtime_ns=OLD * 10**9), None


def C(name: str, major: int = 1, minor: int = 3) -> tuple[str, Entry, None]:
    kind = Kind.CHARACTER
    return name, Entry(name, kind, 0o666, mtime_ns=OLD * 10**9, major=major, minor=minor), None


def hand_over(data: bytes | None) -> Callable[[Callable[[memoryview], object]], int] | None:
    """What a tar reader's `read` does: pieces of one reused buffer."""
    if data is None:
        return None

    def read(write: Callable[[memoryview], object]) -> int:
        buffer = bytearray(1 << 20)
        view = memoryview(buffer)
        for start in range(0, len(data), len(buffer)):
            piece = data[start : start + len(buffer)]
            buffer[: len(piece)] = piece
            write(view[: len(piece)])
        return len(data)

    return read


def fill(stage: Stage, nodes: list[tuple[str, Entry, bytes | None]]) -> None:
    for rel, entry, data in nodes:
        stage.add(entry, rel, hand_over(data))


def copy(directory: str, name: str, nodes: list, *, existing: str = "replace", **kw: object):
    """The whole way; returns what `commit` said, and the stage for its notes."""
    options = {"safe": False, "owner": None, "journal": Journal(directory + "/../journal"), **kw}
    stage = Stage(directory, name, **options)
    try:
        fill(stage, nodes)
        stage.check(existing=existing)
        return stage.commit(existing=existing), stage
    finally:
        stage.abort()
        if "journal" not in kw:
            options["journal"].close()


def look(root: str) -> dict[str, tuple]:
    """Every path below (and "" itself) with all that a copy must get right."""
    found: dict[str, tuple] = {}
    inodes: dict[tuple[int, int], str] = {}

    def visit(path: bytes, rel: bytes) -> None:
        info = os.lstat(path)
        kind = stat.S_IFMT(info.st_mode)
        more: object = None
        if stat.S_ISREG(kind) and os.access(path, os.R_OK):
            with open(path, "rb") as file:
                more = file.read()
        elif stat.S_ISLNK(kind):
            more = os.readlink(path)
        elif stat.S_ISCHR(kind):
            more = info.st_rdev
        same = ""
        if info.st_nlink > 1 and not stat.S_ISDIR(kind):
            same = inodes.setdefault((info.st_dev, info.st_ino), os.fsdecode(rel))
        found[os.fsdecode(rel)] = (
            kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime, more, same
        )  # fmt: skip
        if stat.S_ISDIR(kind):
            for name in sorted(os.listdir(path)):
                visit(path + b"/" + name, rel + b"/" + name if rel else name)

    visit(os.fsencode(root), b"")
    return found


def contents(root: str) -> dict[str, object]:
    """Path to bytes, link text or None: only what is there."""
    return {rel: facts[5] for rel, facts in look(root).items() if rel}


def put(path: str, data: bytes = b"old\n", mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def age(root: str) -> None:
    """Give everything below an old time."""
    for path, names, files in os.walk(root, topdown=False):
        for name in names + files:
            os.utime(os.path.join(path, name), (OLD, OLD), follow_symlinks=False)
        os.utime(path, (OLD, OLD))


def as_user(work: Callable[[], object], uid: int = NOBODY, gid: int = NOBODY) -> None:
    """Run `work` in a child process with that user's rights; its failure is ours."""
    import ctypes  # noqa: F401 - loaded before the rights are gone
    import fcntl  # noqa: F401

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            work()
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@contextmanager
def small_disk(path: str, size: str = "2m") -> Iterator[str]:
    """A tmpfs of that size at `path`; the test is skipped where it may not be mounted."""
    os.makedirs(path, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", path], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"no tmpfs here: {done.stderr.decode(errors='replace').strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)
