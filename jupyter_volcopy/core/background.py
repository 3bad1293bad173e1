"""Transfers that outlive the request that started them.

A `Transfer` is one copy with its state, counters and cancel token; `Transfers` runs them, one
thread each, a few at a time, the rest in a queue. Finished ones stay for a while, so that whoever
asks can read how it went. Everything lives in memory, except one line when a transfer is accepted
and one when it is over: after a crash the next process reads them and says what was cut
(safety F15). Such a file belongs to a living process as long as that holds a lock on it.

    queued -> running -> done | failed | cancelled

Nobody is called back: who wants to follow looks at `version`, which grows with every change of
state, and at the counters.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.journal import state_directory
from jupyter_volcopy.core.model import when
from jupyter_volcopy.core.paths import encode
from jupyter_volcopy.core.record import State, each
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.errors import (
    Conflict,
    Interrupted,
    NotFound,
    PartialWrite,
    TooMany,
    TransferCancelled,
    VolcopyError,
    show,
)

__all__ = ["FINISHED", "Transfer", "Transfers", "Work"]

Work = Callable[[Meter, Cancel], Report]
"""One copy: counts into the meter, looks at the token, returns its report or raises."""

FINISHED = frozenset(("done", "failed", "cancelled"))
_CUT_AFTER = 2.0
_log = logging.getLogger(__name__)


class Transfer(State):
    """One copy that runs, waits or is over.

    Attributes:
        id: 32 hex digits, random: nobody guesses another's.
        owner: name of who started it.
        sources, destination, options: as asked.
        state: see the module.
        version: grows with every change of state.
        created, started, finished: seconds since 1970; 0 for not yet.
    """

    id: str
    owner: str
    sources: list[str]
    destination: str
    options: dict[str, Any] = each(factory=dict)
    state: str = "queued"
    meter: Meter = each(factory=Meter)
    cancel: Cancel = each(factory=Cancel)
    report: Report | None = None
    error: VolcopyError | None = None
    version: int = 0
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    seconds: float = 0.0

    def to_dict(self, *, brief: bool = False) -> dict[str, Any]:
        """The whole transfer at this moment, as REST and events send it.

        Args:
            brief: without the report, which may have a line for each of hundreds of containers.
        """
        report = None if brief else self.report
        progress = self.meter.snapshot().to_dict()
        if self.state == "queued":
            progress["seconds"] = 0.0
        elif self.state in FINISHED:
            progress["seconds"] = round(self.seconds, 3)
        return {
            "id": self.id,
            "owner": show(self.owner),
            "state": self.state,
            "cancelling": self.cancel.asked and self.state not in FINISHED,
            "sources": [show(item) for item in self.sources],
            "destination": show(self.destination),
            "options": self.options,
            "progress": progress,
            "report": report.to_dict() if report is not None else None,
            "error": self.error.to_dict() if self.error is not None else None,
            "created": when(self.created),
            "started": when(self.started) if self.started else None,
            "finished": when(self.finished) if self.finished else None,
        }


class Transfers:
    """Runs transfers and remembers them.

    Args:
        most: how many run at the same time.
        keep: seconds for which a finished one is remembered.
        per_owner: how many of one owner may wait or run.
        directory: where the lines about them go; None: the state directory of this user.
        ended: called (in the transfer's thread) when one is over, for metrics and the log.
    """

    def __init__(
        self,
        *,
        most: int = 4,
        keep: float = 3600.0,
        per_owner: int = 100,
        directory: str | None = None,
        ended: Callable[[Transfer], None] | None = None,
    ) -> None:
        self.most = most
        self.keep = keep
        self.per_owner = per_owner
        self._ended = ended
        self._changed = threading.Condition()
        self._known: dict[str, Transfer] = {}
        self._work: dict[str, Work] = {}
        self._holds: dict[str, frozenset[str]] = {}
        self._queue: deque[Transfer] = deque()
        self._running: dict[str, threading.Thread] = {}
        self._closed = False
        self._lines = _Lines(directory)
        for lost in self._lines.lost():
            self._known[lost.id] = lost

    # --- starting

    def start(
        self,
        work: Work,
        *,
        owner: str,
        sources: list[str],
        destination: str,
        options: dict[str, Any] | None = None,
        holds: frozenset[str] = frozenset(),
    ) -> Transfer:
        """Accept one copy; it runs as soon as there is room.

        Args:
            work: the copy.
            owner: name of who wants it.
            sources, destination, options: as asked, to be shown.
            holds: ids of the containers it reads or writes: while one holds a container's lock
                (design E1), another would only wait for it and give up, so it waits here.

        Raises:
            TooMany: the owner has too many waiting or running.
            Conflict: this is being closed.
        """
        transfer = Transfer(
            os.urandom(16).hex(),
            owner,
            sources,
            destination,
            options or {},
            created=time.time(),
        )
        with self._changed:
            if self._closed:
                raise Conflict("the server is stopping", hint="try again when it is back")
            mine = [t for t in self._known.values() if t.owner == owner]
            if sum(t.state not in FINISHED for t in mine) >= self.per_owner:
                raise TooMany(
                    f"{self.per_owner} transfers of {owner} are waiting or running",
                    hint="wait for one to end, or cancel one",
                )
            self._known[transfer.id] = transfer
            self._work[transfer.id] = work
            self._holds[transfer.id] = holds
            self._queue.append(transfer)
            self._lines.accepted(transfer)
            self._next()
        return transfer

    def _next(self) -> None:
        """Start what there is room for; with the lock held."""
        while len(self._running) < self.most:
            held = frozenset().union(*(self._holds[ident] for ident in self._running))
            free = (one for one in self._queue if not self._holds[one.id] & held)
            transfer = next(free, None)
            if transfer is None:
                return
            self._queue.remove(transfer)
            thread = threading.Thread(
                target=self._run,
                args=(transfer, self._work.pop(transfer.id)),
                name=f"volcopy-transfer-{transfer.id[:8]}",
                daemon=True,
            )
            self._running[transfer.id] = thread
            thread.start()

    def _run(self, transfer: Transfer, work: Work) -> None:
        began = time.monotonic()
        with self._changed:
            transfer.meter.started = began
            transfer.started = time.time()
            self._set(transfer, "running")
        state = "failed"
        error: VolcopyError | None = None
        report: Report | None = None
        try:
            transfer.cancel.check()
            report = work(transfer.meter, transfer.cancel)
            state = "done"
            if not report.ok:
                state, error = "failed", _not_all(report)
        except TransferCancelled as problem:
            state, error = "cancelled", problem
        except VolcopyError as problem:
            # What a cut breaks off fails in its own way; it was asked for all the same.
            state, error = ("cancelled" if transfer.cancel.cut else "failed"), problem
        except BaseException:
            _log.exception("a transfer failed because of a mistake in the program")
            error = VolcopyError("internal error, see the log of the server")
        with self._changed:
            transfer.report, transfer.error = report, error
            transfer.seconds = time.monotonic() - began
            transfer.finished = time.time()
            self._running.pop(transfer.id, None)
            self._holds.pop(transfer.id, None)
            self._over(transfer, state)
            self._next()

    def _set(self, transfer: Transfer, state: str) -> None:
        transfer.state = state
        transfer.version += 1
        self._changed.notify_all()

    def _over(self, transfer: Transfer, state: str) -> None:
        self._set(transfer, state)
        self._lines.over(transfer)
        if self._ended is not None:
            self._ended(transfer)

    # --- looking

    def _visible(self, transfer: Transfer, owner: str | None) -> bool:
        return owner is None or transfer.owner == owner

    def _sweep(self) -> None:
        """Forget what has been over for long enough; with the lock held."""
        limit = time.time() - self.keep
        for ident in [
            t.id for t in self._known.values() if t.state in FINISHED and t.finished < limit
        ]:
            del self._known[ident]

    def list(self, owner: str | None = None) -> list[Transfer]:
        """All of an owner (None: of everybody), oldest first."""
        with self._changed:
            self._sweep()
            return [t for t in self._known.values() if self._visible(t, owner)]

    def get(self, ident: str, owner: str | None = None) -> Transfer:
        """One of an owner (None: of anybody).

        Raises:
            NotFound: none of that id, or not this owner's.
        """
        with self._changed:
            self._sweep()
            found = self._known.get(ident)
        if found is None or not self._visible(found, owner):
            raise NotFound(f"no such transfer: {ident}", hint="it may be over and forgotten")
        return found

    @property
    def active(self) -> int:
        """How many wait or run."""
        with self._changed:
            return len(self._running) + len(self._queue)

    def wait(self, transfer: Transfer, seconds: float) -> bool:
        """Wait until it is over; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: transfer.state in FINISHED, seconds)

    # --- stopping

    def stop(self, ident: str, owner: str | None = None, *, now: bool = False) -> Transfer:
        """Cancel one that waits or runs.

        One that waits is over at once. One that runs ends at the next entry; where that takes
        longer than two seconds, or with `now`, it is cut, which leaves old or whole files too.

        Raises:
            NotFound: as `get`.
            Conflict: it is over already.
        """
        transfer = self.get(ident, owner)
        with self._changed:
            if transfer.state in FINISHED:
                raise Conflict(f"the transfer is over: {transfer.state}")
            if transfer in self._queue:
                self._queue.remove(transfer)
                self._work.pop(transfer.id, None)
                self._holds.pop(transfer.id, None)
                transfer.cancel.asked = True
                transfer.error = TransferCancelled("cancelled before it began")
                transfer.finished = time.time()
                self._over(transfer, "cancelled")
                return transfer
            transfer.version += 1
        transfer.cancel.cancel(now=now)
        if not transfer.cancel.cut:
            timer = threading.Timer(_CUT_AFTER, transfer.cancel.cancel, kwargs={"now": True})
            timer.daemon = True
            timer.start()
        return transfer

    def forget(self, ident: str, owner: str | None = None) -> None:
        """Take one that is over out of the list.

        Raises:
            NotFound: as `get`.
            Conflict: it is not over.
        """
        transfer = self.get(ident, owner)
        with self._changed:
            if transfer.state not in FINISHED:
                raise Conflict("the transfer is not over yet", hint="cancel it first")
            self._known.pop(ident, None)

    def close(self, seconds: float = 10.0) -> None:
        """Cut everything and wait for it to end.

        Args:
            seconds: at most to wait; what still runs then dies with the process and is named by
                the next one.
        """
        with self._changed:
            self._closed = True
            idents = [t.id for t in self._queue] + list(self._running)
        for ident in idents:
            try:
                self.stop(ident, now=True)
            except VolcopyError:
                continue
        with self._changed:
            self._changed.wait_for(lambda: not self._running, seconds)
        self._lines.close()


