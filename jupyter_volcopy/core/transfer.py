"""What every transfer has in common: the engine, what was asked, counters, the report."""

from __future__ import annotations

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Container
from jupyter_volcopy.core.options import CopyOptions
from jupyter_volcopy.core.reach import Reach
from jupyter_volcopy.core.record import State, Value, each
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.errors import SourceChanged, TransferCancelled, VolcopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ROOM_MATTERS", "ROOT_USER", "Place", "Run", "twice"]

ROOT_USER = "0:0"
"""To look through a program in the container, as root: the way tmpfs is seen."""

ROOM_MATTERS = 64 << 10
"""Bytes from which free space is looked at before anything is written."""


class Run(State):
    """One transfer while it runs.

    Attributes:
        confirm: called before anything lands; what it raises keeps it from landing.
        list_first: what a directory holds is listed before it is read, not beside it.
        made: local directories made for it (`--parents`), outermost first.
    """

    engine: Engine
    options: CopyOptions
    journal: Journal
    report: Report
    meter: Meter = each(factory=Meter)
    cancel: Cancel = each(factory=Cancel)
    confirm: Callable[[], None] | None = None
    list_first: bool = False
    made: list[str] = each(factory=list)

    def sure(self) -> None:
        """`confirm`, where there is something to be confirmed: before a copy counts as done."""
        if self.confirm is not None:
            self.confirm()


class Place(Value):
    """One side of a transfer that lies in a container (a volume's is in one that mounts it).

    Attributes:
        container: inspected once; its id is used from then on (safety S23).
        reach: its mounts.
        path: as typed, below the volume's root for a volume.
        typed: the whole endpoint as typed, for messages.
    """

    container: Container
    reach: Reach
    path: str
    typed: str


def twice(run: Run, call: Callable[[], None]) -> None:
    """Do it once more if the source changed meanwhile; nothing was made visible by the first try.

    The same where it failed because a container reached directly is no longer there.

    Raises:
        VolcopyError: what `call` raised the second time.
    """
    said = len(run.report.warnings)
    try:
        call()
        return
    except SourceChanged:
        pass
    except VolcopyError as error:
        if run.confirm is None or isinstance(error, TransferCancelled):
            raise
        try:
            run.confirm()
        except SourceChanged:
            pass
        else:
            raise
    del run.report.warnings[said:]
    run.meter.bytes = run.meter.entries = 0
    call()
