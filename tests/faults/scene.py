"""A container with enough in it to be interrupted, and a look at what is there afterwards.

Contents are such that old and new bytes can be told apart anywhere: a file is `old`, `new`, or torn.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from tests.conftest import wait_for

MEGA = 1 << 20
LINE_OLD, LINE_NEW = b"this is what was there before.\n", b"and these are the new contents!\n"


def content(line: bytes, size: int) -> bytes:
    """`size` bytes of one line again and again."""
    return (line * (size // len(line) + 1))[:size]


def fill(directory: Path, line: bytes, *, big: int, small: int = 60) -> None:
    """A file `big` of so many bytes, and a tree `tree` of small ones and one of a tenth of it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "big").write_bytes(content(line, big))
    for n in range(small):
        path = directory / "tree" / f"d{n % 7}" / f"f{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(line, 100 + 997 * n))
    (directory / "tree" / "middle").write_bytes(content(line, big // 10))


def sums(top: Path) -> dict[str, str]:
    """SHA-256 of every file below a path here, by its path below it ("" is the file itself)."""
    if top.is_file():
        return {"": hashlib.sha256(top.read_bytes()).hexdigest()}
    return {
        str(p.relative_to(top)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(top.rglob("*"))
        if p.is_file()
    }


def sums_inside(docker: Any, name: str, path: str) -> dict[str, str]:
    """The same in a running container."""
    script = 'cd / && [ -e "$1" ] || exit 0; find "$1" -type f -exec sha256sum {} +'
    out = docker("exec", "-u", "0:0", name, "sh", "-c", script, "sh", path)
    found = {}
    for line in out.splitlines():
        digest, _, file = line.partition("  ")
        found[file[len(path) :].lstrip("/")] = digest
    return found


def hidden_here(top: Path) -> list[str]:
    """Names of our form below a directory here."""
    return [os.path.join(where, n) for where, ds, fs in os.walk(top) for n in ds + fs if n.startswith(".volcopy-")]  # fmt: skip


def hidden_inside(docker: Any, name: str, *paths: str) -> list[str]:
    """Names of our form in a running container."""
    out: str = docker("exec", "-u", "0:0", name, "find", *paths, "-name", ".volcopy-*")
    return out.splitlines()


def judge(found: dict[str, str], old: dict[str, str], new: dict[str, str]) -> str:
    """`old`, `new` or `mixed` (each file whole); a torn file, or a lost one, fails the test.

    Temporaries are not looked at: they are what `volcopy clean` removes.
    """
    found = {name: digest for name, digest in found.items() if ".volcopy-" not in name}
    if found == new:
        return "new"
    if found == old:
        return "old"
    for name, digest in found.items():
        assert digest in (old.get(name), new.get(name)), f"{name or 'the file'} is torn"
    assert set(old) <= set(found), f"lost: {sorted(set(old) - set(found))}"
    return "mixed"


def answers(docker: Any, name: str) -> None:
    """The container is free: inspect and exec come back."""
    assert docker.raw("inspect", name, timeout=60).returncode == 0
    done = docker.raw("exec", name, "true", timeout=60)
    assert done.returncode == 0, done.stderr


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal, or is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    if "\nState:\tZ" in text:
        return True
    mask = int(text.partition("SigCgt:\t")[2].partition("\n")[0], 16)
    return bool(mask >> (number - 1) & 1)


def ready_for_signals(process: Any) -> None:
    """Wait until `dcp` has its handlers: the last one it sets is that of HUP."""
    wait_for(lambda: process.poll() is not None or handles(process.pid, 1), "the handlers")