def _not_all(report: Report) -> PartialWrite:
    first = report.failed[0]
    more = f" and {len(report.failed) - 1} more" if len(report.failed) > 1 else ""
    return PartialWrite(f"not everything was copied: {first}{more}")


class _Lines:
    """The lines about transfers on disk; a full or read-only disk never fails a copy."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory or state_directory().rsplit("/", 1)[0] + "/transfers"
        self._fd = -1
        self._off = False
        self._open: set[str] = set()
        self._lock = threading.Lock()

    def _write(self, line: dict[str, Any]) -> None:
        if self._off:
            return
        try:
            if self._fd < 0:
                self._start()
            os.write(self._fd, json.dumps(line).encode("ascii") + b"\n")
        except OSError:
            self._off = True

    def _start(self) -> None:
        import fcntl

        os.makedirs(encode(self._directory), 0o700, exist_ok=True)
        self._path = f"{self._directory}/{os.getpid()}-{os.urandom(4).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(encode(self._path), flags, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def accepted(self, transfer: Transfer) -> None:
        with self._lock:
            self._open.add(transfer.id)
            self._write(
                {
                    "id": transfer.id,
                    "owner": transfer.owner,
                    "sources": transfer.sources,
                    "destination": transfer.destination,
                    "options": transfer.options,
                    "created": transfer.created,
                }
            )

    def over(self, transfer: Transfer) -> None:
        with self._lock:
            self._open.discard(transfer.id)
            self._write({"over": transfer.id})
            if not self._open and self._fd >= 0 and not self._off:
                try:
                    os.ftruncate(self._fd, 0)
                except OSError:
                    self._off = True

    def lost(self) -> Iterator[Transfer]:
        """What ran in processes that are gone; their files are removed."""
        import fcntl

        try:
            names = sorted(os.listdir(encode(self._directory)))
        except OSError:
            return
        for name in names:
            path = encode(self._directory) + b"/" + name
            try:
                fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with open(fd, "rb", closefd=False) as file:
                    found = _unfinished(file.read(16 << 20))
                os.unlink(path)
            except OSError:
                continue  # its process lives
            finally:
                os.close(fd)
            yield from found

    def close(self) -> None:
        with self._lock:
            if self._fd < 0:
                return
            if not self._open:
                try:
                    os.unlink(encode(self._path))
                except OSError:
                    pass
            os.close(self._fd)
            self._fd, self._off = -1, True


def _unfinished(raw: bytes) -> list[Transfer]:
    """The transfers that were accepted and are not said to be over."""
    found: dict[str, Transfer] = {}
    for line in raw.splitlines():
        try:
            said = json.loads(line)
            if "over" in said:
                found.pop(said["over"], None)
                continue
            transfer = Transfer(
                str(said["id"]),
                str(said["owner"]),
                [str(item) for item in said["sources"]],
                str(said["destination"]),
                dict(said.get("options") or {}),
                created=float(said["created"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # the last line of a killed process may be half
        transfer.state = "failed"
        transfer.finished = time.time()
        transfer.error = Interrupted(
            "the server ended while this transfer ran",
            hint="every file at the destination is the old or the whole new one; start it again",
        )
        found[transfer.id] = transfer
    return list(found.values())
