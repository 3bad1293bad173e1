"""From parsed arguments to a finished copy: what `dcp` and `%dcp` share.

Where progress is shown, the copy runs in a thread of its own; the caller's thread waits, draws and
stays free for signals (a terminal's Ctrl-C) and for `KeyboardInterrupt` (a notebook's stop button).
Both end in `Cancel`: asked first, cut when asked again or after a second, and given up when even
that does not end it, so that nobody has to kill a command or restart a kernel. A silent command
needs no second thread: there `Signals` keeps these times with an alarm.
"""

from __future__ import annotations

import time

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.errors import NoSuchContainer, TransferCancelled, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any

    from jupyter_volcopy.cli.dcp_arguments import Arguments
    from jupyter_volcopy.cli.door import Door
    from jupyter_volcopy.cli.progress import Shown
else:
    import _signal  # `signal` itself costs as much as a small copy

__all__ = ["Signals", "Work", "copying", "planning", "wait"]

_CUT_AFTER = 1.0  # seconds from asking to cutting; it all ends within two (safety F4)
_GIVE_UP_AFTER = 8.0  # seconds from cutting to leaving the thread to itself


class Work:
    """A call running in its own thread.

    Args:
        call: what to do.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        import threading

        self._call = call
        self._done = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="volcopy copy", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        return self._done.wait(seconds)

    def result(self) -> Any:
        """What the call returned; what it raised is raised here."""
        if self._error is not None:
            raise self._error
        return self._result


class Signals:
    """INT, TERM and HUP ask a cancel while this is entered; what was set before comes back.

    A signal that is ignored (nohup, a shell's background) stays ignored.

    Args:
        cancel: is asked.
        alone: no other thread looks after the cancel: it is cut, and at last given up, from here.
    """

    def __init__(self, cancel: Cancel, *, alone: bool) -> None:
        self.received = 0
        self._cancel = cancel
        self._alone = alone
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        handled = [_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP]
        for number in handled:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                self._before[number] = _signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self.received and self._alone:
            _signal.setitimer(_signal.ITIMER_REAL, 0)
        for number, before in self._before.items():
            _signal.signal(number, before if before is not None else _signal.SIG_DFL)

    def _handle(self, number: int, _frame: object) -> None:
        first, self.received = not self.received, self.received or number
        if first and self._alone:
            self._alarm(_CUT_AFTER, self._cut)
        self._cancel.cancel()

    def _alarm(self, seconds: float, then: Callable[[int, object], None]) -> None:
        before = _signal.signal(_signal.SIGALRM, then)
        self._before.setdefault(_signal.SIGALRM, before)
        _signal.setitimer(_signal.ITIMER_REAL, seconds)

    def _cut(self, *_: object) -> None:
        self._alarm(_GIVE_UP_AFTER, _give_up)
        self._cancel.cancel(now=True)

    @property
    def status(self) -> int:
        """Exit status for the first signal that came."""
        return 128 + self.received if self.received else 130


def _give_up(*_: object) -> None:
    raise TransferCancelled(
        "cancelled, but the copy did not end",
        hint="`volcopy clean` removes what it may have left",
    )


def copying(arguments: Arguments, door: Door, meter: Meter, cancel: Cancel) -> Callable[[], Any]:
    """The copy that was asked for, as a call that returns its `Report`.

    Raises:
        UsageError: standard input or output is named but is not there.
    """
    streams: dict[str, Any] = {}
    if arguments.destination == "-":
        if arguments.json:
            raise UsageError("both --json and the archive want standard output", hint="choose one")
        streams["stdout"] = door.binary_output(cancel)
    if "-" in arguments.sources:
        streams["stdin"] = door.binary_input(cancel)

    _name_engines(arguments, door)

    def call() -> Any:
        try:
            return door.copier().copy(
                arguments.sources,
                arguments.destination,
                meter=meter,
                cancel=cancel,
                **streams,
                **arguments.options,
            )
        except NoSuchContainer as error:
            raise _colons(arguments, error) from None

    return call


def _name_engines(arguments: Arguments, door: Door) -> None:
    for text in arguments.paths:
        if text.startswith("engine="):
            door.several = True


def _colons(arguments: Arguments, error: NoSuchContainer) -> NoSuchContainer:
    """The error, with a better hint where a local file has a colon in its name (case O03)."""
    import os

    for text in [*arguments.sources, arguments.destination]:
        if ":" in text and "/" not in text.partition(":")[0] and os.path.lexists(text):
            return NoSuchContainer(
                error.message, hint=f"for the local file write ./{text}", **error.context
            )
    return error


def planning(arguments: Arguments, door: Door) -> Callable[[], Any]:
    """What the copy would do, as a call that returns its `Plan`."""
    _name_engines(arguments, door)

    def call() -> Any:
        return door.copier().plan(arguments.sources, arguments.destination, **arguments.options)

    return call


def wait(work: Work, cancel: Cancel, meter: Meter, shown: Shown) -> Any:
    """Wait for the work, draw its progress, see a cancel through; returns the work's result.

    Raises:
        TransferCancelled: it was cancelled.
        VolcopyError: what the work raised.
    """
    asked_at = cut_at = 0.0
    try:
        while True:
            try:
                if work.wait(shown.period):
                    break
                now = time.monotonic()
                if not cancel.asked:
                    shown.draw(meter.snapshot())
                    continue
                asked_at = asked_at or now
                if not cancel.cut and now - asked_at > _CUT_AFTER:
                    cancel.cancel(now=True)
                if cancel.cut:
                    cut_at = cut_at or now
                    if now - cut_at > _GIVE_UP_AFTER:
                        _give_up()
            except KeyboardInterrupt:
                cancel.cancel()
    finally:
        shown.end()
    return work.result()
