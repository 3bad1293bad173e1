"""The copies of the panel: what they do in their threads, and the section that shows them.

Copies are `core.background.Transfers`; while any is running, one thread reads their counters four
times a second. A panel shows others' files to whoever looks, so its copies are always `safe`.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ipywidgets import Layout, VBox

from jupyter_volcopy.core.background import Transfer, Transfers, Work
from jupyter_volcopy.core.control import Cancel, Meter
from jupyter_volcopy.core.endpoint import ContainerPath, LocalPath, VolumePath
from jupyter_volcopy.core.journal import state_directory
from jupyter_volcopy.core.paths import decode, encode, join
from jupyter_volcopy.core.report import Report
from jupyter_volcopy.errors import LocalError, NotADirectory, UsageError, VolcopyError, show
from jupyter_volcopy.web.local import Names
from jupyter_volcopy.widget_asking import Asking
from jupyter_volcopy.widget_parts import Section, TransferRow, set_value
from jupyter_volcopy.widget_words import Words

__all__ = [
    "EXISTING",
    "TransferSection",
    "named",
    "options_for",
    "pulling",
    "pushing",
    "pushing_uploaded",
    "rescuing",
]

Place: TypeAlias = "ContainerPath | VolumePath"

_PERIOD = 0.25  # seconds between two looks at running transfers
_MOST_ROWS = 20

EXISTING: dict[str, dict[str, Any]] = {
    "replace": {},
    "keep": {"no_clobber": True},
    "backup": {"backup": True},
}


def options_for(asking: Asking, existing: str) -> dict[str, Any]:
    """Options of a copy, by what becomes of existing files.

    Raises:
        UsageError: nothing of that name.
    """
    if existing not in EXISTING:
        raise UsageError(
            f"{existing!r} is nothing to do with existing files",
            hint="one of " + ", ".join(EXISTING),
        )
    return {"safe": True, "max_entries": asking.settings.max_entries, **EXISTING[existing]}


def named(say: Words, paths: Sequence[str]) -> str:
    """Paths in a few words."""
    return paths[0] if len(paths) == 1 else say("{0} and {1} more", paths[0], len(paths) - 1)


def pulling(
    asking: Asking,
    sources: Sequence[Place],
    typed: str,
    options: dict[str, Any],
) -> Work:
    """A pull into an existing local directory."""

    def work(meter: Meter, cancel: Cancel) -> Report:
        # Who names the directory means what a link there leads to; a safe copy would refuse it.
        there = decode(os.path.realpath(encode(os.path.expanduser(typed))))
        if not os.path.isdir(encode(there)):
            raise NotADirectory(
                f"{typed} is no directory here", hint="name one that is there, or make it"
            )
        target = LocalPath(there.rstrip("/") + "/")
        with asking.copier() as copier:
            return copier.copy(list(sources), target, meter=meter, cancel=cancel, **options)

    return work


def _expanded(text: str) -> list[str]:
    """A local path as a shell would take it."""
    path = os.path.expanduser(text)
    if any(char in path for char in "*?[") and not os.path.lexists(encode(path)):
        return sorted(glob.glob(path)) or [path]
    return [path]


def pushing(
    asking: Asking,
    paths: Sequence[str],
    target: Place,
    options: dict[str, Any],
) -> Work:
    """A push of local paths; `~` and patterns are expanded, a literal name wins."""

    def work(meter: Meter, cancel: Cancel) -> Report:
        sources = [LocalPath(path) for text in paths for path in _expanded(text)]
        with asking.copier() as copier:
            return copier.copy(sources, target, meter=meter, cancel=cancel, **options)

    return work


def pushing_uploaded(
    asking: Asking,
    files: Sequence[dict[str, Any]],
    target: Place,
    options: dict[str, Any],
) -> Work:
    """A push of what a browser sent: written aside first, under its own names.

    Args:
        asking: whose engine it is.
        files: as in the value of a `FileUpload`: `name`, `content`, `last_modified`.
        target: where they go.
        options: of the copy.

    Raises:
        UsageError: a name that cannot be one, or that came twice.
    """
    names = [str(one["name"]) for one in files]
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise UsageError(f"{name!r} cannot be the name of a file")
        if names.count(name) > 1:
            raise UsageError(f"two files are called {name}", hint="push them one after the other")

    def work(meter: Meter, cancel: Cancel) -> Report:
        folder = ""
        said = Names()
        try:
            try:
                folder = tempfile.mkdtemp(prefix="volcopy-upload-")
                said.add(folder + "/", "")  # people know the files by their names
                for one in files:
                    _keep(folder, one)
            except OSError as error:
                raise LocalError(f"cannot put aside what was uploaded: {error.strerror}") from None
            sources = [LocalPath(join(folder, name)) for name in names]
            with asking.copier() as copier:
                return said.report(
                    copier.copy(sources, target, meter=meter, cancel=cancel, **options)
                )
        except VolcopyError as error:
            raise said.error(error) from None
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    return work


def _keep(folder: str, one: dict[str, Any]) -> None:
    path = os.path.join(encode(folder), encode(str(one["name"])))
    with open(path, "xb") as file:
        file.write(one["content"])
    os.chmod(path, 0o644)
    modified = one.get("last_modified")
    if modified is not None:
        os.utime(path, (modified.timestamp(),) * 2)


def rescuing(asking: Asking, name: str, how: str, typed: str) -> Work:
    """A rescue into a new local directory."""

    def work(meter: Meter, cancel: Cancel) -> Report:
        from jupyter_volcopy.core.rescue import rescue

        there = os.path.expanduser(typed)
        with asking.copier() as copier:
            done = rescue(
                copier.engine,
                name,
                there,
                how,
                journal=copier.journal,
                meter=meter,
                cancel=cancel,
            )
        return done.report()

    return work


class TransferSection(Section):
    """The section of transfers: starts them, shows them, stops them.

    Args:
        asking: the panel's lock and settings.
        guarded: runs what a button asks for, and shows what goes wrong.
        say: the texts.
    """

    def __init__(
        self, asking: Asking, guarded: Callable[[Callable[[], object]], None], say: Words
    ) -> None:
        self._asking = asking
        self._guarded = guarded
        self._list = VBox(layout=Layout(width="100%"))
        self._transfers: Transfers | None = None
        self._after: dict[str, Callable[[], None]] = {}
        self._ticking = False
        self.rows: list[TransferRow] = []
        super().__init__(say, say("Transfers"), [self._list])
        self.layout.display = "none"

    def transfers(self) -> Transfers:
        """The transfers; those a kernel that died left unfinished are shown."""
        with self._asking.lock:
            if self._transfers is None:
                self._transfers = Transfers(
                    most=self._asking.settings.max_transfers,
                    directory=state_directory().rsplit("/", 1)[0] + "/panel",
                )
                for lost in self._transfers.list():
                    self._add(lost, f"{named(self._say, lost.sources)} → {lost.destination}")
            return self._transfers

    def start(
        self,
        work: Work,
        title: str,
        sources: Sequence[str],
        destination: str,
        after: Callable[[], None] | None = None,
    ) -> Transfer:
        """Start one and show it.

        Args:
            work: the copy.
            title: in words.
            sources, destination: as typed.
            after: called when it is over, with the lock.

        Raises:
            TooMany: too many are waiting.
        """
        with self._asking.lock:
            transfer = self.transfers().start(
                work,
                owner="panel",
                sources=[show(one) for one in sources],
                destination=show(destination),
            )
            if after is not None:
                self._after[transfer.id] = after
            self._add(transfer, title)
            self.unfold()
            if not self._ticking:
                self._ticking = True
                self._asking.busy += 1
                threading.Thread(target=self._tick, name="volcopy panel", daemon=True).start()
            return transfer

    def _add(self, transfer: Transfer, title: str) -> None:
        self.rows.insert(0, TransferRow(transfer, title, self._stop, self._forget, self._say))
        for row in self.rows[_MOST_ROWS:]:
            if row.over:
                self.rows.remove(row)
        self._show()

    def _show(self) -> None:
        self._list.children = tuple(self.rows)
        self.layout.display = None if self.rows else "none"
        running = sum(not row.over for row in self.rows)
        say = self._say
        title = say("Transfers ({0} running)", running) if running else say("Transfers")
        set_value(self.heading, description=title)

    def _tick(self) -> None:
        """Read the counters while anything runs."""
        asking = self._asking
        while True:
            time.sleep(_PERIOD)
            with asking.idle:
                # One may have been over before its row was made.
                for row in [r for r in self.rows if not r.over or r.transfer.id in self._after]:
                    if row.draw():
                        self._show()
                        after = self._after.pop(row.transfer.id, None)
                        if after is not None and not asking.closed:
                            after()
                if asking.closed or all(row.over for row in self.rows):
                    self._ticking = False
                    asking.busy -= 1
                    asking.idle.notify_all()
                    return

    def _stop(self, transfer: Transfer) -> None:
        with self._asking.lock:
            now = transfer.cancel.asked
            self._guarded(lambda: self.transfers().stop(transfer.id, now=now))

    def _forget(self, row: TransferRow) -> None:
        with self._asking.lock:
            if row in self.rows:
                self.rows.remove(row)
            self._show()

    def cut(self) -> None:
        """Cut everything that runs, and wait for its end for a moment."""
        if self._transfers is not None:
            self._transfers.close()
