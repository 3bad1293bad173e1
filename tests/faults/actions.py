"""What the fault tests do to the engine double, and what must be true of it afterwards.

An `Action` is one command with its ground laid: old content at the destination, new content at the
source. `state()` says what stands at the destination: `old`, `new`, `mixed` (a tree in which every
file is whole, old or new), or it fails the test because something is torn.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.double import EngineDouble

OLD, NEW = b"old " * 20_000, b"new! " * 60_000
SMALL_OLD, SMALL_NEW = b"o" * 700, b"n" * 900


@dataclass
class Ground:
    """Where an action plays: a directory here, the double there."""

    here: Path
    double: EngineDouble

    def local(self, name: str) -> dict[str, bytes]:
        """Files below a local name, by their path below it ("" is the file itself)."""
        top = self.here / name
        if top.is_file():
            return {"": top.read_bytes()}
        return {
            str(p.relative_to(top)): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()
        }

    def inside(self, path: str) -> dict[str, bytes]:
        """Files below a path of the double's container, likewise, hidden names left out."""
        return {
            p[len(path) :].lstrip("/"): node.data
            for p, node in self.double.tree.items()
            if (p == path or p.startswith(path + "/"))
            and node.kind == "file"
            and "/.volcopy-" not in p
        }

    def hidden(self) -> list[str]:
        """Hidden names that are left, on both sides."""
        found = [p for p in self.double.tree if "/.volcopy-" in p]
        return found + [
            str(p.relative_to(self.here)) for p in self.here.rglob("*") if ".volcopy-" in p.name
        ]


@dataclass(frozen=True)
class Action:
    """One command.

    Attributes:
        name: of the row.
        steps: kinds of calls it makes.
        lay: lays the ground.
        argv: of `dcp` (of `volcopy` for the list).
        look: files at the destination now.
        old, new: what they are before and after.
    """

    name: str
    steps: frozenset[str]
    lay: Callable[[Ground], None]
    argv: tuple[str, ...]
    look: Callable[[Ground], dict[str, bytes]]
    old: dict[str, bytes]
    new: dict[str, bytes]

    def state(self, ground: Ground) -> str:
        """`old`, `new`, or `mixed`; anything torn fails."""
        found = self.look(ground)
        if found == self.old:
            return "old"
        if found == self.new:
            return "new"
        for name, data in found.items():
            whole = data in (self.old.get(name), self.new.get(name))
            assert whole, f"{name}: {len(data)} bytes, neither the old nor the new ones"
        assert set(self.old) <= set(found), f"lost: {set(self.old) - set(found)}"
        return "mixed"


TREE_OLD = {"a": SMALL_OLD, "s/b": OLD, "kept": b"kept"}
TREE_NEW = {"a": SMALL_NEW, "s/b": NEW, "s/c": SMALL_NEW, "kept": b"kept"}
TREE_SOURCE = {name: data for name, data in TREE_NEW.items() if name != "kept"}


def _write(top: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = top / name if name else top
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1_600_000_000, 1_600_000_000))


def _put(double: EngineDouble, top: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        double.put(f"{top}/{name}" if name else top, data)


def _lay(source: dict[str, bytes], old: dict[str, bytes], way: str) -> Callable[[Ground], None]:
    def lay(ground: Ground) -> None:
        ground.double.mkdir("/out")
        if way == "push":
            _write(ground.here / "src", source)
        else:
            _put(ground.double, "/src", source)
        if way == "pull":
            _write(ground.here / "dst", old)
        else:
            _put(ground.double, "/out/dst", old)

    return lay


def _action(name: str, way: str, source: dict[str, bytes], old: dict[str, bytes]) -> Action:
    tree = "" not in source
    merged = {**old, **source} if tree else source
    typed = "src/." if tree else "src"
    steps = {
        "pull": {"inspect", "get"},
        "push": {"inspect", "head", "put"},
        "copy": {"inspect", "head", "get", "put"},
    }[way]
    there = "double:/out/dst"
    argv = {
        "pull": (f"double:/{typed}", "dst"),
        "push": (typed, there),
        "copy": (f"double:/{typed}", there),
    }[way]

    def look(ground: Ground) -> dict[str, bytes]:
        return ground.local("dst") if way == "pull" else ground.inside("/out/dst")

    return Action(name, frozenset(steps), _lay(source, old, way), argv, look, old, merged)


ACTIONS = [
    _action("pull a file", "pull", {"": NEW}, {"": OLD}),
    _action("pull a new file", "pull", {"": NEW}, {}),
    _action("pull a tree", "pull", TREE_SOURCE, TREE_OLD),
    _action("pull a new tree", "pull", TREE_SOURCE, {}),
    _action("push a file", "push", {"": NEW}, {"": OLD}),
    _action("push a new file", "push", {"": NEW}, {}),
    _action("push a tree", "push", TREE_SOURCE, TREE_OLD),
    _action("copy a file", "copy", {"": NEW}, {"": OLD}),
    _action("copy a tree", "copy", TREE_SOURCE, TREE_OLD),
]

LIST = Action(
    "list",
    frozenset({"inspect", "head", "get"}),
    _lay(TREE_SOURCE, {}, "pull"),
    ("ls", "double:/src"),
    lambda ground: {},
    {},
    {},
)
