"""`--plan`: what a copy would do, said before it is done.

The same rules decide as in the copy itself: `place` where it lands, the filters and `--update` what
is left out, `Survey` and `Standing` what is replaced. Only names and headers are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from jupyter_volcopy.core.again import LeftOut, Local, Standing
from jupyter_volcopy.core.choice import Looked, PlaceOf, in_container, look
from jupyter_volcopy.core.endpoint import ContainerPath, Endpoint, LocalPath, Stream, VolumePath
from jupyter_volcopy.core.followed import FollowedTree
from jupyter_volcopy.core.localfs import Tree, kind_of
from jupyter_volcopy.core.members import bad_link
from jupyter_volcopy.core.model import Entry, Kind, ListedEntry
from jupyter_volcopy.core.outgoing import Outgoing, OutgoingOptions
from jupyter_volcopy.core.ownership import pull_owner, push_owner
from jupyter_volcopy.core.paths import base_name, clean, encode, join, parent
from jupyter_volcopy.core.plan import Step, leaves
from jupyter_volcopy.core.report import Note
from jupyter_volcopy.core.room import container_free, local_free
from jupyter_volcopy.core.transfer import ROOT_USER, Place, Run
from jupyter_volcopy.core.transfer_copy import stream_landing
from jupyter_volcopy.core.transfer_push import far_links

__all__ = ["step"]

_LISTED = 1000  # paths of a kind in a step
Wants = Callable[[str, Kind, int, int], "str | None"]


def step(
    run: Run,
    endpoint: Endpoint,
    target: Endpoint,
    place_of: PlaceOf,
    wants: Wants | None,
    *,
    several: bool,
) -> Step:
    """What would be done with one source.

    Args:
        run: options and engine.
        endpoint: the source.
        target: the destination.
        place_of: finds containers.
        wants: filter.
        several: there are more sources.

    Raises:
        VolcopyError: the copy would be refused.
    """
    if isinstance(endpoint, Stream) or isinstance(target, Stream):
        return _stream(run, endpoint, target, place_of)
    looked = look(run, endpoint, target, place_of, into_directory=several)
    if isinstance(endpoint, LocalPath):
        assert isinstance(target, (ContainerPath, VolumePath))
        draft = _Draft(run, looked, place_of(target), _root(target, place_of))
        _push(draft, wants)
    else:
        assert isinstance(endpoint, (ContainerPath, VolumePath))
        inside = None if isinstance(target, LocalPath) else place_of(target)
        draft = _Draft(run, looked, inside, _root(target, place_of))
        _from_container(draft, place_of(endpoint), wants)
    return draft.step()


def _stream(run: Run, endpoint: Endpoint, target: Endpoint, place_of: PlaceOf) -> Step:
    """An archive in or out: its other side is looked at."""
    if isinstance(endpoint, Stream):
        assert isinstance(target, (ContainerPath, VolumePath))
        where = place_of(target)
        landing = stream_landing(run, where)
        note = Note("", "what it holds is not known before it is read", "stream")
        lost = not where.reach.survives(landing.path)
        return Step(str(endpoint), str(target), "unpack", lost=lost, notes=(note,))
    assert isinstance(endpoint, (ContainerPath, VolumePath))
    in_container(run, place_of(endpoint), run.options.follow_link)
    return Step(str(endpoint), str(target), "pack")


def _root(target: Endpoint, place_of: PlaceOf) -> str:
    """Where a volume is mounted in the container it is reached through; else ""."""
    if not isinstance(target, VolumePath):
        return ""
    return place_of(VolumePath(target.volume, "/")).path.removesuffix("/.").rstrip("/")


class _Draft:
    """A step while it is found out."""

    def __init__(self, run: Run, looked: Looked, destination: Place | None, root: str = "") -> None:
        self.root = root  # where a volume is mounted that is written to
        self.run = run
        self.looked = looked
        self.destination = destination
        self.placement = looked.placement
        self.files = self.bytes = self.created = self.replaced = 0
        self.creates: list[str] = []
        self.replaces: list[str] = []
        self.skips: list[Note] = []
        self.notes: list[Note] = []
        self.standing: Standing | None = None
        self.top: Kind | None = None

    def stand(self, tops: Iterable[tuple[str, Kind]]) -> None:
        """Look at what stands at a destination in a container."""
        assert self.destination is not None
        self.owner = push_owner(self.run, self.destination, self.placement.directory)
        self.standing = Standing(
            self.run, self.destination, self.placement, owner=self.owner, tops=tops
        )
        self._kinds = self.standing.kinds()

    def there(self, name: str) -> Kind | None:
        """What stands at a name, relative to the placement's directory."""
        if self.standing is not None:
            return self._kinds.get(name)
        path = join(self.placement.directory, name) if name else self.placement.directory
        try:
            return kind_of(os.lstat(encode(path)).st_mode)
        except OSError:
            return None

    def takes(self, name: str, kind: Kind, size: int) -> None:
        """Count one entry that will be copied."""
        found = self.there(name)
        if name == self.placement.name:
            self.top = found
        path = join(self.placement.directory, name) if name else self.placement.directory
        path = path[len(self.root) :]
        if found is not None and (found is Kind.DIRECTORY) != (kind is Kind.DIRECTORY):
            word = (
                ("non-directory", "directory")
                if kind is Kind.DIRECTORY
                else (
                    "directory",
                    "non-directory",
                )
            )
            self.notes.append(
                Note(path, f"cannot overwrite {word[0]} with {word[1]}: it fails", "conflict")
            )
        if kind is Kind.DIRECTORY:
            return
        self.files += 1
        self.bytes += size
        if self.run.options.no_clobber and found is not None:
            self.files -= 1
            self.bytes -= size
            self.skips.append(Note(path, "exists already (--no-clobber)", "exists"))
        elif found is None:
            self.created += 1
            if len(self.creates) < _LISTED:
                self.creates.append(path)
        else:
            self.replaced += 1
            if len(self.replaces) < _LISTED:
                self.replaces.append(path)

    def step(self) -> Step:
        """What was found out."""
        looked, placement = self.looked, self.placement
        if not placement.name:
            action = "contents"
        elif looked.source.is_dir and self.there(placement.name) is Kind.DIRECTORY:
            action = "merge"
        elif not looked.source.is_dir and not self.created and not self.replaced:
            action = "skip"
        elif self.there(placement.name) is not None:
            action = "replace"
        else:
            action = "create"
        lost = False
        if self.destination is not None:
            free = container_free(self.run, self.destination, placement.path, ask=True)
            lost = not self.destination.reach.survives(placement.path)
            shown = placement.path[len(self.root) :] or "/"
            shown = f"{self.destination.typed.partition(':')[0]}:{shown}"
        else:
            free = local_free(placement.directory)
            shown = placement.path
        return Step(
            str(looked.endpoint),
            shown,
            action,
            files=self.files,
            bytes=self.bytes,
            free=free,
            lost=lost,
            creates=tuple(self.creates),
            replaces=tuple(self.replaces),
            skips=tuple(self.skips),
            notes=tuple(self.notes),
            nests=bool(looked.landing.is_dir and placement.name),
            created=self.created,
            replaced=self.replaced,
        )


