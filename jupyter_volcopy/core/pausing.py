"""`--pause` and `--durable`: what is asked of a container around a copy.

A paused container cannot change what is read; it is paused only for that long, and goes on whatever
happens. Where a program in it is needed for the reading (tmpfs) it cannot be paused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from jupyter_volcopy.core.here import is_here
from jupyter_volcopy.core.paths import clean
from jupyter_volcopy.core.record import replace
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.transfer import Place, Run
from jupyter_volcopy.errors import VolcopyError

__all__ = ["paused", "settle"]


@contextmanager
def paused(run: Run, place: Place, *, also: str = "") -> Iterator[Place]:
    """Within the block the container stands still, if it was running.

    Args:
        run: the transfer; says so where it cannot be.
        place: the container's side, to be read.
        also: id of a container that is written to: it has to go on.

    Yields:
        The same place, in a container that is paused.
    """
    container, reach = place.container, place.reach
    path = clean(place.path)
    if not container.running:
        yield place
        return
    if reach.is_live(path) or reach.live_below(path) or also == container.id:
        run.report.warnings.append(
            Note(place.typed, "not paused: a program in the container is needed", "pause")
        )
        yield place
        return
    run.engine.json("POST", f"/containers/{container.id}/pause")
    still = replace(container, state="paused")
    try:
        yield replace(place, container=still, reach=replace(reach, container=still))
    finally:
        try:
            run.engine.json("POST", f"/containers/{container.id}/unpause")
        except VolcopyError as error:
            run.report.warnings.append(
                Note(container.name, f"is still paused: {error.message}", "pause")
            )


def settle(run: Run, place: Place) -> None:
    """Have what was written in a container flushed to disk, or say that it was not.

    `sync` in the container, which flushes its file systems; without it the same call here, where
    the engine's kernel is ours.
    """
    if place.container.running:
        try:
            if run.engine.execute(place.container.id, ["sync"]).exit_code == 0:
                return
        except VolcopyError:
            pass
    if is_here(run.engine.address):
        os.sync()
        return
    run.report.warnings.append(
        Note(place.typed, "could not be flushed to disk: no `sync` in the container", "durable")
    )
