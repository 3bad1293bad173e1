"""What a pull fetches one by one, beside the archive of the whole.

A hard link whose first name was left out, a file that changed since the last time, and what a link
leads to (`--follow-all`): each has a small archive of its own, with the same rules as the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jupyter_volcopy.core.again import LeftOut
from jupyter_volcopy.core.followed import is_loop
from jupyter_volcopy.core.members import Members
from jupyter_volcopy.core.model import Entry, Kind, Stat
from jupyter_volcopy.core.paths import base_name, join, parent
from jupyter_volcopy.core.plan import Placement
from jupyter_volcopy.core.pull import Incoming, reading, receive
from jupyter_volcopy.core.record import State
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.stage import Stage
from jupyter_volcopy.core.tar_reader import TarReader
from jupyter_volcopy.core.transfer import ROOT_USER, Place, Run
from jupyter_volcopy.errors import EngineError, LimitExceeded, NotADirectory, NotFound

__all__ = ["Fetcher"]

_FOLLOWED = 100_000  # links followed in one copy: trees of links can multiply


class Fetcher(State):
    """Fetches single paths into a stage.

    Attributes:
        run: the transfer.
        source: the container's side.
        stage: where it is written aside.
        placement: where its top lands.
        incoming: counted into.
        wants: filter, for what links lead to.
    """

    run: Run
    source: Place
    stage: Stage
    placement: Placement
    incoming: Incoming
    wants: Callable[[str, Kind, int, int], str | None] | None = None

    def _within(self, rel: str) -> Placement:
        name = "/".join(part for part in (self.placement.name, rel) if part)
        return Placement(self.placement.directory, name)

    def _live(self, path: str) -> bool:
        return self.source.reach.is_live(path) and self.source.container.running

    def fetch(self, path: str, rel: str) -> bool:
        """Fetch anything but a directory; what cannot be had is named.

        Args:
            path: absolute, in the container.
            rel: where it belongs, below the top; its parent is staged.

        Returns:
            Whether it came.
        """
        run, incoming = self.run, self.incoming
        try:
            reader = run.engine.open_archive(self.source.container.id, path, live=self._live(path))
        except (NotFound, NotADirectory):
            incoming.failed.append(Note(rel, "did not come: it vanished", "vanished"))
            return False
        options = run.options
        members = Members(
            base_name(path),
            self._within(rel),
            None,
            keep_links=options.keep_links or options.follow_all,
            skip_bad_links=options.skip_bad_links,
        )
        tar = TarReader(reader, max_bytes=options.max_bytes)
        came = False

        def step() -> Iterator[None]:
            nonlocal came
            for entry in tar:
                if came or entry.kind is Kind.DIRECTORY:
                    incoming.failed.append(Note(rel, "changed while it was copied", "changed"))
                    return
                if members.admit(entry) is None:
                    return
                self.stage.add(entry, rel, tar.read if entry.kind is Kind.FILE else None)
                self._count(entry, rel)
                came = True
                yield

        reading(reader, run.cancel, step)
        incoming.warnings.extend(members.notes)
        return came

    def _count(self, entry: Entry, rel: str) -> None:
        incoming, meter = self.incoming, self.run.meter
        incoming.entries += 1
        meter.entries += 1
        if entry.kind is Kind.FILE:
            incoming.files += 1
            incoming.bytes += entry.size
            meter.bytes += entry.size
            if incoming.written is not None:
                incoming.written.append(rel)

    def later(self, plain: str) -> None:
        """Fetch the hard links whose first names were left out.

        Args:
            plain: absolute path of the top in the container.
        """
        firsts: dict[str, str] = {}
        for rel, link in self.incoming.later:
            first = firsts.get(link)
            if first is not None:
                self.stage.add(Entry(rel, Kind.HARDLINK, link=first), rel)
                self.incoming.entries += 1
            elif self.fetch(join(plain, rel), rel):
                firsts[link] = rel
        self.incoming.later.clear()

    # -- --follow-all

    def follow(self, plain: str) -> None:
        """Put in place of every link what it leads to, within the container's root.

        Args:
            plain: absolute path of the top in the container.

        Raises:
            LimitExceeded: links lead to links without end.
        """
        queue: list[tuple[str, Entry, str, tuple[str, ...]]] = [
            (rel, entry, parent(join(plain, rel)) if rel else parent(plain), ())
            for rel, entry in self.incoming.links
        ]
        self.incoming.links.clear()
        done = 0
        while queue:
            rel, entry, here, positions = queue.pop(0)
            done += 1
            if done > _FOLLOWED:
                raise LimitExceeded(f"more than {_FOLLOWED} links to follow", hint="use -L")
            path = join(here, base_name(entry.name)) if rel else plain
            target, found = self._resolve(path)
            around = (*positions, here)
            if found is None or (found.is_dir and is_loop(target, around)):
                why = "leads nowhere" if found is None else "leads to where it is"
                self.incoming.warnings.append(
                    Note(rel, f"the link to {entry.link} {why}: copied as a link", "link")
                )
                self.stage.add(entry, rel)
                self.incoming.entries += 1
            elif reason := self._unwanted(rel, found):
                self.incoming.skipped.append(Note(rel, reason, "filtered"))
            elif not found.is_dir:
                self.fetch(target, rel)
            else:
                queue += [
                    (f"{rel}/{name}", inner, parent(join(target, name)), around)
                    for name, inner in self._directory(target, found, rel)
                ]

    def _unwanted(self, rel: str, found: Stat) -> str | None:
        if self.wants is None or not rel:
            return None
        return self.wants(rel, found.kind, found.size, found.mtime_ns)

    def _resolve(self, path: str) -> tuple[str, Stat | None]:
        """Where a link leads in the container, and what stands there."""
        engine, identity = self.run.engine, self.source.container.id
        try:
            link = engine.stat(identity, path, user=ROOT_USER if self._live(path) else None)
            target = link.link_target if link.kind is Kind.SYMLINK else path
            if not target:
                return path, None
            live = self._live(target)
            found = engine.stat(identity, target, user=ROOT_USER if live else None)
        except (NotFound, NotADirectory):
            return path, None
        except EngineError as error:
            if "too many links" not in error.message:
                raise
            return path, None
        return target, None if found.kind is Kind.SYMLINK else found

    def _directory(self, path: str, found: Stat, rel: str) -> list[tuple[str, Entry]]:
        """Fetch a directory that a link leads to; returns the links in it."""
        run, incoming = self.run, self.incoming
        options = run.options
        top = Entry(
            rel, Kind.DIRECTORY, found.mode, found.uid or 0, found.gid or 0, 0, found.mtime_ns
        )
        self.stage.add(top, rel)
        incoming.entries += 1
        reader = run.engine.open_archive(
            self.source.container.id, path.rstrip("/") + "/.", live=self._live(path)
        )
        part = Incoming(written=[] if incoming.written is not None else None)
        receive(
            reader,
            self.stage,
            Members(".", self._within(rel), True, keep_links=True),
            left=LeftOut(self.wants, below=rel) if self.wants is not None else None,
            below=rel,
            follow=True,
            max_entries=options.max_entries,
            max_bytes=options.max_bytes,
            meter=run.meter,
            cancel=run.cancel,
            into=part,
        )
        incoming.take(part, rel)
        return part.links