def _push(draft: _Draft, wants: Wants | None) -> None:
    options, source = draft.run.options, draft.looked.source
    path = source.path if source.is_dir else parent(source.path)
    tree = FollowedTree.open(path) if options.follow_all else Tree.open(path)
    assert draft.destination is not None
    takes = far_links(draft.run, draft.destination, draft.placement.directory)
    with tree:
        plain = OutgoingOptions(
            safe=options.safe,
            keep_links=options.keep_links,
            skip_bad_links=options.skip_bad_links,
            far_links=takes,
            wants=wants,
        )
        rel = "" if source.is_dir else base_name(source.path)
        outgoing = Outgoing(tree, rel, draft.placement, plain)
        names = list(outgoing.names(quiet=False))
        draft.stand((name, kind) for name, kind in names if "/" not in name)
        draft.skips += outgoing.skipped
        draft.notes += outgoing.warnings
        assert draft.standing is not None
        left = OutgoingOptions(
            owner=draft.owner,
            safe=options.safe,
            keep_links=options.keep_links,
            skip_bad_links=options.skip_bad_links,
            far_links=takes,
            wants=wants,
            leave=draft.standing.leave if Standing.wanted(options) else None,
        )
        again = Outgoing(tree, rel, draft.placement, left)
        sizes = again.sizes()
        draft.notes += again.look().failed
        for name, kind in again.names(quiet=False):
            draft.takes(name, kind, sizes.get(name, 0))
        draft.skips += [note for note in again.skipped if note.code != "filtered"]
        draft.bytes = sum(sizes.values())


