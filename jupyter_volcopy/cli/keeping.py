"""What the commands that change volumes and containers share: signals, a question, the progress.

`working` runs the work in a thread of its own, as `copying` does, so that a signal ends it in good
order: what was begun is taken back, helpers are removed.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from jupyter_volcopy.errors import TransferCancelled, UsageError, show

if TYPE_CHECKING:
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.core.control import Cancel, Meter

__all__ = ["agreed", "working"]


def working(door: Door, command: str, work: Callable[[Meter, Cancel], int]) -> int:
    """Run `work` to its end, cancel it on SIGINT, SIGTERM or SIGHUP.

    Args:
        door: where messages go.
        command: name in front of messages.
        work: gets counters and a cancel token, returns the exit status.

    Returns:
        Its exit status, or 128 and the number of the signal.
    """
    import signal
    import threading

    from jupyter_volcopy.cli.copying import Work, wait
    from jupyter_volcopy.cli.progress import LiveLine, Shown, Silent
    from jupyter_volcopy.core.control import Cancel, Meter

    meter, cancel = Meter(), Cancel()
    shown: Shown = LiveLine(door.stderr) if door.stderr.isatty() else Silent()
    seen: list[int] = []

    def stop(number: int, frame: object) -> None:
        seen.append(number)
        cancel.cancel()

    before = {}
    if threading.current_thread() is threading.main_thread() and not door.notebook:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup, a shell's background
            before[number] = signal.signal(number, stop)
    try:
        status = wait(Work(lambda: work(meter, cancel)), cancel, meter, shown)
        return int(status)
    except TransferCancelled as error:
        door.fail(command, error)
        return 128 + (seen[0] if seen else 2)
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)


def agreed(door: Door, yes: bool, question: str, cancel: Cancel) -> None:
    """Go on only if the person at the terminal says yes.

    Args:
        door: where the question goes.
        yes: it was said before (`--yes`).
        question: ends in a question mark.
        cancel: looked at while waiting for the answer.

    Raises:
        UsageError: there is nobody to ask.
        TransferCancelled: the answer was no.
    """
    if yes:
        return
    if door.notebook or sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(question, hint="say --yes to do it without being asked")
    door.stderr.write(show(question) + " [y/N] ")
    door.stderr.flush()
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        cancel.check()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise TransferCancelled("nothing was done")
