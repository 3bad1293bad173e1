"""One thing done with many containers: what handing out and collecting have in common.

Each container is a `Goal`; each gets an `Outcome` of its own, and nobody's failure, slowness or
size stops the others. A few run at a time, each within limits of bytes, entries and seconds.

Work in a running container is done as its own user, with that user's rights and no others, so a
link in a home leads nowhere that its owner cannot go (safety S15). One that does not run is reached
by the engine's archive, as root; there no directory on the way may be a link.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, NamedTuple

from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.direct import DirectEngine
from jupyter_volcopy.core.engine import Engine
from jupyter_volcopy.core.guard import Guarded, container_user
from jupyter_volcopy.core.journal import Journal
from jupyter_volcopy.core.model import Container, Kind, path_fields, when
from jupyter_volcopy.core.paths import clean
from jupyter_volcopy.core.policy import Rules, User
from jupyter_volcopy.core.record import State, Value, each
from jupyter_volcopy.core.report import Note, Report
from jupyter_volcopy.errors import (
    Conflict,
    LimitExceeded,
    NoSuchPath,
    TransferCancelled,
    UsageError,
    VolcopyError,
    show,
)

__all__ = [
    "Acting",
    "File",
    "Goal",
    "Limits",
    "ManyReport",
    "Outcome",
    "Work",
    "acting",
    "filled",
    "folder_name",
    "for_each",
    "no_links",
]

Acting = Callable[[Container], str]
"""`uid[:gid]` of the user of a container, "" where it is not known."""

_LOOK = 0.05
_GRACE = 3.0  # seconds in which one whose time is over may end by itself
_ROOTS = ("", "root", "0", "0:0", "root:root")


class Goal(Value):
    """One container, and whose it is.

    Attributes:
        label: how it is called in reports: the user, or USER/SERVER, or the container's name.
        container: its id.
        user, server: what `{user}` and `{server}` stand for.
    """

    label: str
    container: str
    user: str
    server: str = ""


class Limits(Value):
    """For one container.

    Attributes:
        bytes, entries: of content that is moved or compared.
        seconds: from its beginning to its end.
        at_once: how many containers at the same time.
    """

    bytes: int = 1 << 30
    entries: int = 10_000
    seconds: float = 300.0
    at_once: int = 4


class File(Value):
    """One file in a report.

    Attributes:
        action: `new`, `replaced`, `same`, `kept`, `beside` or `collected`.
    """

    path: str
    action: str
    sha256: str = ""
    size: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            **path_fields("path", self.path),
            "action": self.action,
            "sha256": self.sha256 or None,
            "size": self.size,
        }


class Outcome(State):
    """How it went with one container.

    Attributes:
        state: `done`, `same` (nothing was left to do), `kept` (done, somebody's edits kept) or
            `failed`.
        files: what was done, by path.
        bytes: moved.
        at: seconds since 1970 when it was over.
    """

    label: str
    user: str
    container: str
    state: str = "failed"
    files: list[File] = each(factory=list)
    bytes: int = 0
    error: VolcopyError | None = None
    at: float = 0.0
    seconds: float = 0.0
    more: dict[str, Any] = each(factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        return {
            "label": show(self.label),
            "user": show(self.user),
            "container": self.container,
            "state": self.state,
            "files": [item.to_dict() for item in self.files],
            "bytes": self.bytes,
            "error": self.error.to_dict() if self.error is not None else None,
            "time": when(self.at),
            "seconds": round(self.seconds, 3),
            **self.more,
        }


class ManyReport(Report):
    """The result for all containers: a `Report` with an `Outcome` for each."""

    outcomes: list[Outcome] = each(factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As REST and `--json` send it."""
        counts: dict[str, int] = {"done": 0, "same": 0, "kept": 0, "failed": 0}
        for item in self.outcomes:
            counts[item.state] += 1
        return {
            **Report.to_dict(self),
            "counts": counts,
            "outcomes": [item.to_dict() for item in self.outcomes],
        }


def filled(template: str, goal: Goal) -> str:
    """A path in a container with `{user}` and `{server}` put in.

    Raises:
        UsageError: another word in braces, not absolute, or a name that cannot stand in a path.
    """
    out, rest = "", template
    while rest:
        before, brace, rest = rest.partition("{")
        out += before
        if not brace:
            break
        word, closed, rest = rest.partition("}")
        values = {"user": goal.user, "username": goal.user, "server": goal.server}
        if not closed or word not in values:
            raise UsageError(
                f"{{{word}}} is not known in {template!r}", hint="{user} and {server} are"
            )
        value = values[word]
        if "/" in value or "\0" in value or value in (".", ".."):
            raise UsageError(f"{value!r} cannot stand in a path")
        out += value
    if not out.startswith("/"):
        raise UsageError(f"{template!r} is not an absolute path")
    return clean(out)


def folder_name(text: str) -> str:
    """A name for a local directory that nobody else's name gives; odd bytes as `%XX`."""
    from urllib.parse import quote

    name = quote(text.encode("utf-8", "surrogateescape"), safe="@._-+ ")
    return name.replace(".", "%2E", 1) if name.startswith(".") else name or "%"


class Work(NamedTuple):
    """What work in one container is done with.

    Attributes:
        engine: with the rights of the container's user, where it runs.
        container: as inspected.
        copier: works with them.
    """

    engine: Engine
    container: Container
    copier: Copier


@contextmanager
def acting(engine: Engine, goal: Goal, who: Acting | None = None) -> Iterator[Work]:
    """The engine as work in this container is to be done, and the container.

    Args:
        engine: whose rights are an administrator's.
        goal: the container.
        who: its user; default as `guard.container_user` finds it.

    Raises:
        NoSuchContainer: it is gone.
        Conflict: it runs, and nobody knows as whom to work in it.
    """
    with ExitStack() as stack:
        journal = stack.enter_context(closing(Journal()))
        direct = DirectEngine.of(engine, journal)
        if direct is not None:
            engine = stack.enter_context(direct).under(engine)
        container = engine.container(goal.container)
        if container.running:
            engine = _as_its_user(engine, goal, container, who)
        yield Work(engine, container, Copier(engine, journal=journal))


def _as_its_user(engine: Engine, goal: Goal, container: Container, who: Acting | None) -> Engine:
    user = (who or container_user)(container)
    if not user:
        if container.user in _ROOTS:
            user = "0:0"
        else:
            raise Conflict(
                f"{container.name}: as whom to work in it is not known ({container.user!r})",
                hint="set container_user, or NB_UID in the container",
            )
    person = User(goal.label, owned=frozenset((container.id,)))
    return Guarded(engine, person, Rules(), acting_as=lambda _: user)


def no_links(engine: Engine, container: Container, path: str) -> None:
    """Refuse a path on which a directory is a link, where we would follow it as root.

    Raises:
        Conflict: naming the link.
    """
    if container.running:
        return
    at = ""
    for part in clean(path).strip("/").split("/"):
        at += "/" + part
        try:
            stat = engine.stat(container.id, at)
        except NoSuchPath:
            return
        if stat.kind is Kind.SYMLINK:
            raise Conflict(
                f"{container.name} does not run, and {at} in it is a link",
                hint="it is only followed with its owner's rights: start the server",
            )


def for_each(
    goals: Sequence[Goal],
    work: Callable[[Goal, Outcome, Cancel], None],
    report: ManyReport,
    *,
    limits: Limits,
    meter: Meter,
    cancel: Cancel,
) -> ManyReport:
    """Do `work` with each goal, a few at a time.

    Args:
        goals: all of them.
        work: does one; fills in the outcome, looks at the token, raises what goes wrong.
        report: gets the outcomes, in the order of the goals.
        limits: of time, and how many at once.
        meter: counts goals as entries.
        cancel: ends all.
    """
    meter.entries_total = len(goals)
    outcomes = [Outcome(goal.label, goal.user, goal.container) for goal in goals]
    todo = iter(range(len(goals)))
    lock = threading.Lock()
    running: dict[int, tuple[Cancel, float, float]] = {}  # with its beginning and its end
    ended = 0

    def end(at: int, outcome: Outcome, began: float) -> None:
        """One is over; to be called with the lock."""
        nonlocal ended
        outcome.at, outcome.seconds = time.time(), time.monotonic() - began
        outcomes[at] = outcome
        ended += 1
        meter.entries += 1
        meter.bytes += outcome.bytes
        meter.current = goals[at].label

    def one(at: int, mine: Cancel) -> Outcome:
        goal = goals[at]
        outcome = Outcome(goal.label, goal.user, goal.container)
        try:
            cancel.check()
            work(goal, outcome, mine)
        except TransferCancelled as error:
            outcome.state = "failed"
            outcome.error = error if cancel.asked else _late(limits)
        except VolcopyError as error:
            outcome.state, outcome.error = "failed", error
        except Exception:
            import logging

            logging.getLogger(__name__).exception("a mistake in the program")
            outcome.state, outcome.error = "failed", VolcopyError("internal error, see the log")
        return outcome

    def some() -> None:
        while True:
            mine, began = Cancel(), time.monotonic()
            with lock:
                at = next(todo, -1)
                if at < 0:
                    return
                running[at] = mine, began, began + limits.seconds
            outcome = one(at, mine)
            with lock:
                if running.pop(at, None) is None:
                    return  # it was given up, and another thread goes on with the rest
                end(at, outcome, began)

    def begin() -> None:
        threading.Thread(target=some, name="volcopy-many", daemon=True).start()

    def look() -> None:
        """Tell those whose time is over; give up those that do not listen."""
        now = time.monotonic()
        with lock:
            for at, (token, began, until) in list(running.items()):
                if now > until or cancel.asked:
                    token.cancel(now=True)
                    running[at] = token, began, min(until, now)
                    if now > until + _GRACE:
                        del running[at]
                        goal = goals[at]
                        given_up = Outcome(goal.label, goal.user, goal.container)
                        given_up.error = (
                            TransferCancelled("cancelled") if cancel.asked else _late(limits)
                        )
                        end(at, given_up, began)
                        begin()

    for _ in range(max(1, min(limits.at_once, len(goals)))):
        begin()
    while ended < len(goals):
        time.sleep(_LOOK)
        look()
    report.outcomes = outcomes
    for outcome in outcomes:
        report.bytes += outcome.bytes
        report.files += sum(item.action not in ("same", "kept") for item in outcome.files)
        if outcome.error is not None:
            report.failed.append(Note(outcome.label, _sentence(outcome.error), outcome.error.code))
    report.entries = len(outcomes)
    cancel.check()
    return report


def _late(limits: Limits) -> LimitExceeded:
    return LimitExceeded(f"it took longer than {limits.seconds:g} seconds")


def _sentence(error: VolcopyError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