def _listed(draft: _Draft, where: Place) -> list[ListedEntry]:
    """Everything below a directory of a container."""
    path = clean(draft.looked.source.path)
    live = where.reach.is_live(path) and where.container.running
    return list(
        draft.run.engine.list_dir(
            where.container.id, path, recursive=True, user=ROOT_USER if live else None
        ).entries
    )


def _from_container(draft: _Draft, where: Place, wants: Wants | None) -> None:
    run, looked, placement = draft.run, draft.looked, draft.placement
    options, stat = run.options, looked.stat
    name = placement.name
    top = Entry(
        base_name(clean(looked.source.path)),
        stat.kind,
        stat.mode,
        stat.uid or 0,
        stat.gid or 0,
        stat.size if stat.kind is Kind.FILE else 0,
        stat.mtime_ns,
    )
    entries: list[tuple[str, Entry]] = [("", top)]
    if looked.source.is_dir:
        for item in _listed(draft, where):
            size = item.size if item.kind is Kind.FILE else 0
            entry = Entry(
                item.name,
                item.kind,
                item.mode,
                item.uid,
                item.gid,
                size,
                item.mtime_ns,
                item.link_target,
            )
            entries.append((item.name, entry))
    local = None
    if draft.destination is not None:
        draft.stand(
            (full, entry.kind)
            for full, entry in ((_full(name, rel), entry) for rel, entry in entries)
            if full and "/" not in full
        )
    elif options.update:
        local = Local(options, placement.path, merge_top=not name, owner=pull_owner(options))
    left = LeftOut(wants, local)
    for rel, entry in entries:
        note = left.why(entry, rel)
        if note is None and draft.standing is not None and _full(name, rel) and options.update:
            sent = Entry(
                _full(name, rel),
                entry.kind,
                entry.mode,
                entry.uid,
                entry.gid,
                entry.size,
                entry.mtime_ns,
                entry.link,
            )
            note = draft.standing.leave(sent, lambda: b"")
        if note is not None:
            if note.text:
                draft.skips.append(note)
            continue
        if entry.kind is Kind.SOCKET:
            draft.notes.append(Note(rel, "a socket: sockets cannot be copied", "socket"))
            continue
        if entry.kind is Kind.SYMLINK and rel and not options.follow_all:
            refused = not entry.link.startswith("/") and leaves(
                placement.directory, _full(name, rel), entry.link
            )
            if refused and options.skip_bad_links:
                draft.skips.append(
                    Note(rel, f"the link to {entry.link} leaves the tree", "bad-link")
                )
                continue
            if refused and not options.keep_links:
                raise bad_link(rel, entry.link)
        if _full(name, rel):
            draft.takes(_full(name, rel), entry.kind, entry.size)


def _full(name: str, rel: str) -> str:
    return "/".join(part for part in (name, rel) if part)
