"""All containers, in every state: what a copy can name.

The user a container runs as is asked of each container, as long as they are not too many. One that
is being copied by `docker cp` does not answer until that copy ends; nobody waits longer than a few
seconds for it: `?` is shown.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import VolcopyError
from jupyter_volcopy.text import table

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.engine import Engine
    from jupyter_volcopy.core.model import Container

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "containers, in every state"

_PATIENCE = 4.0  # seconds to wait for all answers
_AT_ONCE = 8
_MANY = 300  # from so many containers on the one call that lists them must do (safety F20)


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `volcopy ps`."""
    parser.add_argument("name", nargs="*", help="only those whose name contains one of these")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the names")


def _details(engine: Engine, listed: Sequence[Container]) -> dict[str, Container]:
    """What inspect says of each, by id, as far as it came in time."""
    import queue
    import threading
    import time

    todo: queue.SimpleQueue[Container] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Container | None]] = queue.SimpleQueue()
    for item in listed:
        todo.put(item)

    def ask() -> None:
        while True:
            try:
                item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((item.id, engine.container(item.id)))
            except VolcopyError:
                done.put((item.id, None))  # removed meanwhile

    for _ in range(min(_AT_ONCE, len(listed))):
        threading.Thread(target=ask, daemon=True).start()
    found: dict[str, Container] = {}
    deadline = time.monotonic() + _PATIENCE
    for _ in listed:
        try:
            ident, container = done.get(timeout=max(0.01, deadline - time.monotonic()))
        except queue.Empty:
            break
        if container is not None:
            found[ident] = container
    return found


def run(args: Namespace, door: Door) -> int:
    """List containers."""
    engine = door.engine()
    listed = sorted(
        (item for item in engine.containers() if not item.is_helper), key=lambda item: item.name
    )
    if args.name:
        listed = [item for item in listed if any(part in item.name for part in args.name)]
    if args.quiet and not args.json:
        for item in listed:
            door.out(item.name)
        return 0
    details = _details(engine, listed) if len(listed) <= _MANY else {}
    if args.json:
        door.json([details.get(item.id, item).to_dict() for item in listed])
        return 0
    rows = []
    for item in listed:
        more = details.get(item.id)
        user = "?" if more is None else more.user or "root"
        mounts = len(item.mounts if more is None else more.mounts)
        rows.append((item.name, item.state, item.image, user, mounts))
    headers = ("NAME", "STATE", "IMAGE", "USER", "MOUNTS")
    for line in table(rows, headers, right="MOUNTS"):
        door.out(line)
    return 0
