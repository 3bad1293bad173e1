"""How the panel asks an engine without making anybody wait, and who may change the panel meanwhile.

Whatever asks the engine runs in a thread of its own (`Asking.later`), so the kernel stays free. An
answer is shown only if nothing newer was asked for meanwhile. Whoever changes the panel holds one
lock: a thread with an answer, or the kernel's own thread with a click. Nobody holds it while an
engine is asked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from jupyter_volcopy.cli.door import Door
from jupyter_volcopy.config import Volcopy
from jupyter_volcopy.core.copier import Copier
from jupyter_volcopy.core.endpoint import ContainerPath, VolumePath
from jupyter_volcopy.core.model import Container, Kind, ListedEntry
from jupyter_volcopy.core.paths import clean, join
from jupyter_volcopy.core.volumes import check_inside
from jupyter_volcopy.errors import NotADirectory, NotFound, VolcopyError

if TYPE_CHECKING:
    from jupyter_volcopy.core.engine import Engine

__all__ = ["VOLUME", "Asking", "Read", "look_into", "place"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Asking:
    """The panel's threads, its lock and its engine.

    Args:
        address, context, service: as for `Door`; all empty: what is configured.
        engine: one that is open already; it is not closed here.

    Attributes:
        lock: held by whoever changes the panel.
        idle: on the same lock; told when something ended.
        quiet: above 0: changes of traits and widgets are not somebody's wish.
        busy: how much is being read or copied.
        closed: nothing more is to be shown.
    """

    def __init__(
        self, *, address: str, context: str, service: str, engine: Engine | None = None
    ) -> None:
        self.lock = threading.RLock()
        self.idle = threading.Condition(self.lock)
        self.quiet = 0
        self.busy = 0
        self.closed = False
        self.settings = Volcopy()
        self._turns: dict[str, int] = {}
        self._door = Door(address=address, context=context, service=service, notebook=True)
        self._given = engine
        self._opening = threading.Lock()
        self._opened: Engine | None = None

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Within the block, changes are not taken for somebody's wish."""
        with self.lock:
            self.quiet += 1
            try:
                yield
            finally:
                self.quiet -= 1

    def later(
        self,
        what: str,
        call: Callable[[], T],
        then: Callable[[T], None],
        fail: Callable[[VolcopyError], None],
    ) -> None:
        """Ask in a thread, then show the answer, unless the same was asked again meanwhile.

        Args:
            what: of what sort the question is.
            call: asks; without the lock.
            then, fail: show the answer, or what went wrong; with the lock.
        """
        with self.lock:
            turn = self._turns[what] = self._turns.get(what, 0) + 1
            self.busy += 1

        def run() -> None:
            try:
                outcome = self._outcome(call, then, fail)
                with self.lock:
                    if self._turns[what] == turn and not self.closed:
                        outcome()
            except Exception:
                _log.exception("the panel failed because of a mistake in the program")
            finally:
                with self.idle:
                    self.busy -= 1
                    self.idle.notify_all()

        threading.Thread(target=run, name=f"volcopy panel {what}", daemon=True).start()

    def _outcome(
        self,
        call: Callable[[], T],
        then: Callable[[T], None],
        fail: Callable[[VolcopyError], None],
    ) -> Callable[[], None]:
        try:
            result = call()
        except VolcopyError as error:
            problem = error
        except Exception:
            _log.exception("the panel failed because of a mistake in the program")
            problem = VolcopyError("internal error", hint="see the log of the kernel")
        else:
            return lambda: then(result)
        return lambda: fail(problem)

    def drop(self, *what: str) -> None:
        """Answers to these are not wanted any more."""
        with self.lock:
            for one in what:
                self._turns[one] = self._turns.get(one, 0) + 1

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is being read or copied; whether that came in time."""
        with self.idle:
            return self.idle.wait_for(lambda: not self.busy, seconds)

    def engine(self) -> Engine:
        """The engine; the first call opens it.

        Raises:
            UsageError: its address makes no sense.
        """
        if self._given is not None:
            return self._given
        with self._opening:
            if self._opened is None:
                door = self._door
                if door.address or door.context or door.service:
                    self._opened = door.engine()
                else:
                    self._opened = self.settings.make_engine()
            return self._opened

    @contextmanager
    def copier(self) -> Iterator[Copier]:
        """A copier for one copy; its journal is let go afterwards."""
        copier = Copier(self.engine())
        try:
            yield copier
        finally:
            copier.journal.close()

    def close(self) -> None:
        """Show nothing more, and let go of the engine."""
        with self.lock:
            self.closed = True
        self._door.close()
        if self._opened is not None:
            self._opened.close()


VOLUME = "volume="


def place(name: str, path: str) -> ContainerPath | VolumePath:
    """A path in what the panel shows: a container, or a volume spelled `volume=NAME`."""
    if name.startswith(VOLUME):
        return VolumePath(name[len(VOLUME) :], path)
    return ContainerPath(name, path)


class Read:
    """What one look into a directory found.

    Attributes:
        container: as inspect says; None of a volume.
        path: as it was asked for; `real` the same without links.
        entries: directories first, each by name.
        complete: False where more is there.
    """

    def __init__(
        self,
        container: Container | None,
        path: str,
        real: str,
        entries: Sequence[ListedEntry],
        complete: bool,
    ) -> None:
        self.container, self.path, self.real, self.complete = container, path, real, complete
        self.entries = sorted(entries, key=lambda entry: entry.kind is not Kind.DIRECTORY)


def look_into(engine: Engine, name: str, path: str, budget: int) -> Read:
    """The entries of a directory of a container or volume.

    Args:
        engine: where it lives.
        name: of the container, or `volume=NAME`.
        path: absolute; "": where the container works, or `/`.
        budget: bytes of archive read at most where no program lists.

    Raises:
        NoSuchContainer, NoSuchVolume, NoSuchPath, NotADirectory: as it says.
    """
    if name.startswith(VOLUME):
        return _look_into_volume(engine, name[len(VOLUME) :], path or "/", budget)
    container = engine.container(name)
    if path:
        return _look(engine, container, path, budget)
    config = container.raw.get("Config") or {}
    start = clean(str(config.get("WorkingDir") or "/"))
    try:
        return _look(engine, container, start, budget)
    except (NotFound, NotADirectory):
        return _look(engine, container, "/", budget)


def _look(engine: Engine, container: Container, path: str, budget: int) -> Read:
    listing = engine.list_dir(container.id, path, budget=budget)
    try:
        real = _resolved(engine, container.id, path)
    except VolcopyError:
        real = path
    return Read(container, path, real, listing.entries, listing.complete)


def _look_into_volume(engine: Engine, name: str, path: str, budget: int) -> Read:
    with engine.volume(name) as (helper, root):
        check_inside(engine, helper, root, path.rstrip("/") + "/", f"{VOLUME}{name}:{path}")
        there = join(root, path.lstrip("/")) if path != "/" else root
        listing = engine.list_dir(helper, there, budget=budget)
        real = _resolved(engine, helper, there)
    below = real[len(root) :] if (real + "/").startswith(root + "/") else path
    return Read(None, path, below or "/", listing.entries, listing.complete)


def _resolved(engine: Engine, container: str, path: str) -> str:
    """A path without links: marks and safe copies go by it."""
    at = "/"
    for part in path.split("/"):
        if part:
            at = join(at, part)
            found = engine.stat(container, at)
            if found.kind is Kind.SYMLINK and found.link_target:
                at = clean(found.link_target)
    return at
